//! Graphite's plaintext protocol: `PATH[;TAG=VALUE…] VALUE [TIMESTAMP]`, one sample a line.
//!
//! - Dots and other characters that a metric name can't have become `_`: `servers.web-1.load` is
//!   `servers_web_1_load`. Tags become labels.
//! - The timestamp is in seconds, also with a fraction. `-1` or none means the time of arrival, as in carbon and
//!   VictoriaMetrics. Other negative timestamps, and those before 2001, are errors: a receiver would store them in 1970.
//! - NaN is no sample, as in carbon: collectd sends it for a value that it does not have.
//!
//! An invalid line costs only itself. Facts: the Graphite documentation and carbon's `lib/carbon/protocols.py`.

use crate::text::{FloatError, float};
use crate::time_unit::{SECONDS, TimeUnit};
use crate::{Mapped, Parsed, Recognise, Rejected};
use model::labels::METRIC_NAME;
use model::{LabelsBuilder, Limits, Series};

/// Why a line is rejected.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum LineError {
    #[error("the line is not UTF-8")]
    Encoding,
    #[error("a line is PATH VALUE [TIMESTAMP], this one has {}", model::words::counted(*.0 as u64, "part"))]
    Parts(usize),
    #[error("the path is empty")]
    NoPath,
    #[error("the mapping rule makes an empty metric name of the path")]
    NoMappedName,
    #[error("tag {0:?} is not NAME=VALUE")]
    Tag(String),
    #[error("value {0:?}: {1}")]
    Value(String, FloatError),
    #[error("timestamp {0:?} is not a number of seconds since 1970")]
    Timestamp(String),
    #[error("timestamp {0:?} is negative: write seconds since 1970, or -1 for the time of arrival")]
    Negative(String),
    #[error("timestamp {0:?} is before 2001-09-09: write seconds since 1970, or -1 for the time of arrival")]
    TooEarly(String),
    #[error("timestamp {0:?} is in {1}: Graphite has seconds")]
    Unit(String, TimeUnit),
    #[error("{0}")]
    Labels(#[from] model::LabelError),
}

/// Reads lines into a batch. `now_ms` is the timestamp of samples without one, in milliseconds since 1970. The labels
/// of series in `known` are not parsed again.
pub fn parse(text: &[u8], now_ms: i64, limits: &Limits, known: &mut dyn Recognise) -> Parsed {
    let mut parsed = Parsed::default();
    let mut name = String::new();
    let mut tags = String::new();
    for line in text.split(|byte| *byte == b'\n') {
        let line = line.strip_suffix(b"\r").unwrap_or(line);
        if line.trim_ascii().is_empty() {
            continue;
        }
        if let Err(error) = read(line, now_ms, limits, (&mut name, &mut tags), known, &mut parsed) {
            reject(&mut parsed.rejected, line, &error);
        }
    }
    parsed
}

fn reject(rejected: &mut Rejected, line: &[u8], error: &LineError) {
    rejected.samples += 1;
    rejected.explain(|| {
        let start: String = String::from_utf8_lossy(line).chars().take(80).collect();
        format!("{start:?}: {error}")
    });
}

fn read(
    line: &[u8],
    now_ms: i64,
    limits: &Limits,
    scratch: (&mut String, &mut String),
    known: &mut dyn Recognise,
    parsed: &mut Parsed,
) -> Result<(), LineError> {
    let line = std::str::from_utf8(line).map_err(|_| LineError::Encoding)?;
    let mut parts = line.split_ascii_whitespace();
    let (path, value) = match (parts.next(), parts.next()) {
        (Some(path), Some(value)) => (path, value),
        (first, _) => return Err(LineError::Parts(usize::from(first.is_some()))),
    };
    let timestamp = parts.next();
    let more = parts.count();
    if more > 0 {
        return Err(LineError::Parts(3 + more));
    }
    let value = float(value).map_err(|error| LineError::Value(value.to_string(), error))?;
    let timestamp = match timestamp {
        None => now_ms,
        Some(text) => milliseconds(text, now_ms)?,
    };
    if value.is_nan() {
        return Ok(());
    }
    let batch = &mut parsed.batch;
    let start = batch.bytes.len();
    if !known.find(path.as_bytes(), 0, &mut batch.bytes) {
        let dotted = path.split(';').next().unwrap_or_default().trim_matches('.');
        let mapped = known.map(dotted);
        if mapped == Mapped::Dropped {
            return Ok(());
        }
        labels(path, mapped, limits, scratch, &mut batch.bytes)?;
        known.learn(path.as_bytes(), 0, batch.bytes.get(start..).unwrap_or_default());
    }
    let series = batch.push_series(start, Series::NO_METADATA);
    known.assign(series);
    batch.push_float(series, timestamp, value);
    Ok(())
}

