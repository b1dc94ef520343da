//! What an answer means: takes status and headers, returns a [`Verdict`]. Pure; the test is a table of
//! answers.

use crate::refusal::RefusedReason;
use crate::verdict::{Reached, Verdict};
use formats::remote_write::Protocol;
use http_client::status_and_words;
use model::Kinds;
use model::words::{counted, number};
use std::time::{Duration, SystemTime};

#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Answer {
    pub status: u16,
    /// How much the receiver says it has written (2.0's `X-Prometheus-Remote-Write-*-Written`). `None`
    /// without these headers.
    pub written: Option<Kinds>,
    /// `Retry-After`, as the time from now.
    pub retry_after: Option<Duration>,
    /// The beginning of the body, for people.
    pub words: String,
}

impl Answer {
    /// Returns status and body in one line, for people: `404 Not Found: remote write receiver needs to be
    /// enabled`.
    pub fn shown(&self) -> String {
        status_and_words(self.status, &self.words)
    }

    /// The same for the answer to a request with `sent`. A successful status alone would not explain a
    /// refusal, so the line then says how much was written: `it answered 200 OK, but wrote 0 of 5 samples`.
    pub fn shown_for(&self, sent: Kinds) -> String {
        let shown = self.shown();
        let Some(written) = self.written.filter(|_| (200..=299).contains(&self.status)) else { return shown };
        let kinds = [
            ("sample", written.samples, sent.samples),
            ("native histogram", written.histograms, sent.histograms),
            ("exemplar", written.exemplars, sent.exemplars),
        ];
        let missing = kinds.into_iter().filter(|(_, written, sent)| written < sent);
        let parts: Vec<String> = missing
            .map(|(noun, written, sent)| format!("{} of {}", number(written), counted(sent, noun)))
            .collect();
        if parts.is_empty() {
            shown
        } else {
            format!("it answered {shown}, but wrote {}", parts.join(" and "))
        }
    }
}

/// The request that an answer belongs to.
#[derive(Debug, Clone, Copy)]
pub struct Sent {
    pub protocol: Protocol,
    /// The points of the request.
    pub kinds: Kinds,
    /// Whether it was a whole batch, and not a part of one that is being narrowed.
    pub whole: bool,
}

/// The user's settings: after which refusals the same samples may be sent again.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Resend {
    pub after_429: bool,
    /// Any other 4xx, which the specification forbids. (It allows another version of the protocol after 415.)
    pub after_4xx: bool,
}

impl Default for Resend {
    fn default() -> Self {
        Resend { after_429: true, after_4xx: true }
    }
}

impl Resend {
    /// Returns true if the samples are never sent again after this status.
    pub fn is_final(self, status: u16) -> bool {
        match status {
            429 => !self.after_429,
            400..=499 => !self.after_4xx,
            _ => false,
        }
    }
}

/// Returns the verdict on an answer. `confirmed`: true if the receiver has supported 2.0 before.
/// Otherwise it may answer a 2.0 request with a bare 400.
///
/// `None` if the receiver does not support this version of the protocol.
pub fn verdict(answer: &Answer, sent: Sent, confirmed: bool, resend: Resend) -> Option<Verdict> {
    use Verdict::{Denied, Failed, HistogramsRefused, Refused, RefusedWhole, TooLarge};
    match by_status(answer, sent, confirmed)? {
        Failed { .. } | Refused { .. } | TooLarge | Denied | HistogramsRefused
            if resend.is_final(answer.status) =>
        {
            Some(RefusedWhole)
        }
        verdict => Some(verdict),
    }
}

