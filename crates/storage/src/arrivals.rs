//! When the points in the log arrived, by the monotonic clock, and how many points were committed before
//! them. The timestamps of samples can't tell when they arrived, because the clock of a client may be wrong.
//! The notes are a bounded list, with smaller gaps for younger points.

use std::time::Duration;
use wal::Position;

/// Largest number of notes, of 48 bytes each.
const NOTES_MAX: usize = 1024;
/// Shortest time between two notes of the same segment.
const INTERVAL: Duration = Duration::from_secs(1);

/// Notes of when points arrived; see the module's documentation.
#[derive(Debug)]
pub(crate) struct Arrivals {
    /// When the log was opened. Points before the first note count as arrived then.
    opened: Duration,
    /// The end of the log when it was opened.
    ended: Position,
    notes: Vec<Note>,
    points: u64,
}

/// A note about points in the log. All three fields ascend from note to note.
#[derive(Debug, Clone, Copy)]
struct Note {
    /// Position of the first of these points.
    start: Position,
    arrived: Duration,
    /// Points committed before this position since the log was opened.
    points: u64,
}

/// The points of the log after a position.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Waiting {
    /// Number of samples and histograms. It is exact at the notes and at the log's end, and elsewhere off by
    /// at most the points of a second, or of a longer gap between notes. Only points that were committed
    /// since the log was opened are counted.
    pub points: u64,
    /// True if there are also points that were committed before the log was opened. They are not counted.
    pub before_open: bool,
}

impl Arrivals {
    pub(crate) fn new(opened: Duration, ended: Position) -> Arrivals {
        Arrivals { opened, ended, notes: Vec::new(), points: 0 }
    }

    /// Counts `points` that start at position `start`. Adds a note unless the last note is less than a second
    /// old and about the same segment.
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

    /// Removes the note whose removal leaves the smallest gap relative to the age of the gap.
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

    /// Returns when the point at this position arrived, or earlier, by up to the gap between two notes.
    pub(crate) fn at(&self, position: Position) -> Duration {
        self.before(position).0.map_or(self.opened, |note| note.arrived)
    }

    pub(crate) fn points(&self) -> u64 {
        self.points
    }

    /// Returns the points from `position` to `end`, the end of the log.
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
            // Between two notes, assume that points are distributed evenly over the bytes.
            let bytes = after.start.offset.saturating_sub(before.start.offset).max(1);
            let of = position.offset.saturating_sub(before.start.offset).min(bytes);
            let points = u128::from(after.points - before.points) * u128::from(of) / u128::from(bytes);
            passed += u64::try_from(points).unwrap_or(0);
        }
        Waiting { points: self.points.saturating_sub(passed), before_open: false }
    }

    /// Returns the last note at or before a position, and the note after it.
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
    fn a_position_has_the_arrival_time_of_the_note_before() {
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
    fn gaps_between_notes_grow_with_age_from_one_second() {
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
    fn waiting_points_are_counted_from_any_position() {
        let mut arrivals = Arrivals::new(seconds(5), Position::record(2, 90));
        let end = Position::record(3, 500);
        let all = |points| Waiting { points, before_open: false };
        assert_eq!(arrivals.waiting(end, end), all(0));
        // Notes at 100 and 300. The chunk at 200 comes too early for a note.
        for (offset, at) in [(100, 10.0), (200, 10.5), (300, 20.0)] {
            arrivals.note(Position::record(3, offset), Duration::from_secs_f64(at), 1000);
        }
        for (offset, points) in [(100, 3000), (200, 2000), (300, 1000), (400, 500), (500, 0)] {
            assert_eq!(arrivals.waiting(Position::record(3, offset), end), all(points), "{offset}");
        }
        let old = arrivals.waiting(Position::record(2, 7), end);
        assert_eq!(old, Waiting { points: 3000, before_open: true });
        assert_eq!(arrivals.waiting(Position::record(2, 90), end), all(3000), "where the log ended before");
        // The first chunk of a segment always has a note.
        arrivals.note(Position::record(4, 0), seconds(20), 50);
        assert_eq!(arrivals.waiting(Position::record(4, 0), Position::record(4, 90)), all(50));
    }
}
