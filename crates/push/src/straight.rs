//! Pushes to a remote-write endpoint: by 2.0, or by 1.0 if the endpoint does not support 2.0.

use crate::credentials::{Credentials, with_flag};
use crate::entry::Entry;
use crate::entry::{NotSent, REQUEST_TIMEOUT};
use bytes::Bytes;
use formats::compress::{Compressor, Encoding};
use formats::remote_write::{Encoder, Protocol};
use formats::text::{Format, ParseOptions};
use http_client::Url;
use http_client::{ClientError, FailureKind};
use model::{Batch, Kinds};
use remote::RemoteWrite;
use remote::Verdict;
use remote::client::answer::{Answer, Resend, Sent, verdict};
use remote::client::{Client, Post};
use remote::stats::Counter;
use std::time::SystemTime;

#[derive(Debug)]
pub(crate) struct Straight {
    client: Client,
}

impl Straight {
    /// Makes a client without connecting to the endpoint.
    pub(crate) fn new(url: Url, credentials: Credentials) -> Result<Self, ClientError> {
        let mut config = RemoteWrite::to(url);
        credentials.give_to(&mut config);
        config.remote_timeout = REQUEST_TIMEOUT;
        Ok(Straight { client: Client::new(&config)? })
    }

    pub(crate) async fn send(&self, entry: &Entry) -> Result<(), NotSent> {
        let batch = batch(entry).map_err(NotSent::Never)?;
        for protocol in [Protocol::V2, Protocol::V1] {
            let body = encode(&batch, protocol).map_err(NotSent::Never)?;
            let post = Post { protocol, body, encoding: Encoding::Snappy, attempt: 0 };
            let answer = match self.client.post(post, SystemTime::now(), &Counter::default()).await {
                Ok(answer) => answer,
                Err(failure) => return Err(not_answered(self.client.ask_for_tls(failure).await)),
            };
            let mut kinds = Kinds::default();
            batch.points.iter().for_each(|point| kinds.count(&point.value));
            if let Some(result) = judge(&answer, Sent { protocol, kinds, whole: true }) {
                return result;
            }
        }
        Err(NotSent::Denied("it speaks neither remote write 2.0 nor 1.0".into()))
    }
}

/// The result of a request that got no answer.
pub(crate) fn not_answered(failure: http_client::Failure) -> NotSent {
    match failure.kind {
        FailureKind::Unreachable => NotSent::Later(failure.words),
        FailureKind::Protocol | FailureKind::Certificate | FailureKind::Credentials => {
            NotSent::Denied(with_flag(&failure.words))
        }
    }
}

/// The meaning of an answer. `None` means that the other version of the protocol is to be tried.
fn judge(answer: &Answer, sent: Sent) -> Option<Result<(), NotSent>> {
    let words = answer.shown_for(sent.kinds);
    Some(match verdict(answer, sent, false, Resend::default())? {
        Verdict::Delivered => Ok(()),
        Verdict::Failed { .. } => Err(NotSent::Failed(words)),
        Verdict::Denied => Err(NotSent::Denied(words)),
        Verdict::Partial { .. }
        | Verdict::Refused { .. }
        | Verdict::RefusedWhole
        | Verdict::HistogramsRefused
        | Verdict::TooLarge
        | Verdict::Resend
        | Verdict::Unsent => Err(NotSent::Never(words)),
    })
}

/// The batch of an entry's text, with its labels and time. An entry that was pushed by this version has been
/// checked already, so it gives no error.
fn batch(entry: &Entry) -> Result<Batch, String> {
    let extra: Vec<_> = entry.labels.iter().map(|(name, value)| (name.as_str(), value.as_str())).collect();
    let mut options = ParseOptions::new(Format::Text, entry.at);
    options.extra_labels = &extra;
    let parsed = formats::text::parse(entry.body.as_bytes(), &options).map_err(|error| error.to_string())?;
    parsed.whole().map_err(|rejected| rejected.to_string())
}

fn encode(batch: &Batch, protocol: Protocol) -> Result<Bytes, String> {
    let mut encoder = Encoder::new(protocol);
    // A request holds the points of a series together, ordered by time.
    let mut order: Vec<_> = batch.points.iter().collect();
    order.sort_by_key(|point| (batch.labels(point.series).as_bytes(), point.timestamp));
    let mut last = None;
    for point in order {
        let labels = batch.labels(point.series);
        if last != Some(labels.as_bytes()) {
            let metadata = batch.series.get(point.series as usize).map(|series| series.metadata);
            let metadata = metadata.and_then(|index| batch.metadata.get(index as usize));
            encoder.push_series(labels, metadata);
            last = Some(labels.as_bytes());
        }
        encoder.push_point(batch, point).map_err(|error| error.to_string())?;
    }
    if protocol == Protocol::V1 {
        for metadata in &batch.metadata {
            encoder.push_metadata(metadata);
        }
    }
    let mut compressor = Compressor::new();
    let compressed = compressor.encode(Encoding::Snappy, encoder.finish());
    Ok(Bytes::copy_from_slice(compressed.map_err(|error| error.to_string())?))
}
