//! Reads a line of dead letters.

use crate::Part;
use crate::json::STALE;
use model::Labels;
use serde::Deserialize;
use serde_json::Value as Json;
use std::collections::BTreeMap;

#[derive(Debug, Clone, PartialEq)]
pub struct Letter {
    /// Why the sample was refused, see [`crate::Reason`].
    pub reason: String,
    /// The receiver's words.
    pub answer: String,
    pub content: Content,
}

/// The subject of a line.
#[derive(Debug, Clone, PartialEq)]
pub enum Content {
    /// One sample, histogram or exemplar.
    Sample(Sample),
    /// A number of samples of a large request, without the samples themselves.
    Part(Part),
}

/// One sample, histogram or exemplar.
#[derive(Debug, Clone, PartialEq)]
pub struct Sample {
    /// The labels that were sent.
    pub labels: BTreeMap<String, String>,
    /// In milliseconds since 1970.
    pub timestamp: i64,
    /// The value, unless it is a staleness marker.
    pub float: Option<f64>,
    /// The value as written in the line, for people.
    pub shown: String,
    /// If the receiver refused some of several samples: the numbers. Lines of the first versions do not have
    /// them.
    pub part: Option<Part>,
    pub kind: SampleKind,
}

/// The kind of a sample. Each kind is counted separately.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum SampleKind {
    Float,
    Histogram,
    Exemplar,
}

impl SampleKind {
    pub const fn noun(self) -> &'static str {
        match self {
            Self::Float => "sample",
            Self::Histogram => "native histogram",
            Self::Exemplar => "exemplar",
        }
    }
}

impl Sample {
    pub fn canonical_labels(&self) -> Labels {
        Labels::from_pairs(self.labels.iter().map(|(name, value)| (name.as_str(), value.as_str())))
    }
}

/// The JSON keys that are read.
#[derive(Deserialize)]
struct Line {
    #[serde(default)]
    reason: String,
    #[serde(default)]
    answer: String,
    #[serde(default)]
    labels: BTreeMap<String, String>,
    timestamp: Option<i64>,
    value: Option<String>,
    histogram: Option<Json>,
    exemplar: Option<Json>,
    refused: Option<u64>,
    #[serde(default)]
    of: u64,
}

impl Letter {
    /// Reads a line, with or without its line end. `None` if it is not a dead letter, for example because it
    /// was cut short.
    pub fn read(line: &[u8]) -> Option<Letter> {
        let line: Line = serde_json::from_slice(line).ok()?;
        let content = match (line.timestamp, line.refused) {
            (Some(timestamp), refused) => {
                let kind = match (&line.histogram, &line.exemplar) {
                    (Some(_), _) => SampleKind::Histogram,
                    (None, Some(_)) => SampleKind::Exemplar,
                    (None, None) => SampleKind::Float,
                };
                let json = || line.histogram.or(line.exemplar).map(|json| json.to_string());
                // Rust parses more texts than are written, so the marker is excluded explicitly.
                let float = line.value.as_deref().filter(|text| *text != STALE).map(str::parse::<f64>);
                Content::Sample(Sample {
                    labels: line.labels,
                    timestamp,
                    float: float.transpose().ok()?,
                    shown: line.value.or_else(json).unwrap_or_else(|| "?".into()),
                    part: refused.map(|refused| Part { refused, of: line.of }),
                    kind,
                })
            }
            (None, Some(refused)) => Content::Part(Part { refused, of: line.of }),
            (None, None) => return None,
        };
        Some(Letter { reason: line.reason, answer: line.answer, content })
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::tests::{add_histogram_and_exemplar, said};
    use crate::{Lines, Reason, Request, Said};
    use model::{Batch, Series};

    #[test]
    fn written_lines_are_read_back() {
        let labels = Labels::from_pairs([("__name__", "up"), ("q", "a\"b\n")]);
        let mut batch = Batch::new();
        let series = batch.add_series(labels.as_ref(), Series::NO_METADATA);
        for value in [1.5, f64::INFINITY, f64::MIN_POSITIVE, model::stale_nan()] {
            batch.push_float(series, -7, value);
        }
        add_histogram_and_exemplar(&mut batch, series, series);
        let mut lines = Lines::default();
        for point in &batch.points {
            lines.sample(&said(Reason::Poisoned, "503: no"), labels.as_ref(), &batch, point);
        }
        let mut request = Request::default();
        request.add(labels.as_ref(), 1, 5);
        lines.summary(1, "400: some", 3, &request);
        let letters: Vec<Letter> = lines
            .as_bytes()
            .split_inclusive(|byte| *byte == b'\n')
            .map(|line| Letter::read(line).unwrap())
            .collect();
        let part = Letter {
            reason: "refused".into(),
            answer: "400: some".into(),
            content: Content::Part(Part { refused: 3, of: 1 }),
        };
        assert_eq!(letters.last(), Some(&part));
        let (mut floats, mut kinds) = (Vec::new(), Vec::new());
        for letter in &letters[..6] {
            assert_eq!((&*letter.reason, &*letter.answer), ("poisoned", "503: no"));
            let Content::Sample(sample) = &letter.content else { panic!("{letter:?}") };
            assert_eq!(sample.canonical_labels(), labels);
            floats.push((sample.timestamp, sample.float));
            kinds.push(sample.kind);
        }
        let right = [Some(1.5), Some(f64::INFINITY), Some(f64::MIN_POSITIVE), None].map(|value| (-7, value));
        assert_eq!(floats[..4], right);
        assert_eq!(floats[4..], [(7, None), (8, None)]);
        assert_eq!(kinds[3..], [SampleKind::Float, SampleKind::Histogram, SampleKind::Exemplar]);
        let shown = |index: usize| match &letters[index].content {
            Content::Sample(sample) => sample.shown.clone(),
            Content::Part(part) => panic!("{part:?}"),
        };
        assert_eq!(shown(3), "stale");
        assert!(shown(4).contains("\"positive_deltas\":[2,-1]"), "{}", shown(4));
    }

    #[test]
    fn sample_of_a_part_has_numbers_and_older_lines_have_none() {
        let mut batch = Batch::new();
        let labels = Labels::from_pairs([("__name__", "up")]);
        let series = batch.add_series(labels.as_ref(), Series::NO_METADATA);
        batch.push_float(series, 7, 1.0);
        let mut lines = Lines::default();
        for part in [Some(Part { refused: 1, of: 7 }), None] {
            let said = Said { part, ..said(Reason::Refused, "400: one of them") };
            lines.sample(&said, labels.as_ref(), &batch, &batch.points[0]);
        }
        let lines = lines.as_bytes().split_inclusive(|byte| *byte == b'\n');
        let part = |line| match Letter::read(line).unwrap().content {
            Content::Sample(sample) => sample.part,
            Content::Part(part) => panic!("{part:?}"),
        };
        let parts: Vec<Option<Part>> = lines.map(part).collect();
        assert_eq!(parts, [Some(Part { refused: 1, of: 7 }), None]);
    }

    #[test]
    fn other_lines_are_not_dead_letters() {
        for line in [
            "",
            "\n",
            "null",
            "{}",
            "[]",
            "{\"timestamp\":1,\"value\":\"1\"",
            "{\"timestamp\":1,\"value\":1}",
            "{\"timestamp\":1,\"value\":\"one\"}",
            "{\"timestamp\":1.5,\"value\":\"1\"}",
            "{\"timestamp\":1,\"labels\":{\"a\":1}}",
            "{\"refused\":-1}",
        ] {
            assert_eq!(Letter::read(line.as_bytes()), None, "{line}");
        }
    }
}
