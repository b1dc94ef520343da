//! Keeps the journal of groups short.

use super::GroupsTask;
use crate::change::Change;
use crate::entry;

/// The journal is rewritten once it has this many bytes more than three times a snapshot.
const JOURNAL_SLACK_BYTES: usize = 1 << 20;
/// The maximum of bytes in an entry of a snapshot.
const SNAPSHOT_ENTRY_BYTES: usize = 1 << 20;

impl GroupsTask {
    /// Replaces the journal by a snapshot of the state. If that fails, the old journal is kept.
    pub(super) async fn rewrite_journal(&mut self) {
        let mut entries = Vec::new();
        let mut changes = Vec::new();
        let mut bytes = 0;
        for change in self.state.snapshot() {
            bytes += if let Change::Snapshot(group) = &change { group.bytes() } else { 64 };
            changes.push(change);
            if bytes > SNAPSHOT_ENTRY_BYTES {
                entries.push(entry::encode(&std::mem::take(&mut changes)));
                bytes = 0;
            }
        }
        entries.push(entry::encode(&changes));
        let bytes: usize = entries.iter().map(Vec::len).sum();
        match self.input.intake().storage().rewrite(&self.journal, entries).await {
            Ok(()) => {
                self.journal_bytes = bytes;
                self.journal_limit = journal_limit(bytes);
                self.stats.journal_rewrites.add(1);
            }
            Err(error) => {
                // The next attempt is made once the journal has doubled.
                self.journal_limit = self.journal_bytes.saturating_mul(2);
                tracing::warn!(%error, "the journal of groups could not be rewritten");
            }
        }
    }
}

/// The size at which the journal is rewritten if a snapshot has `bytes`.
pub(super) fn journal_limit(bytes: usize) -> usize {
    bytes.saturating_mul(3).saturating_add(JOURNAL_SLACK_BYTES)
}
