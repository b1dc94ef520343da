//! The same requests to the real Pushgateway and to narthex: status and resulting series agree, except for
//! the differences in [`DIFFERENCES`], each of which has its reason.
#![allow(clippy::unwrap_used, clippy::indexing_slicing, reason = "tests")]

mod common;

use axum::body::Body;
use common::{World, answer};
use flate2::{Compression, write::GzEncoder};
use http::Request;
use std::collections::BTreeSet;
use std::io::Write;
use support::Pushgateway;

/// What is sent to both.
#[derive(Debug, Clone)]
struct Push {
    method: &'static str,
    path: String,
    encoding: Option<&'static str>,
    body: Vec<u8>,
}

impl Push {
    fn new(method: &'static str, path: &str, body: &str) -> Push {
        Push { method, path: path.into(), encoding: None, body: body.into() }
    }

    fn show(&self) -> String {
        let body = String::from_utf8_lossy(&self.body);
        format!("{} {} {:?}\n{body}", self.method, self.path, self.encoding)
    }
}

struct Pair {
    real: Pushgateway,
    world: World,
}

impl Pair {
    async fn new() -> Option<Pair> {
        let peers = support::peers()?;
        let real = Pushgateway::start(&peers, &["--web.enable-admin-api", "--persistence.file="]);
        let set = |options: &mut receive::Options| {
            options.pushgateway.expose = true;
            options.pushgateway.enable_admin = true;
        };
        Some(Pair { real, world: World::with(set, |_| {}).await })
    }

    /// The status and text that each answers.
    async fn send(&self, push: &Push) -> ((u16, String), (u16, String)) {
        let url = format!("{}{}", self.real.url(), push.path);
        let headers: Vec<(&str, &str)> =
            push.encoding.iter().map(|encoding| ("content-encoding", *encoding)).collect();
        let real = support::http::request(push.method, &url, &headers, Some(&push.body)).unwrap();
        let mut request = Request::builder().method(push.method).uri(&push.path);
        for (name, value) in headers {
            request = request.header(name, value);
        }
        let ours = self.world.request(request.body(Body::from(push.body.clone())).unwrap()).await;
        ((real.status, real.text()), answer(ours).await)
    }

    async fn wipe(&self) {
        let (real, ours) = self.send(&Push::new("PUT", "/api/v1/admin/wipe", "")).await;
        assert_eq!((real.0, ours.0), (202, 202));
    }

