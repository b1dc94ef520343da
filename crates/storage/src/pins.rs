//! Pins: the positions from which owners still need the log.

use model::Kinds;
use std::collections::HashMap;
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};
use tokio::sync::Notify;
use wal::Position;

/// All pins of a log, and the condition variable that wakes the retention thread.
#[derive(Default)]
pub(crate) struct Pins {
    inner: Mutex<Inner>,
    bell: Condvar,
}

#[derive(Default)]
struct Inner {
    pins: HashMap<u64, Held>,
    next: u64,
    rung: bool,
    closed: bool,
}

struct Held {
    name: String,
    position: Position,
    /// The owner has everything before this position in memory, or no longer needs it.
    read: Position,
    /// Everything before this position was dropped although the owner still needed some of it.
    dropped: Position,
    /// The owner has saved how many of the dropped samples before this position it holds in memory. `None`
    /// for an owner that never called [`Pin::note`].
    noted: Option<Position>,
    drops: Arc<Notify>,
    /// Start of what the owner loses with the segment that is being dropped. Kept until its samples are
    /// counted, because the owner continues to read after the segment.
    losing_from: Option<Position>,
    lost: Kinds,
    /// The part of `lost` that was dropped because of its age.
    lost_too_old: Kinds,
    /// The pin was dropped without being released.
    orphaned: bool,
}

/// Keeps segments from being deleted until it is released.
///
/// Dropping a pin does not release it, because an owner that ended unexpectedly still needs what it has not
/// delivered. The pin is kept until another pin with the same name is made, [`crate::Storage::release`] is
/// called with the name, or the process ends. The log's budget limits it like any other pin.
pub struct Pin {
    pins: Arc<Pins>,
    id: u64,
    drops: Arc<Notify>,
}

impl std::fmt::Debug for Pin {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "Pin({})", self.id)
    }
}

impl Pins {
    fn inner(&self) -> MutexGuard<'_, Inner> {
        self.inner.lock().unwrap_or_else(PoisonError::into_inner)
    }

    pub(crate) fn pin(self: &Arc<Self>, name: &str, position: Position) -> Pin {
        let mut inner = self.inner();
        inner.next += 1;
        let id = inner.next;
        let (name, lost) = (name.to_string(), Kinds::default());
        // The new owner knows what the previous one still needed.
        inner.pins.retain(|_, held| !held.orphaned || held.name != name);
        let drops = Arc::new(Notify::new());
        let held = Held {
            name,
            position,
            read: position,
            dropped: Position::default(),
            noted: None,
            drops: drops.clone(),
            losing_from: None,
            lost,
            lost_too_old: lost,
            orphaned: false,
        };
        inner.pins.insert(id, held);
        Pin { pins: self.clone(), id, drops }
    }

    /// Releases the dropped pins called `name`. Returns true if there were any.
    pub(crate) fn release(&self, name: &str) -> bool {
        let mut inner = self.inner();
        let before = inner.pins.len();
        inner.pins.retain(|_, held| !held.orphaned || held.name != name);
        let released = inner.pins.len() < before;
        drop(inner);
        self.ring();
        released
    }

    /// Returns the names of pins that were dropped without being released.
    pub(crate) fn orphans(&self) -> Vec<String> {
        let inner = self.inner();
        inner.pins.values().filter(|held| held.orphaned).map(|held| held.name.clone()).collect()
    }

    /// Returns the lowest segment that a pin still needs.
    pub(crate) fn lowest_segment(&self) -> Option<u64> {
        self.inner().pins.values().map(|held| held.position.segment).min()
    }

    /// Drops everything before `end` for all owners that need some of it: from now on they must not use it.
    /// Returns each owner's number, its name, and the position at which the part begins that it has not read
    /// and therefore loses.
    pub(crate) fn drop_unread(&self, end: Position) -> Vec<(u64, String, Position)> {
        let mut inner = self.inner();
        let needing = inner.pins.iter_mut().filter(|(_, held)| held.position < end);
        let dropped = needing.map(|(id, held)| {
            held.dropped = held.dropped.max(end);
            held.drops.notify_one();
            let from = *held.losing_from.get_or_insert(held.position.max(held.read));
            (*id, held.name.clone(), from)
        });
        dropped.collect()
    }

    /// Waits, at most `at_most`, until each owner has saved how many samples before `end` it holds in memory.
    /// After that the segment may be deleted: if the process is killed, the next start can still count the
    /// lost samples.
    pub(crate) fn wait_until_noted(&self, end: Position, at_most: Duration) {
        let deadline = Instant::now() + at_most;
        let mut inner = self.inner();
        let is_missing = |inner: &Inner| {
            let mut owners = inner.pins.values().filter(|held| !held.orphaned && held.dropped >= end);
            !inner.closed && owners.any(|held| held.noted.is_some_and(|noted| noted < end))
        };
        while is_missing(&inner) {
            let left = deadline.saturating_duration_since(Instant::now());
            if left.is_zero() {
                return;
            }
            let waited = self.bell.wait_timeout(inner, left);
            inner = waited.unwrap_or_else(PoisonError::into_inner).0;
        }
    }

    /// Counts lost points for a pin and moves the pin to `end`.
    pub(crate) fn drop_before(&self, id: u64, end: Position, lost: Kinds, too_old: bool) {
        if let Some(held) = self.inner().pins.get_mut(&id) {
            held.lost = held.lost.plus(lost);
            if too_old {
                held.lost_too_old = held.lost_too_old.plus(lost);
            }
            held.position = held.position.max(end);
            held.losing_from = None;
        }
    }

    /// Wakes the retention thread.
    pub(crate) fn ring(&self) {
        self.inner().rung = true;
        self.bell.notify_all();
    }

    /// Tells the retention thread to end.
    pub(crate) fn close(&self) {
        self.inner().closed = true;
        self.bell.notify_all();
    }

    /// Waits for [`Pins::ring`] or the time-out. Returns false once the pins are closed.
    pub(crate) fn wait(&self, timeout: Duration) -> bool {
        let waiting = |inner: &mut Inner| !inner.rung && !inner.closed;
        let (mut inner, _) = self
            .bell
            .wait_timeout_while(self.inner(), timeout, waiting)
            .unwrap_or_else(PoisonError::into_inner);
        inner.rung = false;
        !inner.closed
    }
}

