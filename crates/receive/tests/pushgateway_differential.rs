//! The same requests to the real Pushgateway and to narthex: status and resulting series agree, except for
//! the differences in [`differences`], each of which has its reason.
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
    content_type: Option<&'static str>,
    encoding: Option<&'static str>,
    body: Vec<u8>,
}

impl Push {
    fn new(method: &'static str, path: &str, body: &str) -> Push {
        Push { method, path: path.into(), content_type: None, encoding: None, body: body.into() }
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
        Pair::with(&[]).await
    }

    async fn with(flags: &[&str]) -> Option<Pair> {
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
    async fn send(&self, push: &Push) -> ((u16, String), (u16, String)) {
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

    async fn wipe(&self) {
        let (real, ours) = self.send(&Push::new("PUT", "/api/v1/admin/wipe", "")).await;
        assert_eq!((real.0, ours.0), (202, 202));
    }

    /// The series that each exposes.
    async fn series(&self) -> (BTreeSet<String>, BTreeSet<String>) {
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
        let protobuf = self.0.u8(..6) == 0;
        let body = match self.0.u8(..10) {
            0 => String::new(),
            1..3 => self.wrong_body(),
            _ => self.body(),
        };
        let mut push = Push::new(method, &path, &body);
        if protobuf {
            push.content_type = Some(PROTOBUF);
            push.body = self.protobuf();
        }
        // The real one decompresses before it looks at the path, and at the method.
        let path_exists = path.starts_with("/metrics/job/") || path.starts_with("/metrics/job@base64/");
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
            2 if path_exists => push.encoding = Some(self.pick(&["gzip", "snappy"])),
            _ => {}
        }
        if !matches!(method, "PUT" | "POST") {
            (push.body, push.encoding, push.content_type) = (Vec::new(), None, None);
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
        names.truncate(families);
        for name in &names {
            // In one body the real one's parser takes these for the other's parts; see DIFFERENCES.
            let part = [("h_count", "h"), ("s_sum", "s")].iter().find(|(part, _)| part == name);
            if part.is_none_or(|(_, whole)| !names.contains(whole)) {
                self.family(name, &mut out);
            }
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

    /// Families in delimited protobuf, sometimes cut short.
    fn protobuf(&mut self) -> Vec<u8> {
        let mut names = vec!["g1", "c1", "u1", "h", "s"];
        self.0.shuffle(&mut names);
        let mut out = Vec::new();
        let families = self.0.usize(..3);
        for name in names.into_iter().take(families) {
            let (kind, field) = match name.as_bytes()[0] {
                b'c' => (0, 3),
                b'g' => (1, 2),
                b's' => (2, 4),
                b'h' => (4, 7),
                _ => (3, 5),
            };
            let value = match kind {
                2 => {
                    let quantile = [double(1, 0.5), double(2, 1.0)].concat();
                    [number(1, 3), double(2, 4.5), bytes(3, &quantile)].concat()
                }
                4 => {
                    let bucket = [number(1, 1), double(2, 0.5)].concat();
                    [number(1, 3), double(2, 4.5), bytes(3, &bucket)].concat()
                }
                _ => double(1, 1.5),
            };
            let labels = match self.0.u8(..4) {
                0 => bytes(1, &[bytes(1, b"x"), bytes(2, b"1")].concat()),
                1 => bytes(1, &[bytes(1, b"job"), bytes(2, b"other")].concat()),
                _ => vec![],
            };
            let mut metric = [labels, bytes(field, &value)].concat();
            if self.0.u8(..8) == 0 {
                metric.extend(number(6, 123));
            }
            let metrics = bytes(4, &metric).repeat(if self.0.u8(..8) == 0 { 2 } else { 1 });
            let family = [bytes(1, name.as_bytes()), bytes(2, b"Help."), number(3, kind), metrics].concat();
            model::varint::put_bytes(&mut out, &family);
        }
        if self.0.u8(..6) == 0 {
            out.truncate(self.0.usize(..=out.len()));
        }
        out
    }

    fn wrong_body(&mut self) -> String {
        // On one side only: the real one takes each name's TYPE once.
        let (before, after) = match self.0.u8(..3) {
            0 => (self.body(), String::new()),
            1 => (String::new(), self.body()),
            _ => (String::new(), String::new()),
        };
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
            "u9{z=\"1\",z=\"2\"} 1\n",
            "u9{__x=\"1\"} 1\n",
            "u9{__name__=\"other\"} 1\n",
            "u9}{x=\"1\"} 1\n",
            "9u 1\n",
            "u-9 1\n",
            "= 1\n",
            "u9 1\nu9 2\n",
            "u9{x=\"1\",y=\"2\"} 1\nu9{y=\"2\",x=\"1\"} 2\n",
            "# TYPE u9 gouge\nu9 1\n",
            "# TYPE 9u gauge\n",
            "u9 1_000\n",
            "u9 --1\n",
            "u9 0x1p\n",
        ]);
        before + line + &after
    }
}

const PROTOBUF: &str =
    "application/vnd.google.protobuf; proto=io.prometheus.client.MetricFamily; encoding=delimited";

fn bytes(field: u8, value: &[u8]) -> Vec<u8> {
    let mut out = vec![field << 3 | 2];
    model::varint::put_bytes(&mut out, value);
    out
}

fn number(field: u8, value: u8) -> Vec<u8> {
    vec![field << 3, value]
}

fn double(field: u8, value: f64) -> Vec<u8> {
    [&[field << 3 | 1], &value.to_le_bytes()[..]].concat()
}

/// How many sessions of how many requests.
const SESSIONS: u64 = 150;
const REQUESTS: usize = 6;

#[tokio::test]
async fn generated_requests_get_the_same_status_and_leave_the_same_series() {
    let Some(pair) = Pair::new().await else { return };
    let (mut wrong, mut statuses, mut types) = (Vec::new(), std::collections::BTreeMap::new(), 0);
    for session in 0..SESSIONS {
        let mut generator = Generator(fastrand::Rng::with_seed(session));
        pair.wipe().await;
        let mut history = String::new();
        for _ in 0..REQUESTS {
            let push = generator.push();
            let (real, ours) = pair.send(&push).await;
            history.push_str(&format!("{}\n", push.show()));
            *statuses.entry(real.0).or_insert(0) += 1;
            if (real.0, ours.0) == (400, 200) && real.1.contains("} is not a ") {
                // Another type than in another group; see `differences`. From here on the two differ.
                types += 1;
                break;
            }
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
    assert!(types < 20, "{types} sessions end early");
    // Both sides of the matter were asked for.
    assert!(statuses[&200] > 200 && statuses[&400] > 100 && statuses[&202] > 50, "{statuses:?}");
}

/// A body that was fine, with a few bytes of it changed, lost or doubled.
fn mutate(body: &str, rng: &mut fastrand::Rng) -> Vec<u8> {
    let mut bytes = body.as_bytes().to_vec();
    for _ in 0..rng.usize(1..4) {
        if bytes.is_empty() {
            break;
        }
        let at = rng.usize(..bytes.len());
        match rng.u8(..4) {
            0 => bytes[at] = b"{}\"=, \n\t#\\1aE+-_.:"[rng.usize(..18)],
            1 => drop(bytes.remove(at)),
            2 => bytes.insert(at, bytes[at]),
            _ => bytes.insert(at, b"{}\"=, \n\t#\\1aE+-_.:"[rng.usize(..18)]),
        }
    }
    if bytes.last() != Some(&b'\n') {
        bytes.push(b'\n');
    }
    bytes
}

#[tokio::test]
async fn damaged_bodies_are_refused_where_the_real_one_refuses_them_or_read_as_prometheus_does() {
    let Some(pair) = Pair::new().await else { return };
    let (mut wrong, mut lenient, mut same) = (Vec::new(), 0, [0; 2]);
    for seed in 0..600 {
        let mut generator = Generator(fastrand::Rng::with_seed(1000 + seed));
        if seed % 10 == 0 {
            pair.wipe().await;
        }
        let body = generator.body();
        let mut push = Push::new("PUT", "/metrics/job/a", "");
        push.body = mutate(&body, &mut generator.0);
        let (real, ours) = pair.send(&push).await;
        match (real.0, ours.0) {
            (200, 200) => same[0] += 1,
            (400, 400) => same[1] += 1,
            (400, 200) if real.1.starts_with("text format parsing error") => lenient += 1,
            _ => wrong.push(format!("{}\nreal: {real:?}\nours: {ours:?}", push.show())),
        }
    }
    for text in wrong.iter().take(8) {
        eprintln!("{text}\n");
    }
    assert!(wrong.is_empty(), "{} differ", wrong.len());
    assert!(same[0] > 100 && same[1] > 300 && lenient < 30, "{same:?} {lenient}");
}

/// Not as they go out: there they are `1.0`, as Prometheus makes of `1` when it scrapes.
#[tokio::test]
async fn bounds_of_buckets_and_quantiles_are_shown_as_the_real_one_shows_them() {
    let Some(pair) = Pair::new().await else { return };
    let body = "# TYPE h histogram\nh_bucket{le=\"1\"} 1\nh_bucket{le=\"2.0\"} 1\nh_bucket{le=\"1e3\"} 1\n\
                h_bucket{le=\"+Inf\"} 2\nh_sum 3\nh_count 2\n\
                # TYPE s summary\ns{quantile=\"1\"} 3\ns{quantile=\"0.50\"} 2\ns_sum 1\ns_count 1\n";
    let (real, ours) = pair.send(&Push::new("PUT", "/metrics/job/a", body)).await;
    assert_eq!((real.0, ours.0), (200, 200));
    let (real, ours) = pair.series().await;
    assert_eq!(real, ours);
    assert!(ours.iter().any(|line| line.contains("le=\"1\"")), "{ours:?}");
}

#[tokio::test]
async fn bounds_beyond_a_64_bit_float_are_refused_as_by_the_real_one() {
    let Some(pair) = Pair::new().await else { return };
    for body in [
        "# TYPE h histogram\nh_bucket{le=\"1e400\"} 1\nh_bucket{le=\"+Inf\"} 1\nh_sum 1\nh_count 1\n",
        "# TYPE s summary\ns{quantile=\"1e400\"} 1\ns_sum 1\ns_count 1\n",
    ] {
        let (real, ours) = pair.send(&Push::new("PUT", "/metrics/job/a", body)).await;
        assert_eq!((real.0, ours.0), (400, 400), "{body}{real:?} {ours:?}");
        assert!(ours.1.contains("1e400 is beyond the largest 64-bit float"), "{ours:?}");
    }
}

#[tokio::test]
async fn two_types_of_a_metric_in_one_body_are_refused_as_by_the_real_one() {
    let Some(pair) = Pair::new().await else { return };
    for body in ["h 1\n# TYPE h histogram\nh_sum 1\n", "m 1\n# TYPE m gauge\nm{x=\"1\"} 1\n"] {
        let (real, ours) = pair.send(&Push::new("PUT", "/metrics/job/a", body)).await;
        assert_eq!((real.0, ours.0), (400, 400), "{body}{real:?} {ours:?}");
        assert!(ours.1.contains("has two types"), "{ours:?}");
    }
    // Series that fit the first type, and even the same type again.
    for second in ["counter", "gauge"] {
        for body in [
            format!("# TYPE m gauge\n# TYPE m {second}\nm 1\n"),
            format!("# TYPE m gauge\nm 1\n# TYPE n gauge\nn 1\n# TYPE m {second}\nm{{x=\"1\"}} 1\n"),
            format!("# TYPE m gauge\n# TYPE m {second}\n"),
        ] {
            let (real, ours) = pair.send(&Push::new("PUT", "/metrics/job/a", &body)).await;
            assert_eq!((real.0, ours.0), (400, 400), "{body}{real:?} {ours:?}");
            assert!(ours.1.contains("a second TYPE of \"m\""), "{ours:?}");
        }
    }
    let (real, ours) = pair.series().await;
    assert_eq!(real, ours, "neither keeps anything");
}

/// Two protobuf families with the name `m`: a gauge, and one of this kind whose value is in this field.
fn two_families(kind: u8, field: u8) -> Push {
    let family = |kind: u8, field: u8, x: &[u8]| {
        let label = bytes(1, &[bytes(1, b"x"), bytes(2, x)].concat());
        let metric = bytes(4, &[label, bytes(field, b"")].concat());
        let family = [bytes(1, b"m"), number(3, kind), metric].concat();
        let mut out = Vec::new();
        model::varint::put_bytes(&mut out, &family);
        out
    };
    Push {
        body: [family(1, 2, b"1"), family(kind, field, b"2")].concat(),
        content_type: Some(PROTOBUF),
        ..Push::new("PUT", "/metrics/job/a", "")
    }
}

#[tokio::test]
async fn two_protobuf_families_of_one_name_are_both_kept() {
    let Some(pair) = Pair::new().await else { return };
    let (real, ours) = pair.send(&two_families(1, 2)).await;
    assert_eq!((real.0, ours.0), (200, 200), "{real:?} {ours:?}");
    let (real, ours) = pair.series().await;
    let count = |series: &BTreeSet<String>| series.iter().filter(|line| line.contains("x=\"")).count();
    assert_eq!((count(&real), count(&ours)), (1, 2), "{real:?} {ours:?}");
}

/// A difference that is meant.
struct Difference {
    why: &'static str,
    /// Requests in order, each with the status that the real one and narthex answer.
    requests: Vec<(Push, u16, u16)>,
}

/// In the order of docs/migrate-from-pushgateway.md.
fn differences() -> Vec<Difference> {
    let put = |path: &str, body: &str| Push::new("PUT", path, body);
    let difference = |why, requests| Difference { why, requests };
    let a = "/metrics/job/a";
    vec![
        difference(
            "a text is read as Prometheus reads a scrape, which is more lenient but for an unfinished TYPE",
            vec![
                (put(a, "m 1"), 400, 200),
                (put(a, "m 1\n# TYPE m gauge\n"), 400, 200),
                (put(a, "# HELP m 1\n# HELP m 2\nm 1\n"), 400, 200),
                (put(a, "m{x=\"\\d\"} 1\n"), 400, 200),
                (put(a, "# TYPE m\nm 1\n"), 200, 400),
                // Here it can be read, and is refused for what it says: that is a failed push.
                (
                    put(
                        "/metrics/job/c",
                        "# TYPE h histogram\nh_sum 1\nh_count 1\n# TYPE h_count gauge\nh_count 1\n",
                    ),
                    400,
                    400,
                ),
            ],
        ),
        difference(
            "names may be any UTF-8, as in Prometheus 3; there it takes a flag",
            vec![
                (put(a, "{\"m.é\",\"l.é\"=\"1\"} 1\n"), 400, 200),
                (put("/metrics/job/a/U__x_2e_y/1", "m 1\n"), 200, 200),
                // There the flag makes a label name with a NUL of it, which breaks each scrape.
                (put("/metrics/job/a/U__x_0_/1", "m 1\n"), 200, 400),
            ],
        ),
        difference(
            "a label with an empty value is no label, as everywhere in Prometheus, so both paths name one group; \
             there they are two that keep each other from being pushed",
            vec![(put(a, "m 1\n"), 200, 200), (put("/metrics/job/a/instance/", "n 1\n"), 400, 200)],
        ),
        difference(
            "a path with an empty part or `..`, or without a job, is refused and told why; there it is sent \
             elsewhere, where a PUT arrives as a GET, or not found",
            vec![
                (put("/metrics/job/a/x//y/1", "m 1\n"), 301, 400),
                (put("/metrics/job/a/x/../y/1", "m 1\n"), 301, 400),
                (put("/metrics/job/", "m 1\n"), 307, 400),
                (put("/metrics/job@base64/", "m 1\n"), 404, 400),
                (put("/metrics/job/..", "m 1\n"), 301, 400),
                (put("/metrics", "m 1\n"), 405, 400),
            ],
        ),
        difference(
            "an encoding that isn't known is refused, after path and method; there the body is read as if it had \
             none, and decompressed before anything else is looked at",
            vec![
                (Push { encoding: Some("br"), ..put(a, "m 1\n") }, 200, 415),
                (Push { encoding: Some("gzip"), ..put("/metrics/jobs/a", "no gzip") }, 400, 404),
                (Push { encoding: Some("gzip"), ..Push::new("PATCH", a, "no gzip") }, 400, 405),
            ],
        ),
        difference(
            "a bucket or quantile that is there twice is the same series twice; there it is exposed twice",
            vec![(
                put(
                    a,
                    "# TYPE h histogram\nh_bucket{le=\"1\"} 1\nh_bucket{le=\"1\"} 2\nh_sum 1\nh_count 2\n",
                ),
                200,
                400,
            )],
        ),
        difference(
            "narthex' own metrics are not among what is pushed, so their names are free",
            vec![(put(a, "# TYPE go_goroutines counter\ngo_goroutines 1\n"), 400, 200)],
        ),
        difference(
            "what is refused leaves nothing that makes later pushes fail; there the failure time of a group \
             that can't be exposed does",
            vec![(put("/metrics/job/a%FF", "m 1\n"), 400, 400), (put("/metrics/job/b", "m 1\n"), 400, 200)],
        ),
        difference(
            "the push times are the group's own; there one in the body may take their place",
            vec![(put(a, "m 1\n"), 200, 200), (put(a, "push_failure_time_seconds 5\n"), 200, 200)],
        ),
        difference(
            "a body that says it is OpenMetrics is read as such; there as the old text, without exemplars",
            vec![(
                Push {
                    content_type: Some("application/openmetrics-text; version=1.0.0"),
                    ..put(a, "# TYPE c counter\nc_total 1 # {trace_id=\"x\"} 1\n# EOF\n")
                },
                400,
                200,
            )],
        ),
        difference(
            "groups may give a name different types, as targets of a scrape may; there the new instances of a \
             rolling upgrade are refused until the old groups are deleted",
            vec![
                (put(a, "# TYPE m gauge\nm 1\n"), 200, 200),
                (put("/metrics/job/b", "# TYPE m counter\nm 1\n"), 400, 200),
            ],
        ),
        difference(
            "a series has limits, over which it is left out and the rest is kept; there it has none",
            vec![(put(a, &format!("m 1\nn{{x=\"{}\"}} 1\n", "x".repeat(16_385))), 200, 400)],
        ),
        difference(
            "two protobuf families of one name are both kept, or refused where their types differ; there the last \
             one silently replaces the others",
            vec![(two_families(1, 2), 200, 200), (two_families(0, 3), 200, 400)],
        ),
    ]
}

/// Its flag makes the real one decode names in the path, as narthex always does.
#[tokio::test]
async fn escaped_names_in_a_path_are_read_as_the_real_one_reads_them() {
    let Some(pair) = Pair::with(&["--push.enable-utf8-names"]).await else { return };
    for path in ["U__x_2e_y/1", "U__x_2E_y/2", "U__a__b/3", "U__x_2e_y@base64/NA", "U__a_1F600_/5", "U__a_/6"]
    {
        let put = Push::new("PUT", &format!("/metrics/job/a/{path}"), "m 1\n");
        let (real, ours) = pair.send(&put).await;
        assert_eq!((real.0, ours.0), (200, 200), "{path}: {real:?} {ours:?}");
    }
    let (real, ours) = pair.series().await;
    assert_eq!(real, ours);
    for path in ["U__/1", "U_____x/1"] {
        let put = Push::new("PUT", &format!("/metrics/job/a/{path}"), "m 1\n");
        let (real, ours) = pair.send(&put).await;
        assert_eq!(real.0, ours.0, "{path}: {real:?} {ours:?}");
    }
}

#[tokio::test]
async fn every_documented_difference_is_one() {
    let Some(pair) = Pair::new().await else { return };
    let differences = differences();
    let documented = include_str!("../../../docs/migrate-from-pushgateway.md");
    assert!(documented.contains(&format!("\n{}. ", differences.len())));
    assert!(!documented.contains(&format!("\n{}. ", differences.len() + 1)));
    for difference in differences {
        pair.wipe().await;
        let differs = difference.requests.iter().any(|(_, real, ours)| real != ours);
        for (push, real_wanted, ours_wanted) in difference.requests {
            let (real, ours) = pair.send(&push).await;
            let shown = format!("{}: {}\n{real:?}\n{ours:?}", difference.why, push.show());
            assert_eq!((real.0, ours.0), (real_wanted, ours_wanted), "{shown}");
        }
        let (real, ours) = pair.series().await;
        assert!(differs || real != ours, "{}: no difference", difference.why);
    }
}
