//! When what lies in the log arrived, by the monotonic clock: a bounded list of notes, finer for what is
//! younger. Timestamps of samples can't tell, since a clock of whoever pushed them may be wrong.

use std::time::Duration;
use wal::Position;

/// Most notes; 32 bytes each.
const NOTES_MAX: usize = 1024;
/// So long after a note the next one is taken.
const INTERVAL: Duration = Duration::from_secs(1);

/// See the module.
#[derive(Debug)]
pub(crate) struct Arrivals {
    /// When the log was opened: what lies before the first note is taken to have arrived then.
    opened: Duration,
    /// Where something began in the log, and when that arrived; both ascend.
    notes: Vec<(Position, Duration)>,
}

impl Arrivals {
    pub(crate) fn new(opened: Duration) -> Arrivals {
        Arrivals { opened, notes: Vec::new() }
    }

    /// Takes a note, unless the last one is younger than a second.
    pub(crate) fn note(&mut self, start: Position, arrived: Duration) {
        if self.notes.last().is_some_and(|(_, last)| arrived < *last + INTERVAL) {
            return;
        }
        if self.notes.len() >= NOTES_MAX {
            self.thin_out(arrived);
        }
        self.notes.push((start, arrived));
    }

    /// Drops the note that is missed least: without which the gap is smallest for its age.
    fn thin_out(&mut self, now: Duration) {
        let without = |range: &[(Position, Duration)]| match range {
            [(_, before), _, (_, after)] => {
                let gap = after.saturating_sub(*before);
                gap.as_secs_f64() / (now.saturating_sub(*after) + INTERVAL).as_secs_f64()
            }
            _ => f64::INFINITY,
        };
        let gaps = self.notes.windows(3).map(without).enumerate();
        if let Some((index, _)) = gaps.min_by(|(_, one), (_, other)| one.total_cmp(other)) {
            self.notes.remove(index + 1);
        }
    }

    /// When what lies at this position arrived; earlier by up to the gap between two notes.
    pub(crate) fn at(&self, position: Position) -> Duration {
        let after = self.notes.partition_point(|(start, _)| *start <= position);
        after.checked_sub(1).and_then(|index| self.notes.get(index)).map_or(self.opened, |(_, at)| *at)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn seconds(seconds: u64) -> Duration {
        Duration::from_secs(seconds)
    }

    #[test]
    fn a_position_arrived_when_the_note_before_it_was_taken() {
        let mut arrivals = Arrivals::new(seconds(5));
        assert_eq!(arrivals.at(Position::record(3, 100)), seconds(5), "nothing is noted yet");
        arrivals.note(Position::record(3, 100), seconds(10));
        arrivals.note(Position::record(3, 200), seconds(10) + INTERVAL / 2);
        // After an idle hour.
        arrivals.note(Position::record(4, 50), seconds(3610));
        assert_eq!(arrivals.notes.len(), 2, "one a second at most");
        for (segment, offset, at) in
            [(0, 0, 5), (3, 99, 5), (3, 100, 10), (3, 900, 10), (4, 49, 10), (4, 50, 3610), (9, 0, 3610)]
        {
            assert_eq!(arrivals.at(Position::record(segment, offset)), seconds(at), "{segment} {offset}");
        }
    }

    #[test]
    fn a_day_fits_the_young_to_the_second_and_the_old_to_a_fiftieth_of_its_age() {
        let day = 24 * 3600;
        let mut arrivals = Arrivals::new(Duration::ZERO);
        for second in 0..day {
            arrivals.note(Position::record(0, second), seconds(second));
            assert!(arrivals.notes.len() <= NOTES_MAX);
        }
        assert_eq!(arrivals.notes.len(), NOTES_MAX);
        for second in 0..day {
            let at = arrivals.at(Position::record(0, second));
            let (age, off) = (day - second, seconds(second) - at);
            assert!(off <= seconds(age / 50 + 1), "{age} s old, off by {off:?}");
        }
    }
}
