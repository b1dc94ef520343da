//! Parked entries: those that the target keeps failing on while it accepts others.

use super::{DIGITS, Number, PARKED, Spool, SpoolError, read_entry};
use crate::entry::Entry;
use std::collections::BTreeMap;
use std::fs::File;
use std::io::{self, Write};
use std::path::PathBuf;

impl Spool {
    /// Counts a delivery that failed on the oldest entry, which has this number. Returns how many have failed
    /// so far.
    pub(crate) fn count_failure(&self, number: Number) -> u32 {
        let text = std::fs::read_to_string(self.folder.join("failing")).unwrap_or_default();
        let before = text.trim().split_once(' ').filter(|(of, _)| of.parse() == Ok(number));
        let before: u32 = before.and_then(|(_, count)| count.parse().ok()).unwrap_or(0);
        let count = before.saturating_add(1);
        // If a crash loses the count, the entry is parked some tries later.
        let _ = self.file("failing").and_then(|mut file| writeln!(file, "{number} {count}"));
        count
    }

    /// Parks an entry. Returns how many parked entries were dropped for it.
    pub(crate) async fn park(&self, number: Number) -> Result<usize, SpoolError> {
        let _lock = self.exclusively().await?;
        let renamed = std::fs::rename(self.path(number), self.parked_path(number));
        match renamed.and_then(|()| self.touch(number)) {
            Err(source) if source.kind() != io::ErrorKind::NotFound => {
                return Err(self.failed("parking an entry", source));
            }
            _ => {}
        }
        let parked = self.list_parked()?;
        let excess = parked.len().saturating_sub(self.parked_max);
        for (number, _) in parked.iter().take(excess) {
            self.remove_parked(*number)?;
        }
        Ok(excess)
    }

    /// The parked entries that are due for a retry, oldest first. The inner `None` means that the file is
    /// damaged.
    pub(crate) fn parked_due(&self) -> Result<Vec<(Number, Option<Entry>)>, SpoolError> {
        let mut due = Vec::new();
        for (number, _) in self.list_parked()? {
            let path = self.parked_path(number);
            let tried = std::fs::metadata(&path).and_then(|data| data.modified());
            // A time in the future comes from another clock; the entry is due.
            let rests = tried.is_ok_and(|tried| tried.elapsed().is_ok_and(|age| age < self.parked_retry));
            if rests {
                continue;
            }
            match read_entry(&path) {
                Ok(entry) => due.push((number, entry)),
                Err(error) if error.kind() == io::ErrorKind::NotFound => {}
                Err(source) => return Err(self.failed("reading an entry", source)),
            }
        }
        Ok(due)
    }

    /// Marks a parked entry as tried, after a try that failed.
    pub(crate) fn tried(&self, number: Number) -> Result<(), SpoolError> {
        self.touch(number).map_err(|source| self.failed("marking an entry", source))
    }

    /// Removes the parked entries with these labels. Returns how many.
    pub(crate) fn remove_parked_of(&self, labels: &BTreeMap<String, String>) -> Result<usize, SpoolError> {
        let mut removed = 0;
        for (number, _) in self.list_parked()? {
            let entry = read_entry(&self.parked_path(number)).ok().flatten();
            // An entry with `add` is not replaced by a later one.
            if entry.is_some_and(|entry| entry.labels == *labels && entry.add.is_none()) {
                self.remove_parked(number)?;
                removed += 1;
            }
        }
        Ok(removed)
    }

    pub(crate) fn remove_parked(&self, number: Number) -> Result<(), SpoolError> {
        self.remove_file(&self.parked_path(number))
    }

    fn touch(&self, number: Number) -> io::Result<()> {
        File::open(self.parked_path(number))?.set_modified(std::time::SystemTime::now())
    }

    pub(super) fn parked_path(&self, number: Number) -> PathBuf {
        self.folder.join(format!("{PARKED}{number:0DIGITS$}"))
    }
}
