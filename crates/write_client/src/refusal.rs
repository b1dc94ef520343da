//! Why a receiver refuses samples for good, found in its answer. Pure; the test is a table of real wordings.
//!
//! Receivers have no common error codes, so the reason is found by the words of the answer. An answer that
//! names several reasons does not say how many samples each of them concerns. Unknown words are
//! [`RefusedReason::Other`]. Each reason is counted with its status, which tells unknown words apart.

use std::collections::BTreeMap;
use std::sync::{Mutex, PoisonError};

/// Why a receiver refuses samples.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum RefusedReason {
    /// Older than the newest sample of its series.
    OutOfOrder,
    /// Too old, or too far in the future, for the receiver.
    OutOfBounds,
    /// The receiver has another value at this timestamp.
    Duplicate,
    /// The series has more labels than the receiver accepts.
    TooManyLabels,
    /// A label name or value is longer than the receiver accepts.
    LabelTooLong,
    /// The receiver accepts no more series.
    SeriesLimit,
    /// The receiver does not accept native histograms.
    NativeHistogramsDisabled,
    /// The answer names several of the first three reasons, so it is about timestamps.
    SeveralAboutTime,
    /// The answer names several other reasons.
    Several,
    /// Anything else.
    Other,
}

impl RefusedReason {
    pub const ALL: [RefusedReason; 10] = [
        Self::OutOfOrder,
        Self::OutOfBounds,
        Self::Duplicate,
        Self::TooManyLabels,
        Self::LabelTooLong,
        Self::SeriesLimit,
        Self::NativeHistogramsDisabled,
        Self::SeveralAboutTime,
        Self::Several,
        Self::Other,
    ];

    /// Returns the value of the label `reason`.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::OutOfOrder => "out_of_order",
            Self::OutOfBounds => "out_of_bounds",
            Self::Duplicate => "duplicate",
            Self::TooManyLabels => "too_many_labels",
            Self::LabelTooLong => "label_too_long",
            Self::SeriesLimit => "series_limit",
            Self::NativeHistogramsDisabled => "native_histograms_disabled",
            Self::SeveralAboutTime => "several_about_timestamps",
            Self::Several => "several_reasons",
            Self::Other => "other",
        }
    }

    /// Finds the reason in a receiver's words.
    pub fn of(words: &str) -> RefusedReason {
        let words = words.to_ascii_lowercase();
        let named =
            || WORDINGS.iter().filter(|(wording, _)| words.contains(wording)).map(|(_, reason)| *reason);
        match named().next() {
            None => Self::Other,
            Some(first) if named().all(|reason| reason == first) => first,
            Some(_) if named().all(Self::fits_a_repeat) => Self::SeveralAboutTime,
            Some(_) => Self::Several,
        }
    }

    /// Returns what to do about it, if that is the same for all receivers.
    pub const fn advice(self) -> Option<&'static str> {
        match self {
            Self::NativeHistogramsDisabled => Some(
                "The receiver has native histograms switched off: start Prometheus with \
                 --enable-feature=native-histograms, or set send_native_histograms: false here. \
                 Those that come by OTLP can be sent as buckets: otlp.exponential_histograms: classic.",
            ),
            _ => None,
        }
    }

    /// Returns true if a receiver may refuse a sample for this reason because it has already written it.
    pub const fn fits_a_repeat(self) -> bool {
        matches!(self, Self::OutOfOrder | Self::OutOfBounds | Self::Duplicate | Self::SeveralAboutTime)
    }
}

/// Parts of answers, in lower case.
const WORDINGS: [(&str, RefusedReason); 36] = {
    use RefusedReason::*;
    [
        ("out of order", OutOfOrder),
        ("out-of-order", OutOfOrder),
        ("native-histogram-ooo-disabled", OutOfOrder),
        ("out of bounds", OutOfBounds),
        ("out-of-bounds", OutOfBounds),
        ("too old", OutOfBounds),
        ("too-old", OutOfBounds),
        ("too new", OutOfBounds),
        ("too far in the future", OutOfBounds),
        ("too far into the future", OutOfBounds),
        ("too-far-in-future", OutOfBounds),
        ("too far in the past", OutOfBounds),
        ("too-far-in-past", OutOfBounds),
        ("duplicate sample", Duplicate),
        ("duplicate exemplar", Duplicate),
        ("sample-duplicate-timestamp", Duplicate),
        ("with the same timestamp", Duplicate),
        ("same timestamp, but a different value", Duplicate),
        ("already exists", Duplicate),
        ("too many labels", TooManyLabels),
        ("number of labels exceeds", TooManyLabels),
        ("max-label-names-per", TooManyLabels),
        ("label names; limit", TooManyLabels),
        ("label name too long", LabelTooLong),
        ("label value too long", LabelTooLong),
        ("label name length", LabelTooLong),
        ("label value length", LabelTooLong),
        ("label-name-too-long", LabelTooLong),
        ("label-value-too-long", LabelTooLong),
        ("labels size bytes exceeded", LabelTooLong),
        ("series limit", SeriesLimit),
        ("max-series-per", SeriesLimit),
        ("max-active-series", SeriesLimit),
        ("too many series", SeriesLimit),
        ("too many active series", SeriesLimit),
        ("native histograms are disabled", NativeHistogramsDisabled),
    ]
};

