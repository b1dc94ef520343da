//! What an answer refuses or parks, point by point: counters, dead letters and parked samples.

use crate::disk::aside::Gathered;
use crate::disk::dead::{self, Lines, Part, Reason, Said};
use crate::outgoing::Outgoing;
use crate::queue::Fate;
use crate::queue::Source;
use model::{Kinds, Value};

/// A receiver may say how many samples of a request it refused, but not which. Of requests up to this size,
/// each sample then becomes a dead letter. Of a larger one only the numbers, the time range and the series
/// are kept.
const PARTIAL_KEPT: u64 = 100;

/// The facts of an answer that are the same for all points of its request.
pub(super) struct About<'a> {
    /// When the answer came, in milliseconds since 1970.
    pub(super) time: i64,
    pub(super) words: &'a str,
    /// A receiver may refuse samples for this reason because it has already written them.
    pub(super) fits_a_repeat: bool,
    /// The request was a retry of parked samples.
    pub(super) is_parked: bool,
    /// The points of the request, by kind.
    pub(super) sent: Kinds,
    /// How many of them the receiver refused, if it says how many but not which.
    pub(super) partial: Kinds,
}

impl About<'_> {
    fn is_large(&self) -> bool {
        self.sent.total() > PARTIAL_KEPT
    }

    /// Returns how many points of this kind the receiver refused, and how many there were.
    fn part(&self, value: &Value) -> Part {
        Part { refused: self.partial.of_kind(value), of: self.sent.of_kind(value) }
    }
}

/// What the points of an answer add up to.
#[derive(Default)]
pub(super) struct Refused {
    pub(super) kinds: Kinds,
    /// Of the refused points, those that an earlier try may have written.
    pub(super) maybe: u64,
    /// The points that an earlier try may have written, of a request of which the receiver says only how many
    /// it refused.
    maybe_partial: u64,
    pub(super) presumed: u64,
    pub(super) parked: Option<Gathered>,
    /// Samples that were parked and are settled now.
    pub(super) from_parked: Kinds,
    pub(super) example: Option<String>,
    pub(super) lines: Lines,
    /// A sample or native histogram was refused that no earlier try may have written.
    has_loss: bool,
    /// Points of kinds of which the receiver refused all points.
    refused_kinds: u64,
    /// A large request, of which only the numbers are kept.
    large: dead::Request,
    /// The newest timestamp of all settled points.
    pub(super) newest: Option<i64>,
    buffer: Vec<u8>,
}

impl Refused {
    /// Adds a point that the answer settles.
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

    /// Returns true if samples or native histograms were refused that no earlier try may have written.
    pub(super) fn is_loss(&self, about: &About<'_>) -> bool {
        let settled = about.partial.samples + about.partial.histograms;
        self.has_loss || settled > self.maybe_partial
    }

    /// To be called after all points of a request of which the receiver says only how many it refused.
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
        // It is unknown which of them were refused. Those that an earlier try may have written count first.
        self.maybe += self.maybe_partial.min(refused);
    }
}
