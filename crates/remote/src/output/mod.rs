//! The protocol of a destination: encodes and sends requests, and judges the answers. The rest of this crate
//! is independent of the protocol.

mod metadata;
mod remote_write;

pub(crate) use remote_write::RemoteWriteOutput;

use crate::outgoing::Outgoing;
use crate::refusal::Refusal;
use futures_util::future::BoxFuture;
use model::Kinds;
use std::time::Duration;
use write_client::verdict::Verdict;

/// A protocol to send samples to one destination. It is about as large as Prometheus' `WriteClient`, plus the
/// encoding.
pub(crate) trait Output {
    /// A request as it is sent.
    type Message: Send + 'static;
    /// The answer, or why there is none.
    type Reply: Send + 'static;

    /// Encodes the first of these points: as many as fit into `limit` bytes before compression, but at least
    /// one. Without a limit, all of them.
    fn encode<'a>(
        &mut self,
        points: impl Iterator<Item = (&'a Outgoing, u32)> + Clone,
        limit: Option<usize>,
        now: Duration,
    ) -> Encoded<Self::Message>;

    /// Sends a request that has failed `tries` times before.
    fn send(&self, message: &Self::Message, tries: u32) -> BoxFuture<'static, Self::Reply>;

    /// Returns what a reply means for its request. `whole` says whether the request was a whole batch.
    fn judge(
        &mut self,
        sent: &Encoded<Self::Message>,
        whole: bool,
        reply: &Self::Reply,
        now: Duration,
    ) -> Judged;

    /// Returns the address of the requests for people, without credentials.
    fn endpoint(&self) -> String;
}

#[derive(Debug)]
pub struct Encoded<M> {
    /// `None` if none of the points can be sent.
    pub(crate) message: Option<M>,
    /// Number of points of the request. They are the first ones of those given.
    pub(crate) taken: usize,
    /// The same points, by kind.
    pub(crate) kinds: Kinds,
    /// Points among them that this version of the protocol can't carry.
    pub(crate) unsupported: Kinds,
    /// Points among them that are sent without their start timestamps, because this version has none.
    pub(crate) without_start: u64,
    /// The newest timestamp of the request, in milliseconds.
    pub(crate) newest: Option<i64>,
    /// Compressed bytes.
    pub(crate) bytes: usize,
    /// Bytes before compression.
    pub(crate) plain_bytes: usize,
    /// Whether the body is the one that a client sent, instead of one encoded here.
    pub(crate) is_original: bool,
}

impl<M> Encoded<M> {
    /// Returns the points that were sent, by kind.
    pub(crate) fn sent(&self) -> Kinds {
        self.kinds.minus(self.unsupported)
    }
}

/// What a reply means, and its words.
#[derive(Debug)]
pub(crate) struct Judged {
    pub(crate) verdict: Verdict,
    /// For people, for example `400 Bad Request: out of bounds`.
    pub(crate) words: String,
    /// The reason of a refusal, as far as the words tell it.
    pub(crate) refusal: Refusal,
}
