//! Remote write as an [`Output`]: negotiates the version, and sends metadata in separate requests in 1.0.

use super::metadata::{self, MetadataSender};
use crate::batch::{Batcher, REQUEST_BYTES, REQUEST_BYTES_MIN};
use crate::client::answer::{self, Answer, Resend, Sent};
use crate::client::protocol::{Negotiator, Next};
use crate::client::{Client, Post};
use crate::config::RemoteWrite;
use crate::outgoing::Outgoing;
use crate::output::{Encoded, Judged, Output};
use crate::refusal::Refusal;
use crate::stats::Stats;
use formats::remote_write::Protocol;
use futures_util::future::BoxFuture;
use http_client::{ClientError, Failure};
use model::Clock;
use std::sync::Arc;
use std::time::{Duration, SystemTime, UNIX_EPOCH};
use storage::Storage;
use write_client::verdict::{Reached, Verdict};

/// How often files with credentials, certificates and keys are read again.
const REFRESH_INTERVAL: Duration = Duration::from_secs(5);

pub(crate) struct RemoteWriteOutput {
    client: Client,
    storage: Storage,
    clock: Arc<dyn Clock>,
    stats: Arc<Stats>,
    batcher: Batcher,
    negotiator: Negotiator,
    resend: Resend,
    /// Most bytes of a request before compression. A 413 lowers it.
    request_bytes: usize,
    metadata: MetadataSender,
    refresh_at: Duration,
}

impl RemoteWriteOutput {
    pub(crate) fn new(
        config: &RemoteWrite,
        client: Client,
        storage: Storage,
        clock: Arc<dyn Clock>,
        stats: Arc<Stats>,
    ) -> Self {
        RemoteWriteOutput {
            client,
            storage,
            clock,
            stats,
            batcher: Batcher::default(),
            negotiator: Negotiator::new(config.protobuf_message.map(Protocol::from)),
            resend: Resend {
                after_429: config.queue_config.retry_on_http_429,
                after_4xx: config.retry_on_http_4xx,
            },
            request_bytes: REQUEST_BYTES,
            metadata: MetadataSender::new(config.metadata_config.clone()),
            refresh_at: Duration::ZERO,
        }
    }

    /// Reads files with credentials again, if that is due. Returns true if the credentials have changed. To be
    /// called every second.
    pub(crate) fn refresh(&mut self, now: Duration) -> Result<bool, ClientError> {
        if now < self.refresh_at {
            return Ok(false);
        }
        self.refresh_at = now + REFRESH_INTERVAL;
        self.client.refresh()
    }

    /// Returns a future that sends metadata, if that is due. To be called every second.
    pub(crate) fn metadata_to_send(&mut self, now: Duration) -> Option<BoxFuture<'static, ()>> {
        let is_needed = self.stats.protocol() == Some(Protocol::V1);
        self.metadata.due(now).filter(|_| is_needed).map(|per_request| {
            self.metadata.begin(now);
            let all = self.storage.all_metadata();
            metadata::send(self.client.clone(), all, per_request, self.stats.clone())
        })
    }

    /// Notes that the requests with metadata have ended.
    pub(crate) fn metadata_sent(&mut self) {
        self.metadata.end();
    }

    /// Handles a receiver that did not understand this version of the protocol.
    fn not_understood(
        &mut self,
        protocol: Protocol,
        status: u16,
        words: &mut String,
        now: Duration,
    ) -> Verdict {
        match self.negotiator.not_understood(protocol, now) {
            Next::Resend => {
                let to = self.negotiator.current().name();
                tracing::info!(url = %self.client.url(), answer = %words, to, "another version of the protocol");
                Verdict::Resend
            }
            Next::Hold if self.resend.is_final(status) => Verdict::RefusedWhole,
            Next::Hold => {
                words.push_str(" (it understands no version of remote write that may be sent)");
                Verdict::Denied
            }
        }
    }
}

impl Output for RemoteWriteOutput {
    type Message = Post;
    type Reply = Result<Answer, Failure>;

    fn encode<'a>(
        &mut self,
        points: impl Iterator<Item = (&'a Outgoing, u32)> + Clone,
        limit: Option<usize>,
        now: Duration,
    ) -> Encoded<Post> {
        let protocol = self.negotiator.choose(now);
        let limit = limit.map_or(usize::MAX, |limit| limit.min(self.request_bytes));
        let storage = &self.storage;
        self.batcher.encode(protocol, points, limit, |name| storage.metadata(name))
    }

    fn send(&self, message: &Post, tries: u32) -> BoxFuture<'static, Self::Reply> {
        let (client, stats) = (self.client.clone(), self.stats.clone());
        let now = u64::try_from(self.clock.now_ms()).unwrap_or_default();
        let now: SystemTime = UNIX_EPOCH + Duration::from_millis(now);
        let post = Post { attempt: tries, ..message.clone() };
        Box::pin(async move { client.post(post, now, &stats.bytes).await })
    }

    fn judge(&mut self, sent: &Encoded<Post>, whole: bool, reply: &Self::Reply, now: Duration) -> Judged {
        let answer = match reply {
            Ok(answer) => answer,
            Err(failure) => {
                let reached = if failure.is_sent { Reached::NoAnswer } else { Reached::Nothing };
                let verdict = Verdict::Failed { reached, retry_after: None };
                return Judged { verdict, words: failure.to_string(), refusal: Refusal::of(0, "") };
            }
        };
        let mut words = answer.shown_for(sent.sent());
        let protocol = sent.message.as_ref().map_or(Protocol::V2, |post| post.protocol);
        let about = Sent { protocol, kinds: sent.sent(), whole };
        let verdict = match answer::verdict(answer, about, self.negotiator.is_confirmed(), self.resend) {
            Some(verdict) => verdict,
            None => self.not_understood(protocol, answer.status, &mut words, now),
        };
        match verdict {
            Verdict::Delivered | Verdict::Partial { .. } => {
                self.negotiator.understood(protocol);
                self.stats.set_protocol(protocol);
            }
            Verdict::Refused { .. } => self.negotiator.understood(protocol),
            Verdict::TooLarge => {
                let half = (sent.plain_bytes.min(self.request_bytes) / 2).max(REQUEST_BYTES_MIN);
                self.request_bytes = half.min(self.request_bytes);
            }
            _ => {}
        }
        Judged { verdict, words, refusal: Refusal::of(answer.status, &answer.words) }
    }

    fn endpoint(&self) -> String {
        self.client.url().to_string()
    }
}
