//! The series of one target: the outcome of the rules for each series of its page, and which were there in the last
//! scrape.
//!
//! A series of a page is known by a hash of its labels as the page says them. So the labels of a known series are
//! neither merged nor relabelled again. Pure; the hashes are the caller's and have 128 bits.

use hashbrown::HashMap;

/// The result of looking up a series of a page.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Sight {
    /// Not seen before.
    New,
    /// The rules drop it.
    Dropped,
    /// Seen before; the number of its entry.
    Known(u32),
    /// The page has it twice, and this is the second time.
    Repeated(u32),
}

/// The entry of a series.
#[derive(Debug)]
pub struct Entry {
    /// The labels that it is appended with, canonical.
    pub labels: Box<[u8]>,
    /// The registry's hash of these labels.
    pub hash: u128,
    /// The scrape that saw it last.
    seen: u32,
    /// The scrape that saw it before; [`NEVER`] if there was none.
    before: u32,
    /// Whether it gets a staleness marker when it is gone.
    tracked: bool,
}

/// A series as the page names it.
#[derive(Debug, Clone, Copy)]
struct Raw {
    entry: u32,
    seen: u32,
}

/// The entry of a series that the rules drop.
const DROPPED: u32 = u32::MAX;
/// The number of no scrape.
const NEVER: u32 = 0;
/// Entries beyond twice those of the last scrape that succeeded, which a failed scrape may leave.
const SPARE_ENTRIES: usize = 1000;

#[derive(Debug, Default)]
pub struct Table {
    by_raw: HashMap<u128, Raw>,
    by_labels: HashMap<u128, u32>,
    entries: Vec<Option<Entry>>,
    free: Vec<u32>,
    /// The number of the scrape.
    scrape: u32,
    /// The scrape before, if it succeeded; otherwise [`NEVER`]. Its series get markers when they are gone.
    succeeded: u32,
    /// How many series the last scrape that succeeded had.
    size: usize,
    /// How many of `by_raw` and of the entries this scrape has seen.
    seen_raw: usize,
    seen: usize,
}

impl Table {
    /// Begins a scrape.
    pub fn begin(&mut self) {
        self.scrape = self.scrape.wrapping_add(1).max(NEVER + 1);
        (self.seen_raw, self.seen) = (0, 0);
    }

    /// How many series there are.
    pub fn len(&self) -> usize {
        self.by_labels.len()
    }

    pub fn is_empty(&self) -> bool {
        self.by_labels.is_empty()
    }

    pub fn get(&self, entry: u32) -> Option<&Entry> {
        self.entries.get(entry as usize)?.as_ref()
    }

    /// Looks a series of the page up. A `tracked` series gets a marker when it is gone.
    pub fn sight(&mut self, raw: u128, tracked: bool) -> Sight {
        let Some(found) = self.by_raw.get_mut(&raw) else { return Sight::New };
        if found.seen != self.scrape {
            found.seen = self.scrape;
            self.seen_raw += 1;
        }
        match found.entry {
            DROPPED => Sight::Dropped,
            entry => self.see(entry, tracked),
        }
    }

    fn see(&mut self, number: u32, tracked: bool) -> Sight {
        let scrape = self.scrape;
        let Some(Some(entry)) = self.entries.get_mut(number as usize) else { return Sight::New };
        if entry.seen == scrape {
            return Sight::Repeated(number);
        }
        (entry.before, entry.seen, entry.tracked) = (entry.seen, scrape, tracked);
        self.seen += 1;
        Sight::Known(number)
    }

    /// Remembers that the rules drop a new series.
    pub fn learn_dropped(&mut self, raw: u128) {
        self.seen_raw += 1;
        self.by_raw.insert(raw, Raw { entry: DROPPED, seen: self.scrape });
    }

