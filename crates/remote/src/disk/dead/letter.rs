//! A line of dead letters as it is read again.

use super::STALE;
use model::Labels;
use serde::Deserialize;
use serde_json::Value as Json;
use std::collections::BTreeMap;
use std::fmt;

/// One line.
#[derive(Debug, Clone, PartialEq)]
pub struct Letter {
    /// Why it is there, see [`super::Reason`].
    pub reason: String,
    /// The receiver's words.
    pub answer: String,
    /// What was refused.
    pub content: Content,
}

/// What a letter is of.
#[derive(Debug, Clone, PartialEq)]
pub enum Content {
    /// One sample, histogram or exemplar.
    Sample(Sample),
    /// A part of a request, nobody knows which.
    Part {
        /// So many samples were refused,
        refused: u64,
        /// of so many that were sent.
        of: u64,
    },
}

/// One sample, histogram or exemplar.
#[derive(Debug, Clone, PartialEq)]
pub struct Sample {
    /// By name; as they were sent.
    pub labels: BTreeMap<String, String>,
    /// In milliseconds since 1970.
    pub timestamp: i64,
    /// Of a sample that is no staleness marker.
    pub float: Option<f64>,
    /// The value as it stands there, for people.
    pub shown: String,
}

impl Sample {
    /// The labels in canonical bytes.
    pub fn canonical_labels(&self) -> Labels {
        Labels::from_pairs(self.labels.iter().map(|(name, value)| (name.as_str(), value.as_str())))
    }
}

/// What of the JSON counts here.
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
    /// Reads a line, with or without its end; `None` if it is no dead letter, as of a line that was cut short.
    pub fn read(line: &[u8]) -> Option<Letter> {
        let line: Line = serde_json::from_slice(line).ok()?;
        let content = match (line.timestamp, line.refused) {
            (Some(timestamp), _) => {
                let json = || line.histogram.or(line.exemplar).map(|json| json.to_string());
                // Rust reads more than is written: a marker is no number, whatever its name.
                let float = line.value.as_deref().filter(|text| *text != STALE).map(str::parse::<f64>);
                Content::Sample(Sample {
                    labels: line.labels,
                    timestamp,
                    float: float.transpose().ok()?,
                    shown: line.value.or_else(json).unwrap_or_else(|| "?".into()),
                })
            }
            (None, Some(refused)) => Content::Part { refused, of: line.of },
            (None, None) => return None,
        };
        Some(Letter { reason: line.reason, answer: line.answer, content })
    }
}

impl fmt::Display for Letter {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Letter { reason, answer, content } = self;
        match content {
            Content::Sample(sample) => {
                let Sample { timestamp, shown, .. } = sample;
                write!(f, "{reason}: {} {timestamp} {shown}: {answer}", sample.canonical_labels())
            }
            Content::Part { refused, of } => {
                write!(f, "{reason}: {refused} of {of} samples of a request: {answer}")
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::super::tests::add_histogram_and_exemplar;
    use super::super::{Lines, Reason, Request};
    use super::*;
    use model::{Batch, Series};

    #[test]
    fn what_is_written_is_read() {
        let labels = Labels::from_pairs([("__name__", "up"), ("q", "a\"b\n")]);
        let mut batch = Batch::new();
        let series = batch.add_series(labels.as_ref(), Series::NO_METADATA);
        for value in [1.5, f64::INFINITY, f64::MIN_POSITIVE, model::stale_nan()] {
            batch.push_float(series, -7, value);
        }
        add_histogram_and_exemplar(&mut batch, series, series);
        let mut lines = Lines::default();
        for point in &batch.points {
            lines.sample(1, Reason::Poisoned, "503: no", labels.as_ref(), &batch, point);
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
            content: Content::Part { refused: 3, of: 1 },
        };
        assert_eq!(letters.last(), Some(&part));
        let mut floats = Vec::new();
        for letter in &letters[..6] {
            assert_eq!((&*letter.reason, &*letter.answer), ("poisoned", "503: no"));
            let Content::Sample(sample) = &letter.content else { panic!("{letter:?}") };
            assert_eq!(sample.canonical_labels(), labels);
            floats.push((sample.timestamp, sample.float));
        }
        let right = [Some(1.5), Some(f64::INFINITY), Some(f64::MIN_POSITIVE), None].map(|value| (-7, value));
        assert_eq!(floats[..4], right);
        assert_eq!(floats[4..], [(7, None), (8, None)]);
        assert_eq!(letters[3].to_string(), format!("poisoned: {labels} -7 stale: 503: no"));
        assert!(letters[4].to_string().contains("\"positive_deltas\":[2,-1]"), "{}", letters[4]);
    }

    #[test]
    fn anything_else_is_no_letter() {
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
