//! The handle of the storage that inputs and queues use.

use crate::arrivals::Waiting;
use crate::committer::{Append, Committer, Job};
use crate::error::{AppendError, OpenError};
use crate::follower::Follower;
use crate::options::Options;
use crate::pins::Pin;
use crate::registry::Hasher;
use crate::reserve::Reserve;
use crate::retention;
use crate::shared::Shared;
use crate::state::StateFile;
use crate::stats::Stats;
use model::{Batch, Clock, Metadata};
use std::path::Path;
use std::sync::atomic::Ordering;
use std::sync::mpsc::Sender;
use std::sync::{Arc, Mutex, PoisonError, mpsc};
use std::thread::JoinHandle;
use std::time::Duration;
use tokio::sync::{oneshot, watch};
use wal::record::{self, RecordType};
use wal::small_file::make_folder_by;
use wal::{DurableEnd, Filesystem, Position, SegmentReader, Writer, WriterOptions, dir};

/// The open log. Clones are handles of the same log.
#[derive(Clone)]
pub struct Storage {
    inner: Arc<Inner>,
}

struct Inner {
    shared: Arc<Shared>,
    jobs: Sender<Job>,
    threads: Mutex<Vec<JoinHandle<()>>>,
    /// Becomes true when one of the threads ends.
    ended: watch::Sender<bool>,
    /// Keeps every segment that existed at the start, until all destinations have their own pins.
    opening: Mutex<Option<Pin>>,
}

/// A journal of an input's state; see [`Storage::journal`].
#[derive(Debug)]
pub struct Journal(usize);

/// Result of opening the log.
#[derive(Debug, Clone)]
pub struct OpenReport {
    /// The state of the log's end.
    pub wal: wal::OpenReport,
    /// Start of the oldest segment.
    pub oldest: Position,
    /// Where the next append begins.
    pub end: Position,
}

impl std::fmt::Debug for Storage {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Storage").field("end", &self.end()).finish_non_exhaustive()
    }
}

impl Storage {
    /// Opens the log in `options.dir`, and creates missing folders and files. Only what was written since the
    /// durable end was last stored is read, so the duration does not depend on the size of the log.
    pub fn open(
        fs: Arc<dyn Filesystem>,
        clock: Arc<dyn Clock>,
        options: Options,
    ) -> Result<(Storage, OpenReport), OpenError> {
        let root = options.dir.clone();
        make_folder_by(&*fs, &root, || fs.create_dir_all(&root))
            .map_err(|source| OpenError::Io { path: root.clone(), source })?;
        let wal_dir = root.join("wal");
        let mut state = StateFile::open(&*fs, &root.join(crate::state::FILE))?;
        let aside = options.aside();
        if state.damaged {
            let (path, why) = (state.path(), "the state file can't be read; it is made anew from the log");
            tracing::warn!(path = %path.display(), "{why}");
            if let Err(error) = aside.copy(&*fs, path, 0, crate::state::FILE) {
                tracing::warn!(path = %path.display(), %error, "it could not be set aside");
            }
        }
        for closed in &state.state.closed {
            // Not needed by narthex's readers, which stop at the stored end.
            if let Err(error) = dir::cut(&*fs, &wal_dir, *closed) {
                let segment = closed.segment;
                tracing::warn!(segment, %error, "what lies behind a segment's end could not be cut off");
            }
        }
        let writer_options =
            WriterOptions { compression: options.compression, durability: options.durability };
        let known_end = (state.state.next_segment > 0).then_some(state.state.end);
        let (writer, report) = Writer::open_keeping(
            fs.clone(),
            &wal_dir,
            writer_options,
            state.state.next_segment,
            known_end,
            Some(&aside),
        )?;
        let segments = dir::segments(&*fs, &wal_dir)?;
        let oldest = segments.first().map_or(writer.segment(), |segment| segment.number);
        if state.state.next_segment == 0 {
            // The log is new, or the state file was lost. In the latter case the log itself shows which
            // references were assigned.
            state.state.references = next_reference(&*fs, &wal_dir, &segments);
        }
        state.state.next_segment = writer.segment() + 1;
        state.state.end = writer.durable_end();
        state.save(true).map_err(|source| OpenError::Io { path: state.path().to_path_buf(), source })?;
        if !Reserve::new(&options).take(&*fs) {
            tracing::warn!(
                bytes = options.reserve_bytes,
                "no room for the reserve that a full disk is met with"
            );
        }

        let end = writer.durable_end().position();
        let recovered = recovered(&segments, report.end, known_end, &state.state.closed);
        let shared = Arc::new(Shared::new(fs, clock, options, end, recovered, &state.state.closed));
        if state.damaged {
            shared.stats.damages.add(1);
        }
        shared.damaged_at_start(&report);
        if let (None, Some(known)) = (report.end, known_end) {
            // The segment that was written last must exist.
            shared.missing(known.segment);
        }
        shared.oldest.store(oldest, Ordering::Release);
        shared.stats.oldest_segment.set(oldest);
        shared.stats.segment.set(writer.segment());
        shared.stats.log_bytes.set(segments.iter().map(|segment| segment.bytes).sum());
        let opening = shared.pins.pin("opening", Position::start_of(oldest));
        let committer = Committer::new(shared.clone(), writer, state)?;
        let (jobs, queue) = mpsc::channel();
        let mut threads = Vec::new();
        let ended = watch::Sender::new(false);
        threads.push(spawn("narthex-commit", &ended, move || committer.run(&queue))?);
        let janitor = shared.clone();
        threads.push(spawn("narthex-retain", &ended, move || retention::run(&janitor))?);
        let report = OpenReport { wal: report, oldest: Position::start_of(oldest), end };
        let (threads, opening) = (Mutex::new(threads), Mutex::new(Some(opening)));
        let inner = Inner { shared, jobs, threads, ended, opening };
        Ok((Storage { inner: Arc::new(inner) }, report))
    }

