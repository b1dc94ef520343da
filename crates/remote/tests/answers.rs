//! How delivery reacts to each answer of a receiver.
#![allow(clippy::unwrap_used, clippy::indexing_slicing, reason = "tests")]

mod common;

use common::{World, wait_for_number, wait_until_denied};
use formats::remote_write::Protocol;
use remote::State;
use remote::config::{Message, Narrowing};
use std::time::Duration;
use support::receiver::{Answer, Ending, Received};
use support::wire::{Version, visit};
use support::{SOON, wait_until};

fn count(request: &Received) -> usize {
    let mut count = 0;
    visit(request.version(), &request.content, |view| count += view.samples.len()).unwrap();
    count
}

fn has(request: &Received, instance: &str) -> bool {
    let mut found = false;
    visit(request.version(), &request.content, |view| found |= view.labels_map()["instance"] == instance)
        .unwrap();
    found
}

#[test]
fn samples_arrive_by_2_0_with_the_headers_that_the_specification_asks_for() {
    let world = World::new();
    let destination = world.start(world.config());
    for _ in 0..10 {
        world.push(100);
    }
    let tally = world.wait_for_all();
    assert_eq!((tally.repeated, tally.out_of_order, tally.unexpected), (0, 0, 0));
    for request in world.receiver.requests().iter() {
        assert_eq!(request.method, "POST");
        assert_eq!(request.header("content-type"), Some(Protocol::V2.content_type()));
        assert_eq!(request.header("content-encoding"), Some("snappy"));
        assert_eq!(request.header("x-prometheus-remote-write-version"), Some("2.0.0"));
        assert!(request.header("user-agent").unwrap().starts_with("narthex/"));
        assert_eq!(request.header("retry-attempt"), None);
    }
    let stats = destination.stats().clone();
    let report = world.stop(destination);
    assert!(report.complete && report.positions_saved && report.pending == 0, "{report:?}");
    assert_eq!(stats.delivered.get().samples, 1000);
    assert_eq!(stats.pending().total(), 0);
    assert_eq!(stats.protocol(), Some(Protocol::V2));
    assert!(stats.first_accepted_ms.get() > 0);
    assert_eq!(stats.highest_ms.get(), stats.highest_sent_ms.get());
}

#[test]
fn a_receiver_of_1_0_is_recognized_by_whatever_it_answers_to_2_0() {
    for answer in [
        Answer::status(415),
        Answer::status(204),
        Answer::status(200).body("ok"),
        Answer::status(400).body("unexpected EOF"),
    ] {
        let world = World::new();
        let status = answer.status;
        world.receiver.answer(move |request| match request.version() {
            Version::V1 => Answer::success(request),
            Version::V2 => answer.clone(),
        });
        let destination = world.start(world.config());
        for _ in 0..5 {
            world.push(10);
        }
        let tally = world.wait_for_all();
        assert_eq!((tally.repeated, tally.out_of_order), (0, 0), "{status}");
        let asked =
            world.receiver.requests().iter().filter(|request| request.version() == Version::V2).count();
        assert_eq!(asked, 1, "2.0 is tried once, {status}");
        world.stop(destination);
    }
}

#[test]
fn a_pinned_version_is_the_only_one_sent() {
    for (message, version) in [(Message::V1, Version::V1), (Message::V2, Version::V2)] {
        let world = World::new();
        let mut config = world.config();
        config.protobuf_message = Some(message);
        let destination = world.start(config);
        world.push(10);
        world.wait_for_all();
        assert!(world.receiver.requests().iter().all(|request| request.version() == version));
        world.stop(destination);
    }
}

