//! Long-lived tasks that are started again after a panic, with a pause that grows, and counted.
//!
//! A task may be supervised if all that it has promised is on disk or is held by somebody else: then a new one
//! can take its place. Tasks for which that is not so (those that write the log and keep the groups) end the
//! process instead, so that its service manager starts it again.
//!
//! Start at [`supervise`]. A task that has to prepare each start, or that can be stopped during a pause, uses
//! [`catch`] and [`Pauses`] in a loop of its own.

mod pauses;
#[cfg(debug_assertions)]
pub mod trap;

pub use pauses::{CALM, FIRST_PAUSE, LONGEST_PAUSE, Pauses};

use futures_util::FutureExt;
use std::collections::BTreeMap;
use std::panic::AssertUnwindSafe;
use std::sync::{Mutex, PoisonError};
use std::time::Instant;

/// A supervised task: what it does, and which one it is where there are several that do the same.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub struct Task {
    /// The label `task` of the metric, such as `destination`.
    pub kind: &'static str,
    /// The name, such as that of the destination. Empty where there is only one task of the kind.
    pub name: String,
}

impl Task {
    /// The only task of its kind.
    pub fn only(kind: &'static str) -> Task {
        Task { kind, name: String::new() }
    }

    /// One of several tasks of a kind.
    pub fn of(kind: &'static str, name: &str) -> Task {
        Task { kind, name: name.to_string() }
    }
}

/// The task has panicked. The panic hook has said where and why.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Panicked;

static RESTARTS: Mutex<BTreeMap<Task, u64>> = Mutex::new(BTreeMap::new());

/// How often each task was started again since the process started.
pub fn restarts() -> BTreeMap<Task, u64> {
    RESTARTS.lock().unwrap_or_else(PoisonError::into_inner).clone()
}

/// Counts a restart.
pub fn count_restart(task: &Task) {
    *RESTARTS.lock().unwrap_or_else(PoisonError::into_inner).entry(task.clone()).or_default() += 1;
}

/// Runs a task until it returns or panics.
pub async fn catch<T>(task: &Task, run: impl Future<Output = T>) -> Result<T, Panicked> {
    // So that the metric has the task from its start.
    RESTARTS.lock().unwrap_or_else(PoisonError::into_inner).entry(task.clone()).or_default();
    #[cfg(debug_assertions)]
    let run = trap::with(task, run);
    AssertUnwindSafe(run).catch_unwind().await.map_err(|_| Panicked)
}

/// Runs a task until it returns. After a panic `start` makes another one.
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
    async fn a_task_that_panics_is_started_again_and_counted() {
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
    async fn a_task_that_never_panicked_is_known_with_no_restarts() {
        let task = Task::only("test without panics");
        supervise(task.clone(), || async {}).await;
        assert_eq!(restarts().get(&task), Some(&0));
    }
}
