//! Answers as each version of InfluxDB words them. Pure.

use super::{Api, BUILD, VERSION};
use crate::answer::{Refusal, TEXT_BYTES};
use axum::response::{IntoResponse, Response};
use formats::Rejected;
use http::header::{CONNECTION, CONTENT_TYPE, HeaderName, HeaderValue, RETRY_AFTER, X_CONTENT_TYPE_OPTIONS};
use http::{HeaderMap, StatusCode};
use influx::{FAULTS_MAX, Fault};
use intake::{Outcome, RefusedReason};
use model::words::cut;
use serde_json::{Value, json};

const VERSION_HEADER: HeaderName = HeaderName::from_static("x-influxdb-version");
const BUILD_HEADER: HeaderName = HeaderName::from_static("x-influxdb-build");
const ERROR_HEADER: HeaderName = HeaderName::from_static("x-influxdb-error");
/// The longest list of reasons, in bytes.
const REASONS_BYTES: usize = TEXT_BYTES - 64;
/// The longest text in a header, in bytes.
const ERROR_HEADER_BYTES: usize = 256;

/// What clients read to learn the version.
pub(super) fn version_headers() -> HeaderMap {
    [(VERSION_HEADER, HeaderValue::from_static(VERSION)), (BUILD_HEADER, HeaderValue::from_static(BUILD))]
        .into_iter()
        .collect()
}

/// What became of a request that was read to its end.
#[derive(Debug, Default)]
pub(super) struct Written {
    /// Whether something was kept.
    pub(super) is_any_kept: bool,
    pub(super) rejected: Rejected,
    /// The first lines that could not be read.
    pub(super) faults: Vec<Fault>,
    /// Why the intake rejected samples of others.
    pub(super) others: Vec<String>,
}

impl Written {
    /// Adds what became of a part of the request, in which these lines could not be read.
    pub(super) fn add(&mut self, outcome: Outcome, faults: Vec<Fault>) {
        let Outcome { kept, dropped, rejected } = outcome;
        self.is_any_kept |= kept.plus(dropped).total() > 0;
        // The intake rejects after the lines were read, and adds its reasons.
        let of_intake = rejected.reasons.iter().skip(faults.len()).cloned();
        let room = Rejected::MAX_REASONS.saturating_sub(self.others.len());
        self.others.extend(of_intake.take(room));
        let room = FAULTS_MAX.saturating_sub(self.faults.len());
        self.faults.extend(faults.into_iter().take(room));
        self.rejected.add(rejected);
    }
}

/// The answer to a request that was read to its end.
pub(super) fn written(api: Api, written: &Written) -> Response {
    let Written { is_any_kept, rejected, faults, others } = written;
    if rejected.is_empty() {
        return (StatusCode::NO_CONTENT, version_headers()).into_response();
    }
    let body = match api {
        Api::V3 => {
            let lines = faults.iter().map(fault_json);
            let others = others
                .iter()
                .map(|reason| json!({ "original_line": "", "line_number": 0, "error_message": reason }));
            let data: Vec<Value> = lines.chain(others).collect();
            json!({ "error": "partial write of line protocol occurred", "data": data })
        }
        Api::V1 | Api::V2 => {
            let reasons = faults.iter().map(ToString::to_string).chain(others.iter().cloned());
            let reasons = cut(reasons.collect::<Vec<_>>().join("\n"), REASONS_BYTES);
            let text = match *is_any_kept || !others.is_empty() {
                true => format!("partial write: {reasons} dropped={}", rejected.kinds().total()),
                false => reasons,
            };
            error_json(api, StatusCode::BAD_REQUEST, &text)
        }
    };
    respond(StatusCode::BAD_REQUEST, &body)
}

/// The answer to a request of which nothing was kept because it was to be kept as a whole.
pub(super) fn not_written(fault: &Fault) -> Response {
    let body = json!({ "error": "parsing failed for write_lp endpoint", "data": fault_json(fault) });
    respond(StatusCode::BAD_REQUEST, &body)
}

fn fault_json(fault: &Fault) -> Value {
    json!({
        "original_line": fault.line,
        "line_number": fault.number,
        "error_message": fault.error.to_string(),
    })
}

/// The answer to a request that was refused.
pub(super) fn refused(api: Api, refusal: &Refusal) -> Response {
    let status = match refusal {
        // Telegraf drops the points after any 4xx, and this one may be sent again.
        Refusal::TooSlow { .. } => StatusCode::SERVICE_UNAVAILABLE,
        Refusal::DecodedTooLarge(_) => StatusCode::PAYLOAD_TOO_LARGE,
        other if other.status() == StatusCode::TOO_MANY_REQUESTS => StatusCode::SERVICE_UNAVAILABLE,
        other => other.status(),
    };
    let mut response = respond(status, &error_json(api, status, &refusal.to_string()));
    let retry_after = refusal.retry_after().or((status == StatusCode::SERVICE_UNAVAILABLE).then_some(1));
    if let Some(seconds) = retry_after {
        response.headers_mut().insert(RETRY_AFTER, HeaderValue::from(seconds));
    }
    if matches!(refusal.reason(), RefusedReason::TooLarge | RefusedReason::Incomplete) {
        // What is left of the body is not worth reading.
        response.headers_mut().insert(CONNECTION, HeaderValue::from_static("close"));
    }
    response
}

/// The body of an error.
pub(super) fn error_json(api: Api, status: StatusCode, text: &str) -> Value {
    let text = cut(text.trim_end().to_string(), TEXT_BYTES);
    match api {
        Api::V2 => json!({ "code": code(status), "message": text }),
        Api::V1 | Api::V3 => json!({ "error": text }),
    }
}

/// InfluxDB 2's word for a status.
fn code(status: StatusCode) -> &'static str {
    match status.as_u16() {
        401 => "unauthorized",
        403 => "forbidden",
        404 => "not found",
        405 => "method not allowed",
        413 => "request too large",
        503 => "unavailable",
        500..=599 => "internal error",
        _ => "invalid",
    }
}

/// An answer in JSON, with the error in a header as well.
pub(super) fn respond(status: StatusCode, body: &Value) -> Response {
    let mut headers = version_headers();
    headers.insert(CONTENT_TYPE, HeaderValue::from_static("application/json"));
    headers.insert(X_CONTENT_TYPE_OPTIONS, HeaderValue::from_static("nosniff"));
    if let Some(error) = body.get("error").or(body.get("message")).filter(|_| !status.is_success())
        && let Some(error) = error.as_str()
    {
        let line = error.replace(|c: char| c.is_control(), " ");
        if let Ok(value) = HeaderValue::from_str(&cut(line, ERROR_HEADER_BYTES)) {
            headers.insert(ERROR_HEADER, value);
        }
    }
    (status, headers, format!("{body}\n")).into_response()
}
