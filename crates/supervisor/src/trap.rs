//! Lets tests make a task panic. Exists only in builds with debug assertions, so that a release build has no
//! code that panics on request.

use crate::Task;
use std::sync::LazyLock;
use tokio::sync::watch;

/// The task that has to panic.
static ASKED: LazyLock<watch::Sender<Option<Task>>> = LazyLock::new(|| watch::Sender::new(None));

/// Makes this task panic if it is running.
pub fn panic_in(task: Task) {
    ASKED.send_replace(Some(task));
}

/// Runs `run`, and panics once [`panic_in`] is called for the task.
pub(crate) async fn with<T>(task: &Task, run: impl Future<Output = T>) -> T {
    let mut asked = ASKED.subscribe();
    let panic = async {
        // Cannot fail: the sender lives as long as the process.
        while asked.changed().await.is_ok() {
            assert!(asked.borrow_and_update().as_ref() != Some(task), "a test asked the task to panic");
        }
    };
    tokio::select! {
        result = run => result,
        () = panic => std::future::pending().await,
    }
}
