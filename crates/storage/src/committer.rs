//! The committer: the only thread that writes the log.
//!
//! It takes all waiting jobs as a group (there is no timer), assigns references to series, writes all
//! batches, syncs once, and then answers all clients of the group. Jobs that arrive meanwhile form the next
//! group. The size of a group is limited. So one push alone costs one sync, and a thousand pushes at the same
//! time cost one sync too.
//!
//! # The order of the steps
//!
//! 1. References are reserved in the state file before they are assigned. Otherwise a power cut could undo an
//!    assignment, and another series would get the same reference.
//! 2. In each segment, the record of a series precedes its first point (`recorder`). A reader starts at the
//!    beginning of a segment and knows only the labels that it has read there.
//! 3. The journals are committed before the log (`journals`). So after a power cut the log has no samples
//!    that the journal of their input does not know. An entry states how far the log must reach for it to
//!    count (`journal`). If the commit of the log fails, the entries of that commit are voided before
//!    anything else is written to the log. Types and help texts stay valid.
//! 4. The log is synced before the batches go to the tail and before clients are answered. So delivered or
//!    acknowledged samples survive a power cut.
//! 5. When a commit fails, the series that were marked as recorded are unmarked before the next batch is
//!    handled, because they need their records again. After a failed sync it is unknown what the disk holds
//!    after the durable end. So the durable end is first stored as the segment's end, and then a new segment
//!    is begun.

use crate::chunk::Chunk;
use crate::error::{AppendError, OpenError};
use crate::journals::{Journals, OpenedJournal};
use crate::recorder::{RecordError, Recorder, References};
use crate::reserve::Reserve;
use crate::shared::Shared;
use crate::state::StateFile;
use model::{Batch, Kinds};
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::sync::mpsc::{Receiver, RecvTimeoutError};
use std::time::{Duration, Instant};
use tokio::sync::oneshot;
use wal::{CommitError, DurableEnd, Position, Writer, WriterOptions};

/// The state file's durable end is updated whenever the log has grown by this much.
const HINT_BYTES: u64 = 1 << 20;
/// Largest number of jobs in one group.
const MAX_GROUP_JOBS: usize = 4096;
/// How often a full disk is checked for free space.
const FULL_RETRY: Duration = Duration::from_millis(500);

pub(crate) type Reply<T> = oneshot::Sender<T>;

/// A request to the committer.
#[expect(clippy::large_enum_variant, reason = "nearly every job is an append")]
pub(crate) enum Job {
    Append(Append),
    OpenJournal {
        name: &'static str,
        reply: Reply<Result<OpenedJournal, OpenError>>,
    },
    Rewrite {
        journal: usize,
        entries: Vec<Vec<u8>>,
        reply: Reply<Result<(), AppendError>>,
    },
    /// Answered at once, to show that the thread handles jobs.
    Ping {
        reply: Reply<()>,
    },
    Close,
}

/// A batch to commit.
pub(crate) struct Append {
    /// The batch, with the hash of each label set.
    pub(crate) batch: Batch,
    /// A journal's number and an entry that belongs to the batch.
    pub(crate) entry: Option<(usize, Vec<u8>)>,
    /// Bytes of the job that count against the limit on waiting bytes.
    pub(crate) bytes: usize,
    pub(crate) arrived: Duration,
    pub(crate) reply: Reply<Result<(), AppendError>>,
}

/// A batch in the writer's buffer that waits for the sync.
struct Pending {
    chunk: Option<Chunk>,
    /// Series that were marked as recorded because of this batch.
    marked: Vec<u128>,
    kinds: Kinds,
    reply: Reply<Result<(), AppendError>>,
}

pub(crate) struct Committer {
    shared: Arc<Shared>,
    writer: Writer,
    recorder: Recorder,
    state: StateFile,
    journals: Journals,
    /// End of the last chunk, where the next one begins.
    last_end: Position,
    /// The segment was closed after a failure, and no new one could be begun yet.
    needs_segment: bool,
    /// The end of the failed segment could not be stored yet.
    unsaved_end: bool,
    /// When a full disk was last checked. `None` if the disk is not full.
    full_checked: Option<Instant>,
    reserve: Reserve,
}

impl Committer {
    pub(crate) fn new(shared: Arc<Shared>, writer: Writer, state: StateFile) -> Result<Committer, OpenError> {
        let segment = writer.segment();
        let options = &shared.options;
        let writer_options =
            WriterOptions { compression: options.compression, durability: options.durability };
        Ok(Committer {
            last_end: Position::start_of(segment),
            reserve: Reserve::new(options),
            recorder: Recorder::new(state.state.references.max(1), segment),
            journals: Journals::open(shared.clone(), writer_options)?,
            shared,
            writer,
            state,
            needs_segment: false,
            unsaved_end: false,
            full_checked: None,
        })
    }

