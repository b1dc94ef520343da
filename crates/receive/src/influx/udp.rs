//! Lines in datagrams. Nothing is acknowledged; a string may not contain a line end.

use super::{NAME, Settings};
use crate::lines::{Places, ReadLines, Shared, Sink, Sockets};
use influx::{Lines, Options};
use intake::{BindError, Bound, Endpoint, Exposure, Input, Listener, Running, Stop};
use std::net::SocketAddr;
use std::sync::Arc;
use tokio::sync::watch;

/// The name of the input.
pub const UDP: &str = "influx_udp";
/// The key of the address.
const LISTEN: &str = "influx.listen_udp";
/// What is reserved for lines, as a multiple of their bytes: a line repeats its labels for each field.
const WORK: usize = 16;

/// The settings of the input.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct InfluxUdp {
    pub listen: SocketAddr,
    pub exposure: Exposure,
    pub settings: Settings,
}

impl InfluxUdp {
    fn places(&self) -> Places {
        Places { udp: Some((LISTEN, self.listen)), ..Places::default() }
    }
}

impl Listener for InfluxUdp {
    fn name(&self) -> &'static str {
        UDP
    }

    fn section(&self) -> &'static str {
        NAME
    }

    fn endpoints(&self) -> Vec<Endpoint> {
        self.places().endpoints()
    }

    fn key(&self, _: &Endpoint) -> String {
        LISTEN.into()
    }

    fn exposure(&self) -> &Exposure {
        &self.exposure
    }

    fn configure(&self, input: &Input) {
        if let Some(state) = input.state::<State>() {
            state.0.send_replace(self.settings.clone());
        }
    }

    fn bind(&self) -> Result<Box<dyn Bound>, BindError> {
        Ok(Box::new(Datagrams(self.places().bind()?)))
    }
}

/// The settings, which a reload changes while the socket stays open.
#[derive(Debug)]
struct State(watch::Sender<Settings>);

impl Default for State {
    fn default() -> Self {
        State(watch::Sender::new(Settings::default()))
    }
}

/// The input with its open socket.
struct Datagrams(Sockets);

impl Bound for Datagrams {
    fn endpoints(&self) -> Vec<Endpoint> {
        self.0.endpoints()
    }

    fn run(self: Box<Self>, input: Input, exposure: watch::Receiver<Arc<Exposure>>, stop: Stop) -> Running {
        Box::pin(async move {
            let Some(state) = input.state::<State>() else {
                model::invariant!(false, "the state of the input has one type", input = UDP);
                return;
            };
            let sink = Sink::Append { read: reader(input.clone(), state), work: WORK };
            self.0.run(Shared { input, sink, exposure, stop }).await;
        })
    }
}

fn reader(input: Input, state: Arc<State>) -> Arc<ReadLines> {
    Arc::new(move |recogniser, text, now_ms| {
        let settings = state.0.borrow().clone();
        let options = Options {
            precision: settings.precision,
            value_field: settings.value_field,
            label: None,
            multiline_strings: false,
            now_ms,
            limits: recogniser.limits(),
        };
        let mut left_out = Default::default();
        let recognised = recogniser.read("", |known| {
            // Datagrams are read in small batches, so there is only one part.
            let part = Lines::new(text).read(&options, usize::MAX, known);
            left_out = part.left_out;
            part.parsed
        });
        super::count_left_out(&input, left_out);
        recognised
    })
}