#[test]
fn what_can_be_retried_is_retried_until_it_arrives_once_and_in_order() {
    type Fault = fn(&Received) -> Answer;
    let faults: [(&str, Fault, bool); 15] = [
        ("408", |_| Answer::status(408), false),
        ("429", |_| Answer::status(429).header("Retry-After", "0"), false),
        ("500", |_| Answer::status(500).body("boom"), false),
        ("502", |_| Answer::status(502), false),
        ("503", |_| Answer::status(503).header("Retry-After", "Sun, 06 Nov 1994 08:49:37 GMT"), false),
        ("reset before the answer", |_| Answer::status(204).ending(Ending::NoAnswer), false),
        ("reset after it was stored", |r| Answer::success(r).ending(Ending::NoAnswer), true),
        ("half an answer", |_| Answer::status(500).ending(Ending::HalfAnswer), false),
        (
            "half an answer after it was stored",
            |request| Answer::success(request).ending(Ending::HalfAnswer),
            true,
        ),
        (
            "a nonsensical Retry-After",
            |request| {
                let says = ["soon", "-5", "", "99999999999999999999"][request.number / 2 % 4];
                Answer::status(503).header("Retry-After", says)
            },
            false,
        ),
        (
            "a body shorter than its length",
            |_| Answer::status(503).header("Content-Length", "1000").body("boom").ending(Ending::Close),
            false,
        ),
        (
            "a body longer than its length",
            |_| Answer::status(503).header("Content-Length", "2").body("boom").ending(Ending::Close),
            false,
        ),
        (
            "a length that is no number",
            |_| Answer::status(503).header("Content-Length", "many").body("boom").ending(Ending::Close),
            false,
        ),
        ("an odd status", |_| Answer::status(799), false),
        ("closed after each answer", |_| Answer::status(503).ending(Ending::Close), false),
    ];
    for (name, fault, may_repeat) in faults {
        let world = World::new();
        let mut config = world.config();
        config.queue_config.max_samples_per_send = 10;
        config.queue_config.min_shards = 3;
        // Every second one of the first twenty requests fails.
        world.receiver.answer(move |request| {
            if request.number.is_multiple_of(2) && request.number < 20 {
                fault(request)
            } else {
                Answer::success(request)
            }
        });
        let destination = world.start(config);
        for _ in 0..20 {
            world.push(20);
        }
        let tally = world.wait_for_all();
        assert_eq!(tally.out_of_order, 0, "{name}");
        assert!(may_repeat || tally.repeated == 0, "{name}: {tally:?}");
        let attempts: Vec<String> = world
            .receiver
            .requests()
            .iter()
            .filter_map(|request| Some(request.header("retry-attempt")?.to_string()))
            .collect();
        assert!(attempts.contains(&"1".to_string()), "{name}: {attempts:?}");
        let stats = destination.stats().clone();
        assert!(world.stop(destination).complete);
        assert_eq!(stats.delivered.get().samples, 400, "{name}");
        assert_eq!(stats.refused.get().total(), 0, "{name}");
        assert_eq!(stats.requests_retried.get(), 10, "{name}");
        assert!(stats.last_error().is_some(), "{name}");
    }
}

#[test]
fn request_without_an_answer_in_time_is_sent_again() {
    let world = World::new();
    let mut config = world.config();
    config.remote_timeout = Duration::from_millis(200);
    world.receiver.answer(|request| {
        let delay = if request.number == 0 { Duration::from_millis(1500) } else { Duration::ZERO };
        Answer::success(request).delay(delay)
    });
    let destination = world.start(config);
    world.push(10);
    world.wait_for_all();
    wait_for_number("the state", 10, || destination.stats().delivered.get().samples);
    assert!(destination.stats().last_error().unwrap().contains("no answer within 200ms"));
    assert_eq!(destination.stats().state(), State::Delivering);
    world.stop(destination);
}