/// The values of the label `status`. Any other status is `other`, so that a receiver can't create more
/// values.
const STATUSES: [(u16, &str); 20] = [
    (200, "200"),
    (202, "202"),
    (204, "204"),
    (400, "400"),
    (401, "401"),
    (402, "402"),
    (403, "403"),
    (404, "404"),
    (405, "405"),
    (408, "408"),
    (409, "409"),
    (410, "410"),
    (413, "413"),
    (415, "415"),
    (422, "422"),
    (429, "429"),
    (500, "500"),
    (502, "502"),
    (503, "503"),
    (504, "504"),
];

#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub struct Refusal {
    pub reason: RefusedReason,
    /// The status, one of a fixed set of texts.
    pub status: &'static str,
}

impl Refusal {
    /// Finds the reason in an answer.
    pub fn of(status: u16, words: &str) -> Refusal {
        let known = STATUSES.iter().find(|(known, _)| *known == status);
        Refusal { reason: RefusedReason::of(words), status: known.map_or("other", |(_, text)| text) }
    }

    /// The same for an answer as it is shown and kept: `400 Bad Request: out of bounds`.
    pub fn read(shown: &str) -> Refusal {
        let (status, words) = shown.split_once(' ').unwrap_or((shown, ""));
        Refusal::of(status.parse().unwrap_or_default(), words)
    }
}

/// Number of refused points by reason and status. The number of combinations is bounded.
#[derive(Debug, Default)]
pub struct Refusals(Mutex<BTreeMap<Refusal, u64>>);

impl Refusals {
    pub fn add(&self, refusal: Refusal, points: u64) {
        if points > 0 {
            let mut counts = self.0.lock().unwrap_or_else(PoisonError::into_inner);
            *counts.entry(refusal).or_default() += points;
        }
    }

