//! The paths that an agent serves: the page, the status as JSON, the metrics, readiness, and the inputs.

use crate::status::groups::{Ask, Groups};
use crate::status::hold::Summary;
use crate::status::monitor::Monitor;
use crate::status::ready::{InputFacts, why_not_ready};
use crate::status::{About, Status};
use crate::telemetry::Telemetry;
use axum::Router;
use axum::extract::{Query, Request, State};
use axum::middleware::Next;
use axum::response::{IntoResponse, Response};
use command::hostname;
use groups::Escaping;
use http::{HeaderMap, StatusCode, header};
use http_server::guard::{Guard, guard};
use http_server::security::Security;
use http_server::{Route, Routes};
use model::Clock;
use page::{Mode, page};
use receive::Doors;
use receive::answer::Refusal;
use receive::influx::ANY_HOST_PATHS;
use receive::influx::dialect::around;
use std::sync::Arc;

const READY: Route = get("/-/ready", "whether pushes are accepted");
const HEALTHY: Route = get("/-/healthy", "whether narthex answers");

const fn get(path: &'static str, what: &'static str) -> Route {
    Route { methods: "GET", path, what }
}

/// The parts that the handlers read.
#[derive(Debug, Clone)]
pub struct Watch {
    pub(crate) about: Arc<About>,
    pub(crate) telemetry: Arc<Telemetry>,
    pub(crate) monitor: Arc<Monitor>,
    pub(crate) doors: Doors,
    pub(crate) clock: Arc<dyn Clock>,
}

impl Watch {
    /// The router for all paths of the agent and for `more`. All of them are behind the checks of `security`.
    /// All except `/-/ready`, `/-/healthy` and the probes of InfluxDB's clients need the credentials that `security`
    /// asks for.
    pub fn router(&self, mode: Mode, more: Routes, security: &Security) -> Router {
        let watch = self.clone();
        let open = Routes::default()
            .add(READY, |other| other.get(ready))
            .add(HEALTHY, |other| other.get(|| async { "healthy\n" }))
            .with_state(watch.clone())
            .merge(self.doors.open_routes());
        let inside = Routes::default()
            .add(get("/", "the page"), |other| other.get(move || async move { page(mode) }))
            .add(get("/metrics", "narthex' own metrics, and the groups if they are exposed"), |other| {
                other.get(metrics)
            })
            .add(get("/api/v1/status/summary", "the state in one sentence"), |other| other.get(summary))
            .add(get("/api/v1/status/remote_write", "log, destinations and inputs"), |other| {
                other.get(status)
            })
            .add(get("/api/v1/status/groups", "the groups"), |other| other.get(groups))
            .with_state(watch)
            .merge(self.doors.routes())
            .merge(more)
            .into_router(open.listed());
        let guarding = Guard::new(&hostname(), security).answering(&ANY_HOST_PATHS);
        let router = security
            .protect(inside)
            .layer(axum::middleware::from_fn_with_state(self.doors.clone(), count_unauthorized))
            .merge(open.into_open_router())
            .layer(axum::middleware::from_fn_with_state(guarding, guard));
        security.decorate(around(router, self.doors.clone()))
    }

    /// Milliseconds since 1970.
    pub fn now_ms(&self) -> i64 {
        self.clock.now_ms()
    }

    pub fn status(&self) -> Status {
        Status::now(&self.about, &self.telemetry, &self.monitor, &*self.clock)
    }

    /// The summary of the state.
    pub fn summary(&self) -> Summary {
        self.monitor.observe().summary
    }

    /// Why the inputs can't accept requests; `None` if they can.
    pub fn why_not_ready(&self) -> Option<String> {
        let log = self.telemetry.storage().stats();
        why_not_ready(&InputFacts {
            disk_full: log.disk_full.get() > 0,
            log_full: log.budget_full.get() > 0,
            dead_task: self.telemetry.dead_task(),
        })
    }
}

/// Counts requests that are refused for missing or wrong credentials.
async fn count_unauthorized(State(doors): State<Doors>, request: Request, next: Next) -> Response {
    let only_reads = request.method().is_safe();
    let response = next.run(request).await;
    if response.status() == StatusCode::UNAUTHORIZED {
        doors.denied().requests.add(1);
        doors.denied().pushes.add(u64::from(!only_reads));
        tracing::warn!(count = 1, "a request without valid credentials was refused");
    }
    response
}

async fn ready(State(watch): State<Watch>) -> Response {
    match watch.why_not_ready() {
        None => "ready\n".into_response(),
        Some(why) => (StatusCode::SERVICE_UNAVAILABLE, format!("{why}\n")).into_response(),
    }
}

