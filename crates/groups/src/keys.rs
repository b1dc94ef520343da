//! Remembers applied requests by their `Idempotency-Key`, so that a request is applied once even if it is sent several
//! times. Pure.
//!
//! The number of keys is limited over all groups, because this limits memory. If there are too many, the group with the
//! most keys loses its oldest one. So each group keeps at least its share, and a group with many pushes does not
//! displace the keys of the others.

use std::collections::{BTreeSet, HashMap, VecDeque};

pub const KEY_HEADER: &str = "idempotency-key";
pub const KEY_BYTES_MAX: usize = 255;
/// The maximum of remembered keys, of all groups together.
pub const KEYS_MAX: usize = 200_000;
/// The time for which a key is remembered, in milliseconds: one day.
pub const KEY_AGE_MS: i64 = 86_400_000;
/// The approximate memory of a remembered key, in bytes.
pub const KEY_MEMORY_BYTES: usize = 112;
/// The approximate additional memory of a group with keys, in bytes.
pub const KEYS_OF_GROUP_MEMORY_BYTES: usize = 240;

/// A request with a key.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Keyed {
    /// A hash of the key.
    pub key: u128,
    /// A hash of the rest of the request. It detects a key that is used for another request.
    pub request: u64,
}

/// The result of looking up a request.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Known {
    New,
    /// The request was applied.
    Applied,
    /// The key was used for another request.
    Other,
}

/// An entry of [`Keys`], by the number of its group.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Applied {
    pub group: u64,
    pub keyed: Keyed,
    /// The time in milliseconds since 1970 by the wall clock.
    pub wall: i64,
}

/// The requests that were applied.
#[derive(Debug, Default)]
pub struct Keys {
    requests: HashMap<(u64, u128), u64>,
    /// The keys of each group, oldest first.
    groups: HashMap<u64, VecDeque<Remembered>>,
    /// The groups by their number of keys.
    by_count: BTreeSet<(usize, u64)>,
    /// The groups by the time of their oldest key.
    by_age: BTreeSet<(i64, u64)>,
}

/// A key of a group.
#[derive(Debug, Clone, Copy)]
struct Remembered {
    key: u128,
    wall: i64,
}

impl Keys {
    pub fn known(&self, group: u64, keyed: Keyed) -> Known {
        match self.requests.get(&(group, keyed.key)) {
            None => Known::New,
            Some(request) if *request == keyed.request => Known::Applied,
            Some(_) => Known::Other,
        }
    }

    /// Remembers a request, and removes old keys and those over the limit.
    pub(crate) fn insert(&mut self, applied: Applied) {
        let Applied { group, keyed: Keyed { key, request }, wall } = applied;
        if self.requests.insert((group, key), request).is_some() {
            return;
        }
        self.change(group, |keys| keys.push_back(Remembered { key, wall }));
        let oldest = wall.saturating_sub(KEY_AGE_MS);
        while let Some((_, group)) = self.by_age.first().copied().filter(|(wall, _)| *wall < oldest) {
            self.remove_oldest(group);
        }
        while self.len() > KEYS_MAX
            && let Some(group) = self.to_shorten()
        {
            self.remove_oldest(group);
        }
    }

    /// The group that loses a key: the group with the most keys, or the one with the oldest key if each group has only
    /// one.
    fn to_shorten(&self) -> Option<u64> {
        match self.by_count.last()? {
            (1, _) => self.by_age.first().map(|(_, group)| *group),
            (_, group) => Some(*group),
        }
    }

    fn remove_oldest(&mut self, group: u64) {
        if let Some(removed) = self.change(group, VecDeque::pop_front) {
            self.requests.remove(&(group, removed.key));
        }
    }

    /// Removes a request whose commit failed. It is among the newest.
    pub(crate) fn remove(&mut self, group: u64, key: u128) {
        self.requests.remove(&(group, key));
        self.change(group, |keys| {
            if let Some(at) = keys.iter().rposition(|remembered| remembered.key == key) {
                keys.remove(at);
            }
        });
    }