    /// Returns the numbers so far, without zeros.
    pub fn get(&self) -> Vec<(Refusal, u64)> {
        let counts = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        counts.iter().map(|(refusal, count)| (*refusal, *count)).collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use RefusedReason::*;

    #[test]
    fn each_receivers_wording_has_its_reason() {
        let table = [
            // Prometheus
            (400, "out of order sample", OutOfOrder),
            (400, "out of bounds", OutOfBounds),
            (400, "out of bounds: timestamp is too far in the future", OutOfBounds),
            (400, "too old sample", OutOfBounds),
            (400, "duplicate sample for timestamp", Duplicate),
            (
                400,
                "duplicate sample for timestamp 1000; overrides not allowed: existing 1, new value 2 for series \
                 {__name__=\"test_metric1\", b=\"c\"}",
                Duplicate,
            ),
            (500, "native histograms are disabled", NativeHistogramsDisabled),
            (500, "out-of-order native histogram ingestion is disabled", OutOfOrder),
            (400, "invalid metric name or labels, got {a=\"b\"} ", Other),
            // Thanos
            (
                409,
                "store locally for endpoint thanos-receive-0:10901: conflict: add 1 samples: out of bounds",
                OutOfBounds,
            ),
            (409, "add 3 samples: out of order sample", OutOfOrder),
            (409, "add 2 samples: duplicate sample for timestamp", Duplicate),
            (409, "add 7 samples: too old sample", OutOfBounds),
            (409, "conflict", Other),
            // Cortex
            (
                400,
                "user=fake: err: out of bounds. timestamp=2026-11-28T00:00:00Z, series={__name__=\"up\"}",
                OutOfBounds,
            ),
            (400, "timestamp too old: 1575043969 metric: \"up\"", OutOfBounds),
            (400, "timestamp too new: 1975043969 metric: \"up\"", OutOfBounds),
            (
                400,
                "series has too many labels (actual: 3, limit: 2) series: 'up{a=\"1\", b=\"2\"}'",
                TooManyLabels,
            ),
            (400, "sample for 'up{a=\"1\"}' has 31 label names; limit 30", TooManyLabels),
            (
                400,
                "label value too long for metric (actual: 31, limit: 25) metric: \"up\" label value: \"x\"",
                LabelTooLong,
            ),
            (
                400,
                "label name too long for metric (actual: 31, limit: 25) metric: \"up\" label name: \"x\"",
                LabelTooLong,
            ),
            (
                400,
                "user=anonymous: per-user series limit of 150000 exceeded, please contact administrator to raise it \
                 (per-ingester local limit: 150000)",
                SeriesLimit,
            ),
            (
                400,
                "per-metric series limit of 10 exceeded, please contact administrator to raise it",
                SeriesLimit,
            ),
            (400, "sample missing metric name", Other),
            // Mimir and Grafana Cloud
            (
                400,
                "failed pushing to ingester mimir-2: user=lab: the sample has been rejected because another sample with \
                 a more recent timestamp has already been ingested and out-of-order samples are not allowed \
                 (err-mimir-sample-out-of-order). The affected sample has timestamp 2025-10-27T09:01:20.626Z",
                OutOfOrder,
            ),
            (
                400,
                "the sample has been rejected because another sample with the same timestamp, but a different value, has \
                 already been ingested (err-mimir-sample-duplicate-timestamp)",
                Duplicate,
            ),
            (
                400,
                "the sample has been rejected because its timestamp is too old (err-mimir-sample-timestamp-too-old)",
                OutOfBounds,
            ),
            (
                400,
                "received a sample whose timestamp is too far in the future (err-mimir-too-far-in-future)",
                OutOfBounds,
            ),
            (
                400,
                "received a series whose number of labels exceeds the limit (actual: 32, limit: 30) series: 'x' \
                 (err-mimir-max-label-names-per-series). To adjust the related per-tenant limit, configure \
                 -validation.max-label-names-per-series",
                TooManyLabels,
            ),
            (
                400,
                "received a series whose label name length exceeds the limit, label: 'x' series: 'y' \
                 (err-mimir-label-name-too-long)",
                LabelTooLong,
            ),
            (
                400,
                "received a series whose label value length exceeds the limit, value: 'x' \
                 (err-mimir-label-value-too-long)",
                LabelTooLong,
            ),
            (
                400,
                "per-user series limit of 15000 exceeded (err-mimir-max-series-per-user). To adjust the related \
                 per-tenant limit, configure -ingester.max-global-series-per-user",
                SeriesLimit,
            ),
            (400, "received series has no metric name (err-mimir-missing-metric-name)", Other),
            // Amazon's service, which limits series by 429
            (429, "per-user series limit of 2000000 exceeded", SeriesLimit),
            // VictoriaMetrics refuses no samples: it answers 400 only to what it cannot read.
            (400, "cannot unmarshal prompb.WriteRequest with size 5 bytes", Other),
            (400, "", Other),
        ];
        for (status, words, reason) in table {
            let right = Refusal { reason, status: Refusal::of(status, "").status };
            assert_eq!(Refusal::of(status, words), right, "{words}");
            assert_eq!(Refusal::read(&format!("{status} Some Reason: {words}")), right, "{words}");
        }
    }

    /// Prometheus answers remote write 2.0 like this: one line per sample.
    #[test]
    fn answer_with_several_reasons_counts_as_none_of_them() {
        let repeated = "duplicate sample for timestamp for series {a=\"1\"}";
        let unordered = "out of order sample for series {a=\"2\"}";
        let too_many = "per-user series limit of 3 exceeded";
        assert_eq!(RefusedReason::of(&format!("{repeated} {repeated}")), Duplicate);
        assert_eq!(RefusedReason::of(&format!("{repeated} {unordered}")), SeveralAboutTime);
        assert_eq!(RefusedReason::of(&format!("{repeated} {too_many}")), Several);
        assert!(SeveralAboutTime.fits_a_repeat() && !Several.fits_a_repeat());
    }

    #[test]
    fn statuses_and_so_the_numbers_are_bounded() {
        let refusals = Refusals::default();
        for status in 0..=999 {
            for words in ["out of order", "native histograms are disabled", "anything"] {
                refusals.add(Refusal::of(status, words), 1);
            }
        }
        refusals.add(Refusal::of(400, ""), 0);
        let counts = refusals.get();
        assert_eq!(counts.len(), 3 * (STATUSES.len() + 1));
        assert_eq!(counts.iter().map(|(_, count)| count).sum::<u64>(), 3000);
        assert_eq!(Refusal::of(418, "I'm a teapot"), Refusal { reason: Other, status: "other" });
        assert_eq!(Refusal::read("not a status").status, "other");
    }

    #[test]
    fn each_reason_has_a_different_name() {
        let names: std::collections::BTreeSet<_> = RefusedReason::ALL.map(RefusedReason::as_str).into();
        assert_eq!(names.len(), RefusedReason::ALL.len());
    }
}
