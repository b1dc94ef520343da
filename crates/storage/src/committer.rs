//! The committer: the one thread that writes the log.
//!
//! It takes everything that waits (no timer), gives series their references, writes all of it and syncs
//! once; then all of them are answered. What arrives meanwhile is the next group, bounded in bytes. So a
//! lone push costs one sync, and a thousand at once cost one too.
//!
//! Order matters in three places: a series' record goes before its first sample in a segment; the tail and
//! the answers come after the sync; and when the sync fails, what was marked as recorded is unmarked.

use crate::arrange::arrange;
use crate::chunk::{Chunk, RecordSpan};
use crate::error::{AppendError, OpenError};
use crate::journal::{Found, JournalLog};
use crate::records::Builders;
use crate::registry::Registry;
use crate::reserve::Reserve;
use crate::shared::Shared;
use crate::state::StateFile;
use model::{Batch, Kinds};
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::sync::mpsc::Receiver;
use std::time::{Duration, Instant};
use tokio::sync::oneshot;
use wal::{CommitError, DurableEnd, Position, Writer, WriterOptions};

/// References are reserved in the state file by this many at a time.
const REFERENCE_STEP: u64 = 1_000_000;
/// The state file's hint of the durable end is renewed when the log has grown by this much.
const HINT_BYTES: u64 = 1 << 20;
/// Most jobs of one group, whatever their size.
const MAX_GROUP_JOBS: usize = 4096;
/// A series record is cut at this size, so that a reader that looks a label set up reads little.
const SERIES_RECORD_BYTES: usize = 256 << 10;
/// How often a full disk is looked at again.
const FULL_RETRY: Duration = Duration::from_millis(500);

pub(crate) type Reply<T> = oneshot::Sender<T>;
/// The number of a journal, and its entries.
pub(crate) type OpenedJournal = (usize, Vec<Vec<u8>>);

/// What the committer is asked to do.
pub(crate) enum Job {
    Append(Append),
    OpenJournal { name: &'static str, reply: Reply<Result<OpenedJournal, OpenError>> },
    Rewrite { journal: usize, entries: Vec<Vec<u8>>, reply: Reply<Result<(), AppendError>> },
    Close,
}

/// A batch to be committed.
pub(crate) struct Append {
    pub(crate) batch: Batch,
    /// The hash of each series' label set.
    pub(crate) hashes: Vec<u128>,
    /// An entry of a journal to go with it.
    pub(crate) entry: Option<(usize, Vec<u8>)>,
    /// What it counts against the bytes that may wait.
    pub(crate) bytes: usize,
    pub(crate) arrived: Duration,
    pub(crate) reply: Reply<Result<(), AppendError>>,
}

/// A batch that is in the writer's buffer and waits for the sync.
struct Pending {
    chunk: Option<Chunk>,
    /// Series that were marked as recorded for it.
    marked: Vec<u128>,
    kinds: Kinds,
    reply: Reply<Result<(), AppendError>>,
}

pub(crate) struct Committer {
    shared: Arc<Shared>,
    writer: Writer,
    registry: Registry,
    state: StateFile,
    journals: Vec<(&'static str, JournalLog)>,
    /// Bytes of series records in this segment, before compression.
    series_bytes: u64,
    /// End of the last chunk; the next one begins here.
    last_end: Position,
    /// The segment was closed after a failure, and no new one could be begun yet.
    needs_segment: bool,
    /// The disk is full since, and was last looked at then.
    full_checked: Option<Instant>,
    reserve: Reserve,
    builders: Builders,
}

impl Committer {
    pub(crate) fn new(shared: Arc<Shared>, writer: Writer, state: StateFile) -> Result<Committer, OpenError> {
        let segment = writer.segment();
        let registry = Registry::new(state.state.references.max(1), segment);
        let mut committer = Committer {
            last_end: Position::start_of(segment),
            reserve: Reserve::new(&shared.options),
            shared,
            writer,
            registry,
            state,
            journals: Vec::new(),
            series_bytes: 0,
            needs_segment: false,
            full_checked: None,
            builders: Builders::default(),
        };
        let (meta, entries) = committer.open_journal("meta")?;
        entries.iter().for_each(|entry| committer.shared.metadata.replay(entry));
        // Each start begins a segment, and so does each change of a text: once in a while all goes into one.
        if entries.len() > 2 * committer.shared.metadata.len() + 1000 {
            let live = committer.shared.metadata.entries();
            if let Err(error) = committer.rewrite(meta, &live) {
                tracing::warn!(%error, "the metadata journal could not be rewritten");
            }
        }
        Ok(committer)
    }

