//! What an answer refuses, point by point: numbers, dead letters, and what is parked.

use crate::disk::aside::Gathered;
use crate::disk::dead::{self, Lines, Part, Reason, Said};
use crate::outgoing::Outgoing;
use crate::queue::{Fate, Source};
use model::{Kinds, Value};

/// Where a receiver says how many samples of a request it refused but not which, each sample of requests up to this
/// size is kept as a dead letter; of a larger one the numbers, the range of time and the series.
const SETTLED_KEPT: u64 = 100;

/// What is known of an answer, for all points of its request.
pub(super) struct About<'a> {
    /// When it came, in milliseconds since 1970.
    pub(super) time: i64,
    pub(super) words: &'a str,
    /// Samples that the receiver has already written may be refused for this reason.
    pub(super) fits_a_repeat: bool,
    pub(super) is_aside: bool,
    /// What the request held.
    pub(super) sent: Kinds,
    /// How much of it the receiver says it refused, where it says so.
    pub(super) settled: Kinds,
}

impl About<'_> {
    fn is_large(&self) -> bool {
        self.sent.total() > SETTLED_KEPT
    }

    /// How many points of one kind the receiver refused, of how many.
    fn part(&self, value: &Value) -> Part {
        Part { refused: self.settled.of_kind(value), of: self.sent.of_kind(value) }
    }
}

/// What an answer costs.
#[derive(Default)]
pub(super) struct Refused {
    pub(super) kinds: Kinds,
    /// Of the refused: those that an earlier try may have written.
    pub(super) maybe: u64,
    /// The same of a request of which the receiver says how many it refused.
    maybe_settled: u64,
    pub(super) presumed: u64,
    /// On their way to the side queue.
    pub(super) poisoned: Option<Gathered>,
    /// Of the side queue's.
    pub(super) from_aside: Kinds,
    pub(super) example: Option<String>,
    pub(super) lines: Lines,
    /// A sample or native histogram was refused that no earlier try may have written.
    has_loss: bool,
    /// Points of kinds of which the receiver refused all.
    settled_whole: u64,
    /// Of a large request of which only numbers are kept.
    settled: dead::Request,
    /// The newest time of all that it settles.
    pub(super) newest: Option<i64>,
}

impl Refused {
    /// Takes a point that the answer settles.
    pub(super) fn take(&mut self, about: &About<'_>, outgoing: &Outgoing, index: u32, fate: Fate) {
        let Some(point) = outgoing.point(index) else {
            model::invariant!(false, "a settled point is in its chunk", index = index);
            return;
        };
        self.newest = self.newest.max(Some(point.timestamp));
        if about.is_aside && fate != Fate::Poisoned {
            self.from_aside.count(&point.value);
        }
        let mut part = None;
        let reason = match fate {
            Fate::Delivered => return,
            Fate::Settled { maybe_written } => {
                let of_its_kind = about.part(&point.value);
                if of_its_kind.refused == 0 {
                    return;
                }
                self.maybe_settled += u64::from(maybe_written && about.fits_a_repeat);
                if about.is_large() {
                    self.settled.add(outgoing.labels(point.series), outgoing.series(index), point.timestamp);
                    return;
                }
                part = Some(of_its_kind).filter(|part| part.refused < part.of);
                self.settled_whole += u64::from(part.is_none());
                Reason::Refused
            }
            Fate::Refused { maybe_written } => {
                self.count_refused(maybe_written && about.fits_a_repeat, &point.value);
                Reason::Refused
            }
            Fate::Presumed { maybe_written } => {
                self.presumed += 1;
                self.count_refused(maybe_written && about.fits_a_repeat, &point.value);
                Reason::Presumed
            }
            Fate::Poisoned => {
                self.poisoned.get_or_insert_default().add(outgoing, point);
                return;
            }
        };
        let labels = outgoing.labels(point.series);
        let batch = &outgoing.chunk().batch;
        let said = Said { time: about.time, reason, answer: about.words, part };
        self.lines.sample(&said, labels, batch, point);
        if matches!(fate, Fate::Settled { .. }) {
            return;
        }
        self.kinds.count(&point.value);
        if self.example.is_none() {
            self.example = Some(format!("{labels} at {}", point.timestamp));
        }
    }

    fn count_refused(&mut self, is_repeat: bool, value: &Value) {
        self.maybe += u64::from(is_repeat);
        self.has_loss |= !is_repeat && !matches!(value, Value::Exemplar(_));
    }

    /// Whether samples or native histograms were refused that no earlier try may have written.
    pub(super) fn is_loss(&self, about: &About<'_>) -> bool {
        let settled = about.settled.samples + about.settled.histograms;
        self.has_loss || settled > self.maybe_settled
    }

    /// Takes the numbers of a request of which the receiver says only how much it refused.
    pub(super) fn end_settled(&mut self, about: &About<'_>) {
        let refused = about.settled.total();
        if refused == 0 {
            return;
        }
        if about.is_large() {
            self.lines.summary(about.time, about.words, refused, &self.settled);
        } else {
            self.lines.end_parts(refused.saturating_sub(self.settled_whole));
        }
        // Which of them were refused is not known. Those that an earlier try may have written count first.
        self.maybe += self.maybe_settled.min(refused);
    }
}
