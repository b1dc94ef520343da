//! `POST /v1/metrics` and `POST /api/v1/otlp/v1/metrics`: OTLP over HTTP. `grpc.rs` is OTLP over gRPC.
//!
//! A client must not send again what was left out of a request, so a request that was read is answered with 200, and its
//! `partial_success` says what was left out and why. 503 means: send it later. All other answers are final.

mod answer;
pub mod deltas;
pub(crate) mod grpc;

use crate::answer::Refusal;
use crate::decode::TEXT_ENCODINGS;
use crate::doors::OTLP;
use crate::http_input::{Conditions, Decoded, HttpInput};
use ::otlp::{Encoding as Format, Reason};
use axum::Router;
use axum::extract::Request;
use axum::response::Response;
use axum::routing::any;
use formats::Rejected;
use formats::compress::Encoding;
use http::header::{CONTENT_TYPE, HeaderMap};
use http::request::Parts;
use http_server::Route;
use intake::{Admission, ByName, Input, Intake, Outcome};
use std::sync::{Arc, LazyLock};
use totals::Accumulators;

pub use answer::MESSAGE_BYTES;

const PROTOBUF: &str = "application/x-protobuf";
const JSON: &str = "application/json";

/// The reason of data points that the intake left out: their series are over a limit, or became invalid by relabelling.
const SERIES_LIMIT: &str = "series_limit";
/// The reasons why data points are left out, as they are counted.
static REASONS: LazyLock<Vec<&'static str>> =
    LazyLock::new(|| Reason::ALL.into_iter().map(Reason::as_str).chain([SERIES_LIMIT]).collect());

/// What both transports share.
#[derive(Debug)]
struct OtlpInput {
    input: Input,
    deltas: Arc<Accumulators>,
}

/// What is read from a request besides a batch.
#[derive(Debug)]
pub(crate) struct More {
    /// Data points that were left out, by reason.
    rejected: ::otlp::Counts,
    deltas: Option<Arc<deltas::Request>>,
}

impl OtlpInput {
    /// An input whose counters have reasons.
    fn new(intake: &Intake, name: &'static str, deltas: &Arc<Accumulators>) -> Self {
        let input = intake.input_of(name, OTLP);
        input.counters().data_points_rejected.get_or_init(|| ByName::new(&REASONS));
        OtlpInput { input, deltas: deltas.clone() }
    }

    /// Adds the deltas to their totals.
    async fn keep(
        &self,
        admission: &mut Admission,
        more: &mut More,
        rejected: &mut Rejected,
    ) -> Result<(), Refusal> {
        let Some(request) = more.deltas.take() else { return Ok(()) };
        admission.memory().grow(request.heap_bytes()).await?;
        let deltas::LeftOut { invalid, over_limit, reasons } =
            request.commit(&self.deltas, &self.input).await?;
        more.rejected.add(Reason::Delta, invalid);
        let over_limit = over_limit.len() as u64;
        rejected.samples += invalid + over_limit;
        rejected.series += over_limit;
        rejected.over_series_limit += over_limit;
        reasons.into_iter().flatten().for_each(|reason| rejected.explain(|| reason));
        Ok(())
    }

    /// Counts the data points that were left out.
    fn count(&self, more: &More, outcome: &Outcome) {
        let Some(counters) = self.input.counters().data_points_rejected.get() else { return };
        let mut rest = answer::rejected_points(outcome);
        for (index, (_, count)) in more.rejected.iter().enumerate() {
            counters.add(index, count);
            rest = rest.saturating_sub(count);
        }
        counters.add(Reason::ALL.len(), rest);
    }
}

/// Reads a request, of either transport.
fn decode(format: Format, body: &[u8], conditions: &Conditions) -> Result<Decoded<More>, Refusal> {
    let refused_time = |time: i64| conditions.bounds.refusal(time, None);
    let options = ::otlp::Options::new(&conditions.options.otlp, conditions.limits, &refused_time);
    let ::otlp::Decoded { parsed, rejected, deltas } =
        ::otlp::decode(format, body, &options).map_err(|error| Refusal::Malformed(error.to_string()))?;
    let deltas = deltas::Request::new(deltas, body, &conditions.options.deltas);
    Ok(Decoded { decoded: parsed.into(), written_in: None, more: More { rejected, deltas } })
}

