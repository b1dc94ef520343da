//! The compression for a destination: snappy, as the protocol says, or zstd if VictoriaMetrics offers it,
//! which needs much fewer bytes.
//!
//! Only VictoriaMetrics is asked: a receiver that sends VictoriaMetrics' `X-Server-Hostname` in its answer to
//! a 1.0 request. The question is the URL parameter by which VictoriaMetrics' own agents recognise each
//! other. A receiver gets zstd only if it answers yes. If it still refuses a request in zstd (415, 400), this
//! request and the following ones are sent in snappy until it is asked again.

use bytes::Bytes;
use formats::compress::{Compressor, Decompressor, Encoding};
use formats::remote_write::Protocol;
use std::sync::Mutex;
use std::time::{Duration, Instant};

/// How long a receiver that does not offer zstd, or refused it, is not asked again.
pub const ASK_INTERVAL: Duration = Duration::from_secs(15 * 60);
/// The longest time of the answer.
pub const ASK_TIMEOUT: Duration = Duration::from_secs(5);
/// The question, as a URL parameter, and the answer that means yes.
pub(crate) const QUESTION: &str = "get_vm_proto_version=1";
pub(crate) const YES: &[u8] = b"1";
/// VictoriaMetrics sends this header with each answer.
pub(crate) const SIGN: &str = "x-server-hostname";

/// The compression that was agreed on with one destination.
#[derive(Debug, Default)]
pub(crate) struct Compression(Mutex<State>);

#[derive(Debug, Default)]
struct State {
    zstd: bool,
    ask_at: Option<Instant>,
}

impl Compression {
    fn state(&self) -> std::sync::MutexGuard<'_, State> {
        self.0.lock().unwrap_or_else(std::sync::PoisonError::into_inner)
    }

    /// Returns the compression for a request of this version.
    pub(crate) fn encoding(&self, protocol: Protocol) -> Encoding {
        if protocol == Protocol::V1 && self.state().zstd { Encoding::Zstd } else { Encoding::Snappy }
    }

    /// Returns true if it is time to ask. Only one request gets true.
    pub(crate) fn is_to_ask(&self, now: Instant) -> bool {
        let mut state = self.state();
        let due = !state.zstd && state.ask_at.is_none_or(|at| now >= at);
        if due {
            state.ask_at = Some(now + ASK_INTERVAL);
        }
        due
    }

    /// Notes that the receiver offers zstd.
    pub(crate) fn offered(&self) {
        self.state().zstd = true;
    }

    /// Notes that the receiver accepted a request in snappy that it had refused in zstd.
    pub(crate) fn refused(&self, now: Instant) {
        *self.state() = State { zstd: false, ask_at: Some(now + ASK_INTERVAL) };
    }
}

/// Most bytes of a body before compression. No request has more.
const PLAIN_MAX: usize = 256 << 20;

/// Changes the compression of a body.
pub(crate) fn recode(body: &Bytes, from: Encoding, to: Encoding) -> Option<Bytes> {
    if from == to {
        return Some(body.clone());
    }
    let mut plain = Vec::new();
    Decompressor::new().decode(from, body, PLAIN_MAX, &mut plain).ok()?;
    Compressor::new().encode(to, &plain).ok().map(Bytes::copy_from_slice)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn zstd_is_used_only_if_offered_and_for_1_0() {
        let compression = Compression::default();
        let start = Instant::now();
        assert_eq!(compression.encoding(Protocol::V1), Encoding::Snappy);
        assert!(compression.is_to_ask(start));
        assert!(!compression.is_to_ask(start), "one request asks");
        assert!(compression.is_to_ask(start + ASK_INTERVAL), "now and then again");
        compression.offered();
        assert_eq!(compression.encoding(Protocol::V1), Encoding::Zstd);
        assert_eq!(compression.encoding(Protocol::V2), Encoding::Snappy);
        assert!(!compression.is_to_ask(start + ASK_INTERVAL * 2), "it is agreed on");
        compression.refused(start);
        assert_eq!(compression.encoding(Protocol::V1), Encoding::Snappy);
        assert!(!compression.is_to_ask(start));
        assert!(compression.is_to_ask(start + ASK_INTERVAL));
    }

    #[test]
    fn recoding_keeps_the_body() {
        let plain = b"some bytes, some bytes, some bytes";
        let both = [Encoding::Snappy, Encoding::Zstd];
        for (from, to) in both.into_iter().flat_map(|from| both.map(|to| (from, to))) {
            let body = Bytes::copy_from_slice(Compressor::new().encode(from, plain).unwrap());
            let other = recode(&body, from, to).unwrap();
            assert_eq!(other == body, from == to);
            let mut back = Vec::new();
            Decompressor::new().decode(to, &other, 1000, &mut back).unwrap();
            assert_eq!(back, plain);
        }
    }
}
