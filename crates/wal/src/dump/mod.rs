//! Dumps: what is in a log, as text, JSON lines, or OpenMetrics.
//!
//! All three write what they read as they read it. Memory is that of the label sets, which have a budget:
//! series beyond it are counted as left out, and their samples are written with their reference only, or,
//! in OpenMetrics, not at all.
//!
//! OpenMetrics is written for `promtool tsdb create-blocks-from openmetrics`, which takes samples in any
//! order of series, but of each series in the order of time, each moment once. So a sample that is not newer
//! than the one before it in its series is left out, as is what the format cannot say: native histograms,
//! exemplars of anything but counters and buckets (so all of them), and staleness markers.

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

/// How a dump looks.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum DumpFormat {
    /// A line for each entry, for people.
    #[default]
    Text,
    /// A JSON object on a line for each entry.
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

/// What to dump, and how.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct DumpOptions {
    /// How it looks.
    pub format: DumpFormat,
    /// Samples from this time on, in milliseconds since 1970.
    pub from: i64,
    /// Samples up to this time.
    pub to: i64,
    /// Memory for label sets.
    pub label_bytes: usize,
}

impl Default for DumpOptions {
    /// All of it as text, with 512 MiB for label sets.
    fn default() -> Self {
        DumpOptions { format: DumpFormat::Text, from: i64::MIN, to: i64::MAX, label_bytes: 512 << 20 }
    }
}

/// What [`dump`] did.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct DumpReport {
    /// Entries written.
    pub written: u64,
    /// Series whose labels did not fit the budget.
    pub series_left_out: u64,
    /// Entries that are not in the output: of a kind that the format lacks.
    pub inexpressible: u64,
    /// Samples that are not in the output: not newer than the one before in their series.
    pub out_of_order: u64,
    /// Samples that are not in the output: of a series whose labels are not known.
    pub unknown_series: u64,
    /// What could not be read.
    pub damage: Vec<Damage>,
}

/// An entry of a record.
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

/// What a format does with an entry and its series' number and labels.
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

/// Whether an entry was written.
enum Wrote {
    It,
    /// It is not to be seen in this format, but nothing is missing.
    Implied,
    Inexpressible,
    OutOfOrder,
    UnknownSeries,
}

/// Writes what is in a log, checkpoint included, to `out`, which should be buffered.
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

/// Hands out the entries of a record, up to where it is malformed.
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