    /// Changes the keys of a group and updates the indexes.
    fn change<T>(&mut self, group: u64, change: impl FnOnce(&mut VecDeque<Remembered>) -> T) -> T {
        let keys = self.groups.entry(group).or_default();
        let place = |keys: &VecDeque<Remembered>| keys.front().map(|oldest| (keys.len(), oldest.wall));
        let before = place(keys);
        let result = change(keys);
        let after = place(keys);
        if let Some((count, wall)) = before.filter(|_| before != after) {
            self.by_count.remove(&(count, group));
            self.by_age.remove(&(wall, group));
        }
        match after {
            Some((count, wall)) => {
                self.by_count.insert((count, group));
                self.by_age.insert((wall, group));
            }
            None => drop(self.groups.remove(&group)),
        }
        result
    }

    /// All keys: those of each group in sequence, oldest first.
    pub fn iter(&self) -> impl Iterator<Item = Applied> {
        self.groups.iter().flat_map(|(group, keys)| {
            keys.iter().filter_map(|Remembered { key, wall }| {
                let request = *self.requests.get(&(*group, *key))?;
                Some(Applied { group: *group, keyed: Keyed { key: *key, request }, wall: *wall })
            })
        })
    }

    pub fn len(&self) -> usize {
        self.requests.len()
    }

    pub fn is_empty(&self) -> bool {
        self.requests.is_empty()
    }

    /// The approximate memory in bytes.
    pub(crate) fn bytes(&self) -> usize {
        self.len() * KEY_MEMORY_BYTES + self.groups.len() * KEYS_OF_GROUP_MEMORY_BYTES
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn applied(key: u128, wall: i64) -> Applied {
        Applied { group: 1, keyed: Keyed { key, request: 7 }, wall }
    }

    #[test]
    fn keys_are_known_by_group_and_request() {
        let mut keys = Keys::default();
        keys.insert(applied(5, 0));
        assert_eq!(keys.known(1, Keyed { key: 5, request: 7 }), Known::Applied);
        assert_eq!(keys.known(1, Keyed { key: 5, request: 8 }), Known::Other);
        assert_eq!(keys.known(2, Keyed { key: 5, request: 7 }), Known::New);
        keys.remove(1, 5);
        assert_eq!((keys.known(1, Keyed { key: 5, request: 7 }), keys.len()), (Known::New, 0));
    }

    #[test]
    fn number_and_age_of_keys_are_limited() {
        let mut keys = Keys::default();
        (0..KEYS_MAX as u128 + 10).for_each(|key| keys.insert(applied(key, 0)));
        assert_eq!((keys.len(), keys.known(1, Keyed { key: 9, request: 7 })), (KEYS_MAX, Known::New));
        keys.insert(applied(1 << 70, KEY_AGE_MS + 1));
        assert_eq!((keys.len(), keys.requests.len(), keys.by_age.len(), keys.by_count.len()), (1, 1, 1, 1));
        keys.remove(1, 1 << 70);
        assert_eq!((keys.groups.len(), keys.by_age.len(), keys.by_count.len(), keys.bytes()), (0, 0, 0, 0));
    }

    #[test]
    fn a_group_with_many_keys_does_not_displace_those_of_others() {
        let mut keys = Keys::default();
        let of = |group, key, wall| Applied { group, keyed: Keyed { key, request: 7 }, wall };
        let is_known =
            |keys: &Keys, group, key| keys.known(group, Keyed { key, request: 7 }) == Known::Applied;
        keys.insert(of(1, 1, 0));
        (0..KEYS_MAX as u128 * 2).for_each(|key| keys.insert(of(2, key, 1)));
        assert!(is_known(&keys, 1, 1), "the oldest of all");
        assert_eq!((keys.len(), is_known(&keys, 2, KEYS_MAX as u128 * 2 - 1)), (KEYS_MAX, true));
        assert!(!is_known(&keys, 2, KEYS_MAX as u128));
        // With another group that has many keys, both have equal shares.
        (0..KEYS_MAX as u128).for_each(|key| keys.insert(of(3, key, 2)));
        let counts: Vec<(usize, u64)> = keys.by_count.iter().copied().collect();
        assert_eq!(counts, [(1, 1), (KEYS_MAX / 2 - 1, 3), (KEYS_MAX / 2, 2)]);
        // With as many groups as keys, the oldest key is removed and not the new one.
        (0..KEYS_MAX as u64 + 5).for_each(|group| keys.insert(of(10 + group, 0, 3)));
        assert_eq!(keys.len(), KEYS_MAX);
        assert!(is_known(&keys, KEYS_MAX as u64 + 14, 0) && !is_known(&keys, 1, 1));
    }
}
