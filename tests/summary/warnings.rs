//! States that are yellow for an hour without an outage, and states that are only details.

use super::{Shown, samples};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use support::wire::{self, Histogram, Series, Version};
use support::{Answer, FakeReceiver, SOON, now_ms, wait_for, wait_until};

/// A 2.0 request with a native histogram that has custom bucket bounds, which 1.0 can't represent.
fn custom_buckets() -> Vec<u8> {
    let histogram =
        Histogram { count: 6, sum: 12.5, schema: -53, zero_threshold: 0.0, offset: 0, deltas: vec![6] };
    let mut message = histogram.encode(now_ms());
    wire::put_message(&mut message, 16, &0.5f64.to_le_bytes());
    let mut symbols = wire::Symbols::default();
    let mut series = Vec::new();
    wire::put_refs(&mut series, &["__name__", "latency"].map(|text| symbols.reference(text)));
    wire::put_message(&mut series, 3, &message);
    let mut request = Vec::new();
    symbols.put(&mut request);
    wire::put_message(&mut request, 5, &series);
    wire::snappy(&request)
}

#[test]
fn samples_unsupported_by_the_protocol_are_yellow_also_after_a_kill() {
    let receiver = FakeReceiver::start();
    let keys = "  protobuf_message: prometheus.WriteRequest\n";
    let Some(mut shown) = Shown::start_keys(&receiver.write_url(), keys, "", "") else { return };
    let answer = shown.narthex().post("/api/v1/write", &Version::V2.headers(), &custom_buckets());
    answer.expect_success();
    assert_eq!(shown.import("good 1\n"), 204);
    let sentence = "1 sample was not sent to prod in the last hour (not in its version of remote write).";
    shown.expect("warning", &["unsupported"], sentence);
    wait_until("what it can carry", SOON, || receiver.stored() == 1);
    let destination = shown.destination();
    assert_eq!(
        (&destination["level"], &destination["dropped"], &destination["failed"]),
        (&"warning".into(), &1.into(), &0.into()),
        "{destination}"
    );
    shown.shoot("unsupported");
    shown.wait_for_saved("prod", "not in its version of remote write", || 1);
    shown.restart();
    shown.expect("warning", &["unsupported"], sentence);
}

#[test]
fn samples_over_the_age_limit_are_yellow_also_after_a_kill() {
    let receiver = FakeReceiver::start();
    let queue = ", sample_age_limit: 1h";
    let Some(mut shown) = Shown::start_keys(&receiver.write_url(), "", queue, "") else { return };
    let old: String = (0..3).map(|id| format!("old{{id=\"{id}\"}} 1 {}\n", now_ms() - 7_200_000)).collect();
    assert_eq!(shown.import(&format!("{old}good 1\n")), 204);
    let sentence = "3 samples were dropped in the last hour: older than sample_age_limit.";
    shown.expect("warning", &["too_old"], sentence);
    wait_until("what is young enough", SOON, || receiver.stored() == 1);
    let destination = shown.destination();
    assert_eq!(
        (&destination["level"], &destination["dropped"]),
        (&"warning".into(), &3.into()),
        "{destination}"
    );
    shown.shoot("too-old");
    shown.wait_for_saved("prod", "", || 3);
    shown.restart();
    shown.expect("warning", &["too_old"], sentence);
}

/// An entry of a side queue, as `crates/remote/src/disk/aside.rs` describes it.
fn side_queue_entry(count: u32) -> Vec<u8> {
    let series: Vec<_> =
        (0..count).map(|id| Series::new("parked", &[("id", &id.to_string())], &[(now_ms(), 1.0)])).collect();
    let words = b"500 Internal Server Error: it hurts";
    let mut rest = now_ms().to_le_bytes().to_vec();
    for number in [count, 0, 0, words.len() as u32] {
        rest.extend_from_slice(&number.to_le_bytes());
    }
    rest.extend_from_slice(words);
    rest.extend_from_slice(&wire::snappy(&wire::encode(Version::V2, &series)));
    let mut entry = b"narthexA".to_vec();
    entry.extend_from_slice(&1u32.to_le_bytes());
    entry.extend_from_slice(&crc32c::crc32c(&rest).to_le_bytes());
    entry.extend_from_slice(&rest);
    entry
}

