//! Telling loss, repetition and disorder apart.

use crate::Labels;
use std::collections::{BTreeMap, HashSet};

/// Per series, timestamps (milliseconds since 1970) and values in order of arrival. A histogram's value
/// is NaN.
pub type Arrivals = BTreeMap<Labels, Vec<(i64, f64)>>;

/// What became of what was to arrive, in samples.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Tally {
    /// Expected, and there.
    pub arrived: usize,
    /// Expected, and never there.
    pub lost: usize,
    /// There once more than needed.
    pub repeated: usize,
    /// There for the first time, but after one that was to come later.
    pub out_of_order: usize,
    /// There, but nobody expected it.
    pub unexpected: usize,
}

/// Holds `got` against the timestamps that each series was to have, in their order.
pub(super) fn tally(expected: &BTreeMap<Labels, Vec<i64>>, got: &Arrivals) -> Tally {
    let mut tally = Tally::default();
    for (labels, arrivals) in got {
        let known = expected.get(labels).map(Vec::as_slice).unwrap_or_default();
        let places: BTreeMap<i64, usize> = known.iter().enumerate().map(|(at, &ts)| (ts, at)).collect();
        let mut seen = HashSet::new();
        let mut furthest = 0;
        for (timestamp, _) in arrivals {
            match places.get(timestamp) {
                None => tally.unexpected += 1,
                Some(_) if !seen.insert(*timestamp) => tally.repeated += 1,
                Some(&place) => {
                    tally.arrived += 1;
                    tally.out_of_order += usize::from(place < furthest);
                    furthest = furthest.max(place);
                }
            }
        }
    }
    tally.lost = expected.values().map(Vec::len).sum::<usize>() - tally.arrived;
    tally
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::query::labels;

    #[test]
    fn loss_repetition_and_disorder_are_told_apart() {
        let series = |name| labels([("__name__", name)]);
        let expected = BTreeMap::from([(series("a"), vec![1, 2, 3, 4]), (series("b"), vec![1])]);
        let values = |list: &[i64]| list.iter().map(|&timestamp| (timestamp, 0.0)).collect::<Vec<_>>();
        // Repeated from 1 on, which is what a sender does after a restart: repetition, no disorder.
        let got = Arrivals::from([(series("a"), values(&[1, 3, 1, 2, 3, 9])), (series("c"), values(&[1]))]);
        let tally = tally(&expected, &got);
        assert_eq!(tally, Tally { arrived: 3, lost: 2, repeated: 2, out_of_order: 1, unexpected: 2 });
    }
}
