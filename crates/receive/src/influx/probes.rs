//! What clients and balancers ask before they write.

use super::answer::{respond, version_headers};
use super::{Api, VERSION};
use crate::Doors;
use axum::extract::{Query, State};
use axum::response::{IntoResponse, Response};
use http::StatusCode;
use serde_json::json;
use std::collections::HashMap;

/// InfluxDB 1's `/ping`.
pub(super) async fn ping(Query(parameters): Query<HashMap<String, String>>) -> Response {
    let is_verbose =
        parameters.get("verbose").is_some_and(|value| !matches!(value.as_str(), "" | "0" | "false"));
    match is_verbose {
        true => respond(StatusCode::OK, &json!({ "version": VERSION })),
        false => (StatusCode::NO_CONTENT, version_headers()).into_response(),
    }
}

/// InfluxDB 2's `/health`.
pub(super) async fn health(State(doors): State<Doors>) -> Response {
    let (status, word, message) = match why_not(&doors) {
        None => (StatusCode::OK, "pass", "ready for writes"),
        Some(why) => (StatusCode::SERVICE_UNAVAILABLE, "fail", why),
    };
    let body = json!({
        "name": "influxdb", "message": message, "status": word, "checks": [], "version": VERSION,
    });
    respond(status, &body)
}

/// InfluxDB 2's `/ready`.
pub(super) async fn ready(State(doors): State<Doors>) -> Response {
    match why_not(&doors) {
        None => {
            let started = model::moment::show(doors.started_ms());
            respond(StatusCode::OK, &json!({ "status": "ready", "started": started }))
        }
        Some(why) => {
            let status = StatusCode::SERVICE_UNAVAILABLE;
            respond(status, &super::answer::error_json(Api::V2, status, why))
        }
    }
}

/// Why points are not accepted now.
fn why_not(doors: &Doors) -> Option<&'static str> {
    let stats = doors.intake().storage().stats();
    match () {
        () if stats.disk_full.get() > 0 => Some("the disk is full"),
        () if stats.budget_full.get() > 0 => Some("the log is full"),
        () => None,
    }
}