#[test]
fn answer_that_comes_byte_by_byte_counts_if_it_ends_in_time() {
    for (pause, timeout, in_time) in [(1, 10_000, true), (20, 300, false)] {
        let world = World::new();
        let mut config = world.config();
        config.remote_timeout = Duration::from_millis(timeout);
        world.receiver.answer(move |request| match request.number {
            0 => Answer::success(request).ending(Ending::Slow(Duration::from_millis(pause))),
            _ => Answer::success(request),
        });
        let destination = world.start(config);
        world.push(10);
        let stats = destination.stats().clone();
        wait_for_number("delivery", 10, || stats.delivered.get().samples);
        assert!(world.stop(destination).complete);
        assert_eq!(stats.requests_retried.get(), u64::from(!in_time), "{pause} ms a byte");
        assert_eq!(world.tally().repeated, if in_time { 0 } else { 10 });
        let says = stats.last_error().unwrap_or_default();
        assert!(in_time || says.contains("no answer within 300ms"), "{says}");
    }
}

#[test]
fn retry_after_is_waited_for() {
    let world = World::new();
    world.receiver.answer(|request| match request.number {
        0 => Answer::status(503).header("Retry-After", "1"),
        _ => Answer::success(request),
    });
    let destination = world.start(world.config());
    world.push(10);
    world.wait_for_all();
    let requests = world.receiver.requests();
    assert!(requests[1].at - requests[0].at >= Duration::from_secs(1));
    drop(requests);
    world.stop(destination);
}

#[test]
fn a_refusal_of_2_0_is_settled_by_its_counts() {
    let world = World::new();
    world.receiver.answer(|request| {
        Answer::status(400)
            .header("X-Prometheus-Remote-Write-Samples-Written", &format!("{}", count(request) - 3))
            .body("out of order sample (and two more)")
    });
    let destination = world.start(world.config());
    world.push(50);
    let stats = destination.stats().clone();
    wait_for_number("the refusals", 3, || stats.refused.get().samples);
    assert!(world.stop(destination).complete);
    assert_eq!(world.receiver.requests().len(), 1, "nothing is sent again");
    assert_eq!(stats.delivered.get().samples, 47);
    assert!(stats.last_error().unwrap().contains("out of order sample (and two more)"));
    let letters = world.dead_letters();
    assert_eq!(letters.len(), 50, "which ones they were, is not known");
    let numbers = |letter: &serde_json::Value| letter["refused"] == 3 && letter["of"] == 50;
    assert!(letters.iter().all(numbers), "{letters:?}");
}

#[test]
fn only_samples_that_may_have_been_refused_become_dead_letters() {
    for (written, letters) in [(50, 0), (49, 50), (0, 50)] {
        let world = World::new();
        world.receiver.answer(move |_| {
            Answer::status(400)
                .header("X-Prometheus-Remote-Write-Samples-Written", &written.to_string())
                .header("X-Prometheus-Remote-Write-Exemplars-Written", "0")
                .body("out of order sample")
        });
        let destination = world.start(world.config());
        world.push(50);
        let stats = destination.stats().clone();
        let settled = || stats.delivered.get().samples + stats.refused.get().samples;
        wait_for_number("all to be settled", 50, settled);
        assert!(world.stop(destination).complete);
        let dead = world.dead_letters();
        assert_eq!(dead.len(), letters, "{written}");
        // If all samples were refused, each of them certainly was.
        let of = |letter: &serde_json::Value| letter.get("of").and_then(|of| of.as_u64());
        assert!(dead.iter().all(|letter| of(letter) == (written > 0).then_some(50)), "{written}: {dead:?}");
    }
}

