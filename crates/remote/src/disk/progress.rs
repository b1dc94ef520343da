//! Writes positions with each answer and syncs them every second. Positions are written only when all dead
//! letters and parked samples before them are kept.

use crate::disk::positions::{PositionFile, Settled, Sync};
use crate::stats::Stats;
use model::Kinds;
use std::io;
use std::sync::Arc;

#[derive(Debug)]
pub(crate) struct Progress {
    name: String,
    stats: Arc<Stats>,
    file: PositionFile,
    /// The positions that were written last.
    written: Box<Settled>,
    /// The positions that were synced last.
    saved: Box<Settled>,
    /// Positions that may be written once the keeper has done this ticket.
    held: Option<(u64, Box<Settled>)>,
    is_saving: bool,
}

/// A sync that is under way, with the positions that it makes durable.
pub(crate) struct Saving {
    sync: Sync,
    positions: Box<Settled>,
}

impl Saving {
    /// Blocks on the disk.
    pub(crate) fn wait(&self) -> io::Result<()> {
        self.sync.wait()
    }
}

impl Progress {
    pub(crate) fn new(name: String, stats: Arc<Stats>, file: PositionFile, settled: Settled) -> Self {
        let settled = Box::new(settled);
        Progress { name, stats, file, written: settled.clone(), saved: settled, held: None, is_saving: false }
    }

    pub(crate) fn saved(&self) -> &Settled {
        &self.saved
    }

    pub(crate) fn written(&self) -> &Settled {
        &self.written
    }

    /// Returns true if positions wait for the keeper.
    pub(crate) fn is_held(&self) -> bool {
        self.held.is_some()
    }

    /// Writes positions, if they have changed and everything before them is kept. `handed` is the ticket of
    /// the keeper's last job, `kept` the ticket up to which all jobs are done.
    pub(crate) fn write(&mut self, settled: Settled, handed: u64, kept: u64) {
        if let Some((ticket, positions)) = self.held.take() {
            if kept < ticket {
                self.held = Some((ticket, positions));
                return;
            }
            self.write_now(*positions);
        }
        if settled == *self.written {
            return;
        }
        if kept < handed {
            // They may be past a sample that is not yet written to the dead letters or the parked entries.
            self.held = Some((handed, Box::new(settled)));
        } else {
            self.write_now(settled);
        }
    }

    fn write_now(&mut self, settled: Settled) {
        match self.file.write(&settled) {
            Ok(()) => *self.written = settled,
            Err(error) => {
                // A part of the new positions may have replaced the old ones, so this area must not be
                // synced.
                *self.written = *self.saved;
                self.failed(&error);
            }
        }
    }

    /// Writes how many undelivered samples are only in memory, if the number has changed.
    pub(crate) fn write_only_in_memory(&mut self, kinds: Kinds) {
        if kinds != self.file.only_in_memory()
            && let Err(error) = self.file.write_only_in_memory(kinds)
        {
            self.failed(&error);
        }
    }

    /// Returns how many samples an earlier run had only in memory, until this run has written its own number.
    pub(crate) fn only_in_memory(&self) -> Kinds {
        self.file.only_in_memory()
    }

    /// Returns true while a sync is under way.
    pub(crate) fn is_saving(&self) -> bool {
        self.is_saving
    }

    /// Begins to sync the written positions, if they have changed and no sync is under way.
    pub(crate) fn begin_sync(&mut self) -> Option<Saving> {
        if self.is_saving || self.written == self.saved {
            return None;
        }
        self.is_saving = true;
        Some(Saving { sync: self.file.begin_sync(), positions: self.written.clone() })
    }

    /// Notes the end of a sync. Returns the durable positions.
    pub(crate) fn end_sync(&mut self, saving: Saving, result: io::Result<()>) -> Option<&Settled> {
        self.is_saving = false;
        match result {
            Ok(()) => {
                self.file.end_sync(&saving.sync);
                self.saved = saving.positions;
                Some(&self.saved)
            }
            Err(error) => {
                // The next write goes to the area whose sync failed.
                *self.written = *self.saved;
                self.failed(&error);
                None
            }
        }
    }

    fn failed(&self, error: &io::Error) {
        self.stats.positions_failed.add(1);
        tracing::error!(destination = %self.name, %error, "positions could not be saved");
    }
}
