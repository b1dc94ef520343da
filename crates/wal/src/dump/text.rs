//! A dump for people. Each line has the kind of entry, the series, the timestamp in milliseconds, and the
//! value.

use super::{Entry, Format, Wrote};
use model::{Counts, Histogram, LabelsRef};
use std::io::{self, Write};

pub(super) struct Text;

impl Format for Text {
    fn entry(
        &mut self,
        out: &mut dyn Write,
        entry: &Entry<'_>,
        series: Option<(u32, LabelsRef<'_>)>,
    ) -> io::Result<Wrote> {
        let reference = entry.reference();
        let name = match series {
            Some((_, labels)) => labels.to_string(),
            None => format!("#{reference}"),
        };
        match entry {
            Entry::Series(_) => writeln!(out, "series    #{reference} {name}")?,
            Entry::Sample(entry) => {
                write!(out, "sample    {name} {} {}", entry.timestamp, entry.value)?;
                end(out, entry.value, entry.start_timestamp)?;
            }
            Entry::Histogram(entry) => {
                write!(out, "histogram {name} {} ", entry.timestamp)?;
                histogram(out, &entry.histogram)?;
                end(out, entry.histogram.sum, entry.start_timestamp)?;
            }
            Entry::Exemplar(entry) => {
                writeln!(out, "exemplar  {name} {} {} {}", entry.timestamp, entry.value, entry.labels)?;
            }
            Entry::Metadata(entry) => {
                let (unit, help) = (String::from_utf8_lossy(entry.unit), String::from_utf8_lossy(entry.help));
                writeln!(out, "metadata  {name} {} unit={unit:?} help={help:?}", entry.kind.as_str())?;
            }
            Entry::Tombstone(entry) => writeln!(out, "tombstone {name} {} to {}", entry.from, entry.to)?,
        }
        Ok(Wrote::It)
    }
}

fn end(out: &mut dyn Write, value: f64, start: i64) -> io::Result<()> {
    if model::is_stale(value) {
        write!(out, " (stale)")?;
    }
    if start != 0 {
        write!(out, " since {start}")?;
    }
    writeln!(out)
}

fn histogram(out: &mut dyn Write, histogram: &Histogram) -> io::Result<()> {
    let (count, buckets) = match &histogram.counts {
        Counts::Integer { count, positive, negative, .. } => (*count as f64, positive.len() + negative.len()),
        Counts::Float { count, positive, negative, .. } => (*count, positive.len() + negative.len()),
    };
    write!(out, "count={count} sum={} schema={} buckets={buckets}", histogram.sum, histogram.schema)
}
