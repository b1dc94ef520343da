//! Counts losses, repetitions and wrong order separately.

use crate::Labels;
use std::collections::{BTreeMap, HashSet};

/// For each series timestamps (milliseconds since 1970) and values, in order of arrival. The value of a
/// histogram is NaN.
pub type Arrivals = BTreeMap<Labels, Vec<(i64, f64)>>;

/// The result of comparing expected and stored samples, in samples.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Tally {
    /// Expected samples that arrived.
    pub arrived: usize,
    /// Expected samples that did not arrive.
    pub lost: usize,
    /// Samples that arrived again.
    pub repeated: usize,
    /// Samples that arrived for the first time after one with a later place in the order.
    pub out_of_order: usize,
    /// Samples that arrived and were not expected.
    pub unexpected: usize,
}

/// Compares `got` with the expected timestamps of each series, in order.
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
    fn loss_repetition_and_disorder_are_counted_separately() {
        let series = |name| labels([("__name__", name)]);
        let expected = BTreeMap::from([(series("a"), vec![1, 2, 3, 4]), (series("b"), vec![1])]);
        let values = |list: &[i64]| list.iter().map(|&timestamp| (timestamp, 0.0)).collect::<Vec<_>>();
        // The sender repeats from 1 on, as after a restart: that is repetition and not a wrong order.
        let got = Arrivals::from([(series("a"), values(&[1, 3, 1, 2, 3, 9])), (series("c"), values(&[1]))]);
        let tally = tally(&expected, &got);
        assert_eq!(tally, Tally { arrived: 3, lost: 2, repeated: 2, out_of_order: 1, unexpected: 2 });
    }
}
