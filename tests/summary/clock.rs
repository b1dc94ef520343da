//! A wall clock that is not set. Without further tools no process can have one, so narthex runs inside of the test,
//! with a clock that the test sets.

use agent::config::Config;
use agent::{Agent, Settings};
use http_server::security::Security;
use http_server::{Listening, Routes};
use model::Clock;
use page::Mode;
use remote::{RemoteWrite, Url};
use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};
use support::{Chromium, FakeReceiver, SOON, wait_for};

/// A machine's clock that is not set at first.
#[derive(Debug)]
struct Unset {
    began: Instant,
    is_set: AtomicBool,
}

impl Clock for Unset {
    fn now_ms(&self) -> i64 {
        let now = SystemTime::now().duration_since(UNIX_EPOCH).unwrap().as_millis() as i64;
        // A machine without a battery starts in 1970.
        if self.is_set.load(Ordering::Relaxed) { now } else { self.monotonic().as_millis() as i64 }
    }
    fn monotonic(&self) -> Duration {
        self.began.elapsed()
    }
}

async fn start(data: &Path, receiver: &FakeReceiver, clock: Arc<Unset>) -> Agent {
    let url = Url::parse_short(&receiver.write_url()).unwrap();
    let config = Config { destinations: vec![RemoteWrite::to(url)], ..Config::default() };
    let settings = Settings { config, data: data.join("data"), job: "node".into(), instance: "a".into() };
    Agent::start_by(settings, clock).await.unwrap()
}

#[test]
fn an_unset_clock_is_yellow_until_it_is_set() {
    let Some(program) = Chromium::find() else { return };
    let (folder, receiver) = (tempfile::tempdir().unwrap(), FakeReceiver::start());
    let browser = Chromium::start(&program);
    let runtime = tokio::runtime::Builder::new_multi_thread().enable_all().build().unwrap();
    for is_last in [false, true] {
        let clock = Arc::new(Unset { began: Instant::now(), is_set: AtomicBool::new(false) });
        let agent = runtime.block_on(start(folder.path(), &receiver, clock.clone()));
        let security = Security::open();
        let server = runtime.block_on(async {
            let router = agent.router(Mode::Run, Routes::default(), &security);
            Listening::on(([127, 0, 0, 1], 0).into()).unwrap().serve(router)
        });
        let url = format!("http://{}", server.address());
        let page = browser.open(&format!("{url}/"));
        let expect = |level: &str, kind: &str, class: &str, words: &str| {
            wait_for(kind, SOON * 2, || {
                let summary = support::http::get(&format!("{url}/api/v1/status/summary")).unwrap().json();
                let is = summary["level"] == level && summary["kind"] == kind;
                if is { Ok(()) } else { Err(summary.to_string()) }
            });
            let state = format!(
                "document.querySelector('#state').className === '{class}' && \
                 document.querySelector('#sentence').innerText.includes('{words}')"
            );
            page.wait_for(&state, SOON);
        };
        expect("warning", "clock_not_set", "warn", "clock is not set: nothing is collected until it is");
        if is_last {
            clock.is_set.store(true, Ordering::Relaxed);
            expect("ok", "idle", "", "Nothing has been delivered yet.");
        }
        runtime.block_on(async {
            server.stop().await;
            agent.stop(Duration::ZERO).await;
        });
    }
}
