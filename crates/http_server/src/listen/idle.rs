//! Whether a connection has requests. One of HTTP/2 stays open without any, so it has to be closed.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

/// The requests of one connection.
#[derive(Debug, Clone, Default)]
pub(super) struct Activity(Arc<Counts>);

#[derive(Debug, Default)]
struct Counts {
    begun: AtomicU64,
    ended: AtomicU64,
}

/// A request that is in flight until this is dropped.
#[derive(Debug)]
pub(super) struct Running(Arc<Counts>);

impl Drop for Running {
    fn drop(&mut self) {
        self.0.ended.fetch_add(1, Ordering::Relaxed);
    }
}

impl Activity {
    pub(super) fn begin(&self) -> Running {
        self.0.begun.fetch_add(1, Ordering::Relaxed);
        Running(self.0.clone())
    }

    /// Resolves once there has been no request for at least `time`, and for twice as long at most.
    pub(super) async fn idle_for(&self, time: Duration) {
        let mut before = u64::MAX;
        loop {
            let begun = self.0.begun.load(Ordering::Relaxed);
            if begun == before && begun == self.0.ended.load(Ordering::Relaxed) {
                return;
            }
            before = begun;
            tokio::time::sleep(time).await;
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test(start_paused = true)]
    async fn a_connection_is_idle_after_a_time_without_requests() {
        const TIME: Duration = Duration::from_secs(300);
        let activity = Activity::default();
        let running = activity.begin();
        let idle = activity.idle_for(TIME);
        tokio::pin!(idle);
        assert!(tokio::time::timeout(10 * TIME, idle.as_mut()).await.is_err(), "a request is in flight");
        drop(running);
        assert!(tokio::time::timeout(2 * TIME, idle).await.is_ok());
    }
}
