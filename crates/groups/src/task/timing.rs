//! Schedules groups: when they are sent again, when they expire, and when they are removed.

use super::GroupsTask;
use crate::schedule::next_turn;
use model::Labels;
use std::time::Duration;

/// Groups that are due within this time of each other are sent together, so that a thousand groups do not cost a
/// thousand syncs.
const TURN_STEP: Duration = Duration::from_millis(250);

impl GroupsTask {
    /// Sets the time at which a group is sent again, expires or is removed, by its current state.
    pub(super) fn schedule(&mut self, key: &Labels) {
        let (now, wall) = (self.clock.monotonic(), self.clock.now_ms());
        let Some(group) = self.state.get(key) else { return };
        if !self.turns.contains(group.id) {
            let turn = next_turn(key.as_ref().as_bytes(), self.options.interval, now);
            self.turns.set(group.id, Some(turn));
        }
        // The remaining time comes from the wall clock, which may have been set. The task waits for it by the monotonic
        // clock.
        let (end, most) = match (group.expired, group.expires) {
            (Some(expired), _) => {
                let removed_after = as_ms(self.options.removed_after);
                (Some(expired.saturating_add(removed_after)), removed_after)
            }
            (None, Some(expires)) => (Some(expires), group.ttl.unwrap_or(0)),
            (None, None) => (None, 0),
        };
        let end = end.map(|end| end.saturating_sub(wall).clamp(0, most.max(0)));
        self.ends.set(group.id, end.map(|left| now + Duration::from_millis(left.unsigned_abs())));
    }

    /// The time at which the next group is due.
    pub(super) fn next_moment(&self) -> Option<Duration> {
        [self.turns.first(), self.ends.first()].into_iter().flatten().min()
    }
}

pub(super) fn as_ms(duration: Duration) -> i64 {
    i64::try_from(duration.as_millis()).unwrap_or(i64::MAX)
}

/// Waits for `moment`, if there is one. `now` is by the same clock.
pub(super) async fn sleep_until(moment: Option<Duration>, now: Duration) {
    match moment {
        Some(moment) => tokio::time::sleep(moment.saturating_sub(now).max(TURN_STEP)).await,
        None => std::future::pending().await,
    }
}