#[test]
fn written_counts_are_compared_with_the_request() {
    let sent = 50;
    for (status, says, taken) in
        [(400, "999", 50), (204, "999", 50), (204, "50", 50), (204, "20", 20), (204, "0", 0)]
    {
        let world = World::new();
        world.receiver.answer(move |_| {
            Answer::status(status).header("X-Prometheus-Remote-Write-Samples-Written", says).body("words")
        });
        let destination = world.start(world.config());
        world.push(sent);
        let stats = destination.stats().clone();
        wait_for_number("all to be settled", 50, || {
            stats.delivered.get().samples + stats.refused.get().samples
        });
        assert_eq!(
            (stats.delivered.get().samples, stats.refused.get().samples),
            (taken, 50 - taken),
            "{status} {says}"
        );
        assert!(world.stop(destination).complete);
        assert_eq!(world.receiver.requests().len(), 1, "{status} {says}: nothing is sent again");
    }
    // A header that is no number is ignored: the receiver counts as one of 1.0, as without the header.
    for says in ["many", "-3", ""] {
        let world = World::new();
        world.receiver.answer(move |request| match request.version() {
            Version::V2 => Answer::status(204).header("X-Prometheus-Remote-Write-Samples-Written", says),
            Version::V1 => Answer::success(request),
        });
        let destination = world.start(world.config());
        world.push(sent);
        let stats = destination.stats().clone();
        wait_for_number("delivery", 50, || stats.delivered.get().samples);
        assert_eq!(stats.protocol(), Some(Protocol::V1), "{says:?}");
        assert!(world.stop(destination).complete);
    }
}

#[test]
fn large_request_keeps_numbers_range_and_series() {
    let world = World::new();
    world.receiver.answer(|request| {
        let written = (count(request) - 1).to_string();
        Answer::status(400)
            .header("X-Prometheus-Remote-Write-Samples-Written", &written)
            .body("out of bounds")
    });
    let mut config = world.config();
    config.queue_config.batch_send_deadline = Duration::from_secs(3600);
    config.queue_config.max_samples_per_send = 400;
    let destination = world.start(config);
    world.push(200);
    world.push(200);
    let stats = destination.stats().clone();
    wait_for_number("the refusal", 1, || stats.refused.get().samples);
    assert!(world.stop(destination).complete);
    let dead = world.dead_letters();
    assert_eq!(dead.len(), 1, "{dead:?}");
    let line = &dead[0];
    assert_eq!((&line["refused"], &line["of"], &line["more_series"]), (&1.into(), &400.into(), &0.into()));
    assert_eq!(line["to"].as_i64().unwrap() - line["from"].as_i64().unwrap(), 1000);
    let series = line["series"].as_array().unwrap();
    assert_eq!(series.len(), 200);
    assert!(series.iter().any(|labels| labels["instance"] == "17"));
    assert!(line["answer"].as_str().unwrap().contains("out of bounds"));
}

#[test]
fn refusal_without_counts_is_narrowed_to_the_bad_sample() {
    for status in [400, 409, 422] {
        let world = World::new();
        world.receiver.answer(move |request| {
            if has(request, "17") {
                Answer::status(status).body("invalid label value")
            } else {
                Answer::success(request)
            }
        });
        let mut config = world.config();
        config.protobuf_message = Some(Message::V1);
        let destination = world.start(config);
        world.push(200);
        let stats = destination.stats().clone();
        wait_for_number("the good samples", 199, || stats.delivered.get().samples);
        wait_for_number("the bad sample", 1, || stats.refused.get().samples);
        let tally = world.tally();
        assert_eq!((tally.lost, tally.repeated, tally.out_of_order), (1, 0, 0));
        assert!(world.receiver.requests().len() <= 1 + 16 + 16);
        assert!(world.stop(destination).complete);
        let dead = world.dead_letters();
        assert_eq!(dead.len(), 1);
        assert_eq!((&dead[0]["labels"]["instance"], &dead[0]["reason"]), (&"17".into(), &"refused".into()));
        assert!(dead[0]["answer"].as_str().unwrap().contains("invalid label value"));
    }
}

#[test]
fn narrowing_can_be_switched_off() {
    let world = World::new();
    world.receiver.answer(
        |request| {
            if has(request, "17") { Answer::status(400) } else { Answer::success(request) }
        },
    );
    let mut config = world.config();
    config.protobuf_message = Some(Message::V1);
    config.narrow = Narrowing::Never;
    let destination = world.start(config);
    world.push(200);
    wait_for_number("the refusals", 200, || destination.stats().refused.get().samples);
    assert_eq!(world.receiver.requests().len(), 1);
    world.stop(destination);
}

