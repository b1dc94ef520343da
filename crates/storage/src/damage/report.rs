//! Reporting of damage: it is counted and logged, and the file is quarantined.

use super::{Verdict, is_elsewhere};
use crate::shared::Shared;
use std::path::Path;
use wal::{Damage, DamageKind, WalError, dir};

impl Shared {
    /// Returns what to do after a page of a segment could not be read ([`super::OPENING`]: after it could not
    /// be opened).
    pub(crate) fn read_failed(&self, segment: u64, page: u64, error: &WalError) -> Verdict {
        self.stats.reads_failed.add(1);
        match self.damages.failed(segment, page, self.clock.monotonic()) {
            Verdict::GiveUp if !matches!(error, WalError::Io { source, .. } if is_elsewhere(source)) => {
                tracing::warn!(segment, %error, "given up: what lies there is passed over");
                Verdict::GiveUp
            }
            _ => Verdict::Again,
        }
    }

    /// Counts and logs damage in a segment of the log and quarantines the file, once per damage.
    pub(crate) fn damaged(&self, segment: u64, damage: &Damage) {
        if self.damages.is_new(segment, damage.offset, damage.offset + damage.bytes) {
            self.count_damage(damage);
            self.keep_aside(&damage.file);
        }
    }

    /// Reports the damage that a start found. The bytes after `end` were already cut, and copied.
    pub(crate) fn damaged_at_start(&self, report: &wal::OpenReport) {
        for damage in &report.damage {
            // The bytes are still there, and followers will retry the read.
            if damage.kind == DamageKind::Unreadable {
                tracing::warn!(%damage, "part of the log can't be read now; it is tried again when it is needed");
                continue;
            }
            match report.end {
                Some(end) if damage.offset < end.offset => self.damaged(end.segment, damage),
                _ => self.count_damage_at_end(damage),
            }
        }
        self.cut_at_start(report);
        for segment in &report.filled {
            self.missing(*segment);
        }
    }

    /// Logs the result of cutting a torn end.
    pub(crate) fn cut_at_start(&self, report: &wal::OpenReport) {
        let cut = report.cut_bytes;
        match &report.cut_kept {
            Some(Ok(kept)) => tracing::warn!(
                cut, kept = %kept.display(),
                "a log's end was torn, as after a kill in the middle of a write; it was cut, and a copy set aside"
            ),
            Some(Err(why)) => {
                tracing::warn!(cut, %why, "a log's end was torn and cut; no copy could be made")
            }
            None => {}
        }
    }

    /// Counts and logs a missing segment, once.
    pub(crate) fn missing(&self, segment: u64) {
        if self.damages.is_new(segment, 0, u64::MAX) {
            let path = dir::segment_path(&self.wal_dir, segment);
            tracing::warn!(
                path = %path.display(),
                "a segment of the log is missing: what it held and was not delivered is lost"
            );
            self.stats.damages.add(1);
        }
    }

    /// Counts and logs damage of the log or of a journal.
    pub(crate) fn count_damage(&self, damage: &Damage) {
        tracing::warn!(%damage, "part of the log could not be read");
        self.stats.damages.add(1);
        self.stats.damaged_bytes.add(damage.bytes);
    }

    /// Counts and logs damage at the end of the log or of a journal, found by a start.
    pub(crate) fn count_damage_at_end(&self, damage: &Damage) {
        self.count_damage(damage);
        // A kill leaves these kinds after the durable end. Other kinds mean that durable bytes have changed.
        if matches!(damage.kind, DamageKind::Torn | DamageKind::Zeros) {
            self.stats.torn_ends.add(1);
        }
    }

    /// Quarantines a damaged file by a hard link. Not on a full disk, where the space of deleted segments
    /// must be free at once.
    pub(crate) fn keep_aside(&self, path: &Path) {
        if self.stats.is_full() {
            tracing::warn!(path = %path.display(), "not set aside, since there is no room");
            return;
        }
        match self.aside.keep(&*self.fs, path, &dir::name_of(path)) {
            Ok(kept) => {
                tracing::info!(path = %path.display(), kept = %kept.display(), "the damaged file is set aside");
            }
            Err(error) => {
                tracing::warn!(path = %path.display(), %error, "the damaged file could not be set aside");
            }
        }
    }
}