    /// Appends a batch. Returns once the batch is in the log, as durable as [`Options::durability`] requires.
    /// After an error the batch is not acknowledged, but may still be delivered.
    pub async fn append(&self, batch: Batch) -> Result<(), AppendError> {
        self.submit(batch, None).await
    }

    /// Appends a batch like [`Storage::append`], with an entry of a journal. Both become durable together:
    /// after a kill, a power cut or an error, the journal has the entry only if the log has at least a part
    /// of the batch's samples. After an error the caller must undo the change that the entry describes.
    pub async fn append_with(
        &self,
        batch: Batch,
        journal: &Journal,
        entry: Vec<u8>,
    ) -> Result<(), AppendError> {
        self.submit(batch, Some((journal.0, entry))).await
    }

    async fn submit(&self, mut batch: Batch, entry: Option<(usize, Vec<u8>)>) -> Result<(), AppendError> {
        if batch.is_empty() && entry.is_none() {
            return Ok(());
        }
        let shared = &self.inner.shared;
        let limit = shared.options.waiting_bytes;
        let entry_bytes = entry.as_ref().map_or(0, |(_, entry)| entry.len());
        let bytes = batch.heap_bytes() + entry_bytes + size_of::<Append>();
        if bytes > limit {
            return Err(AppendError::TooLarge { bytes, limit });
        }
        let waiting = shared.waiting.fetch_add(bytes, Ordering::AcqRel) + bytes;
        if waiting > limit {
            shared.waiting.fetch_sub(bytes, Ordering::AcqRel);
            shared.stats.refused.add(1);
            return Err(AppendError::Busy { waiting, limit });
        }
        shared.stats.waiting_bytes.set(waiting as u64);
        shared.hasher.fill(&mut batch);
        let (reply, answer) = oneshot::channel();
        let arrived = shared.clock.monotonic();
        let job = Job::Append(Append { batch, entry, bytes, arrived, reply });
        if self.inner.jobs.send(job).is_err() {
            shared.waiting.fetch_sub(bytes, Ordering::AcqRel);
            return Err(AppendError::Closed);
        }
        answer.await.unwrap_or(Err(AppendError::Closed))
    }

    /// Opens a journal: a small log of an input's own state, in the folder `name` of the data folder. Returns
    /// the entries of the journal, in order. Each journal can be opened once, and must be opened before
    /// anything is appended with it.
    pub async fn journal(&self, name: &'static str) -> Result<(Journal, Vec<Vec<u8>>), OpenError> {
        let (reply, answer) = oneshot::channel();
        let sent = self.inner.jobs.send(Job::OpenJournal { name, reply });
        sent.map_err(|_| OpenError::Closed)?;
        let (index, entries) = answer.await.unwrap_or(Err(OpenError::Closed))?;
        Ok((Journal(index), entries))
    }

    /// Replaces the contents of the journal. Each entry must be a complete state: after a crash during the
    /// rewrite, a start reads the old entries and then some of the new ones.
    pub async fn rewrite(&self, journal: &Journal, entries: Vec<Vec<u8>>) -> Result<(), AppendError> {
        let (reply, answer) = oneshot::channel();
        let sent = self.inner.jobs.send(Job::Rewrite { journal: journal.0, entries, reply });
        sent.map_err(|_| AppendError::Closed)?;
        answer.await.unwrap_or(Err(AppendError::Closed))
    }

    /// Checks that the thread that writes the log responds. Returns true once it has answered, and false if
    /// it has ended. Waits while the thread waits for the disk.
    pub async fn committer_answers(&self) -> bool {
        let (reply, answer) = oneshot::channel();
        self.inner.jobs.send(Job::Ping { reply }).is_ok() && answer.await.is_ok()
    }

