//! The parts without which narthex does not work, and how to check that each works.

use futures_util::future::BoxFuture;
use receive::Doors;
use storage::Storage;
use tokio::sync::{mpsc, oneshot};

/// An essential part of narthex, and how to check that it works.
pub(crate) struct Part {
    pub(crate) name: &'static str,
    /// Resolves to true once the part has answered; to false if it has ended.
    pub(crate) ask: Box<dyn Fn() -> BoxFuture<'static, bool> + Send + Sync>,
}

/// A question to the run loop, which it answers between two events.
pub(crate) type Question = oneshot::Sender<()>;

/// The thread that writes the log, and the task that keeps the groups.
pub(crate) fn of(storage: &Storage, doors: &Doors) -> Vec<Part> {
    let (storage, doors) = (storage.clone(), doors.clone());
    let committer = move || -> BoxFuture<'static, bool> {
        let storage = storage.clone();
        Box::pin(async move { storage.committer_answers().await })
    };
    let groups = move || -> BoxFuture<'static, bool> {
        let doors = doors.clone();
        Box::pin(async move { doors.groups().answer().await })
    };
    vec![Part { name: "committer", ask: Box::new(committer) }, Part { name: "groups", ask: Box::new(groups) }]
}

/// The loop that handles signals and reloads.
pub(crate) fn run_loop(questions: mpsc::Sender<Question>) -> Part {
    let ask = move || -> BoxFuture<'static, bool> {
        let questions = questions.clone();
        Box::pin(async move {
            let (reply, answer) = oneshot::channel();
            questions.send(reply).await.is_ok() && answer.await.is_ok()
        })
    };
    Part { name: "run loop", ask: Box::new(ask) }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::time::Duration;

    #[tokio::test(start_paused = true)]
    async fn a_run_loop_that_handles_no_events_does_not_answer() {
        let (questions, mut receiver) = mpsc::channel::<Question>(1);
        let part = run_loop(questions);
        let asked = tokio::spawn((part.ask)());
        let question = receiver.recv().await.unwrap();
        assert!(
            tokio::time::timeout(Duration::from_secs(10), (part.ask)()).await.is_err(),
            "no task handles the events"
        );
        question.send(()).unwrap();
        assert!(asked.await.unwrap());
        drop(receiver);
        assert!(!(part.ask)().await, "the run loop has ended");
    }
}
