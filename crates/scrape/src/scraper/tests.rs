#![allow(clippy::unwrap_used, reason = "a panic is how a test reports")]
use super::*;
use crate::config::Global;
use intake::{Intake, Settings, Stopper};
use std::path::Path;
use std::time::Duration;
use storage::Storage;
use support::{FakeReceiver, SOON, wait_for};

fn intake(folder: &Path) -> Intake {
    let clock = Arc::new(model::SystemClock::new());
    let (fs, options) = (Arc::new(wal::fs::RealFilesystem), storage::Options::new(folder));
    let (storage, _) = Storage::open(fs, clock.clone(), options).unwrap();
    Intake::new(storage, clock, Settings::default()).unwrap()
}

fn scraper(job: serde_json::Value) -> Scraper {
    let (job, faults) = Job::new(&serde_json::from_value(job).unwrap(), &Global::default());
    assert_eq!(faults, []);
    Scraper::new(vec![Arc::new(job)])
}

/// Waits until these targets are scraped, and no others.
#[track_caller]
fn expect(input: &Input, wanted: &[&str]) {
    let hosts = || -> Option<Vec<String>> {
        let pools = view(input).pools();
        let active = pools.get("j")?.active.iter();
        Some(active.map(|(target, _)| target.url.replace("http://", "").replace("/metrics", "")).collect())
    };
    wait_for("the targets", SOON, || match hosts() {
        Some(hosts) if hosts == wanted => Ok(()),
        other => Err(format!("{other:?} are not {wanted:?}")),
    });
}

#[tokio::test(flavor = "multi_thread")]
async fn targets_come_and_go_with_their_file_and_stay_at_a_reload() {
    let folder = tempfile::tempdir().unwrap();
    let intake = intake(&folder.path().join("data"));
    let input = intake.input(NAME);
    let file = folder.path().join("a.yml");
    std::fs::write(&file, "- targets: ['127.0.0.1:1']\n").unwrap();
    let job = |more: serde_json::Value| {
        let mut job = serde_json::json!({
            "job_name": "j",
            "static_configs": [{"targets": ["127.0.0.1:9"]}],
            "file_sd_configs": [{"files": [file], "refresh_interval": "20ms"}],
        });
        job.as_object_mut().unwrap().extend(more.as_object().unwrap().clone());
        scraper(job)
    };
    let first = job(serde_json::json!({}));
    first.configure(&input);
    let (stopper, stop) = Stopper::new();
    let (_exposure, exposure) = watch::channel(Arc::new(Exposure::default()));
    let running = tokio::spawn(first.bind().unwrap().run(input.clone(), exposure, stop));
    expect(&input, &["127.0.0.1:1", "127.0.0.1:9"]);

    let new = folder.path().join("new");
    std::fs::write(&new, "- targets: ['127.0.0.1:2', '127.0.0.1:1']\n").unwrap();
    std::fs::rename(&new, &file).unwrap();
    expect(&input, &["127.0.0.1:1", "127.0.0.1:2", "127.0.0.1:9"]);

    // Invalid content changes nothing. A reload after it keeps what was found before.
    std::fs::write(&file, "- targets: [").unwrap();
    job(serde_json::json!({"scrape_interval": "30s"})).configure(&input);
    let is_reloaded = || {
        let pools = view(&input).pools();
        let intervals = pools.get("j").map(|pool| pool.active.iter().map(|(target, _)| target.interval));
        let wanted = vec![Duration::from_secs(30); 3];
        match intervals.map(Iterator::collect::<Vec<_>>) {
            Some(intervals) if intervals == wanted => Ok(()),
            other => Err(format!("{other:?}")),
        }
    };
    wait_for("three targets with the new interval", SOON, is_reloaded);

    std::fs::remove_file(&file).unwrap();
    expect(&input, &["127.0.0.1:9"]);
    std::fs::write(&file, "- targets: ['127.0.0.1:3']\n").unwrap();
    expect(&input, &["127.0.0.1:3", "127.0.0.1:9"]);
    // Without the entry its targets go.
    job(serde_json::json!({"file_sd_configs": []})).configure(&input);
    expect(&input, &["127.0.0.1:9"]);
    stopper.stop();
    running.await.unwrap();
}

#[tokio::test(flavor = "multi_thread")]
async fn targets_of_a_server_are_relabelled_with_its_url() {
    let folder = tempfile::tempdir().unwrap();
    let intake = intake(folder.path());
    let input = intake.input(NAME);
    let server = FakeReceiver::start();
    server.answer(|_| {
        let answer = support::receiver::Answer::status(200).header("Content-Type", "application/json");
        answer.body(r#"[{"targets": ["127.0.0.1:1"]}, {"targets": ["127.0.0.1:2"], "labels": {"x": "1"}}]"#)
    });
    let first = scraper(serde_json::json!({
        "job_name": "j",
        "http_sd_configs": [{"url": server.url()}],
        "relabel_configs": [
            {"source_labels": ["__meta_url", "x"], "regex": "http://.+;1", "action": "keep"},
        ],
    }));
    first.configure(&input);
    let (stopper, stop) = Stopper::new();
    let (_exposure, exposure) = watch::channel(Arc::new(Exposure::default()));
    let running = tokio::spawn(first.bind().unwrap().run(input.clone(), exposure, stop));
    expect(&input, &["127.0.0.1:2"]);
    assert_eq!(view(&input).pools().get("j").map(|pool| pool.dropped_count), Some(1));
    stopper.stop();
    running.await.unwrap();
}