fn by_status(answer: &Answer, sent: Sent, confirmed: bool) -> Option<Verdict> {
    let second = sent.protocol == Protocol::V2;
    let failed = Verdict::Failed { reached: Reached::by(answer.status), retry_after: answer.retry_after };
    let reason = RefusedReason::of(&answer.words);
    let refused = Verdict::Refused { fits_a_repeat: reason.fits_a_repeat() };
    // Prometheus answers both refusals of histograms with 500 and undoes the request. Receivers based on it
    // use other statuses.
    if answer.status >= 500 || answer.written.is_none() && answer.status >= 400 {
        if reason == RefusedReason::NativeHistogramsDisabled {
            return Some(without_histograms(sent, failed));
        }
        if is_about_order_of_histograms(&answer.words) {
            return Some(refused);
        }
    }
    let verdict = match (answer.status, answer.written) {
        // A login page or another web server, which is not a receiver of remote write.
        (200..=299, None) if is_page(&answer.words) => Verdict::Denied,
        (200..=299, None) if second => return None,
        (200..=299 | 400 | 409 | 422, Some(written)) if second => {
            let refused = sent.kinds.minus(written.at_most(sent.kinds));
            match refused.total() {
                0 => Verdict::Delivered,
                // Nothing was accepted, so this is no success that would make failures of other requests
                // count.
                all if all == sent.kinds.total() => Verdict::RefusedWhole,
                _ => Verdict::Partial { refused },
            }
        }
        (200..=299, _) => Verdict::Delivered,
        (408 | 429 | 500..=599, _) => failed,
        (400 | 422, None) if second && (!confirmed || is_undecodable(&answer.words)) => return None,
        (400 | 409 | 422, _) => refused,
        (413, _) => Verdict::TooLarge,
        (415, _) => return None,
        (300..=399 | 401 | 403 | 404 | 405 | 407, _) => Verdict::Denied,
        (402..=499, _) => Verdict::RefusedWhole,
        // An unknown status. The request was not accepted in any case.
        _ => failed,
    };
    Some(verdict)
}

/// Returns the verdict for a receiver that accepts no native histograms, and has written nothing of the
/// request.
fn without_histograms(sent: Sent, failed: Verdict) -> Verdict {
    match sent.kinds.histograms {
        0 => failed,
        all if all == sent.kinds.total() => Verdict::RefusedWhole,
        _ if sent.whole => Verdict::HistogramsRefused,
        // Narrowing finds the histograms.
        _ => Verdict::Refused { fits_a_repeat: true },
    }
}

/// Returns true if only out-of-order native histograms are refused.
fn is_about_order_of_histograms(words: &str) -> bool {
    words.contains("out-of-order native histogram ingestion is disabled")
}

/// Returns true if the answer is a web page, which no receiver of remote write sends.
fn is_page(words: &str) -> bool {
    let start: String = words.trim_start().chars().take(14).collect::<String>().to_ascii_lowercase();
    start.starts_with("<!doctype html") || start.starts_with("<html")
}

/// Returns true if the receiver could not decode the request.
fn is_undecodable(words: &str) -> bool {
    let words = words.to_ascii_lowercase();
    [
        "unmarshal",
        "decode",
        "decompress",
        "proto:",
        "protobuf",
        "wiretype",
        "wire type",
        "content type",
        "content-type",
    ]
    .iter()
    .any(|hint| words.contains(hint))
}

/// Parses a `Retry-After` header: whole seconds or an HTTP date.
pub fn parse_retry_after(value: &str, now: SystemTime) -> Option<Duration> {
    let value = value.trim();
    if let Ok(seconds) = value.parse::<u64>() {
        return Some(Duration::from_secs(seconds));
    }
    let date = httpdate::parse_http_date(value).ok()?;
    Some(date.duration_since(now).unwrap_or_default())
}

#[cfg(test)]
mod tests {
    use super::*;

    const KINDS: Kinds = Kinds { samples: 5, histograms: 2, exemplars: 0 };

    fn judge(answer: &Answer, protocol: Protocol, confirmed: bool, resend: Resend) -> Option<Verdict> {
        verdict(answer, Sent { protocol, kinds: KINDS, whole: true }, confirmed, resend)
    }

