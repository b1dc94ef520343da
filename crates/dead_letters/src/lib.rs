//! Dead letters: samples that a destination refused for good, kept to be inspected and replayed.
//!
//! `DATA/dead/<destination>.jsonl` has one JSON object per line:
//!
//! ```json
//! {"time":1700000000000,"reason":"refused","answer":"400 Bad Request: out of order sample",
//!  "labels":{"__name__":"up"},"timestamp":1699999999000,"value":"1"}
//! ```
//!
//! Values are strings, as in Prometheus' API, because JSON has no NaN. The value of a staleness marker is
//! `stale`. A native histogram or an exemplar has the key `histogram` or `exemplar` instead of `value`.
//!
//! A receiver of 2.0 may say how many samples of a request it refused, but not which. Then each sample of the
//! request has a line, and each of these lines has the two numbers: with `"refused":1,"of":7`, one of seven
//! samples was refused, and six were delivered. Native histograms and exemplars are counted separately in the
//! same way. A large request has a single line without a sample: it has `refused` and `of`, the request's
//! oldest and newest timestamp (`from`, `to`) and its `series`. Series beyond [`SERIES_BYTES`] are only
//! counted (`more_series`).
//!
//! At [`FILE_BYTES`] the file becomes `….jsonl.1`, replacing the previous one. If more than [`WAITING_BYTES`]
//! of lines wait for the disk, further lines are dropped and their samples are counted. Samples of lines that
//! could not be written are counted, too. Each process begins with an empty line, and so does each write
//! after a failed one, so that an unfinished line spoils no other. Readers skip empty lines.

mod json;
mod letter;
mod writer;

pub use letter::{Content, Letter, Sample, SampleKind};
pub use writer::Writer;

use json::{HistogramJson, LabelsJson, Number};
use model::{Batch, Labels, LabelsRef, Point, Value};
use serde::Serialize;
use std::collections::HashSet;

/// Most bytes of the file. Together with the previous file, twice as many are kept.
pub const FILE_BYTES: u64 = 16 << 20;
/// Most bytes of lines that wait for the disk.
pub const WAITING_BYTES: usize = 4 << 20;

/// At this length of a line no more series are listed. The others are counted.
pub const SERIES_BYTES: usize = 64 << 10;

/// Why a sample was refused.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Reason {
    Refused,
    /// The sample was not sent alone, but all probes of its batch were refused.
    Presumed,
    /// The receiver kept failing on the sample.
    Poisoned,
}

impl Reason {
    const fn as_str(self) -> &'static str {
        match self {
            Self::Refused => "refused",
            Self::Presumed => "presumed",
            Self::Poisoned => "poisoned",
        }
    }
}

/// Summary of a large request: number of samples, time range, and series.
#[derive(Debug, Default)]
pub struct Request {
    samples: u64,
    from: i64,
    to: i64,
    seen: HashSet<u64>,
    series: Vec<Labels>,
    bytes: usize,
}

impl Request {
    /// Adds a sample. `labels` are the outgoing labels of its series, `hash` is their hash.
    pub fn add(&mut self, labels: LabelsRef<'_>, hash: u64, timestamp: i64) {
        let first = self.samples == 0;
        self.from = if first { timestamp } else { self.from.min(timestamp) };
        self.to = if first { timestamp } else { self.to.max(timestamp) };
        self.samples += 1;
        if self.seen.insert(hash) && self.bytes < SERIES_BYTES {
            self.bytes += serde_json::to_string(&LabelsJson(labels)).map_or(0, |text| text.len());
            self.series.push(labels.to_labels());
        }
    }

    fn more_series(&self) -> usize {
        self.seen.len() - self.series.len()
    }
}

/// A number of samples of a request. The receiver refused some of them without saying which.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
pub struct Part {
    /// How many were refused.
    pub refused: u64,
    /// How many there were.
    pub of: u64,
}

/// The receiver's answer.
#[derive(Debug, Clone, Copy)]
pub struct Said<'a> {
    /// When the answer came, in milliseconds since 1970.
    pub time: i64,
    pub reason: Reason,
    /// The receiver's words.
    pub answer: &'a str,
    /// Set if the receiver refused some of several samples.
    pub part: Option<Part>,
}

/// The keys of a sample's line.
#[derive(Serialize)]
struct Line<'a> {
    time: i64,
    reason: &'static str,
    answer: &'a str,
    #[serde(flatten)]
    part: Option<Part>,
    labels: LabelsJson<'a>,
    timestamp: i64,
    #[serde(skip_serializing_if = "Option::is_none")]
    start_timestamp: Option<i64>,
    #[serde(skip_serializing_if = "Option::is_none")]
    value: Option<Number>,
    #[serde(skip_serializing_if = "Option::is_none")]
    histogram: Option<HistogramJson<'a>>,
    #[serde(skip_serializing_if = "Option::is_none")]
    exemplar: Option<Exemplar<'a>>,
}

