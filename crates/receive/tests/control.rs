//! Labels, relabelling rules and limits on series that the user sets for an input.
#![allow(clippy::unwrap_used, clippy::indexing_slicing, reason = "tests")]

mod common;

use common::World;
use intake::InputSettings;
use receive::Options;
use relabel::AddedLabels;
use std::time::Duration;

const TURN: Duration = Duration::from_secs(30);

fn labels_and_rules() -> InputSettings {
    let rules = r#"[{"action": "drop", "source_labels": ["__name__"], "regex": "noise"},
        {"source_labels": ["job"], "regex": "(.+)", "target_label": "team", "replacement": "of_$1"}]"#;
    InputSettings {
        labels: AddedLabels::new(&[("site".into(), "boat".into())]),
        metric_relabel_configs: serde_json::from_str(rules).unwrap(),
        ..InputSettings::default()
    }
}

fn set(options: &mut Options, input: &'static str, settings: InputSettings) {
    options.intake.inputs.insert(input, settings.into());
}

#[tokio::test]
async fn an_import_gets_labels_and_rules_and_others_do_not() {
    let mut world = World::with(|options| set(options, "import", labels_and_rules()), |_| {}).await;
    let path = "/api/v1/import/prometheus";
    assert_eq!(world.post(path, "a 1\nb{job=\"j\",site=\"own\"} 2\nnoise 3\n").await, 204);
    assert_eq!(world.put("/metrics/job/j", "c 4\n").await, 200);
    let texts = [r#"a{site="boat"} 1 +0"#, r#"b{job="j",site="own",team="of_j"} 2 +0"#, r#"c{job="j"} 4 +0"#];
    assert_eq!(world.texts().await, texts);
    let counters = world.doors.intake().counters().of("import");
    assert_eq!((counters.points.get(), counters.dropped.get(), counters.rejected.get()), (2, 1, 0));
}

#[tokio::test]
async fn all_that_a_group_sends_gets_its_labels_and_rules() {
    let mut world = World::with(|options| set(options, "pushgateway", labels_and_rules()), |_| {}).await;
    assert_eq!(world.put("/metrics/job/j", "a 1\nnoise 3\n").await, 200);
    let all = |lines: &[common::Line]| -> Vec<String> {
        let mut all: Vec<String> = lines.iter().map(|line| line.series.clone()).collect();
        all.sort();
        all
    };
    let with = |name: &str| format!(r#"{name}{{job="j",site="boat",team="of_j"}}"#);
    let expected = [with("a"), with("push_failure_time_seconds"), with("push_time_seconds")];
    assert_eq!(all(&world.lines().await), expected);
    world.clock.pass(TURN);
    world.doors.groups().take_turns().await.unwrap();
    assert_eq!(all(&world.lines().await), expected, "sent again");
    assert_eq!(world.send("DELETE", "/metrics/job/j", "").await.0, 202);
    assert_eq!(all(&world.lines().await), expected, "staleness markers");
}

#[tokio::test]
async fn new_series_over_a_limit_are_refused_with_the_metric_and_known_ones_go_on() {
    let limit = InputSettings { max_series: Some(3), ..InputSettings::default() };
    let mut world = World::with(|options| set(options, "import", limit), |_| {}).await;
    let path = "/api/v1/import/prometheus";
    assert_eq!(world.post(path, "a 1\nb 1\n").await, 204);
    let (status, text) = world.send("POST", path, "a 2\nc{n=\"1\"} 2\nc{n=\"2\"} 2\n").await;
    let reason =
        "left out 1 series, 1 sample: c: a new series over the limit: 3 series are active, max_series is 3\n";
    assert_eq!((status, text.as_str()), (400, reason));
    assert_eq!(world.post(path, "b 3\n").await, 204);
    assert_eq!(world.texts().await, ["a 1 +0", "a 2 +0", "b 1 +0", "b 3 +0", r#"c{n="1"} 2 +0"#]);
    let input = world.doors.intake().input("import");
    assert_eq!((input.active_series(), input.counters().series_refused.get()), (3, 1));
    assert_eq!(input.blamed_metrics().into_iter().collect::<Vec<_>>(), [("c".into(), 1)]);
    assert_eq!(input.counters().refused_for(intake::RefusedReason::TooMany), 1);
}

#[tokio::test]
async fn a_push_over_a_limit_keeps_what_is_within_it_and_stays_active_while_it_is_sent() {
    let limit = InputSettings { max_series_per_metric: Some(2), ..InputSettings::default() };
    let mut world = World::with(|options| set(options, "pushgateway", limit), |_| {}).await;
    let (status, text) =
        world.send("PUT", "/metrics/job/j", "a{n=\"1\"} 1\na{n=\"2\"} 1\na{n=\"3\"} 1\n").await;
    assert_eq!(status, 400);
    assert!(text.starts_with("left out 1 series") && text.contains("max_series_per_metric is 2"), "{text}");
    assert_eq!(world.texts().await.len(), 2);
    for _ in 0..150 {
        world.clock.pass(TURN);
        world.doors.groups().take_turns().await.unwrap();
    }
    let (status, text) = world.send("PUT", "/metrics/job/other", "a{n=\"4\"} 1\n").await;
    assert_eq!(status, 400, "the group's series are active, 75 minutes after its push: {text}");
    // Also where nothing is left of the push, the answer is the limit's, and so is the reason that counts.
    assert!(text.starts_with("left out 1 series") && text.contains("max_series_per_metric is 2"), "{text}");
    let counters = world.doors.intake().counters().of("pushgateway");
    let counts =
        [intake::RefusedReason::TooMany, intake::RefusedReason::Invalid].map(|why| counters.refused_for(why));
    assert_eq!(counts, [2, 0]);
    assert_eq!(
        (counters.points.get(), counters.rejected.get()),
        (2, 2),
        "also of pushes that were kept in part"
    );
}
