//! Restarts long-lived tasks after a panic, with increasing pauses, and counts the restarts.
//!
//! A task may be supervised if everything that it has promised is on disk or is held by another part of the
//! program. Then a new task can continue its work. Other tasks (those that write the log or keep the groups)
//! end the process instead, so that the service manager restarts it.
//!
//! Start with [`supervise`]. A task that needs preparation before each start, or that can be stopped during a
//! pause, uses [`catch`] and [`Pauses`] in its own loop.

mod pauses;
#[cfg(debug_assertions)]
pub mod trap;

pub use pauses::{CALM, FIRST_PAUSE, LONGEST_PAUSE, Pauses};

use futures_util::FutureExt;
use std::collections::BTreeMap;
use std::panic::AssertUnwindSafe;
use std::sync::{Mutex, PoisonError};
use std::time::Instant;

/// Identifies a supervised task: its kind and, if there are several of a kind, its name.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub struct Task {
    /// The label `task` of the metric, such as `destination`.
    pub kind: &'static str,
    /// The name, such as that of the destination. Empty if there is only one task of the kind.
    pub name: String,
}

impl Task {
    /// Identifies the only task of its kind.
    pub fn only(kind: &'static str) -> Task {
        Task { kind, name: String::new() }
    }

    /// Identifies one of several tasks of a kind.
    pub fn of(kind: &'static str, name: &str) -> Task {
        Task { kind, name: name.to_string() }
    }
}

/// The task has panicked. The panic hook has already logged where and why.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Panicked;

static RESTARTS: Mutex<BTreeMap<Task, u64>> = Mutex::new(BTreeMap::new());

/// Number of restarts of each task since the process started.
pub fn restarts() -> BTreeMap<Task, u64> {
    RESTARTS.lock().unwrap_or_else(PoisonError::into_inner).clone()
}

pub fn count_restart(task: &Task) {
    *RESTARTS.lock().unwrap_or_else(PoisonError::into_inner).entry(task.clone()).or_default() += 1;
}

/// Runs a task until it returns or panics.
pub async fn catch<T>(task: &Task, run: impl Future<Output = T>) -> Result<T, Panicked> {
    // The metric includes the task from its first start on.
    RESTARTS.lock().unwrap_or_else(PoisonError::into_inner).entry(task.clone()).or_default();
    #[cfg(debug_assertions)]
    let run = trap::with(task, run);
    AssertUnwindSafe(run).catch_unwind().await.map_err(|_| Panicked)
}

/// Runs a task until it returns. After a panic, `start` makes a new one.
pub async fn supervise<T, F: Future<Output = T>>(task: Task, mut start: impl FnMut() -> F) -> T {
    let mut pauses = Pauses::default();
    loop {
        let started = Instant::now();
        if let Ok(result) = catch(&task, start()).await {
            return result;
        }
        let pause = pauses.after_panic(started.elapsed());
        let seconds = pause.as_secs();
        tracing::error!(task = task.kind, name = task.name, seconds, "a task panicked and is started again");
        tokio::time::sleep(pause).await;
        count_restart(&task);
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::sync::atomic::{AtomicU32, Ordering};

    #[tokio::test(start_paused = true)]
    async fn a_task_that_panics_is_restarted_and_counted() {
        let task = Task::of("test", "panics twice");
        let started = AtomicU32::new(0);
        let begin = tokio::time::Instant::now();
        let result = supervise(task.clone(), || async {
            assert!(started.fetch_add(1, Ordering::Relaxed) >= 2, "on purpose");
            "the result"
        });
        assert_eq!(result.await, "the result");
        assert_eq!(started.load(Ordering::Relaxed), 3);
        assert_eq!(restarts().get(&task), Some(&2));
        assert_eq!(begin.elapsed(), FIRST_PAUSE + FIRST_PAUSE * 2);
    }

    #[tokio::test(start_paused = true)]
    async fn a_task_without_panics_has_zero_restarts() {
        let task = Task::only("test without panics");
        supervise(task.clone(), || async {}).await;
        assert_eq!(restarts().get(&task), Some(&0));
    }
}
