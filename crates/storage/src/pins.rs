//! Pins: who still wants which part of the log.

use model::Kinds;
use std::collections::HashMap;
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};
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
        inner.pins.insert(id, Held { name, position, lost, lost_too_old: lost, orphaned: false });
        Pin { pins: self.clone(), id }
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

    /// Those who want something before `end`: number, name, position.
    pub(crate) fn below(&self, end: Position) -> Vec<(u64, String, Position)> {
        let inner = self.inner();
        let wanting = inner.pins.iter().filter(|(_, held)| held.position < end);
        wanting.map(|(id, held)| (*id, held.name.clone(), held.position)).collect()
    }

    /// Moves a pin on over what is about to be dropped.
    pub(crate) fn drop_before(&self, id: u64, end: Position, lost: Kinds, too_old: bool) {
        if let Some(held) = self.inner().pins.get_mut(&id) {
            held.lost = held.lost.plus(lost);
            if too_old {
                held.lost_too_old = held.lost_too_old.plus(lost);
            }
            held.position = held.position.max(end);
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
    pub(crate) fn wait(&self, timeout: std::time::Duration) -> bool {
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
        let Some(held) = inner.pins.get_mut(&self.id) else { return };
        let crossed = position.segment > held.position.segment;
        held.position = held.position.max(position);
        if crossed {
            inner.rung = true;
            drop(inner);
            self.pins.bell.notify_all();
        }
    }

    /// What was dropped before the owner had it delivered: counted from the lowest position it pinned, so
    /// never too low.
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
}
