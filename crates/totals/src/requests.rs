//! Requests that were applied, by a hash of their content, so that a repeated request is not applied again. Pure.

use std::collections::{HashSet, VecDeque};

/// Most requests that are remembered: the newest.
pub const REQUESTS_MAX: usize = 100_000;
/// How long a request is remembered, in milliseconds: ten minutes, longer than clients repeat a request.
pub const REQUEST_AGE_MS: i64 = 600_000;

/// See the module.
#[derive(Debug, Default)]
pub(crate) struct Requests {
    hashes: HashSet<u128>,
    /// With the time of each by the wall clock, the oldest first.
    order: VecDeque<(u128, i64)>,
}

impl Requests {
    pub(crate) fn contains(&self, hash: u128) -> bool {
        self.hashes.contains(&hash)
    }

    /// Remembers a request, and forgets those that are too old or too many. Returns false if it was remembered before.
    pub(crate) fn insert(&mut self, hash: u128, wall_ms: i64) -> bool {
        if !self.hashes.insert(hash) {
            return false;
        }
        self.order.push_back((hash, wall_ms));
        let oldest = wall_ms.saturating_sub(REQUEST_AGE_MS);
        while let Some((first, at)) = self.order.front().copied()
            && (self.order.len() > REQUESTS_MAX || at < oldest)
        {
            self.hashes.remove(&first);
            self.order.pop_front();
        }
        true
    }

    /// Forgets a request that was not applied after all. It is among the newest.
    pub(crate) fn remove(&mut self, hash: u128) {
        self.hashes.remove(&hash);
        if let Some(at) = self.order.iter().rposition(|(other, _)| *other == hash) {
            self.order.remove(at);
        }
    }

    pub(crate) fn iter(&self) -> impl Iterator<Item = (u128, i64)> {
        self.order.iter().copied()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn number_and_age_are_bounded() {
        let mut requests = Requests::default();
        (0..REQUESTS_MAX as u128 + 1).for_each(|hash| assert!(requests.insert(hash, 0)));
        assert!(!requests.contains(0) && requests.contains(1) && !requests.insert(1, 0));
        requests.insert(u128::MAX, REQUEST_AGE_MS);
        assert!(requests.contains(2), "as old as allowed");
        requests.insert(u128::MAX - 1, REQUEST_AGE_MS + 1);
        assert_eq!((requests.iter().count(), requests.hashes.len()), (2, 2));
        requests.remove(u128::MAX);
        assert_eq!(requests.iter().collect::<Vec<_>>(), [(u128::MAX - 1, REQUEST_AGE_MS + 1)]);
    }
}
