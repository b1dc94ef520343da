//! The totals of an input, with their journal.

use crate::commit::Waiting;
use crate::entry::Replay;
use crate::flush::{Begin, Flush};
use crate::limits::Limits;
use crate::table::{Now, Totals};
use intake::Input;
use model::Clock;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use storage::{AppendError, Journal, OpenError};

/// About as many samples go into the log at once.
const PART_POINTS: usize = 20_000;
/// The journal is rewritten once it has grown by this many bytes and three times those of a snapshot.
const JOURNAL_SLACK_BYTES: usize = 1 << 20;

/// What a user may set.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Settings {
    pub limits: Limits,
    pub begin: Begin,
}

/// See the module.
#[derive(Debug)]
pub struct Accumulators {
    input: Input,
    clock: Arc<dyn Clock>,
    totals: Mutex<Totals>,
    begin: Mutex<Begin>,
    /// Held during a flush, and while changes are committed.
    pub(crate) file: tokio::sync::Mutex<File>,
    pub(crate) waiting: Mutex<Vec<Waiting>>,
    damaged: AtomicU64,
    rewrites: AtomicU64,
}

#[derive(Debug)]
pub(crate) struct File {
    journal: Journal,
    /// Bytes added since it was rewritten, and how many may be added.
    bytes: usize,
    limit: usize,
}

impl Accumulators {
    /// Reads the totals back from the journal in the folder `name` of the data folder. Once a name.
    pub async fn open(
        input: Input,
        name: &'static str,
        clock: Arc<dyn Clock>,
        settings: Settings,
    ) -> Result<Accumulators, OpenError> {
        let (journal, entries) = input.intake().storage().journal(name).await?;
        let mut replay = Replay::new(Totals::new(settings.limits), clock.monotonic());
        let (mut bytes, mut damaged) = (0, 0);
        for entry in entries {
            bytes += entry.len();
            if let Err(error) = replay.entry(&entry) {
                damaged += 1;
                tracing::warn!(journal = name, %error, "some totals could not be read back and begin at 0");
            }
        }
        Ok(Accumulators {
            input,
            clock,
            totals: Mutex::new(replay.finish()),
            begin: Mutex::new(settings.begin),
            file: tokio::sync::Mutex::new(File { journal, bytes, limit: JOURNAL_SLACK_BYTES }),
            waiting: Mutex::default(),
            damaged: damaged.into(),
            rewrites: AtomicU64::new(0),
        })
    }

    /// The totals, to change or read. Not to be held over an await.
    pub fn totals(&self) -> MutexGuard<'_, Totals> {
        self.totals.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Other settings: limits for new series, and how series begin.
    pub fn set(&self, settings: Settings) {
        self.totals().set_limits(settings.limits);
        *self.begin.lock().unwrap_or_else(PoisonError::into_inner) = settings.begin;
    }

    pub fn now(&self) -> Now {
        Now { wall_ms: self.clock.now_ms(), monotonic: self.clock.monotonic() }
    }

    /// Entries of the journal that could not be read.
    pub fn damaged(&self) -> u64 {
        self.damaged.load(Ordering::Relaxed)
    }

    /// How often the journal was made short.
    pub fn rewrites(&self) -> u64 {
        self.rewrites.load(Ordering::Relaxed)
    }

    pub(crate) fn begin(&self) -> Begin {
        *self.begin.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Makes durable what changed, and sends it: returns once it is in the log. What changes meanwhile belongs to the
    /// next flush. If the commit fails nothing is lost: the next flush has it again.
    pub async fn flush(&self) -> Result<(), AppendError> {
        let mut file = self.file.lock().await;
        let (now, begin) = (self.now(), self.begin());
        loop {
            let flush = self.totals().flush(now, begin, PART_POINTS);
            let Some(flush) = flush else { break };
            let more = flush.more;
            self.append(&mut file, flush).await?;
            if !more {
                break;
            }
        }
        self.rewrite_if_long(&mut file).await;
        Ok(())
    }

    /// Commits a part of a flush.
    pub(crate) async fn append(&self, file: &mut File, mut flush: Flush) -> Result<(), AppendError> {
        let (batch, entry) = (std::mem::take(&mut flush.batch), std::mem::take(&mut flush.entry));
        let (points, bytes) = (batch.points.len(), entry.len());
        let result = self.input.append_kept(batch, &file.journal, entry).await;
        let mut totals = self.totals();
        match &result {
            Ok(()) => {
                totals.confirm(flush);
                self.input.counters().points.add(points as u64);
                file.bytes += bytes;
            }
            Err(_) => totals.retract(flush),
        }
        result
    }

    pub(crate) async fn rewrite_if_long(&self, file: &mut File) {
        if file.bytes > file.limit {
            self.rewrite(file).await;
        }
    }

    /// Replaces the journal by a snapshot. If that fails, the old journal stays.
    async fn rewrite(&self, file: &mut File) {
        let entries = self.totals().snapshot();
        let bytes: usize = entries.iter().map(Vec::len).sum();
        match self.input.intake().storage().rewrite(&file.journal, entries).await {
            Ok(()) => {
                (file.bytes, file.limit) = (bytes, bytes.saturating_mul(3) + JOURNAL_SLACK_BYTES);
                self.rewrites.fetch_add(1, Ordering::Relaxed);
            }
            Err(error) => {
                file.limit = file.bytes.saturating_mul(2);
                tracing::warn!(input = self.input.name(), %error, "the journal of totals could not be rewritten");
            }
        }
    }
}
