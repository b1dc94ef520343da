//! StatsD and DogStatsD, over UDP, TCP and unix datagrams. Off unless the section `statsd` is there.
//!
//! Lines change totals in memory. Each interval the totals that changed are appended to the log and to the journal of
//! totals, in one commit. So a kill loses at most the lines of one interval, and totals go on after it.

use crate::lines::{Places, Shared, Sink, Sockets};
use intake::{BindError, Bound, Endpoint, Exposure, Input, Listener, Protocol, Refusal, Running, Stop};
use statsd::{Aggregator, Counts, ERRORS, LINES, Options};
use std::net::SocketAddr;
use std::path::PathBuf;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;
use tokio::sync::{OnceCell, oneshot, watch};
use totals::Accumulators;

/// The section, and the name of the input and of its journal.
pub const NAME: &str = "statsd";
/// The default of [`Statsd::unix_mode`].
pub const UNIX_MODE: u32 = 0o666;
/// How long the last flush is tried when narthex stops, while the log accepts nothing.
const STOP_DEADLINE: Duration = Duration::from_secs(5);
/// The pause before something that failed is tried again.
const RETRY: Duration = Duration::from_secs(1);

/// The settings of the input.
#[derive(Debug, Clone, PartialEq)]
pub struct Statsd {
    pub udp: Option<SocketAddr>,
    pub tcp: Option<SocketAddr>,
    pub unixgram: Option<PathBuf>,
    /// The mode of the unix socket.
    pub unix_mode: u32,
    pub exposure: Exposure,
    pub options: Arc<Options>,
    pub totals: totals::Settings,
}

impl Statsd {
    fn places(&self) -> Places {
        Places {
            tcp: self.tcp.map(|address| ("statsd.listen_tcp", address)),
            udp: self.udp.map(|address| ("statsd.listen_udp", address)),
            unixgram: self.unixgram.clone().map(|path| ("statsd.listen_unixgram", path)),
            unix_mode: self.unix_mode,
        }
    }
}

impl Listener for Statsd {
    fn name(&self) -> &'static str {
        NAME
    }

    fn endpoints(&self) -> Vec<Endpoint> {
        self.places().endpoints()
    }

    fn key(&self, endpoint: &Endpoint) -> String {
        let key = match endpoint {
            Endpoint::Tcp(_) => "statsd.listen_tcp",
            Endpoint::Udp(_) => "statsd.listen_udp",
            Endpoint::Unixgram(_) => "statsd.listen_unixgram",
        };
        key.into()
    }

    fn exposure(&self) -> &Exposure {
        &self.exposure
    }

    fn configure(&self, input: &Input) {
        if let Some(state) = input.state::<State>() {
            state
                .settings
                .send_replace(Some(Settings { options: self.options.clone(), totals: self.totals.clone() }));
        }
    }

    fn bind(&self) -> Result<Box<dyn Bound>, BindError> {
        Ok(Box::new(Lines(self.places().bind()?)))
    }
}

/// Settings that a reload changes while the sockets stay open.
#[derive(Debug, Clone)]
struct Settings {
    options: Arc<Options>,
    totals: totals::Settings,
}

/// What outlives the sockets.
#[derive(Debug)]
struct State {
    settings: watch::Sender<Option<Settings>>,
    aggregator: Mutex<Aggregator>,
    accumulators: OnceCell<Accumulators>,
}

impl Default for State {
    fn default() -> Self {
        State {
            settings: watch::Sender::new(None),
            aggregator: Mutex::default(),
            accumulators: OnceCell::new(),
        }
    }
}

impl State {
    fn aggregator(&self) -> MutexGuard<'_, Aggregator> {
        self.aggregator.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// The totals, which are read back from the disk at the first call. `None`: the input has to stop.
    async fn accumulators(&self, input: &Input, stop: &mut Stop) -> Option<&Accumulators> {
        loop {
            let settings = self.settings.borrow().as_ref().map(|settings| settings.totals.clone());
            let default =
                totals::Settings { limits: totals::Limits::default(), begin: totals::Begin::WithZero };
            let settings = settings.unwrap_or(default);
            let open = || Accumulators::open(input.clone(), NAME, input.intake().clock(), settings);
            match self.accumulators.get_or_try_init(open).await {
                Ok(accumulators) => return Some(accumulators),
                Err(error) => tracing::error!(input = NAME, %error, "the totals can't be read back yet"),
            }
            tokio::select! {
                () = stop.requested() => return None,
                () = tokio::time::sleep(RETRY) => {}
            }
        }
    }

