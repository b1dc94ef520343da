//! Writes dead letters and parked samples: points that leave the queue without being delivered.
//!
//! A task writes both, so that no request waits for the disk. Each job gets a ticket. [`Keeper::kept`]
//! returns the ticket up to which all jobs are on disk, or counted as not kept. Positions move past a point
//! only then. So after a kill or a power cut, the point is in the dead letters, is parked, or is sent again.
//!
//! Limits: at most [`crate::disk::dead::WAITING_BYTES`] of lines and [`crate::disk::aside::BYTES_MAX`] of
//! entries wait for the disk. Points beyond that are not kept, and are counted one by one.

use crate::disk::aside::{self, Files};
use crate::disk::dead::{Lines, Reason, Said, WAITING_BYTES, Writer};
use crate::refusal::Refusal;
use crate::stats::Stats;
use model::Clock;
use model::Kinds;
use std::io;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use tokio::sync::{mpsc, watch};
use tokio::task::JoinHandle;
use wal::Filesystem;

/// A job for the task. The parts are done in this order.
#[derive(Debug, Default)]
pub(crate) struct Keep {
    pub(crate) lines: Lines,
    /// A new parked entry: its number, its bytes, and its number of points.
    pub(crate) entry: Option<(u64, Vec<u8>, Kinds)>,
    /// An entry whose points are all settled.
    pub(crate) done: Option<u64>,
    /// Entries that are over a limit.
    pub(crate) evicted: Vec<u64>,
    pub(crate) damaged: Option<u64>,
}

impl Keep {
    pub(crate) fn is_empty(&self) -> bool {
        self.lines.is_empty()
            && self.entry.is_none()
            && self.done.is_none()
            && self.evicted.is_empty()
            && self.damaged.is_none()
    }

    fn entry_bytes(&self) -> usize {
        self.entry.as_ref().map_or(0, |(_, bytes, _)| bytes.len())
    }
}

#[derive(Debug, Default)]
struct Waiting {
    lines: AtomicUsize,
    entries: AtomicUsize,
}

#[derive(Debug)]
pub(crate) struct Keeper {
    sender: Option<mpsc::UnboundedSender<Keep>>,
    waiting: Arc<Waiting>,
    stats: Arc<Stats>,
    handed: u64,
    kept: watch::Receiver<u64>,
    task: Option<JoinHandle<()>>,
}

impl Keeper {
    pub(crate) fn start(disk: Disk) -> Self {
        let stats = disk.stats.clone();
        let (sender, mut receiver) = mpsc::unbounded_channel::<Keep>();
        let (progress, kept) = watch::channel(0);
        let waiting = Arc::new(Waiting::default());
        let in_task = waiting.clone();
        let mut disk = Some(disk);
        let task = tokio::spawn(async move {
            let mut handed_in = Vec::new();
            while receiver.recv_many(&mut handed_in, 64).await > 0 {
                let count = handed_in.len() as u64;
                let lines: usize = handed_in.iter().map(|keep| keep.lines.bytes()).sum();
                let entries: usize = handed_in.iter().map(Keep::entry_bytes).sum();
                let all = std::mem::take(&mut handed_in);
                let Some(mut own) = disk.take() else { return };
                let done = tokio::task::spawn_blocking(move || {
                    own.keep(all);
                    own
                });
                match done.await {
                    Ok(own) => disk = Some(own),
                    // It is unknown whether anything was kept, so the positions stay. The worker, which waits
                    // for this task, panics in turn.
                    Err(error) if error.is_panic() => std::panic::resume_unwind(error.into_panic()),
                    // The runtime ends.
                    Err(_) => return,
                }
                in_task.lines.fetch_sub(lines, Ordering::Relaxed);
                in_task.entries.fetch_sub(entries, Ordering::Relaxed);
                progress.send_modify(|kept| *kept += count);
            }
        });
        Keeper { sender: Some(sender), waiting, stats, handed: 0, kept, task: Some(task) }
    }

    /// Gives a job to the task. Points without room are counted as not kept.
    pub(crate) fn put(&mut self, mut keep: Keep) {
        self.stats.dead_letters_dropped.add(keep.lines.left_out());
        // The lines of one answer may reach the limit. They always fit if nothing else waits.
        let waiting = self.waiting.lines.load(Ordering::Relaxed);
        if waiting > 0 && waiting + keep.lines.bytes() > WAITING_BYTES {
            self.stats.dead_letters_dropped.add(keep.lines.samples());
            keep.lines = Lines::default();
        }
        if self.waiting.entries.load(Ordering::Relaxed) + keep.entry_bytes() > aside::BYTES_MAX as usize
            && let Some((_, bytes, kinds)) = keep.entry.take()
        {
            not_kept(&self.stats, &bytes, kinds);
        }
        if keep.is_empty() {
            return;
        }
        self.waiting.lines.fetch_add(keep.lines.bytes(), Ordering::Relaxed);
        self.waiting.entries.fetch_add(keep.entry_bytes(), Ordering::Relaxed);
        self.handed += 1;
        // If the task has panicked, nothing more is kept: see `progress`.
        if let Some(sender) = &self.sender {
            let _ = sender.send(keep);
        }
    }

