//! Inputs with sockets of their own: started, stopped and changed by the configuration, and supervised.

use intake::{BindError, Bound, Endpoint, Exposure, Intake, Listener, Stop, Stopper};
use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Instant;
use supervisor::{Pauses, Task};
use tokio::sync::watch;
use tokio::task::JoinHandle;

/// The inputs that run.
#[derive(Debug, Default)]
pub(crate) struct Listeners {
    running: BTreeMap<&'static str, Running>,
}

#[derive(Debug)]
struct Running {
    listener: Arc<dyn Listener>,
    exposure: watch::Sender<Arc<Exposure>>,
    stopper: Stopper,
    task: JoinHandle<()>,
}

/// What a configuration asks for.
pub(crate) struct Prepared(Vec<Wanted>);

struct Wanted {
    listener: Arc<dyn Listener>,
    /// Its sockets, if they were not open yet.
    opened: Option<Box<dyn Bound>>,
}

impl Listeners {
    /// Opens the sockets that `wanted` needs and that are not open yet. Changes nothing that runs.
    pub(crate) fn prepare(&self, wanted: Vec<Arc<dyn Listener>>) -> Result<Prepared, BindError> {
        let open = |listener: Arc<dyn Listener>| {
            let own = self.running.get(listener.name()).map(|running| running.listener.endpoints());
            if own.as_ref() == Some(&listener.endpoints()) {
                return Ok(Wanted { listener, opened: None });
            }
            let sockets = listener.bind().map_err(|error| of_own_port(error, own.unwrap_or_default()))?;
            Ok(Wanted { listener, opened: Some(sockets) })
        };
        wanted.into_iter().map(open).collect::<Result<_, _>>().map(Prepared)
    }

    /// Starts, stops and changes inputs. One whose addresses stay keeps its sockets, so that nothing that arrives
    /// meanwhile is lost. One with other addresses listens on the new ones before the old ones are closed.
    pub(crate) async fn apply(&mut self, Prepared(wanted): Prepared, intake: &Intake) {
        let mut old = std::mem::take(&mut self.running);
        for Wanted { listener, opened } in wanted {
            let name = listener.name();
            let running = match (opened, old.remove(name)) {
                (None, Some(running)) => {
                    running.exposure.send_replace(Arc::new(listener.exposure().clone()));
                    Running { listener, ..running }
                }
                (None, None) => {
                    model::invariant!(false, "an input that keeps its sockets is running", input = name);
                    continue;
                }
                (Some(bound), before) => {
                    let started = start(listener, bound, intake.clone());
                    if let Some(before) = before {
                        before.stop().await;
                    }
                    started
                }
            };
            self.running.insert(name, running);
        }
        for (name, removed) in old {
            tracing::info!(input = name, "the input is not in the configuration any more and stops");
            removed.stop().await;
        }
    }

    /// Stops all inputs: what has arrived is appended.
    pub(crate) async fn stop(&mut self) {
        for running in std::mem::take(&mut self.running).into_values() {
            running.stop().await;
        }
    }
}

/// A port that the input itself has, at another address, can't be opened while it runs.
fn of_own_port(mut error: BindError, own: Vec<Endpoint>) -> BindError {
    let port = error.endpoint.address.port();
    let is_own = own.iter().any(|one| one.address.port() == port);
    if is_own && error.source.kind() == std::io::ErrorKind::AddrInUse {
        error.source = std::io::Error::other(
            "narthex has this port at another address: only a restart can change the address without the port",
        );
    }
    error
}

fn start(listener: Arc<dyn Listener>, bound: Box<dyn Bound>, intake: Intake) -> Running {
    let (exposure, exposures) = watch::channel(Arc::new(listener.exposure().clone()));
    let (stopper, stop) = Stopper::new();
    let supervised = supervise(listener.clone(), bound, intake, exposures, stop);
    Running { listener, exposure, stopper, task: tokio::spawn(supervised) }
}