    /// The hasher of the registry, for [`Batch::hashes`].
    pub fn hasher(&self) -> &Hasher {
        &self.inner.shared.hasher
    }

    /// Limit on the bytes of batches that wait for the commit. Further batches get [`AppendError::Busy`].
    pub fn max_waiting_bytes(&self) -> usize {
        self.inner.shared.options.waiting_bytes
    }

    /// The log's budget on disk in bytes.
    pub fn max_size(&self) -> u64 {
        self.inner.shared.options.max_size
    }

    /// Free bytes that the disk needs, after it was full, before samples are accepted again.
    pub fn bytes_to_go_on(&self) -> u64 {
        crate::reserve::bytes_to_go_on(&self.inner.shared.options)
    }

    /// The durable end, where the next append begins.
    pub fn end(&self) -> Position {
        self.inner.shared.tail.end()
    }

    /// Returns when the point at `position` arrived, by the monotonic clock, regardless of its timestamp. The
    /// result is accurate to a second for young points, and to a few hundredths of their age for old ones.
    /// Points from before the log was opened count as arrived when it was opened.
    pub fn arrived(&self, position: Position) -> Duration {
        self.inner.shared.arrived(position)
    }

    /// Returns the number of samples and histograms from `position` to the durable end.
    pub fn waiting(&self, position: Position) -> Waiting {
        self.inner.shared.waiting(position)
    }

    /// Number of samples and histograms committed since the log was opened.
    pub fn committed(&self) -> u64 {
        self.inner.shared.committed()
    }

    /// Returns true if the threads of the log are running. Without them nothing can be appended.
    pub fn is_alive(&self) -> bool {
        let threads = self.inner.threads.lock().unwrap_or_else(PoisonError::into_inner);
        !threads.is_empty() && threads.iter().all(|thread| !thread.is_finished())
    }

    /// Resolves once one of the threads of the log has ended, because of [`Storage::close`] or of a panic.
    /// The threads can't be restarted, because it is unknown what a panic left in memory.
    pub async fn ended(&self) {
        let mut ended = self.inner.ended.subscribe();
        // Cannot fail: `self.inner` holds the sender.
        let _ = ended.wait_for(|ended| *ended).await;
    }

    /// The oldest position that can still be read.
    pub fn oldest(&self) -> Position {
        Position::start_of(self.inner.shared.oldest.load(Ordering::Acquire))
    }

    /// Returns the bytes of the log from each of these positions to the durable end, by the sizes of the
    /// segments.
    pub fn bytes_from(&self, positions: &[Position]) -> Vec<u64> {
        let (shared, end) = (&self.inner.shared, self.end());
        let needs_sizes = positions.iter().any(|position| position.segment < end.segment);
        // If the folder can't be read, at least the bytes of the current segment are counted.
        let segments = match needs_sizes {
            true => wal::dir::segments(&*shared.fs, &shared.wal_dir).unwrap_or_default(),
            false => Vec::new(),
        };
        let from = |position: &Position| {
            if position.segment >= end.segment {
                return end.offset.saturating_sub(position.offset);
            }
            let closed = segments.iter().filter(|s| (position.segment..end.segment).contains(&s.number));
            let bytes: u64 = closed.map(|segment| segment.bytes).sum();
            let own = segments.iter().any(|segment| segment.number == position.segment);
            (bytes + end.offset).saturating_sub(if own { position.offset } else { 0 })
        };
        positions.iter().map(from).collect()
    }

    /// Follows the log from a position on.
    pub fn follow(&self, from: Position) -> Follower {
        Follower::new(self.inner.shared.clone(), from)
    }

    /// Keeps everything from `position` on until the pin moves or is released (or the budget is used up). It
    /// replaces a dropped pin with the same name.
    pub fn pin(&self, name: &str, position: Position) -> Pin {
        self.inner.shared.pins.pin(name, position)
    }

    /// Releases a pin that was dropped and whose owner does not come back. Returns true if there was one.
    pub fn release(&self, name: &str) -> bool {
        self.inner.shared.pins.release(name)
    }

    /// Returns the names of pins that were dropped without being released.
    pub fn orphans(&self) -> Vec<String> {
        self.inner.shared.pins.orphans()
    }

    /// Must be called once every destination has pinned what it needs of the log. Until then no segment is
    /// deleted, not even because of the log's budget.
    pub fn begin_truncating(&self) {
        self.inner.shared.truncating.store(true, Ordering::Release);
        let opening = self.inner.opening.lock().unwrap_or_else(PoisonError::into_inner).take();
        if let Some(opening) = opening {
            opening.release();
        }
    }

