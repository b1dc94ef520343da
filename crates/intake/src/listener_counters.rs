//! What inputs with sockets of their own count, beside what all inputs count. Each event is logged as well.

use crate::{Input, InputCounters, Number, Refusal};
use std::net::IpAddr;
use std::sync::{Arc, Mutex, OnceLock, PoisonError};

/// The counters of one input.
#[derive(Debug, Default)]
pub struct ListenerCounters {
    /// Connections and datagrams from addresses outside of `allow_from`.
    pub denied: Number,
    /// Connections that are open now.
    pub connections: Number,
    /// The most connections at a time; 0 for an input without any.
    pub connections_max: Number,
    /// Times that all connections were in use, so that further ones waited.
    pub connections_full: Number,
    /// Datagrams that the kernel dropped because they were not read in time.
    pub kernel_drops: Number,
    /// The size of the kernel's buffer for datagrams, in bytes.
    pub buffer_granted: Number,
    /// The size that the kernel was asked for, in bytes.
    pub buffer_wanted: Number,
    /// Samples that were lost when narthex stopped: the log did not accept them, and nobody else has them.
    pub lost: Number,
    /// For an input that counts lines by type and errors by reason.
    pub protocol: OnceLock<Protocol>,
    state: Mutex<State>,
}

/// What an input counts of its protocol.
#[derive(Debug)]
pub struct Protocol {
    /// By type.
    pub lines: ByName,
    /// By reason.
    pub errors: ByName,
}

/// A counter for each of a few names.
#[derive(Debug)]
pub struct ByName {
    names: &'static [&'static str],
    numbers: Box<[Number]>,
}

impl ByName {
    pub fn new(names: &'static [&'static str]) -> Self {
        ByName { names, numbers: names.iter().map(|_| Number::default()).collect() }
    }

    /// Adds to the counter of the name with this index.
    pub fn add(&self, index: usize, by: u64) {
        if let Some(number) = self.numbers.get(index) {
            number.add(by);
        }
    }

    /// All names with their counts.
    pub fn iter(&self) -> impl Iterator<Item = (&'static str, u64)> {
        self.names.iter().zip(&self.numbers).map(|(name, number)| (*name, number.get()))
    }
}

/// Whether an input listens.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub enum State {
    /// It is not to listen: the configuration does not have it.
    #[default]
    Off,
    Listening,
    /// It is to listen, and does not. Says why.
    Down(String),
}

impl ListenerCounters {
    /// Whether it listens now.
    pub fn state(&self) -> State {
        self.state.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }

    pub fn set_state(&self, state: State) {
        *self.state.lock().unwrap_or_else(PoisonError::into_inner) = state;
    }

    /// Whether all connections are in use, so that further ones wait.
    pub fn is_full(&self) -> bool {
        let most = self.connections_max.get();
        most > 0 && self.connections.get() >= most
    }
}

/// A connection that counts as open until this is dropped.
#[derive(Debug)]
pub struct OpenConnection(Arc<InputCounters>);

impl Drop for OpenConnection {
    fn drop(&mut self) {
        if let Some(counters) = self.0.listener() {
            counters.connections.subtract(1);
        }
    }
}

/// For inputs with sockets of their own.
impl Input {
    /// The counters; there from the first call on.
    pub fn listener_counters(&self) -> &ListenerCounters {
        self.counters().listener.get_or_init(ListenerCounters::default)
    }

    /// Counts a connection for as long as the value is held.
    pub fn connection_opened(&self) -> OpenConnection {
        self.listener_counters().connections.add(1);
        OpenConnection(self.intake().counters().of(self.name()))
    }

    /// Counts that all connections have come into use.
    pub fn count_connections_full(&self) {
        let counters = self.listener_counters();
        counters.connections_full.add(1);
        let connections = counters.connections_max.get();
        tracing::warn!(
            input = self.name(),
            connections,
            "all connections are in use: further ones wait until one ends"
        );
    }

    /// Counts a connection or datagram from an address that may not send.
    pub fn count_denied(&self, from: IpAddr) {
        self.listener_counters().denied.add(1);
        tracing::warn!(input = self.name(), %from, "an address outside of allow_from was refused");
    }

    /// Counts datagrams that the kernel dropped.
    pub fn count_kernel_drops(&self, datagrams: u64) {
        if datagrams > 0 {
            self.listener_counters().kernel_drops.add(datagrams);
            tracing::warn!(
                input = self.name(),
                count = datagrams,
                "the kernel dropped datagrams: they came faster than narthex read them"
            );
        }
    }

    /// Counts samples that the input had to give up, for a sender that does not hear of it.
    pub fn count_lost(&self, samples: usize, refusal: &Refusal) {
        self.listener_counters().lost.add(samples as u64);
        tracing::error!(input = self.name(), samples, error = %refusal, "samples were lost");
    }
}
