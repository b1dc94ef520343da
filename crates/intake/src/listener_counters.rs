//! Counters of inputs with sockets of their own, in addition to those of all inputs. Each event is logged as well.

use crate::{Input, InputCounters, Number, Refusal, RefusedReason};
use std::net::IpAddr;
use std::sync::{Arc, Mutex, OnceLock, PoisonError};

#[derive(Debug, Default)]
pub struct ListenerCounters {
    /// Connections and datagrams from addresses outside of `allow_from`.
    pub denied: Number,
    /// Connections that are open now.
    pub connections: Number,
    /// The maximum of concurrent connections; 0 for an input without connections.
    pub connections_max: Number,
    /// The number of times that all connections were in use, so that further ones waited.
    pub connections_full: Number,
    /// Datagrams that the kernel dropped because they were not read in time.
    pub kernel_drops: Number,
    /// The size of the kernel's buffer for datagrams, in bytes.
    pub buffer_granted: Number,
    /// The size that narthex asked the kernel for, in bytes.
    pub buffer_wanted: Number,
    /// Samples that were lost when narthex stopped: the log did not accept them, and the sender does not send them
    /// again.
    pub lost: Number,
    /// For an input that counts lines by type and errors by reason.
    pub protocol: OnceLock<Protocol>,
    state: Mutex<State>,
}

/// Counters of an input's protocol.
#[derive(Debug)]
pub struct Protocol {
    pub lines: ByName,
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

    pub fn add(&self, index: usize, by: u64) {
        if let Some(number) = self.numbers.get(index) {
            number.add(by);
        }
    }

    /// Adds to the counter of this name, if there is one.
    pub fn add_to(&self, name: &str, by: u64) {
        if let Some(index) = self.names.iter().position(|one| *one == name) {
            self.add(index, by);
        }
    }

    pub fn iter(&self) -> impl Iterator<Item = (&'static str, u64)> {
        self.names.iter().zip(&self.numbers).map(|(name, number)| (*name, number.get()))
    }
}

/// The state of an input's sockets.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub enum State {
    /// The configuration does not have this input.
    #[default]
    Off,
    Listening,
    /// The input has to listen but can't, for this reason.
    Down(String),
}

impl ListenerCounters {
    pub fn state(&self) -> State {
        self.state.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }

    pub fn set_state(&self, state: State) {
        *self.state.lock().unwrap_or_else(PoisonError::into_inner) = state;
    }

    /// Returns true if all connections are in use, so that further ones wait.
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

impl Input {
    /// The counters, created by the first call.
    pub fn listener_counters(&self) -> &ListenerCounters {
        self.counters().listener.get_or_init(ListenerCounters::default)
    }

    /// Counts an open connection as long as the value exists.
    pub fn connection_opened(&self) -> OpenConnection {
        self.listener_counters().connections.add(1);
        OpenConnection(self.intake().counters().of(self.name()))
    }

    /// Counts the event that all connections have come into use.
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

    /// Counts lines or datagrams that are left out before they are parsed. `reason` is the name of their counter if the
    /// input counts errors by reason.
    pub fn count_unread(&self, count: u64, reason: &str, why: &str) {
        self.counters().rejected.add(count);
        if let Some(protocol) = self.listener_counters().protocol.get() {
            protocol.errors.add_to(reason, count);
        }
        self.note_rejected(why);
        tracing::warn!(input = self.name(), samples = count, "{why}");
    }

    /// Stores the reason of rejected samples, which are counted already, for the summary: the sender gets no answer.
    pub fn note_rejected(&self, why: &str) {
        self.counters().refused.add(1);
        self.intake().counters().refused(self.name(), RefusedReason::Invalid, why);
    }

    /// Counts samples that the input had to discard, because its sender gets no answer.
    pub fn count_lost(&self, samples: usize, refusal: &Refusal) {
        self.listener_counters().lost.add(samples as u64);
        tracing::error!(input = self.name(), samples, error = %refusal, "samples were lost");
    }
}
