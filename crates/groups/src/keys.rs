//! Requests that were applied, by the `Idempotency-Key` that they came with, so that each is applied once however often
//! it is sent. Pure.

use std::collections::{HashMap, VecDeque};

/// The header with the key.
pub const KEY_HEADER: &str = "idempotency-key";
/// The longest key, in bytes.
pub const KEY_BYTES_MAX: usize = 255;
/// Most keys that are remembered, of all groups together: the newest.
pub const KEYS_MAX: usize = 200_000;
/// How long a key is remembered, in milliseconds: a day.
pub const KEY_AGE_MS: i64 = 86_400_000;
/// Memory of a key that is remembered, in bytes, give or take.
pub const KEY_MEMORY_BYTES: usize = 112;

/// A request with a key.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Keyed {
    /// A hash of the key.
    pub key: u128,
    /// A hash of the rest of the request, so that a key that is used for another request is noticed.
    pub request: u64,
}

/// What is known of a request.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Known {
    New,
    /// It was applied.
    Applied,
    /// Its key was used for another request.
    Other,
}

/// An entry of [`Keys`], by the number of its group.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Applied {
    pub group: u64,
    pub keyed: Keyed,
    /// When, in milliseconds since 1970 by the wall clock.
    pub wall: i64,
}

/// The requests that were applied.
#[derive(Debug, Default)]
pub struct Keys {
    requests: HashMap<(u64, u128), u64>,
    /// The oldest first.
    order: VecDeque<Applied>,
}

impl Keys {
    pub fn known(&self, group: u64, keyed: Keyed) -> Known {
        match self.requests.get(&(group, keyed.key)) {
            None => Known::New,
            Some(request) if *request == keyed.request => Known::Applied,
            Some(_) => Known::Other,
        }
    }

    /// Remembers a request, and forgets those that are too old or too many.
    pub(crate) fn insert(&mut self, applied: Applied) {
        if self.requests.insert((applied.group, applied.keyed.key), applied.keyed.request).is_some() {
            return;
        }
        self.order.push_back(applied);
        let oldest = applied.wall.saturating_sub(KEY_AGE_MS);
        while let Some(first) = self.order.front()
            && (self.order.len() > KEYS_MAX || first.wall < oldest)
        {
            self.requests.remove(&(first.group, first.keyed.key));
            self.order.pop_front();
        }
    }

    /// The request was not applied after all. It is among the newest.
    pub(crate) fn remove(&mut self, group: u64, key: u128) {
        self.requests.remove(&(group, key));
        let is_it = |applied: &Applied| (applied.group, applied.keyed.key) == (group, key);
        if let Some(at) = self.order.iter().rposition(is_it) {
            self.order.remove(at);
        }
    }

    pub fn iter(&self) -> impl Iterator<Item = &Applied> {
        self.order.iter()
    }

    pub fn len(&self) -> usize {
        self.order.len()
    }

    pub fn is_empty(&self) -> bool {
        self.order.is_empty()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn applied(key: u128, wall: i64) -> Applied {
        Applied { group: 1, keyed: Keyed { key, request: 7 }, wall }
    }

    #[test]
    fn keys_are_known_for_their_group_and_their_request() {
        let mut keys = Keys::default();
        keys.insert(applied(5, 0));
        assert_eq!(keys.known(1, Keyed { key: 5, request: 7 }), Known::Applied);
        assert_eq!(keys.known(1, Keyed { key: 5, request: 8 }), Known::Other);
        assert_eq!(keys.known(2, Keyed { key: 5, request: 7 }), Known::New);
        keys.remove(1, 5);
        assert_eq!((keys.known(1, Keyed { key: 5, request: 7 }), keys.len()), (Known::New, 0));
    }

    #[test]
    fn their_number_and_age_are_bounded() {
        let mut keys = Keys::default();
        (0..KEYS_MAX as u128 + 10).for_each(|key| keys.insert(applied(key, 0)));
        assert_eq!((keys.len(), keys.known(1, Keyed { key: 9, request: 7 })), (KEYS_MAX, Known::New));
        keys.insert(applied(1 << 70, KEY_AGE_MS + 1));
        assert_eq!((keys.len(), keys.requests.len()), (1, 1));
    }
}
