//! What went wrong in the last hour, in buckets of a minute. The module reads no clock and no file.
//!
//! Times are milliseconds of the monotonic clock of this run; times of an earlier run are negative. So no
//! event disappears when the wall clock is set. In the file each time is an age, and the wall clock is used
//! only for the time that narthex was not running.
//!
//! ```text
//! the content of a `wal::small_file::SlotFile`:
//! ┌────────────┬─────────────┬────────────┬───────────────────────────────────────────────────────────────┐
//! │ version u8 │ saved at ms │ rows       │ event u8, place, reason, age ms of the last, buckets, and for  │
//! │ now 1      │ i64         │ u64        │ each bucket: age ms of the first event, count                  │
//! └────────────┴─────────────┴────────────┴───────────────────────────────────────────────────────────────┘
//! ```
//!
//! All numbers but the first are varints; texts are preceded by their length.

use model::varint::{put_bytes, put_i64, put_u64, take_bytes, take_i64, take_u64};
use std::collections::BTreeMap;

/// The length of the window.
pub const WINDOW_MS: i64 = 3_600_000;
/// The length of a bucket. An event is forgotten up to this much later than an hour after it happened.
const BUCKET_MS: i64 = 60_000;
/// The most buckets of a row. The bucket that is being filled is additional.
const BUCKETS_MAX: usize = (WINDOW_MS / BUCKET_MS) as usize + 2;
/// The most rows. Events of further kinds are counted in one row for each [`Event`], for which there is
/// always space. The sum of both must not change: the size of the file's slots follows from it.
pub const ROWS_MAX: usize = 44 - Event::ALL.len();
/// The longest name of a place or reason, in bytes.
pub const NAME_BYTES_MAX: usize = 64;
/// The most bytes of the file's content.
pub const CONTENT_BYTES_MAX: usize =
    32 + (ROWS_MAX + Event::ALL.len()) * (2 * NAME_BYTES_MAX + 24 + BUCKETS_MAX * 20);

const VERSION: u8 = 1;

#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Event {
    /// Samples were deleted from the log before they were delivered, or can't be delivered.
    Lost,
    /// A part of the log could not be read.
    Unreadable,
    /// Refused samples could not be kept as dead letters.
    DeadLetterLost,
    /// A destination refused samples for good.
    Refused,
    /// A destination refused samples that an earlier request without an answer may have written.
    AlreadyWritten,
    /// A destination's version of the protocol can't carry samples.
    Unsupported,
    /// Samples were older than `sample_age_limit`.
    TooOld,
    /// An input refused or deferred requests.
    InputRefused,
    /// Samples that were collected could not be stored, and are lost.
    CollectionFailed,
    /// An input whose senders get no answer rejected samples.
    SamplesRejected,
    /// The kernel dropped datagrams for an input.
    DatagramsDropped,
    /// Samples of an input whose senders get no answer could not be stored, and are lost.
    InputLost,
    /// The file that keeps these events could not be read at a start.
    Forgotten,
}

impl Event {
    const ALL: [Event; 13] = [
        Event::Lost,
        Event::Unreadable,
        Event::DeadLetterLost,
        Event::Refused,
        Event::AlreadyWritten,
        Event::Unsupported,
        Event::TooOld,
        Event::InputRefused,
        Event::CollectionFailed,
        Event::SamplesRejected,
        Event::DatagramsDropped,
        Event::InputLost,
        Event::Forgotten,
    ];

    /// Returns true if the event's place is an input, not a destination.
    pub const fn is_of_an_input(self) -> bool {
        matches!(
            self,
            Event::InputRefused | Event::SamplesRejected | Event::DatagramsDropped | Event::InputLost
        )
    }

    /// Its number in the file, which never changes.
    const fn number(self) -> u8 {
        match self {
            Event::Lost => 1,
            Event::Unreadable => 2,
            Event::DeadLetterLost => 3,
            Event::Refused => 4,
            Event::AlreadyWritten => 5,
            Event::Unsupported => 6,
            Event::TooOld => 7,
            Event::InputRefused => 8,
            Event::CollectionFailed => 9,
            Event::SamplesRejected => 10,
            Event::DatagramsDropped => 11,
            Event::InputLost => 12,
            Event::Forgotten => 13,
        }
    }
}

/// Identifies a row. Events with different keys are counted separately.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Key {
    pub event: Event,
    /// The destination or the input; empty if the event is about narthex as a whole.
    pub place: String,
    /// Why, in a few words; empty if the event says everything.
    pub reason: String,
}

impl Key {
    /// A key whose names are cut to [`NAME_BYTES_MAX`].
    pub fn new(event: Event, place: &str, reason: &str) -> Key {
        let name = |text: &str| model::words::cut(text.to_string(), NAME_BYTES_MAX);
        Key { event, place: name(place), reason: name(reason) }
    }

    /// The key for events that would need more rows than the limit allows.
    fn further(event: Event) -> Key {
        Key::new(event, "", "further kinds")
    }
}