/// Appends the labels of a path and its tags to `out`, as `mapped` says. `scratch` holds the metric name and the names
/// of tags.
fn labels(
    path: &str,
    mapped: Mapped,
    limits: &Limits,
    (name, tags): (&mut String, &mut String),
    out: &mut Vec<u8>,
) -> Result<(), LineError> {
    let mut given = path.split(';');
    let path = given.next().unwrap_or_default().trim_matches('.');
    if path.is_empty() {
        return Err(LineError::NoPath);
    }
    name.clear();
    let (mut of_rule, mut tags_win) = (Vec::new(), false);
    match mapped {
        Mapped::To { name: mapped, labels, tags_win: win } => {
            if mapped.is_empty() {
                return Err(LineError::NoMappedName);
            }
            name.push_str(&mapped);
            (of_rule, tags_win) = (labels, win);
        }
        Mapped::Not | Mapped::Dropped => metric_name(path, name),
    }
    // Tag names that are not valid label names are rewritten into one buffer, so that the builder can borrow them.
    tags.clear();
    let mut pairs = Vec::new();
    for tag in given {
        let wrong = || LineError::Tag(tag.to_string());
        let (key, value) = tag.split_once('=').ok_or_else(wrong)?;
        if key.is_empty() || key.contains(['!', '^']) || value.starts_with('~') {
            return Err(wrong());
        }
        let start = tags.len();
        label_name(key, tags);
        pairs.push((start..tags.len(), value));
    }
    let mut builder = LabelsBuilder::new();
    builder.push(METRIC_NAME.as_bytes(), name.as_bytes());
    let tag_name = |key: &std::ops::Range<usize>| tags.get(key.clone()).unwrap_or_default();
    let of_rule =
        of_rule.iter().filter(|(key, _)| !tags_win || !pairs.iter().any(|(tag, _)| tag_name(tag) == key));
    let of_rule: Vec<&(String, String)> = of_rule.collect();
    for (key, value) in &pairs {
        let key = tag_name(key);
        if !of_rule.iter().any(|(of_rule, _)| of_rule == key) {
            builder.push(key.as_bytes(), value.as_bytes());
        }
    }
    for (key, value) in of_rule {
        builder.push(key.as_bytes(), value.as_bytes());
    }
    builder.finish(limits, out)?;
    Ok(())
}

/// A timestamp in milliseconds, from one in seconds with or without a fraction.
fn milliseconds(text: &str, now_ms: i64) -> Result<i64, LineError> {
    let (seconds, milliseconds) = match text.parse::<i64>() {
        Ok(seconds) => (seconds, seconds.saturating_mul(1000)),
        Err(_) => {
            let seconds = float(text).ok().filter(|seconds| seconds.abs() < i64::MAX as f64);
            let seconds = seconds.ok_or_else(|| LineError::Timestamp(text.to_string()))?;
            (seconds as i64, (seconds * 1000.0).round() as i64)
        }
    };
    match TimeUnit::of(seconds) {
        Some(TimeUnit::Seconds) => Ok(milliseconds),
        Some(unit) => Err(LineError::Unit(text.to_string(), unit)),
        None if milliseconds == -1000 => Ok(now_ms),
        None if milliseconds < 0 => Err(LineError::Negative(text.to_string())),
        None if seconds < SECONDS.start => Err(LineError::TooEarly(text.to_string())),
        // The intake checks the upper bound.
        None => Ok(milliseconds),
    }
}

/// Appends a path as a metric name.
fn metric_name(path: &str, out: &mut String) {
    if path.starts_with(|first: char| first.is_ascii_digit()) {
        out.push('_');
    }
    out.extend(path.chars().map(|c| if c.is_ascii_alphanumeric() || c == '_' || c == ':' { c } else { '_' }));
}

