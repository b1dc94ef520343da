//! Converts batches into records, and records back into batches.

use crate::arrange::Run;
use model::{Batch, Exemplar, LabelsRef, Point, Span, Value};
use wal::record::{
    self, DecodeError, ExemplarsBuilder, HistogramsBuilder, RecordType, SamplesBuilder, SeriesBuilder,
};

/// Builders for all kinds of records, which keep their memory.
#[derive(Default)]
pub(crate) struct Builders {
    pub(crate) series: SeriesBuilder,
    samples: SamplesBuilder,
    samples_with_start: Option<SamplesBuilder>,
    exemplars: ExemplarsBuilder,
    histograms: Vec<(RecordType, HistogramsBuilder)>,
}

impl Builders {
    /// Encodes a run of points as a record. Returns `None` if the batch is inconsistent, which only a bug in
    /// narthex can cause. Otherwise a point without its series would be stored as a point of another series.
    pub(crate) fn points(&mut self, batch: &Batch, refs: &[u64], run: &Run) -> Option<&[u8]> {
        let record = self.record(batch, refs, run);
        model::invariant!(
            record.is_some(),
            "every point of a batch has its series and its value",
            kind = format_args!("{:?}", run.kind),
        );
        record
    }

    fn record(&mut self, batch: &Batch, refs: &[u64], run: &Run) -> Option<&[u8]> {
        let points = batch.points.get(run.points.clone())?;
        let reference = |point: &Point| refs.get(point.series as usize).copied();
        match run.kind {
            RecordType::Samples | RecordType::SamplesWithStart => {
                let builder = if run.kind == RecordType::Samples {
                    &mut self.samples
                } else {
                    self.samples_with_start.get_or_insert_with(SamplesBuilder::with_start_timestamps)
                };
                builder.clear();
                for point in points {
                    let Value::Float(value) = point.value else { return None };
                    builder.push(reference(point)?, point.timestamp, point.start_timestamp, value);
                }
                Some(builder.bytes())
            }
            RecordType::Exemplars => {
                self.exemplars.clear();
                for point in points {
                    let Value::Exemplar(index) = point.value else { return None };
                    let exemplar = batch.exemplars.get(index as usize)?;
                    let labels = LabelsRef::trusted(batch.slice(exemplar.labels));
                    self.exemplars.push(reference(point)?, point.timestamp, exemplar.value, labels);
                }
                Some(self.exemplars.bytes())
            }
            kind => {
                let known = self.histograms.iter().position(|(other, _)| *other == kind);
                let index = known.or_else(|| {
                    self.histograms.push((kind, HistogramsBuilder::new(kind)?));
                    Some(self.histograms.len() - 1)
                });
                let (_, builder) = self.histograms.get_mut(index?)?;
                builder.clear();
                for point in points {
                    let Value::Histogram(index) = point.value else { return None };
                    let histogram = batch.histograms.get(index as usize)?;
                    let fits =
                        builder.push(reference(point)?, point.timestamp, point.start_timestamp, histogram);
                    if !fits {
                        return None;
                    }
                }
                Some(builder.bytes())
            }
        }
    }
}

/// Decodes a data record into `batch`; the exemplars' labels go into the batch's arena. `series` returns the
/// batch's number of a reference. Points with an unknown reference get [`NO_SERIES`]. Returns the number of
/// these points.
pub(crate) fn read_points(
    kind: RecordType,
    bytes: &[u8],
    batch: &mut Batch,
    mut series: impl FnMut(&mut Batch, u64) -> Option<u32>,
) -> Result<u64, DecodeError> {
    let mut unknown = 0;
    let mut push = |batch: &mut Batch, reference, timestamp, start_timestamp, value| {
        // A point without a series keeps its place, so that the indexes of later points match the log.
        let series = series(batch, reference).unwrap_or_else(|| {
            unknown += 1;
            NO_SERIES
        });
        batch.points.push(Point { series, timestamp, start_timestamp, value });
    };
    match kind {
        RecordType::Samples | RecordType::SamplesWithStart => {
            for entry in record::samples(bytes)? {
                let entry = entry?;
                push(
                    batch,
                    entry.reference,
                    entry.timestamp,
                    entry.start_timestamp,
                    Value::Float(entry.value),
                );
            }
        }
        RecordType::Exemplars => {
            for entry in record::exemplars(bytes)? {
                let entry = entry?;
                let start = batch.bytes.len() as u32;
                batch.bytes.extend_from_slice(entry.labels.as_bytes());
                let labels = Span { start, len: entry.labels.as_bytes().len() as u32 };
                batch.exemplars.push(Exemplar { labels, value: entry.value });
                let value = Value::Exemplar(batch.exemplars.len() as u32 - 1);
                push(batch, entry.reference, entry.timestamp, 0, value);
            }
        }
        kind if kind.is_histograms() => {
            for entry in record::histograms(bytes)? {
                let entry = entry?;
                batch.histograms.push(entry.histogram);
                let value = Value::Histogram(batch.histograms.len() as u32 - 1);
                push(batch, entry.reference, entry.timestamp, entry.start_timestamp, value);
            }
        }
        _ => {}
    }
    Ok(unknown)
}

/// Used instead of a series' number if the series record could not be read. Queues skip these points.
pub const NO_SERIES: u32 = u32::MAX;

/// Returns true if records of this type hold points.
pub(crate) fn is_data(kind: RecordType) -> bool {
    matches!(kind, RecordType::Samples | RecordType::SamplesWithStart | RecordType::Exemplars)
        || kind.is_histograms()
}
