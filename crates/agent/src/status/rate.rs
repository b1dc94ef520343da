//! Rates over the last minute. No I/O.
//!
//! Most counters grow in bursts, one for each collection or push. If the rate were measured between two fixed
//! moments, it would jump with each burst. So it is measured from burst to burst. The first burst after the
//! start counts from the start, unless it came sooner than the interval between later bursts: the first
//! collection happens right at the start.

use std::collections::VecDeque;

/// The length of the window in milliseconds.
pub const RATE_WINDOW_MS: i64 = 60_000;
/// The shortest time between two readings that are kept.
const STEP_MS: i64 = 900;

/// One counter's readings within the window, and the last one before it.
#[derive(Debug, Default)]
pub struct Rate {
    readings: VecDeque<(i64, u64)>,
}

impl Rate {
    /// Takes a reading at `now_ms` of the monotonic clock.
    pub fn read(&mut self, now_ms: i64, value: u64) {
        if self.readings.back().is_some_and(|(last, _)| now_ms < last + STEP_MS) {
            return;
        }
        self.readings.push_back((now_ms, value));
        while self.readings.get(1).is_some_and(|(second, _)| *second <= now_ms - RATE_WINDOW_MS) {
            self.readings.pop_front();
        }
    }

    /// The increase per second; `None` until enough is known.
    pub fn per_second(&self) -> Option<f64> {
        let (first, last) = (*self.readings.front()?, *self.readings.back()?);
        let mut changes: Vec<(i64, u64)> = self.changes().collect();
        if let (0, [begin, .., end]) = (first.1, changes.as_slice())
            && (begin.0 - first.0) * (changes.len() as i64 - 1) >= end.0 - begin.0
        {
            changes.insert(0, first);
        }
        if let ([begin, .., end], bursts) = (changes.as_slice(), changes.len() as i64 - 1) {
            let between = end.0 - begin.0;
            // If a burst is overdue by more than two intervals, the bursts have stopped and the window is
            // emptying.
            if between > 0 && last.0 - end.0 <= 2 * between / bursts + STEP_MS {
                return Some((end.1 - begin.1) as f64 * 1000.0 / between as f64);
            }
        }
        let elapsed = last.0 - first.0;
        (elapsed >= RATE_WINDOW_MS).then(|| last.1.saturating_sub(first.1) as f64 * 1000.0 / elapsed as f64)
    }

    /// The readings that were larger than the one before.
    fn changes(&self) -> impl Iterator<Item = (i64, u64)> {
        self.readings
            .iter()
            .zip(self.readings.iter().skip(1))
            .filter(|(one, two)| two.1 > one.1)
            .map(|(_, two)| *two)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// The rates of a counter that grows by `burst` every `every` seconds and is read each second.
    fn rates(burst: u64, every: i64, seconds: i64, stops: i64) -> Vec<Option<f64>> {
        let mut rate = Rate::default();
        let read = |second: i64| {
            rate.read(second * 1000, burst * (second.min(stops) / every) as u64);
            rate.per_second()
        };
        (0..seconds).map(read).collect()
    }

    #[test]
    fn bursts_do_not_make_the_rate_jump() {
        for every in [1, 5, 15, 25, 29] {
            let all = rates(697, every, 600, i64::MAX);
            let expected = 697.0 / every as f64;
            let known: Vec<f64> = all.iter().copied().flatten().collect();
            assert!(all[..every as usize].iter().all(Option::is_none), "nothing is known yet");
            assert!(known.len() >= 500, "{every}: {}", known.len());
            assert!(known.iter().all(|rate| (rate - expected).abs() < 0.01 * expected), "{every}: {known:?}");
        }
    }

    #[test]
    fn the_first_burst_counts_from_the_start_unless_it_came_early() {
        let rate = |bursts: &[(i64, u64)]| {
            let (mut rate, mut value) = (Rate::default(), 0);
            for second in 0..=bursts.last().map_or(0, |(at, _)| *at) {
                value += bursts.iter().filter(|(at, _)| *at == second).map(|(_, count)| count).sum::<u64>();
                rate.read(second * 1000, value);
            }
            rate.per_second()
        };
        // Two pushes: all samples are counted from the start.
        assert_eq!(rate(&[(10, 1000), (20, 10)]), Some(1010.0 / 20.0));
        assert_eq!(rate(&[(10, 1000), (15, 10), (20, 10)]), Some(1020.0 / 20.0));
        // Collections of 697 samples every 15 s, the first one right at the start.
        assert_eq!(rate(&[(1, 697), (16, 697)]), Some(697.0 / 15.0));
        assert_eq!(rate(&[(1, 697), (16, 697), (31, 697)]), Some(697.0 / 15.0));
    }

    #[test]
    fn a_counter_that_stops_has_no_rate_a_minute_later() {
        let all = rates(100, 5, 200, 100);
        assert_eq!(all[100], Some(20.0));
        assert!(all[130].is_some_and(|rate| rate < 20.0), "{:?}", all[130]);
        assert_eq!(all[165], Some(0.0));
    }

    #[test]
    fn the_readings_are_bounded() {
        let mut rate = Rate::default();
        for ms in 0..200_000 {
            rate.read(ms, 1);
        }
        assert!(rate.readings.len() <= (RATE_WINDOW_MS / STEP_MS) as usize + 2);
    }
}
