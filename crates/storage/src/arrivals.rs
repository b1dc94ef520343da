//! When what lies in the log arrived, by the monotonic clock, and how many points were committed before it: a
//! bounded list of notes, finer for what is younger. Timestamps of samples can't tell the first, since a client's
//! clock may be wrong.

use std::time::Duration;
use wal::Position;

/// Most notes; 40 bytes each.
const NOTES_MAX: usize = 1024;
/// So long after a note the next one is taken.
const INTERVAL: Duration = Duration::from_secs(1);

/// See the module.
#[derive(Debug)]
pub(crate) struct Arrivals {
    /// When the log was opened: what lies before the first note is taken to have arrived then.
    opened: Duration,
    /// Where the log ended then.
    ended: Position,
    notes: Vec<Note>,
    /// Points committed since the log was opened.
    points: u64,
}

/// About something in the log. All three ascend from note to note.
#[derive(Debug, Clone, Copy)]
struct Note {
    /// Where it begins.
    start: Position,
    arrived: Duration,
    /// Points committed before it since the log was opened.
    points: u64,
}

/// What of the log lies behind a position.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Waiting {
    /// Samples and histograms: exact at the log's end, to about a second's worth elsewhere. Only those that were
    /// committed since the log was opened are counted.
    pub points: u64,
    /// Whether there are points before those: committed before the log was opened, and not counted.
    pub before_open: bool,
}

impl Arrivals {
    pub(crate) fn new(opened: Duration, ended: Position) -> Arrivals {
        Arrivals { opened, ended, notes: Vec::new(), points: 0 }
    }

    /// Counts `points` that begin at `start`. Takes a note of them, unless the last note is younger than a second
    /// and about the same segment.
    pub(crate) fn note(&mut self, start: Position, arrived: Duration, points: u64) {
        let before = self.points;
        self.points += points;
        let covered = |last: &Note| arrived < last.arrived + INTERVAL && start.segment == last.start.segment;
        if self.notes.last().is_some_and(covered) {
            return;
        }
        if self.notes.len() >= NOTES_MAX {
            self.thin_out(arrived);
        }
        self.notes.push(Note { start, arrived, points: before });
    }

    /// Drops the note that is missed least: without which the gap is smallest for its age.
    fn thin_out(&mut self, now: Duration) {
        let without = |range: &[Note]| match range {
            [before, _, after] => {
                let gap = after.arrived.saturating_sub(before.arrived);
                gap.as_secs_f64() / (now.saturating_sub(after.arrived) + INTERVAL).as_secs_f64()
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
        self.before(position).0.map_or(self.opened, |note| note.arrived)
    }

    /// Points committed since the log was opened.
    pub(crate) fn points(&self) -> u64 {
        self.points
    }

    /// What lies from `position` to `end`, the log's end.
    pub(crate) fn waiting(&self, position: Position, end: Position) -> Waiting {
        if position >= end {
            return Waiting::default();
        }
        let (Some(before), after) = self.before(position) else {
            return Waiting { points: self.points, before_open: position < self.ended };
        };
        let after = after.unwrap_or(Note { start: end, points: self.points, ..before });
        let mut passed = before.points;
        if before.start.segment == after.start.segment && position.segment == before.start.segment {
            // Between two notes points are taken to be evenly spread over the bytes.
            let bytes = after.start.offset.saturating_sub(before.start.offset).max(1);
            let of = position.offset.saturating_sub(before.start.offset).min(bytes);
            let points = u128::from(after.points - before.points) * u128::from(of) / u128::from(bytes);
            passed += u64::try_from(points).unwrap_or(0);
        }
        Waiting { points: self.points.saturating_sub(passed), before_open: false }
    }

    /// The last note at or before a position, and the one that follows it.
    fn before(&self, position: Position) -> (Option<Note>, Option<Note>) {
        let after = self.notes.partition_point(|note| note.start <= position);
        let before = after.checked_sub(1).and_then(|index| self.notes.get(index));
        (before.copied(), self.notes.get(after).copied())
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
        let mut arrivals = Arrivals::new(seconds(5), Position::record(2, 90));
        assert_eq!(arrivals.at(Position::record(3, 100)), seconds(5), "nothing is noted yet");
        arrivals.note(Position::record(3, 100), seconds(10), 1);
        arrivals.note(Position::record(3, 200), seconds(10) + INTERVAL / 2, 1);
        // After an idle hour.
        arrivals.note(Position::record(4, 50), seconds(3610), 1);
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
        let mut arrivals = Arrivals::new(Duration::ZERO, Position::start_of(0));
        for second in 0..day {
            arrivals.note(Position::record(0, second), seconds(second), 1);
            assert!(arrivals.notes.len() <= NOTES_MAX);
        }
        assert_eq!(arrivals.notes.len(), NOTES_MAX);
        for second in 0..day {
            let at = arrivals.at(Position::record(0, second));
            let (age, off) = (day - second, seconds(second) - at);
            assert!(off <= seconds(age / 50 + 1), "{age} s old, off by {off:?}");
        }
    }

    #[test]
    fn what_waits_is_counted_from_any_position() {
        let mut arrivals = Arrivals::new(seconds(5), Position::record(2, 90));
        let end = Position::record(3, 500);
        let all = |points| Waiting { points, before_open: false };
        assert_eq!(arrivals.waiting(end, end), all(0));
        // Notes at 100 and 300; the chunk at 200 comes too soon for one.
        for (offset, at) in [(100, 10.0), (200, 10.5), (300, 20.0)] {
            arrivals.note(Position::record(3, offset), Duration::from_secs_f64(at), 1000);
        }
        for (offset, points) in [(100, 3000), (200, 2000), (300, 1000), (400, 500), (500, 0)] {
            assert_eq!(arrivals.waiting(Position::record(3, offset), end), all(points), "{offset}");
        }
        let old = arrivals.waiting(Position::record(2, 7), end);
        assert_eq!(old, Waiting { points: 3000, before_open: true });
        assert_eq!(arrivals.waiting(Position::record(2, 90), end), all(3000), "where the log ended before");
        // A segment's first chunk has a note of its own.
        arrivals.note(Position::record(4, 0), seconds(20), 50);
        assert_eq!(arrivals.waiting(Position::record(4, 0), Position::record(4, 90)), all(50));
    }
}
