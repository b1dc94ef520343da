//! What a label set has in common with the one before it.
//!
//! Series that follow each other mostly differ in few labels: those of one target share all that say which
//! target it is. So what was made of a label set is remembered pair by pair, and where the next one has the
//! same bytes at the same pairs, what was made of them is copied in one go, without a look at each.
//!
//! This knows nothing of what pairs are made of. It is told how many bytes each took where it was read and
//! where it was written, and asks one thing of them: that the bytes of a pair alone say where it ends and what
//! is written for it.
//!
//! The encoder of 2.0 does the like in `interner.rs` by a way of its own: it needs the numbers of a name and of
//! its value each by itself, since a value that differs leaves the name's number as it was.

use std::ops::Range;

/// The most pairs that are remembered of a label set.
const MAX_PAIRS: usize = 128;

/// After so many label sets one after the other that had little in common with the one before, it is no
/// longer looked for: that would only cost time.
const PATIENCE: u8 = 4;

/// So many label sets then go by before it is tried again.
const REST: u8 = 32;

/// What is remembered of a pair: how many bytes it took, where it was read and where it was written, and
/// what else is wanted of it.
#[derive(Debug, Clone, Copy, Default)]
struct Pair<N> {
    read: u32,
    written: u32,
    note: N,
}

/// The pairs of a label set.
#[derive(Debug)]
pub(super) struct Pairs<N> {
    pairs: Box<[Pair<N>; MAX_PAIRS]>,
    count: usize,
    patience: u8,
    rest: u8,
}

impl<N: Copy + Default> Pairs<N> {
    pub(super) fn new() -> Self {
        let pairs = Box::new([Pair::default(); MAX_PAIRS]);
        Pairs { pairs, count: 0, patience: PATIENCE, rest: 0 }
    }

    /// Whether to walk along the next label set. If not, it is not remembered either.
    #[inline(always)]
    pub(super) fn is_worth_a_walk(&mut self) -> bool {
        if self.rest == 0 {
            return true;
        }
        self.rest -= 1;
        self.count = 0;
        false
    }

    #[inline(always)]
    fn learn(&mut self, shared: usize, of: usize) {
        if shared * 4 >= of {
            self.patience = PATIENCE;
        } else if self.patience > 1 {
            self.patience -= 1;
        } else {
            self.rest = REST;
        }
    }

    /// Forgets all: nothing will be in common with the next label set.
    pub(super) fn forget(&mut self) {
        self.count = 0;
    }

    /// Goes along the next label set; `before` begins with what was read of these pairs. Afterwards it is
    /// that set's pairs that are remembered, if [`Walk::finish`] is called, and none otherwise.
    #[inline(always)]
    pub(super) fn walk<'p>(&'p mut self, before: &'p [u8]) -> Walk<'p, N> {
        let count = std::mem::take(&mut self.count);
        Walk { pairs: self, count, at: 0, before, read: 0, written: 0, shared: 0 }
    }
}

/// A way along two label sets: the one before, and the one that is being read. It is always at the same
/// pair of both.
#[derive(Debug)]
pub(super) struct Walk<'p, N> {
    /// Of the set before, from `at` on; in front of that, of this one.
    pairs: &'p mut Pairs<N>,
    /// How many pairs the set before has.
    count: usize,
    at: usize,
    /// The set before.
    before: &'p [u8],
    /// How much of it was passed, and how much was written for that.
    read: usize,
    written: usize,
    /// How many pairs both have.
    shared: usize,
}

/// Pairs that both sets have.
#[derive(Debug, Clone)]
pub(super) struct Run {
    /// Which pairs.
    pub(super) pairs: Range<usize>,
    /// How many bytes they have where they are read.
    pub(super) read: usize,
    /// Where they are in what was written of the set before.
    pub(super) written: Range<usize>,
    /// Where the last of them begins there.
    pub(super) last: usize,
}

impl<N: Copy + Default> Walk<'_, N> {
    /// Takes the pairs that come next in both sets, if there are any. `now` begins with what is left of this
    /// set, at most `len` bytes.
    #[inline(always)]
    pub(super) fn run(&mut self, now: &[u8], len: usize) -> Option<Run> {
        let common = common(self.before.get(self.read..)?, now).min(len);
        let (from, start) = (self.at, self.written);
        let (mut read, mut last) = (0, start);
        for pair in self.pairs.pairs.get(from..self.count)? {
            let next = read + pair.read as usize;
            if next > common {
                break;
            }
            read = next;
            last = self.written;
            self.written += pair.written as usize;
            self.at += 1;
        }
        if self.at == from {
            return None;
        }
        self.shared += self.at - from;
        self.read += read;
        Some(Run { pairs: from..self.at, read, written: start..self.written, last })
    }

    /// Takes one pair that this set has for itself. Returns whether it can be remembered.
    #[inline(always)]
    pub(super) fn push(&mut self, read: usize, written: usize, note: N) -> bool {
        let Some(pair) = self.pairs.pairs.get_mut(self.at) else { return false };
        // Of no use behind the end of the set before, but no harm either.
        self.read += pair.read as usize;
        self.written += pair.written as usize;
        *pair = Pair { read: read as u32, written: written as u32, note };
        self.at += 1;
        true
    }

    /// What was noted at this pair, of either set.
    #[inline(always)]
    pub(super) fn note(&self, at: usize) -> N {
        self.pairs.pairs.get(at).map_or_else(N::default, |pair| pair.note)
    }

    /// Ends this set: its pairs are those that are remembered from now on.
    #[inline(always)]
    pub(super) fn finish(self) {
        if self.count > 0 {
            self.pairs.learn(self.shared, self.at);
        }
        self.pairs.count = self.at;
    }
}

