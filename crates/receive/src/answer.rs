//! What a door answers where it doesn't take what came. The one place that knows status codes for faults.

use axum::response::{IntoResponse, Response};
use groups::path::PathError;
use http::header::{CONTENT_TYPE, HeaderValue, RETRY_AFTER};
use http::{HeaderMap, StatusCode};
use intake::{Outcome, RefusedReason};
use model::words::cut;
use storage::AppendError;

/// The longest text of an answer, in bytes: enough for a few reasons, and no way to make answers grow.
pub const TEXT_BYTES: usize = 4096;

/// Why a request is not, or not wholly, taken.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum Refusal {
    /// The request can never be taken as it is.
    #[error("{0}")]
    Malformed(String),
    /// A media type, schema or encoding that this door doesn't know.
    #[error("{0}")]
    Unsupported(String),
    /// The body as sent is too large.
    #[error("the body is larger than the limit of {limit} bytes")]
    BodyTooLarge {
        /// The limit.
        limit: usize,
    },
    /// The body is too large once it is decompressed.
    #[error("{0}")]
    DecodedTooLarge(String),
    /// The sender took too long for its body.
    #[error("the body did not arrive within {seconds} s")]
    TooSlow {
        /// How long it might have taken.
        seconds: u64,
    },
    /// The body broke off.
    #[error("the body broke off: {0}")]
    Broken(String),
    /// Nothing lies at this path.
    #[error("{0}")]
    NotFound(String),
    /// A limit of the user's on how much there may be.
    #[error("{0}")]
    TooMany(String),
    /// New series over a limit on active series; the rest was kept, so that the same request never succeeds as a whole.
    #[error("{0}")]
    SeriesLimit(String),
    /// The intake did not accept it.
    #[error(transparent)]
    Intake(#[from] intake::Refusal),
    /// It was sent by this process. What is sent to itself would never be anywhere else, so it has to wait for the
    /// right URL: a status with which a sender keeps it.
    #[error("this is the narthex that sends it: the URL of the destination is its own address")]
    OwnRequest,
    /// The task that keeps the groups has ended.
    #[error("narthex is stopping")]
    Stopping,
}

impl Refusal {
    /// The status to answer with.
    pub const fn status(&self) -> StatusCode {
        match self {
            Self::Malformed(_) | Self::DecodedTooLarge(_) | Self::Broken(_) | Self::SeriesLimit(_) => {
                StatusCode::BAD_REQUEST
            }
            Self::Unsupported(_) => StatusCode::UNSUPPORTED_MEDIA_TYPE,
            Self::BodyTooLarge { .. } => StatusCode::PAYLOAD_TOO_LARGE,
            Self::TooSlow { .. } => StatusCode::REQUEST_TIMEOUT,
            Self::NotFound(_) => StatusCode::NOT_FOUND,
            Self::OwnRequest => StatusCode::LOOP_DETECTED,
            Self::TooMany(_) => StatusCode::TOO_MANY_REQUESTS,
            Self::Stopping => StatusCode::SERVICE_UNAVAILABLE,
            Self::Intake(refusal) => match refusal.reason() {
                RefusedReason::TooLarge => StatusCode::PAYLOAD_TOO_LARGE,
                RefusedReason::TooMany => StatusCode::TOO_MANY_REQUESTS,
                _ => StatusCode::SERVICE_UNAVAILABLE,
            },
        }
    }

    /// Its kind, for counters.
    pub const fn reason(&self) -> RefusedReason {
        match self {
            Self::Malformed(_) | Self::DecodedTooLarge(_) | Self::OwnRequest => RefusedReason::Invalid,
            Self::Unsupported(_) => RefusedReason::UnsupportedMedia,
            Self::BodyTooLarge { .. } => RefusedReason::TooLarge,
            Self::TooSlow { .. } | Self::Broken(_) => RefusedReason::Incomplete,
            Self::NotFound(_) => RefusedReason::NotFound,
            Self::TooMany(_) | Self::SeriesLimit(_) => RefusedReason::TooMany,
            Self::Stopping => RefusedReason::Ending,
            Self::Intake(refusal) => refusal.reason(),
        }
    }

    /// After how many seconds it may be worth trying again: soon where it is a matter of the moment, later
    /// where somebody has to act.
    pub const fn retry_after(&self) -> Option<u32> {
        match self {
            Self::Stopping => Some(1),
            Self::TooMany(_) => Some(30),
            Self::Intake(refusal) => refusal.retry_after(),
            _ => None,
        }
    }