    /// The series that each exposes.
    async fn series(&self) -> (BTreeSet<String>, BTreeSet<String>) {
        let real = support::http::get(&format!("{}/metrics", self.real.url())).unwrap().text();
        (normal(&real), normal(&self.world.doors.exposition().await.unwrap()))
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

struct Generator(fastrand::Rng);

impl Generator {
    fn pick<T: Copy>(&mut self, of: &[T]) -> T {
        of[self.0.usize(..of.len())]
    }

    fn push(&mut self) -> Push {
        let method = self.pick(&["PUT", "PUT", "PUT", "POST", "POST", "POST", "DELETE", "PATCH", "GET"]);
        let path = match self.0.u8(..12) {
            0 => self.wrong_path(),
            _ => self.path(),
        };
        let body = match self.0.u8(..10) {
            0 => String::new(),
            1..3 => self.wrong_body(),
            _ => self.body(),
        };
        let mut push = Push::new(method, &path, &body);
        match self.0.u8(..12) {
            0 => {
                let mut gzip = GzEncoder::new(Vec::new(), Compression::fast());
                gzip.write_all(&push.body).unwrap();
                push.body = gzip.finish().unwrap();
                push.encoding = Some(self.pick(&["gzip", "GZIP"]));
            }
            1 => {
                let mut snappy = snap::write::FrameEncoder::new(Vec::new());
                snappy.write_all(&push.body).unwrap();
                push.body = snappy.into_inner().unwrap();
                push.encoding = Some("snappy");
            }
            // Not what it says.
            2 => push.encoding = Some(self.pick(&["gzip", "snappy"])),
            _ => {}
        }
        if method == "GET" {
            (push.body, push.encoding) = (Vec::new(), None);
        }
        push
    }

    fn path(&mut self) -> String {
        self.pick(&[
            "/metrics/job/a",
            "/metrics/job/a/",
            "/metrics/job/b",
            "/metrics/job@base64/YQ==",
            "/metrics/job@base64/YQ",
            "/metrics/job/a/x/1",
            "/metrics/job/a/x@base64/MQ",
            "/metrics/job/a/instance/i",
            "/metrics/job/a/instance/i/x/1",
            "/metrics/job/a/x/1/instance/i",
            "/metrics/job/a%20b/x/%C3%A9+c",
            "/metrics/job@base64/L3RtcC_DqQ/path@base64/L3Zhci90bXA=",
            "/metrics/job/e/instance@base64/=",
            "/metrics/job/e/instance/",
            "/metrics/job/c%2Fy/2",
            "/metrics/job/c/job/d/y/1/y/2",
        ])
        .to_string()
    }

    fn wrong_path(&mut self) -> String {
        self.pick(&[
            "/metrics/job@base64/=",
            "/metrics/job@base64/%25%25",
            "/metrics/job@base64/a",
            "/metrics/job/a/x",
            "/metrics/job/a/x/1/y",
            "/metrics/job/a/__x/1",
            "/metrics/job/a/__name__/1",
            "/metrics/job/a/1x/1",
            "/metrics/job/a/x-y/1",
            "/metrics/job/a/%C3%A9/1",
            "/metrics/job/a/x@base64/MQ+",
            "/metrics/job/a/x@base64@base64/MQ",
            "/metrics/jobs/a",
            "/metrics/job@base65/a",
        ])
        .to_string()
    }

    fn labels(&mut self) -> String {
        self.pick(&[
            "",
            "",
            "{}",
            "{x=\"1\"}",
            "{x=\"1\",}",
            "{ x = \"2\" , y=\"1\" }",
            "{y=\"\\\"q\\\\\\n\"}",
            "{job=\"other\"}",
            "{instance=\"other\"}",
            "{y=\"é\"}",
        ])
        .to_string()
    }

    fn value(&mut self) -> &'static str {
        self.pick(&["1", "0", "-2.5", "1e9", "1.5e-7", "NaN", "+Inf", "-Inf", "12345678", "0.1"])
    }

    /// Families that are fine each by itself; together, or with what is there, they may not be.
    fn body(&mut self) -> String {
        let mut names = vec!["g1", "g2", "c1", "u1", "h", "s", "h_count", "s_sum", "s_bucket"];
        self.0.shuffle(&mut names);
        let mut out = String::new();
        let families = self.0.usize(1..4);
        for name in names.into_iter().take(families) {
            self.family(name, &mut out);
        }
        out
    }

    fn family(&mut self, name: &str, out: &mut String) {
        let unusual = self.0.u8(..12) == 0;
        let kind = match name.as_bytes()[0] {
            _ if unusual => self.pick(&["gauge", "counter", "untyped"]),
            _ if name.len() > 2 => "gauge",
            b'g' => "gauge",
            b'c' => "counter",
            b'h' => "histogram",
            b's' => "summary",
            _ => "untyped",
        };
        if self.0.bool() {
            out.push_str(&format!("# HELP {name} {}\n", self.pick(&["Help.", "Other \\\\ help.", "a\\nb"])));
        }
        if kind != "untyped" || self.0.bool() {
            out.push_str(&format!("# TYPE {name} {kind}\n"));
        }
        let x = self.pick(&["", "x=\"1\"", "y=\"2\""]);
        let comma = if x.is_empty() { "" } else { "," };
        match kind {
            "histogram" => out.push_str(&format!(
                "{name}_bucket{{{x}{comma}le=\"0.5\"}} 1\n{name}_bucket{{{x}{comma}le=\"+Inf\"}} 3\n\
                 {name}_sum{{{x}}} 4.5\n{name}_count{{{x}}} 3\n"
            )),
            "summary" => out.push_str(&format!(
                "{name}{{{x}{comma}quantile=\"0.5\"}} 1\n{name}{{{x}{comma}quantile=\"0.9\"}} 2\n\
                 {name}_sum{{{x}}} 4.5\n{name}_count{{{x}}} 3\n"
            )),
            _ => {
                for _ in 0..self.0.usize(1..3) {
                    let (labels, value) = (self.labels(), self.value());
                    out.push_str(&format!("{name}{labels} {value}\n"));
                }
            }
        }
    }

    fn wrong_body(&mut self) -> String {
        let before = if self.0.bool() { self.body() } else { String::new() };
        let line = self.pick(&[
            "u9\n",
            "u9 \n",
            "u9 x\n",
            "u9 1 2 3\n",
            "u9 1 1.5\n",
            "u9 1 123\n",
            "u9 1 -123\n",
            "u9{ 1\n",
            "u9{x} 1\n",
            "u9{x=} 1\n",
            "u9{x=1} 1\n",
            "u9{x=\"1} 1\n",
            "u9{x=\"1\" y=\"2\"} 1\n",
            "u9{x=\"1\",,} 1\n",
            "u9{=\"1\"} 1\n",
            "u9{1x=\"1\"} 1\n",
            "u9{x-y=\"1\"} 1\n",
            "u9{x=\"1\",x=\"2\"} 1\n",
            "u9{__x=\"1\"} 1\n",
            "u9{__name__=\"other\"} 1\n",
            "u9}{x=\"1\"} 1\n",
            "9u 1\n",
            "u-9 1\n",
            "{x=\"1\"} 1\n",
            "= 1\n",
            "u9 1\nu9 2\n",
            "u9{x=\"1\",y=\"2\"} 1\nu9{y=\"2\",x=\"1\"} 2\n",
            "# TYPE u9 gouge\nu9 1\n",
            "# TYPE u9\nu9 1\n",
            "# TYPE 9u gauge\n",
            "u9 1_000\n",
            "u9 --1\n",
            "u9 0x1p\n",
        ]);
        let after = if self.0.bool() { self.body() } else { String::new() };
        before + line + &after
    }
}

/// How many sessions of how many requests.
const SESSIONS: u64 = 150;
const REQUESTS: usize = 6;

#[tokio::test]
async fn generated_requests_get_the_same_status_and_leave_the_same_series() {
    let Some(pair) = Pair::new().await else { return };
    let (mut wrong, mut statuses) = (Vec::new(), std::collections::BTreeMap::new());
    for session in 0..SESSIONS {
        let mut generator = Generator(fastrand::Rng::with_seed(session));
        pair.wipe().await;
        let mut history = String::new();
        for _ in 0..REQUESTS {
            let push = generator.push();
            let (real, ours) = pair.send(&push).await;
            history.push_str(&format!("{}\n", push.show()));
            *statuses.entry(real.0).or_insert(0) += 1;
            if real.0 != ours.0 {
                wrong.push(format!("session {session}:\n{history}real: {real:?}\nours: {ours:?}\n"));
                break;
            }
            let (real, ours) = pair.series().await;
            if real != ours {
                let only_real: Vec<_> = real.difference(&ours).collect();
                let only_ours: Vec<_> = ours.difference(&real).collect();
                wrong.push(format!(
                    "session {session}:\n{history}only real: {only_real:#?}\nonly ours: {only_ours:#?}\n"
                ));
                break;
            }
        }
    }
    let shown: Vec<&String> = wrong.iter().take(8).collect();
    for text in &shown {
        eprintln!("{text}\n");
    }
    assert!(wrong.is_empty(), "{} of {SESSIONS} sessions differ", wrong.len());
    // Both sides of the matter were asked for.
    assert!(statuses[&200] > 200 && statuses[&400] > 100 && statuses[&202] > 50, "{statuses:?}");
}
