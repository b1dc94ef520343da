//! Lost or refused samples, while it happens and afterwards.

use super::{Shown, samples};
use support::prometheus::Options;
use support::wire::{self, Series, Version};
use support::{Answer, FakeReceiver, Prometheus, SOON, now_ms, wait_for, wait_until};

const REFUSED: [&str; 2] = ["refusing", "refused"];
const LOST: [&str; 2] = ["losing", "lost"];

#[test]
fn samples_refused_with_400_are_red_also_after_a_kill() {
    let receiver = FakeReceiver::start();
    receiver.answer(|_| Answer::status(400).body("label name too long"));
    let Some(mut shown) = Shown::start(&receiver.write_url(), "") else { return };
    shown.expect("ok", &["idle"], "Nothing has been delivered yet.");
    assert_eq!(shown.import(&samples(30)), 204);
    shown.expect("error", &REFUSED, "prod is refusing samples: 30 in the last hour (label too long)");
    shown.page.wait_for("document.querySelector('.who i.off') !== null", SOON);
    shown.shoot("refusing");
    let lines = shown.narthex().process.lines().join("\n");
    assert!(!lines.contains("accepted what was sent"), "{lines}");
    shown.wait_for_saved("prod", "label too long", || 30);
    // Healthy again, killed and started: the refusals within the hour are still shown.
    receiver.answer(Answer::success);
    shown.restart();
    assert_eq!(shown.import("good 1\n"), 204);
    wait_until("it to be delivered", SOON, || receiver.stored() > 0);
    // This run has seen no refusal: it is unknown if the destination still refuses samples.
    let past = "30 samples were refused by prod in the last hour (label too long), the last ";
    shown.expect("error", &["refused"], past);
    wait_for("the page to count since the start", SOON, || {
        let words = shown.page.text("#list").split_whitespace().collect::<Vec<_>>().join(" ");
        let is = words.contains("Accepts samples.") && words.contains("refused since then 0");
        if is { Ok(()) } else { Err(words) }
    });
    shown.check();
}

#[test]
fn every_sample_refused_by_a_real_prometheus_is_red() {
    let Some(peers) = support::peers() else { return };
    let prometheus = Prometheus::start(&peers, Options::receiver());
    let now = now_ms();
    let first = [Series::new("first", &[], &[(now, 1.0)])];
    wire::push(&prometheus.write_url(), Version::V1, &first).unwrap().expect_success();
    let Some(shown) = Shown::start(&prometheus.write_url(), "") else { return };
    // Two hours older than Prometheus' newest sample: all of them are out of bounds.
    let old: Vec<Series> = (0..1336)
        .map(|number| Series::new("old", &[("id", &number.to_string())], &[(now - 7_200_000, 1.0)]))
        .collect();
    wire::push(&shown.narthex().write_url(), Version::V1, &old).unwrap().expect_success();
    shown.expect("error", &REFUSED, "1,336 in the last hour (out of bounds)");
    let destination = shown.narthex().get("/api/v1/status/remote_write").json()["destinations"][0].clone();
    assert_eq!(
        (&destination["failed"], &destination["level"]),
        (&1336.into(), &"error".into()),
        "{destination}"
    );
    let lines = shown.narthex().process.lines().join("\n");
    assert!(!lines.contains("accepted what was sent"), "{lines}");
    shown.check();
}

/// Pushes values that can't be compressed until `is_enough` returns true.
fn fill(shown: &Shown, is_enough: impl Fn(&Shown, u16) -> bool) {
    let mut dice = fastrand::Rng::with_seed(1);
    for round in 0..4000 {
        let body: String = (0..2000)
            .map(|number| format!("fill{{id=\"{number}\"}} {} {}\n", dice.f64(), now_ms() + round))
            .collect();
        let status = shown.import(&body);
        if is_enough(shown, status) {
            return;
        }
    }
    panic!("it is never enough");
}

