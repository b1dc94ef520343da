//! Panics on demand, for tests of what a panic costs. Exists only in builds with debug assertions: a release build
//! has no code that could be asked to panic.

use crate::Task;
use std::sync::LazyLock;
use tokio::sync::watch;

/// The task that is to panic.
static ASKED: LazyLock<watch::Sender<Option<Task>>> = LazyLock::new(|| watch::Sender::new(None));

/// Makes this task panic, if it runs.
pub fn panic_in(task: Task) {
    ASKED.send_replace(Some(task));
}

/// Runs `run`, and panics instead once the task is asked to.
pub(crate) async fn with<T>(task: &Task, run: impl Future<Output = T>) -> T {
    let mut asked = ASKED.subscribe();
    let panic = async {
        // The sender lives as long as the process.
        while asked.changed().await.is_ok() {
            assert!(asked.borrow_and_update().as_ref() != Some(task), "a test asked the task to panic");
        }
    };
    tokio::select! {
        result = run => result,
        () = panic => std::future::pending().await,
    }
}
