//! The page of the groups, as scrapers read it: names that families share, and names outside the legacy pattern.
#![allow(clippy::unwrap_used, clippy::indexing_slicing, reason = "tests")]

mod common;

use axum::body::Body;
use common::{World, answer};
use groups::Escaping;
use http::Request;
use std::collections::BTreeSet;
use std::io::Write;
use std::process::{Command, Stdio};
use support::Pushgateway;

const OPEN_METRICS: &str = "application/openmetrics-text; version=1.0.0";

async fn world() -> World {
    World::with(|options| options.pushgateway.expose = true, |_| {}).await
}

/// The status of a push of OpenMetrics.
async fn push_open_metrics(world: &World, method: &str, path: &str, body: &str) -> (u16, String) {
    let request = Request::builder().method(method).uri(path).header("content-type", OPEN_METRICS);
    answer(world.request(request.body(Body::from(body.to_string())).unwrap()).await).await
}

/// The lines of the page without those of the push times.
async fn page(world: &World, escaping: Escaping) -> Vec<String> {
    let page = world.doors.exposition(escaping).await.unwrap();
    page.lines().filter(|line| !line.contains("push_")).map(String::from).collect()
}

/// promtool reads the page with the parser of Prometheus' libraries: a second TYPE of a name is an error there.
fn assert_promtool_reads(page: &str) {
    let Some(peers) = support::peers() else { return };
    let mut promtool = Command::new(peers.promtool);
    promtool.args(["check", "metrics"]).stdin(Stdio::piped()).stderr(Stdio::piped());
    let mut promtool = promtool.spawn().unwrap();
    promtool.stdin.take().unwrap().write_all(page.as_bytes()).unwrap();
    let output = promtool.wait_with_output().unwrap();
    let said = String::from_utf8_lossy(&output.stderr);
    // 3 is for advice on names.
    assert!(matches!(output.status.code(), Some(0 | 3)), "{}: {said}\n{page}", output.status);
}

#[tokio::test]
async fn a_counter_of_openmetrics_and_one_of_text_are_one_family() {
    let world = world().await;
    let open_metrics =
        "# HELP c Help.\n# TYPE c counter\nc_total 1\n# TYPE i info\ni_info{v=\"1\"} 1\n# EOF\n";
    assert_eq!(push_open_metrics(&world, "PUT", "/metrics/job/a", open_metrics).await.0, 200);
    assert_eq!(world.put("/metrics/job/b", "# TYPE c_total counter\nc_total 2\n").await, 200);
    let text = world.doors.exposition(Escaping::default()).await.unwrap();
    assert_promtool_reads(&text);
    assert_eq!(
        page(&world, Escaping::default()).await,
        [
            "# HELP c_total Help.",
            "# TYPE c_total counter",
            "c_total{instance=\"\",job=\"a\"} 1",
            "c_total{instance=\"\",job=\"b\"} 2",
            "# TYPE i_info gauge",
            "i_info{instance=\"\",job=\"a\",v=\"1\"} 1",
        ]
    );
    // It is replaced in its group, instead of being there twice.
    assert_eq!(world.post("/metrics/job/a", "# TYPE c_total counter\nc_total 3\n").await, 200);
    let lines = page(&world, Escaping::default()).await;
    let of_a: Vec<&String> =
        lines.iter().filter(|line| line.starts_with("c_total{") && line.contains("\"a\"")).collect();
    assert_eq!(of_a, ["c_total{instance=\"\",job=\"a\"} 3"]);
    // Another type in another group is noticed.
    assert_eq!(world.put("/metrics/job/c", "# TYPE c_total gauge\nc_total 4\n").await, 200);
    assert!(page(&world, Escaping::default()).await.contains(&"# TYPE c_total untyped".to_string()));
    let warnings = world.doors.groups().status().await.unwrap().into_iter().flat_map(|group| group.warnings);
    assert_eq!(warnings.count(), 3);
}

#[tokio::test]
async fn a_gauge_histogram_and_a_family_named_like_its_part_are_refused() {
    let world = world().await;
    let histogram = "# TYPE g gaugehistogram\ng_bucket{le=\"+Inf\"} 1\ng_gsum 1\ng_gcount 1\n# EOF\n";
    assert_eq!(push_open_metrics(&world, "PUT", "/metrics/job/a", histogram).await.0, 200);
    for part in ["g_bucket", "g_gsum", "g_gcount"] {
        let (status, text) =
            world.send("PUT", "/metrics/job/b", &format!("# TYPE {part} gauge\n{part} 1\n")).await;
        assert_eq!(status, 400, "{part}");
        assert!(text.contains(&format!("\"{part}\" collides with \"g\", a gaugehistogram")), "{text}");
    }
    assert_promtool_reads(&world.doors.exposition(Escaping::default()).await.unwrap());
}

