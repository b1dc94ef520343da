//! `POST /api/v1/write`: remote write 1.0 and 2.0.
//!
//! The schema is chosen by `Content-Type`. What is invalid is left out, counted and answered with 400; the
//! rest is kept, in both versions. A 2xx, and the `-Written` headers of 2.0, tell of what is on disk.

use crate::answer::Refusal;
use crate::doors::REMOTE_WRITE;
use crate::http_input::{Conditions, Decoded, HttpInput};
use axum::response::{IntoResponse, Response};
use formats::Parsed;
use formats::compress::Encoding;
use formats::remote_write::{self, DecodeOptions, Protocol};
use http::StatusCode;
use http::header::{CONTENT_TYPE, HeaderMap, HeaderName, HeaderValue};
use http::request::Parts;
use http_server::Route;
use intake::{Input, Intake, Outcome};
use model::Kinds;

#[derive(Debug)]
pub(crate) struct RemoteWrite {
    v1: Input,
    v2: Input,
}

impl RemoteWrite {
    pub(crate) fn new(intake: &Intake) -> Self {
        let [v1, v2] = ["remote_write_v1", "remote_write_v2"].map(|name| intake.input_of(name, REMOTE_WRITE));
        RemoteWrite { v1, v2 }
    }
}

impl HttpInput for RemoteWrite {
    const ROUTES: &'static [Route] =
        &[Route { methods: "POST", path: "/api/v1/write", what: "Prometheus remote write 1.0 and 2.0" }];
    // VictoriaMetrics' agents use zstd instead of snappy.
    const ENCODINGS: &'static [(&'static str, Encoding)] =
        &[("snappy", Encoding::Snappy), ("zstd", Encoding::Zstd)];
    const DEFAULT_ENCODING: Encoding = Encoding::Snappy;
    type More = ();
    type Head = Protocol;

    fn head(parts: &Parts) -> Result<Protocol, Refusal> {
        let sender = parts.headers.get(model::process::HEADER);
        if sender.is_some_and(|id| *id == HeaderValue::from(model::process::id())) {
            return Err(Refusal::OwnRequest);
        }
        let header = parts.headers.get(CONTENT_TYPE).map(HeaderValue::to_str);
        let content_type = header.map(|value| value.unwrap_or("not text"));
        Protocol::from_content_type(content_type).map_err(|error| Refusal::Unsupported(error.to_string()))
    }

    fn input(&self, head: Option<&Protocol>) -> &Input {
        match head {
            Some(Protocol::V2) => &self.v2,
            // A content type without a parameter means 1.0.
            Some(Protocol::V1) | None => &self.v1,
        }
    }

    fn decode(protocol: &Protocol, body: &[u8], conditions: &Conditions) -> Result<Decoded, Refusal> {
        let options = DecodeOptions { limits: conditions.limits, ..DecodeOptions::default() };
        let decoded = remote_write::decode(*protocol, body, &options)
            .map_err(|error| Refusal::Malformed(error.to_string()))?;
        let parsed = Parsed { batch: decoded.batch, rejected: decoded.rejected };
        Ok(Decoded { decoded: parsed.into(), written_in: None, more: () })
    }

    fn answer(head: Option<&Protocol>, outcome: Option<&Outcome>, refusal: Option<&Refusal>) -> Response {
        // The sender is not to blame for what our own rules drop.
        let written = outcome.map(|outcome| outcome.kept.plus(outcome.dropped)).unwrap_or_default();
        let headers = match head {
            Some(Protocol::V2) => written_headers(written),
            _ => HeaderMap::new(),
        };
        match refusal {
            None => (StatusCode::NO_CONTENT, headers).into_response(),
            Some(refusal) => refusal.respond(headers),
        }
    }
}

fn written_headers(written: Kinds) -> HeaderMap {
    let mut headers = HeaderMap::new();
    for (name, count) in [
        ("x-prometheus-remote-write-samples-written", written.samples),
        ("x-prometheus-remote-write-histograms-written", written.histograms),
        ("x-prometheus-remote-write-exemplars-written", written.exemplars),
    ] {
        headers.insert(HeaderName::from_static(name), HeaderValue::from(count));
    }
    headers
}