    /// Remembers a new series of the page with the labels that the rules have made of it. Other bytes of the page may
    /// have led to the same labels before. [`Sight::New`] says that there are too many entries.
    pub fn learn(&mut self, raw: u128, labels: &[u8], hash: u128, tracked: bool) -> Sight {
        let scrape = self.scrape;
        self.seen_raw += 1;
        if let Some(&number) = self.by_labels.get(&hash) {
            self.by_raw.insert(raw, Raw { entry: number, seen: scrape });
            return self.see(number, tracked);
        }
        let entry = Entry { labels: labels.into(), hash, seen: scrape, before: NEVER, tracked };
        let number = match self.free.pop() {
            Some(number) => number,
            None if self.entries.len() >= DROPPED as usize => return Sight::New,
            None => {
                self.entries.push(None);
                self.entries.len() as u32 - 1
            }
        };
        if let Some(place) = self.entries.get_mut(number as usize) {
            *place = Some(entry);
        }
        self.by_raw.insert(raw, Raw { entry: number, seen: scrape });
        self.by_labels.insert(hash, number);
        self.seen += 1;
        Sight::Known(number)
    }

    /// Ends a scrape that succeeded. Removes the series that it has not seen, and gives those that get a marker.
    pub fn finish(&mut self) -> Vec<Entry> {
        let scrape = self.scrape;
        if self.seen_raw < self.by_raw.len() {
            self.by_raw.retain(|_, raw| raw.seen == scrape);
        }
        let mut gone = Vec::new();
        if self.seen < self.by_labels.len() {
            for (number, place) in self.entries.iter_mut().enumerate() {
                if let Some(entry) = place.take_if(|entry| entry.seen != scrape) {
                    self.by_labels.remove(&entry.hash);
                    self.free.push(number as u32);
                    gone.push(entry);
                }
            }
            // What other bytes of the page have led to.
            let entries = &self.entries;
            let lives = |raw: &Raw| {
                raw.entry == DROPPED || entries.get(raw.entry as usize).is_some_and(Option::is_some)
            };
            self.by_raw.retain(|_, raw| lives(raw));
        }
        gone.retain(|entry| entry.tracked && entry.seen == self.succeeded);
        (self.succeeded, self.size) = (scrape, self.by_labels.len());
        gone
    }

    /// Ends a scrape that failed, of which nothing is kept. Calls `end` with each series of the scrape before that gets
    /// a marker. The entries stay, unless failed scrapes have brought too many.
    pub fn fail(&mut self, mut end: impl FnMut(&Entry)) {
        let (scrape, succeeded) = (self.scrape, self.succeeded);
        for entry in self.entries.iter().flatten() {
            let last = if entry.seen == scrape { entry.before } else { entry.seen };
            if entry.tracked && last == succeeded && succeeded != NEVER {
                end(entry);
            }
        }
        self.succeeded = NEVER;
        if self.by_raw.len().max(self.entries.len()) > 2 * self.size + SPARE_ENTRIES {
            *self = Table { scrape, ..Table::default() };
        }
    }

    /// Gives all series that get a marker, because the target is gone.
    pub fn end(self) -> Vec<Entry> {
        let Table { entries, succeeded, .. } = self;
        let is_present = |entry: &Entry| entry.seen == succeeded && succeeded != NEVER;
        entries.into_iter().flatten().filter(|entry| entry.tracked && is_present(entry)).collect()
    }