#[derive(Debug, Clone, PartialEq, Eq)]
struct Row {
    /// Each bucket by its number: its time divided by [`BUCKET_MS`].
    buckets: BTreeMap<i64, Bucket>,
    last_ms: i64,
    /// True if this run saw an event of this row; otherwise all of it was read from the file.
    is_of_this_run: bool,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
struct Bucket {
    count: u64,
    /// The time of the first event in the bucket.
    first_ms: i64,
}

/// The sums of one row.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Entry {
    pub key: Key,
    /// The number of events in the last hour.
    pub hour: u64,
    /// The number of events in the last ten minutes.
    pub ten_minutes: u64,
    /// The time of the first event in the window.
    pub first_ms: i64,
    /// The time of the last event.
    pub last_ms: i64,
    /// True if an event happened in this run of the process; otherwise an earlier run saw all of them.
    pub is_of_this_run: bool,
}

/// See the module.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Window {
    rows: BTreeMap<Key, Row>,
}

impl Window {
    /// Counts `count` events that happened at `now_ms`.
    pub fn add(&mut self, key: Key, count: u64, now_ms: i64) {
        if count > 0 {
            self.put(key, Bucket { count, first_ms: now_ms }, now_ms, true);
        }
    }

    fn put(&mut self, key: Key, new: Bucket, last_ms: i64, is_of_this_run: bool) {
        let further = Key::further(key.event);
        let is_new = !self.rows.contains_key(&key);
        let key = if is_new && key != further && self.rows.len() >= ROWS_MAX { further } else { key };
        let none = Row { buckets: BTreeMap::new(), last_ms, is_of_this_run };
        let row = self.rows.entry(key).or_insert(none);
        let empty = Bucket { count: 0, ..new };
        let bucket = row.buckets.entry(new.first_ms.div_euclid(BUCKET_MS)).or_insert(empty);
        bucket.count = bucket.count.saturating_add(new.count);
        bucket.first_ms = bucket.first_ms.min(new.first_ms);
        row.last_ms = row.last_ms.max(last_ms);
        row.is_of_this_run |= is_of_this_run;
    }

    /// Removes events that are older than an hour at `now_ms`.
    pub fn forget(&mut self, now_ms: i64) {
        let oldest = (now_ms - WINDOW_MS).div_euclid(BUCKET_MS);
        self.rows.retain(|_, row| {
            row.buckets.retain(|bucket, _| *bucket >= oldest);
            !row.buckets.is_empty()
        });
    }

    pub fn entries(&self, now_ms: i64) -> Vec<Entry> {
        let entry = |(key, row): (&Key, &Row)| {
            let since = |ms: i64| {
                if now_ms.saturating_sub(row.last_ms) > ms {
                    return 0;
                }
                let oldest = (now_ms - ms).div_euclid(BUCKET_MS);
                row.buckets.range(oldest..).fold(0u64, |sum, (_, bucket)| sum.saturating_add(bucket.count))
            };
            let first = row.buckets.values().next().map_or(now_ms, |bucket| bucket.first_ms);
            Entry {
                key: key.clone(),
                hour: since(WINDOW_MS),
                ten_minutes: since(600_000),
                first_ms: first.min(row.last_ms),
                last_ms: row.last_ms,
                is_of_this_run: row.is_of_this_run,
            }
        };
        self.rows.iter().map(entry).collect()
    }

    /// Encodes the file's content at `now_ms` of the monotonic clock and `wall_ms` of the wall clock.
    pub fn encode(&self, now_ms: i64, wall_ms: i64) -> Vec<u8> {
        let mut out = vec![VERSION];
        put_i64(&mut out, wall_ms);
        put_u64(&mut out, self.rows.len() as u64);
        for (key, row) in &self.rows {
            out.push(key.event.number());
            put_bytes(&mut out, key.place.as_bytes());
            put_bytes(&mut out, key.reason.as_bytes());
            put_i64(&mut out, now_ms - row.last_ms);
            put_u64(&mut out, row.buckets.len() as u64);
            for bucket in row.buckets.values() {
                put_i64(&mut out, now_ms - bucket.first_ms);
                put_u64(&mut out, bucket.count);
            }
        }
        out
    }