    /// Works until told to close or until nobody can ask for anything any more.
    pub(crate) fn run(mut self, jobs: &Receiver<Job>) {
        let mut closing = false;
        while !closing {
            let Ok(first) = jobs.recv() else { break };
            let (mut bytes, mut group) = (0, Vec::new());
            let mut next = Some(first);
            while let Some(job) = next {
                match job {
                    Job::Append(append) => {
                        bytes += append.bytes;
                        group.push(append);
                    }
                    Job::OpenJournal { name, reply } => {
                        let _ = reply.send(self.open_journal(name));
                    }
                    Job::Rewrite { journal, entries, reply } => {
                        // What was asked for before has to be in the journal before.
                        self.commit_group(std::mem::take(&mut group));
                        let result = self.rewrite(journal, &entries).map_err(AppendError::Failed);
                        let _ = reply.send(result);
                    }
                    Job::Close => closing = true,
                }
                let more =
                    !closing && bytes < self.shared.options.group_bytes && group.len() < MAX_GROUP_JOBS;
                next = if more { jobs.try_recv().ok() } else { None };
            }
            self.commit_group(group);
        }
        self.shared.closed.store(true, Ordering::Release);
        self.state.state.end = self.writer.durable_end();
        if let Err(error) = self.state.save(true) {
            tracing::warn!(path = %self.state.path().display(), %error, "the state file could not be saved");
        }
    }

    fn writer_options(&self) -> WriterOptions {
        let options = &self.shared.options;
        WriterOptions { compression: options.compression, durability: options.durability }
    }

    fn open_journal(&mut self, name: &'static str) -> Result<OpenedJournal, OpenError> {
        if self.journals.iter().any(|(other, _)| *other == name) {
            return Err(OpenError::JournalOpen(name));
        }
        let dir = self.shared.options.dir.join(name);
        let (fs, aside) = (self.shared.fs.clone(), &self.shared.aside);
        let (mut journal, found) = JournalLog::open(fs, dir, self.writer_options(), Some(aside))?;
        for damage in &found.damage {
            self.shared.count_damage(damage);
            self.shared.keep_aside(&damage.file);
        }
        self.shared.cut_at_start(&found.report);
        if found.segments >= Found::MANY_SEGMENTS
            && let Err(error) = journal.rewrite(&found.entries)
        {
            tracing::warn!(journal = name, %error, "a journal of many segments could not be rewritten");
        }
        self.journals.push((name, journal));
        Ok((self.journals.len() - 1, found.entries))
    }

    fn rewrite(&mut self, journal: usize, entries: &[Vec<u8>]) -> Result<(), String> {
        match self.journals.get_mut(journal) {
            Some((_, journal)) => journal.rewrite(entries),
            None => Err("no such journal".into()),
        }
    }

    /// Writes, syncs and answers a group.
    fn commit_group(&mut self, group: Vec<Append>) {
        if group.is_empty() {
            return;
        }
        let bytes: usize = group.iter().map(|append| append.bytes).sum();
        let mut pending = Vec::with_capacity(group.len());
        match self.make_ready() {
            Ok(()) => {
                for append in group {
                    if let Some(prepared) = self.prepare(append) {
                        pending.push(prepared);
                    }
                }
                self.finish(pending);
            }
            Err(error) => {
                for append in group {
                    self.refuse(append.reply, error.clone());
                }
            }
        }
        let waiting = self.shared.waiting.fetch_sub(bytes, Ordering::AcqRel) - bytes;
        self.shared.stats.waiting_bytes.set(waiting as u64);
    }