    /// Whether the rest of the body is not read, so that the connection has to end.
    pub(crate) const fn leaves_body(&self) -> bool {
        matches!(self, Self::TooSlow { .. } | Self::BodyTooLarge { .. })
    }

    /// The answer, with `headers` added.
    pub fn respond(&self, headers: HeaderMap) -> Response {
        let mut response = (self.status(), text(self.to_string())).into_response();
        if let Some(seconds) = self.retry_after() {
            response.headers_mut().insert(RETRY_AFTER, HeaderValue::from(seconds));
        }
        if self.leaves_body() {
            // What is left of the body is not worth reading.
            response.headers_mut().insert(http::header::CONNECTION, HeaderValue::from_static("close"));
        }
        response.headers_mut().extend(headers);
        response
    }
}

impl IntoResponse for Refusal {
    fn into_response(self) -> Response {
        self.respond(HeaderMap::new())
    }
}

impl From<AppendError> for Refusal {
    fn from(error: AppendError) -> Self {
        Refusal::Intake(error.into())
    }
}

impl From<groups::Refusal> for Refusal {
    fn from(refusal: groups::Refusal) -> Self {
        match refusal {
            groups::Refusal::Invalid(text) => Refusal::Malformed(text),
            groups::Refusal::SeriesLimit(text) => Refusal::SeriesLimit(text),
            groups::Refusal::TooMany(text) => Refusal::TooMany(text),
            groups::Refusal::Append(error) => error.into(),
            groups::Refusal::Stopping => Refusal::Stopping,
        }
    }
}

impl From<PathError> for Refusal {
    fn from(error: PathError) -> Self {
        match error {
            PathError::NotFound => Refusal::NotFound(error.to_string()),
            _ => Refusal::Malformed(error.to_string()),
        }
    }
}

/// An error with what was rejected, if anything was: the answer is 400 although the rest was kept.
pub(crate) fn whole(outcome: &Outcome) -> Result<(), Refusal> {
    match outcome.reason() {
        None => Ok(()),
        Some(RefusedReason::TooMany) => Err(Refusal::SeriesLimit(outcome.rejected.to_string())),
        Some(_) => Err(Refusal::Malformed(outcome.rejected.to_string())),
    }
}

/// A line of text, cut to [`TEXT_BYTES`].
pub fn text(text: String) -> impl IntoResponse {
    let mut text = cut(text, TEXT_BYTES);
    text.push('\n');
    // What is answered may quote what was sent: a browser must not take it for a page.
    let headers = [
        (CONTENT_TYPE, HeaderValue::from_static("text/plain; charset=utf-8")),
        (http::header::X_CONTENT_TYPE_OPTIONS, HeaderValue::from_static("nosniff")),
    ];
    (headers, text)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn whatever_may_be_tried_again_says_when() {
        for refusal in [
            intake::Refusal::Busy("x").into(),
            Refusal::Stopping,
            Refusal::TooMany("x".into()),
            AppendError::Busy { waiting: 1, limit: 1 }.into(),
            AppendError::DiskFull.into(),
            AppendError::LogFull.into(),
            AppendError::Failed("x".into()).into(),
            AppendError::Closed.into(),
            AppendError::TooManySeries { limit: 1 }.into(),
        ] {
            let response = refusal.clone().into_response();
            assert!(matches!(response.status().as_u16(), 429 | 503), "{refusal:?}");
            assert!(response.headers().contains_key(RETRY_AFTER), "{refusal:?}");
        }
        let never = Refusal::from(AppendError::TooLarge { bytes: 2, limit: 1 }).into_response();
        assert_eq!(never.status(), 413);
        assert!(!never.headers().contains_key(RETRY_AFTER));
    }

    #[test]
    fn full_disk_and_full_log_are_counted_apart() {
        for (error, reason, words) in [
            (AppendError::DiskFull, "disk_full", "the disk is full"),
            (AppendError::LogFull, "log_full", "the budget is used up"),
        ] {
            let refusal = Refusal::from(error);
            assert_eq!(refusal.reason().as_str(), reason);
            assert!(refusal.to_string().contains(words), "{refusal}");
        }
    }

    #[tokio::test]
    async fn a_text_is_cut_at_a_character() {
        let response = Refusal::Malformed("é".repeat(5000)).into_response();
        let body = axum::body::to_bytes(response.into_body(), 1 << 20).await.unwrap();
        assert!(body.len() <= TEXT_BYTES + 1 && body.ends_with("é…\n".as_bytes()));
    }
}
