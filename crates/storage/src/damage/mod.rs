//! Handling of unreadable parts of the log. Reads that may succeed later are retried. Damage is counted and
//! logged once, however many destinations read it, and the damaged file is quarantined.
//!
//! There are two cases. Corrupt bytes stay corrupt, so they are skipped at once. After an I/O error the read
//! may succeed later, and the bytes were acknowledged, so the read is retried. A page is given up only after
//! [`GIVE_UP_TRIES`] tries and after its segment has failed for [`READ_PATIENCE`]. Then it is skipped, so
//! that one bad sector does not stop delivery for ever. Errors that do not come from the disk (too many open
//! files, missing permission) are retried without a limit.

use std::collections::BTreeMap;
use std::io;
use std::sync::{Mutex, PoisonError};
use std::time::Duration;

mod report;

/// Minimum number of tries before a page is given up.
pub const GIVE_UP_TRIES: u32 = 5;
/// How long, in running time, reads of a segment must fail before its pages are given up. The time is
/// measured per segment, so that a range of bad pages costs it only once.
pub const READ_PATIENCE: Duration = Duration::from_secs(300);

/// Used instead of a page's offset if the segment could not be opened.
pub(crate) const OPENING: u64 = u64::MAX;
/// Largest number of damaged ranges per segment that are remembered. Further ones are counted each time.
const KNOWN_MAX: usize = 256;
/// Largest number of pages per segment whose tries are counted. If there are more, all counts are reset.
const PAGES_MAX: usize = 4096;

/// What to do after a failed read.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Verdict {
    /// Try again: the read may succeed later.
    Again,
    /// Skip the page: it was tried often and long enough.
    GiveUp,
}

/// Damaged ranges and failed reads by segment, kept until the segment is deleted.
#[derive(Debug, Default)]
pub(crate) struct Damages(Mutex<BTreeMap<u64, Segment>>);

#[derive(Debug, Default)]
struct Segment {
    /// Start and end of each damaged range.
    known: Vec<(u64, u64)>,
    trouble: Option<Trouble>,
}

#[derive(Debug)]
struct Trouble {
    since: Duration,
    last: Duration,
    /// Number of tries by the offset of the page.
    tries: BTreeMap<u64, u32>,
}

impl Damages {
    fn with<T>(&self, segment: u64, act: impl FnOnce(&mut Segment) -> T) -> T {
        let mut segments = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        act(segments.entry(segment).or_default())
    }

    /// Remembers a damaged range. Returns true if no part of it was known.
    pub(super) fn is_new(&self, segment: u64, from: u64, to: u64) -> bool {
        self.with(segment, |segment| {
            let known = segment.known.iter().any(|known| from < known.1.max(known.0 + 1) && known.0 < to);
            if !known && segment.known.len() < KNOWN_MAX {
                segment.known.push((from, to));
            }
            !known
        })
    }

    /// Counts a read that failed at `now`, a running time. Returns what to do about it.
    pub(super) fn failed(&self, segment: u64, page: u64, now: Duration) -> Verdict {
        self.with(segment, |segment| {
            let fresh = || Trouble { since: now, last: now, tries: BTreeMap::new() };
            let trouble = segment.trouble.get_or_insert_with(fresh);
            if now.saturating_sub(trouble.last) > READ_PATIENCE {
                *trouble = fresh();
            }
            trouble.last = now;
            if trouble.tries.len() >= PAGES_MAX {
                trouble.tries.clear();
            }
            let tries = trouble.tries.entry(page).or_default();
            *tries += 1;
            let enough = *tries >= GIVE_UP_TRIES && now.saturating_sub(trouble.since) >= READ_PATIENCE;
            if enough { Verdict::GiveUp } else { Verdict::Again }
        })
    }

    /// Forgets the segments below `number`, which are deleted.
    pub(crate) fn forget_below(&self, number: u64) {
        let mut segments = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        *segments = segments.split_off(&number);
    }
}

/// Returns true if the error does not come from the disk: missing permission, no memory, too many open files.
pub fn is_elsewhere(source: &io::Error) -> bool {
    const ENFILE: i32 = 23;
    const EMFILE: i32 = 24;
    matches!(source.kind(), io::ErrorKind::PermissionDenied | io::ErrorKind::OutOfMemory)
        || matches!(source.raw_os_error(), Some(ENFILE | EMFILE))
}

#[cfg(test)]
mod tests {
    use super::*;

    const SECOND: Duration = Duration::from_secs(1);

    #[test]
    fn pages_are_given_up_after_enough_tries_and_time() {
        let damages = Damages::default();
        for second in 0..300 {
            assert_eq!(damages.failed(3, 0, SECOND * second), Verdict::Again);
        }
        assert_eq!(damages.failed(3, 0, SECOND * 300), Verdict::GiveUp);
        for _ in 1..GIVE_UP_TRIES {
            assert_eq!(damages.failed(3, 32768, SECOND * 301), Verdict::Again);
        }
        assert_eq!(damages.failed(3, 32768, SECOND * 301), Verdict::GiveUp);
        assert_eq!(damages.failed(4, 0, SECOND * 301), Verdict::Again, "another segment has its own time");
        // Long after the last failure, the older failures no longer count.
        assert_eq!(damages.failed(3, 0, SECOND * 900), Verdict::Again);
    }

    #[test]
    fn damage_is_new_only_to_its_first_reader() {
        let damages = Damages::default();
        assert!(damages.is_new(1, 100, 200));
        assert!(!damages.is_new(1, 100, 200) && !damages.is_new(1, 150, 160) && !damages.is_new(1, 0, 101));
        assert!(damages.is_new(1, 200, 300) && damages.is_new(2, 100, 200));
        damages.forget_below(2);
        assert!(damages.is_new(1, 100, 200) && !damages.is_new(2, 100, 200));
    }

    #[test]
    fn too_many_open_files_is_no_disk_error() {
        assert!(is_elsewhere(&io::Error::from_raw_os_error(24)));
        assert!(is_elsewhere(&io::ErrorKind::PermissionDenied.into()));
        assert!(!is_elsewhere(&io::Error::from_raw_os_error(5)));
    }
}
