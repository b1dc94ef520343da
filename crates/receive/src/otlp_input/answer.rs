//! Answers of OTLP over HTTP, and what they have in common with those over gRPC.

use crate::answer::{Refusal, text};
use ::otlp::{Code, Encoding as Format};
use axum::response::{IntoResponse, Response};
use http::StatusCode;
use http::header::{CONTENT_TYPE, HeaderValue, RETRY_AFTER};
use intake::{Outcome, RefusedReason};
use model::words::{counted, cut};

/// The longest message about what was left out of a request, in bytes.
pub const MESSAGE_BYTES: usize = 1024;

/// How many data points were left out.
///
/// Decoding counts a data point as one sample. The limits on series, and rules that make labels invalid, are about single
/// series, of which a histogram has several.
pub(super) fn rejected_points(outcome: &Outcome) -> u64 {
    outcome.rejected.samples + outcome.rejected.histograms
}

/// The body of the answer to a request that was kept, perhaps not as a whole.
pub(super) fn response(format: Format, outcome: &Outcome) -> Vec<u8> {
    let points = rejected_points(outcome);
    let why = outcome.rejected.reasons.join("; ");
    let message = match points {
        0 => why,
        _ => format!("{} left out: {why}", counted(points, "data point")),
    };
    ::otlp::response(format, points, &cut(message, MESSAGE_BYTES))
}

pub(super) fn kept(format: Format, outcome: &Outcome) -> Response {
    ([(CONTENT_TYPE, content_type(format))], response(format, outcome)).into_response()
}

/// What a refusal is to a client of OTLP.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Verdict {
    pub(super) status: StatusCode,
    pub(super) code: Code,
    /// After how many seconds the request may be sent again. `None`: never.
    pub(super) retry_after: Option<u32>,
}

impl Verdict {
    pub(super) fn of(refusal: &Refusal) -> Self {
        let retry_after = match refusal {
            // The connection was slow or broke, which says nothing of the data.
            Refusal::TooSlow { .. } | Refusal::Broken(_) => Some(1),
            _ => refusal.retry_after(),
        };
        let (status, code) = match (retry_after, refusal.reason()) {
            // Clients do not agree on what else may be sent again.
            (Some(_), _) => (StatusCode::SERVICE_UNAVAILABLE, Code::Unavailable),
            (None, RefusedReason::TooLarge) => (StatusCode::PAYLOAD_TOO_LARGE, Code::ResourceExhausted),
            (None, RefusedReason::UnsupportedMedia) => {
                (StatusCode::UNSUPPORTED_MEDIA_TYPE, Code::Unimplemented)
            }
            (None, _) => (StatusCode::BAD_REQUEST, Code::InvalidArgument),
        };
        Verdict { status, code, retry_after }
    }
}

pub(super) fn refused(format: Format, refusal: &Refusal) -> Response {
    let Verdict { status, code, retry_after } = Verdict::of(refusal);
    let mut response = status_response(format, status, code, &refusal.to_string());
    if let Some(seconds) = retry_after {
        response.headers_mut().insert(RETRY_AFTER, HeaderValue::from(seconds));
    }
    if refusal.leaves_body() {
        response.headers_mut().insert(http::header::CONNECTION, HeaderValue::from_static("close"));
    }
    response
}

pub(super) fn no_such_signal(format: Option<Format>, why: &str) -> Response {
    match format {
        Some(format) => status_response(format, StatusCode::NOT_FOUND, Code::Unimplemented, why),
        None => (StatusCode::NOT_FOUND, text(why.to_string())).into_response(),
    }
}

fn status_response(format: Format, status: StatusCode, code: Code, message: &str) -> Response {
    let body = ::otlp::status(format, code, &cut(message.to_string(), crate::answer::TEXT_BYTES));
    let mut response = (status, body).into_response();
    response.headers_mut().insert(CONTENT_TYPE, content_type(format));
    response
}

fn content_type(format: Format) -> HeaderValue {
    HeaderValue::from_static(match format {
        Format::Protobuf => super::PROTOBUF,
        Format::Json => super::JSON,
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use storage::AppendError;

    #[test]
    fn what_may_succeed_later_is_503_and_nothing_else_is_a_server_error() {
        for (refusal, status, retry) in [
            (Refusal::from(AppendError::DiskFull), 503, Some(30)),
            (AppendError::TooManySeries { limit: 1 }.into(), 503, Some(30)),
            (intake::Refusal::Busy("x").into(), 503, Some(1)),
            (Refusal::Stopping, 503, Some(1)),
            (Refusal::TooSlow { seconds: 1 }, 503, Some(1)),
            (AppendError::TooLarge { bytes: 2, limit: 1 }.into(), 413, None),
            (Refusal::BodyTooLarge { limit: 1 }, 413, None),
            (Refusal::Malformed("x".into()), 400, None),
            (Refusal::Unsupported("x".into()), 415, None),
        ] {
            let verdict = Verdict::of(&refusal);
            assert_eq!((verdict.status.as_u16(), verdict.retry_after), (status, retry), "{refusal:?}");
        }
    }
}
