//! Current problems, which end when their cause is fixed.

use super::{Shown, samples};
use support::narthex::config;
use support::process::Signal;
use support::wire;
use support::{Answer, FakeReceiver, SOON, wait_for, wait_until};

#[test]
fn a_failing_destination_is_red_with_its_waiting_samples() {
    let receiver = FakeReceiver::start();
    receiver.go_away();
    let Some(mut shown) = Shown::start(&receiver.write_url(), "") else { return };
    // More samples than the queue accepts.
    for _ in 0..30 {
        assert_eq!(shown.import(&samples(1000)), 204);
    }
    shown.expect("warning", &["destination_retrying"], "prod is failing: ");
    shown.expect("error", &["destination_failing"], "30,000 samples are waiting in the log, the oldest for ");
    let destination = shown.narthex().get("/api/v1/status/remote_write").json()["destinations"][0].clone();
    assert_eq!(destination["waiting"], 30_000, "{destination}");
    assert!(destination["requests_retried"].as_u64().unwrap() > 0, "{destination}");
    assert_eq!(destination["level"], "error", "{destination}");
    let list = shown.page.text("#list").split_whitespace().collect::<Vec<_>>().join(" ");
    assert!(list.contains("samples waiting 30,000"), "{list}");
    shown.shoot("failing");
    shown.restart();
    shown.expect("error", &["destination_failing"], "waiting in the log, the oldest for ");
    receiver.come_back();
    wait_until("all of it to be delivered", SOON * 2, || receiver.stored() >= 30_000);
    shown.expect("ok", &["delivered"], "Everything is delivered.");
    let destination = wait_for("nothing to wait", SOON, || {
        let one = shown.narthex().get("/api/v1/status/remote_write").json()["destinations"][0].clone();
        let waits =
            one["waiting"] != 0 || one["waiting_before_start"] != false || one["waiting_seconds"] != 0.0;
        if waits { Err(one.to_string()) } else { Ok(one) }
    });
    assert_eq!(destination["level"], "ok", "{destination}");
    // After a start, the state without waiting samples is shown immediately.
    shown.restart();
    shown.expect("ok", &["idle"], "Nothing has been delivered yet.");
}

#[test]
fn a_slow_destination_is_yellow_until_it_has_caught_up() {
    let receiver = FakeReceiver::start();
    let slow = |request: &_| Answer::success(request).delay(std::time::Duration::from_millis(300));
    receiver.answer(slow);
    let Some(mut shown) = Shown::start(&receiver.write_url(), "") else { return };
    assert_eq!(shown.import(&samples(1500)), 204);
    shown.expect("warning", &["catching_up"], "prod is catching up.");
    shown.restart();
    shown.expect("warning", &["catching_up"], "prod is catching up.");
    receiver.answer(Answer::success);
    shown.expect("ok", &["delivered"], "Everything is delivered.");
}

/// A stuck sample is shown as such. It does not make the destination look late or unreachable, not even while nothing
/// else is sent.
#[test]
fn a_stuck_series_is_yellow_without_affecting_others() {
    let receiver = FakeReceiver::start();
    receiver.answer(|request| {
        let mut is_stuck = false;
        wire::visit(request.version(), &request.content, |view| {
            is_stuck |= view.labels_map()["__name__"] == "stuck";
        })
        .unwrap();
        if is_stuck { Answer::status(500).body("it hurts") } else { Answer::success(request) }
    });
    let text = format!(
        "remote_write:\n- url: {}\n  name: prod\n  queue_config: {{batch_send_deadline: 50ms, max_backoff: 200ms, \
         min_shards: 4, max_shards: 4}}\ncollect: {{host: {{collectors: none}}, self: false}}\n",
        receiver.write_url()
    );
    let Some(mut shown) = Shown::start_with(&text) else { return };
    assert_eq!(shown.import("stuck 1\n"), 204);
    shown.expect(
        "warning",
        &["destination_retrying"],
        "prod is failing: 500 Internal Server Error: it hurts",
    );
    let stuck = "prod fails on a part of the series (64 of 256 lanes) and accepts the others: 500";
    let mut kinds = Vec::new();
    wait_until("the stuck sample to be late", SOON * 2, || {
        // The other series pause after it is known to be stuck.
        if kinds.last().is_none_or(|kind| kind != "series_stuck") {
            assert_eq!(shown.import(&samples(50)), 204);
        }
        let kind = shown.narthex().get("/api/v1/status/summary").json()["kind"].clone();
        if kinds.last() != Some(&kind) {
            kinds.push(kind);
        }
        shown.destination()["waiting_seconds"].as_f64().unwrap() > 22.0
    });
    assert_eq!(kinds, ["destination_retrying", "series_stuck"]);
    shown.expect("warning", &["series_stuck"], stuck);
    let destination = shown.destination();
    assert_eq!(
        (&destination["level"], &destination["state"]),
        (&"warning".into(), &"delivering".into()),
        "{destination}"
    );
    let state = "narthex_remote_state{remote_name=\"prod\",";
    let page = shown.narthex().get("/metrics").text();
    let is = page.lines().filter(|line| line.starts_with(state) && line.ends_with(" 1")).collect::<Vec<_>>();
    assert!(matches!(is[..], [one] if one.contains("state=\"delivering\"")), "{is:?}");
    shown.shoot("series-stuck");
    // After a kill it is stuck again as soon as others are accepted.
    shown.restart();
    wait_until("the sample to be stuck again", SOON * 2, || {
        assert_eq!(shown.import(&samples(50)), 204);
        shown.narthex().get("/api/v1/status/summary").json()["kind"] == "series_stuck"
    });
    shown.expect("warning", &["series_stuck"], stuck);
    receiver.answer(Answer::success);
    shown.expect("ok", &["delivered"], "Everything is delivered.");
}