    /// Returns the ticket of the last job.
    pub(crate) fn handed(&self) -> u64 {
        self.handed
    }

    /// Returns the ticket up to which all jobs are done, or counted as not kept.
    pub(crate) fn kept(&self) -> u64 {
        *self.kept.borrow()
    }

    /// Waits until more jobs are done. Panics if the task has panicked, because the destination can't go on
    /// without it.
    pub(crate) async fn progress(&mut self) {
        if self.kept.changed().await.is_ok() {
            return;
        }
        if let Some(task) = self.task.take()
            && let Err(error) = task.await
            && error.is_panic()
        {
            std::panic::resume_unwind(error.into_panic());
        }
        // The runtime ends, and no more jobs are done.
        std::future::pending::<()>().await;
    }

    /// Resolves when the task has ended. The task does its remaining jobs even if its handle is dropped.
    pub(crate) fn ended(&self) -> impl Future<Output = ()> + Send + 'static {
        let mut kept = self.kept.clone();
        async move { while kept.changed().await.is_ok() {} }
    }

    /// Waits until all jobs are done. No job can be added afterwards.
    pub(crate) async fn close(&mut self) {
        self.sender = None;
        if let Some(task) = self.task.take() {
            let _ = task.await;
        }
    }
}

/// Counts points that were to be parked and could not be written.
fn not_kept(stats: &Stats, entry: &[u8], kinds: Kinds) {
    stats.dead_letters_dropped.add(kinds.total());
    let words = aside::read(entry).map(|entry| entry.words).unwrap_or_default();
    given_up(stats, &words, kinds);
}

/// Counts points as refused that had no room in the files of parked samples.
fn given_up(stats: &Stats, words: &str, kinds: Kinds) {
    stats.refused.add(kinds);
    stats.refused_by.add(Refusal::read(words), kinds.total());
    stats.refused_poisoned.add(kinds.total());
    stats.aside_settled.add(kinds);
}

/// Does the jobs. Blocks on the disk.
#[derive(Debug)]
pub(crate) struct Disk {
    writer: Writer,
    fs: Arc<dyn Filesystem>,
    clock: Arc<dyn Clock>,
    files: Files,
    stats: Arc<Stats>,
}

impl Disk {
    pub(crate) fn new(
        fs: Arc<dyn Filesystem>,
        clock: Arc<dyn Clock>,
        dead: std::path::PathBuf,
        files: Files,
        stats: Arc<Stats>,
    ) -> Self {
        Disk { writer: Writer::new(fs.clone(), dead), fs, clock, files, stats }
    }

    pub(crate) fn keep(&mut self, all: Vec<Keep>) {
        let mut lines = Lines::default();
        for keep in &all {
            lines.append(&keep.lines);
            if let Some((id, bytes, kinds)) = &keep.entry
                && let Err(error) = self.files.write(&*self.fs, *id, bytes)
            {
                not_kept(&self.stats, bytes, *kinds);
                tracing::error!(%error, points = kinds.total(), "what was to be put aside could not be written");
            }
        }
        self.write(&lines);
        for keep in &all {
            for id in &keep.evicted {
                self.evict(*id);
            }
            if let Some(id) = keep.done {
                self.gone(id, self.files.remove(&*self.fs, id));
            }
            if let Some(id) = keep.damaged {
                self.gone(id, self.files.set_out_of_the_way(&*self.fs, id));
            }
        }
    }

    fn write(&mut self, lines: &Lines) {
        if lines.is_empty() {
            return;
        }
        if let Err(error) = self.writer.write(lines) {
            self.stats.dead_letters_dropped.add(lines.samples());
            tracing::error!(%error, samples = lines.samples(), "dead letters could not be written");
        }
    }

    /// If the file stays, its points are sent again after a restart, which is harmless.
    fn gone(&self, id: u64, result: io::Result<()>) {
        if let Err(error) = result
            && error.kind() != io::ErrorKind::NotFound
        {
            tracing::warn!(%error, id, "an entry of the side queue could not be removed");
        }
    }

    /// Makes dead letters of an entry's points.
    fn evict(&mut self, id: u64) {
        let bytes = match self.files.load(&*self.fs, id) {
            Ok(bytes) => bytes,
            // The entry was never written, and was counted at that time.
            Err(error) if error.kind() == io::ErrorKind::NotFound => return,
            Err(error) => {
                tracing::error!(%error, id, "an entry of the side queue could not be read");
                return;
            }
        };
        let Some(entry) = aside::read(&bytes) else {
            self.gone(id, self.files.set_out_of_the_way(&*self.fs, id));
            return;
        };
        let time = self.clock.now_ms();
        let said = Said { time, reason: Reason::Poisoned, answer: &entry.words, part: None };
        let mut lines = Lines::default();
        for point in &entry.batch.points {
            let labels = entry.batch.labels(point.series);
            lines.sample(&said, labels, &entry.batch, point);
        }
        self.stats.dead_letters_dropped.add(lines.left_out());
        self.write(&lines);
        given_up(&self.stats, &entry.words, entry.kinds);
        self.gone(id, self.files.remove(&*self.fs, id));
    }
}
