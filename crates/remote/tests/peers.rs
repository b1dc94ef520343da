//! Tests against real receivers.
#![allow(clippy::unwrap_used, clippy::indexing_slicing, reason = "tests")]

mod common;

use common::{World, wait_for_number};
use formats::remote_write::Protocol;
use model::{Batch, Clock, Labels, Series};
use remote::config::Message;
use remote::{RefusedReason, State, Url};
use support::prometheus::Options;
use support::{Prometheus, SOON, VictoriaMetrics, peers, wait_until};

fn append(world: &World, name: &str, samples: &[(&str, i64, f64)]) {
    let mut batch = Batch::new();
    for (instance, timestamp, value) in samples {
        let labels = Labels::from_pairs([("__name__", name), ("instance", *instance)]);
        let series = batch.add_series(labels.as_ref(), Series::NO_METADATA);
        batch.push_float(series, *timestamp, *value);
    }
    world.runtime.block_on(world.storage().append(batch)).unwrap();
}

#[test]
fn prometheus_accepts_both_versions() {
    let Some(peers) = peers() else { return };
    let prometheus = Prometheus::start(&peers, Options::receiver());
    for (name, message, protocol) in [("by_2", None, Protocol::V2), ("by_1", Some(Message::V1), Protocol::V1)]
    {
        let world = World::new();
        let mut config = world.config();
        config.url = Url::parse(&prometheus.write_url()).unwrap();
        config.protobuf_message = message;
        let destination = world.start(config);
        let now = world.clock.now_ms();
        let instances: Vec<String> = (0..500).map(|number| number.to_string()).collect();
        for step in 0..10 {
            let at = now - 20_000 + step * 1000;
            let samples: Vec<_> = instances.iter().map(|instance| (instance.as_str(), at, 1.0)).collect();
            append(&world, name, &samples);
        }
        let stats = destination.stats().clone();
        wait_for_number("delivery", 5000, || stats.delivered.get().samples);
        assert_eq!(stats.protocol(), Some(protocol));
        assert!(world.stop(destination).complete);
        let got = prometheus.raw(name, "5m");
        assert_eq!(got.len(), 500);
        assert!(got.iter().all(|series| series.samples.len() == 10));
    }
}

#[test]
fn prometheus_refuses_only_the_one_bad_sample() {
    let Some(peers) = peers() else { return };
    let prometheus = Prometheus::start(&peers, Options::receiver());
    for (name, message) in [("bad_by_2", None), ("bad_by_1", Some(Message::V1))] {
        let world = World::new();
        let mut config = world.config();
        config.url = Url::parse(&prometheus.write_url()).unwrap();
        config.protobuf_message = message;
        let destination = world.start(config);
        let stats = destination.stats().clone();
        let now = world.clock.now_ms();
        append(&world, name, &[("7", now, 1.0)]);
        wait_for_number("the first", 1, || stats.delivered.get().samples);
        let instances: Vec<String> = (0..300).map(|number| number.to_string()).collect();
        // Instance 7 already has a newer sample.
        let samples: Vec<_> = instances.iter().map(|instance| (instance.as_str(), now - 5000, 2.0)).collect();
        append(&world, name, &samples);
        wait_for_number("the good ones", 300, || stats.delivered.get().samples);
        wait_for_number("the bad one", 1, || stats.refused.get().samples);
        assert!(stats.last_error().unwrap().contains("out of order"), "{:?}", stats.last_error());
        assert!(world.stop(destination).complete);
        assert_eq!(prometheus.raw(name, "5m").len(), 300);
    }
}

#[test]
fn prometheus_without_the_receiver_flag_is_explained() {
    let Some(peers) = peers() else { return };
    let prometheus = Prometheus::start(&peers, Options::default());
    let world = World::new();
    let mut config = world.config();
    config.url = Url::parse(&prometheus.write_url()).unwrap();
    let destination = world.start(config);
    append(&world, "x", &[("1", world.clock.now_ms(), 1.0)]);
    let stats = destination.stats().clone();
    wait_until("its words", SOON, || matches!(stats.state(), State::Denied { .. }));
    let words = stats.state().to_string();
    assert!(words.contains("404") && words.contains("--web.enable-remote-write-receiver"), "{words}");
    world.stop_now(destination);
}

#[test]
fn victoria_metrics_gets_its_version() {
    let Some(peers) = peers() else { return };
    let victoria = VictoriaMetrics::start(&peers);
    let world = World::new();
    let mut config = world.config();
    config.url = Url::parse(&victoria.write_url()).unwrap();
    let destination = world.start(config);
    let now = world.clock.now_ms();
    append(&world, "v", &[("1", now - 2000, 1.0), ("1", now - 1000, 2.0), ("2", now, 3.0)]);
    let stats = destination.stats().clone();
    wait_for_number("delivery", 3, || stats.delivered.get().samples);
    println!("spoken: {:?}", stats.protocol());
    assert!(world.stop(destination).complete);
    let got = victoria.export("v");
    assert_eq!(got.iter().map(|series| series.samples.len()).sum::<usize>(), 3, "{got:?}");
}

/// Adds a native histogram for each of these series.
fn push_histograms(batch: &mut Batch, name: &str, instances: std::ops::Range<usize>, timestamp: i64) {
    for instance in instances {
        let instance = instance.to_string();
        let labels = Labels::from_pairs([("__name__", name), ("instance", instance.as_str())]);
        let series = batch.add_series(labels.as_ref(), Series::NO_METADATA);
        let histogram = model::Histogram {
            reset_hint: model::ResetHint::Unknown,
            schema: 3,
            zero_threshold: 0.001,
            sum: 9.0,
            positive_spans: vec![model::BucketSpan { offset: 0, length: 1 }],
            negative_spans: vec![],
            counts: model::Counts::Integer { count: 2, zero: 0, positive: vec![2], negative: vec![] },
            custom_values: vec![],
        };
        batch.push_histogram(series, timestamp, 0, histogram);
    }
}