impl Pin {
    /// Moves the pin: the owner no longer needs anything before `position`.
    pub fn set(&self, position: Position) {
        let mut inner = self.pins.inner();
        let Some(held) = inner.pins.get_mut(&self.id) else {
            model::invariant!(false, "a pin is held until its owner releases it", pin = self.id);
            return;
        };
        let crossed = position.segment > held.position.segment;
        held.position = held.position.max(position);
        if crossed {
            inner.rung = true;
            drop(inner);
            self.pins.bell.notify_all();
        }
    }

    /// Must be called with the segment of each chunk before the chunk is used. `read` is the position before
    /// which the owner then has everything in memory, or no longer needs it. Returns false if the segment was
    /// dropped and the chunk already counted as lost. Then the chunk must not be used.
    pub fn take(&self, segment: u64, read: Position) -> bool {
        let mut inner = self.pins.inner();
        let Some(held) = inner.pins.get_mut(&self.id) else { return true };
        held.read = read;
        segment >= held.dropped.segment
    }

    /// Sets the position before which the owner has everything in memory, or no longer needs it. It is lower
    /// than before if the owner is about to read something again. Returns the position before which
    /// everything was dropped.
    pub fn set_read(&self, read: Position) -> Position {
        let mut inner = self.pins.inner();
        let Some(held) = inner.pins.get_mut(&self.id) else { return Position::default() };
        held.read = read;
        held.dropped
    }

    /// Returns the position before which everything was dropped although the owner still needed some of it.
    pub fn dropped(&self) -> Position {
        self.pins.inner().pins.get(&self.id).map(|held| held.dropped).unwrap_or_default()
    }

    /// Waits until something is dropped that the owner still needs.
    pub async fn wait_for_drop(&self) {
        self.drops.notified().await;
    }

    /// Reports that the owner has saved how many of the samples before `dropped` it holds in memory. Once an
    /// owner has called this, segments wait for its next report before they are deleted.
    pub fn note(&self, dropped: Position) {
        let mut inner = self.pins.inner();
        if let Some(held) = inner.pins.get_mut(&self.id) {
            held.noted = Some(dropped);
        }
        drop(inner);
        self.pins.bell.notify_all();
    }

    /// Returns the points that were dropped before the owner had read them. They are counted from the lowest
    /// position that the owner still has to read, so the count is never too low.
    pub fn lost(&self) -> Kinds {
        self.pins.inner().pins.get(&self.id).map(|held| held.lost).unwrap_or_default()
    }

