//! Dumps the contents of a log as text, JSON lines, or OpenMetrics.
//!
//! All three formats are written while the log is read. Memory is needed only for label sets, and has a
//! limit. Series beyond the limit are counted as left out. Text and JSON write the samples of these series
//! with their reference only; OpenMetrics leaves the samples out.
//!
//! The OpenMetrics output is meant for `promtool tsdb create-blocks-from openmetrics`. promtool accepts
//! series in any order, but the samples of one series must be sorted by time, with one sample per timestamp.
//! So a sample that is not newer than the one before it in its series is left out. What the format cannot
//! express is left out too: native histograms, staleness markers, and all exemplars (OpenMetrics allows them
//! only on counters and buckets).

mod json;
pub mod open_metrics;
mod text;

use crate::error::Damage;
use crate::fs::Filesystem;
use crate::label_store::LabelStore;
use crate::log::{self, LogSource, ProgressFn, ToolError};
use crate::record::{self, ExemplarEntry, HistogramEntry, MetadataEntry, RecordType, SampleEntry, Tombstone};
use model::LabelsRef;
use std::io::{self, Write};

#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum DumpFormat {
    /// One line per entry, for people.
    #[default]
    Text,
    /// One JSON object per line and entry.
    Json,
    /// OpenMetrics, for `promtool tsdb create-blocks-from openmetrics`.
    OpenMetrics,
}

impl std::str::FromStr for DumpFormat {
    type Err = String;

    fn from_str(word: &str) -> Result<Self, String> {
        match word {
            "text" => Ok(Self::Text),
            "json" => Ok(Self::Json),
            "openmetrics" => Ok(Self::OpenMetrics),
            _ => Err(format!("{word:?} is no format of a dump; use text, json or openmetrics")),
        }
    }
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct DumpOptions {
    pub format: DumpFormat,
    /// Earliest timestamp of the samples to dump, in milliseconds since 1970.
    pub from: i64,
    /// Latest timestamp of the samples to dump.
    pub to: i64,
    /// Memory for label sets, in bytes.
    pub label_bytes: usize,
}

impl Default for DumpOptions {
    /// Dumps all samples as text, with 512 MiB for label sets.
    fn default() -> Self {
        DumpOptions { format: DumpFormat::Text, from: i64::MIN, to: i64::MAX, label_bytes: 512 << 20 }
    }
}

/// Result of [`dump`].
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct DumpReport {
    /// Entries written.
    pub written: u64,
    /// Series records whose labels did not fit into the memory limit.
    pub series_left_out: u64,
    /// Entries that are left out because the format cannot express them.
    pub inexpressible: u64,
    /// Samples that are left out because they are not newer than the previous sample of their series.
    pub out_of_order: u64,
    /// Samples that are left out because the labels of their series are unknown.
    pub unknown_series: u64,
    /// What could not be read.
    pub damage: Vec<Damage>,
}

#[derive(Debug)]
enum Entry<'a> {
    Series(u64),
    Sample(SampleEntry),
    Histogram(&'a HistogramEntry),
    Exemplar(ExemplarEntry<'a>),
    Metadata(MetadataEntry<'a>),
    Tombstone(Tombstone),
}

impl Entry<'_> {
    fn reference(&self) -> u64 {
        match self {
            Entry::Series(reference) => *reference,
            Entry::Sample(entry) => entry.reference,
            Entry::Histogram(entry) => entry.reference,
            Entry::Exemplar(entry) => entry.reference,
            Entry::Metadata(entry) => entry.reference,
            Entry::Tombstone(entry) => entry.reference,
        }
    }

    fn timestamp(&self) -> Option<i64> {
        match self {
            Entry::Sample(entry) => Some(entry.timestamp),
            Entry::Histogram(entry) => Some(entry.timestamp),
            Entry::Exemplar(entry) => Some(entry.timestamp),
            _ => None,
        }
    }
}

/// Writes entries in one format. `series` is the number of the entry's label set, with the labels; `None` if
/// the labels are unknown.
trait Format {
    fn entry(
        &mut self,
        out: &mut dyn Write,
        entry: &Entry<'_>,
        series: Option<(u32, LabelsRef<'_>)>,
    ) -> io::Result<Wrote>;

    fn end(&mut self, _: &mut dyn Write) -> io::Result<()> {
        Ok(())
    }
}

enum Wrote {
    It,
    /// The format has no line for this entry, but its content appears in other lines.
    Implied,
    Inexpressible,
    OutOfOrder,
    UnknownSeries,
}

/// Writes the contents of a log, checkpoint included, to `out`. `out` should be buffered.
pub fn dump<'a>(
    fs: &dyn Filesystem,
    log: impl Into<LogSource<'a>>,
    options: DumpOptions,
    out: &mut dyn Write,
    progress: ProgressFn<'_>,
) -> Result<DumpReport, ToolError> {
    let files = log.into().files(fs)?;
    let mut format: Box<dyn Format> = match options.format {
        DumpFormat::Text => Box::new(text::Text),
        DumpFormat::Json => Box::new(json::Json),
        DumpFormat::OpenMetrics => Box::new(open_metrics::OpenMetrics::default()),
    };
    let mut labels = LabelStore::new(options.label_bytes);
    let mut report = DumpReport::default();
    let damage = log::for_each_record(fs, &files, progress, |_, record| {
        if let Ok(series) = record::series(record.bytes) {
            for (reference, set) in series.map_while(Result::ok) {
                labels.insert(reference, set);
            }
        }
        each_entry(record.kind, record.bytes, &mut |entry| {
            if entry.timestamp().is_some_and(|time| time < options.from || time > options.to) {
                return Ok(());
            }
            let series = labels.find(entry.reference()).map(|set| (set, labels.get(set)));
            let count = match format.entry(out, &entry, series)? {
                Wrote::Implied => return Ok(()),
                Wrote::It => &mut report.written,
                Wrote::Inexpressible => &mut report.inexpressible,
                Wrote::OutOfOrder => &mut report.out_of_order,
                Wrote::UnknownSeries => &mut report.unknown_series,
            };
            *count += 1;
            Ok(())
        })?;
        Ok::<_, ToolError>(())
    })?;
    format.end(out)?;
    out.flush()?;
    Ok(DumpReport { damage, series_left_out: labels.left_out(), ..report })
}

/// Calls `each` for the entries of a record, up to the first malformed one.
fn each_entry(
    kind: RecordType,
    bytes: &[u8],
    each: &mut dyn FnMut(Entry<'_>) -> io::Result<()>,
) -> io::Result<()> {
    macro_rules! entries {
        ($read:expr, $entry:expr) => {
            $read.into_iter().flatten().map_while(Result::ok).try_for_each(|entry| each($entry(entry)))
        };
    }
    match kind {
        RecordType::Series => entries!(record::series(bytes), |(reference, _)| Entry::Series(reference)),
        RecordType::Samples | RecordType::SamplesWithStart => {
            entries!(record::samples(bytes), Entry::Sample)
        }
        RecordType::Exemplars => entries!(record::exemplars(bytes), Entry::Exemplar),
        RecordType::Metadata => entries!(record::metadata(bytes), Entry::Metadata),
        RecordType::Tombstones => entries!(record::tombstones(bytes), Entry::Tombstone),
        kind if kind.is_histograms() => {
            let read = record::histograms(bytes).into_iter().flatten();
            read.map_while(Result::ok).try_for_each(|entry| each(Entry::Histogram(&entry)))
        }
        _ => Ok(()),
    }
}

#[cfg(test)]
mod tests;
