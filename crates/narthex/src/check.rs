//! `narthex check`: says what a configuration file would do. With `--send` it also tests whether its
//! destinations accept a sample.

use crate::config::{self, Config};
use crate::configure::NOWHERE;
use crate::describe::sentences;
use bytes::Bytes;
use command::Failure;
use command::hostname;
use command::say;
use formats::compress::{Compressor, Encoding};
use formats::remote_write::{Encoder, Protocol};
use http_server::security::Policy;
use model::{Kinds, Labels};
use remote::RemoteWrite;
use remote::Verdict;
use remote::client::answer::{Answer, Resend, Sent, verdict};
use remote::client::{Client, Post};
use remote::stats::Counter;
use std::collections::BTreeMap;
use std::net::SocketAddr;
use std::path::Path;
use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

/// The paths of remote write, for the message about a URL with another path.
macro_rules! paths {
    () => {
        "remote write is at /api/v1/write (Prometheus, VictoriaMetrics), /api/v1/push (Mimir, Cortex) or \
         /api/v1/receive (Thanos)"
    };
}

/// The series of the sample that is sent.
const METRIC: &str = "narthex_check";

pub(crate) fn check(file: &Path) -> Result<Config, Failure> {
    let name = config::shown(file);
    let (config, mut warnings) = config::load(file, &|name| std::env::var(name).ok())?;
    if config.destinations.is_empty() {
        warnings.push(format!("{name}: {NOWHERE}; it can be run with --to URL only"));
    }
    for warning in warnings {
        say(format_args!("warning: {warning}"));
    }
    // The listen address is not part of the file. Whether certificates and tokens can be read does not depend
    // on it.
    let address = SocketAddr::from(([127, 0, 0, 1], 0));
    let policy = Policy { settings: config.security.clone(), address, allow_unauthenticated: false };
    policy.load().map_err(Failure::usage)?;
    for sentence in sentences(&config, "node", &hostname()) {
        say(format_args!("{sentence}"));
    }
    say(format_args!("{name} is valid"));
    Ok(config)
}

/// `narthex check --send FILE`. All destinations are tested at the same time.
pub(crate) async fn check_and_send(file: &Path, dry: bool) -> Result<(), Failure> {
    let config = check(file)?;
    let destinations: Vec<RemoteWrite> =
        config.destinations.iter().flat_map(remote::members::destinations).collect();
    if destinations.is_empty() {
        return Err(Failure::usage(format!("{}: {NOWHERE}", config::shown(file))));
    }
    let tries = destinations.iter().map(|entry| try_one(entry, &config.external_labels, dry));
    let results = futures_util::future::join_all(tries).await;
    let mut failed = 0;
    for (entry, result) in destinations.iter().zip(results) {
        let url = entry.url.redacted();
        let name = entry.name.as_ref().map(|name| format!("{name} ")).unwrap_or_default();
        match result {
            Ok(words) => say(format_args!("{name}{url}: {words}")),
            Err(words) => {
                failed += 1;
                say(format_args!("{name}{url}: FAILED: {words}"));
            }
        }
    }
    match failed {
        0 => Ok(()),
        failed => Err(Failure::running(format!("{failed} of {} destinations failed", destinations.len()))),
    }
}

/// Sends one sample, or none if `dry`, to one destination. Returns the message about it.
async fn try_one(
    entry: &RemoteWrite,
    labels: &BTreeMap<String, String>,
    dry: bool,
) -> Result<String, String> {
    let client = Client::new(entry).map_err(|error| error.to_string())?;
    let versions = match entry.protobuf_message {
        Some(pinned) => vec![Protocol::from(pinned)],
        None => vec![Protocol::V2, Protocol::V1],
    };
    let mut last = String::new();
    for protocol in versions {
        let body = body(protocol, labels, dry).map_err(|error| error.to_string())?;
        let post = Post { protocol, body, encoding: Encoding::Snappy, attempt: 0 };
        let began = Instant::now();
        let answer = client.post(post, SystemTime::now(), &Counter::default()).await;
        let answer = answer.map_err(|failure| match failure.advice {
            Some(advice) => format!("{failure}; {advice}"),
            None => failure.to_string(),
        })?;
        match judge(&answer, protocol, kinds(dry)) {
            Judgement::Accepted => {
                let what = if dry { "a request without samples" } else { "one sample" };
                let (version, took) = (protocol.name(), milliseconds(began.elapsed()));
                return Ok(format!("accepted {what} by remote write {version} in {took} ms"));
            }
            Judgement::OtherVersion => last = answer.shown_for(kinds(dry)),
            Judgement::Failed(advice) => {
                return Err(format!("{}; {advice}", answer.shown_for(kinds(dry))));
            }
        }
    }
    let paths = paths!();
    Err(format!(
        "{last}; it understands no version of remote write that may be sent; at the right path? {paths}"
    ))
}