    #[test]
    fn each_answer_has_its_verdict() {
        use Protocol::{V1, V2};
        use Verdict::{Delivered, Denied, HistogramsRefused, RefusedWhole, TooLarge};
        let failed = |reached| Some(Verdict::Failed { reached, retry_after: None });
        let (retry, gateway) = (failed(Reached::Receiver), failed(Reached::Gateway));
        let refused = Some(Verdict::Refused { fits_a_repeat: false });
        let some = Some(Kinds { samples: 3, ..Kinds::default() });
        let partial = Some(Verdict::Partial { refused: Kinds { samples: 2, histograms: 2, exemplars: 0 } });
        // status, -Written headers, version, whether 2.0 was confirmed, verdict
        let table = [
            (200, None, V1, false, Some(Delivered)),
            (204, None, V1, true, Some(Delivered)),
            (204, some, V1, true, Some(Delivered)),
            (204, some, V2, false, partial),
            (204, Some(KINDS), V2, false, Some(Delivered)),
            (204, None, V2, false, None),
            (204, None, V2, true, None),
            (302, None, V2, true, Some(Denied)),
            (400, some, V2, false, partial),
            (400, None, V2, false, None),
            (400, None, V2, true, refused),
            (400, None, V1, false, refused),
            (400, some, V1, false, refused),
            (401, None, V1, false, Some(Denied)),
            (402, None, V1, false, Some(RefusedWhole)),
            (403, None, V2, true, Some(Denied)),
            (404, None, V2, true, Some(Denied)),
            (405, None, V2, true, Some(Denied)),
            (408, None, V1, false, retry),
            (409, None, V1, false, refused),
            (409, some, V2, true, partial),
            (410, None, V1, false, Some(RefusedWhole)),
            (413, None, V1, false, Some(TooLarge)),
            (415, None, V2, true, None),
            (415, None, V1, true, None),
            (422, None, V1, true, refused),
            (429, None, V1, true, failed(Reached::Limit)),
            (499, None, V1, true, Some(RefusedWhole)),
            (500, None, V1, true, retry),
            (500, some, V2, true, retry),
            (502, None, V1, true, gateway),
            (503, None, V1, true, retry),
            (504, None, V1, true, gateway),
            (599, None, V1, true, retry),
            (100, None, V1, true, retry),
            (700, None, V1, true, retry),
        ];
        for (status, written, protocol, confirmed, right) in table {
            let answer = Answer { status, written, ..Answer::default() };
            assert_eq!(
                judge(&answer, protocol, confirmed, Resend::default()),
                right,
                "{status} {written:?} {protocol:?}"
            );
        }
        for (status, resend, right) in [
            (429, Resend { after_429: false, after_4xx: true }, Some(RefusedWhole)),
            (429, Resend { after_429: true, after_4xx: false }, failed(Reached::Limit)),
            (408, Resend { after_429: false, after_4xx: true }, retry),
            (408, Resend { after_429: true, after_4xx: false }, Some(RefusedWhole)),
            (413, Resend { after_429: true, after_4xx: false }, Some(RefusedWhole)),
            (302, Resend { after_429: false, after_4xx: false }, Some(Denied)),
            (503, Resend { after_429: false, after_4xx: false }, retry),
        ] {
            let answer = Answer { status, ..Answer::default() };
            assert_eq!(judge(&answer, V1, true, resend), right, "{status} {resend:?}");
        }
        let nothing = Some(RefusedWhole);
        for (status, written, words, right) in [
            (500, None, "native histograms are disabled", Some(HistogramsRefused)),
            (500, Some(Kinds::default()), "native histograms are disabled", Some(HistogramsRefused)),
            (409, None, "add 1 samples: native histograms are disabled", Some(HistogramsRefused)),
            (400, Some(Kinds::default()), "native histograms are disabled", nothing),
            (
                500,
                None,
                "out-of-order native histogram ingestion is disabled",
                Some(Verdict::Refused { fits_a_repeat: true }),
            ),
        ] {
            let answer = Answer { status, written, words: words.into(), ..Answer::default() };
            assert_eq!(judge(&answer, V2, true, Resend::default()), right, "{status} {words}");
            let by_1_0 = Answer { written: None, ..answer };
            let right = if right == nothing { Some(HistogramsRefused) } else { right };
            assert_eq!(judge(&by_1_0, V1, true, Resend::default()), right, "{status} {words}");
        }
        for protocol in [V1, V2] {
            let answer =
                Answer { status: 200, words: "<!DOCTYPE html><title>Log in".into(), ..Answer::default() };
            assert_eq!(
                judge(&answer, protocol, false, Resend::default()),
                Some(Denied),
                "a page is no receiver"
            );
        }
    }