#[derive(Serialize)]
struct Exemplar<'a> {
    labels: LabelsJson<'a>,
    value: Number,
}

/// The keys of a request's summary.
#[derive(Serialize)]
struct Summary<'a> {
    time: i64,
    reason: &'static str,
    answer: &'a str,
    #[serde(flatten)]
    part: Part,
    from: i64,
    to: i64,
    series: Vec<LabelsJson<'a>>,
    more_series: usize,
}

/// The lines for one answer.
#[derive(Debug, Default)]
pub struct Lines {
    text: Vec<u8>,
    samples: u64,
    left_out: u64,
    /// Of the samples in parts, those without a line.
    left_out_of_parts: u64,
}

impl Lines {
    /// Adds a sample with its outgoing labels. If it belongs to a [`Part`], [`Lines::end_parts`] counts it.
    pub fn sample(&mut self, said: &Said<'_>, labels: LabelsRef<'_>, batch: &Batch, point: &Point) {
        if self.text.len() >= WAITING_BYTES {
            let left_out = if said.part.is_some() { &mut self.left_out_of_parts } else { &mut self.left_out };
            *left_out += 1;
            return;
        }
        self.samples += u64::from(said.part.is_none());
        let (mut value, mut histogram, mut exemplar) = (None, None, None);
        match point.value {
            Value::Float(float) => value = Some(Number(float)),
            Value::Histogram(index) => histogram = batch.histograms.get(index as usize).map(HistogramJson),
            Value::Exemplar(index) => {
                exemplar = batch.exemplars.get(index as usize).map(|exemplar| Exemplar {
                    labels: LabelsJson(LabelsRef::trusted(batch.slice(exemplar.labels))),
                    value: Number(exemplar.value),
                });
            }
        }
        self.put(&Line {
            time: said.time,
            reason: said.reason.as_str(),
            answer: said.answer,
            part: said.part,
            labels: LabelsJson(labels),
            timestamp: point.timestamp,
            start_timestamp: Some(point.start_timestamp).filter(|start| *start != 0),
            value,
            histogram,
            exemplar,
        });
    }

    /// Counts the refused samples of all parts. Any of them may be among those without a line.
    pub fn end_parts(&mut self, refused: u64) {
        let left_out = std::mem::take(&mut self.left_out_of_parts).min(refused);
        self.left_out += left_out;
        self.samples += refused - left_out;
    }

    /// Adds the summary of a request of which `refused` samples were refused. It is unknown which ones.
    pub fn summary(&mut self, time: i64, answer: &str, refused: u64, of: &Request) {
        self.samples += refused;
        self.put(&Summary {
            time,
            reason: Reason::Refused.as_str(),
            answer,
            part: Part { refused, of: of.samples },
            from: of.from,
            to: of.to,
            series: of.series.iter().map(|labels| LabelsJson(labels.as_ref())).collect(),
            more_series: of.more_series(),
        });
    }

    fn put(&mut self, line: &impl Serialize) {
        let start = self.text.len();
        let is_written = serde_json::to_writer(&mut self.text, line).is_ok();
        if !model::invariant!(is_written, "a dead letter can be written as JSON") {
            self.text.truncate(start);
            return;
        }
        self.text.push(b'\n');
    }

    /// Adds the lines of another answer.
    pub fn append(&mut self, other: &Lines) {
        self.text.extend_from_slice(&other.text);
        self.samples += other.samples;
    }

    /// Returns the lines, each with its line end.
    pub fn as_bytes(&self) -> &[u8] {
        &self.text
    }

    pub fn is_empty(&self) -> bool {
        self.text.is_empty()
    }

    pub fn bytes(&self) -> usize {
        self.text.len()
    }

    /// Returns the number of refused samples of all lines.
    pub fn samples(&self) -> u64 {
        self.samples
    }

    /// Returns the number of samples that did not fit.
    pub fn left_out(&self) -> u64 {
        self.left_out
    }
}

#[cfg(test)]
pub(crate) mod tests {
    #![allow(clippy::unwrap_used, reason = "helper functions of tests")]
    use super::*;
    use model::{BucketSpan, Counts, Histogram, ResetHint, Series};
    use serde_json::{Value as Json, json};

