//! Inputs with sockets of their own: they are started, stopped and changed by the configuration, and
//! supervised.

use intake::{
    BindError, Bound, Endpoint, Exposure, InheritedSockets, Intake, Listener, State, Stop, Stopper,
};
use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;
use std::time::Instant;
use supervisor::{Pauses, Task};
use tokio::sync::watch;
use tokio::task::JoinHandle;

/// The running inputs.
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

/// The inputs that a configuration asks for, with their sockets.
pub(crate) struct Prepared(Vec<(Arc<dyn Listener>, Sockets)>);

/// The sockets of a configured input.
enum Sockets {
    /// The input keeps the sockets that it has.
    Kept,
    /// The new sockets are open. The input may still have its old ones.
    Opened(Box<dyn Bound>),
    /// An input that stops or moves has the address. The sockets are opened after that input has closed its
    /// own.
    Taken,
}

impl Listeners {
    /// Opens the sockets that `wanted` needs and that are not open yet. Running inputs are not changed.
    pub(crate) fn prepare(&self, wanted: Vec<Arc<dyn Listener>>) -> Result<Prepared, BindError> {
        let kept: BTreeSet<&str> = wanted
            .iter()
            .filter(|listener| self.has_sockets_of(&***listener))
            .map(|listener| listener.name())
            .collect();
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

    /// The running inputs, for [`Listeners::restore`].
    pub(crate) fn current(&self) -> Vec<Arc<dyn Listener>> {
        self.running.values().map(|running| running.listener.clone()).collect()
    }

    /// Starts, stops and changes inputs. An input whose addresses stay the same keeps its sockets, so that
    /// nothing that arrives meanwhile is lost. An input with other addresses listens on the new ones before
    /// the old ones are closed, unless both can't be open at once. After an error the inputs run as before.
    pub(crate) async fn apply(&mut self, wanted: Prepared, intake: &Intake) -> Result<(), BindError> {
        let before = self.current();
        match self.change(wanted, intake).await.pop() {
            None => {
                self.warn_of_unused_sockets();
                Ok(())
            }
            Some((_, error)) => {
                self.restore(before, intake).await;
                Err(error)
            }
        }
    }

    /// Runs the inputs in `before`, which ran earlier, and stops all others.
    pub(crate) async fn restore(&mut self, before: Vec<Arc<dyn Listener>>, intake: &Intake) {
        let sockets = |listener: Arc<dyn Listener>| {
            let kept = self.has_sockets_of(&*listener);
            (listener, if kept { Sockets::Kept } else { Sockets::Taken })
        };
        let wanted = Prepared(before.into_iter().map(sockets).collect());
        for (listener, _) in self.change(wanted, intake).await {
            // Another program has taken the address meanwhile. This is logged and shown in the status, and
            // the input retries.
            self.running.insert(listener.name(), start(listener, None, intake.clone()));
        }
    }

    /// Names the sockets of the service manager that no input listens on.
    fn warn_of_unused_sockets(&self) {
        let used: Vec<_> = self.running.values().flat_map(|running| running.listener.endpoints()).collect();
        for endpoint in InheritedSockets::unused(&used) {
            let keys = match &endpoint {
                Endpoint::Tcp(_) => "statsd.listen_tcp or graphite.listen",
                Endpoint::Udp(_) => "statsd.listen_udp, graphite.listen or influx.listen_udp",
                Endpoint::Unixgram(_) => "statsd.listen_unixgram",
            };
            tracing::warn!(
                "no input uses the service manager's socket on {endpoint}: write exactly this address as {keys}, or \
                 remove it from the socket unit"
            );
        }
    }

    fn has_sockets_of(&self, listener: &dyn Listener) -> bool {
        let running = self.running.get(listener.name());
        running.is_some_and(|running| running.listener.endpoints() == listener.endpoints())
    }

    /// Changes to the wanted inputs. Returns those whose sockets can't be opened; they don't run.
    async fn change(
        &mut self,
        Prepared(wanted): Prepared,
        intake: &Intake,
    ) -> Vec<(Arc<dyn Listener>, BindError)> {
        let mut old = std::mem::take(&mut self.running);
        let mut waiting = Vec::new();
        for (listener, sockets) in wanted {
            let name = listener.name();
            listener.configure(&intake.input_of(name, listener.section()));
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
        let mut failed = Vec::new();
        for listener in waiting {
            match listener.bind() {
                Ok(bound) => {
                    self.running.insert(listener.name(), start(listener, Some(bound), intake.clone()));
                }
                Err(error) => failed.push((listener, error)),
            }
        }
        failed
    }

    /// Stops all inputs. Everything that has arrived is appended first.
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
        // The task ends with an error only if the runtime ends.
        let _ = self.task.await;
    }
}

/// Runs an input until it is stopped, with its sockets if they are open. An input that panics is started
/// again: it holds nothing that was acknowledged.
async fn supervise(
    listener: Arc<dyn Listener>,
    mut bound: Option<Box<dyn Bound>>,
    intake: Intake,
    exposures: watch::Receiver<Arc<Exposure>>,
    mut stop: Stop,
) {
    let input = intake.input_of(listener.name(), listener.section());
    let counters = input.listener_counters();
    let (task, mut pauses) = (Task::of("input", input.name()), Pauses::default());
    loop {
        let started = Instant::now();
        match bound.take().map_or_else(|| listener.bind(), Ok) {
            Ok(sockets) => {
                for endpoint in sockets.endpoints() {
                    tracing::info!(input = input.name(), "listening on {endpoint}");
                }
                counters.set_state(State::Listening);
                let run = sockets.run(input.clone(), exposures.clone(), stop.clone());
                if supervisor::catch(&task, run).await.is_ok() {
                    break;
                }
                counters.set_state(State::Down("it panicked, by a mistake in narthex".into()));
                tracing::error!(input = input.name(), "the input panicked and is started again");
            }
            Err(error) => {
                counters.set_state(State::Down(error.to_string()));
                tracing::error!(input = input.name(), %error, "the input can't listen again yet");
            }
        }
        tokio::select! {
            () = stop.requested() => break,
            () = tokio::time::sleep(pauses.after_panic(started.elapsed())) => supervisor::count_restart(&task),
        }
    }
    counters.set_state(State::Off);
}

#[cfg(test)]
mod tests {
    use super::*;
    use intake::{Endpoint, Input, Settings};
    use std::net::{SocketAddr, TcpListener, TcpStream};
    use std::pin::Pin;
    use std::sync::atomic::{AtomicUsize, Ordering};
    use storage::{Options, Storage};