#[tokio::test]
async fn names_that_become_the_same_by_escaping_stay_apart() {
    let world = world().await;
    let body = "# TYPE m_x counter\nm_x{l_x=\"1\",\"l.x\"=\"2\"} 1\n{\"m.x\"} 2\n{\"m-x\",\"l.x\"=\"3\"} 3\n";
    assert_eq!(world.put("/metrics/job/a/U__g_2e_x/1", body).await, 200);
    let text = world.doors.exposition(Escaping::default()).await.unwrap();
    assert_promtool_reads(&text);
    assert_eq!(
        page(&world, Escaping::default()).await,
        [
            "# TYPE U__m_2d_x untyped",
            "U__m_2d_x{g_x=\"1\",instance=\"\",job=\"a\",l_x=\"3\"} 3",
            "# TYPE U__m_2e_x untyped",
            "U__m_2e_x{g_x=\"1\",instance=\"\",job=\"a\"} 2",
            "# TYPE m_x counter",
            "m_x{g_x=\"1\",instance=\"\",job=\"a\",U__l_2e_x=\"2\",l_x=\"1\"} 1",
        ]
    );
}

/// The lines of a page with the labels sorted, without push times, help texts and the Pushgateway's own metrics.
fn normal(page: &str) -> BTreeSet<String> {
    let own = ["go_", "process_", "promhttp_", "pushgateway_", "push_"];
    let lines = page.lines().filter(|line| !line.starts_with("# HELP"));
    let lines =
        lines.filter(|line| !own.iter().any(|own| line.trim_start_matches("# TYPE ").starts_with(own)));
    lines
        .map(|line| {
            let Some((name, rest)) = line.split_once('{') else { return line.to_string() };
            let (labels, value) = rest.rsplit_once("} ").unwrap();
            let mut labels: Vec<&str> = labels.split(',').collect();
            labels.sort_unstable();
            format!("{name}{{{}}} {value}", labels.join(","))
        })
        .collect()
}

#[tokio::test]
async fn names_are_escaped_as_by_the_real_pushgateway() {
    let Some(peers) = support::peers() else { return };
    let real = Pushgateway::start(&peers, &["--push.enable-utf8-names"]);
    let world = world().await;
    let body = "# TYPE h histogram\nh_bucket{\"l.x\"=\"1\",le=\"+Inf\"} 1\nh_sum{\"l.x\"=\"1\"} 1\nh_count{\"l.x\"=\"1\"} 1\n\
                # TYPE \"h.é\" histogram\n{\"h.é_bucket\",le=\"+Inf\"} 2\n{\"h.é_sum\"} 2\n{\"h.é_count\"} 2\n\
                # TYPE plain_name gauge\nplain_name 1\n# TYPE \"1-é.b\" gauge\n{\"1-é.b\",\"a/b c\"=\"x\"} 3\n";
    let path = "/metrics/job/a/U__g_2e_x/1";
    let answer =
        support::http::request("PUT", &format!("{}{path}", real.url()), &[], Some(body.as_bytes())).unwrap();
    assert_eq!((answer.status, world.put(path, body).await), (200, 200), "{}", answer.text());
    for accept in [
        "",
        "text/plain;version=0.0.4",
        "text/plain;version=1.0.0;escaping=allow-utf-8",
        "text/plain;version=1.0.0;escaping=underscores",
        "text/plain;version=1.0.0;escaping=dots",
        "text/plain;version=1.0.0;escaping=values",
    ] {
        let headers = [("accept", accept)];
        let real =
            support::http::request("GET", &format!("{}/metrics", real.url()), &headers, None).unwrap().text();
        let ours = world.doors.exposition(Escaping::from_accept(Some(accept))).await.unwrap();
        // promtool takes no names in quotes.
        if !accept.ends_with("allow-utf-8") {
            assert_promtool_reads(&ours);
        }
        assert_eq!(normal(&ours), normal(&real), "{accept}");
    }
}