#[test]
fn wholly_refused_batch_costs_nine_requests() {
    let world = World::new();
    world.receiver.answer(|_| Answer::status(400).body("out of bounds"));
    let mut config = world.config();
    config.protobuf_message = Some(Message::V1);
    let destination = world.start(config);
    world.push(500);
    let stats = destination.stats().clone();
    wait_for_number("the refusals", 500, || stats.refused.get().samples);
    assert_eq!(world.receiver.requests().len(), 9);
    assert_eq!(stats.refused_presumed.get(), 492);
    world.stop(destination);
}

#[test]
fn too_large_request_is_halved_and_the_size_remembered() {
    // The remembered size is at least `REQUEST_BYTES_MIN`. A receiver that accepts less still gets all
    // samples.
    for (takes, remembers) in [(40_000, true), (5000, false)] {
        let world = World::new();
        world.receiver.answer(move |request| {
            if request.content.len() > takes { Answer::status(413) } else { Answer::success(request) }
        });
        let mut config = world.config();
        config.protobuf_message = Some(Message::V1);
        config.queue_config.max_samples_per_send = 5000;
        let destination = world.start(config);
        let too_large = || world.receiver.requests().iter().filter(|request| request.status == 413).count();
        world.push(5000);
        world.wait_for_all();
        let first = too_large();
        assert!(first >= 2, "{first}");
        for _ in 0..3 {
            world.push(5000);
            let tally = world.wait_for_all();
            assert_eq!((tally.repeated, tally.out_of_order), (0, 0));
        }
        if remembers {
            assert!(first < 10, "halved each time: {first}");
            assert_eq!(too_large(), first, "once it is known what it takes, nothing larger is sent");
        }
        assert!(world.stop(destination).complete);
    }
}

#[test]
fn denied_access_is_shown_and_probed_once_a_minute() {
    let words = "remote write receiver needs to be enabled with --web.enable-remote-write-receiver";
    for status in [401, 403, 404] {
        let world = World::new();
        world.receiver.answer(move |_| Answer::status(status).body(words));
        let mut config = world.config();
        config.queue_config.min_shards = 2;
        let destination = world.start(config);
        world.push(100);
        let stats = destination.stats().clone();
        wait_until_denied(&stats, words);
        assert!(stats.state().to_string().starts_with(&format!("refused: {status} ")));
        wait_until("a wait of nearly a minute", SOON, || stats.retry_in_ms.get() > 50_000);
        let asked = world.receiver.requests().len();
        assert!(asked <= 2, "{asked}");
        world.clock.jump(Duration::from_secs(60));
        wait_until("a probe", SOON, || world.receiver.requests().len() == asked + 1);
        assert_eq!(count(world.receiver.requests().last().unwrap()), 1, "a probe is one sample");
        world.receiver.answer(Answer::success);
        world.clock.jump(Duration::from_secs(60));
        wait_until("delivery", SOON, || {
            world.clock.jump(Duration::from_secs(10));
            world.tally().lost == 0
        });
        assert_eq!(stats.refused.get().total(), 0);
        assert!(world.stop(destination).complete);
    }
}

#[test]
fn other_refusals_refuse_the_whole_batch() {
    let world = World::new();
    world.receiver.answer(|_| Answer::status(410).body("gone"));
    let destination = world.start(world.config());
    world.push(100);
    wait_for_number("the refusals", 100, || destination.stats().refused.get().samples);
    assert_eq!(world.receiver.requests().len(), 1);
    world.stop(destination);
}

