#![allow(clippy::unwrap_used, reason = "helper functions of tests")]
use super::*;
use crate::settings::InputSettings;
use formats::text::ParseOptions;
use model::{Labels, Series};
use relabel::AddedLabels;
use std::time::Duration;

fn intake(settings: Settings) -> (tempfile::TempDir, Result<Intake, SettingsError>) {
    let dir = tempfile::tempdir().unwrap();
    let clock = Arc::new(model::SystemClock::new());
    let options = storage::Options::new(dir.path());
    let opened = Storage::open(Arc::new(wal::fs::RealFilesystem), clock.clone(), options);
    let intake = Intake::new(opened.unwrap().0, clock, settings);
    (dir, intake)
}

fn small() -> Settings {
    let wait = Duration::from_millis(10);
    Settings { memory_bytes: 1 << 20, requests: 2, wait, ..Settings::default() }
}

fn parsed(timestamps: &[i64]) -> Parsed {
    let mut batch = Batch::new();
    for timestamp in timestamps {
        let labels = Labels::from_pairs([("__name__", "a"), ("t", &timestamp.to_string())]);
        let series = batch.add_series(labels.as_ref(), Series::NO_METADATA);
        batch.push_float(series, *timestamp, 1.0);
    }
    Parsed { batch, ..Parsed::default() }
}

#[tokio::test]
async fn the_outcome_has_the_kept_and_the_rejected_points() {
    let (_dir, intake) = intake(small());
    let input = intake.unwrap().input("test");
    let mut admission = input.admit().unwrap();
    let now = admission.now_ms();
    let outcome = admission.append(parsed(&[now, now + 3_600_000]), None).await.unwrap();
    assert_eq!((outcome.kept.samples, outcome.rejected.samples), (1, 1));
    assert!(outcome.rejected.reasons[0].starts_with("a{t=\""), "{:?}", outcome.rejected);
    assert_eq!((input.counters().points.get(), input.counters().rejected.get()), (1, 1));
}

#[tokio::test]
async fn requests_and_memory_are_limited_and_released() {
    let (_dir, intake) = intake(small());
    let intake = intake.unwrap();
    let input = intake.input("test");
    let (mut first, second) = (input.admit().unwrap(), input.admit().unwrap());
    assert!(matches!(input.admit().unwrap_err(), Refusal::Busy(_)));
    drop(second);
    first.memory().grow(1 << 20).await.unwrap();
    let mut third = input.admit().unwrap();
    let now = third.now_ms();
    let refused = third.append(parsed(&[now]), None).await.unwrap_err();
    assert_eq!((refused.reason().as_str(), refused.retry_after()), ("busy", Some(1)));
    drop(first);
    assert_eq!(third.append(parsed(&[now]), None).await.unwrap().kept.samples, 1);
    drop(third);
    assert_eq!((intake.requests(), intake.memory_free()), (0, 1 << 20));
}

#[tokio::test]
async fn own_batches_need_no_place_and_are_limited_and_counted() {
    let (_dir, intake) = intake(small());
    let intake = intake.unwrap();
    let input = intake.input("test");
    let _all_places = [input.admit().unwrap(), input.admit().unwrap()];
    let mut batch = parsed(&[intake.now_ms()]).batch;
    let labels = Labels::from_pairs([("__name__", "b"), ("l", &"x".repeat(1 << 20))]);
    let series = batch.add_series(labels.as_ref(), Series::NO_METADATA);
    batch.push_float(series, intake.now_ms(), 1.0);
    let outcome = input.append_own(batch).await.unwrap();
    assert_eq!((outcome.kept.samples, outcome.rejected.samples), (1, 1));
    assert_eq!((input.counters().points.get(), input.counters().rejected.get()), (1, 1));
    let storage = intake.storage().clone();
    tokio::task::spawn_blocking(move || storage.close()).await.unwrap();
    let refused = input.append_own(parsed(&[intake.now_ms()]).batch).await.unwrap_err();
    assert_eq!(input.counters().refused_for(refused.reason()), 1);
}

fn with_input(input: InputSettings) -> Settings {
    Settings { inputs: [("test", Arc::new(input))].into(), ..small() }
}

fn recognised(input: &Input, text: &str) -> (Admission, Recognised) {
    let admission = input.admit().unwrap();
    let options = ParseOptions::new(Format::Text, admission.now_ms());
    let recognised = admission.recogniser().parse_text(text.as_bytes(), &options).unwrap();
    (admission, recognised)
}

#[tokio::test]
async fn a_reload_applies_to_known_series() {
    let site = |site: &str| {
        let labels = AddedLabels::new(&[("site".to_string(), site.to_string())]);
        with_input(InputSettings { labels, ..InputSettings::default() })
    };
    let (_dir, intake) = intake(site("boat"));
    let intake = intake.unwrap();
    let input = intake.input("test");
    let labels = || {
        let (_, Recognised { parsed: Parsed { mut batch, mut rejected }, made, .. }) =
            recognised(&input, "a 1\n");
        rules::apply_results(&mut batch, made.unwrap(), &mut rejected);
        batch.labels(0).to_string()
    };
    assert_eq!((labels(), labels()), (r#"a{site="boat"}"#.into(), r#"a{site="boat"}"#.into()));
    assert_eq!(intake.known_series().hits.get(), 1);
    intake.set_settings(site("boat")).unwrap();
    assert_eq!(intake.known_series().entries(), 1, "nothing has changed");
    intake.set_settings(site("ship")).unwrap();
    assert_eq!(intake.known_series().entries(), 0);
    assert_eq!(labels(), r#"a{site="ship"}"#);
}

#[tokio::test]
async fn known_series_count_as_active() {
    let limited = InputSettings { max_series: Some(1), ..InputSettings::default() };
    let (_dir, intake) = intake(with_input(limited));
    let input = intake.unwrap().input("test");
    for (text, kept) in [("a 1\n", 1), ("b 1\na 2\n", 1), ("b 1\n", 0), ("a 3\n", 1)] {
        let (mut admission, recognised) = recognised(&input, text);
        let outcome = admission.append(recognised, Some(Format::Text)).await.unwrap();
        assert_eq!((outcome.kept.samples, input.active_series()), (kept, 1), "{text}");
    }
}

#[tokio::test]
async fn a_log_that_would_refuse_admitted_batches_is_an_error() {
    let (_dir, intake) = intake(Settings { memory_bytes: 1 << 40, ..Settings::default() });
    assert!(matches!(intake.unwrap_err(), SettingsError::Log { .. }));
}
