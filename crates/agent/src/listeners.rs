//! Inputs with sockets of their own: started, stopped and changed by the configuration, and supervised.

use intake::{BindError, Bound, Exposure, Intake, Listener, Stop, Stopper};
use std::collections::{BTreeMap, BTreeSet};
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
pub(crate) struct Prepared(Vec<(Arc<dyn Listener>, Sockets)>);

/// The sockets of an input that a configuration asks for.
enum Sockets {
    /// They stay open.
    Kept,
    /// They are open beside those that the input has now, if any.
    Opened(Box<dyn Bound>),
    /// An input that stops, or moves, has the address. They are opened after that one has closed its own.
    Taken,
}

impl Listeners {
    /// Opens the sockets that `wanted` needs and that are not open yet. Changes nothing that runs.
    pub(crate) fn prepare(&self, wanted: Vec<Arc<dyn Listener>>) -> Result<Prepared, BindError> {
        let is_kept = |listener: &dyn Listener| {
            let running = self.running.get(listener.name());
            running.is_some_and(|running| running.listener.endpoints() == listener.endpoints())
        };
        let kept: BTreeSet<&str> =
            wanted.iter().filter(|listener| is_kept(&***listener)).map(|listener| listener.name()).collect();
        let ending: Vec<&dyn Listener> = self
            .running
            .iter()
            .filter(|(name, _)| !kept.contains(*name))
            .map(|(_, running)| &*running.listener)
            .collect();
        let sockets = |listener: &dyn Listener| {
            Ok(if kept.contains(listener.name()) {
                Sockets::Kept
            } else if ending.iter().any(|other| listener.conflict(*other).is_some()) {
                Sockets::Taken
            } else {
                Sockets::Opened(listener.bind()?)
            })
        };
        let sockets = wanted.iter().map(|listener| sockets(&**listener)).collect::<Result<Vec<_>, _>>()?;
        Ok(Prepared(wanted.into_iter().zip(sockets).collect()))
    }

    /// Starts, stops and changes inputs. One whose addresses stay keeps its sockets, so that nothing that arrives
    /// meanwhile is lost. One with other addresses listens on the new ones before the old ones are closed, unless both
    /// can't be open at once.
    pub(crate) async fn apply(&mut self, Prepared(wanted): Prepared, intake: &Intake) {
        let mut old = std::mem::take(&mut self.running);
        let mut waiting = Vec::new();
        for (listener, sockets) in wanted {
            let name = listener.name();
            let running = match (sockets, old.remove(name)) {
                (Sockets::Kept, Some(running)) => {
                    running.exposure.send_replace(Arc::new(listener.exposure().clone()));
                    Running { listener, ..running }
                }
                (Sockets::Kept, None) => {
                    model::invariant!(false, "an input that keeps its sockets is running", input = name);
                    continue;
                }
                (Sockets::Opened(bound), before) => {
                    let started = start(listener, Some(bound), intake.clone());
                    if let Some(before) = before {
                        before.stop().await;
                    }
                    started
                }
                (Sockets::Taken, before) => {
                    if let Some(before) = before {
                        before.stop().await;
                    }
                    waiting.push(listener);
                    continue;
                }
            };
            self.running.insert(name, running);
        }
        for (name, removed) in old {
            tracing::info!(input = name, "the input is not in the configuration any more and stops");
            removed.stop().await;
        }
        for listener in waiting {
            // Should another program take the address just now, this is logged and tried again.
            let bound = listener.bind().ok();
            self.running.insert(listener.name(), start(listener, bound, intake.clone()));
        }
    }

    /// Stops all inputs: what has arrived is appended.
    pub(crate) async fn stop(&mut self) {
        for running in std::mem::take(&mut self.running).into_values() {
            running.stop().await;
        }
    }
}

