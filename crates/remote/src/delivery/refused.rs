//! What an answer refuses or parks, point by point: numbers, dead letters, and parked samples.

use crate::disk::aside::Gathered;
use crate::disk::dead::{self, Lines, Part, Reason, Said};
use crate::outgoing::Outgoing;
use crate::queue::Fate;
use crate::queue::Source;
use model::{Kinds, Value};

/// If a receiver says how many samples of a request it refused but not which, each sample of requests up to this size
/// is kept as a dead letter. Of a larger one the numbers, the range of time and the series are kept.
const PARTIAL_KEPT: u64 = 100;

/// What is known of an answer, for all points of its request.
pub(super) struct About<'a> {
    /// When it came, in milliseconds since 1970.
    pub(super) time: i64,
    pub(super) words: &'a str,
    /// Samples that the receiver has already written may be refused for this reason.
    pub(super) fits_a_repeat: bool,
    /// The request was a retry of parked samples.
    pub(super) is_parked: bool,
    /// What the request held.
    pub(super) sent: Kinds,
    /// How much of it the receiver refused, if it says how many but not which.
    pub(super) partial: Kinds,
}

impl About<'_> {
    fn is_large(&self) -> bool {
        self.sent.total() > PARTIAL_KEPT
    }

    /// How many points of one kind the receiver refused, of how many.
    fn part(&self, value: &Value) -> Part {
        Part { refused: self.partial.of_kind(value), of: self.sent.of_kind(value) }
    }
}

/// What an answer costs.
#[derive(Default)]
pub(super) struct Refused {
    pub(super) kinds: Kinds,
    /// Of the refused: those that an earlier try may have written.
    pub(super) maybe: u64,
    /// The same in a request of which the receiver says how many it refused.
    maybe_partial: u64,
    pub(super) presumed: u64,
    /// To be parked.
    pub(super) parked: Option<Gathered>,
    /// Samples that were parked and are settled now.
    pub(super) from_parked: Kinds,
    pub(super) example: Option<String>,
    pub(super) lines: Lines,
    /// A sample or native histogram was refused that no earlier try may have written.
    has_loss: bool,
    /// Points of kinds of which the receiver refused all.
    refused_kinds: u64,
    /// A large request of which only numbers are kept.
    large: dead::Request,
    /// The newest time of all points that it settles.
    pub(super) newest: Option<i64>,
    /// For labels.
    buffer: Vec<u8>,
}

impl Refused {
    /// Takes a point that the answer settles.
    pub(super) fn take(&mut self, about: &About<'_>, outgoing: &Outgoing, index: u32, fate: Fate) {
        let Some(point) = outgoing.point(index) else {
            model::invariant!(false, "a settled point is in its chunk", index = index);
            return;
        };
        self.newest = self.newest.max(Some(point.timestamp));
        if about.is_parked && fate != Fate::Parked {
            self.from_parked.count(&point.value);
        }
        let mut part = None;
        let reason = match fate {
            Fate::Delivered | Fate::Unsent => return,
            Fate::Partial { maybe_written } => {
                let of_its_kind = about.part(&point.value);
                if of_its_kind.refused == 0 {
                    return;
                }
                self.maybe_partial += u64::from(maybe_written && about.fits_a_repeat);
                if about.is_large() {
                    let labels = outgoing.labels(point.series, &mut self.buffer);
                    self.large.add(labels, outgoing.series(index), point.timestamp);
                    return;
                }
                part = Some(of_its_kind).filter(|part| part.refused < part.of);
                self.refused_kinds += u64::from(part.is_none());
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
            Fate::Parked => {
                self.parked.get_or_insert_default().add(outgoing, point);
                return;
            }
        };
        let labels = outgoing.labels(point.series, &mut self.buffer);
        let batch = &outgoing.chunk().batch;
        let said = Said { time: about.time, reason, answer: about.words, part };
        self.lines.sample(&said, labels, batch, point);
        if matches!(fate, Fate::Partial { .. }) {
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
        let settled = about.partial.samples + about.partial.histograms;
        self.has_loss || settled > self.maybe_partial
    }

    /// To be called after all points, for a request of which the receiver says only how many it refused.
    pub(super) fn end_partial(&mut self, about: &About<'_>) {
        let refused = about.partial.total();
        if refused == 0 {
            return;
        }
        if about.is_large() {
            self.lines.summary(about.time, about.words, refused, &self.large);
        } else {
            self.lines.end_parts(refused.saturating_sub(self.refused_kinds));
        }
        // Which of them were refused is not known. Those that an earlier try may have written count first.
        self.maybe += self.maybe_partial.min(refused);
    }
}