/// Appends the name of a tag as a label name.
fn label_name(tag: &str, out: &mut String) {
    if tag.starts_with(|first: char| first.is_ascii_digit()) {
        out.push('_');
    }
    out.extend(tag.chars().map(|c| if c.is_ascii_alphanumeric() || c == '_' { c } else { '_' }));
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::Unknown;

    const NOW: i64 = 1_800_000_000_000;

    fn samples(text: &str) -> (Vec<String>, Rejected) {
        let Parsed { batch, rejected } = parse(text.as_bytes(), NOW, &Limits::default(), &mut Unknown);
        let shown = batch.points.iter().map(|point| {
            let model::Value::Float(value) = point.value else { return "no float".into() };
            format!("{} {value} {}", batch.labels(point.series), point.timestamp)
        });
        (shown.collect(), rejected)
    }

    #[test]
    fn lines_are_read_as_carbon_and_vmagent_read_them() {
        for (line, sample) in [
            ("a.b.c 1 1700000000", "a_b_c 1 1700000000000"),
            ("a 1.5e3 1700000000.25", "a 1500 1700000000250"),
            ("a\t-2   1700000000\r", "a -2 1700000000000"),
            ("a 1 -1", "a 1 1800000000000"),
            ("a 1", "a 1 1800000000000"),
            ("a 1 1000000000", "a 1 1000000000000"),
            ("a 1 -1.0", "a 1 1800000000000"),
            ("a 1 -1e0", "a 1 1800000000000"),
            ("servers.web-1.9th.load% 1 1700000000", "servers_web_1_9th_load_ 1 1700000000000"),
            ("9a 1 1700000000", "_9a 1 1700000000000"),
            (".a.b. 1 1700000000", "a_b 1 1700000000000"),
            ("a;dc=eu;rack=r 1 1 1700000000", ""),
            ("a;dc=eu;rack=r1 1 1700000000", r#"a{dc="eu",rack="r1"} 1 1700000000000"#),
            ("a;dc.x=eu;empty= 1 1700000000", r#"a{dc_x="eu"} 1 1700000000000"#),
            ("disk;path=/var/lib;é=ü 1 1700000000", r#"disk{_="ü",path="/var/lib"} 1 1700000000000"#),
        ] {
            let wanted: Vec<&str> = [sample].into_iter().filter(|sample| !sample.is_empty()).collect();
            assert_eq!(samples(line).0, wanted, "{line}");
        }
    }

    #[test]
    fn an_invalid_line_costs_only_itself_and_has_a_reason() {
        for (line, reason) in [
            ("a", "a line is PATH VALUE [TIMESTAMP], this one has 1 part"),
            ("a 1 1700000000000", "timestamp \"1700000000000\" is in milliseconds: Graphite has seconds"),
            ("a 1 1700000000000.5", "timestamp \"1700000000000.5\" is in milliseconds"),
            ("a 1 1700000000000000", "timestamp \"1700000000000000\" is in microseconds"),
            ("a 1 1700000000000000000", "timestamp \"1700000000000000000\" is in nanoseconds"),
            ("a 1 1.7e18", "timestamp \"1.7e18\" is in nanoseconds"),
            (
                "a 1 -2",
                "timestamp \"-2\" is negative: write seconds since 1970, or -1 for the time of arrival",
            ),
            ("a 1 -0.5", "timestamp \"-0.5\" is negative"),
            ("a 1 -1.5", "timestamp \"-1.5\" is negative"),
            ("a 1 -1700000000", "timestamp \"-1700000000\" is negative"),
            ("a 1 0", "timestamp \"0\" is before 2001-09-09: write seconds since 1970"),
            ("a 1 0.25", "timestamp \"0.25\" is before 2001-09-09"),
            ("a 1 999999999", "timestamp \"999999999\" is before 2001-09-09"),
            ("a 1 nan", "timestamp \"nan\" is not a number of seconds"),
            ("a 1 inf", "timestamp \"inf\" is not a number of seconds"),
            ("a 1 2 3", "this one has 4 parts"),
            ("a x 1700000000", "value \"x\": not a number"),
            ("a 1e400 1700000000", "beyond the largest 64-bit float"),
            ("a 1 soon", "timestamp \"soon\" is not a number of seconds"),
            ("a 1 1e300", "timestamp \"1e300\" is not a number of seconds"),
            ("a;b 1 1700000000", "tag \"b\" is not NAME=VALUE"),
            ("a;=b 1 1700000000", "tag \"=b\" is not NAME=VALUE"),
            ("a;b=~c 1 1700000000", "tag \"b=~c\" is not NAME=VALUE"),
            ("a;b=1;b=2 1 1700000000", "label \"b\" is there twice"),
            (";b=1 1 1700000000", "the path is empty"),
        ] {
            let (kept, rejected) = samples(&format!("before 1 1700000000\n{line}\nafter 2 1700000000\n"));
            assert_eq!((kept.len(), rejected.samples), (2, 1), "{line}");
            let said = rejected.reasons.first().map(String::as_str).unwrap_or_default();
            assert!(said.contains(reason), "{line}: {said}");
        }
        assert_eq!(parse(b"a\xff 1 1", NOW, &Limits::default(), &mut Unknown).rejected.samples, 1);
    }

    #[test]
    fn nan_and_empty_lines_have_no_sample() {
        assert_eq!(samples("a nan 1700000000\n\n  \n\r\n"), (vec![], Rejected::default()));
    }
}
