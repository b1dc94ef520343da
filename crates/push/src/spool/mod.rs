//! Entries that could not be sent wait here. Each target has a folder, which several processes may use at
//! once.
//!
//! ```text
//! SPOOL/                            0700
//!   3f0c.../                        0700, one for each target
//!     target                        its URL without credentials, for people
//!     lock                          held while files are listed, added or dropped: moments
//!     turn                          held by the one process that sends
//!     failing                       number of the oldest entry, and how many deliveries it has failed
//!     parked-00000000000000000003   an entry that the target keeps failing on; its time is its last try
//!     00000000000000000007          an entry, 0600; see `entry`
//!     00000000000000000008
//! ```
//!
//! Rules:
//! - Only the process that holds the turn sends, in the order of the entries' numbers. A process that finds
//!   entries adds its own behind them, so the order is kept.
//! - A process that adds an entry without the turn tries to get the turn afterwards. A process releases the
//!   turn only while it holds the lock and sees no entry. So no entry is left waiting for a target that
//!   answers.
//! - An entry is written as a whole ([`wal::small_file`]). The kernel releases the locks of a process when it
//!   ends.
//! - An entry that the target keeps failing on while it accepts others is parked: the others are sent, and
//!   the parked one is retried every [`PARKED_RETRY`]. At most [`PARKED_MAX`] are parked. Above that the
//!   oldest are dropped.
//! - There are at most [`ENTRIES_MAX`] entries and [`BYTES_MAX`] bytes. Above that the oldest are dropped:
//!   the last run of a job matters more than one of weeks ago. The process that drops an entry reports it.

mod parked;

use crate::entry::Entry;
use rustix::fs::{FlockOperation, flock};
use std::fs::{DirBuilder, File, OpenOptions, Permissions};
use std::io::{self, Write};
use std::os::unix::fs::{DirBuilderExt, OpenOptionsExt, PermissionsExt};
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};
use wal::RealFilesystem;
use wal::small_file;

/// The most entries that wait for one target.
pub const ENTRIES_MAX: usize = 1000;
/// The most bytes that wait for one target.
pub const BYTES_MAX: u64 = 16 << 20;
/// The most parked entries of one target. They are among [`ENTRIES_MAX`] and [`BYTES_MAX`].
pub const PARKED_MAX: usize = 100;
/// The time between two tries of a parked entry.
pub const PARKED_RETRY: Duration = Duration::from_secs(5 * 60);
/// What the name of a parked entry begins with.
const PARKED: &str = "parked-";
/// The pause between two tries to take a lock that another process holds.
const LOCK_RETRY: Duration = Duration::from_millis(10);
/// The longest wait for the lock on the folder, which is held only briefly.
const LOCK_PATIENCE: Duration = Duration::from_secs(5);
/// Digits of a number in a file name, so that names sort as numbers do.
const DIGITS: usize = 20;

/// Why the spool can't be used.
#[derive(Debug, thiserror::Error)]
#[error("the spool {} can't be used: {what}: {source}", path.display())]
pub(crate) struct SpoolError {
    path: PathBuf,
    what: &'static str,
    source: io::Error,
}

/// The spool of one target.
#[derive(Debug)]
pub(crate) struct Spool {
    folder: PathBuf,
    entries_max: usize,
    bytes_max: u64,
    parked_max: usize,
    parked_retry: Duration,
}

/// The result of adding an entry.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Added {
    /// The number of waiting entries, this one included.
    pub(crate) waiting: usize,
    /// The number of older entries that were dropped.
    pub(crate) dropped: usize,
}

pub(crate) type Number = u64;