#[test]
fn samples_dropped_from_a_full_log_are_red_also_after_a_kill() {
    let receiver = FakeReceiver::start();
    receiver.go_away();
    let text = format!(
        "remote_write:\n- url: {}\n  name: prod\n  queue_config: {{max_backoff: 200ms, max_shards: 1}}\n\
         log: {{max_size: 8MiB}}\ncollect: {{host: {{collectors: none}}, self: false}}\n",
        receiver.write_url()
    );
    let Some(mut shown) = Shown::start_with(&text) else { return };
    let destination =
        |shown: &Shown| shown.narthex().get("/api/v1/status/remote_write").json()["destinations"][0].clone();
    let lost = |shown: &Shown| destination(shown)["lost"].as_u64().unwrap();
    fill(&shown, |shown, status| {
        assert_eq!(status, 204);
        lost(shown) > 0
    });
    shown.expect("error", &LOST, "Samples are being lost: ");
    shown.expect("error", &LOST, "in the last hour (log full)");
    shown.shoot("losing");
    // Exactly: acknowledged samples are lost or waiting.
    let mut acknowledged = 0;
    wait_until("the numbers to add up", SOON, || {
        let status = shown.narthex().get("/api/v1/status/remote_write").json();
        let (log, one) = (&status["log"], &status["destinations"][0]);
        let number = |value: &serde_json::Value| value.as_u64().unwrap();
        acknowledged = number(&log["samples"]);
        number(&one["lost"]) + number(&one["waiting"]) == acknowledged
    });
    assert_eq!(shown.narthex().get("/-/ready").status, 200, "pushes are accepted all the time");
    // The number stays the same after the last drop, and after a kill.
    let before = lost(&shown);
    shown.wait_for_saved("prod", "log full", || before);
    shown.restart();
    // The samples that were only in memory were lost by the kill, and are counted.
    shown.wait_for_saved("prod", "log full", || before + lost(&shown));
    receiver.come_back();
    assert_eq!(shown.import("last 1\n"), 204);
    wait_until("all that is left to be delivered", SOON * 2, || {
        let one = destination(&shown);
        one["waiting"] == 0 && one["waiting_before_start"] == false && receiver.stored() > 0
    });
    let all = before + lost(&shown);
    assert_eq!(acknowledged + 1 - receiver.stored() as u64, all, "acknowledged, but not delivered");
    let metrics = shown.narthex().get("/metrics").text();
    let dropped = |line: &&str| {
        line.starts_with("prometheus_remote_storage_samples_dropped_total{")
            && line.contains("reason=\"log_budget\"")
    };
    let metric = metrics.lines().find(dropped).and_then(|line| line.rsplit(' ').next());
    assert_eq!(metric, Some(lost(&shown).to_string().as_str()), "the metric counts from the start on");
    shown.expect(
        "error",
        &LOST,
        &format!("{} samples were lost in the last hour (log full)", model::words::number(all)),
    );
}

#[test]
fn a_refusing_log_is_red_and_not_ready_until_there_is_space() {
    let receiver = FakeReceiver::start();
    receiver.go_away();
    let more = "log: {max_size: 8MiB, when_full: refuse}\n";
    let Some(mut shown) = Shown::start(&receiver.write_url(), more) else { return };
    assert_eq!(shown.narthex().get("/-/ready").status, 200);
    fill(&shown, |_, status| status == 503);
    for after_a_kill in [false, true] {
        if after_a_kill {
            shown.restart();
            wait_until("the log to be full again", SOON, || shown.import("a 1\n") == 503);
        }
        shown.expect("error", &["log_full"], "The log is full (log.max_size): the inputs accept no samples");
        let ready = shown.narthex().get("/-/ready");
        assert_eq!(
            (ready.status, ready.text().contains("when_full: refuse")),
            (503, true),
            "{}",
            ready.text()
        );
        assert_eq!(shown.narthex().get("/-/healthy").status, 200);
        let log = shown.narthex().get("/api/v1/status/remote_write").json()["log"].clone();
        assert_eq!((&log["full"], &log["full_reason"]), (&true.into(), &"budget".into()), "{log}");
    }
    receiver.come_back();
    wait_until("it to be ready again", SOON * 2, || shown.narthex().get("/-/ready").status == 200);
    shown.check();
}

