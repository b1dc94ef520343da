#![allow(clippy::unwrap_used, clippy::indexing_slicing, reason = "a panic is how a test reports")]
use super::*;
use support::FakeReceiver;
use support::receiver::{Answer, Ending};

const GROUPS: &str = r#"[{"targets": ["a:1", "b:2"], "labels": {"site": "harbour"}}]"#;

fn answer(content_type: &str, body: &str) -> Answer {
    Answer::status(200).header("Content-Type", content_type).body(body)
}

fn settings(more: serde_json::Value) -> HttpSd {
    serde_json::from_value(more).unwrap()
}

#[tokio::test(flavor = "multi_thread")]
async fn a_server_is_asked_as_by_prometheus() {
    let server = FakeReceiver::start();
    server.answer(|_| answer("application/json; charset=utf-8", GROUPS));
    let url = format!("{}/targets?team=a", server.url());
    let settings = settings(serde_json::json!({
        "url": url, "refresh_interval": "90s", "basic_auth": {"username": "u", "password": "p"},
    }));
    let groups = ask(&settings, &mut None).await.unwrap();
    let labels = [("__meta_url".into(), url), ("site".into(), "harbour".into())].into();
    assert_eq!(groups, [Group { targets: vec!["a:1".into(), "b:2".into()], labels }]);
    let requests = server.requests();
    let header = |name| requests[0].header(name);
    assert_eq!(header("accept"), Some("application/json"));
    assert_eq!(header("x-prometheus-refresh-interval-seconds"), Some("90"));
    assert_eq!(header("authorization"), Some("Basic dTpw"));
    assert_eq!(requests[0].path, "/targets?team=a");
}

#[tokio::test(flavor = "multi_thread")]
async fn answers_that_are_no_groups_are_errors() {
    let server = FakeReceiver::start();
    let every = |interval: &str| {
        settings(serde_json::json!({
            "url": server.url(), "refresh_interval": interval, "follow_redirects": false,
        }))
    };
    let json = "application/json";
    let large = "x".repeat(usize::try_from(GROUPS_BYTES_MAX).unwrap() + 1);
    for (given, wanted) in [
        (Answer::status(500).body("out of order"), "the server answered 500"),
        (Answer::status(204), "the server answered 204"),
        (Answer::status(302).header("Location", "/other"), "the server answered 302"),
        (answer("text/plain", GROUPS), r#"the Content-Type of the answer is "text/plain": it must be"#),
        (Answer::status(200).body(GROUPS), r#"the Content-Type of the answer is "": it must be"#),
        (answer(json, "[{"), "the answer is not a list of groups: EOF"),
        (answer(json, r#"{"targets": ["a:1"]}"#), "the answer is not a list of groups: invalid type: map"),
        (answer(json, &large), "the answer is larger than the limit of 16777216 bytes"),
        (answer(json, GROUPS).ending(Ending::HalfAnswer), ""),
        (answer(json, GROUPS).ending(Ending::NoAnswer), ""),
    ] {
        server.answer(move |_| given.clone());
        let error = ask(&every("1m"), &mut None).await.unwrap_err();
        assert!(error.starts_with(wanted), "{error}, not {wanted}");
    }
    // An answer must be complete before the server is asked again.
    server.answer(move |_| answer(json, GROUPS).ending(Ending::Slow(Duration::from_secs(1))));
    assert!(ask(&every("100ms"), &mut None).await.is_err());
    server.go_away();
    assert!(ask(&every("1m"), &mut None).await.is_err());
}
