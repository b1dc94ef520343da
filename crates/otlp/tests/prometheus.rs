//! 300 generated requests are translated as Prometheus' own modules translate them. `oracle/main.go` has those.
#![allow(clippy::unwrap_used, clippy::indexing_slicing, reason = "a panic is how a test reports")]

mod generate;

use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use generate::{Generated, Random};
use model::{Batch, Counts, LabelsRef, Limits, Value};
use otlp::{Decoded, Encoding, Options};
use serde::{Deserialize, Serialize};
use std::collections::BTreeSet;
use std::io::Write;
use std::path::Path;
use std::process::{Command, Stdio};

/// The oracle's result for a request.
#[derive(Debug, Deserialize)]
struct Answer {
    protobuf: Option<String>,
    error: String,
    samples: Option<Vec<Sample>>,
}

#[derive(Debug, Deserialize)]
struct Sample {
    labels: Vec<(String, String)>,
    start: i64,
    time: i64,
    value: String,
    histogram: Option<Native>,
    exemplars: Option<Vec<Exemplar>>,
    family: String,
    r#type: String,
    unit: String,
    help: String,
}

#[derive(Debug, Deserialize, Serialize)]
struct Native {
    schema: i32,
    zero_threshold: String,
    zero_count: u64,
    count: u64,
    sum: String,
    positive: Vec<(i32, u32)>,
    positive_deltas: Vec<i64>,
    negative: Vec<(i32, u32)>,
    negative_deltas: Vec<i64>,
    bounds: Vec<String>,
    invalid: String,
}

#[derive(Debug, Deserialize)]
struct Exemplar {
    labels: Vec<(String, String)>,
    time: i64,
    value: String,
}

fn bits(value: f64) -> String {
    format!("{:016x}", value.to_bits())
}

fn stale() -> String {
    bits(model::stale_nan())
}

/// Labels without those that have no value, in order.
fn shown(labels: impl IntoIterator<Item = (String, String)>) -> String {
    let set: BTreeSet<(String, String)> = labels.into_iter().filter(|(_, value)| !value.is_empty()).collect();
    format!("{set:?}")
}

