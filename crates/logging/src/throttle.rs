//! Limits each kind of event about each subject to one line a minute. The decision reads no clock.
//!
//! The first event is written immediately. Of those that follow within the minute the newest is held and the
//! others are counted. The held event has the sum of their counts of samples. When the minute is over, the
//! held event is written with the current time, so that lines are in the order of their times, and the next
//! minute begins. `suppressed=N` is the number of other events that the line stands for. `first_event` and
//! `last_event` are the times of the first and the newest of them.

use crate::record::{Record, Value};
use model::moment;
use std::collections::HashMap;
use std::time::Duration;

/// How long events of one kind about one subject share one line.
pub const WINDOW: Duration = Duration::from_secs(60);

/// The most kinds and subjects that are tracked at a time. All others share one line a minute.
pub const KEYS_MAX: usize = 512;

/// The key of all events that are not tracked separately.
const OVERFLOW: u64 = 0;

/// The events that were written less than a [`WINDOW`] ago.
#[derive(Debug, Default)]
pub struct Throttle {
    windows: HashMap<u64, Window>,
}

#[derive(Debug)]
struct Window {
    end: Duration,
    held: Option<Record>,
    /// The time of the first event that was not written, in milliseconds since 1970.
    first_ms: i64,
    /// The number of events that were not written and are not held.
    suppressed: u64,
}

impl Window {
    fn begin(now: Duration) -> Window {
        Window { end: now + WINDOW, held: None, first_ms: 0, suppressed: 0 }
    }
}

impl Throttle {
    /// Returns the record if it must be written now. Call [`Throttle::due`] first.
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
                match window.held.take() {
                    Some(replaced) => {
                        record.add_counts(&replaced);
                        window.suppressed += 1;
                    }
                    None => window.first_ms = record.time_ms,
                }
                window.held = Some(record);
                None
            }
        }
    }

    /// The held records whose minute is over, the oldest first. `wall_ms` is milliseconds since 1970.
    pub fn due(&mut self, now: Duration, wall_ms: i64) -> Vec<Record> {
        self.end_windows(|window| window.end <= now, now, wall_ms)
    }

    /// All held records, the oldest first. `wall_ms` is milliseconds since 1970.
    pub fn drain(&mut self, wall_ms: i64) -> Vec<Record> {
        self.end_windows(|_| true, Duration::ZERO, wall_ms)
    }

    fn end_windows(&mut self, is_over: impl Fn(&Window) -> bool, now: Duration, wall_ms: i64) -> Vec<Record> {
        let mut ready = Vec::new();
        self.windows.retain(|_, window| {
            if !is_over(window) {
                return true;
            }
            let Window { held, first_ms, suppressed, .. } = std::mem::replace(window, Window::begin(now));
            let is_kept = held.is_some();
            ready.extend(held.map(|record| (first_ms, suppressed, record)));
            is_kept
        });
        ready.sort_by_key(|(_, _, record)| record.time_ms);
        let written_now = |(first_ms, suppressed, mut record): (i64, u64, Record)| {
            let at = |ms: i64| Value::Text(moment::show(ms));
            if suppressed > 0 {
                record.fields.push(("suppressed", Value::Plain(suppressed.to_string())));
                record.fields.push(("first_event", at(first_ms)));
            }
            record.fields.push(("last_event", at(record.time_ms)));
            record.time_ms = wall_ms;
            record
        };
        ready.into_iter().map(written_now).collect()
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

    /// The lines that are written for `count` events of one kind spread over `time`, including the held ones
    /// at the end.
    fn lines(count: u32, time: Duration) -> Vec<Record> {
        let mut throttle = Throttle::default();
        let mut written = Vec::new();
        for number in 0..count {
            let now = time * number / count;
            written.extend(throttle.due(now, now.as_millis() as i64));
            written.extend(throttle.admit(now, event(7, now)));
        }
        let end = time + WINDOW;
        written.extend(throttle.due(end, end.as_millis() as i64));
        written
    }

    #[test]
    fn repeated_failures_give_one_line_a_minute_and_are_all_counted() {
        // Cases from practice: 379 lines in 200 s, and 129 lines in 8 s while a receiver answered 429.
        for (count, seconds, want) in [(379, 200, 5), (129, 8, 2), (1, 10, 1), (2, 10, 2)] {
            let written = lines(count, Duration::from_secs(seconds));
            assert_eq!(written.len(), want, "{count} events in {seconds} s");
            let all = written.iter().map(|record| 1 + suppressed(record)).sum::<u64>();
            assert_eq!(all, u64::from(count), "each event is written or counted");
            assert!(written.is_sorted_by_key(|record| record.time_ms), "in the order of their times");
        }
    }

    #[test]
    fn other_subjects_and_answers_are_not_held_back() {
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
        assert!(throttle.due(WINDOW, 0).is_empty() && throttle.windows.is_empty(), "nothing was held");
        assert!(throttle.admit(WINDOW, event(1, WINDOW)).is_some());
    }

    #[test]
    fn held_lines_are_written_at_the_end() {
        let mut throttle = Throttle::default();
        for number in 0..10 {
            throttle.admit(Duration::ZERO, event(1, Duration::from_millis(number)));
        }
        let rest = throttle.drain(30_000);
        assert_eq!((rest.len(), suppressed(&rest[0]), rest[0].time_ms), (1, 8, 30_000));
        assert!(throttle.drain(30_000).is_empty());
    }

    #[test]
    fn a_held_line_has_the_sum_of_the_samples() {
        let mut throttle = Throttle::default();
        for number in 0..10u64 {
            let mut record = event(1, Duration::ZERO);
            record.fields.push(("samples", Value::Plain((number * 100).to_string())));
            throttle.admit(Duration::ZERO, record);
        }
        let samples = ("samples", Value::Plain("4500".into()));
        assert_eq!(throttle.drain(0)[0].fields[..2], [samples, ("suppressed", Value::Plain("8".into()))]);
    }

    #[test]
    fn a_held_line_has_the_time_of_writing_and_its_period() {
        let mut throttle = Throttle::default();
        let at = |seconds| event(1, Duration::from_secs(seconds));
        for seconds in [0, 5, 20, 40] {
            throttle.admit(Duration::from_secs(seconds), at(seconds));
        }
        let [line] = throttle.due(WINDOW, 60_500).try_into().unwrap();
        assert_eq!(line.time_ms, 60_500);
        let time = |text: &str| Value::Text(format!("1970-01-01T00:00:{text}Z"));
        let span = [("first_event", time("05.000")), ("last_event", time("40.000"))];
        assert_eq!(line.fields[1..], span, "{:?}", line.fields);
        // A line for a single event has the time of the event.
        throttle.admit(WINDOW, at(70));
        let [line] = throttle.due(WINDOW * 2, 120_000).try_into().unwrap();
        assert_eq!(line.fields, [("last_event", Value::Text("1970-01-01T00:01:10.000Z".into()))]);
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
        let rest = throttle.due(later, 0);
        assert_eq!(rest.iter().map(|record| 1 + suppressed(record)).sum::<u64>(), 9 * KEYS_MAX as u64 - 1);
    }
}
