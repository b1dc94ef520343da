//! Finds the pairs that a label set shares with the one before it.
//!
//! Consecutive series mostly differ in few labels: all series of one target share the labels that identify the target.
//! So the result for each pair of a label set is remembered. If the next label set has the same bytes for the same
//! pairs, the results of a whole run of pairs are copied at once.
//!
//! This module does not know the format of a pair. The caller passes how many bytes each pair has in the input and in
//! the output. One condition must hold: the bytes of a pair alone determine where it ends and what is written for it.
//!
//! The encoder of 2.0 does something similar in `interner.rs`, but in its own way: it needs the numbers of a name and
//! of its value separately, because the name's number stays the same if only the value differs.

use std::ops::Range;

/// The maximum of pairs that are remembered of a label set.
const MAX_PAIRS: usize = 128;

/// After this many consecutive label sets with little in common with the one before, the comparison is paused, because
/// it would only cost time.
const PATIENCE: u8 = 4;

/// The comparison is paused for this many label sets.
const REST: u8 = 32;

/// What is remembered of a pair: its number of bytes in the input and in the output, and a note of the caller.
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

    /// Returns true if the next label set is to be compared. If not, it is not remembered either.
    #[inline(always)]
    pub(super) fn should_compare(&mut self) -> bool {
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

    /// Discards all pairs: the next label set will have nothing in common with them.
    pub(super) fn clear(&mut self) {
        self.count = 0;
    }

    /// Begins the next label set. `before` begins with the bytes that these pairs were read from. The pairs of the next
    /// label set are remembered only if [`Comparison::finish`] is called; otherwise none are.
    #[inline(always)]
    pub(super) fn compare<'p>(&'p mut self, before: &'p [u8]) -> Comparison<'p, N> {
        let count = std::mem::take(&mut self.count);
        Comparison { pairs: self, count, at: 0, before, read: 0, written: 0, shared: 0 }
    }
}

/// Compares two label sets pair by pair: the one before, and the one that is being read. It is always at the same pair
/// of both.
#[derive(Debug)]
pub(super) struct Comparison<'p, N> {
    /// From `at` on the pairs of the set before, and below `at` those of this set.
    pairs: &'p mut Pairs<N>,
    /// The number of pairs of the set before.
    count: usize,
    at: usize,
    /// The bytes of the set before.
    before: &'p [u8],
    /// How many bytes of the set before were passed, and how many were written for them.
    read: usize,
    written: usize,
    /// The number of pairs that both sets have.
    shared: usize,
}

/// Consecutive pairs that both sets have.
#[derive(Debug, Clone)]
pub(super) struct Run {
    pub(super) pairs: Range<usize>,
    /// How many bytes they have in the input.
    pub(super) read: usize,
    /// Where they are in the output of the set before.
    pub(super) written: Range<usize>,
    /// Where the last of them begins there.
    pub(super) last: usize,
}

impl<N: Copy + Default> Comparison<'_, N> {
    /// Finds the next pairs that both sets have, if there are any, and moves behind them. `now` begins with the rest of
    /// this set, at most `len` bytes.
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

    /// Adds one pair that only this set has. Returns true if it can be remembered.
    #[inline(always)]
    pub(super) fn push(&mut self, read: usize, written: usize, note: N) -> bool {
        let Some(pair) = self.pairs.pairs.get_mut(self.at) else { return false };
        // Behind the end of the set before, this is useless but harmless.
        self.read += pair.read as usize;
        self.written += pair.written as usize;
        *pair = Pair { read: read as u32, written: written as u32, note };
        self.at += 1;
        true
    }

    /// The note of this pair, of either set.
    #[inline(always)]
    pub(super) fn note(&self, at: usize) -> N {
        self.pairs.pairs.get(at).map_or_else(N::default, |pair| pair.note)
    }

    /// Ends this set: its pairs are remembered from now on.
    #[inline(always)]
    pub(super) fn finish(self) {
        if self.count > 0 {
            self.pairs.learn(self.shared, self.at);
        }
        self.pairs.count = self.at;
    }
}

/// The length of the common prefix.
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

/// The same if one of the slices has fewer than 16 bytes left.
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

        /// A pair is a length and as many bytes. Its output is the length, and each byte twice.
        #[test]
        fn copied_runs_equal_pairs_written_one_by_one(
            sets in prop::collection::vec(prop::collection::vec(prop::collection::vec(0u8..2, 0..20), 0..8), 1..10)
        ) {
            let write = |pair: &[u8]| pair.iter().flat_map(|byte| [*byte, *byte]).collect::<Vec<u8>>();
            let mut pairs = Pairs::new();
            let (mut before_read, mut before_written) = (Vec::new(), Vec::new());
            for set in sets {
                let read: Vec<Vec<u8>> =
                    set.iter().map(|pair| [&[pair.len() as u8 + 100], &pair[..]].concat()).collect();
                let (all, expected) = (read.concat(), read.iter().flat_map(|pair| write(pair)).collect::<Vec<_>>());
                let (mut comparison, mut rest, mut written) = (pairs.compare(&before_read), &all[..], Vec::new());
                loop {
                    if let Some(run) = comparison.run(rest, rest.len()) {
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
                    prop_assert!(comparison.push(pair.len() / 2, pair.len(), ()));
                }
                prop_assert_eq!(comparison.at, set.len());
                comparison.finish();
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
    fn an_unfinished_comparison_remembers_nothing() {
        let mut pairs = Pairs::new();
        let mut comparison = pairs.compare(b"");
        assert!(comparison.run(b"abc", 3).is_none() && comparison.push(3, 3, ()));
        comparison.finish();
        assert!(pairs.compare(b"abc").run(b"abc", 3).is_some());
        assert!(pairs.compare(b"abc").run(b"abc", 3).is_none());
    }

    #[test]
    fn label_sets_without_common_pairs_are_rarely_compared() {
        let mut pairs = Pairs::new();
        let mut set = |bytes: &[u8]| {
            let worth = pairs.should_compare();
            if worth {
                let mut comparison = pairs.compare(b"abc");
                if comparison.run(bytes, bytes.len()).is_none() {
                    comparison.push(3, 3, ());
                }
                comparison.finish();
            }
            worth
        };
        assert!((0..100).all(|_| set(b"abc")));
        let compared = (0..1000).filter(|_| set(b"xyz")).count();
        assert!((30..80).contains(&compared), "{compared}");
        // Label sets that have pairs in common again are noticed.
        assert!((0..=REST).any(|_| set(b"abc")));
        assert!((0..100).all(|_| set(b"abc")));
    }

    #[test]
    fn at_most_the_limit_of_pairs_is_remembered() {
        let mut pairs = Pairs::new();
        let mut comparison = pairs.compare(b"");
        assert_eq!((0..200).take_while(|_| comparison.push(1, 1, ())).count(), MAX_PAIRS);
    }
}