#[derive(Debug)]
pub(crate) struct OtlpHttp(OtlpInput);

impl OtlpHttp {
    pub(crate) fn new(intake: &Intake, deltas: &Arc<Accumulators>) -> Self {
        OtlpHttp(OtlpInput::new(intake, "otlp_http", deltas))
    }
}

impl HttpInput for OtlpHttp {
    const ROUTES: &'static [Route] = &[
        Route { methods: "POST", path: "/v1/metrics", what: "OTLP metrics, in protobuf and JSON" },
        Route { methods: "POST", path: "/api/v1/otlp/v1/metrics", what: "the same, where Prometheus has it" },
    ];
    const ENCODINGS: &'static [(&'static str, Encoding)] = TEXT_ENCODINGS;
    const DEFAULT_ENCODING: Encoding = Encoding::Identity;
    type More = More;
    type Head = Format;

    fn head(parts: &Parts) -> Result<Format, Refusal> {
        let given = media_type(&parts.headers);
        format_of(given.as_deref()).ok_or_else(|| {
            let given: String = given.unwrap_or_default().chars().take(128).collect();
            Refusal::Unsupported(format!("content type {given:?} is not OTLP: use {PROTOBUF} or {JSON}"))
        })
    }

    fn input(&self, _: Option<&Format>) -> &Input {
        &self.0.input
    }

    async fn keep(
        &self,
        admission: &mut Admission,
        more: &mut More,
        rejected: &mut Rejected,
    ) -> Result<(), Refusal> {
        self.0.keep(admission, more, rejected).await
    }

    fn count(&self, more: &More, outcome: &Outcome) {
        self.0.count(more, outcome);
    }

    fn decode(format: &Format, body: &[u8], conditions: &Conditions) -> Result<Decoded<More>, Refusal> {
        decode(*format, body, conditions)
    }

    fn answer(format: Option<&Format>, outcome: Option<&Outcome>, refusal: Option<&Refusal>) -> Response {
        match (format, outcome, refusal) {
            (Some(format), Some(outcome), _) => answer::kept(*format, outcome),
            (Some(format), None, Some(refusal)) => answer::refused(*format, refusal),
            (None, _, Some(refusal)) => refusal.respond(HeaderMap::new()),
            // Without an outcome there is a refusal.
            (_, _, None) => answer::kept(Format::Protobuf, &Outcome::default()),
        }
    }
}

/// The media type of a body, without parameters.
fn media_type(headers: &HeaderMap) -> Option<String> {
    let value = headers.get(CONTENT_TYPE)?.to_str().unwrap_or("not text");
    Some(value.split(';').next().unwrap_or_default().trim().to_ascii_lowercase())
}

fn format_of(media_type: Option<&str>) -> Option<Format> {
    match media_type {
        Some(PROTOBUF) => Some(Format::Protobuf),
        Some(JSON) => Some(Format::Json),
        _ => None,
    }
}

/// Answers to what OTLP has besides metrics.
pub(crate) fn other_signals<S: Clone + Send + Sync + 'static>() -> Router<S> {
    let mut router = Router::new();
    for (signal, service) in [("traces", "trace.v1.Trace"), ("logs", "logs.v1.Logs")] {
        let text = format!("narthex takes metrics only: send {signal} to another address, or send none");
        for prefix in ["", "/api/v1/otlp"] {
            let text = text.clone();
            let handler = move |request: Request| async move {
                let format = format_of(media_type(request.headers()).as_deref());
                answer::no_such_signal(format, &text)
            };
            router = router.route(&format!("{prefix}/v1/{signal}"), any(handler));
        }
        let handler = move || async move { grpc::unimplemented(&text) };
        let path = format!("/opentelemetry.proto.collector.{service}Service/Export");
        router = router.route(&path, any(handler));
    }
    router
}