/// How many bytes both begin with.
#[inline(always)]
fn common(one: &[u8], other: &[u8]) -> usize {
    let mut len = 0;
    for (one, other) in one.as_chunks::<16>().0.iter().zip(other.as_chunks::<16>().0) {
        let difference = u128::from_le_bytes(*one) ^ u128::from_le_bytes(*other);
        if difference != 0 {
            return len + difference.trailing_zeros() as usize / 8;
        }
        len += 16;
    }
    let (one, other) = (one.get(len..).unwrap_or_default(), other.get(len..).unwrap_or_default());
    len + common_end(one, other)
}

/// The same, where one of them has fewer than 16 bytes left.
#[inline(always)]
fn common_end(one: &[u8], other: &[u8]) -> usize {
    let mut len = 0;
    if let (Some(one), Some(other)) = (one.first_chunk::<8>(), other.first_chunk::<8>()) {
        let difference = u64::from_le_bytes(*one) ^ u64::from_le_bytes(*other);
        if difference != 0 {
            return difference.trailing_zeros() as usize / 8;
        }
        len = 8;
    }
    let (one, other) = (one.get(len..).unwrap_or_default(), other.get(len..).unwrap_or_default());
    len + one.iter().zip(other).take_while(|(one, other)| one == other).count()
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    proptest! {
        #[test]
        fn common_bytes_are_counted(start: Vec<u8>, one: Vec<u8>, other: Vec<u8>) {
            let (one, other) = ([start.clone(), one].concat(), [start, other].concat());
            let expected = one.iter().zip(&other).take_while(|(one, other)| one == other).count();
            prop_assert_eq!(common(&one, &other), expected);
        }

        /// Pairs are a length and as many bytes; what is written for one is its length, twice each byte.
        #[test]
        fn what_is_copied_is_what_would_have_been_written(
            sets in prop::collection::vec(prop::collection::vec(prop::collection::vec(0u8..2, 0..20), 0..8), 1..10)
        ) {
            let write = |pair: &[u8]| pair.iter().flat_map(|byte| [*byte, *byte]).collect::<Vec<u8>>();
            let mut pairs = Pairs::new();
            let (mut before_read, mut before_written) = (Vec::new(), Vec::new());
            for set in sets {
                let read: Vec<Vec<u8>> =
                    set.iter().map(|pair| [&[pair.len() as u8 + 100], &pair[..]].concat()).collect();
                let (all, expected) = (read.concat(), read.iter().flat_map(|pair| write(pair)).collect::<Vec<_>>());
                let (mut walk, mut rest, mut written) = (pairs.walk(&before_read), &all[..], Vec::new());
                loop {
                    if let Some(run) = walk.run(rest, rest.len()) {
                        prop_assert!(run.written.contains(&run.last));
                        prop_assert_eq!(&before_read_pairs(&before_read)[run.pairs.clone()], &read[run.pairs]);
                        written.extend_from_slice(&before_written[run.written]);
                        rest = &rest[run.read..];
                    }
                    let Some(len) = rest.first() else { break };
                    let pair = &rest[..1 + usize::from(*len - 100)];
                    rest = &rest[pair.len()..];
                    let pair = write(pair);
                    written.extend_from_slice(&pair);
                    prop_assert!(walk.push(pair.len() / 2, pair.len(), ()));
                }
                prop_assert_eq!(walk.at, set.len());
                walk.finish();
                prop_assert_eq!(&written, &expected);
                (before_read, before_written) = (all, written);
            }
        }
    }

    fn before_read_pairs(mut read: &[u8]) -> Vec<Vec<u8>> {
        let mut pairs = Vec::new();
        while let Some(len) = read.first() {
            let (pair, rest) = read.split_at(1 + usize::from(*len - 100));
            pairs.push(pair.to_vec());
            read = rest;
        }
        pairs
    }

    #[test]
    fn a_walk_that_was_not_finished_leaves_nothing() {
        let mut pairs = Pairs::new();
        let mut walk = pairs.walk(b"");
        assert!(walk.run(b"abc", 3).is_none() && walk.push(3, 3, ()));
        walk.finish();
        assert!(pairs.walk(b"abc").run(b"abc", 3).is_some());
        assert!(pairs.walk(b"abc").run(b"abc", 3).is_none());
    }

    #[test]
    fn where_nothing_is_in_common_few_sets_are_walked_along() {
        let mut pairs = Pairs::new();
        let mut set = |bytes: &[u8]| {
            let worth = pairs.is_worth_a_walk();
            if worth {
                let mut walk = pairs.walk(b"abc");
                if walk.run(bytes, bytes.len()).is_none() {
                    walk.push(3, 3, ());
                }
                walk.finish();
            }
            worth
        };
        assert!((0..100).all(|_| set(b"abc")));
        let walked = (0..1000).filter(|_| set(b"xyz")).count();
        assert!((30..80).contains(&walked), "{walked}");
        // And those that have something in common again are noticed.
        assert!((0..=REST).any(|_| set(b"abc")));
        assert!((0..100).all(|_| set(b"abc")));
    }

    #[test]
    fn no_more_than_the_limit_is_remembered() {
        let mut pairs = Pairs::new();
        let mut walk = pairs.walk(b"");
        assert_eq!((0..200).take_while(|_| walk.push(1, 1, ())).count(), MAX_PAIRS);
    }
}