impl Running {
    async fn stop(self) {
        self.stopper.stop();
        // It ends with an error only if the runtime ends.
        let _ = self.task.await;
    }
}

/// Runs an input until it is stopped. One that panics is started again: an input holds nothing that was acknowledged.
async fn supervise(
    listener: Arc<dyn Listener>,
    bound: Box<dyn Bound>,
    intake: Intake,
    exposures: watch::Receiver<Arc<Exposure>>,
    mut stop: Stop,
) {
    let input = intake.input(listener.name());
    // So that they are shown from the start.
    input.listener_counters();
    let (task, mut pauses) = (Task::of("input", input.name()), Pauses::default());
    let mut bound = Some(bound);
    loop {
        let started = Instant::now();
        match bound.take().map_or_else(|| listener.bind(), Ok) {
            Ok(sockets) => {
                for endpoint in sockets.endpoints() {
                    tracing::info!(input = input.name(), "listening on {endpoint}");
                }
                let run = sockets.run(input.clone(), exposures.clone(), stop.clone());
                if supervisor::catch(&task, run).await.is_ok() {
                    return;
                }
                tracing::error!(input = input.name(), "the input panicked and is started again");
            }
            Err(error) => tracing::error!(input = input.name(), %error, "the input can't listen again yet"),
        }
        tokio::select! {
            () = stop.requested() => return,
            () = tokio::time::sleep(pauses.after_panic(started.elapsed())) => supervisor::count_restart(&task),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use intake::{Input, Settings};
    use std::pin::Pin;
    use std::sync::atomic::{AtomicUsize, Ordering};
    use storage::{Options, Storage};

    /// Panics when it runs for the first time.
    #[derive(Debug, Default)]
    struct Panics {
        runs: Arc<AtomicUsize>,
        exposure: Exposure,
    }

    impl Listener for Panics {
        fn name(&self) -> &'static str {
            "panics"
        }
        fn endpoints(&self) -> Vec<Endpoint> {
            Vec::new()
        }
        fn exposure(&self) -> &Exposure {
            &self.exposure
        }
        fn bind(&self) -> Result<Box<dyn Bound>, BindError> {
            Ok(Box::new(Run(self.runs.clone())))
        }
    }

    struct Run(Arc<AtomicUsize>);

    impl Bound for Run {
        fn endpoints(&self) -> Vec<Endpoint> {
            Vec::new()
        }
        fn run(
            self: Box<Self>,
            _: Input,
            _: watch::Receiver<Arc<Exposure>>,
            mut stop: Stop,
        ) -> Pin<Box<dyn Future<Output = ()> + Send>> {
            Box::pin(async move {
                assert!(self.0.fetch_add(1, Ordering::Relaxed) > 0, "on purpose");
                stop.requested().await;
            })
        }
    }

    #[tokio::test(start_paused = true)]
    async fn an_input_that_panics_is_started_again() {
        let folder = tempfile::tempdir().unwrap();
        let (fs, clock) = (Arc::new(wal::RealFilesystem), Arc::new(model::SystemClock::new()));
        let options = Options::new(folder.path());
        let (storage, _) = Storage::open(fs, clock.clone(), options).unwrap();
        let intake = Intake::new(storage, clock, Settings::default()).unwrap();
        let (mut listeners, panics) = (Listeners::default(), Panics::default());
        let runs = panics.runs.clone();
        let prepared = listeners.prepare(vec![Arc::new(panics)]).unwrap();
        listeners.apply(prepared, &intake).await;
        while runs.load(Ordering::Relaxed) < 2 {
            tokio::time::sleep(supervisor::FIRST_PAUSE).await;
        }
        listeners.stop().await;
        assert_eq!(runs.load(Ordering::Relaxed), 2);
        assert_eq!(supervisor::restarts().get(&Task::of("input", "panics")), Some(&1));
    }
}