    /// Handles jobs until it is told to close, or until no sender is left.
    pub(crate) fn run(mut self, jobs: &Receiver<Job>) {
        let mut closing = false;
        while !closing {
            let (mut bytes, mut group) = (0, Vec::new());
            let mut next = match self.next_job(jobs) {
                Ok(first) => Some(first),
                Err(RecvTimeoutError::Timeout) => {
                    // Checks without waiting for a push, because `/-/ready` depends on the result.
                    let _ = self.look_for_room();
                    continue;
                }
                Err(RecvTimeoutError::Disconnected) => break,
            };
            while let Some(job) = next {
                match job {
                    Job::Append(append) => {
                        bytes += append.bytes;
                        group.push(append);
                    }
                    Job::OpenJournal { name, reply } => {
                        let _ = reply.send(self.journals.add(name));
                    }
                    Job::Rewrite { journal, entries, reply } => {
                        // Entries that were requested before the rewrite must be in the journal before it.
                        self.commit_group(std::mem::take(&mut group));
                        let result = self.journals.rewrite(journal, &entries).map_err(AppendError::Failed);
                        let _ = reply.send(result);
                    }
                    Job::Ping { reply } => {
                        let _ = reply.send(());
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

    /// Waits for the next job. Times out only while the disk is full.
    fn next_job(&self, jobs: &Receiver<Job>) -> Result<Job, RecvTimeoutError> {
        match self.full_checked {
            Some(_) => jobs.recv_timeout(FULL_RETRY),
            None => jobs.recv().map_err(|_| RecvTimeoutError::Disconnected),
        }
    }

    /// If the disk was full, checks whether it has free space again, at most every [`FULL_RETRY`].
    fn look_for_room(&mut self) -> Result<(), AppendError> {
        let Some(checked) = self.full_checked else { return Ok(()) };
        if checked.elapsed() < FULL_RETRY {
            return Err(AppendError::DiskFull);
        }
        self.full_checked = Some(Instant::now());
        if !self.reserve.retake(&*self.shared.fs, &self.shared.options) {
            return Err(AppendError::DiskFull);
        }
        self.full_checked = None;
        self.shared.stats.disk_full.set(0);
        tracing::info!("there is room on the disk again");
        Ok(())
    }

    /// Writes and syncs a group, and answers its clients.
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

    /// Makes sure that there is a usable segment and free space.
    fn make_ready(&mut self) -> Result<(), AppendError> {
        if self.shared.over_budget.load(Ordering::Acquire) {
            return Err(AppendError::LogFull);
        }
        self.look_for_room()?;
        self.save_end()
            .map_err(|error| AppendError::Failed(format!("{}: {error}", self.state.path().display())))?;
        self.journals.void_failed().map_err(|error| self.why(&error))?;
        let limit = self.shared.options.segment_limit(self.recorder.series_bytes());
        if self.needs_segment || self.writer.segment_bytes() >= limit {
            self.begin_segment().map_err(|error| self.why(&error))?;
        }
        Ok(())
    }

    /// Converts an error into the client's answer. If the disk is full, it also releases the reserve.
    fn why(&mut self, error: &wal::WalError) -> AppendError {
        if error.is_full() {
            self.give_way();
            return AppendError::DiskFull;
        }
        AppendError::Failed(error.to_string())
    }

    fn begin_segment(&mut self) -> Result<(), wal::WalError> {
        self.needs_segment = true;
        let begun = self.writer.begin_segment();
        if begun.is_err() && self.writer.is_closed() {
            // The file was cut back earlier, and that cut could not be synced now.
            self.close_segment(self.writer.durable_end());
        }
        let segment = begun?;
        self.needs_segment = false;
        self.recorder.begin_segment(segment);
        self.last_end = Position::start_of(segment);
        self.state.state.next_segment = segment + 1;
        self.state.state.end = self.writer.durable_end();
        if let Err(error) = self.state.save(true) {
            tracing::warn!(path = %self.state.path().display(), %error, "the state file could not be saved");
        }
        self.shared.stats.segment.set(segment);
        self.shared.stats.registry_bytes.set(self.recorder.registry().heap_bytes() as u64);
        self.shared.pins.ring();
        Ok(())
    }

    /// Puts a batch into the writer's buffer. If that fails, the client is answered at once.
    fn prepare(&mut self, append: Append) -> Option<Pending> {
        let Append { mut batch, entry, arrived, reply, .. } = append;
        let hashes = std::mem::take(&mut batch.hashes);
        let references = match self.recorder.resolve(&hashes, &self.shared, &mut self.state) {
            Ok(references) => references,
            Err(error) => {
                self.refuse(reply, error);
                return None;
            }
        };
        let before = self.writer.pending();
        let write = || {
            let written = self.recorder.write(&mut self.writer, &mut batch, &hashes, &references)?;
            let needs = Position::record(
                self.writer.segment(),
                match &written {
                    // The end of the batch's first record.
                    Some((records, end)) => records.get(1).map_or(end.offset, |second| second.offset),
                    None => self.writer.segment_bytes(),
                },
            );
            self.journals.append(&batch.metadata, entry, needs)?;
            Ok(written)
        };
        let written = match write() {
            Ok(written) => written,
            Err(error) => {
                self.writer.discard_from(before);
                self.recorder.unmark(&references.marked);
                let why = match &error {
                    RecordError::Wal(error) => self.why(error),
                    RecordError::Malformed => AppendError::Failed(error.to_string()),
                };
                self.refuse(reply, why);
                return None;
            }
        };
        let References { refs, marked } = references;
        let kinds = batch.kinds();
        let chunk = written.map(|(records, end)| {
            let start = std::mem::replace(&mut self.last_end, end);
            Chunk { batch, refs, segment: start.segment, records, start, end, arrived }
        });
        Some(Pending { chunk, marked, kinds, reply })
    }

    /// Commits the buffers and answers the clients.
    fn finish(&mut self, pending: Vec<Pending>) {
        let started = Instant::now();
        let before = self.writer.durable_end();
        if let Err(error) = self.journals.commit() {
            // Clients get an error, so nothing is written to the log either.
            self.journals.log_committed(false);
            self.writer.discard();
            self.last_end = before.position();
            self.shared.stats.commits_failed.add(1);
            let why = self.why_not_committed(&error);
            return self.refuse_all(pending, &why);
        }
        let main = if self.writer.pending() > 0 { self.writer.commit().map(|_| ()) } else { Ok(()) };
        self.journals.log_committed(main.is_ok());
        self.shared.stats.fsync.observe(started.elapsed());
        self.shared.stats.commits.add(1);
        let end = self.writer.durable_end();
        if let Err(error) = &main {
            let why = self.commit_failed(error);
            return self.refuse_all(pending, &why);
        }
        self.count_written(before.offset, end.offset);
        if end.segment != self.state.state.end.segment
            || end.offset >= self.state.state.end.offset + HINT_BYTES
        {
            self.state.state.end = end;
            // Losing this is harmless: a start with an older durable end only reads more.
            let _ = self.state.save(false);
        }
        self.shared.stats.series.set(self.recorder.registry().len() as u64);
        let mut chunks = Vec::with_capacity(pending.len());
        let mut replies = Vec::with_capacity(pending.len());
        for waiting in pending {
            if let Some(chunk) = &waiting.chunk {
                let points = waiting.kinds.samples + waiting.kinds.histograms;
                self.shared.note_arrival(chunk.start, chunk.arrived, points);
            }
            chunks.extend(waiting.chunk.map(Arc::new));
            replies.push((waiting.reply, waiting.kinds));
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

    /// Answers the clients of batches that were in the buffers and are not committed.
    fn refuse_all(&mut self, pending: Vec<Pending>, why: &AppendError) {
        for waiting in pending {
            self.recorder.unmark(&waiting.marked);
            self.refuse(waiting.reply, why.clone());
        }
    }

    /// Updates the counters for a commit that wrote the segment's bytes from `from` to `to`.
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

    /// Stores the end of a segment that was closed by a failure.
    fn close_segment(&mut self, closed: DurableEnd) {
        self.shared.close_segment(closed);
        self.state.close_segment(closed);
        self.state.state.end = closed;
        self.needs_segment = true;
        self.unsaved_end = true;
        if let Err(error) = self.save_end() {
            tracing::error!(path = %self.state.path().display(), %error, "the end of a failed segment could not be stored");
        }
    }

    /// Stores the ends of failed segments, if that was not possible yet. Nothing may be written to the log
    /// before it succeeds, because a start would read batches that were refused.
    fn save_end(&mut self) -> std::io::Result<()> {
        if self.unsaved_end {
            self.state.save(true)?;
            self.unsaved_end = false;
        }
        Ok(())
    }

    /// Reacts to a full disk: releases the reserve, so that delivery can write and thereby free space in the
    /// log.
    fn give_way(&mut self) {
        self.full_checked = Some(Instant::now());
        self.shared.stats.disk_full.set(1);
        self.shared.pins.ring();
        self.reserve.release(&*self.shared.fs);
    }

    /// Restores a consistent state after a failed commit. Returns the clients' answer.
    fn commit_failed(&mut self, error: &CommitError) -> AppendError {
        self.shared.stats.commits_failed.add(1);
        tracing::error!(%error, "a commit failed; what waited for it is refused");
        self.last_end = self.writer.durable_end().position();
        // Without this sync a power cut could restore the bytes that were cut, at positions that later
        // journal entries refer to.
        let is_cut = error.closed().is_none() && self.writer.sync_cut().is_ok();
        if !is_cut {
            self.close_segment(self.writer.durable_end());
            // Void the entries before the new segment begins: a start that finds a newer segment assumes that
            // the log reached all earlier entries.
            let begun = match self.unsaved_end {
                true => Ok(()),
                false => self.journals.void_failed().and_then(|()| self.begin_segment()),
            };
            if let Err(error) = begun {
                tracing::error!(%error, "a new segment could not be begun");
            }
        }
        self.why_not_committed(error)
    }

    /// Like [`Committer::why`], for a failed commit.
    fn why_not_committed(&mut self, error: &CommitError) -> AppendError {
        if matches!(error, CommitError::Full { .. }) {
            self.give_way();
            return AppendError::DiskFull;
        }
        AppendError::Failed(error.to_string())
    }
}
