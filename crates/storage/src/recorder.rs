//! The recorder turns a batch into records of the log. It knows which series the current segment already has.
//! It assigns each series its reference, writes the series that the segment lacks, and then the points, in
//! records of one kind each. Series are marked as recorded before they are durable; if the commit fails, the
//! committer has to unmark them.

use crate::arrange::arrange;
use crate::chunk::RecordSpan;
use crate::error::AppendError;
use crate::records::Builders;
use crate::registry::Registry;
use crate::shared::Shared;
use crate::state::StateFile;
use model::Batch;
use wal::{Position, WalError, Writer};

/// Number of references that are reserved in the state file at a time.
const REFERENCE_STEP: u64 = 1_000_000;
/// Size at which a series record is split, so that a lookup of one label set has to read little.
const SERIES_RECORD_BYTES: usize = 256 << 10;

/// Turns batches into records; see the module's documentation.
pub(crate) struct Recorder {
    registry: Registry,
    builders: Builders,
    /// Bytes of series records in this segment, before compression.
    series_bytes: u64,
}

/// The references of a batch's series.
pub(crate) struct References {
    /// Reference of each series, by its number in the batch.
    pub(crate) refs: Vec<u64>,
    /// Hashes, in order, of the series that this segment lacks. They are marked as recorded.
    pub(crate) marked: Vec<u128>,
}

/// Why no record, or only some records, of a batch are in the writer's buffer.
#[derive(Debug, thiserror::Error)]
pub(crate) enum RecordError {
    #[error(transparent)]
    Wal(#[from] WalError),
    /// An invariant was broken. It has been counted and logged.
    #[error("the batch does not fit together, by a mistake in narthex that its log describes")]
    Malformed,
}

/// The data records of a batch, and the position after them.
pub(crate) type Written = (Vec<RecordSpan>, Position);

impl Recorder {
    /// Makes a recorder that assigns references from `next` on. `segment` is the current segment, which is
    /// empty.
    pub(crate) fn new(next: u64, segment: u64) -> Recorder {
        Recorder { registry: Registry::new(next, segment), builders: Builders::default(), series_bytes: 0 }
    }

    /// Starts another, empty segment.
    pub(crate) fn begin_segment(&mut self, segment: u64) {
        self.registry.begin_segment(segment);
        self.series_bytes = 0;
    }

    /// Bytes of series records in this segment, before compression.
    pub(crate) fn series_bytes(&self) -> u64 {
        self.series_bytes
    }

    pub(crate) fn registry(&self) -> &Registry {
        &self.registry
    }

    /// Returns the references of the series with these hashes. New series get new references, which are
    /// durably reserved in `state` first. After an error no series is marked.
    pub(crate) fn resolve(
        &mut self,
        hashes: &[u128],
        shared: &Shared,
        state: &mut StateFile,
    ) -> Result<References, AppendError> {
        self.reserve(hashes.len() as u64, state)?;
        let max = shared.options.max_series;
        let first_new = self.registry.next_reference();
        let (mut refs, mut marked) = (Vec::with_capacity(hashes.len()), Vec::new());
        for hash in hashes {
            let Some(resolved) = self.registry.resolve(*hash, max) else {
                self.unmark(&marked);
                return Err(AppendError::TooManySeries { limit: max });
            };
            if resolved.needs_record {
                marked.push(*hash);
            }
            refs.push(resolved.reference);
        }
        shared.stats.series_created.add(self.registry.next_reference() - first_new);
        Ok(References { refs, marked })
    }

    fn reserve(&self, most: u64, state: &mut StateFile) -> Result<(), AppendError> {
        let needed = self.registry.next_reference() + most;
        if needed <= state.state.references {
            return Ok(());
        }
        let reserved = std::mem::replace(&mut state.state.references, needed + REFERENCE_STEP);
        state.save(true).map_err(|error| {
            // The reservation is not durable, so the next batch has to try again.
            state.state.references = reserved;
            AppendError::Failed(format!("{}: {error}", state.path().display()))
        })
    }

    /// Unmarks series whose records are not in the log.
    pub(crate) fn unmark(&mut self, marked: &[u128]) {
        marked.iter().for_each(|hash| self.registry.unmark(*hash));
    }

    /// Appends the records of a batch to the writer's buffer: the series that this segment lacks, then the
    /// points. Returns `None` if the batch has no points.
    pub(crate) fn write(
        &mut self,
        writer: &mut Writer,
        batch: &mut Batch,
        hashes: &[u128],
        references: &References,
    ) -> Result<Option<Written>, RecordError> {
        self.write_series(writer, batch, hashes, references)?;
        let refs = &references.refs;
        let runs = arrange(batch, refs);
        let mut spans = Vec::with_capacity(runs.len());
        let mut end = None;
        for run in runs {
            let record = self.builders.points(batch, refs, &run).ok_or(RecordError::Malformed)?;
            let span = writer.append(record)?;
            spans.push(RecordSpan { offset: span.start, first_point: run.points.start as u32 });
            end = Some(Position::record(writer.segment(), span.end));
        }
        Ok(end.map(|end| (spans, end)))
    }

    fn write_series(
        &mut self,
        writer: &mut Writer,
        batch: &Batch,
        hashes: &[u128],
        References { refs, marked }: &References,
    ) -> Result<(), WalError> {
        let mut wanted = marked.iter().peekable();
        let builder = &mut self.builders.series;
        builder.clear();
        for (number, (hash, reference)) in hashes.iter().zip(refs).enumerate() {
            if wanted.peek().is_none() {
                break;
            }
            if wanted.next_if(|wanted| *wanted == hash).is_none() {
                continue;
            }
            builder.push(*reference, batch.labels(number as u32));
            if builder.bytes().len() >= SERIES_RECORD_BYTES || wanted.peek().is_none() {
                self.series_bytes += builder.bytes().len() as u64;
                writer.append(builder.bytes())?;
                builder.clear();
            }
        }
        Ok(())
    }
}
