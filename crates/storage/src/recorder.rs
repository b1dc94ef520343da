//! The recorder: makes a batch into the log's records. It knows what the segment being written has already, so
//! it gives each series its reference, writes the series that the segment lacks before their first points, and
//! then the points, in records of one kind each. What it marks as written counts only once it is durable: the
//! committer has it unmarked where that fails.

use crate::arrange::arrange;
use crate::chunk::RecordSpan;
use crate::error::AppendError;
use crate::records::Builders;
use crate::registry::Registry;
use crate::shared::Shared;
use crate::state::StateFile;
use model::Batch;
use wal::{Position, WalError, Writer};

/// References are reserved in the state file by this many at a time.
const REFERENCE_STEP: u64 = 1_000_000;
/// A series record is cut at this size, so that a reader that looks a label set up reads little.
const SERIES_RECORD_BYTES: usize = 256 << 10;

/// See the module.
pub(crate) struct Recorder {
    registry: Registry,
    builders: Builders,
    /// Bytes of series records in this segment, before compression.
    series_bytes: u64,
}

/// The references of a batch's series.
pub(crate) struct References {
    /// By the series' number in the batch.
    pub(crate) refs: Vec<u64>,
    /// The hashes, in order, of those that this segment lacks: they are marked as recorded.
    pub(crate) marked: Vec<u128>,
}

/// Why the records of a batch are not in the writer's buffer, or only some of them.
#[derive(Debug, thiserror::Error)]
pub(crate) enum RecordError {
    #[error(transparent)]
    Wal(#[from] WalError),
    /// A broken invariant, which has been counted and logged.
    #[error("the batch does not fit together, by a mistake in narthex that its log describes")]
    Malformed,
}

/// The data records of a batch, and where what follows them begins.
pub(crate) type Written = (Vec<RecordSpan>, Position);

impl Recorder {
    /// One that gives out references from `next` on, for segment `segment`, which is empty.
    pub(crate) fn new(next: u64, segment: u64) -> Recorder {
        Recorder { registry: Registry::new(next, segment), builders: Builders::default(), series_bytes: 0 }
    }

    /// Another segment, which is empty, is being written.
    pub(crate) fn begin_segment(&mut self, segment: u64) {
        self.registry.begin_segment(segment);
        self.series_bytes = 0;
    }

    /// Bytes of series records in this segment, before compression.
    pub(crate) fn series_bytes(&self) -> u64 {
        self.series_bytes
    }

    /// What is known of series.
    pub(crate) fn registry(&self) -> &Registry {
        &self.registry
    }

    /// The references of the series with these hashes, new ones where needed, and durably reserved in `state`
    /// before they are given out. On an error nothing is marked.
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
            // What is not durable is not reserved: the next batch has to try again.
            state.state.references = reserved;
            AppendError::Failed(format!("{}: {error}", state.path().display()))
        })
    }

    /// The records of these series are not in the log after all.
    pub(crate) fn unmark(&mut self, marked: &[u128]) {
        marked.iter().for_each(|hash| self.registry.unmark(*hash));
    }

    /// Appends the records of a batch to the writer's buffer: the series that this segment lacks, then the
    /// points. `None` where the batch has no points.
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
