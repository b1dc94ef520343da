//! The rest of the Pushgateway's interface: its JSON, and the page for a scrape.
#![allow(clippy::unwrap_used, clippy::indexing_slicing, reason = "tests")]

mod common;

use common::World;
use serde_json::Value;

const BODY: &str = "# HELP h H.\n# TYPE h histogram\nh_bucket{le=\"1\"} 2\nh_bucket{le=\"+Inf\"} 3\nh_sum 4.5\nh_count 3\n\
                    # TYPE s summary\ns{quantile=\"0.5\"} 1\ns_sum 2\ns_count 3\n# TYPE g gauge\ng{x=\"a\\\"b\"} 1e+07\nu 1\n";

#[tokio::test]
async fn metrics_are_told_as_json() {
    let world = World::new().await;
    world.put("/metrics/job/a", BODY).await;
    let (status, text) = world.send("GET", "/api/v1/metrics", "").await;
    assert_eq!(status, 200);
    let json: Value = serde_json::from_str(&text).unwrap();
    assert_eq!(json["status"], "success");
    let group = &json["data"][0];
    assert_eq!(group["labels"], serde_json::json!({"job": "a"}));
    assert_eq!(group["last_push_successful"], true);
    assert_eq!(group["g"]["type"], "GAUGE");
    assert_eq!(group["g"]["time_stamp"], "2027-01-15T08:00:00.000Z");
    assert_eq!(
        group["g"]["metrics"][0],
        serde_json::json!({"labels": {"instance": "", "job": "a", "x": "a\"b"}, "value": "1e+07"})
    );
    assert_eq!(
        group["h"]["metrics"][0],
        serde_json::json!({"labels": {"instance": "", "job": "a"}, "buckets": {"1": "2", "+Inf": "3"},
            "sum": "4.5", "count": "3"})
    );
    assert_eq!(group["h"]["help"], "H.");
    assert_eq!(group["s"]["metrics"][0]["quantiles"], serde_json::json!({"0.5": "1"}));
    assert_eq!(group["u"]["type"], "UNTYPED");
    assert_eq!(group["push_time_seconds"]["metrics"][0]["value"], "1.8e+09");
    assert_eq!(group["push_failure_time_seconds"]["metrics"][0]["value"], "0");

    let (status, text) = world.send("GET", "/api/v1/status", "").await;
    assert_eq!(status, 200);
    let json: Value = serde_json::from_str(&text).unwrap();
    assert_eq!(json["data"]["start_time"], "2027-01-15T08:00:00.000Z");
    assert_eq!(world.send("POST", "/api/v1/status", "").await.0, 405);
    assert_eq!(world.send("DELETE", "/api/v1/metrics", "").await.0, 405);
}

#[tokio::test]
async fn groups_are_exposed_where_the_user_asks_for_it() {
    let world = World::new().await;
    world.put("/metrics/job/a", BODY).await;
    assert_eq!(world.doors.exposition(groups::Escaping::AllowUtf8).await.unwrap(), "");

    let world = World::with(|options| options.pushgateway.expose = true, |_| {}).await;
    world.put("/metrics/job/a", BODY).await;
    world.put("/metrics/job/b/instance/i", "# HELP g Other.\n# TYPE g gauge\ng 2\n{\"é\"} 1\n").await;
    assert_eq!(
        world.doors.exposition(groups::Escaping::AllowUtf8).await.unwrap(),
        r#"# HELP g Other.
# TYPE g gauge
g{instance="",job="a",x="a\"b"} 1e+07
g{instance="i",job="b"} 2
# HELP h H.
# TYPE h histogram
h_bucket{instance="",job="a",le="1"} 2
h_bucket{instance="",job="a",le="+Inf"} 3
h_sum{instance="",job="a"} 4.5
h_count{instance="",job="a"} 3
# HELP push_failure_time_seconds When the last push to this group was refused, in seconds since 1970.
# TYPE push_failure_time_seconds gauge
push_failure_time_seconds{instance="",job="a"} 0
push_failure_time_seconds{instance="i",job="b"} 0
# HELP push_time_seconds When the last push to this group succeeded, in seconds since 1970.
# TYPE push_time_seconds gauge
push_time_seconds{instance="",job="a"} 1.8e+09
push_time_seconds{instance="i",job="b"} 1.8e+09
# TYPE s summary
s{instance="",job="a",quantile="0.5"} 1
s_sum{instance="",job="a"} 2
s_count{instance="",job="a"} 3
# TYPE u untyped
u{instance="",job="a"} 1
# TYPE "é" untyped
{"é",instance="i",job="b"} 1
"#
    );
}