    fn refuse(&self, reply: Reply<Result<(), AppendError>>, error: AppendError) {
        self.shared.stats.refused.add(1);
        let _ = reply.send(Err(error));
    }

    /// Sees to it that there is a segment to write to, and room.
    fn make_ready(&mut self) -> Result<(), AppendError> {
        if self.shared.over_budget.load(Ordering::Acquire) {
            return Err(AppendError::Full("the budget is used up by what is not delivered yet"));
        }
        if let Some(checked) = self.full_checked {
            if checked.elapsed() < FULL_RETRY {
                return Err(AppendError::Full("the disk is full"));
            }
            self.full_checked = Some(Instant::now());
            if !self.reserve.retake(&*self.shared.fs, &self.shared.options) {
                return Err(AppendError::Full("the disk is full"));
            }
            self.full_checked = None;
            self.shared.stats.full.set(0);
            tracing::info!("there is room on the disk again");
        }
        let limit = self.shared.options.segment_limit(self.series_bytes);
        if self.needs_segment || self.writer.segment_bytes() >= limit {
            self.begin_segment().map_err(|error| self.why(&error))?;
        }
        Ok(())
    }

    /// What is said to those whose batch could not be taken. Where that is for lack of room, something is done
    /// about it.
    fn why(&mut self, error: &wal::WalError) -> AppendError {
        if error.is_full() {
            self.give_way();
            return AppendError::Full("the disk is full");
        }
        AppendError::Failed(error.to_string())
    }

    fn begin_segment(&mut self) -> Result<(), wal::WalError> {
        self.needs_segment = true;
        let begun = self.writer.begin_segment();
        if begun.is_err() && self.writer.is_closed() {
            // What was cut back before could not be synced now.
            self.close_segment(self.writer.durable_end());
        }
        let segment = begun?;
        self.needs_segment = false;
        self.registry.begin_segment(segment);
        self.series_bytes = 0;
        self.last_end = Position::start_of(segment);
        self.state.state.next_segment = segment + 1;
        self.state.state.end = self.writer.durable_end();
        if let Err(error) = self.state.save(true) {
            tracing::warn!(path = %self.state.path().display(), %error, "the state file could not be saved");
        }
        self.shared.stats.segment.set(segment);
        self.shared.stats.registry_bytes.set(self.registry.heap_bytes() as u64);
        self.shared.pins.ring();
        Ok(())
    }

    /// Puts a batch into the writer's buffer; answers it at once where that can't be.
    fn prepare(&mut self, append: Append) -> Option<Pending> {
        let Append { mut batch, hashes, entry, arrived, reply, .. } = append;
        let mut marked = Vec::new();
        let refs = match self.resolve(&hashes, &mut marked) {
            Ok(refs) => refs,
            Err(error) => {
                self.unmark(&marked);
                self.refuse(reply, error);
                return None;
            }
        };
        // Before the records, for the reason that journals are committed before the log.
        let news = self.shared.metadata.learn(&batch.metadata);
        if let Err(error) = self.write_entries(entry, news) {
            self.unmark(&marked);
            let why = self.why(&error);
            self.refuse(reply, why);
            return None;
        }
        let written = match self.write_records(&mut batch, &refs, &hashes, &marked) {
            Ok(written) => written,
            Err(error) => {
                // Part of it may be in the buffer, and so may arrive; it is not acknowledged.
                self.unmark(&marked);
                let why = self.why(&error);
                self.refuse(reply, why);
                return None;
            }
        };
        let mut kinds = Kinds::default();
        batch.points.iter().for_each(|point| kinds.count(&point.value));
        let chunk = written.map(|(records, end)| {
            let start = std::mem::replace(&mut self.last_end, end);
            Chunk { batch, refs, segment: start.segment, records, start, end, arrived }
        });
        Some(Pending { chunk, marked, kinds, reply })
    }

    fn unmark(&mut self, marked: &[u128]) {
        marked.iter().for_each(|hash| self.registry.unmark(*hash));
    }

