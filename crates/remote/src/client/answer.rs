//! What an answer means: status and headers in, verdict out. Pure; the table is the test.

use crate::refusal::RefusedReason;
use formats::remote_write::Protocol;
use http_client::status_and_words;
use model::Kinds;
use std::time::{Duration, SystemTime};

/// What an HTTP answer says.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Answer {
    /// The status.
    pub status: u16,
    /// How much the receiver says it has written (2.0's `X-Prometheus-Remote-Write-*-Written`); `None` where
    /// there is none of these headers.
    pub written: Option<Kinds>,
    /// `Retry-After`, as a time from now.
    pub retry_after: Option<Duration>,
    /// The beginning of the body, for people.
    pub words: String,
}

impl Answer {
    /// Status and body in one line, for people: `404 Not Found: remote write receiver needs to be enabled`.
    pub fn shown(&self) -> String {
        status_and_words(self.status, &self.words)
    }
}

/// What an answer means for what was sent.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Verdict {
    /// All of it was taken.
    Delivered,
    /// This much was written and the rest never will be. Nothing is to be sent again.
    Settled(Kinds),
    /// To be sent again. What fails so for long while others pass is the queue's to put aside.
    Retry,
    /// Something in it is refused for good; what, is not known.
    Refused,
    /// All of it is refused for good.
    RefusedWhole,
    /// Native histograms are refused for good, and nothing of the request was written.
    NoHistograms,
    /// Too large for the receiver.
    TooLarge,
    /// The receiver does not speak this version of the protocol.
    OtherProtocol,
    /// Nobody is let in, or nothing is there: the configuration is wrong, here or there.
    Denied,
}

/// Which refusals may be followed by another request with the same samples; the user says so.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Resend {
    /// 429.
    pub after_429: bool,
    /// Any other 4xx: what the specification forbids. (That 415 means another version of the protocol it allows.)
    pub after_4xx: bool,
}

impl Default for Resend {
    fn default() -> Self {
        Resend { after_429: true, after_4xx: true }
    }
}

impl Resend {
    /// Whether a request that was answered so is never followed by another one.
    pub fn is_final(self, status: u16) -> bool {
        match status {
            429 => !self.after_429,
            400..=499 => !self.after_4xx,
            _ => false,
        }
    }
}

/// The verdict on an answer to a request of version `protocol`. `confirmed` says that the receiver has
/// shown before that it speaks 2.0; one that has not may answer a 2.0 request with a bare 400.
pub fn verdict(answer: &Answer, protocol: Protocol, confirmed: bool, resend: Resend) -> Verdict {
    use Verdict::{Denied, Refused, RefusedWhole, Retry, TooLarge};
    match by_status(answer, protocol, confirmed) {
        Retry | Refused | TooLarge | Denied if resend.is_final(answer.status) => RefusedWhole,
        verdict => verdict,
    }
}

fn by_status(answer: &Answer, protocol: Protocol, confirmed: bool) -> Verdict {
    let second = protocol == Protocol::V2;
    // Prometheus answers both with 500, and undoes the request; receivers made of it do so with other statuses.
    if answer.status >= 500 || answer.written.is_none() && answer.status >= 400 {
        match RefusedReason::of(&answer.words) {
            RefusedReason::NativeHistogramsDisabled => return Verdict::NoHistograms,
            _ if is_about_order_of_histograms(&answer.words) => return Verdict::Refused,
            _ => {}
        }
    }
    match (answer.status, answer.written) {
        // A login page, or some other web server: whoever it is, it is no receiver of remote write.
        (200..=299, None) if is_page(&answer.words) => Verdict::Denied,
        (200..=299, None) if second => Verdict::OtherProtocol,
        (200..=299, Some(written)) if second => Verdict::Settled(written),
        (200..=299, _) => Verdict::Delivered,
        (408 | 429 | 500..=599, _) => Verdict::Retry,
        (400 | 409 | 422, Some(written)) if second => Verdict::Settled(written),
        (400 | 422, None) if second && (!confirmed || is_undecodable(&answer.words)) => {
            Verdict::OtherProtocol
        }
        (400 | 409 | 422, _) => Verdict::Refused,
        (413, _) => Verdict::TooLarge,
        (415, _) => Verdict::OtherProtocol,
        (300..=399 | 401 | 403 | 404 | 405 | 407, _) => Verdict::Denied,
        (402..=499, _) => Verdict::RefusedWhole,
        // Nothing that HTTP knows; whatever it was, it has not been a yes.
        _ => Verdict::Retry,
    }
}

/// Whether native histograms are refused only where they are out of order.
fn is_about_order_of_histograms(words: &str) -> bool {
    words.contains("out-of-order native histogram ingestion is disabled")
}