    /// An input that panics when it runs for the first time.
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
        listeners.apply(prepared, &intake).await.unwrap();
        let state = || intake.input("panics").listener_counters().state();
        while runs.load(Ordering::Relaxed) < 1 {
            tokio::task::yield_now().await;
        }
        while state() == State::Listening {
            tokio::task::yield_now().await;
        }
        assert_eq!(state(), State::Down("it panicked, by a mistake in narthex".into()));
        while runs.load(Ordering::Relaxed) < 2 {
            tokio::time::sleep(supervisor::FIRST_PAUSE).await;
        }
        assert_eq!(state(), State::Listening);
        listeners.stop().await;
        assert_eq!(state(), State::Off);
        assert_eq!(runs.load(Ordering::Relaxed), 2);
        assert_eq!(supervisor::restarts().get(&Task::of("input", "panics")), Some(&1));
    }

    /// An input that listens at an address.
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
            vec![Endpoint::Tcp(self.1)]
        }
        fn exposure(&self) -> &Exposure {
            &self.2
        }
        fn bind(&self) -> Result<Box<dyn Bound>, BindError> {
            let failed = |source| BindError { key: "at.listen", endpoint: Endpoint::Tcp(self.1), source };
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

    fn free_address() -> SocketAddr {
        SocketAddr::from(([127, 0, 0, 1], support::process::free_port()))
    }

    #[tokio::test]
    async fn an_address_moves_to_another_input() {
        let folder = tempfile::tempdir().unwrap();
        let intake = intake(folder.path());
        let mut listeners = Listeners::default();
        let [first, second] = [(); 2].map(|()| free_address());
        let other = TcpListener::bind("127.0.0.1:0").unwrap();
        let taken = other.local_addr().unwrap();
        let all = |first: SocketAddr| SocketAddr::new("0.0.0.0".parse().unwrap(), first.port());
        for wanted in [
            vec![("a", first), ("b", second)],
            // The two inputs swap their addresses.
            vec![("a", second), ("b", first)],
            // One input moves to the address of another one that stops.
            vec![("a", first)],
            vec![("c", first)],
            // One input moves to the same port at all addresses, and back.
            vec![("c", all(first))],
            vec![("b", second), ("c", first)],
        ] {
            let inputs = wanted.iter().map(|(name, address)| At::wanted(name, *address)).collect();
            let prepared = listeners.prepare(inputs).unwrap();
            listeners.apply(prepared, &intake).await.unwrap();
            let running: Vec<&str> = listeners.running.keys().copied().collect();
            assert_eq!(running, wanted.iter().map(|(name, _)| *name).collect::<Vec<_>>());
            for (name, address) in &wanted {
                assert!(TcpStream::connect(address).is_ok(), "{name} {address}: {wanted:?}");
            }
        }
        // An address that another program uses is refused, and nothing has changed.
        assert!(listeners.prepare(vec![At::wanted("b", taken)]).is_err());
        assert!(TcpStream::connect(first).is_ok() && TcpStream::connect(second).is_ok());
        listeners.stop().await;
        assert!(TcpStream::connect(first).is_err() && TcpStream::connect(second).is_err());
    }

    #[tokio::test]
    async fn inputs_keep_their_addresses_if_the_new_ones_fail() {
        let folder = tempfile::tempdir().unwrap();
        let intake = intake(folder.path());
        let mut listeners = Listeners::default();
        let [first, second] = [(); 2].map(|()| free_address());
        let before = vec![At::wanted("a", first), At::wanted("b", second)];
        let prepared = listeners.prepare(before.clone()).unwrap();
        listeners.apply(prepared, &intake).await.unwrap();
        // Another program has the port at another address, so that listening on all addresses fails.
        let _other = TcpListener::bind(SocketAddr::new("127.0.0.2".parse().unwrap(), first.port())).unwrap();
        let all = SocketAddr::new("0.0.0.0".parse().unwrap(), first.port());
        // This machine has no such address (RFC 5737).
        let foreign = SocketAddr::new("192.0.2.1".parse().unwrap(), first.port());
        for (wanted, kind) in [
            (vec![At::wanted("a", all), At::wanted("b", second)], std::io::ErrorKind::AddrInUse),
            (vec![At::wanted("a", all)], std::io::ErrorKind::AddrInUse),
            (vec![At::wanted("b", all), At::wanted("c", second)], std::io::ErrorKind::AddrInUse),
            (vec![At::wanted("c", all), At::wanted("b", first)], std::io::ErrorKind::AddrInUse),
            (vec![At::wanted("a", foreign)], std::io::ErrorKind::AddrNotAvailable),
        ] {
            let tried = match listeners.prepare(wanted.clone()) {
                Ok(prepared) => listeners.apply(prepared, &intake).await,
                Err(error) => Err(error),
            };
            assert_eq!(tried.map_err(|error| error.source.kind()), Err(kind), "{wanted:?}");
            assert_eq!(listeners.running.keys().copied().collect::<Vec<_>>(), ["a", "b"], "{wanted:?}");
            for address in [first, second] {
                assert!(TcpStream::connect(address).is_ok(), "{address}: {wanted:?}");
            }
        }
        listeners.stop().await;
    }
}