    /// Quarantines a damaged file of the data folder that its owner is about to replace. Returns true if it
    /// succeeded. The file is small, so this is done even on a full disk.
    pub fn set_aside(&self, path: &Path) -> bool {
        let shared = &self.inner.shared;
        let kept = shared.aside.keep_each(&*shared.fs, path, &dir::name_of(path));
        match &kept {
            Ok(kept) => {
                tracing::warn!(path = %path.display(), kept = %kept.display(), "the damaged file is set aside")
            }
            Err(error) => {
                tracing::warn!(path = %path.display(), %error, "the damaged file could not be set aside");
            }
        }
        kept.is_ok()
    }

    /// Returns the metadata of the metric with this name.
    pub fn metadata(&self, metric_name: &[u8]) -> Option<Arc<Metadata>> {
        self.inner.shared.metadata.get(metric_name)
    }

    /// Returns the metadata of all metrics, in any order.
    pub fn all_metadata(&self) -> Vec<Arc<Metadata>> {
        self.inner.shared.metadata.all()
    }

    pub fn stats(&self) -> &Stats {
        let stats = &self.inner.shared.stats;
        stats.metadata.set(self.inner.shared.metadata.len() as u64);
        stats
    }

    /// Bytes of committed batches in memory.
    pub fn tail_bytes(&self) -> usize {
        self.inner.shared.tail.bytes()
    }

    /// Commits waiting batches, saves the durable end and ends the threads. Later appends are refused.
    /// Followers read the rest of the log and then end. Blocks while it waits for the disk.
    pub fn close(&self) {
        self.inner.close();
    }
}

impl Inner {
    fn close(&self) {
        let _ = self.jobs.send(Job::Close);
        self.shared.pins.close();
        let threads = std::mem::take(&mut *self.threads.lock().unwrap_or_else(PoisonError::into_inner));
        for thread in threads {
            if thread.join().is_err() {
                tracing::error!("a thread of the log panicked");
            }
        }
        // Wakes waiting followers, so that they notice the end.
        self.shared.tail.publish(Vec::new(), self.shared.tail.end());
    }
}

impl Drop for Inner {
    fn drop(&mut self) {
        self.close();
    }
}

/// Returns the end of the log when it was opened: the end of the last of `segments` that is not empty. (Each
/// start begins a segment, which stays empty if nothing can be written.) The result is not below an end that
/// was once durable, even if that part was damaged since, and not beyond the end of a segment that was closed
/// after a failure. Returns `None` if there were no segments.
fn recovered(
    segments: &[dir::Segment],
    newest: Option<DurableEnd>,
    known: Option<DurableEnd>,
    closed: &[DurableEnd],
) -> Option<Position> {
    let newest = newest?;
    let end_of = |segment: &dir::Segment| {
        let closed = closed.iter().find(|closed| closed.segment == segment.number);
        let read = if segment.number == newest.segment { newest.offset } else { segment.bytes };
        DurableEnd { segment: segment.number, offset: closed.map_or(read, |closed| read.min(closed.offset)) }
    };
    let before = segments.iter().filter(|segment| segment.number <= newest.segment);
    let end = before.rev().map(end_of).find(|end| end.offset > 0);
    let known = known.filter(|known| known.offset > 0);
    let start = Position::start_of(segments.first().map_or(newest.segment, |oldest| oldest.number));
    Some(end.max(known).map_or(start, DurableEnd::position))
}

/// Returns a reference above all references in the log; 0 if there are none.
fn next_reference(fs: &dyn Filesystem, dir: &Path, segments: &[dir::Segment]) -> u64 {
    let mut next = 0;
    for segment in segments {
        let Ok(mut reader) = SegmentReader::open(fs, dir, segment.number, 0) else { continue };
        while let Some(raw) = reader.next_readable() {
            if raw.kind == RecordType::Series {
                let entries = record::series(raw.bytes).into_iter().flatten().flatten();
                next = entries.fold(next, |next, (reference, _)| next.max(reference.saturating_add(1)));
            }
        }
    }
    next
}

/// Reports the end of a thread, including by a panic.
struct Ending(watch::Sender<bool>);

impl Drop for Ending {
    fn drop(&mut self) {
        self.0.send_replace(true);
    }
}

fn spawn(
    name: &'static str,
    ended: &watch::Sender<bool>,
    work: impl FnOnce() + Send + 'static,
) -> Result<JoinHandle<()>, OpenError> {
    let ending = Ending(ended.clone());
    let work = move || {
        let _ending = ending;
        work();
    };
    // A small stack saves memory in every agent; these threads have no deep call chains.
    let builder = std::thread::Builder::new().name(name.into()).stack_size(512 << 10);
    builder.spawn(work).map_err(|source| OpenError::Io { path: name.into(), source })
}
