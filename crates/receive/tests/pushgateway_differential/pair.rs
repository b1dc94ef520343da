//! The two that are compared, and what is sent to both.

use crate::common::{World, answer};
use axum::body::Body;
use http::Request;
use std::collections::BTreeSet;
use support::Pushgateway;

/// What is sent to both.
#[derive(Debug, Clone)]
pub(crate) struct Push {
    pub(crate) method: &'static str,
    pub(crate) path: String,
    pub(crate) content_type: Option<&'static str>,
    pub(crate) encoding: Option<&'static str>,
    pub(crate) body: Vec<u8>,
}

impl Push {
    pub(crate) fn new(method: &'static str, path: &str, body: &str) -> Push {
        Push { method, path: path.into(), content_type: None, encoding: None, body: body.into() }
    }

    pub(crate) fn show(&self) -> String {
        let body = String::from_utf8_lossy(&self.body);
        format!("{} {} {:?}\n{body}", self.method, self.path, self.encoding)
    }
}

pub(crate) struct Pair {
    real: Pushgateway,
    pub(crate) world: World,
}

impl Pair {
    pub(crate) async fn new() -> Option<Pair> {
        Pair::with(&[]).await
    }

    pub(crate) async fn with(flags: &[&str]) -> Option<Pair> {
        let peers = support::peers()?;
        let flags = [&["--web.enable-admin-api"], flags].concat();
        let real = Pushgateway::start(&peers, &flags);
        let set = |options: &mut receive::Options| {
            options.pushgateway.expose = true;
            options.pushgateway.enable_admin = true;
        };
        Some(Pair { real, world: World::with(set, |_| {}).await })
    }

    /// The status and text that each answers.
    pub(crate) async fn send(&self, push: &Push) -> ((u16, String), (u16, String)) {
        let url = format!("{}{}", self.real.url(), push.path);
        let encoding = push.encoding.map(|encoding| ("content-encoding", encoding));
        let content_type = push.content_type.map(|content_type| ("content-type", content_type));
        let headers: Vec<(&str, &str)> = encoding.into_iter().chain(content_type).collect();
        let real = support::http::request(push.method, &url, &headers, Some(&push.body)).unwrap();
        let mut request = Request::builder().method(push.method).uri(&push.path);
        for (name, value) in headers {
            request = request.header(name, value);
        }
        let ours = self.world.request(request.body(Body::from(push.body.clone())).unwrap()).await;
        ((real.status, real.text()), answer(ours).await)
    }

    pub(crate) async fn wipe(&self) {
        let (real, ours) = self.send(&Push::new("PUT", "/api/v1/admin/wipe", "")).await;
        assert_eq!((real.0, ours.0), (202, 202));
    }

    /// The series that each exposes.
    pub(crate) async fn series(&self) -> (BTreeSet<String>, BTreeSet<String>) {
        // Without this header it escapes names outside the old pattern.
        let accept = [("accept", "text/plain; version=1.0.0; escaping=allow-utf-8")];
        let url = format!("{}/metrics", self.real.url());
        let real = support::http::request("GET", &url, &accept, None).unwrap().text();
        (normal(&real), normal(&self.world.doors.exposition(groups::Escaping::AllowUtf8).await.unwrap()))
    }
}

/// The lines of an exposition with labels sorted, without the real Pushgateway's own metrics, without help
/// texts (the first of several counts, and which that is, is left to chance there), and without the digits
/// of push times.
fn normal(text: &str) -> BTreeSet<String> {
    let own = ["go_", "process_", "promhttp_", "pushgateway_"];
    let name = |line: &str| line.trim_start_matches("# TYPE ").to_string();
    text.lines()
        .filter(|line| !line.starts_with("# HELP") && !own.iter().any(|own| name(line).starts_with(own)))
        .map(|line| {
            let Some((name, rest)) = line.split_once('{') else { return line.to_string() };
            let (labels, value) = rest.rsplit_once("} ").unwrap();
            let mut labels: Vec<&str> = labels.split(',').collect();
            labels.sort_unstable();
            let is_time = matches!(name, "push_time_seconds" | "push_failure_time_seconds");
            let value = if is_time && value != "0" { "some time" } else { value };
            format!("{name}{{{}}} {value}", labels.join(","))
        })
        .collect()
}
