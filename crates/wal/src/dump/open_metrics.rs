//! A dump for `promtool tsdb create-blocks-from openmetrics`.

use super::{Entry, Format, Wrote};
use model::LabelsRef;
use model::labels::{METRIC_NAME, is_legacy_label_name, is_legacy_metric_name};
use std::io::{self, Write};

/// The OpenMetrics format. Tracks the newest timestamp of each series, by the number of its label set.
#[derive(Default)]
pub(super) struct OpenMetrics {
    newest: Vec<Option<i64>>,
}

/// Writes a sample as a line of OpenMetrics. Returns false, and writes nothing, if the series has no metric
/// name, which OpenMetrics requires.
pub fn write_sample(
    out: &mut dyn Write,
    labels: LabelsRef<'_>,
    timestamp: i64,
    value: f64,
) -> io::Result<bool> {
    let Some(name) = labels.metric_name() else { return Ok(false) };
    // A name that does not match the old pattern is written in quotes, among the labels.
    let plain = is_legacy_metric_name(name);
    if plain {
        out.write_all(name)?;
    }
    out.write_all(b"{")?;
    let mut first = true;
    if !plain {
        quoted(out, name)?;
        first = false;
    }
    for (name, value) in labels.pairs().filter(|(name, _)| *name != METRIC_NAME.as_bytes()) {
        if !first {
            out.write_all(b",")?;
        }
        first = false;
        if is_legacy_label_name(name) {
            out.write_all(name)?
        } else {
            quoted(out, name)?
        }
        out.write_all(b"=")?;
        quoted(out, value)?;
    }
    out.write_all(b"} ")?;
    match value {
        f64::INFINITY => out.write_all(b"+Inf")?,
        f64::NEG_INFINITY => out.write_all(b"-Inf")?,
        value => write!(out, "{value}")?,
    }
    let sign = if timestamp < 0 { "-" } else { "" };
    let millis = timestamp.unsigned_abs();
    writeln!(out, " {sign}{}.{:03}", millis / 1000, millis % 1000)?;
    Ok(true)
}

/// Writes the line that ends an OpenMetrics text.
pub fn write_end(out: &mut dyn Write) -> io::Result<()> {
    out.write_all(b"# EOF\n")
}

impl Format for OpenMetrics {
    fn entry(
        &mut self,
        out: &mut dyn Write,
        entry: &Entry<'_>,
        series: Option<(u32, LabelsRef<'_>)>,
    ) -> io::Result<Wrote> {
        let sample = match entry {
            Entry::Series(_) => return Ok(Wrote::Implied),
            Entry::Sample(sample) if !model::is_stale(sample.value) => sample,
            _ => return Ok(Wrote::Inexpressible),
        };
        let Some((set, labels)) = series else { return Ok(Wrote::UnknownSeries) };
        if labels.metric_name().is_none() {
            return Ok(Wrote::Inexpressible);
        }
        let index = set as usize;
        if self.newest.len() <= index {
            self.newest.resize(index + 1, None);
        }
        if let Some(newest) = self.newest.get_mut(index) {
            if newest.is_some_and(|newest| sample.timestamp <= newest) {
                return Ok(Wrote::OutOfOrder);
            }
            *newest = Some(sample.timestamp);
        }
        write_sample(out, labels, sample.timestamp, sample.value)?;
        Ok(Wrote::It)
    }

    fn end(&mut self, out: &mut dyn Write) -> io::Result<()> {
        write_end(out)
    }
}

fn quoted(out: &mut dyn Write, text: &[u8]) -> io::Result<()> {
    out.write_all(b"\"")?;
    for part in text.split_inclusive(|byte| matches!(byte, b'"' | b'\\' | b'\n')) {
        match part.split_last() {
            Some((b'\n', front)) => {
                out.write_all(front)?;
                out.write_all(b"\\n")?;
            }
            Some((special @ (b'"' | b'\\'), front)) => {
                out.write_all(front)?;
                out.write_all(&[b'\\', *special])?;
            }
            _ => out.write_all(part)?,
        }
    }
    out.write_all(b"\"")
}