    /// Applies lines to the totals.
    fn apply(&self, input: &Input, text: &[u8]) {
        let Some(accumulators) = self.accumulators.get() else { return };
        let counters = input.counters();
        let protocol = protocol(input);
        let counts = Counts {
            lines: &protocol.lines,
            errors: &protocol.errors,
            rejected: &counters.rejected,
            dropped: &counters.dropped,
            refused: &|metric| input.count_refused_series(metric),
            last: Default::default(),
        };
        let rejected = counters.rejected.get();
        let settings = input.intake().settings();
        let own = settings.of(input.section());
        let options = self.settings.borrow().as_ref().map(|settings| settings.options.clone());
        let mut aggregator = self.aggregator();
        aggregator.set(&options.unwrap_or_default(), own.mapping.as_ref(), settings.limits);
        aggregator.apply(text, &mut accumulators.totals(), accumulators.now(), &counts);
        if let Some(example) = aggregator.take_example() {
            let samples = counters.rejected.get().saturating_sub(rejected);
            input.note_rejected(&example);
            tracing::warn!(input = NAME, samples, example, "lines were rejected");
        }
    }

    /// Appends what has changed since the last flush.
    async fn flush(&self, input: &Input) -> Result<(), Refusal> {
        let Some(accumulators) = self.accumulators.get() else { return Ok(()) };
        let direct = {
            let mut aggregator = self.aggregator();
            aggregator.before_flush(&mut accumulators.totals(), accumulators.now());
            aggregator.take_direct()
        };
        if let Some(batch) = direct {
            let samples = batch.points.len();
            match input.append_own(batch).await {
                Ok(outcome) if outcome.rejected.is_empty() => {}
                Ok(outcome) => {
                    tracing::warn!(input = NAME, rejected = %outcome.rejected, "lines were rejected")
                }
                Err(refusal) => input.count_lost(samples, &refusal),
            }
        }
        accumulators.flush().await.map_err(|error| {
            let refusal = Refusal::from(error);
            input.count_refusal(&refusal);
            refusal
        })
    }
}

fn protocol(input: &Input) -> &Protocol {
    let counters = input.listener_counters();
    counters
        .protocol
        .get_or_init(|| Protocol { lines: intake::ByName::new(&LINES), errors: intake::ByName::new(&ERRORS) })
}

/// The input with its open sockets.
struct Lines(Sockets);

impl Bound for Lines {
    fn endpoints(&self) -> Vec<Endpoint> {
        self.0.endpoints()
    }

    fn run(
        self: Box<Self>,
        input: Input,
        exposure: watch::Receiver<Arc<Exposure>>,
        mut stop: Stop,
    ) -> Running {
        Box::pin(async move {
            let Some(state) = input.state::<State>() else {
                model::invariant!(false, "the state of the input has one type", input = NAME);
                return;
            };
            protocol(&input);
            if state.accumulators(&input, &mut stop).await.is_none() {
                return;
            }
            let apply = {
                let (state, input) = (state.clone(), input.clone());
                move |text: &[u8]| state.apply(&input, text)
            };
            let shared = Shared { input: input.clone(), sink: Sink::Apply(Arc::new(apply)), exposure, stop };
            let (ended, has_ended) = oneshot::channel();
            let reading = async {
                self.0.run(shared).await;
                let _ = ended.send(());
            };
            tokio::join!(reading, flush_each_interval(&state, &input, has_ended));
            flush_at_the_end(&state, &input).await;
        })
    }
}

/// Flushes until all has been read. A flush that has begun is not broken off.
async fn flush_each_interval(state: &State, input: &Input, mut has_ended: oneshot::Receiver<()>) {
    let mut settings = state.settings.subscribe();
    loop {
        let given = settings.borrow_and_update().clone();
        if let (Some(given), Some(accumulators)) = (&given, state.accumulators.get()) {
            accumulators.set(given.totals.clone());
        }
        let interval = given.map_or(Options::INTERVAL, |given| given.options.interval);
        tokio::select! {
            () = tokio::time::sleep(interval) => {
                if let Err(refusal) = state.flush(input).await {
                    tracing::warn!(input = NAME, error = %refusal, "totals were not appended; they are part of the next interval");
                }
            }
            Ok(()) = settings.changed() => {}
            _ = &mut has_ended => return,
        }
    }
}

/// All lines that were read are appended before the input ends.
async fn flush_at_the_end(state: &State, input: &Input) {
    let flushing = async {
        while state.flush(input).await.is_err_and(|refusal| refusal.retry_after().is_some()) {
            tokio::time::sleep(RETRY).await;
        }
    };
    if tokio::time::timeout(STOP_DEADLINE, flushing).await.is_err() {
        tracing::error!(input = NAME, "the lines of the last interval are lost: the log accepted nothing");
    }
}
