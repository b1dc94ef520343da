//! `narthex demo` as a new user sees it: its JSON, its page in a real browser, and the sink that is disconnected and
//! connected again.
#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::indexing_slicing,
    reason = "a panic is how a test reports"
)]

use serde_json::Value as Json;
use std::path::Path;
use support::{Chromium, Narthex, SOON, wait_for, wait_until};

const PROGRAM: &str = env!("CARGO_BIN_EXE_narthex");

fn demo(data: &Path) -> Narthex {
    Narthex::start_in(PROGRAM, "demo", data, &[])
}

fn status(demo: &Narthex) -> Json {
    demo.get("/api/v1/status/demo").expect_success().json()
}

fn count(demo: &Narthex, name: &str) -> u64 {
    status(demo)["ledger"][name].as_u64().unwrap()
}

fn tell(demo: &Narthex, behaviour: &str) {
    demo.post("/api/v1/sink/behaviour", &[("content-type", "application/json")], behaviour.as_bytes())
        .expect_success();
}

#[test]
fn collected_metrics_arrive_and_are_drawn() {
    let data = tempfile::tempdir().unwrap();
    let demo = demo(data.path());
    wait_until("two collections to arrive", SOON, || count(&demo, "arrived") > 1000);
    let status = wait_for("lines in the charts", SOON, || {
        let status = status(&demo);
        let charts = status["charts"].as_array().unwrap();
        let drawn = |title: &str| {
            let chart = charts.iter().find(|chart| chart["title"] == title).unwrap();
            chart["lines"]
                .as_array()
                .unwrap()
                .iter()
                .all(|line| !line["points"].as_array().unwrap().is_empty())
        };
        let missing: Vec<&str> =
            ["Processor", "Memory in use", "Load"].into_iter().filter(|t| !drawn(t)).collect();
        if missing.is_empty() { Ok(status.clone()) } else { Err(format!("nothing in {missing:?}")) }
    });
    assert_eq!(status["ledger"]["lost"], 0);
    assert_eq!(status["way"]["destinations"][0]["protocol"], "2.0");
    assert!(status["way"]["log"]["bytes"].as_u64().unwrap() > 0);
}