impl Sample {
    /// The result as texts, one for the sample and one for each exemplar. Without what narthex does otherwise: a
    /// start that is not before the sample is left out, and an exemplar without a time has that of its sample.
    fn texts(&self) -> Vec<String> {
        let labels = shown(self.labels.iter().cloned());
        let start = if self.start < self.time { self.start } else { 0 };
        let value = match &self.histogram {
            None => self.value.clone(),
            Some(native) if native.sum == stale() => "stale histogram".into(),
            Some(native) => serde_json::to_string(native).unwrap(),
        };
        let Sample { time, family, r#type, unit, help, .. } = self;
        let mut texts = vec![format!("{labels} {value} {start} {time} {family} {type} {unit} {help}")];
        for exemplar in self.exemplars.iter().flatten() {
            let time = if exemplar.time == 0 { *time } else { exemplar.time };
            texts.push(format!(
                "{labels} # {} {} {time}",
                shown(exemplar.labels.iter().cloned()),
                exemplar.value
            ));
        }
        texts
    }
}

fn pairs(labels: LabelsRef<'_>) -> Vec<(String, String)> {
    labels.iter().map(|(name, value)| (name.into_owned(), value.into_owned())).collect()
}

fn native(histogram: &model::Histogram) -> Native {
    let spans = |spans: &[model::BucketSpan]| spans.iter().map(|span| (span.offset, span.length)).collect();
    let Counts::Integer { count, zero, positive, negative } = &histogram.counts else { unreachable!() };
    Native {
        schema: histogram.schema,
        zero_threshold: bits(histogram.zero_threshold),
        zero_count: *zero,
        count: *count,
        sum: bits(histogram.sum),
        positive: spans(&histogram.positive_spans),
        positive_deltas: positive.clone(),
        negative: spans(&histogram.negative_spans),
        negative_deltas: negative.clone(),
        bounds: histogram.custom_values.iter().copied().map(bits).collect(),
        invalid: String::new(),
    }
}

/// The same texts for a batch.
fn texts(batch: &Batch) -> Vec<String> {
    let text = |point: &model::Point| {
        let series = batch.series[point.series as usize];
        let labels = shown(pairs(batch.labels(point.series)));
        let metadata = &batch.metadata[series.metadata as usize];
        let value = match point.value {
            Value::Float(value) => bits(value),
            Value::Histogram(index) => match &batch.histograms[index as usize] {
                histogram if histogram.is_stale() => "stale histogram".into(),
                histogram => serde_json::to_string(&native(histogram)).unwrap(),
            },
            Value::Exemplar(index) => {
                let exemplar = batch.exemplars[index as usize];
                let own = shown(pairs(LabelsRef::trusted(batch.slice(exemplar.labels))));
                return format!("{labels} # {own} {} {}", bits(exemplar.value), point.timestamp);
            }
        };
        format!(
            "{labels} {value} {} {} {} {} {} {}",
            point.start_timestamp,
            point.timestamp,
            metadata.family,
            metadata.kind.as_str(),
            metadata.unit,
            metadata.help
        )
    };
    let mut texts: Vec<String> = batch.points.iter().map(text).collect();
    texts.sort();
    texts
}

/// Builds the oracle. `None`, and said aloud, where that is not possible.
fn oracle(folder: &Path) -> Option<std::path::PathBuf> {
    let program = folder.join("oracle");
    let source = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/oracle");
    let built =
        Command::new("go").arg("-C").arg(&source).args(["build", "-o"]).arg(&program).arg(".").output();
    let why = match built {
        Ok(output) if output.status.success() => return Some(program),
        Ok(output) => String::from_utf8_lossy(&output.stderr).into_owned(),
        Err(error) => error.to_string(),
    };
    support::peers::skip(
        "NARTHEX_REQUIRE_ORACLE",
        &format!("Prometheus' modules can't be built with Go: {why}"),
    );
    None
}

fn ask(program: &Path, requests: &[Generated]) -> Vec<Answer> {
    let mut child = Command::new(program).stdin(Stdio::piped()).stdout(Stdio::piped()).spawn().unwrap();
    let mut input = child.stdin.take().unwrap();
    let lines: Vec<String> = requests.iter().map(Generated::line).collect();
    let writer = std::thread::spawn(move || {
        for line in lines {
            writeln!(input, "{line}").unwrap();
        }
    });
    let output = child.wait_with_output().unwrap();
    writer.join().unwrap();
    assert!(output.status.success());
    String::from_utf8(output.stdout)
        .unwrap()
        .lines()
        .map(|line| serde_json::from_str(line).unwrap())
        .collect()
}

fn decode(generated: &Generated, encoding: Encoding, body: &[u8]) -> Decoded {
    let accept = |_: i64| None;
    let options = Options::new(&generated.settings, Limits::default(), &accept);
    otlp::decode(encoding, body, &options).unwrap()
}

/// Compares sorted texts, and shows only those that one of the two lacks.
fn same(found: &[String], wanted: &[String], what: &str) {
    let lacks = |other: &[String], text: &&String| !other.contains(text);
    let more: Vec<_> = found.iter().filter(|text| lacks(wanted, text)).collect();
    let less: Vec<_> = wanted.iter().filter(|text| lacks(found, text)).collect();
    assert!(more.is_empty() && less.is_empty(), "{what}: too many: {more:#?}; missing: {less:#?}");
    assert_eq!(found.len(), wanted.len(), "{what}: something is there more than once");
}

#[test]
fn requests_become_the_series_of_prometheus() {
    let folder = tempfile::tempdir().unwrap();
    let Some(program) = oracle(folder.path()) else { return };
    let requests: Vec<Generated> = (0..300).map(|seed| Random::new(seed).request()).collect();
    let answers = ask(&program, &requests);
    assert_eq!(answers.len(), requests.len());
    let (mut compared, mut left_out) = (0, 0);
    for (seed, (generated, answer)) in requests.iter().zip(&answers).enumerate() {
        let body = STANDARD.decode(answer.protobuf.as_deref().unwrap_or_default()).unwrap();
        assert!(!body.is_empty(), "request {seed}: {}", answer.error);
        let here = decode(generated, Encoding::Protobuf, &body);
        let found = texts(&here.parsed.batch);
        let json = decode(generated, Encoding::Json, generated.json.to_string().as_bytes());
        same(&texts(&json.parsed.batch), &found, &format!("request {seed}: JSON and protobuf"));
        // Prometheus' storage refuses an invalid histogram, and the request with it. Here it is left out.
        let is_valid = |sample: &&Sample| {
            sample.histogram.as_ref().is_none_or(|native| native.sum == stale() || native.invalid.is_empty())
        };
        let samples = answer.samples.iter().flatten();
        let invalid = samples.clone().filter(|sample| !is_valid(sample)).count();
        let mut wanted: Vec<String> = samples.filter(is_valid).flat_map(Sample::texts).collect();
        wanted.sort();
        let mut found = found;
        if invalid > 0 || !answer.error.is_empty() {
            // The times of what is left out here do not count for `target_info`.
            let is_target_info = |text: &String| text.contains(r#"("__name__", "target_info")"#);
            found.retain(|text| !is_target_info(text));
            wanted.retain(|text| !is_target_info(text));
        }
        let rejected = &here.parsed.rejected;
        if answer.error.is_empty() {
            assert_eq!(rejected.samples as usize, invalid, "request {seed}: {rejected}");
            same(&found, &wanted, &format!("request {seed}, {:?}", generated.settings));
        } else {
            // Prometheus refuses the request. Here at least what it could translate is kept.
            for text in &wanted {
                let rejected = rejected.reasons.join("\n");
                assert!(found.contains(text), "request {seed}: {}\n{text}\n{rejected}", answer.error);
            }
        }
        compared += wanted.len();
        left_out += rejected.samples;
    }
    // So that the generator can't end up with nothing but empty requests.
    assert!(compared > 5000 && left_out > 100, "{compared} compared, {left_out} left out");
}
