//! A target to be scraped. Its page is known to the test and changes with each scrape. It is in the text
//! format or, if the scraper asks for that, in protobuf with a native histogram and exemplars.
//!
//! The protobuf messages are those of `io/prometheus/client/metrics.proto`, each preceded by its length.

use crate::wire::put_message;
use model::varint::{put_bytes, put_u64};
use std::io::{BufRead, BufReader, Write};
use std::net::{SocketAddr, TcpListener, TcpStream};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};

const TEXT: &str = "text/plain; version=0.0.4; charset=utf-8";
const PROTOBUF: &str =
    "application/vnd.google.protobuf; proto=io.prometheus.client.MetricFamily; encoding=delimited";

/// Values that would be changed by a decimal notation, a smaller float type or a comparison, by
/// label. -0 is not among them: Prometheus' own encoder leaves it out like a 0.
pub const ODD: [(&str, f64); 8] = [
    ("tenth", 0.1),
    ("third", 1.0 / 3.0),
    ("largest", f64::MAX),
    ("smallest", 5e-324),
    ("infinite", f64::INFINITY),
    ("minus infinite", f64::NEG_INFINITY),
    ("none", f64::NAN),
    ("ü \"quoted\" \\", 9_007_199_254_740_993.0),
];

/// A running target. It ends when dropped.
#[derive(Debug)]
pub struct Target {
    address: SocketAddr,
    shared: Arc<Shared>,
}

#[derive(Debug, Default)]
struct Shared {
    scrapes: AtomicU64,
    over: AtomicBool,
}

impl Target {
    /// Starts a target on a free port.
    pub fn start() -> Target {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let target = Target { address: listener.local_addr().unwrap(), shared: Arc::default() };
        let shared = Arc::clone(&target.shared);
        std::thread::spawn(move || {
            for stream in listener.incoming().flatten() {
                if shared.over.load(Ordering::Relaxed) {
                    return;
                }
                let shared = Arc::clone(&shared);
                std::thread::spawn(move || serve(stream, &shared));
            }
        });
        target
    }

    /// `127.0.0.1:PORT`, as in the list of targets of a scrape configuration.
    pub fn address(&self) -> String {
        self.address.to_string()
    }

    /// The number of scrapes so far.
    pub fn scrapes(&self) -> u64 {
        self.shared.scrapes.load(Ordering::Relaxed)
    }
}

impl Drop for Target {
    fn drop(&mut self) {
        self.shared.over.store(true, Ordering::Relaxed);
        // Wakes the thread that accepts connections.
        let _ = TcpStream::connect(self.address);
    }
}

/// Answers one request regardless of its path, and closes the connection.
fn serve(mut stream: TcpStream, shared: &Shared) {
    let mut protobuf = false;
    for line in BufReader::new(&stream).lines() {
        let Ok(line) = line else { return };
        let line = line.to_ascii_lowercase();
        protobuf |= line.starts_with("accept:") && line.contains("vnd.google.protobuf");
        if line.is_empty() {
            break;
        }
    }
    let scrape = shared.scrapes.fetch_add(1, Ordering::Relaxed) + 1;
    let (content_type, body) =
        if protobuf { (PROTOBUF, protobuf_page(scrape)) } else { (TEXT, text_page(scrape).into_bytes()) };
    let head = format!(
        "HTTP/1.1 200 OK\r\nContent-Type: {content_type}\r\nContent-Length: {}\r\nConnection: close\r\n\r\n",
        body.len()
    );
    let _ = stream.write_all(head.as_bytes()).and_then(|()| stream.write_all(&body));
}

/// The page of scrape number `scrape` (from 1) as text.
fn text_page(scrape: u64) -> String {
    let mut page = String::from("# HELP odd Values easily lost.\n# TYPE odd gauge\n");
    for (what, value) in ODD {
        let what = what.replace('\\', "\\\\").replace('"', "\\\"");
        page.push_str(&format!("odd{{what=\"{what}\"}} {}\n", text_value(value)));
    }
    let tenths = scrape as f64 * 0.1;
    page.push_str(&format!("# TYPE scrapes_total counter\nscrapes_total {scrape}\n"));
    page.push_str(&format!("# TYPE tenths_total counter\ntenths_total{{unit=\"0.1\"}} {tenths}\n"));
    let [low, all] = classic_counts(scrape);
    page.push_str(&format!(
        "# TYPE classic histogram\nclassic_bucket{{le=\"0.5\"}} {low}\nclassic_bucket{{le=\"+Inf\"}} {all}\nclassic_sum {tenths}\nclassic_count {all}\n"
    ));
    page
}

fn text_value(value: f64) -> String {
    if value.is_infinite() { format!("{value:+}").replace("inf", "Inf") } else { format!("{value:?}") }
}

fn classic_counts(scrape: u64) -> [u64; 2] {
    [scrape, scrape * 3]
}

