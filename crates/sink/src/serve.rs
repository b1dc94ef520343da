//! `narthex sink`: the sink alone, with its page.

use crate::SinkArgs;
use command::Failure;
use command::hostname;

use crate::{Behaviour, Sink, WindowLimits};
use axum::Router;
use axum::extract::State;
use axum::response::{IntoResponse, Response};
use axum::routing::{get, post};
use command::signals::Signals;
use http::StatusCode;
use http_server::guard::{Guard, guard};
use http_server::security::{Security, check_exposure};
use http_server::{Admission, Listening};
use page::{Mode, page};
use std::time::Duration;
use tokio::sync::watch;

/// The most bytes of a button's request.
const BUTTON_BYTES_MAX: usize = 4 << 10;

/// Runs until a signal.
pub async fn run(args: SinkArgs) -> Result<(), Failure> {
    let behaviour = Behaviour {
        fail: args.fail,
        fail_every: args.fail_every,
        retry_after: args.retry_after,
        delay_ms: u64::try_from(args.delay.unwrap_or(Duration::ZERO).as_millis()).unwrap_or(u64::MAX),
        refuse: args.refuse,
    };
    behaviour.check().map_err(Failure::usage)?;
    check_exposure(args.listen, args.allow_unauthenticated).map_err(Failure::usage)?;
    let limits = WindowLimits {
        series: args.max_series,
        points_per_series: args.max_points,
        bytes: usize::try_from(args.max_memory).unwrap_or(usize::MAX),
    };
    let mut signals = Signals::listen().map_err(Failure::running)?;
    let sink = Sink::new(limits, args.accept, behaviour, None);
    let listening = Listening::on(args.listen).map_err(Failure::running)?;
    // The page is on the port that would refuse: so connections are cut instead.
    let (admission, _) = watch::channel(if behaviour.refuse { Admission::Cutting } else { Admission::Open });
    let router = sink
        .router()
        .route("/", get(|| async { page(Mode::Sink) }))
        .merge(control(&sink, admission.clone(), Admission::Cutting))
        .layer(axum::middleware::from_fn_with_state(Guard::new(&hostname(), &Security::open()), guard));
    let server = listening.serve_with(router, admission);
    logging::info(format_args!(
        "listening on http://{} (remote write at /api/v1/write, page at /)",
        server.address()
    ));
    let signal = signals.next().await;
    signals.end_at_next(None);
    logging::info(format_args!("{signal}: ending"));
    server.stop().await;
    Ok(())
}

#[derive(Debug, Clone)]
struct Control {
    sink: Sink,
    admission: watch::Sender<Admission>,
    refusing: Admission,
}

/// The buttons: tells the sink how to behave, and its server to take connections or, where it should refuse, to
/// do as `refusing` says.
pub fn control(sink: &Sink, admission: watch::Sender<Admission>, refusing: Admission) -> Router {
    let state = Control { sink: sink.clone(), admission, refusing };
    Router::new().route("/api/v1/sink/behaviour", post(behave)).with_state(state)
}

async fn behave(State(control): State<Control>, body: axum::body::Body) -> Response {
    let Control { sink, admission, refusing } = control;
    let Ok(body) = axum::body::to_bytes(body, BUTTON_BYTES_MAX).await else {
        return (StatusCode::PAYLOAD_TOO_LARGE, "too long\n").into_response();
    };
    let behaviour: Behaviour = match serde_json::from_slice(&body) {
        Ok(behaviour) => behaviour,
        Err(error) => return (StatusCode::BAD_REQUEST, format!("{error}\n")).into_response(),
    };
    if let Err(why) = behaviour.check() {
        return (StatusCode::BAD_REQUEST, format!("{why}\n")).into_response();
    }
    sink.behave(behaviour);
    admission.send_replace(if behaviour.refuse { refusing } else { Admission::Open });
    axum::Json(behaviour).into_response()
}