#[test]
fn redirects_are_followed_with_method_and_body() {
    let world = World::new();
    world.receiver.answer(|request| match request.path.as_str() {
        "/elsewhere" => Answer::success(request),
        _ => Answer::status(308).header("Location", "/elsewhere"),
    });
    let destination = world.start(world.config());
    world.push(10);
    world.wait_for_all();
    world.stop(destination);
}

#[test]
fn redirect_without_a_target_is_shown() {
    let world = World::new();
    world.receiver.answer(|_| Answer::status(302).header("Location", "https://login.example/?secret=1"));
    let destination = world.start(world.config());
    world.push(10);
    let stats = destination.stats().clone();
    wait_until("the words", SOON, || matches!(stats.state(), State::Denied { .. }));
    let words = stats.state().to_string();
    assert!(words.contains("redirected to https://login.example/;") && !words.contains("secret"), "{words}");
    world.stop_now(destination);
}

#[test]
fn types_and_help_texts_go_with_each_series_in_2_0_and_by_themselves_in_1_0() {
    use formats::remote_write::{DecodeOptions, decode};
    use model::{Batch, Labels, Metadata, MetricType, Series};
    for message in [Message::V1, Message::V2] {
        let world = World::new();
        let mut config = world.config();
        config.protobuf_message = Some(message);
        let destination = world.start(config);
        let help = "how many there were";
        for step in 0..2 {
            let mut batch = Batch::new();
            if step == 0 {
                let (family, help) = ("things_total".into(), help.into());
                batch.metadata.push(Metadata {
                    family,
                    kind: MetricType::Counter,
                    help,
                    unit: String::new(),
                });
            }
            // The series itself has no metadata.
            let labels = Labels::from_pairs([("__name__", "things_total")]);
            let series = batch.add_series(labels.as_ref(), Series::NO_METADATA);
            batch.push_float(series, step, 1.0);
            world.runtime.block_on(world.storage().append(batch)).unwrap();
        }
        let stats = destination.stats().clone();
        wait_until("metadata", SOON, || {
            let requests = world.receiver.requests();
            let protocol = Protocol::from(message);
            requests.iter().any(|request| {
                let decoded = decode(protocol, &request.content, &DecodeOptions::default()).unwrap();
                decoded.batch.metadata.iter().any(|metadata| metadata.help == help)
            })
        });
        if message == Message::V1 {
            wait_for_number("the count", 1, || stats.metadata.get());
        }
        world.stop(destination);
    }
}

#[test]
fn age_limit_applies_at_each_try() {
    use model::{Batch, Clock, Labels, Series};
    let world = World::new();
    world.receiver.answer(|_| Answer::status(503));
    let mut config = world.config();
    config.queue_config.sample_age_limit = Duration::from_secs(3600);
    let destination = world.start(config);
    let stats = destination.stats().clone();
    let now = world.clock.now_ms();
    let mut batch = Batch::new();
    for (instance, timestamp) in [("old", now - 1_800_000), ("young", now)] {
        let labels = Labels::from_pairs([("__name__", "aging"), ("instance", instance)]);
        let series = batch.add_series(labels.as_ref(), Series::NO_METADATA);
        batch.push_float(series, timestamp, 1.0);
    }
    world.runtime.block_on(world.storage().append(batch)).unwrap();
    wait_until("a failure", SOON, || stats.requests_retried.get() > 0);
    assert_eq!(stats.dropped_too_old.get().total(), 0);
    world.clock.jump(Duration::from_secs(2700));
    // A try that was under way when the clock jumped still has both samples, so it must not succeed.
    wait_for_number("the old one", 1, || stats.dropped_too_old.get().samples);
    world.receiver.answer(Answer::success);
    wait_for_number("the young one", 1, || stats.delivered.get().samples);
    assert_eq!(stats.pending().total(), 0);
    assert!(world.stop(destination).complete);
    let arrivals = world.receiver.arrivals();
    assert!(arrivals.keys().all(|labels| labels["instance"] == "young") && arrivals.len() == 1);
}
