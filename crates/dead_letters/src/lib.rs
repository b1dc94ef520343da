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

mod letter;
mod writer;

pub use letter::{Content, Letter, Sample, SampleKind};
pub use writer::Writer;

use model::{Batch, Counts, Histogram, LabelsRef, Point, Value};
use serde_json::{Map, Value as Json, json};
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
    series: Vec<Json>,
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
            let labels = labels_json(labels);
            self.bytes += labels.to_string().len();
            self.series.push(labels);
        }
    }

    fn more_series(&self) -> usize {
        self.seen.len() - self.series.len()
    }
}

/// A number of samples of a request. The receiver refused some of them without saying which.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
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
        let mut line = Map::new();
        line.insert("time".into(), said.time.into());
        line.insert("reason".into(), said.reason.as_str().into());
        line.insert("answer".into(), said.answer.into());
        if let Some(Part { refused, of }) = said.part {
            line.insert("refused".into(), refused.into());
            line.insert("of".into(), of.into());
        }
        line.insert("labels".into(), labels_json(labels));
        line.insert("timestamp".into(), point.timestamp.into());
        if point.start_timestamp != 0 {
            line.insert("start_timestamp".into(), point.start_timestamp.into());
        }
        match point.value {
            Value::Float(value) => line.insert("value".into(), number(value)),
            Value::Histogram(index) => batch
                .histograms
                .get(index as usize)
                .and_then(|h| line.insert("histogram".into(), histogram(h))),
            Value::Exemplar(index) => batch.exemplars.get(index as usize).and_then(|exemplar| {
                let labels = labels_json(LabelsRef::trusted(batch.slice(exemplar.labels)));
                line.insert("exemplar".into(), json!({"labels": labels, "value": number(exemplar.value)}))
            }),
        };
        self.put(&Json::Object(line));
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
        self.put(&json!({
            "time": time, "reason": "refused", "answer": answer, "refused": refused, "of": of.samples,
            "from": of.from, "to": of.to, "series": of.series, "more_series": of.more_series(),
        }));
    }

    fn put(&mut self, line: &Json) {
        self.text.extend_from_slice(line.to_string().as_bytes());
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

    /// Returns the number of samples without room.
    pub fn left_out(&self) -> u64 {
        self.left_out
    }
}

fn labels_json(labels: LabelsRef<'_>) -> Json {
    labels
        .iter()
        .map(|(name, value)| (name.into_owned(), Json::from(value.into_owned())))
        .collect::<Map<_, _>>()
        .into()
}

/// The text that replaces the value of a staleness marker.
const STALE: &str = "stale";

/// Encodes a value as Prometheus' API does: as a string, with `NaN`, `+Inf` and `-Inf`.
fn number(value: f64) -> Json {
    if model::is_stale(value) {
        return STALE.into();
    }
    if value.is_infinite() {
        return if value > 0.0 { "+Inf" } else { "-Inf" }.into();
    }
    value.to_string().into()
}

fn histogram(histogram: &Histogram) -> Json {
    let spans = |spans: &[model::BucketSpan]| {
        spans.iter().map(|span| json!([span.offset, span.length])).collect::<Vec<_>>()
    };
    let numbers = |values: &[f64]| values.iter().map(|value| number(*value)).collect::<Vec<_>>();
    let mut json = json!({
        "reset_hint": histogram.reset_hint as u8,
        "schema": histogram.schema,
        "zero_threshold": number(histogram.zero_threshold),
        "sum": number(histogram.sum),
        "positive_spans": spans(&histogram.positive_spans),
        "negative_spans": spans(&histogram.negative_spans),
        "custom_values": numbers(&histogram.custom_values),
    });
    let counts = match &histogram.counts {
        Counts::Integer { count, zero, positive, negative } => {
            json!({"count": count, "zero": zero, "positive_deltas": positive, "negative_deltas": negative})
        }
        Counts::Float { count, zero, positive, negative } => json!({
            "count": number(*count), "zero": number(*zero),
            "positive_counts": numbers(positive), "negative_counts": numbers(negative),
        }),
    };
    if let (Some(json), Json::Object(counts)) = (json.as_object_mut(), counts) {
        json.extend(counts);
    }
    json
}

#[cfg(test)]
pub(crate) mod tests {
    #![allow(clippy::unwrap_used, reason = "helper functions of tests")]
    use super::*;
    use model::{BucketSpan, Labels, ResetHint, Series};

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
