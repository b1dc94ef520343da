//! Where samples go: how they are encoded, sent, and what the answers mean. Everything else in this crate is
//! independent of the protocol.

mod metadata;
mod remote_write;

pub(crate) use remote_write::RemoteWriteOutput;

use crate::outgoing::Outgoing;
use crate::refusal::Refusal;
use futures_util::future::BoxFuture;
use model::Kinds;
use std::time::Duration;
use write_client::verdict::Verdict;

/// A protocol in which samples are sent to one destination: about as large as Prometheus' `WriteClient`, with the
/// encoding.
pub(crate) trait Output {
    /// A request in the form in which it is sent.
    type Message: Send + 'static;
    /// What came back: an answer, or why there is none.
    type Reply: Send + 'static;

    /// Encodes the first of these points: as many as fit into `limit` bytes before compression, but at least one.
    /// Without a limit, all of them.
    fn encode<'a>(
        &mut self,
        points: impl Iterator<Item = (&'a Outgoing, u32)> + Clone,
        limit: Option<usize>,
        now: Duration,
    ) -> Encoded<Self::Message>;

    /// Sends a request that has failed `tries` times before.
    fn send(&self, message: &Self::Message, tries: u32) -> BoxFuture<'static, Self::Reply>;

    /// What a reply means for its request. `whole` says that the request was a whole batch.
    fn judge(
        &mut self,
        sent: &Encoded<Self::Message>,
        whole: bool,
        reply: &Self::Reply,
        now: Duration,
    ) -> Judged;

    /// Where requests go, as it is shown: without credentials.
    fn endpoint(&self) -> String;
}

/// An encoded request.
#[derive(Debug)]
pub struct Encoded<M> {
    /// `None` if none of the points can be sent.
    pub(crate) message: Option<M>,
    /// How many points it holds: the first so many of those that were given.
    pub(crate) taken: usize,
    /// Of which kinds.
    pub(crate) kinds: Kinds,
    /// Points among them that this version of the protocol can't carry.
    pub(crate) unsupported: Kinds,
    /// Points among them that are sent without their start timestamp, because this version has none.
    pub(crate) without_start: u64,
    /// The newest timestamp in it, in milliseconds.
    pub(crate) newest: Option<i64>,
    /// Bytes as sent.
    pub(crate) bytes: usize,
    /// Bytes before compression.
    pub(crate) plain_bytes: usize,
    /// Whether it is what a client sent us, rather than encoded here.
    pub(crate) is_original: bool,
}

impl<M> Encoded<M> {
    /// The points that were sent.
    pub(crate) fn sent(&self) -> Kinds {
        self.kinds.minus(self.unsupported)
    }
}

/// What a reply means, and in which words it was said.
#[derive(Debug)]
pub(crate) struct Judged {
    pub(crate) verdict: Verdict,
    /// For people: `400 Bad Request: out of bounds`.
    pub(crate) words: String,
    /// What the words say about what is refused.
    pub(crate) refusal: Refusal,
}