fn start(listener: Arc<dyn Listener>, bound: Option<Box<dyn Bound>>, intake: Intake) -> Running {
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

/// Runs an input until it is stopped, with its sockets if they are open. One that panics is started again: an input
/// holds nothing that was acknowledged.
async fn supervise(
    listener: Arc<dyn Listener>,
    mut bound: Option<Box<dyn Bound>>,
    intake: Intake,
    exposures: watch::Receiver<Arc<Exposure>>,
    mut stop: Stop,
) {
    let input = intake.input(listener.name());
    // So that they are shown from the start.
    input.listener_counters();
    let (task, mut pauses) = (Task::of("input", input.name()), Pauses::default());
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
    use intake::{Endpoint, Input, Settings, Transport};
    use std::net::{SocketAddr, TcpListener, TcpStream};
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

    fn intake(folder: &std::path::Path) -> Intake {
        let (fs, clock) = (Arc::new(wal::RealFilesystem), Arc::new(model::SystemClock::new()));
        let (storage, _) = Storage::open(fs, clock.clone(), Options::new(folder)).unwrap();
        Intake::new(storage, clock, Settings::default()).unwrap()
    }

    #[tokio::test(start_paused = true)]
    async fn an_input_that_panics_is_started_again() {
        let folder = tempfile::tempdir().unwrap();
        let intake = intake(folder.path());
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

    /// Listens at an address.
    #[derive(Debug)]
    struct At(&'static str, SocketAddr, Exposure);

    impl At {
        fn wanted(name: &'static str, address: SocketAddr) -> Arc<dyn Listener> {
            Arc::new(At(name, address, Exposure::default()))
        }
    }

    impl Listener for At {
        fn name(&self) -> &'static str {
            self.0
        }
        fn endpoints(&self) -> Vec<Endpoint> {
            vec![Endpoint { transport: Transport::Tcp, address: self.1 }]
        }
        fn exposure(&self) -> &Exposure {
            &self.2
        }
        fn bind(&self) -> Result<Box<dyn Bound>, BindError> {
            let failed = |source| BindError { key: "at.listen", endpoint: self.endpoints()[0], source };
            Ok(Box::new(Open(TcpListener::bind(self.1).map_err(failed)?)))
        }
    }

    struct Open(TcpListener);

    impl Bound for Open {
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
                stop.requested().await;
                drop(self.0);
            })
        }
    }

    #[tokio::test]
    async fn an_address_moves_to_another_input() {
        let folder = tempfile::tempdir().unwrap();
        let intake = intake(folder.path());
        let mut listeners = Listeners::default();
        let [one, two, other] = [(); 3].map(|()| TcpListener::bind("127.0.0.1:0").unwrap());
        let [first, second, taken] = [&one, &two, &other].map(|listener| listener.local_addr().unwrap());
        drop((one, two));
        let all = |first: SocketAddr| SocketAddr::new("0.0.0.0".parse().unwrap(), first.port());
        for wanted in [
            vec![("a", first), ("b", second)],
            // Both change places.
            vec![("a", second), ("b", first)],
            // One moves to the address of another that stops.
            vec![("a", first)],
            vec![("c", first)],
            // The same port at all addresses, and back.
            vec![("c", all(first))],
            vec![("b", second), ("c", first)],
        ] {
            let inputs = wanted.iter().map(|(name, address)| At::wanted(name, *address)).collect();
            let prepared = listeners.prepare(inputs).unwrap();
            listeners.apply(prepared, &intake).await;
            let running: Vec<&str> = listeners.running.keys().copied().collect();
            assert_eq!(running, wanted.iter().map(|(name, _)| *name).collect::<Vec<_>>());
            for (name, address) in &wanted {
                assert!(TcpStream::connect(address).is_ok(), "{name} {address}: {wanted:?}");
            }
        }
        // The address of another program is refused, and nothing has changed.
        assert!(listeners.prepare(vec![At::wanted("b", taken)]).is_err());
        assert!(TcpStream::connect(first).is_ok() && TcpStream::connect(second).is_ok());
        listeners.stop().await;
        assert!(TcpStream::connect(first).is_err() && TcpStream::connect(second).is_err());
    }
}