#[test]
fn a_part_of_the_log_that_cannot_be_read_is_red() {
    let receiver = FakeReceiver::start();
    receiver.go_away();
    let Some(mut shown) = Shown::start(&receiver.write_url(), "") else { return };
    for _ in 0..20 {
        assert_eq!(shown.import(&samples(200)), 204);
    }
    shown.restart_after(|data| {
        let segments = std::fs::read_dir(data.join("wal")).unwrap();
        let first = segments.map(|entry| entry.unwrap().path()).min().unwrap();
        let mut bytes = std::fs::read(&first).unwrap();
        // Behind the series, so that the damaged bytes are samples.
        let at = bytes.iter().rposition(|byte| *byte != 0).unwrap() / 10 * 9;
        bytes[at] ^= 0xff;
        std::fs::write(&first, bytes).unwrap();
    });
    receiver.come_back();
    shown.expect("error", &["log_unreadable"], "could not be read in the last hour");
    let stretches = || {
        let summary = shown.narthex().get("/api/v1/status/summary").json();
        let details = summary["details"].as_array().unwrap();
        let unreadable = details.iter().find(|one| one["kind"] == "log_unreadable").unwrap();
        unreadable["sentence"].as_str().unwrap().split(' ').next().unwrap().parse().unwrap()
    };
    shown.wait_for_saved("", "", stretches);
    shown.restart();
    shown.expect("error", &["log_unreadable", "losing", "lost"], "in the last hour");
}

#[test]
fn lost_dead_letters_are_red_also_after_a_kill() {
    let receiver = FakeReceiver::start();
    receiver.answer(|_| Answer::status(400).body("label name too long"));
    let Some(mut shown) = Shown::start(&receiver.write_url(), "") else { return };
    // A file in place of the folder: nothing can be written there, not even by root.
    let dead = shown.narthex().data.join("dead");
    let _ = std::fs::remove_dir(&dead);
    std::fs::write(&dead, "").unwrap();
    assert_eq!(shown.import(&samples(30)), 204);
    let not_kept = "30 refused samples were not kept as dead letters of prod in the last hour";
    shown.expect_detail("error", "dead_letters_lost", not_kept);
    // Within the first minute the refusal itself is worse.
    shown.expect("error", &REFUSED, "30 in the last hour (label too long)");
    shown.shoot("dead-letters-lost");
    // There are no dead letters to look at.
    let words = shown.destination()["words"].to_string();
    assert!(words.contains("30 refused samples were not kept") && !words.contains("--dead"), "{words}");
    shown.page.wait_for("!document.querySelector('#details').innerText.includes('--dead')", SOON);
    shown.wait_for_saved("prod", "label too long", || 30);
    shown.wait_for_saved("prod", "", || 30);
    receiver.answer(Answer::success);
    shown.restart();
    shown.expect_detail("error", "dead_letters_lost", not_kept);
    let worst = "30 refused samples were not kept as dead letters in the last hour.";
    shown.expect("error", &["dead_letters_lost"], worst);
}

#[test]
fn refused_pushes_are_yellow_with_the_answer_and_counted() {
    let receiver = FakeReceiver::start();
    let Some(mut shown) = Shown::start(&receiver.write_url(), "") else { return };
    assert_eq!(shown.import("good 1\n"), 204);
    shown.expect("ok", &["delivered"], "Everything is delivered.");
    assert_eq!(shown.import("}{ this is nothing\n"), 400);
    assert_eq!(shown.narthex().post("/api/v1/write", &[], b"no snappy").status, 400);
    shown.expect("warning", &["pushes_refused"], "2 pushes were refused in the last 10 minutes (invalid).");
    let status = shown.narthex().get("/api/v1/status/remote_write").json();
    assert_eq!(status["inputs"]["refused"], 2, "{status}");
    assert_eq!(status["inputs"]["refused_by"]["import"]["invalid"], 1, "{status}");
    let series = "narthex_receive_refused_total{door=\"import\",input=\"import\",reason=\"invalid\"}";
    assert_eq!(shown.narthex().metric(series), Some(1.0));
    let text = |selector: &str| shown.page.text(selector);
    assert!(text("#details").contains("The last answer: "), "{}", text("#details"));
    let way = text("#way").split_whitespace().collect::<Vec<_>>().join(" ");
    assert!(way.contains("pushes refused 2"), "{way}");
    shown.shoot("pushes-refused");
    ["import", "remote_write_v1"].iter().for_each(|input| shown.wait_for_saved(input, "invalid", || 1));
    shown.restart();
    shown.expect("warning", &["pushes_refused"], "2 pushes were refused in the last 10 minutes (invalid).");
}
