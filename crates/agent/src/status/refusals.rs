//! Decides how many refusals of a destination are losses, by reason. Its counters are not read at the same
//! moment. No I/O.
//!
//! A sample that an earlier request without an answer may have written is refused when it is sent again. Such
//! a repeat is not a loss, and must never be shown as one. So the worker counts a repeat before it counts the
//! refusal, and the counters are read here in the opposite order.

use std::collections::BTreeMap;

/// The counters of one destination.
#[derive(Debug, Default)]
pub(super) struct Read {
    pub(super) refused: u64,
    /// The refusals that are repeats.
    pub(super) repeats: u64,
    /// All refusals by reason, and whether a repeat can be refused for it.
    pub(super) reasons: Vec<(String, bool, u64)>,
}

/// The increase after the last reading.
#[derive(Debug, Default, PartialEq, Eq)]
pub(super) struct Added {
    pub(super) repeats: u64,
    /// The other refusals by reason. The reason is empty if the receiver's reason is not counted yet.
    pub(super) refused: Vec<(String, u64)>,
}

/// See the module.
#[derive(Debug, Default)]
pub(super) struct Refusals {
    refused: u64,
    repeats: u64,
    reasons: BTreeMap<String, u64>,
    /// The refusals by reason that are not yet part of a result.
    pending: BTreeMap<(bool, String), u64>,
}

impl Refusals {
    pub(super) fn read(&mut self, read: Read) -> Added {
        for (reason, fits_a_repeat, count) in read.reasons {
            let before = self.reasons.insert(reason.clone(), count).unwrap_or(0);
            *self.pending.entry((fits_a_repeat, reason)).or_default() += count.saturating_sub(before);
        }
        let refused = read.refused.saturating_sub(self.refused);
        // Repeats whose refusal is not counted yet are left for the next reading.
        let repeats = read.repeats.saturating_sub(self.repeats).min(refused);
        self.refused = read.refused.max(self.refused);
        self.repeats += repeats;
        let mut left = repeats;
        // Reasons that a repeat can have come last in the order of the keys.
        for (_, pending) in self.pending.iter_mut().rev().filter(|((fits, _), _)| *fits) {
            let of = left.min(*pending);
            (*pending, left) = (*pending - of, left - of);
        }
        let mut losses = refused - repeats;
        let mut added = Added { repeats, refused: Vec::new() };
        for ((_, reason), pending) in &mut self.pending {
            let of = losses.min(*pending);
            (*pending, losses) = (*pending - of, losses - of);
            if of > 0 {
                added.refused.push((reason.clone(), of));
            }
        }
        self.pending.retain(|_, pending| *pending > 0);
        if losses > 0 {
            added.refused.push((String::new(), losses));
        }
        added
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn read(refused: u64, repeats: u64, reasons: &[(&str, bool, u64)]) -> Read {
        let reasons =
            reasons.iter().map(|(reason, fits, count)| (reason.to_string(), *fits, *count)).collect();
        Read { refused, repeats, reasons }
    }

    fn added(repeats: u64, refused: &[(&str, u64)]) -> Added {
        Added {
            repeats,
            refused: refused.iter().map(|(reason, count)| (reason.to_string(), *count)).collect(),
        }
    }

    #[test]
    fn refusals_are_counted_by_reason_without_repeats() {
        let mut refusals = Refusals::default();
        let reasons = [("out of order", true, 10), ("too many labels", false, 3)];
        assert_eq!(
            refusals.read(read(13, 8, &reasons)),
            added(8, &[("too many labels", 3), ("out of order", 2)])
        );
        assert_eq!(refusals.read(read(13, 8, &reasons)), added(0, &[]));
        let more = [("duplicate", true, 5), ("out of order", true, 10), ("too many labels", false, 3)];
        assert_eq!(refusals.read(read(18, 13, &more)), added(5, &[]));
    }

    #[test]
    fn a_repeat_is_never_counted_as_a_loss() {
        let mut refusals = Refusals::default();
        // The repeat is counted; its refusal is not yet.
        assert_eq!(refusals.read(read(0, 1, &[])), added(0, &[]));
        assert_eq!(refusals.read(read(1, 1, &[("duplicate", true, 1)])), added(1, &[]));
        // The reason is counted before the refusal.
        assert_eq!(refusals.read(read(1, 2, &[("duplicate", true, 2)])), added(0, &[]));
        assert_eq!(refusals.read(read(2, 2, &[("duplicate", true, 2)])), added(1, &[]));
    }

    #[test]
    fn a_refusal_counts_once_before_its_reason_is_known() {
        let mut refusals = Refusals::default();
        assert_eq!(refusals.read(read(4, 0, &[])), added(0, &[("", 4)]));
        assert_eq!(refusals.read(read(4, 0, &[("out of bounds", true, 4)])), added(0, &[]));
    }
}