/// The page as protobuf: exemplars with the counter and the classic histogram, and a native histogram.
fn protobuf_page(scrape: u64) -> Vec<u8> {
    let mut page = Vec::new();
    let odd = ODD.map(|(what, value)| metric(&[("what", what)], GAUGE, &double(1, value)));
    put_family(&mut page, "odd", TYPE_GAUGE, &odd);
    let tenths = scrape as f64 * 0.1;
    let mut scrapes = double(1, scrape as f64);
    put_message(&mut scrapes, 2, &exemplar(scrape));
    put_family(&mut page, "scrapes_total", TYPE_COUNTER, &[metric(&[], COUNTER, &scrapes)]);
    let counter = metric(&[("unit", "0.1")], COUNTER, &double(1, tenths));
    put_family(&mut page, "tenths_total", TYPE_COUNTER, &[counter]);

    let [low, all] = classic_counts(scrape);
    let mut classic = [number(1, all), double(2, tenths)].concat();
    let mut bucket = [number(1, low), double(2, 0.5)].concat();
    put_message(&mut bucket, 3, &exemplar(scrape));
    put_message(&mut classic, 3, &bucket);
    put_message(&mut classic, 3, &[number(1, all), double(2, f64::INFINITY)].concat());
    put_family(&mut page, "classic", TYPE_HISTOGRAM, &[metric(&[], HISTOGRAM, &classic)]);

    // Two spans of positive buckets with a gap, one of negative ones, and a zero bucket.
    let mut native =
        [number(1, 6 * scrape), double(2, tenths - 1.0), signed(5, 3), double(6, 0.001)].concat();
    native.extend(number(7, scrape));
    put_message(&mut native, 9, &[signed(1, -2), number(2, 1)].concat());
    native.extend(signed(10, scrape as i64));
    put_message(&mut native, 12, &[signed(1, 0), number(2, 2)].concat());
    put_message(&mut native, 12, &[signed(1, 5), number(2, 1)].concat());
    for delta in [scrape as i64, 0, scrape as i64] {
        native.extend(signed(13, delta));
    }
    put_message(&mut native, 16, &exemplar(scrape));
    put_family(&mut page, "native", TYPE_HISTOGRAM, &[metric(&[("kind", "native")], HISTOGRAM, &native)]);
    page
}

const TYPE_COUNTER: u64 = 0;
const TYPE_GAUGE: u64 = 1;
const TYPE_HISTOGRAM: u64 = 4;
/// Field numbers of `Metric`.
const GAUGE: u64 = 2;
const COUNTER: u64 = 3;
const HISTOGRAM: u64 = 7;

fn put_family(page: &mut Vec<u8>, name: &str, kind: u64, metrics: &[Vec<u8>]) {
    let mut family = Vec::new();
    put_message(&mut family, 1, name.as_bytes());
    put_message(&mut family, 2, b"Help.");
    family.extend(number(3, kind));
    metrics.iter().for_each(|metric| put_message(&mut family, 4, metric));
    put_bytes(page, &family);
}

fn metric(labels: &[(&str, &str)], field: u64, value: &[u8]) -> Vec<u8> {
    let mut metric = Vec::new();
    labels.iter().for_each(|(name, value)| put_message(&mut metric, 1, &label(name, value)));
    put_message(&mut metric, field, value);
    metric
}

fn label(name: &str, value: &str) -> Vec<u8> {
    let mut label = Vec::new();
    put_message(&mut label, 1, name.as_bytes());
    put_message(&mut label, 2, value.as_bytes());
    label
}

/// Each scrape has its own exemplar with the time of the scrape.
fn exemplar(scrape: u64) -> Vec<u8> {
    let now = std::time::UNIX_EPOCH.elapsed().unwrap();
    let mut exemplar = Vec::new();
    put_message(&mut exemplar, 1, &label("trace_id", &format!("trace-{scrape}")));
    exemplar.extend(double(2, 0.1 + scrape as f64));
    let nanos = u64::from(now.subsec_millis()) * 1_000_000;
    put_message(&mut exemplar, 3, &[number(1, now.as_secs()), number(2, nanos)].concat());
    exemplar
}

fn double(field: u64, value: f64) -> Vec<u8> {
    let mut out = Vec::new();
    put_u64(&mut out, field << 3 | 1);
    out.extend_from_slice(&value.to_le_bytes());
    out
}

fn number(field: u64, value: u64) -> Vec<u8> {
    let mut out = Vec::new();
    put_u64(&mut out, field << 3);
    put_u64(&mut out, value);
    out
}

/// A `sint32` or `sint64` in zigzag encoding.
fn signed(field: u64, value: i64) -> Vec<u8> {
    number(field, ((value << 1) ^ (value >> 63)) as u64)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn values_are_written_as_scrapers_read_them() {
        for (value, text) in
            [(0.1, "0.1"), (-0.0, "-0.0"), (f64::INFINITY, "+Inf"), (f64::NEG_INFINITY, "-Inf")]
        {
            assert_eq!(text_value(value), text);
        }
        assert_eq!(text_value(f64::NAN), "NaN");
    }
}