#[test]
fn a_destination_that_does_not_authorise_is_red_with_the_remedy() {
    let receiver = FakeReceiver::start();
    receiver.answer(|_| Answer::status(401).body("token has expired"));
    let Some(mut shown) = Shown::start(&receiver.write_url(), "") else { return };
    assert_eq!(shown.import("a 1\n"), 204);
    for after_a_kill in [false, true] {
        if after_a_kill {
            shown.restart();
        }
        shown.expect(
            "error",
            &["unauthorized"],
            "prod does not authorise narthex: 401 Unauthorized: token has expired",
        );
    }
    shown.check();
}

#[test]
fn a_failed_reload_shows_until_a_later_one_succeeds() {
    let receiver = FakeReceiver::start();
    let Some(shown) = Shown::start(&receiver.write_url(), "") else { return };
    let good = std::fs::read_to_string(&shown.config).unwrap();
    config(shown.folder.path(), "remote_writ: []\n");
    shown.narthex().process.signal(Signal::HUP);
    shown.expect(
        "warning",
        &["reload_failed"],
        "The configuration was not reloaded, and the old one is in use: ",
    );
    shown.page.wait_for("document.querySelector('#sentence').innerText.includes('remote_writ')", SOON);
    assert_eq!(shown.narthex().get("/-/ready").status, 200);
    config(shown.folder.path(), &good);
    shown.narthex().process.signal(Signal::HUP);
    shown.expect("ok", &["idle"], "Nothing has been delivered yet.");
}

#[test]
fn a_group_whose_last_push_failed_is_yellow_until_a_good_one() {
    let receiver = FakeReceiver::start();
    let Some(mut shown) = Shown::start(&receiver.write_url(), "") else { return };
    let push =
        |shown: &Shown, body: &str| shown.narthex().post("/metrics/job/backup", &[], body.as_bytes()).status;
    assert_eq!(push(&shown, "a 1 1700000000\n"), 400);
    shown.expect("warning", &["groups_failing"], "The last push to 1 group was refused, wholly or in part.");
    shown.wait_for_saved("pushgateway", "invalid", || 1);
    shown.restart();
    shown.expect("warning", &["groups_failing"], "The last push to 1 group was refused, wholly or in part.");
    assert_eq!(shown.narthex().metric("narthex_groups_failing"), Some(1.0));
    assert_eq!(push(&shown, "a 1\n"), 200);
    // The refused push itself is shown for ten minutes.
    shown.expect("warning", &["pushes_refused"], "1 push was refused in the last 10 minutes");
    assert_eq!(shown.narthex().metric("narthex_groups_failing"), Some(0.0));
}

#[test]
fn a_collector_that_fails_is_yellow() {
    let receiver = FakeReceiver::start();
    let root = tempfile::tempdir().unwrap();
    std::fs::create_dir_all(root.path().join("proc")).unwrap();
    std::fs::write(root.path().join("proc/stat"), "").unwrap();
    std::fs::write(root.path().join("proc/loadavg"), "this is no load\n").unwrap();
    let collect = format!(
        "collect: {{host: {{interval: 1s, root: {}, collectors: [loadavg]}}, self: false}}\n",
        root.path().display()
    );
    let Some(mut shown) = Shown::start(&receiver.write_url(), &collect) else { return };
    shown.expect("warning", &["collector_failing"], "The collector loadavg is failing.");
    shown.restart();
    shown.expect("warning", &["collector_failing"], "The collector loadavg is failing.");
    std::fs::write(root.path().join("proc/loadavg"), "0.1 0.2 0.3 1/200 4242\n").unwrap();
    shown.expect("ok", &["delivered"], "Everything is delivered.");
}

#[test]
fn the_rate_on_the_page_is_correct_between_bursts() {
    let receiver = FakeReceiver::start();
    let Some(shown) = Shown::start(&receiver.write_url(), "") else { return };
    let rate =
        || shown.narthex().get("/api/v1/status/remote_write").json()["log"]["samples_per_second"].as_f64();
    let started = std::time::Instant::now();
    let mut pushed = 0;
    wait_until("a rate", SOON, || {
        // Bursts of 300 every two seconds.
        if started.elapsed().as_secs_f64() > 2.0 * f64::from(pushed) {
            assert_eq!(shown.import(&samples(300)), 204);
            pushed += 1;
        }
        pushed > 4 && rate().is_some_and(|rate| (rate - 150.0).abs() < 30.0)
    });
    let status = shown.narthex().get("/api/v1/status/remote_write").json();
    assert_eq!(status["rate_window_seconds"], 60);
    assert!(shown.page.text("#way").contains("samples/s, last 60 s"), "{}", shown.page.text("#way"));
}
