//! Requests that are left to chance: valid ones and others.

use crate::pair::Push;
use flate2::{Compression, write::GzEncoder};
use std::io::Write;

pub(crate) struct Generator(pub(crate) fastrand::Rng);

impl Generator {
    fn pick<T: Copy>(&mut self, of: &[T]) -> T {
        of[self.0.usize(..of.len())]
    }

    pub(crate) fn push(&mut self) -> Push {
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
    pub(crate) fn body(&mut self) -> String {
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

pub(crate) const PROTOBUF: &str =
    "application/vnd.google.protobuf; proto=io.prometheus.client.MetricFamily; encoding=delimited";

pub(crate) fn bytes(field: u8, value: &[u8]) -> Vec<u8> {
    let mut out = vec![field << 3 | 2];
    model::varint::put_bytes(&mut out, value);
    out
}

pub(crate) fn number(field: u8, value: u8) -> Vec<u8> {
    vec![field << 3, value]
}

pub(crate) fn double(field: u8, value: f64) -> Vec<u8> {
    [&[field << 3 | 1], &value.to_le_bytes()[..]].concat()
}

/// A body that was fine, with a few bytes of it changed, lost or doubled.
pub(crate) fn mutate(body: &str, rng: &mut fastrand::Rng) -> Vec<u8> {
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
