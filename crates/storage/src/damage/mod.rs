//! What of the log can't be read: tried again while it may pass, then counted and named once, however many
//! destinations meet it, and set aside.
//!
//! Two things are told apart. Bytes that are wrong stay wrong, so they are passed over at once. A disk that says
//! no may say yes later, and what it holds was acknowledged: a page is given up only when it was tried
//! [`GIVE_UP_TRIES`] times and its segment has made trouble for [`READ_PATIENCE`]. Then what lies in it is passed
//! over, so that one bad sector does not end delivery for good. Errors that say nothing about the disk (no more
//! open files, no permission) are waited out for ever.

use std::collections::BTreeMap;
use std::io;
use std::sync::{Mutex, PoisonError};
use std::time::Duration;

mod report;

/// How often a page is tried at least before it is given up.
pub const GIVE_UP_TRIES: u32 = 5;
/// How long, in running time, a segment may make trouble before pages of it are given up. Counted for all its
/// pages together, so that a broken stretch costs this once.
pub const READ_PATIENCE: Duration = Duration::from_secs(300);

/// In place of a page: the segment could not be opened.
pub(crate) const OPENING: u64 = u64::MAX;
/// Most stretches of a segment that are remembered, so as not to count them again.
const KNOWN_MAX: usize = 256;
/// Most pages of a segment whose tries are counted; past it the count begins anew.
const PAGES_MAX: usize = 4096;

/// What to do about a read that failed.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Verdict {
    /// It may pass.
    Again,
    /// It was tried long enough.
    GiveUp,
}

/// What is known of damaged segments, until they go.
#[derive(Debug, Default)]
pub(crate) struct Damages(Mutex<BTreeMap<u64, Segment>>);

#[derive(Debug, Default)]
struct Segment {
    /// Begin and end of each stretch.
    known: Vec<(u64, u64)>,
    trouble: Option<Trouble>,
}

#[derive(Debug)]
struct Trouble {
    since: Duration,
    last: Duration,
    /// Tries by page.
    tries: BTreeMap<u64, u32>,
}

impl Damages {
    fn with<T>(&self, segment: u64, act: impl FnOnce(&mut Segment) -> T) -> T {
        let mut segments = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        act(segments.entry(segment).or_default())
    }

    /// Remembers a stretch; says whether nothing of it was known.
    pub(super) fn is_new(&self, segment: u64, from: u64, to: u64) -> bool {
        self.with(segment, |segment| {
            let known = segment.known.iter().any(|known| from < known.1.max(known.0 + 1) && known.0 < to);
            if !known && segment.known.len() < KNOWN_MAX {
                segment.known.push((from, to));
            }
            !known
        })
    }

    /// Counts a read that failed at `now`, running time; says what to do about it.
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

    /// Segments below `number` are gone.
    pub(crate) fn forget_below(&self, number: u64) {
        let mut segments = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        *segments = segments.split_off(&number);
    }
}

/// Whether an error comes from something else than the disk: no permission, no memory, too many open files.
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
    fn a_page_is_given_up_after_enough_tries_and_time_and_a_broken_stretch_costs_the_time_once() {
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
        // Long after: what was bad then says nothing of now.
        assert_eq!(damages.failed(3, 0, SECOND * 900), Verdict::Again);
    }

    #[test]
    fn what_several_readers_meet_is_known_after_the_first() {
        let damages = Damages::default();
        assert!(damages.is_new(1, 100, 200));
        assert!(!damages.is_new(1, 100, 200) && !damages.is_new(1, 150, 160) && !damages.is_new(1, 0, 101));
        assert!(damages.is_new(1, 200, 300) && damages.is_new(2, 100, 200));
        damages.forget_below(2);
        assert!(damages.is_new(1, 100, 200) && !damages.is_new(2, 100, 200));
    }

    #[test]
    fn too_many_open_files_say_nothing_about_the_disk() {
        assert!(is_elsewhere(&io::Error::from_raw_os_error(24)));
        assert!(is_elsewhere(&io::ErrorKind::PermissionDenied.into()));
        assert!(!is_elsewhere(&io::Error::from_raw_os_error(5)));
    }
}
