//! The journals together, as the committer writes them: the storage's own, of types and help texts, and those
//! that inputs opened. All that came with a group of batches is committed before the group's samples are, and entries
//! that came with samples count only once the samples are in the log (`journal`).

use crate::error::OpenError;
use crate::journal::{Found, JournalLog};
use crate::metadata::News;
use crate::recorder::RecordError;
use crate::shared::Shared;
use model::Metadata;
use std::sync::Arc;
use wal::{CommitError, Position, WalError, WriterOptions};

/// The number of the journal of types and help texts: it is opened first.
const METADATA: usize = 0;

/// The number of a journal, and its entries.
pub(crate) type OpenedJournal = (usize, Vec<Vec<u8>>);

/// A journal with its name.
type Named = (&'static str, JournalLog);

/// See the module.
pub(crate) struct Journals {
    shared: Arc<Shared>,
    options: WriterOptions,
    /// Names and journals, by number.
    open: Vec<Named>,
    /// What is in the buffer of [`METADATA`].
    news: News,
}

impl Journals {
    /// Opens the journal of types and help texts, and takes back what it holds.
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
        // Each start begins a segment, and so does each change of a text: once in a while all goes into one.
        if entries.len() > 2 * metadata.len() + 1000 {
            let live = metadata.entries();
            if let Err(error) = journals.rewrite(METADATA, &live) {
                tracing::warn!(%error, "the metadata journal could not be rewritten");
            }
        }
        Ok(journals)
    }

    /// Opens the journal in the folder `name` of the data folder; once a name.
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
        // In a log that is new, positions mean something else than in the one that the entries belonged to.
        let of_another_log = log_end.is_none() && found.has_bound;
        if (found.segments >= Found::MANY_SEGMENTS || of_another_log)
            && let Err(error) = journal.rewrite(&found.entries)
        {
            tracing::warn!(journal = name, %error, "a journal could not be rewritten");
        }
        self.open.push((name, journal));
        Ok((self.open.len() - 1, found.entries))
    }

    /// Replaces what a journal holds. Nothing may wait for a commit.
    pub(crate) fn rewrite(&mut self, number: usize, entries: &[Vec<u8>]) -> Result<(), String> {
        match self.open.get_mut(number) {
            Some((_, journal)) => journal.rewrite(entries),
            None => Err("no such journal".into()),
        }
    }

    /// Makes durable that the entries of failed commits are void. Until then nothing may be written to the log.
    pub(crate) fn void_failed(&mut self) -> Result<(), WalError> {
        self.open.iter_mut().try_for_each(|(_, journal)| journal.void_failed())
    }

    /// Whether what was committed last is in the log too.
    pub(crate) fn log_committed(&mut self, succeeded: bool) {
        self.open.iter_mut().for_each(|(_, journal)| journal.log_committed(succeeded));
    }

    /// Puts what came with a batch into the buffers: what is new of metrics, and an input's entry, which counts once
    /// the log has reached `needs`.
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

    /// Commits what is in the buffers; where it fails for several journals, the last error is told. What was
    /// new of metrics is known then, or comes as new again.
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

/// The journal with this number. Without it an entry would be acknowledged and lost.
fn opened(open: &mut [Named], number: usize) -> Result<&mut Named, RecordError> {
    let count = open.len();
    model::invariant!(number < count, "an entry belongs to an open journal", number = number);
    open.get_mut(number).ok_or(RecordError::Malformed)
}