    pub(crate) fn said(reason: Reason, answer: &str) -> Said<'_> {
        Said { time: 1, reason, answer, part: None }
    }

    fn lines(values: &[f64]) -> Lines {
        let mut batch = Batch::new();
        let labels = Labels::from_pairs([("__name__", "up"), ("q", "a\"b\n")]);
        let series = batch.add_series(labels.as_ref(), Series::NO_METADATA);
        for value in values {
            batch.push_float(series, 7, *value);
        }
        let mut lines = Lines::default();
        for point in &batch.points {
            lines.sample(&said(Reason::Refused, "400: no"), labels.as_ref(), &batch, point);
        }
        lines
    }

    #[test]
    fn sample_is_a_line_of_json() {
        let text =
            String::from_utf8(lines(&[1.5, f64::NAN, f64::NEG_INFINITY, model::stale_nan()]).text).unwrap();
        let parsed: Vec<Json> = text.lines().map(|line| serde_json::from_str(line).unwrap()).collect();
        let labels = json!({"__name__": "up", "q": "a\"b\n"});
        let right = json!({"time": 1, "reason": "refused", "answer": "400: no", "labels": labels,
            "timestamp": 7, "value": "1.5"});
        assert_eq!(parsed[0], right);
        let values: Vec<&Json> = parsed[1..].iter().map(|line| &line["value"]).collect();
        assert_eq!(values, ["NaN", "-Inf", "stale"]);
    }

    /// Adds a histogram of series `one` and an exemplar of series `other`.
    pub(super) fn add_histogram_and_exemplar(batch: &mut Batch, one: u32, other: u32) {
        let histogram = Histogram {
            reset_hint: ResetHint::Gauge,
            schema: 3,
            zero_threshold: 0.5,
            sum: 9.0,
            positive_spans: vec![BucketSpan { offset: -1, length: 2 }],
            negative_spans: vec![],
            counts: Counts::Integer { count: 4, zero: 1, positive: vec![2, -1], negative: vec![] },
            custom_values: vec![],
        };
        batch.push_histogram(one, 7, 3, histogram);
        let start = batch.bytes.len();
        batch.bytes.extend_from_slice(Labels::from_pairs([("trace_id", "x")]).as_ref().as_bytes());
        batch.push_exemplar(other, 8, start, 2.0);
    }

    #[test]
    fn histograms_and_exemplars_are_kept_whole() {
        let mut batch = Batch::new();
        let series = batch.add_series(LabelsRef::EMPTY, Series::NO_METADATA);
        add_histogram_and_exemplar(&mut batch, series, series);
        let mut lines = Lines::default();
        for point in &batch.points {
            lines.sample(&said(Reason::Poisoned, ""), LabelsRef::EMPTY, &batch, point);
        }
        let text = String::from_utf8(lines.text).unwrap();
        let parsed: Vec<Json> = text.lines().map(|line| serde_json::from_str(line).unwrap()).collect();
        assert_eq!(parsed[0]["histogram"]["positive_deltas"], json!([2, -1]));
        assert_eq!(parsed[0]["histogram"]["positive_spans"], json!([[-1, 2]]));
        assert_eq!(parsed[0]["start_timestamp"], json!(3));
        assert_eq!(parsed[1]["exemplar"], json!({"labels": {"trace_id": "x"}, "value": "2"}));
    }

    #[test]
    fn samples_past_the_limit_of_an_answer_are_counted() {
        let mut batch = Batch::new();
        let long = "x".repeat(10_000);
        let labels = Labels::from_pairs([("__name__", long.as_str())]);
        let series = batch.add_series(labels.as_ref(), Series::NO_METADATA);
        batch.push_float(series, 7, 1.0);
        let mut lines = Lines::default();
        for _ in 0..1000 {
            lines.sample(&said(Reason::Refused, ""), labels.as_ref(), &batch, &batch.points[0]);
        }
        assert_eq!(lines.samples() + lines.left_out(), 1000);
        assert!(lines.left_out() > 500 && lines.bytes() < WAITING_BYTES + (1 << 20));
        // Of a part only the refused samples count, whether they have a line or not.
        for (refused, left_out) in [(900, 500..900), (7, 7..8)] {
            let mut lines = Lines::default();
            let part = Some(Part { refused, of: 1000 });
            for _ in 0..1000 {
                let said = Said { part, ..said(Reason::Refused, "") };
                lines.sample(&said, labels.as_ref(), &batch, &batch.points[0]);
            }
            lines.end_parts(refused);
            assert_eq!(lines.samples() + lines.left_out(), refused);
            assert!(left_out.contains(&lines.left_out()), "{refused}: {}", lines.left_out());
        }
    }
}
