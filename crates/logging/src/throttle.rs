//! One line a minute for each kind of event about each subject. The decision reads no clock.
//!
//! The first event is written at once. Of those that follow within the minute the newest is held and the others
//! are counted. The held one adds up their counts of samples. When the minute is over the held one is written
//! with `suppressed=N`, and the next minute begins.

use crate::record::{Record, Value};
use std::collections::HashMap;
use std::time::Duration;

/// How long events of one kind about one subject share one line.
pub const WINDOW: Duration = Duration::from_secs(60);

/// The most kinds and subjects that are told apart at a time. Beyond that, all others share one line a
/// minute.
pub const KEYS_MAX: usize = 512;

/// The key of all events for which there is no room.
const OVERFLOW: u64 = 0;

/// What was written less than a [`WINDOW`] ago.
#[derive(Debug, Default)]
pub struct Throttle {
    windows: HashMap<u64, Window>,
}

#[derive(Debug)]
struct Window {
    end: Duration,
    held: Option<Record>,
    /// Events that were not written and are not held.
    suppressed: u64,
}

impl Window {
    fn begin(now: Duration) -> Window {
        Window { end: now + WINDOW, held: None, suppressed: 0 }
    }
}

impl Throttle {
    /// Gives the record back if it is to be written now. [`Throttle::due`] comes before.
    pub fn admit(&mut self, now: Duration, mut record: Record) -> Option<Record> {
        if !record.throttled {
            return Some(record);
        }
        let known = self.windows.contains_key(&record.key);
        let key = if known || self.windows.len() < KEYS_MAX { record.key } else { OVERFLOW };
        match self.windows.get_mut(&key) {
            None => {
                self.windows.insert(key, Window::begin(now));
                Some(record)
            }
            Some(window) => {
                if let Some(replaced) = window.held.take() {
                    record.add_counts(&replaced);
                    window.suppressed += 1;
                }
                window.held = Some(record);
                None
            }
        }
    }

    /// The held records whose minute is over, the oldest first.
    pub fn due(&mut self, now: Duration) -> Vec<Record> {
        self.end_windows(|window| window.end <= now, now)
    }

    /// All held records, the oldest first.
    pub fn drain(&mut self) -> Vec<Record> {
        self.end_windows(|_| true, Duration::ZERO)
    }

    fn end_windows(&mut self, is_over: impl Fn(&Window) -> bool, now: Duration) -> Vec<Record> {
        let mut ready = Vec::new();
        self.windows.retain(|_, window| {
            if !is_over(window) {
                return true;
            }
            let Window { held, suppressed, .. } = std::mem::replace(window, Window::begin(now));
            let is_kept = held.is_some();
            ready.extend(held.map(|mut record| {
                if suppressed > 0 {
                    record.fields.push(("suppressed", Value::Plain(suppressed.to_string())));
                }
                record
            }));
            is_kept
        });
        ready.sort_by_key(|record| record.time_ms);
        ready
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use tracing::Level;

    fn event(key: u64, at: Duration) -> Record {
        let message = format!("event {key}");
        let mut record = Record::new(Level::WARN, message, at.as_millis() as i64);
        (record.key, record.throttled) = (key, true);
        record
    }

    fn suppressed(record: &Record) -> u64 {
        match record.fields.iter().find(|(name, _)| *name == "suppressed") {
            Some((_, Value::Plain(count))) => count.parse().unwrap(),
            _ => 0,
        }
    }

    /// Lines that are written for `count` events of one kind spread over `time`, and all that come after.
    fn lines(count: u32, time: Duration) -> Vec<Record> {
        let mut throttle = Throttle::default();
        let mut written = Vec::new();
        for number in 0..count {
            let now = time * number / count;
            written.extend(throttle.due(now));
            written.extend(throttle.admit(now, event(7, now)));
        }
        written.extend(throttle.due(time + WINDOW));
        written
    }

    #[test]
    fn repeated_failures_give_one_line_a_minute_and_are_all_counted() {
        // What was seen: 379 lines in 200 s, and 129 lines in 8 s while a receiver answered 429.
        for (count, seconds, want) in [(379, 200, 5), (129, 8, 2), (1, 10, 1), (2, 10, 2)] {
            let written = lines(count, Duration::from_secs(seconds));
            assert_eq!(written.len(), want, "{count} events in {seconds} s");
            let all = written.iter().map(|record| 1 + suppressed(record)).sum::<u64>();
            assert_eq!(all, u64::from(count), "each event is written or counted");
        }
    }

    #[test]
    fn another_subject_and_an_answer_are_not_held_back() {
        let mut throttle = Throttle::default();
        let now = Duration::ZERO;
        assert!(throttle.admit(now, event(1, now)).is_some());
        assert!(throttle.admit(now, event(2, now)).is_some());
        assert!(throttle.admit(now, event(1, now)).is_none());
        let answer = Record::new(Level::INFO, "reloaded".into(), 0);
        assert!(throttle.admit(now, answer.clone()).is_some() && throttle.admit(now, answer).is_some());
    }

    #[test]
    fn after_a_quiet_minute_an_event_is_written_at_once() {
        let mut throttle = Throttle::default();
        assert!(throttle.admit(Duration::ZERO, event(1, Duration::ZERO)).is_some());
        assert!(throttle.due(WINDOW).is_empty() && throttle.windows.is_empty(), "nothing was held");
        assert!(throttle.admit(WINDOW, event(1, WINDOW)).is_some());
    }

    #[test]
    fn held_lines_are_written_at_the_end() {
        let mut throttle = Throttle::default();
        for number in 0..10 {
            throttle.admit(Duration::ZERO, event(1, Duration::from_millis(number)));
        }
        let rest = throttle.drain();
        assert_eq!((rest.len(), suppressed(&rest[0]), rest[0].time_ms), (1, 8, 9));
        assert!(throttle.drain().is_empty());
    }

    #[test]
    fn a_held_line_has_the_samples_of_all_events_that_it_stands_for() {
        let mut throttle = Throttle::default();
        for number in 0..10u64 {
            let mut record = event(1, Duration::ZERO);
            record.fields.push(("samples", Value::Plain((number * 100).to_string())));
            throttle.admit(Duration::ZERO, record);
        }
        let samples = ("samples", Value::Plain("4500".into()));
        assert_eq!(throttle.drain()[0].fields, [samples, ("suppressed", Value::Plain("8".into()))]);
    }

    #[test]
    fn the_number_of_keys_is_bounded() {
        let mut throttle = Throttle::default();
        let now = Duration::ZERO;
        let written =
            (1..=10 * KEYS_MAX as u64).filter_map(|key| throttle.admit(now, event(key, now))).count();
        assert_eq!(written, KEYS_MAX + 1, "all beyond the limit share one line");
        assert!(throttle.windows.len() <= KEYS_MAX + 1);
        let later = WINDOW;
        let rest = throttle.due(later);
        assert_eq!(rest.iter().map(|record| 1 + suppressed(record)).sum::<u64>(), 9 * KEYS_MAX as u64 - 1);
    }
}