/// A destination has to fail on samples for 15 minutes before they are parked, so this test writes an entry of the side
/// queue into the data folder. `crates/remote` tests with a simulated clock how samples are parked.
#[test]
fn parked_samples_are_yellow_after_a_kill() {
    let receiver = FakeReceiver::start();
    let Some(mut shown) = Shown::start(&receiver.write_url(), "") else { return };
    assert_eq!(shown.import("good 1\n"), 204);
    shown.expect("ok", &["delivered"], "Everything is delivered.");
    shown.restart_after(|data| {
        std::fs::create_dir_all(data.join("dead")).unwrap();
        let mut files = std::fs::read_dir(data.join("positions")).unwrap();
        let positions = files.next().unwrap().unwrap().file_name().into_string().unwrap();
        let entry = data.join(format!("dead/{positions}.aside-0000000000000000"));
        std::fs::write(entry, side_queue_entry(3)).unwrap();
    });
    for after_a_kill in [false, true] {
        if after_a_kill {
            shown.restart();
        }
        assert_eq!(shown.import("good 1\n"), 204);
        shown.expect("warning", &["parked"], "3 samples are parked: prod keeps failing on them.");
        let destination = shown.destination();
        assert_eq!(
            (&destination["level"], &destination["aside"]),
            (&"warning".into(), &3.into()),
            "{destination}"
        );
    }
    shown.shoot("parked");
}

#[test]
fn samples_dropped_by_rules_are_a_detail_and_green() {
    let receiver = FakeReceiver::start();
    let keys = "  write_relabel_configs: [{source_labels: [__name__], regex: many, action: drop}]\n";
    let Some(mut shown) = Shown::start_keys(&receiver.write_url(), keys, "", "") else { return };
    for after_a_kill in [false, true] {
        if after_a_kill {
            shown.restart();
        }
        assert_eq!(shown.import(&format!("{}good 1\n", samples(20))), 204);
        shown.expect("ok", &["delivered"], "Everything is delivered.");
        let detail = "20 samples were not sent to prod because of its rules, since the start.";
        shown.expect_detail("ok", "dropped_by_rule", detail);
        let destination = shown.destination();
        assert_eq!(
            (&destination["level"], &destination["dropped"]),
            (&"ok".into(), &20.into()),
            "{destination}"
        );
        shown.page.wait_for("document.querySelector('.who i.good') !== null", SOON);
    }
    shown.shoot("dropped-by-rule");
}

/// Requests that a kill interrupts are sent again. The receiver may refuse samples that it had written already.
#[test]
fn repeats_after_a_restart_are_a_detail_and_stay_green() {
    let receiver = FakeReceiver::start();
    let Some(mut shown) = Shown::start(&receiver.write_url(), "") else { return };
    assert_eq!(shown.import("good 1\n"), 204);
    shown.expect("ok", &["delivered"], "Everything is delivered.");
    // The receiver has them, but its answer never arrives.
    let never = Arc::new(AtomicBool::new(false));
    let asked = Arc::new(AtomicBool::new(false));
    let (wait, tell) = (never.clone(), asked.clone());
    receiver.answer(move |request| {
        tell.store(true, Ordering::SeqCst);
        Answer::success(request).once(&wait)
    });
    assert_eq!(shown.import(&samples(5)), 204);
    wait_until("a request to be in flight", SOON, || asked.load(Ordering::SeqCst));
    shown.restart_after(|_| {
        receiver.answer(|_| Answer::status(400).body("out of order sample"));
        never.store(true, Ordering::SeqCst);
    });
    let detail =
        "5 samples were refused by prod in the last hour because an earlier request had already written";
    shown.expect_detail("ok", "already_written", detail);
    let destination = shown.destination();
    assert_eq!(
        (&destination["failed"], &destination["already_written"]),
        (&5.into(), &5.into()),
        "{destination}"
    );
    let words = destination["words"].as_str().unwrap();
    assert!(
        destination["state"] == "idle" && words.starts_with("Nothing has been delivered"),
        "{destination}"
    );
    let page = shown.narthex().get("/metrics").text();
    let refusing =
        page.lines().find(|line| line.starts_with("narthex_remote_state") && line.contains("refusing"));
    assert!(refusing.is_some_and(|line| line.ends_with(" 0")), "{refusing:?}");
    shown.shoot("already-written");
    receiver.answer(Answer::success);
    assert_eq!(shown.import("good 2\n"), 204);
    shown.expect("ok", &["delivered"], "Everything is delivered.");
    wait_for("the destination to be green", SOON, || {
        let dot = shown.page.eval("document.querySelector('.who i').className");
        if dot == "good" { Ok(()) } else { Err(dot.to_string()) }
    });
    shown.wait_for_saved("prod", "", || 5);
    shown.restart();
    assert_eq!(shown.import("good 3\n"), 204);
    shown.expect("ok", &["delivered"], "Everything is delivered.");
    shown.expect_detail("ok", "already_written", detail);
}