#[test]
fn pushed_samples_are_at_the_sink_within_seconds() {
    let data = tempfile::tempdir().unwrap();
    let demo = demo(data.path());
    demo.post("/metrics/job/demo", &[], b"my_metric 42\n").expect_success();
    let pushed = wait_for("the push to be listed", SOON, || {
        let status = status(&demo);
        status["pushed"].as_array().unwrap().first().cloned().ok_or("nothing is")
    });
    assert_eq!(pushed["series"], r#"my_metric{job="demo"}"#);
    assert_eq!(pushed["value"], 42.0);
}

#[test]
fn a_disconnected_sink_gets_everything_after_reconnection() {
    let data = tempfile::tempdir().unwrap();
    let demo = demo(data.path());
    wait_until("something to arrive", SOON, || count(&demo, "arrived") > 0);
    tell(&demo, r#"{"refuse": true}"#);
    let before = wait_for("samples to wait", SOON, || {
        let ledger = status(&demo)["ledger"].clone();
        if ledger["under_way"].as_u64().unwrap() > 2000 { Ok(ledger) } else { Err(ledger.to_string()) }
    });
    let way = status(&demo)["way"].clone();
    assert_eq!(way["destinations"][0]["state"], "retrying");
    assert!(way["destinations"][0]["words"].as_str().unwrap().contains("refused"), "{way}");
    tell(&demo, "{}");
    let waited = before["acknowledged"].as_u64().unwrap();
    wait_until("what waited to arrive", SOON, || {
        let ledger = status(&demo)["ledger"].clone();
        ledger["arrived"].as_u64().unwrap() >= waited && ledger["under_way"] == 0
    });
    assert_eq!(count(&demo, "lost"), 0);
}

#[test]
fn a_sink_that_failed_gets_everything_afterwards() {
    let data = tempfile::tempdir().unwrap();
    let demo = demo(data.path());
    tell(&demo, r#"{"fail": 503, "fail_every": 2}"#);
    wait_until("some failures", SOON, || {
        status(&demo)["requests"]["failed_on_purpose"].as_u64().unwrap() > 2
    });
    tell(&demo, "{}");
    let acknowledged = count(&demo, "acknowledged");
    wait_until("everything to arrive", SOON, || {
        let ledger = status(&demo)["ledger"].clone();
        ledger["arrived"].as_u64().unwrap() >= acknowledged && ledger["under_way"] == 0
    });
    assert_eq!(count(&demo, "lost"), 0);
}

#[test]
fn a_foreign_page_can_neither_read_nor_control() {
    let data = tempfile::tempdir().unwrap();
    let demo = demo(data.path());
    let foreign = [("origin", "http://evil.example")];
    assert_eq!(demo.post("/api/v1/sink/behaviour", &foreign, br#"{"refuse": true}"#).status, 403);
    assert_eq!(demo.post("/metrics/job/demo", &foreign, b"x 1\n").status, 403);
    let rebound = demo.request("GET", "/api/v1/status/demo", &[("host", "evil.example")], None);
    assert_eq!(rebound.status, 403);
    assert_eq!(status(&demo)["behaviour"]["refuse"], false);
}

#[test]
fn a_port_in_use_is_replaced_and_reported() {
    // The port is in use afterwards: by this test, or by another program already.
    let _taken = std::net::TcpListener::bind("127.0.0.1:9091");
    let demo = support::Process::start(Path::new(PROGRAM), ["demo"]);
    demo.wait_for_line("127.0.0.1:9091 is already in use", SOON);
    let url = support::narthex::listening_url(&demo);
    assert!(!url.ends_with(":9091"), "{url}");
    assert!(support::http::get(&format!("{url}/")).unwrap().text().contains("data-mode=\"demo\""));
    assert_eq!(demo.terminate(SOON).code(), Some(0));
}

#[test]
fn the_temporary_data_folder_is_removed_at_the_end() {
    let folder = tempfile::tempdir().unwrap();
    let environment = [("TMPDIR", folder.path().to_str().unwrap())];
    let arguments = ["demo", "--listen", "127.0.0.1:0"];
    let demo = support::Process::with_env(Path::new(PROGRAM), arguments, &environment);
    demo.wait_for_line("open http://127.0.0.1:", SOON);
    assert_eq!(folder.path().read_dir().unwrap().count(), 1);
    let ended = demo.terminate(SOON);
    assert_eq!(ended.code(), Some(0), "{}", demo.tail());
    assert_eq!(folder.path().read_dir().unwrap().count(), 0);
}

/// Tests the page in a browser. With `NARTHEX_SCREENSHOTS` set to a folder, screenshots are written there.
#[test]
fn the_page_shows_charts_and_the_outage() {
    let Some(program) = Chromium::find() else { return };
    let data = tempfile::tempdir().unwrap();
    let demo = demo(data.path());
    let browser = Chromium::start(&program);
    let page = browser.open(&format!("{}/", demo.url()));
    let shoot = |name: &str| {
        if let Some(folder) = std::env::var_os("NARTHEX_SCREENSHOTS") {
            page.screenshot(&Path::new(&folder).join(format!("{name}.png")), true);
        }
    };
    page.resize(1280, 900);
    page.wait_for("document.querySelector('#state').className === 'ok'", SOON);
    page.wait_for("document.querySelectorAll('#charts path.l').length >= 8", SOON);
    demo.post("/metrics/job/demo", &[], b"my_metric 42\n").expect_success();
    page.wait_for("document.querySelector('#pushed').innerText.includes('my_metric')", SOON);
    assert!(page.text("#curl").contains(demo.url().trim_start_matches("http://")));
    shoot("light");
    page.prefer("prefers-color-scheme", "dark");
    shoot("dark");

    page.click("#seg button:nth-child(2)");
    page.wait_for("document.querySelector('#sentence').innerText.startsWith('The sink is cut off.')", SOON);
    wait_until("samples to wait", SOON, || count(&demo, "under_way") > 5000);
    page.wait_for("document.querySelector('#detail').innerText.includes('refused')", SOON);
    shoot("cut");
    page.click("#seg button:nth-child(1)");
    page.wait_for("document.querySelector('#sentence').innerText.includes('lost 0')", SOON);
    wait_until("everything to arrive", SOON, || count(&demo, "under_way") == 0);
    page.wait_for("document.querySelector('#state').className === 'ok'", SOON);
    assert_eq!(count(&demo, "lost"), 0);
    shoot("back");

    page.resize(390, 844);
    assert_eq!(
        page.eval("document.documentElement.scrollWidth <= 390"),
        true,
        "nothing sticks out on a phone"
    );
    shoot("phone-dark");
    page.prefer("prefers-color-scheme", "light");
    shoot("phone");
    assert_eq!(page.problems(), Vec::<String>::new());
    for asked in page.requests() {
        assert!(asked.starts_with(demo.url()) || asked.starts_with("data:"), "{asked}");
    }
}
