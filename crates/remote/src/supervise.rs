//! The task of a destination: it runs the worker, and starts another one after a panic.
//!
//! This is safe because a worker keeps no state that is not on disk. The log keeps the undelivered samples,
//! because their pin was not released, and the next worker takes over the pin. It continues from the saved
//! positions, so the requests that were under way are sent once more.

use crate::base::Base;
use crate::destination::Recipe;
use crate::stats::{State, Stats};
use crate::worker::{Orders, ShutdownReport, Worker};
use std::sync::Arc;
use std::time::{Duration, Instant};
use supervisor::{Panicked, Pauses, Task};
use tokio::sync::watch;

/// The value of the label `task` for destinations.
const KIND: &str = "destination";

/// Runs workers until one ends by itself or the destination is told to stop.
pub(crate) async fn supervise(
    recipe: Recipe,
    base: Base,
    stats: Arc<Stats>,
    worker: Worker,
    mut orders: watch::Receiver<Orders>,
) -> ShutdownReport {
    let task = Task::of(KIND, &recipe.name());
    let mut pauses = Pauses::default();
    let mut worker = Box::new(worker);
    loop {
        let (started, keeper_ended) = (Instant::now(), worker.keeper_ended());
        let run = Box::pin(worker.run(orders.clone()));
        if let Ok(report) = supervisor::catch(&task, run).await {
            return report;
        }
        // Otherwise two keepers would write the same files.
        keeper_ended.await;
        worker = loop {
            let pause = pauses.after_panic(started.elapsed());
            let seconds = pause.as_secs();
            tracing::error!(
                destination = task.name,
                seconds,
                "delivery panicked, by a mistake in narthex, and is started again; nothing is lost meanwhile"
            );
            stats.set_error(format!(
                "delivery ended unexpectedly, by a mistake in narthex; it is started again after {seconds} s, and \
                 what was not delivered is kept until then"
            ));
            stats.set_state(State::Stopped);
            if is_stopped_within(pause, &mut orders).await {
                return ShutdownReport::FAILED;
            }
            supervisor::count_restart(&task);
            let memory = orders.borrow().memory;
            if let Ok(Some(worker)) = start(&task, &recipe, &base, &stats, memory).await {
                break Box::new(worker);
            }
        };
    }
}

/// Makes the next worker. `None` if it can't be started, which is logged here.
async fn start(
    task: &Task,
    recipe: &Recipe,
    base: &Base,
    stats: &Arc<Stats>,
    memory: usize,
) -> Result<Option<Worker>, Panicked> {
    let made = async {
        let prepared = recipe.clone().with_memory(memory).prepare();
        match prepared.and_then(|prepared| prepared.worker(base, stats)) {
            Ok(worker) => Some(worker),
            Err(error) => {
                tracing::error!(destination = task.name, %error, "delivery can't be started again yet");
                None
            }
        }
    };
    supervisor::catch(task, made).await
}

/// Waits for the pause. Returns true if the destination is told to stop, or its handle was dropped.
async fn is_stopped_within(pause: Duration, orders: &mut watch::Receiver<Orders>) -> bool {
    let stopped = orders.wait_for(|orders| orders.stop.is_some());
    tokio::time::timeout(pause, stopped).await.is_ok()
}