    /// Discards the outcomes of the rules, because the rules have changed. The series themselves are known
    /// still.
    pub fn discard_outcomes(&mut self) {
        self.by_raw.clear();
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Scrapes a page of series: a raw hash, and the hash of the labels that it leads to, or 0 for one that is dropped.
    fn scrape(table: &mut Table, page: &[(u128, u128)]) -> Vec<Sight> {
        table.begin();
        let see = |(raw, labels): &(u128, u128)| match table.sight(*raw, true) {
            Sight::New if *labels == 0 => {
                table.learn_dropped(*raw);
                Sight::Dropped
            }
            Sight::New => table.learn(*raw, &[*labels as u8], *labels, true),
            sight => sight,
        };
        page.iter().map(see).collect()
    }

    fn hashes(gone: &[Entry]) -> Vec<u128> {
        gone.iter().map(|entry| entry.hash).collect()
    }

    #[test]
    fn series_that_are_gone_are_given_once() {
        let mut table = Table::default();
        let sights = scrape(&mut table, &[(1, 10), (2, 20), (3, 0)]);
        assert_eq!(sights, [Sight::Known(0), Sight::Known(1), Sight::Dropped]);
        assert_eq!(hashes(&table.finish()), []);
        let sights = scrape(&mut table, &[(1, 10), (3, 0)]);
        assert_eq!(sights, [Sight::Known(0), Sight::Dropped]);
        assert_eq!(hashes(&table.finish()), [20]);
        scrape(&mut table, &[(1, 10)]);
        assert_eq!(hashes(&table.finish()), []);
        // It comes back, in the place that is free.
        assert_eq!(scrape(&mut table, &[(1, 10), (2, 20)]), [Sight::Known(0), Sight::Known(1)]);
        assert_eq!(table.len(), 2);
    }

    fn fail(table: &mut Table) -> Vec<u128> {
        let mut ended = Vec::new();
        table.fail(|entry| ended.push(entry.hash));
        ended
    }

    #[test]
    fn a_failed_scrape_ends_the_series_of_the_one_before() {
        let mut table = Table::default();
        scrape(&mut table, &[(1, 10), (2, 20)]);
        table.finish();
        scrape(&mut table, &[(1, 10), (3, 30)]);
        assert_eq!(fail(&mut table), [10, 20], "30 was never appended");
        table.begin();
        assert_eq!(fail(&mut table), [], "a second failure has nothing to end");
        // The series are known still, and those that do not come back have their markers already.
        assert_eq!(scrape(&mut table, &[(1, 10)]), [Sight::Known(0)]);
        assert_eq!(hashes(&table.finish()), []);
        assert_eq!(table.len(), 1);
        scrape(&mut table, &[]);
        assert_eq!(hashes(&table.finish()), [10]);
    }

    #[test]
    fn failed_scrapes_do_not_fill_the_table() {
        let mut table = Table::default();
        for number in 1..10_000_u128 {
            scrape(&mut table, &[(number, number)]);
            fail(&mut table);
            assert!(table.len() <= SPARE_ENTRIES + 1);
        }
    }

    #[test]
    fn the_end_of_a_target_ends_the_series_of_its_last_scrape() {
        let mut table = Table::default();
        scrape(&mut table, &[(1, 10)]);
        table.finish();
        assert_eq!(hashes(&table.end()), [10]);
        let mut table = Table::default();
        scrape(&mut table, &[(1, 10)]);
        table.finish();
        table.begin();
        fail(&mut table);
        assert_eq!(hashes(&table.end()), []);
    }

    #[test]
    fn a_series_that_a_page_has_twice_is_told_also_by_its_labels() {
        let mut table = Table::default();
        let repeated = [Sight::Known(0), Sight::Repeated(0), Sight::Repeated(0)];
        // 1 and 2 are other bytes for the same labels, as after a rule that drops a label.
        assert_eq!(scrape(&mut table, &[(1, 10), (1, 10), (2, 10)]), repeated);
        assert_eq!(hashes(&table.finish()), []);
        assert_eq!(scrape(&mut table, &[(1, 10), (1, 10), (2, 10)]), repeated);
        assert_eq!(hashes(&table.finish()), []);
        // The same series by other bytes goes on.
        assert_eq!(scrape(&mut table, &[(2, 10)]), [Sight::Known(0)]);
        assert_eq!(hashes(&table.finish()), []);
        scrape(&mut table, &[]);
        assert_eq!(hashes(&table.finish()), [10]);
    }

    #[test]
    fn untracked_series_end_without_a_marker() {
        let mut table = Table::default();
        table.begin();
        table.learn(1, b"", 10, false);
        table.finish();
        table.begin();
        assert_eq!(hashes(&table.finish()), []);
    }

    #[test]
    fn after_other_rules_a_series_with_the_same_labels_goes_on() {
        let mut table = Table::default();
        scrape(&mut table, &[(1, 10), (2, 20)]);
        table.finish();
        table.discard_outcomes();
        // Now the rules make other labels of the second series.
        assert_eq!(scrape(&mut table, &[(1, 10), (2, 21)]), [Sight::Known(0), Sight::Known(2)]);
        assert_eq!(hashes(&table.finish()), [20]);
    }
}