    fn resolve(&mut self, hashes: &[u128], marked: &mut Vec<u128>) -> Result<Vec<u64>, AppendError> {
        let needed = self.registry.next_reference() + hashes.len() as u64;
        if needed > self.state.state.references {
            let reserved = std::mem::replace(&mut self.state.state.references, needed + REFERENCE_STEP);
            if let Err(error) = self.state.save(true) {
                // What is not durable is not reserved: the next batch has to try again.
                self.state.state.references = reserved;
                return Err(AppendError::Failed(format!("{}: {error}", self.state.path().display())));
            }
        }
        let max = self.shared.options.max_series;
        let first_new = self.registry.next_reference();
        let mut refs = Vec::with_capacity(hashes.len());
        for hash in hashes {
            let resolved = self.registry.resolve(*hash, max);
            let resolved = resolved.ok_or(AppendError::TooManySeries { limit: max })?;
            if resolved.needs_record {
                marked.push(*hash);
            }
            refs.push(resolved.reference);
        }
        self.shared.stats.series_created.add(self.registry.next_reference() - first_new);
        Ok(refs)
    }

    fn write_entries(
        &mut self,
        entry: Option<(usize, Vec<u8>)>,
        news: Vec<Vec<u8>>,
    ) -> Result<(), wal::WalError> {
        let all = news.into_iter().map(|entry| (0, entry)).chain(entry);
        for (journal, entry) in all {
            if let Some((_, journal)) = self.journals.get_mut(journal) {
                journal.append(&entry)?;
            }
        }
        Ok(())
    }

    /// Commits what is in the buffers, and answers.
    fn finish(&mut self, pending: Vec<Pending>) {
        let started = Instant::now();
        let before = self.writer.durable_end();
        if let Err(why) = self.commit_journals() {
            // Nobody is told of success, so nothing goes into the log either.
            self.writer.discard();
            self.last_end = before.position();
            for waiting in pending {
                self.unmark(&waiting.marked);
                self.refuse(waiting.reply, why.clone());
            }
            return;
        }
        let main = if self.writer.pending() > 0 { self.writer.commit().map(|_| ()) } else { Ok(()) };
        self.shared.stats.fsync.observe(started.elapsed());
        self.shared.stats.commits.add(1);
        let end = self.writer.durable_end();
        if let Err(error) = &main {
            let why = self.commit_failed(error);
            for waiting in pending {
                self.unmark(&waiting.marked);
                self.refuse(waiting.reply, why.clone());
            }
            return;
        }
        self.count_written(before.offset, end.offset);
        if end.segment != self.state.state.end.segment
            || end.offset >= self.state.state.end.offset + HINT_BYTES
        {
            self.state.state.end = end;
            // Only a hint: a start that finds an older one merely looks at more.
            let _ = self.state.save(false);
        }
        self.shared.stats.series.set(self.registry.len() as u64);
        let mut chunks = Vec::with_capacity(pending.len());
        let mut replies = Vec::with_capacity(pending.len());
        for waiting in pending {
            chunks.extend(waiting.chunk.map(Arc::new));
            replies.push((waiting.reply, waiting.kinds));
        }
        for chunk in &chunks {
            self.shared.note_arrival(chunk.start, chunk.arrived);
        }
        self.shared.tail.publish(chunks, end.position().max(self.last_end));
        for (reply, Kinds { samples, histograms, exemplars }) in replies {
            let stats = &self.shared.stats;
            stats.samples.add(samples);
            stats.histograms.add(histograms);
            stats.exemplars.add(exemplars);
            stats.batches.add(1);
            let _ = reply.send(Ok(()));
        }
    }

    /// Counts what a commit wrote to the segment, from one offset to the other.
    fn count_written(&self, from: u64, to: u64) {
        let (stats, page) = (&self.shared.stats, wal::page::PAGE_BYTES as u64);
        let bytes = to.saturating_sub(from);
        stats.bytes_written.add(bytes);
        stats.log_bytes.set(stats.log_bytes.get() + bytes);
        stats.page_flushes.add(to.div_ceil(page).saturating_sub(from / page));
        stats.pages_completed.add((to / page).saturating_sub(from / page));
        let framed = self.writer.framed();
        stats.record_parts.set(framed.parts);
        stats.record_bytes.set(framed.bytes);
        stats.record_bytes_saved.set(framed.saved);
    }

