//! `narthex sink`: the sink alone, with its page.

use crate::{Presence, SinkArgs};
use command::Failure;
use command::hostname;

use crate::{Behaviour, Sink, WindowLimits};
use axum::Router;
use axum::body::Body;
use axum::extract::{Request, State};
use axum::middleware::Next;
use axum::response::{IntoResponse, Response};
use axum::routing::{get, post};
use command::signals::Signals;
use http::StatusCode;
use http_server::Listening;
use http_server::guard::{Guard, guard};
use http_server::security::{Security, check_exposure};
use page::{Mode, page};
use std::time::Duration;

/// The most bytes of the request that a button sends.
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
    let server = listening.serve(router(sink));
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

/// The sink with its page and its buttons.
fn router(sink: Sink) -> Router {
    sink.router()
        .route("/", get(|| async { page(Mode::Sink) }))
        .merge(control(&sink, None))
        .layer(axum::middleware::from_fn_with_state(Guard::new(&hostname(), &Security::open()), guard))
        .layer(axum::middleware::from_fn_with_state(sink, cut))
}

#[derive(Debug, Clone)]
struct Control {
    sink: Sink,
    presence: Option<Presence>,
}

/// The routes of the page's buttons, which change the behaviour of the sink. With a `presence`, the sink's
/// server stops listening as long as connections are to be refused.
pub fn control(sink: &Sink, presence: Option<Presence>) -> Router {
    let state = Control { sink: sink.clone(), presence };
    Router::new().route("/api/v1/sink/behaviour", post(behave)).with_state(state)
}

/// Closes connections without an answer while the sink refuses connections. The page is on the same port, so
/// the port stays open, and the page and its buttons still work.
async fn cut(State(sink): State<Sink>, request: Request, next: Next) -> Response {
    let path = request.uri().path();
    let is_page = path == "/" || path.starts_with("/api/v1/status/") || path.starts_with("/api/v1/sink/");
    if !sink.behaviour().refuse || is_page {
        return next.run(request).await;
    }
    // The body fails before its first byte. The server has not sent the head at that time, and closes the
    // connection.
    let broken = futures_util::stream::once(async { Err::<bytes::Bytes, _>("cut on purpose") });
    Response::new(Body::from_stream(broken))
}

async fn behave(State(control): State<Control>, body: axum::body::Body) -> Response {
    let Control { sink, presence } = control;
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
    if let Some(presence) = presence {
        presence.set_away(behaviour.refuse);
    }
    axum::Json(behaviour).into_response()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::Accept;
    use tokio::io::{AsyncReadExt, AsyncWriteExt};
    use tokio::net::TcpStream;

    async fn answer(address: std::net::SocketAddr, method: &str, path: &str) -> String {
        let mut stream = TcpStream::connect(address).await.unwrap();
        let head = format!("{method} {path} HTTP/1.1\r\nhost: 127.0.0.1\r\nconnection: close\r\n");
        stream.write_all(format!("{head}content-length: 1\r\n\r\nx").as_bytes()).await.unwrap();
        let mut answer = Vec::new();
        // A reset also closes the connection.
        let _ = stream.read_to_end(&mut answer).await;
        String::from_utf8(answer).unwrap()
    }

    #[tokio::test]
    async fn pushes_get_no_byte_of_an_answer_while_the_sink_refuses() {
        let refusing = Behaviour { refuse: true, ..Behaviour::default() };
        let sink = Sink::new(WindowLimits::DEFAULT, Accept::Both, refusing, None);
        let listening = Listening::on(([127, 0, 0, 1], 0).into()).unwrap();
        let server = listening.serve(router(sink.clone()));
        let address = server.address();
        assert_eq!(answer(address, "POST", "/api/v1/write").await, "");
        assert_eq!(answer(address, "GET", "/-/ready").await, "");
        assert!(answer(address, "GET", "/").await.starts_with("HTTP/1.1 200"));
        assert!(answer(address, "GET", "/api/v1/status/sink").await.starts_with("HTTP/1.1 200"));
        sink.behave(Behaviour::default());
        assert!(answer(address, "POST", "/api/v1/write").await.starts_with("HTTP/1.1 400"));
        server.stop().await;
    }
}