    /// Returns the part of [`Pin::lost`] that was dropped because it exceeded the maximum age.
    pub fn lost_too_old(&self) -> Kinds {
        self.pins.inner().pins.get(&self.id).map(|held| held.lost_too_old).unwrap_or_default()
    }
}

impl Pin {
    /// Releases the pin: the owner needs nothing more of the log.
    pub fn release(self) {
        self.pins.inner().pins.remove(&self.id);
        self.pins.ring();
    }
}

impl Drop for Pin {
    fn drop(&mut self) {
        let mut inner = self.pins.inner();
        let id = self.id;
        let Some(name) = inner.pins.get(&id).map(|held| held.name.clone()) else { return };
        // A newer pin with the same name holds what is still needed.
        if inner.pins.iter().any(|(other, held)| *other > id && held.name == name) {
            inner.pins.remove(&id);
            inner.rung = true;
            drop(inner);
            self.pins.bell.notify_all();
        } else if let Some(held) = inner.pins.get_mut(&id) {
            held.orphaned = true;
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn drops_are_counted_and_move_the_pin_only_forward() {
        let pins = Arc::<Pins>::default();
        let pin = pins.pin("a", Position::start_of(3));
        let ten = Kinds { samples: 10, ..Kinds::default() };
        pins.drop_before(pin.id, Position::start_of(5), ten, false);
        pins.drop_before(pin.id, Position::start_of(4), ten, true);
        assert_eq!((pins.lowest_segment(), pin.lost().samples), (Some(5), 20));
        assert_eq!(pin.lost_too_old().samples, 10);
    }

    #[test]
    fn a_dropped_pin_counts_until_replaced_or_released() {
        let pins = Arc::<Pins>::default();
        drop(pins.pin("a", Position::start_of(3)));
        assert_eq!((pins.lowest_segment(), pins.orphans()), (Some(3), vec!["a".to_string()]));
        let other = pins.pin("b", Position::start_of(7));
        assert_eq!(pins.lowest_segment(), Some(3), "another one's name says nothing");
        let again = pins.pin("a", Position::start_of(5));
        assert_eq!((pins.lowest_segment(), pins.orphans()), (Some(5), vec![]));
        // As after a change of settings, the next pin is made before this one is dropped.
        let next = pins.pin("a", Position::start_of(6));
        drop(again);
        assert_eq!((pins.lowest_segment(), pins.orphans()), (Some(6), vec![]));
        assert!(!pins.release("a"), "its owner has not gone");
        drop(next);
        assert!(pins.release("a"));
        assert_eq!(pins.lowest_segment(), Some(7));
        other.release();
        assert_eq!(pins.lowest_segment(), None);
    }

    #[test]
    fn a_dropped_segment_costs_an_owner_only_unread_points() {
        let pins = Arc::<Pins>::default();
        let pin = pins.pin("a", Position::start_of(3));
        let [read, next] = [Position::record(4, 100), Position::record(4, 200)];
        assert!(pin.take(4, read));
        assert_eq!(pins.drop_unread(Position::start_of(5)), [(pin.id, "a".to_string(), read)]);
        assert!(!pin.take(4, next), "it was counted as lost");
        assert!(pin.take(5, Position::record(5, 1)));
        assert_eq!(pin.dropped(), Position::start_of(5));
        // What the owner is about to read again is lost if it is dropped before that.
        pins.drop_before(pin.id, Position::start_of(5), Kinds::default(), false);
        pin.set_read(Position::record(5, 0));
        assert_eq!(pins.drop_unread(Position::start_of(6))[0].2, Position::record(5, 0));
    }

    #[test]
    fn a_segment_waits_until_owners_have_saved_their_counts() {
        let pins = Arc::<Pins>::default();
        let [pin, without] = ["a", "b"].map(|name| pins.pin(name, Position::start_of(3)));
        pin.note(Position::default());
        let end = Position::start_of(4);
        pins.drop_unread(end);
        let long = Duration::from_secs(600);
        std::thread::scope(|scope| {
            let waiting = scope.spawn(|| pins.wait_until_noted(end, long));
            pin.note(Position::start_of(3));
            assert!(!waiting.is_finished());
            pin.note(end);
        });
        // An owner that has ended will not save anything, so nothing waits for it.
        pins.drop_unread(Position::start_of(5));
        drop(pin);
        pins.wait_until_noted(Position::start_of(5), long);
        without.release();
    }
}
