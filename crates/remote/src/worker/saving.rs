//! Positions on their way to disk: written with each answer, synced every second, and never before what they are
//! past is kept.

use super::{Saved, Worker};
use crate::disk::positions::Settled;
use std::io;

impl Worker {
    /// Writes the positions, if they have changed and what they are past is kept.
    pub(super) fn write_positions(&mut self) {
        // First: a kill between the two then costs no wrong count, since the segment of these samples is gone.
        self.write_only_in_memory();
        let kept = self.keeper.kept();
        if let Some((ticket, positions)) = self.held.take() {
            if kept < ticket {
                self.held = Some((ticket, positions));
                return;
            }
            self.write_these(*positions);
        }
        let positions = self.settled();
        if positions == *self.written {
            return;
        }
        let ticket = self.keeper.handed();
        if kept < ticket {
            // They may be past something that is on its way to the dead letters or the side queue.
            self.held = Some((ticket, Box::new(positions)));
        } else {
            self.write_these(positions);
        }
    }

    pub(super) fn write_these(&mut self, positions: Settled) {
        match self.file.write(&positions) {
            Ok(()) => *self.written = positions,
            Err(error) => self.positions_failed(&error),
        }
    }

    pub(super) fn positions_failed(&self, error: &io::Error) {
        self.stats.positions_failed.add(1);
        tracing::error!(destination = %self.name, %error, "positions could not be saved");
    }

    /// Writes the positions and begins to sync them, if they have changed and no sync is under way.
    pub(super) fn save(&mut self) {
        self.write_positions();
        if self.saving.is_some() || self.written == self.saved {
            return;
        }
        let (sync, positions) = (self.file.begin_sync(), self.written.clone());
        self.saving = Some(tokio::task::spawn_blocking(move || {
            let result = sync.wait();
            (sync, positions, result)
        }));
    }

    pub(super) fn save_ended(&mut self, saved: Option<Saved>) {
        self.saving = None;
        let Some((sync, positions, result)) = saved else { return };
        match result {
            Ok(()) => {
                self.file.end_sync(&sync);
                if let Some(lowest) = positions.lanes.iter().min() {
                    self.pin.set(*lowest);
                }
                self.saved = positions;
            }
            Err(error) => {
                // The area that was to become durable is the next one to be written to.
                *self.written = *self.saved;
                self.positions_failed(&error);
            }
        }
    }
}