/// The right to send. It ends when this value is dropped, and with the process.
#[derive(Debug)]
pub(crate) struct Turn(#[expect(dead_code, reason = "its lock is what counts")] File);

impl Spool {
    /// Opens the spool of the target with this key below `base`, and creates it if it does not exist. `shown`
    /// is the target's URL for messages.
    pub(crate) fn open(base: &Path, key: &str, shown: &str) -> Result<Spool, SpoolError> {
        let folder = base.join(key);
        let spool = Spool {
            folder,
            entries_max: ENTRIES_MAX,
            bytes_max: BYTES_MAX,
            parked_max: PARKED_MAX,
            parked_retry: PARKED_RETRY,
        };
        let make = || DirBuilder::new().recursive(true).mode(0o700).create(&spool.folder);
        small_file::make_folder_by(&RealFilesystem, &spool.folder, make)
            .map_err(|source| spool.failed("making it", source))?;
        // An existing folder may be accessible to others.
        std::fs::set_permissions(&spool.folder, Permissions::from_mode(0o700))
            .map_err(|source| spool.failed("making it private", source))?;
        let target = spool.folder.join("target");
        if !target.exists() {
            spool
                .file("target")
                .and_then(|mut file| writeln!(file, "{shown}"))
                .map_err(|source| spool.failed("writing to it", source))?;
        }
        Ok(spool)
    }

    pub(crate) fn folder(&self) -> &Path {
        &self.folder
    }

    /// Takes the turn. Returns `None` if another process holds it during the whole of `patience`.
    pub(crate) async fn turn(&self, patience: Duration) -> Result<Option<Turn>, SpoolError> {
        let turn =
            self.lock("turn", patience).await.map_err(|error| self.failed("taking the turn", error))?;
        Ok(turn.map(Turn))
    }

    /// Gives up the turn if no entry waits; otherwise returns it to the caller.
    pub(crate) async fn leave(&self, turn: Turn) -> Result<Option<Turn>, SpoolError> {
        let lock = self.exclusively().await?;
        let left = self.list()?;
        let turn = if left.is_empty() {
            drop(turn);
            None
        } else {
            Some(turn)
        };
        drop(lock);
        Ok(turn)
    }

    pub(crate) async fn add(&self, entry: &Entry) -> Result<Added, SpoolError> {
        let _lock = self.exclusively().await?;
        let bytes = entry.to_bytes();
        let waiting = self.list()?;
        let mut parked = std::collections::VecDeque::from(self.list_parked()?);
        let mut number = waiting.last().map_or(0, |(number, _)| number + 1);
        // A parked entry keeps its number, so that it can't be mistaken for a newer one.
        number = number.max(parked.back().map_or(0, |(number, _)| number + 1));
        let mut waiting = std::collections::VecDeque::from(waiting);
        let all = waiting.iter().chain(&parked).map(|(_, bytes)| bytes);
        let mut sum = all.sum::<u64>() + bytes.len() as u64;
        let mut dropped = 0;
        while waiting.len() + parked.len() + 1 > self.entries_max || sum > self.bytes_max {
            // An entry that is larger than the whole spool is kept alone; standard input is bounded below it.
            let oldest = match parked.pop_front() {
                Some((number, bytes)) => self.remove_parked(number).map(|()| bytes)?,
                None => match waiting.pop_front() {
                    Some((number, bytes)) => self.remove(number).map(|()| bytes)?,
                    None => break,
                },
            };
            sum -= oldest;
            dropped += 1;
        }
        self.write(number, &bytes).map_err(|source| self.failed("writing to it", source))?;
        Ok(Added { waiting: waiting.len() + parked.len() + 1, dropped })
    }

    /// The oldest entry. The inner `None` means that its file is damaged.
    pub(crate) fn oldest(&self) -> Result<Option<(Number, Option<Entry>)>, SpoolError> {
        self.next(0)
    }

    /// The oldest entry with this number or a higher one.
    pub(crate) fn next(&self, from: Number) -> Result<Option<(Number, Option<Entry>)>, SpoolError> {
        loop {
            let list = self.list()?;
            let Some(&(number, _)) = list.iter().find(|(number, _)| *number >= from) else { return Ok(None) };
            match read_entry(&self.path(number)) {
                Ok(entry) => return Ok(Some((number, entry))),
                // Another process dropped it because of the limits.
                Err(error) if error.kind() == io::ErrorKind::NotFound => {}
                Err(source) => return Err(self.failed("reading an entry", source)),
            }
        }
    }

    /// The number of waiting entries.
    pub(crate) fn waiting(&self) -> usize {
        self.list().map_or(0, |list| list.len())
    }

    /// Removes an entry that was delivered or refused.
    pub(crate) fn remove(&self, number: Number) -> Result<(), SpoolError> {
        self.remove_file(&self.path(number))
    }

    fn remove_file(&self, path: &Path) -> Result<(), SpoolError> {
        match std::fs::remove_file(path) {
            Err(source) if source.kind() != io::ErrorKind::NotFound => {
                Err(self.failed("removing an entry", source))
            }
            _ => Ok(()),
        }
    }

    /// Numbers and sizes, oldest first.
    fn list(&self) -> Result<Vec<(Number, u64)>, SpoolError> {
        self.list_named("")
    }

    fn list_parked(&self) -> Result<Vec<(Number, u64)>, SpoolError> {
        self.list_named(PARKED)
    }

    fn list_named(&self, prefix: &str) -> Result<Vec<(Number, u64)>, SpoolError> {
        let failed = |source| self.failed("listing it", source);
        let mut all = Vec::new();
        for file in std::fs::read_dir(&self.folder).map_err(failed)? {
            let file = file.map_err(failed)?;
            let name = file.file_name();
            let number = name.to_str().and_then(|name| name.strip_prefix(prefix));
            let Some(number) = number.filter(|number| number.len() == DIGITS) else { continue };
            let (Ok(number), Ok(data)) = (number.parse(), file.metadata()) else { continue };
            all.push((number, data.len()));
        }
        all.sort_unstable();
        Ok(all)
    }

    fn write(&self, number: Number, bytes: &[u8]) -> io::Result<()> {
        let unfinished = self.folder.join("new");
        small_file::create(&RealFilesystem, &self.path(number), &unfinished, |file| {
            std::fs::set_permissions(&unfinished, Permissions::from_mode(0o600))?;
            file.write_all_at(bytes, 0)?;
            file.sync_data()
        })
    }

    async fn exclusively(&self) -> Result<File, SpoolError> {
        let timed_out = || io::Error::new(io::ErrorKind::TimedOut, "another process holds its lock");
        self.lock("lock", LOCK_PATIENCE)
            .await
            .and_then(|lock| lock.ok_or_else(timed_out))
            .map_err(|source| self.failed("locking it", source))
    }

    async fn lock(&self, name: &str, patience: Duration) -> io::Result<Option<File>> {
        let file = OpenOptions::new()
            .write(true)
            .create(true)
            .truncate(false)
            .mode(0o600)
            .open(self.folder.join(name))?;
        let started = Instant::now();
        loop {
            match flock(&file, FlockOperation::NonBlockingLockExclusive) {
                Ok(()) => return Ok(Some(file)),
                Err(rustix::io::Errno::WOULDBLOCK) if started.elapsed() < patience => {
                    tokio::time::sleep(LOCK_RETRY).await;
                }
                Err(rustix::io::Errno::WOULDBLOCK) => return Ok(None),
                Err(rustix::io::Errno::INTR) => {}
                Err(error) => return Err(error.into()),
            }
        }
    }

    fn file(&self, name: &str) -> io::Result<File> {
        OpenOptions::new().write(true).create(true).truncate(true).mode(0o600).open(self.folder.join(name))
    }

    fn path(&self, number: Number) -> PathBuf {
        self.folder.join(format!("{number:0DIGITS$}"))
    }

    fn failed(&self, what: &'static str, source: io::Error) -> SpoolError {
        SpoolError { path: self.folder.clone(), what, source }
    }
}

/// Reads an entry. Returns `None` if its file is damaged.
fn read_entry(path: &Path) -> io::Result<Option<Entry>> {
    let bytes = small_file::read(&RealFilesystem, path, 2 * BYTES_MAX)?;
    Ok(Entry::from_bytes(&bytes.ok_or(io::ErrorKind::NotFound)?))
}

#[cfg(test)]
mod tests;