/// Whether an answer is a web page, which no receiver of remote write answers with.
fn is_page(words: &str) -> bool {
    let start: String = words.trim_start().chars().take(14).collect::<String>().to_ascii_lowercase();
    start.starts_with("<!doctype html") || start.starts_with("<html")
}

/// Whether a receiver's words say that it could not read the request at all.
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

/// A `Retry-After` header: whole seconds or an HTTP date.
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

    #[test]
    fn each_answer_has_its_verdict() {
        use Protocol::{V1, V2};
        use Verdict::*;
        let some = Some(Kinds { samples: 3, ..Kinds::default() });
        let settled = Settled(Kinds { samples: 3, ..Kinds::default() });
        // status, -Written headers, version, 2.0 was confirmed, verdict
        let table = [
            (200, None, V1, false, Delivered),
            (204, None, V1, true, Delivered),
            (204, some, V1, true, Delivered),
            (204, some, V2, false, settled),
            (204, None, V2, false, OtherProtocol),
            (204, None, V2, true, OtherProtocol),
            (302, None, V2, true, Denied),
            (400, some, V2, false, settled),
            (400, None, V2, false, OtherProtocol),
            (400, None, V2, true, Refused),
            (400, None, V1, false, Refused),
            (400, some, V1, false, Refused),
            (401, None, V1, false, Denied),
            (402, None, V1, false, RefusedWhole),
            (403, None, V2, true, Denied),
            (404, None, V2, true, Denied),
            (405, None, V2, true, Denied),
            (408, None, V1, false, Retry),
            (409, None, V1, false, Refused),
            (409, some, V2, true, settled),
            (410, None, V1, false, RefusedWhole),
            (413, None, V1, false, TooLarge),
            (415, None, V2, true, OtherProtocol),
            (415, None, V1, true, OtherProtocol),
            (422, None, V1, true, Refused),
            (429, None, V1, true, Retry),
            (499, None, V1, true, RefusedWhole),
            (500, None, V1, true, Retry),
            (500, some, V2, true, Retry),
            (503, None, V1, true, Retry),
            (599, None, V1, true, Retry),
            (100, None, V1, true, Retry),
            (700, None, V1, true, Retry),
        ];
        for (status, written, protocol, confirmed, right) in table {
            let answer = Answer { status, written, ..Answer::default() };
            assert_eq!(
                verdict(&answer, protocol, confirmed, Resend::default()),
                right,
                "{status} {written:?} {protocol:?}"
            );
        }
        for (status, resend, right) in [
            (429, Resend { after_429: false, after_4xx: true }, RefusedWhole),
            (429, Resend { after_429: true, after_4xx: false }, Retry),
            (408, Resend { after_429: false, after_4xx: true }, Retry),
            (408, Resend { after_429: true, after_4xx: false }, RefusedWhole),
            (413, Resend { after_429: true, after_4xx: false }, RefusedWhole),
            (302, Resend { after_429: false, after_4xx: false }, Denied),
            (503, Resend { after_429: false, after_4xx: false }, Retry),
        ] {
            let answer = Answer { status, ..Answer::default() };
            assert_eq!(verdict(&answer, V1, true, resend), right, "{status} {resend:?}");
        }
        for (status, written, words, right) in [
            (500, None, "native histograms are disabled", NoHistograms),
            (500, Some(Kinds::default()), "native histograms are disabled", NoHistograms),
            (409, None, "add 1 samples: native histograms are disabled", NoHistograms),
            (400, Some(Kinds::default()), "native histograms are disabled", Settled(Kinds::default())),
            (500, None, "out-of-order native histogram ingestion is disabled", Refused),
        ] {
            let answer = Answer { status, written, words: words.into(), ..Answer::default() };
            assert_eq!(verdict(&answer, V2, true, Resend::default()), right, "{status} {words}");
            let by_1_0 = Answer { written: None, ..answer };
            let right = if matches!(right, Settled(_)) { NoHistograms } else { right };
            assert_eq!(verdict(&by_1_0, V1, true, Resend::default()), right, "{status} {words}");
        }
        for protocol in [V1, V2] {
            let answer =
                Answer { status: 200, words: "<!DOCTYPE html><title>Log in".into(), ..Answer::default() };
            assert_eq!(verdict(&answer, protocol, false, Resend::default()), Denied, "a page is no receiver");
        }
    }

    #[test]
    fn a_confirmed_receiver_that_says_it_cannot_decode_was_exchanged_for_an_older_one() {
        let words = "proto: WriteRequest: illegal wireType 7".into();
        let answer = Answer { status: 400, words, ..Answer::default() };
        assert_eq!(verdict(&answer, Protocol::V2, true, Resend::default()), Verdict::OtherProtocol);
        assert_eq!(verdict(&answer, Protocol::V1, true, Resend::default()), Verdict::Refused);
    }

    #[test]
    fn retry_after_is_seconds_or_a_date() {
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
