#![allow(clippy::unwrap_used, clippy::indexing_slicing, reason = "a panic is how a test reports")]
use super::*;
use crate::job::tests::job;
use std::sync::{Arc, Mutex};
use support::FakeReceiver;
use support::receiver::Answer;
use tokio::time::timeout;

/// The next message: the number of the task, and the addresses.
async fn next(found: &mut mpsc::Receiver<Found>) -> (u64, Vec<String>) {
    let found = timeout(support::SOON, found.recv()).await.unwrap().unwrap();
    assert_eq!(found.job, "j");
    let groups = found.changes.into_iter().flat_map(|(_, groups)| groups);
    (found.entry, groups.flat_map(|group| group.targets).collect())
}

fn numbers(discovery: &Discovery) -> Vec<u64> {
    discovery.0.iter().map(|running| running.number).collect()
}

#[tokio::test(flavor = "multi_thread")]
async fn entries_that_stay_keep_their_task() {
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("a.json");
    std::fs::write(&file, r#"[{"targets": ["a:1"]}]"#).unwrap();
    let server = FakeReceiver::start();
    let json = |body: &str| Answer::status(200).header("Content-Type", "application/json").body(body);
    server.answer(move |_| json(r#"[{"targets": ["b:1"]}]"#));
    let files = serde_json::json!([{"files": [file]}]);
    let of_server = serde_json::json!([{"url": server.url()}]);

    let (sender, mut found) = mpsc::channel(1);
    let mut discovery = Discovery::default();
    discovery.change(&job(serde_json::json!({"file_sd_configs": files})), &sender);
    let first = numbers(&discovery);
    assert_eq!(next(&mut found).await, (first[0], vec!["a:1".into()]));

    discovery
        .change(&job(serde_json::json!({"file_sd_configs": files, "http_sd_configs": of_server})), &sender);
    let both = numbers(&discovery);
    assert_eq!(both[0], first[0]);
    assert_eq!(next(&mut found).await, (both[1], vec!["b:1".into()]));

    // Another interval is another entry.
    let of_server = serde_json::json!([{"url": server.url(), "refresh_interval": "1h"}]);
    discovery.change(&job(serde_json::json!({"http_sd_configs": of_server})), &sender);
    assert!(!discovery.has(both[0]) && !discovery.has(both[1]));
    let last = numbers(&discovery);
    assert_eq!(next(&mut found).await, (last[0], vec!["b:1".into()]));
    assert!(discovery.has(last[0]) && !discovery.has(Source::STATIC.entry));
}

#[tokio::test(flavor = "multi_thread")]
async fn a_server_that_fails_changes_nothing() {
    let server = FakeReceiver::start();
    // The number of failures since the server began to fail; `None` before that.
    let failures = Arc::new(Mutex::new(None));
    let counted = failures.clone();
    server.answer(move |_| {
        let json = |body: &str| Answer::status(200).header("Content-Type", "application/json").body(body);
        let mut failures = counted.lock().unwrap();
        if let Some(count) = &mut *failures {
            *count += 1;
        }
        match *failures {
            None => json(r#"[{"targets": ["a:1"]}]"#),
            Some(1) => Answer::status(503),
            Some(2) => json("[{"),
            Some(3) => Answer::status(200).header("Content-Type", "text/html").body("[]"),
            Some(_) => json(r#"[{"targets": ["a:2"]}]"#),
        }
    });
    let (sender, mut found) = mpsc::channel(1);
    let mut discovery = Discovery::default();
    let entry = serde_json::json!([{"url": server.url(), "refresh_interval": "100ms"}]);
    discovery.change(&job(serde_json::json!({"http_sd_configs": entry})), &sender);
    assert_eq!(next(&mut found).await.1, ["a:1"]);
    *failures.lock().unwrap() = Some(0);
    loop {
        let targets = next(&mut found).await.1;
        if targets == ["a:2"] {
            break;
        }
        assert_eq!(targets, ["a:1"]);
    }
}
