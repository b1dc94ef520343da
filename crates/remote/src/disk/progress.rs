//! Positions on their way to disk: written with each answer, synced every second, and never before everything that
//! they are past is kept.

use crate::disk::positions::{PositionFile, Settled, Sync};
use crate::stats::Stats;
use model::Kinds;
use std::io;
use std::sync::Arc;

/// See the module.
#[derive(Debug)]
pub(crate) struct Progress {
    name: String,
    stats: Arc<Stats>,
    file: PositionFile,
    /// What was written last.
    written: Box<Settled>,
    /// What was synced last.
    saved: Box<Settled>,
    /// Positions that may be written once everything up to a ticket of the keeper is kept.
    held: Option<(u64, Box<Settled>)>,
}

/// A sync that is under way, with the positions that it makes durable.
pub(crate) struct Saving {
    sync: Sync,
    positions: Box<Settled>,
}

impl Saving {
    /// Waits for the disk.
    pub(crate) fn wait(&self) -> io::Result<()> {
        self.sync.wait()
    }
}

impl Progress {
    pub(crate) fn new(name: String, stats: Arc<Stats>, file: PositionFile, settled: Settled) -> Self {
        let settled = Box::new(settled);
        Progress { name, stats, file, written: settled.clone(), saved: settled, held: None }
    }

    /// What was synced last.
    pub(crate) fn saved(&self) -> &Settled {
        &self.saved
    }

    /// What was written last.
    pub(crate) fn written(&self) -> &Settled {
        &self.written
    }

    /// Whether positions wait for something to be kept.
    pub(crate) fn is_held(&self) -> bool {
        self.held.is_some()
    }

    /// Writes positions, if they have changed and everything that they are past is kept. `handed` is the ticket of the
    /// last thing that was handed to the keeper, `kept` the one up to which everything is kept.
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
            // They may be past a sample that is on its way to the dead letters or the parked entries.
            self.held = Some((handed, Box::new(settled)));
        } else {
            self.write_now(settled);
        }
    }

    fn write_now(&mut self, settled: Settled) {
        match self.file.write(&settled) {
            Ok(()) => *self.written = settled,
            Err(error) => {
                // A part of it may be in the place of what was written before: nothing there is to be synced.
                *self.written = *self.saved;
                self.failed(&error);
            }
        }
    }

    /// Writes how many undelivered samples are only in memory, if that has changed.
    pub(crate) fn write_only_in_memory(&mut self, kinds: Kinds) {
        if kinds != self.file.only_in_memory()
            && let Err(error) = self.file.write_only_in_memory(kinds)
        {
            self.failed(&error);
        }
    }

    /// How many samples an earlier run had only in memory, until this one has written its own number.
    pub(crate) fn only_in_memory(&self) -> Kinds {
        self.file.only_in_memory()
    }

    /// Begins to make what was written durable, if there is anything. Only one at a time.
    pub(crate) fn begin_sync(&mut self) -> Option<Saving> {
        let is_needed = self.written != self.saved;
        is_needed.then(|| Saving { sync: self.file.begin_sync(), positions: self.written.clone() })
    }

    /// A sync has ended. Returns the positions that are durable now.
    pub(crate) fn end_sync(&mut self, saving: Saving, result: io::Result<()>) -> Option<&Settled> {
        match result {
            Ok(()) => {
                self.file.end_sync(&saving.sync);
                self.saved = saving.positions;
                Some(&self.saved)
            }
            Err(error) => {
                // The area that was to become durable is the next one to be written to.
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