    #[test]
    fn success_that_wrote_less_is_shown_with_what_it_wrote() {
        let kinds = |samples, histograms, exemplars| Kinds { samples, histograms, exemplars };
        let shown = |status, written, sent| {
            let words = if status == 400 { "out of bounds".to_string() } else { String::new() };
            Answer { status, written, words, ..Answer::default() }.shown_for(sent)
        };
        let none = Some(kinds(0, 0, 0));
        assert_eq!(shown(200, none, kinds(1, 0, 0)), "it answered 200 OK, but wrote 0 of 1 sample");
        let more = "it answered 204 No Content, but wrote 7 of 1,336 samples and 0 of 2 exemplars";
        assert_eq!(shown(204, Some(kinds(7, 3, 0)), kinds(1336, 3, 2)), more);
        assert_eq!(shown(200, Some(kinds(5, 0, 0)), kinds(5, 0, 0)), "200 OK");
        assert_eq!(shown(200, None, kinds(5, 0, 0)), "200 OK");
        assert_eq!(shown(400, none, kinds(5, 0, 0)), "400 Bad Request: out of bounds");
    }

    #[test]
    fn histograms_are_separated_only_in_a_mixed_whole_batch() {
        let words = "native histograms are disabled".into();
        let answer = Answer { status: 500, words, ..Answer::default() };
        let failed = Verdict::Failed { reached: Reached::Receiver, retry_after: None };
        for (samples, histograms, whole, right) in [
            (3, 2, true, Verdict::HistogramsRefused),
            (3, 2, false, Verdict::Refused { fits_a_repeat: true }),
            (0, 2, true, Verdict::RefusedWhole),
            (3, 0, true, failed),
        ] {
            let kinds = Kinds { samples, histograms, exemplars: 0 };
            let sent = Sent { protocol: Protocol::V1, kinds, whole };
            assert_eq!(verdict(&answer, sent, true, Resend::default()), Some(right), "{kinds:?}");
        }
    }

    #[test]
    fn decoding_error_of_a_confirmed_receiver_means_an_older_version() {
        let words = "proto: WriteRequest: illegal wireType 7".into();
        let answer = Answer { status: 400, words, ..Answer::default() };
        assert_eq!(judge(&answer, Protocol::V2, true, Resend::default()), None);
        let refused = Some(Verdict::Refused { fits_a_repeat: false });
        assert_eq!(judge(&answer, Protocol::V1, true, Resend::default()), refused);
    }

    #[test]
    fn retry_after_may_be_seconds_or_a_date() {
        let now = httpdate::parse_http_date("Sun, 06 Nov 1994 08:49:37 GMT").unwrap();
        assert_eq!(parse_retry_after(" 120 ", now), Some(Duration::from_secs(120)));
        let date = parse_retry_after("Sun, 06 Nov 1994 08:50:07 GMT", now);
        assert_eq!(date, Some(Duration::from_secs(30)));
        let past = parse_retry_after("Sun, 06 Nov 1994 08:00:00 GMT", now);
        assert_eq!(past, Some(Duration::ZERO));
        assert_eq!(parse_retry_after("soon", now), None);
        assert_eq!(parse_retry_after("-1", now), None);
    }
}
