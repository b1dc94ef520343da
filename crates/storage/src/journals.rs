//! All journals, as the committer uses them: the storage's own journal of types and help texts, and those
//! that inputs opened. Entries are committed before the samples of their group. Entries that belong to
//! samples count only once the samples are in the log (`journal`).
//! that came with samples count only once the samples are in the log (`journal`).

use crate::error::OpenError;
use crate::journal::{Found, JournalLog};
use crate::metadata::News;
use crate::recorder::RecordError;
use crate::shared::Shared;
use model::Metadata;
use std::sync::Arc;
use wal::{CommitError, Position, WalError, WriterOptions};

/// The number of the journal of types and help texts, which is opened first.
const METADATA: usize = 0;

/// The number of a journal, and its entries.
pub(crate) type OpenedJournal = (usize, Vec<Vec<u8>>);

type Named = (&'static str, JournalLog);

/// The open journals; see the module's documentation.
pub(crate) struct Journals {
    shared: Arc<Shared>,
    options: WriterOptions,
    /// Names and journals, by number.
    open: Vec<Named>,
    /// The metadata in the buffer of journal [`METADATA`].
    news: News,
}

impl Journals {
    /// Opens the journal of types and help texts, and restores them.
    pub(crate) fn open(shared: Arc<Shared>, options: WriterOptions) -> Result<Journals, OpenError> {
        let mut journals = Journals { shared, options, open: Vec::new(), news: News::default() };
        let (number, entries) = journals.add("meta")?;
        debug_assert_eq!(number, METADATA);
        let metadata = &journals.shared.metadata;
        let unreadable = entries.iter().filter(|entry| !metadata.replay(entry)).count();
        if unreadable > 0 {
            tracing::warn!(
                journal = "meta",
                unreadable,
                "types and help texts could not be read back; they are known again after the next push of each"
            );
        }
        // Each change of a text adds an entry, so the journal is rewritten when most entries are outdated.
        if entries.len() > 2 * metadata.len() + 1000 {
            let live = metadata.entries();
            if let Err(error) = journals.rewrite(METADATA, &live) {
                tracing::warn!(%error, "the metadata journal could not be rewritten");
            }
        }
        Ok(journals)
    }

    /// Opens the journal in the folder `name` of the data folder. Each name can be opened once.
    pub(crate) fn add(&mut self, name: &'static str) -> Result<OpenedJournal, OpenError> {
        if self.open.iter().any(|(other, _)| *other == name) {
            return Err(OpenError::JournalOpen(name));
        }
        let dir = self.shared.options.dir.join(name);
        let (fs, aside) = (self.shared.fs.clone(), &self.shared.aside);
        let log_end = self.shared.recovered;
        let (mut journal, found) = JournalLog::open(fs, dir, self.options, Some(aside), log_end)?;
        if found.discarded > 0 {
            tracing::info!(
                journal = name,
                entries = found.discarded,
                "entries whose samples are not in the log were discarded, as after a kill in the middle of a commit"
            );
        }
        for damage in &found.damage {
            self.shared.count_damage_at_end(damage);
            self.shared.keep_aside(&damage.file);
        }
        self.shared.cut_at_start(&found.report);
        // The log is new, so the positions in these entries belong to another log.
        let of_another_log = log_end.is_none() && found.has_bound;
        if (found.segments >= Found::MANY_SEGMENTS || of_another_log)
            && let Err(error) = journal.rewrite(&found.entries)
        {
            tracing::warn!(journal = name, %error, "a journal could not be rewritten");
        }
        self.open.push((name, journal));
        Ok((self.open.len() - 1, found.entries))
    }

    /// Replaces the contents of a journal. No entry may wait for a commit.
    pub(crate) fn rewrite(&mut self, number: usize, entries: &[Vec<u8>]) -> Result<(), String> {
        match self.open.get_mut(number) {
            Some((_, journal)) => journal.rewrite(entries),
            None => Err("no such journal".into()),
        }
    }

    /// Voids the entries of failed commits, durably. Nothing may be written to the log before this succeeds.
    pub(crate) fn void_failed(&mut self) -> Result<(), WalError> {
        self.open.iter_mut().try_for_each(|(_, journal)| journal.void_failed())
    }

    /// Called after the commit of the log, with its success.
    pub(crate) fn log_committed(&mut self, succeeded: bool) {
        self.open.iter_mut().for_each(|(_, journal)| journal.log_committed(succeeded));
    }

    /// Appends to the buffers what came with a batch: new metadata, and the entry of an input. The entry
    /// counts once the log has reached `needs`.
    pub(crate) fn append(
        &mut self,
        metadata: &[Metadata],
        entry: Option<(usize, Vec<u8>)>,
        needs: Position,
    ) -> Result<(), RecordError> {
        let (_, journal) = opened(&mut self.open, METADATA)?;
        self.shared.metadata.learn(&mut self.news, metadata, |entry| journal.append(entry))?;
        if let Some((number, entry)) = entry {
            let (_, journal) = opened(&mut self.open, number)?;
            journal.append_bound(&entry, needs)?;
        }
        Ok(())
    }

    /// Commits the buffers. If several journals fail, the last error is returned. New metadata becomes known
    /// if all succeed; otherwise it still counts as new when it comes again.
    pub(crate) fn commit(&mut self) -> Result<(), CommitError> {
        let news = std::mem::take(&mut self.news);
        let mut result = Ok(());
        for (name, journal) in &mut self.open {
            if let Err(error) = journal.commit() {
                tracing::error!(journal = name, %error, "a journal could not be committed");
                result = Err(error);
            }
        }
        if result.is_ok() {
            self.shared.metadata.take(news);
        }
        result
    }
}

/// Returns the journal with this number. If it is missing the batch is refused, because its entry would be
/// acknowledged and lost.
fn opened(open: &mut [Named], number: usize) -> Result<&mut Named, RecordError> {
    let count = open.len();
    model::invariant!(number < count, "an entry belongs to an open journal", number = number);
    open.get_mut(number).ok_or(RecordError::Malformed)
}
