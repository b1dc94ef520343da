//! Pins: who still wants which part of the log.

use model::Kinds;
use std::collections::HashMap;
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};
use tokio::sync::Notify;
use wal::Position;

/// All pins of a log, and the bell that wakes the janitor.
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
    /// The owner has everything before this in memory, or needs it no longer.
    read: Position,
    /// Everything before this was dropped although the owner still needed it.
    dropped: Position,
    /// Up to here the owner has saved how many of the dropped samples it holds in memory. Nothing for an owner
    /// that holds none.
    noted: Option<Position>,
    drops: Arc<Notify>,
    /// Where the part begins that the owner loses with the segment that is being dropped. Kept until its samples
    /// are counted, since the owner goes on reading behind the segment.
    losing_from: Option<Position>,
    lost: Kinds,
    /// Of these: what was dropped for its age.
    lost_too_old: Kinds,
    /// Its owner went without letting go.
    orphaned: bool,
}

/// Holds segments back from truncation until it is released.
///
/// Dropping it releases nothing: an owner that ended unexpectedly still wants what it has not delivered. Then
/// it holds on until somebody pins under the same name, [`crate::Storage::release`] is called with it, or the
/// process ends. The log's budget bounds it like any other.
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
        // Whoever pins in the place of an owner that has gone knows what it still wanted.
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

    /// Lets go of what is held under `name` for an owner that has gone; says whether something was.
    pub(crate) fn release(&self, name: &str) -> bool {
        let mut inner = self.inner();
        let before = inner.pins.len();
        inner.pins.retain(|_, held| !held.orphaned || held.name != name);
        let released = inner.pins.len() < before;
        drop(inner);
        self.ring();
        released
    }

    /// The names under which something is held for owners that have gone.
    pub(crate) fn orphans(&self) -> Vec<String> {
        let inner = self.inner();
        inner.pins.values().filter(|held| held.orphaned).map(|held| held.name.clone()).collect()
    }

    /// The lowest segment that somebody wants.
    pub(crate) fn lowest_segment(&self) -> Option<u64> {
        self.inner().pins.values().map(|held| held.position.segment).min()
    }

    /// Drops everything before `end` for all owners that need some of it: from now on none of them may read it.
    /// Returns for each owner its number, its name, and where the part begins that it has not read and so loses.
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

    /// Waits, at most this long, until each owner has saved how many samples before `end` it holds in memory.
    /// After that the segment may be deleted: a kill can no longer lose samples that nobody counts.
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

    /// Moves a pin on over what is about to be dropped.
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

    /// Wakes the janitor.
    pub(crate) fn ring(&self) {
        self.inner().rung = true;
        self.bell.notify_all();
    }

    /// Tells the janitor to end.
    pub(crate) fn close(&self) {
        self.inner().closed = true;
        self.bell.notify_all();
    }

    /// Waits for the bell or the time-out; `false` once closed.
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
    /// Everything before `position` is no longer wanted by the owner.
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

    /// To be called with the segment of each chunk before the chunk is used. `read` is the position before which
    /// the owner has everything in memory then, or needs it no longer. Returns false where the segment was dropped,
    /// and the chunk counted as lost, before: the chunk must not be used.
    pub fn take(&self, segment: u64, read: Position) -> bool {
        let mut inner = self.pins.inner();
        let Some(held) = inner.pins.get_mut(&self.id) else { return true };
        held.read = read;
        segment >= held.dropped.segment
    }

    /// Sets the position before which the owner has everything in memory, or needs it no longer: lower than before
    /// where it is about to read something again. Returns the position before which everything was dropped.
    pub fn set_read(&self, read: Position) -> Position {
        let mut inner = self.pins.inner();
        let Some(held) = inner.pins.get_mut(&self.id) else { return Position::default() };
        held.read = read;
        held.dropped
    }

    /// The position before which everything was dropped although the owner still needed some of it.
    pub fn dropped(&self) -> Position {
        self.pins.inner().pins.get(&self.id).map(|held| held.dropped).unwrap_or_default()
    }

    /// Waits until something is dropped that the owner still needs.
    pub async fn wait_for_drop(&self) {
        self.drops.notified().await;
    }

    /// The owner has saved how many of the samples before `dropped` it holds in memory. Segments are deleted only
    /// after that, once an owner has called this for the first time.
    pub fn note(&self, dropped: Position) {
        let mut inner = self.pins.inner();
        if let Some(held) = inner.pins.get_mut(&self.id) {
            held.noted = Some(dropped);
        }
        drop(inner);
        self.pins.bell.notify_all();
    }

    /// What was dropped before the owner had read it: counted from the lowest position that it still has to read,
    /// so never too low.
    pub fn lost(&self) -> Kinds {
        self.pins.inner().pins.get(&self.id).map(|held| held.lost).unwrap_or_default()
    }

    /// Of [`Pin::lost`]: what was dropped because it was older than the log may become.
    pub fn lost_too_old(&self) -> Kinds {
        self.pins.inner().pins.get(&self.id).map(|held| held.lost_too_old).unwrap_or_default()
    }
}

impl Pin {
    /// Lets go: the owner wants nothing more of the log.
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
        // One that took its place already holds what is still wanted.
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
    fn what_is_dropped_is_counted_and_moves_the_pin_on_never_back() {
        let pins = Arc::<Pins>::default();
        let pin = pins.pin("a", Position::start_of(3));
        let ten = Kinds { samples: 10, ..Kinds::default() };
        pins.drop_before(pin.id, Position::start_of(5), ten, false);
        pins.drop_before(pin.id, Position::start_of(4), ten, true);
        assert_eq!((pins.lowest_segment(), pin.lost().samples), (Some(5), 20));
        assert_eq!(pin.lost_too_old().samples, 10);
    }

    #[test]
    fn a_pin_that_is_dropped_holds_on_until_another_takes_its_place_or_it_is_released() {
        let pins = Arc::<Pins>::default();
        drop(pins.pin("a", Position::start_of(3)));
        assert_eq!((pins.lowest_segment(), pins.orphans()), (Some(3), vec!["a".to_string()]));
        let other = pins.pin("b", Position::start_of(7));
        assert_eq!(pins.lowest_segment(), Some(3), "another one's name says nothing");
        let again = pins.pin("a", Position::start_of(5));
        assert_eq!((pins.lowest_segment(), pins.orphans()), (Some(5), vec![]));
        // The next one is there before this one goes, as where settings change.
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
    fn a_dropped_segment_costs_an_owner_only_what_it_has_not_read() {
        let pins = Arc::<Pins>::default();
        let pin = pins.pin("a", Position::start_of(3));
        let [read, next] = [Position::record(4, 100), Position::record(4, 200)];
        assert!(pin.take(4, read));
        assert_eq!(pins.drop_unread(Position::start_of(5)), [(pin.id, "a".to_string(), read)]);
        assert!(!pin.take(4, next), "it was counted as lost");
        assert!(pin.take(5, Position::record(5, 1)));
        assert_eq!(pin.dropped(), Position::start_of(5));
        // What it is about to read again is lost if it is dropped before that.
        pins.drop_before(pin.id, Position::start_of(5), Kinds::default(), false);
        pin.set_read(Position::record(5, 0));
        assert_eq!(pins.drop_unread(Position::start_of(6))[0].2, Position::record(5, 0));
    }

    #[test]
    fn a_segment_waits_until_its_owners_have_saved_their_counts() {
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
        // Nobody saves anything for an owner that has ended.
        pins.drop_unread(Position::start_of(5));
        drop(pin);
        pins.wait_until_noted(Position::start_of(5), long);
        without.release();
    }
}