async fn summary(State(watch): State<Watch>) -> axum::Json<Summary> {
    axum::Json(watch.summary())
}

async fn status(State(watch): State<Watch>) -> axum::Json<Status> {
    axum::Json(watch.status())
}

async fn groups(State(watch): State<Watch>, Query(ask): Query<Ask>) -> Response {
    match watch.doors.groups().status().await {
        Ok(all) => axum::Json(Groups::of(all, &ask, watch.clock.now_ms())).into_response(),
        Err(refusal) => Refusal::from(refusal).into_response(),
    }
}

async fn metrics(State(watch): State<Watch>, headers: HeaderMap) -> Response {
    let accept = headers.get(header::ACCEPT).and_then(|accept| accept.to_str().ok());
    let escaping = Escaping::from_accept(accept);
    let mut text = formats::text::encode(&watch.telemetry.families());
    match watch.doors.exposition(escaping).await {
        Ok(groups) => text.push_str(&groups),
        Err(refusal) => return refusal.into_response(),
    }
    ([(header::CONTENT_TYPE, escaping.content_type())], text).into_response()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::config::Config;
    use crate::{Agent, Settings};
    use axum::body::Body;
    use remote::Url;
    use remote::config::RemoteWrite;
    use std::time::Duration;
    use tokio::time::Instant;
    use tower::ServiceExt;

    /// A clock that follows the runtime's time, which a test can stop and move.
    #[derive(Debug)]
    struct RuntimeClock(Instant);

    impl Clock for RuntimeClock {
        fn now_ms(&self) -> i64 {
            1_900_000_000_000 + self.monotonic().as_millis() as i64
        }
        fn monotonic(&self) -> Duration {
            self.0.elapsed()
        }
    }

    async fn ask(router: &Router, path: &str) -> (u16, String) {
        let request = Request::get(path).header(header::HOST, "127.0.0.1").body(Body::empty()).unwrap();
        let response = router.clone().oneshot(request).await.unwrap();
        let status = response.status().as_u16();
        let body = axum::body::to_bytes(response.into_body(), 1 << 20).await.unwrap();
        (status, String::from_utf8(body.to_vec()).unwrap())
    }

    async fn push(router: &Router, number: u64) -> u16 {
        let request = Request::post("/metrics/job/a").header(header::HOST, "127.0.0.1");
        let request = request.body(Body::from(format!("a {number}\n"))).unwrap();
        router.clone().oneshot(request).await.unwrap().status().as_u16()
    }

    #[tokio::test]
    async fn it_is_ready_during_an_outage_of_an_hour() {
        let folder = tempfile::tempdir().unwrap();
        let url = format!("http://127.0.0.1:{}", support::process::free_port());
        let url = Url::parse_short(&url).unwrap();
        let config = Config { destinations: vec![RemoteWrite::to(url)], ..Config::default() };
        let settings =
            Settings { config, data: folder.path().join("data"), job: "node".into(), instance: "a".into() };
        tokio::time::pause();
        let clock = Arc::new(RuntimeClock(Instant::now()));
        let agent = Agent::start_by(settings, clock).await.unwrap();
        let router = agent.router(Mode::Run, Routes::default(), &Security::open());
        for minute in 0..=60u64 {
            assert_eq!(push(&router, minute).await, 200, "minute {minute}");
            let summary: serde_json::Value =
                serde_json::from_str(&ask(&router, "/api/v1/status/summary").await.1).unwrap();
            if minute > 1 {
                assert_eq!(summary["kind"], "destination_failing", "minute {minute}: {summary}");
            }
            assert_eq!(ask(&router, "/-/ready").await, (200, "ready\n".into()), "minute {minute}");
            assert_eq!(ask(&router, "/-/healthy").await.0, 200, "minute {minute}");
            tokio::time::sleep(Duration::from_secs(60)).await;
        }
        tokio::time::resume();
        agent.stop(Duration::ZERO).await;
    }

    #[tokio::test]
    async fn it_is_not_ready_once_the_log_has_ended() {
        let folder = tempfile::tempdir().unwrap();
        let data = folder.path().join("data");
        let settings = Settings { config: Config::default(), data, job: "node".into(), instance: "a".into() };
        let agent = Agent::start(settings).await.unwrap();
        let router = agent.router(Mode::Run, Routes::default(), &Security::open());
        assert_eq!(ask(&router, "/-/ready").await.0, 200);
        let storage = agent.storage().clone();
        tokio::task::spawn_blocking(move || storage.close()).await.unwrap();
        let (status, why) = ask(&router, "/-/ready").await;
        assert_eq!((status, why.contains("the task that writes the log has ended")), (503, true), "{why}");
        assert_eq!(ask(&router, "/-/healthy").await.0, 200);
    }
}