/// A Prometheus with only the receiver enabled refuses native histograms with 500, and the whole request with
/// them.
#[test]
fn disabled_native_histograms_refuse_only_themselves() {
    let Some(peers) = peers() else { return };
    let arguments = vec!["--web.enable-remote-write-receiver".to_string()];
    let prometheus = Prometheus::start(&peers, Options { arguments, ..Options::default() });
    for (name, message) in [("off_by_2", Message::V2), ("off_by_1", Message::V1)] {
        let world = World::new();
        let mut config = world.config();
        config.url = Url::parse(&prometheus.write_url()).unwrap();
        config.protobuf_message = Some(message);
        let destination = world.start(config);
        let stats = destination.stats().clone();
        let now = world.clock.now_ms();
        // Mixed requests, and one with only histograms.
        for (step, samples) in [(0, 100), (1, 100), (2, 0)] {
            let mut batch = Batch::new();
            for instance in 0..samples {
                let instance = instance.to_string();
                let labels = Labels::from_pairs([("__name__", name), ("instance", instance.as_str())]);
                let series = batch.add_series(labels.as_ref(), Series::NO_METADATA);
                batch.push_float(series, now - 20_000 + step * 1000, 1.0);
            }
            push_histograms(&mut batch, &format!("{name}_histogram"), 0..20, now - 20_000 + step * 1000);
            world.runtime.block_on(world.storage().append(batch)).unwrap();
            let (refused, delivered) = (20 * (step as u64 + 1), 100 * (step as u64 + 1).min(2));
            wait_for_number("refused histograms", refused, || stats.refused.get().histograms);
            wait_for_number("delivered samples", delivered, || stats.delivered.get().samples);
        }
        assert_eq!(stats.refused.get().samples, 0);
        assert_eq!(stats.refused_or_already_written.get(), 0);
        let reasons = stats.refused_reasons();
        let right = remote::Refusal { reason: RefusedReason::NativeHistogramsDisabled, status: "500" };
        assert_eq!(reasons, [(right, 60)]);
        // Immediately: without a pause and without narrowing.
        assert_eq!(stats.requests_retried.get(), 0);
        assert_eq!(stats.requests.get(), 5, "two for a mixed one, one for histograms alone");
        assert!(world.stop(destination).complete);
        assert_eq!(world.dead_letters().len(), 60);
        let got = prometheus.raw(name, "5m");
        assert_eq!((got.len(), got[0].samples.len()), (100, 2));
    }
}

/// Compares the validation of each relabelling action with Prometheus' own.
#[test]
fn narthex_and_promtool_accept_the_same_relabelling_rules() {
    let Some(peers) = peers() else { return };
    let folder = tempfile::tempdir().unwrap();
    let actions = [
        "replace",
        "Keep",
        "DROP",
        "keepequal",
        "DropEqual",
        "hashmod",
        "labelmap",
        "labeldrop",
        "LabelKeep",
        "lowercase",
        "UpperCase",
        "explode",
        "",
    ];
    let values = [
        (r#""source_labels": ["a", "b-c"]"#, r#""source_labels": [""]"#),
        (r#""target_label": "a.b""#, r#""target_label": """#),
        (r#""regex": "(.*)""#, r#""regex": "(""#),
        (r#""separator": ";""#, r#""separator": ",""#),
        (r#""replacement": "$1""#, r#""replacement": "x""#),
        (r#""modulus": 0"#, r#""modulus": 7"#),
        (r#""replacement": """#, r#""target_label": "${1}-x""#),
    ];
    let mut rules = Vec::new();
    for action in actions {
        // Each key with the keys that most actions need, and without them.
        for key in values.iter().flat_map(|(first, second)| [*first, *second]).chain([""]) {
            for needed in ["", r#""target_label": "t""#, r#""modulus": 3, "target_label": "t""#] {
                let name = key.split(':').next().unwrap_or_default();
                if key.is_empty() || !needed.contains(name) {
                    let action = format!(r#""action": "{action}""#);
                    let parts = [action.as_str(), key, needed];
                    let parts: Vec<_> = parts.into_iter().filter(|part| !part.is_empty()).collect();
                    rules.push(format!("{{{}}}", parts.join(", ")));
                }
            }
        }
    }
    let file = |number: usize| folder.path().join(format!("rule-{number}.yml"));
    for (number, rule) in rules.iter().enumerate() {
        let text = format!("remote_write:\n- url: http://h/\n  write_relabel_configs: [{rule}]\n");
        std::fs::write(file(number), text).unwrap();
    }
    let files = (0..rules.len()).map(file);
    let check = std::process::Command::new(&peers.promtool).args(["check", "config"]).args(files).output();
    let said = String::from_utf8(check.unwrap().stdout).unwrap();
    let mut accepted = 0;
    for (number, rule) in rules.iter().enumerate() {
        let here = serde_json::from_str::<relabel::Rule>(rule);
        let there = said.contains(&format!("SUCCESS: {} is valid", file(number).display()));
        assert_eq!(here.is_ok(), there, "{rule}: {:?}", here.err());
        accepted += usize::from(there);
    }
    assert!(accepted > rules.len() / 3 && accepted < rules.len(), "{accepted} of {}", rules.len());
}