/// What an answer shows about the destination.
#[derive(Debug, PartialEq, Eq)]
enum Judgement {
    Accepted,
    OtherVersion,
    /// The destination did not accept; the text says what to fix.
    Failed(&'static str),
}

/// The number of points that are sent.
fn kinds(dry: bool) -> Kinds {
    Kinds { samples: u64::from(!dry), ..Kinds::default() }
}

fn judge(answer: &Answer, protocol: Protocol, kinds: Kinds) -> Judgement {
    let sent = Sent { protocol, kinds, whole: true };
    let Some(verdict) = verdict(answer, sent, false, Resend::default()) else {
        return Judgement::OtherVersion;
    };
    match verdict {
        Verdict::Delivered => Judgement::Accepted,
        Verdict::Denied => Judgement::Failed(match answer.status {
            401 => "check the user and password, or the token",
            403 => "these credentials may not write here: check the permissions, and the tenant's header",
            404 => concat!("nothing receives remote write at this path: ", paths!()),
            405 => {
                concat!("this path accepts no POST: ", paths!(), ", and the receiver must have it enabled")
            }
            407 => "the proxy asks for credentials: check proxy_url",
            _ => concat!("this is no receiver of remote write: ", paths!()),
        }),
        Verdict::Failed { .. } if answer.status == 429 => {
            Judgement::Failed("it limits the rate: try again later")
        }
        Verdict::Failed { .. } => {
            Judgement::Failed("it is reachable and has a problem of its own: see its log")
        }
        _ if kinds.total() == 0 => {
            Judgement::Failed("it is reachable and refuses a request without samples: try without --dry")
        }
        _ => Judgement::Failed(
            "it is reachable and refuses the sample: see its limits and this machine's clock",
        ),
    }
}

fn body(
    protocol: Protocol,
    external: &BTreeMap<String, String>,
    dry: bool,
) -> Result<Bytes, formats::compress::CompressError> {
    let mut encoder = Encoder::new(protocol);
    if !dry {
        let instance = hostname();
        let own = [("__name__", METRIC), ("instance", &instance), ("job", "narthex")];
        let mut pairs: BTreeMap<&str, &str> =
            external.iter().map(|(name, value)| (name.as_str(), value.as_str())).collect();
        pairs.extend(own);
        let labels = Labels::from_pairs(pairs);
        let since = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
        encoder.push_series(labels.as_ref(), None);
        encoder.push_float(i64::try_from(since.as_millis()).unwrap_or(i64::MAX), 0, 1.0);
    }
    Compressor::new().encode(Encoding::Snappy, encoder.finish()).map(Bytes::copy_from_slice)
}

fn milliseconds(duration: Duration) -> u128 {
    duration.as_millis().max(1)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_answer_is_judged_by_the_number_of_samples_written() {
        let answer = |status, written: Option<u64>| Answer {
            status,
            written: written.map(|samples| Kinds { samples, ..Kinds::default() }),
            ..Answer::default()
        };
        for (status, written, dry, want) in [
            (204, Some(1), false, "accepted"),
            (204, Some(0), true, "accepted"),
            (204, Some(0), false, "failed"),
            (204, None, false, "other"),
            (400, Some(0), false, "failed"),
            (415, None, false, "other"),
            (401, None, true, "failed"),
            (503, None, true, "failed"),
        ] {
            let got = match judge(&answer(status, written), Protocol::V2, kinds(dry)) {
                Judgement::Accepted => "accepted",
                Judgement::OtherVersion => "other",
                Judgement::Failed(_) => "failed",
            };
            assert_eq!(got, want, "{status} {written:?} dry={dry}");
        }
    }
}