    /// Decodes the file's content at `now_ms` of the monotonic clock and `wall_ms` of the wall clock. Returns
    /// `None` for an unknown version or a damaged file. `is_plausible` tells whether a wall clock was set.
    pub fn decode(
        content: &[u8],
        now_ms: i64,
        wall_ms: i64,
        is_plausible: impl Fn(i64) -> bool,
    ) -> Option<Window> {
        let (version, mut rest) = content.split_first()?;
        if *version != VERSION {
            return None;
        }
        let input = &mut rest;
        let saved_ms = take_i64(input)?;
        // If the wall clock was not set at one of the two times, the time between them counts as 0.
        let clocks_set = is_plausible(saved_ms) && is_plausible(wall_ms);
        let gap = if clocks_set { wall_ms.saturating_sub(saved_ms).max(0) } else { 0 };
        let mut window = Window::default();
        for _ in 0..take_u64(input)? {
            let (number, rest) = input.split_first()?;
            *input = rest;
            let place = String::from_utf8(take_bytes(input)?.to_vec()).ok()?;
            let reason = String::from_utf8(take_bytes(input)?.to_vec()).ok()?;
            let time = |age: i64| now_ms.saturating_sub(age.clamp(0, 2 * WINDOW_MS)).saturating_sub(gap);
            let last_ms = time(take_i64(input)?);
            // An event of a later version of narthex is left out.
            let event = Event::ALL.into_iter().find(|event| event.number() == *number);
            for _ in 0..take_u64(input)? {
                let (first_ms, count) = (time(take_i64(input)?), take_u64(input)?);
                if let Some(event) = event
                    && first_ms >= now_ms - WINDOW_MS - BUCKET_MS
                {
                    window.put(Key::new(event, &place, &reason), Bucket { count, first_ms }, last_ms, false);
                }
            }
        }
        window.forget(now_ms);
        Some(window)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    const MINUTE: i64 = BUCKET_MS;

    fn lost(place: &str) -> Key {
        Key::new(Event::Lost, place, "log full")
    }

    #[test]
    fn events_count_for_an_hour_and_then_no_more() {
        let mut window = Window::default();
        window.add(lost("a"), 5, 30 * MINUTE);
        window.add(lost("a"), 2, 55 * MINUTE);
        let entry = |window: &Window, now| window.entries(now).first().cloned().unwrap();
        let now = 60 * MINUTE;
        assert_eq!((entry(&window, now).hour, entry(&window, now).ten_minutes), (7, 2));
        assert_eq!(entry(&window, now).last_ms, 55 * MINUTE);
        // The bucket of the last event begins a little earlier.
        let later = 65 * MINUTE + 2000;
        assert_eq!((entry(&window, later).hour, entry(&window, later).ten_minutes), (7, 0));
        window.forget(91 * MINUTE);
        assert_eq!(entry(&window, 91 * MINUTE).hour, 2);
        window.forget(116 * MINUTE);
        assert_eq!(window.entries(116 * MINUTE), []);
    }

    #[test]
    fn the_file_keeps_the_window_over_a_restart() {
        let mut window = Window::default();
        window.add(lost("a"), 180_204, 90 * MINUTE + 7);
        window.add(Key::new(Event::Refused, "b", "out of order"), 3, 100 * MINUTE);
        let saved = 1_800_000_000_000;
        let mut content = window.encode(100 * MINUTE, saved);
        content.resize(CONTENT_BYTES_MAX, 0);
        // narthex was not running for five minutes; its monotonic clock begins again.
        let read = Window::decode(&content, 1000, saved + 5 * MINUTE, |_| true).unwrap();
        let entries = read.entries(1000);
        assert_eq!(entries.iter().map(|entry| entry.hour).collect::<Vec<_>>(), [180_204, 3]);
        assert_eq!(entries[0].last_ms, 1000 + 7 - 15 * MINUTE);
        assert_eq!(entries[0].first_ms, entries[0].last_ms, "exactly when it first happened");
        assert!(entries.iter().all(|entry| !entry.is_of_this_run), "{entries:?}");
        assert!(window.entries(100 * MINUTE).iter().all(|entry| entry.is_of_this_run));
        // After more than an hour the events are forgotten, unless the clock was not set.
        let late = saved + 61 * MINUTE;
        assert_eq!(Window::decode(&content, 0, late, |_| true), Some(Window::default()));
        let unset = Window::decode(&content, 0, late, |ms| ms == saved).unwrap();
        assert_eq!(unset.entries(0).len(), 2);
        // The clock was set back meanwhile.
        let back = Window::decode(&content, 0, saved - 600 * MINUTE, |_| true).unwrap();
        assert_eq!(back.entries(0).len(), 2);
    }

    #[test]
    fn rows_names_and_the_file_are_bounded() {
        let mut window = Window::default();
        for minute in 0..200 {
            for destination in 0..100 {
                let name = format!("{destination:0100}");
                window.add(Key::new(Event::Lost, &name, &name), u64::MAX / 1000, minute * MINUTE);
                window.add(Key::new(Event::TooOld, &name, &name), 1, minute * MINUTE);
            }
            window.forget(minute * MINUTE);
        }
        assert!(window.rows.len() <= ROWS_MAX + 2, "{}", window.rows.len());
        let all: u64 = window
            .entries(199 * MINUTE)
            .iter()
            .filter(|e| e.key.event == Event::TooOld)
            .map(|e| e.hour)
            .sum();
        assert_eq!(all, 100 * 61, "what has no row of its own is counted all the same");
        let content = window.encode(199 * MINUTE, i64::MAX);
        assert!(content.len() <= CONTENT_BYTES_MAX, "{}", content.len());
    }

    proptest! {
        #[test]
        fn any_bytes_can_be_read(content: Vec<u8>, now in 0i64..1 << 40, wall: i64) {
            let mut content = content;
            let _ = Window::decode(&content, now, wall, |_| true);
            content.insert(0, VERSION);
            if let Some(window) = Window::decode(&content, now, wall, |_| true) {
                prop_assert!(window.rows.len() <= ROWS_MAX + Event::ALL.len());
            }
        }
    }
}