    /// Commits the journals, before the log: a door that keeps its clock in one never finds samples in the
    /// log, after a power cut, that its journal doesn't know. Where the log then fails, the journal knows of
    /// what was refused; a door sets that right with its next entry. Of metadata nothing does: what was new in a
    /// refused group is known in memory, and in the journal only once it changes or the journal is rewritten.
    fn commit_journals(&mut self) -> Result<(), AppendError> {
        let mut result = Ok(());
        for (name, journal) in &mut self.journals {
            if let Err(error) = journal.commit() {
                tracing::error!(journal = name, %error, "a journal could not be committed");
                result = Err(match error {
                    CommitError::Full { .. } => AppendError::Full("the disk is full"),
                    _ => AppendError::Failed(error.to_string()),
                });
            }
        }
        if matches!(result, Err(AppendError::Full(_))) {
            self.give_way();
        }
        if result.is_err() {
            self.shared.stats.commits_failed.add(1);
        }
        result
    }

    /// Remembers, and stores, where a segment ends that was closed by a failure.
    fn close_segment(&mut self, closed: DurableEnd) {
        self.shared.close_segment(closed);
        self.state.close_segment(closed);
        self.state.state.end = closed;
        if let Err(error) = self.state.save(true) {
            tracing::error!(path = %self.state.path().display(), %error, "the end of a failed segment could not be stored");
        }
    }

    /// The disk is full: delivery, which frees the log, gets the reserve.
    fn give_way(&mut self) {
        self.full_checked = Some(Instant::now());
        self.shared.stats.full.set(1);
        self.shared.pins.ring();
        self.reserve.release(&*self.shared.fs);
    }

    /// Puts things in order after a failed commit; says what the askers are told.
    fn commit_failed(&mut self, error: &CommitError) -> AppendError {
        self.shared.stats.commits_failed.add(1);
        tracing::error!(%error, "a commit failed; what waited for it is refused");
        self.last_end = self.writer.durable_end().position();
        if let Some(closed) = error.closed() {
            self.close_segment(closed);
            if let Err(error) = self.begin_segment() {
                tracing::error!(%error, "a new segment could not be begun");
            }
        }
        if matches!(error, CommitError::Full { .. }) {
            self.give_way();
            return AppendError::Full("the disk is full");
        }
        AppendError::Failed(error.to_string())
    }
}

/// The data records of a batch, and where what follows them begins.
type Written = (Vec<RecordSpan>, Position);

impl Committer {
    /// Appends the records of a batch to the writer's buffer: the series that this segment lacks, then the
    /// points. `None` where the batch has no points.
    fn write_records(
        &mut self,
        batch: &mut Batch,
        refs: &[u64],
        hashes: &[u128],
        marked: &[u128],
    ) -> Result<Option<Written>, wal::WalError> {
        self.write_series(batch, refs, hashes, marked)?;
        let runs = arrange(batch, refs);
        let mut spans = Vec::with_capacity(runs.len());
        let mut end = None;
        for run in runs {
            let record = self.builders.points(batch, refs, &run);
            let span = self.writer.append(record)?;
            spans.push(RecordSpan { offset: span.start, first_point: run.points.start as u32 });
            end = Some(Position::record(self.writer.segment(), span.end));
        }
        Ok(end.map(|end| (spans, end)))
    }

    /// `marked` is a subsequence of `hashes`: the series whose record is needed.
    fn write_series(
        &mut self,
        batch: &Batch,
        refs: &[u64],
        hashes: &[u128],
        marked: &[u128],
    ) -> Result<(), wal::WalError> {
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
                self.writer.append(builder.bytes())?;
                builder.clear();
            }
        }
        Ok(())
    }
}
