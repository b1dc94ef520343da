//! The samples that are sent: series, times and values, and the requests with them.
//!
//! Series and timestamp identify each sample, so that the receiver recognises missing, repeated and late
//! samples regardless of the values. They also determine the value, so that the receiver can check it. A
//! *pod* has [`PER_POD`] series. In a *sweep* all series are sent once; the number of the sweep is part of
//! the timestamp. With churn, some pods end and new ones take their slots at each sweep, as in a rolling
//! deployment.

use crate::dialect::Dialect;
use bytes::Bytes;
use model::varint::put_u64;
use support::wire::{self, Histogram, Version};

/// Series in a pod: [`NAMES`] times [`HANDLERS`].
pub(crate) const PER_POD: u32 = (NAMES.len() * HANDLERS) as u32;
/// Series in a request.
pub(crate) const PER_REQUEST: u32 = 2000;
const PODS_PER_REQUEST: u32 = PER_REQUEST / PER_POD;
const HANDLERS: usize = 2;
/// The series of the last name have native histograms if the workload asks for them.
const NAMES: [&str; 10] = [
    "http_requests_total",
    "http_request_duration_seconds_sum",
    "http_request_duration_seconds_count",
    "http_response_size_bytes_total",
    "http_requests_in_flight",
    "http_client_retries_total",
    "cache_hits_total",
    "cache_misses_total",
    "queue_length",
    "db_query_seconds",
];
const HELP: &str = "What the service has done since it was started.";

/// What values samples have.
#[derive(Debug, Clone, Copy, PartialEq, Eq, clap::ValueEnum)]
pub(crate) enum Values {
    /// Each series keeps its value.
    Constant,
    /// Half of the series stand still, as most do; a quarter count up, a quarter are gauges.
    Realistic,
}

/// The samples that are sent, without the time at which they begin.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Workload {
    /// Series in a sweep: a multiple of [`PER_POD`].
    pub(crate) series: u32,
    pub(crate) sweeps: u32,
    pub(crate) rate: u32,
    pub(crate) values: Values,
    /// The number of pods that are replaced at each sweep.
    pub(crate) replaced: u32,
    /// If true, the series of one name have native histograms instead of floats.
    pub(crate) histograms: bool,
}

/// A workload with the timestamp of its first sweep.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Plan {
    pub(crate) workload: Workload,
    /// The time of the first sweep in milliseconds since 1970.
    pub(crate) base: i64,
}

/// The number of a series among all that a plan will ever have: the number of its pod times [`PER_POD`], plus
/// its index in the pod.
pub(crate) type SeriesId = u32;

impl Workload {
    /// The simplest workload: series without churn, all of them once a second, floats that change as most do.
    pub(crate) fn plain(series: u32, sweeps: u32) -> Workload {
        Workload { series, sweeps, rate: series, values: Values::Realistic, replaced: 0, histograms: false }
    }

    /// The number of pods at any time.
    fn pods(&self) -> u32 {
        self.series / PER_POD
    }

    /// Requests in a sweep.
    pub(crate) fn requests_per_sweep(&self) -> u32 {
        self.pods().div_ceil(PODS_PER_REQUEST)
    }

    /// Requests in total.
    pub(crate) fn requests(&self) -> u32 {
        self.requests_per_sweep() * self.sweeps
    }

    /// Samples in total.
    pub(crate) fn samples(&self) -> u64 {
        u64::from(self.series) * u64::from(self.sweeps)
    }

    /// The number of series over the whole time, including ended ones.
    pub(crate) fn all_series(&self) -> u32 {
        self.series + self.replaced * PER_POD * self.sweeps.saturating_sub(1)
    }

    /// Milliseconds from one sweep to the next, so that timestamps keep up with the clock at the given rate.
    fn step(&self) -> i64 {
        (i64::from(self.series) * 1000 / i64::from(self.rate)).max(1)
    }

    /// The pod in a slot at a sweep. At sweep s, the `replaced` slots from `(s - 1) * replaced` on, modulo
    /// the number of slots, get new pods. Their numbers continue after those of the first pods.
    fn pod(&self, slot: u32, sweep: u32) -> u32 {
        let pods = self.pods();
        // The last pod in the slot is the largest k with k % pods == slot among the k below `total`.
        let total = self.replaced * sweep;
        if total <= slot {
            return slot;
        }
        let newest = slot + (total - 1 - slot) / pods * pods;
        pods + newest
    }

    /// Returns true if a series has native histograms.
    fn is_histogram(&self, series: SeriesId) -> bool {
        self.histograms && (series % PER_POD) as usize / HANDLERS == NAMES.len() - 1
    }

    fn value(&self, series: SeriesId, sweep: u32) -> f64 {
        let noise = |salt: u32| f64::from(mix(series ^ salt.wrapping_mul(0x9e37_79b9)) % 10_000);
        let sweep = match self.values {
            Values::Constant => 0,
            Values::Realistic => sweep,
        };
        match mix(series) % 4 {
            0 => 0.0,
            1 => noise(0),
            2 => noise(0) + f64::from(sweep) * f64::from(1 + mix(series) % 97),
            _ => noise(sweep) / 100.0,
        }
    }
}

/// A cheap hash that never changes.
fn mix(mut x: u32) -> u32 {
    x = (x ^ (x >> 16)).wrapping_mul(0x7feb_352d);
    x = (x ^ (x >> 15)).wrapping_mul(0x846c_a68b);
    x ^ (x >> 16)
}

impl Plan {
    /// The timestamp of a sweep, in milliseconds since 1970.
    pub(crate) fn timestamp(&self, sweep: u32) -> i64 {
        self.base + i64::from(sweep) * self.workload.step()
    }

    /// The labels of a series, sorted by name.
    pub(crate) fn labels(&self, series: SeriesId) -> [(&'static str, String); 12] {
        labels(series / PER_POD, series % PER_POD)
    }

    /// The value of a series at a sweep.
    pub(crate) fn value(&self, series: SeriesId, sweep: u32) -> f64 {
        self.workload.value(series, sweep)
    }

    /// Returns true if a series has this value at a sweep, bit by bit.
    pub(crate) fn has_value(&self, series: SeriesId, sweep: u32, value: f64) -> bool {
        !self.workload.is_histogram(series) && self.value(series, sweep).to_bits() == value.to_bits()
    }

    /// Returns true if a series has the histogram in this message at a sweep.
    pub(crate) fn has_histogram(&self, series: SeriesId, sweep: u32, message: &[u8]) -> bool {
        self.workload.is_histogram(series) && histogram(series, sweep).is_in(message)
    }

    /// The sweep of a timestamp; `None` if the timestamp is not part of this plan.
    pub(crate) fn sweep(&self, timestamp: i64) -> Option<u32> {
        let since = timestamp - self.base;
        let sweep = u32::try_from(since / self.workload.step()).ok()?;
        (self.timestamp(sweep) == timestamp && sweep < self.workload.sweeps).then_some(sweep)
    }

    /// The compressed body of a request. Requests are numbered sweep by sweep.
    pub(crate) fn request(&self, dialect: Dialect, request: u32) -> Bytes {
        let per_sweep = self.workload.requests_per_sweep();
        let (sweep, chunk) = (request / per_sweep, request % per_sweep);
        let first = chunk * PODS_PER_REQUEST;
        let mut out = RequestBuilder { dialect, symbols: wire::Symbols::default(), series: Vec::new() };
        for slot in first..(first + PODS_PER_REQUEST).min(self.workload.pods()) {
            let pod = self.workload.pod(slot, sweep);
            if dialect == Dialect::Influx {
                (0..HANDLERS as u32)
                    .for_each(|handler| put_point(&mut out.series, self, pod, handler, sweep));
                continue;
            }
            for index in 0..PER_POD {
                out.push(self, pod, index, sweep);
            }
        }
        Bytes::from(dialect.compress(&out.finish()))
    }

    /// A pod as a group of the Pushgateway's interface: the path and the body of its push.
    pub(crate) fn group(&self, pod: u32) -> (String, String) {
        let mut body = String::new();
        let mut path = String::new();
        for index in 0..PER_POD {
            let [(_, metric), _, code, _, handler, _, _, method, _, _, (_, pod_name), _] =
                &labels(pod, index);
            path = format!("/metrics/job/backup/pod/{pod_name}");
            if index % HANDLERS as u32 == 0 {
                body.push_str(&format!("# TYPE {metric} gauge\n"));
            }
            let labels = [code, handler, method].map(|(name, value)| format!("{name}=\"{value}\"")).join(",");
            body.push_str(&format!("{metric}{{{labels}}} {}\n", self.value(pod * PER_POD + index, 0)));
        }
        (path, body)
    }

    /// The number of samples in a request.
    pub(crate) fn samples_in(&self, request: u32) -> u32 {
        let chunk = request % self.workload.requests_per_sweep();
        PODS_PER_REQUEST.min(self.workload.pods() - chunk * PODS_PER_REQUEST) * PER_POD
    }
}

struct RequestBuilder {
    dialect: Dialect,
    symbols: wire::Symbols,
    series: Vec<u8>,
}

impl RequestBuilder {
    fn push(&mut self, plan: &Plan, pod: u32, index: u32, sweep: u32) {
        let labels = labels(pod, index);
        if self.dialect == Dialect::Text {
            let value = plan.value(pod * PER_POD + index, sweep);
            put_line(&mut self.series, &labels, value, plan.timestamp(sweep));
            return;
        }
        let version = self.dialect.version();
        let mut message = Vec::with_capacity(512);
        match version {
            Version::V1 => {
                for (name, value) in &labels {
                    wire::put_label(&mut message, name, value);
                }
            }
            Version::V2 => {
                let texts = labels.iter().flat_map(|(name, value)| [*name, value.as_str()]);
                let refs: Vec<u64> = texts.map(|text| self.symbols.reference(text)).collect();
                wire::put_refs(&mut message, &refs);
            }
        }
        let timestamp = plan.timestamp(sweep);
        let series = pod * PER_POD + index;
        let is_histogram = plan.workload.is_histogram(series);
        if is_histogram {
            let field = if version == Version::V1 { 4 } else { 3 };
            wire::put_message(&mut message, field, &histogram(series, sweep).encode(timestamp));
        } else {
            wire::put_sample(&mut message, timestamp, plan.value(series, sweep));
        }
        if version == Version::V2 {
            let help = self.symbols.reference(HELP);
            let mut metadata = vec![1 << 3, if is_histogram { 3 } else { 1 }, 3 << 3];
            put_u64(&mut metadata, help);
            wire::put_message(&mut message, 5, &metadata);
        }
        wire::put_message(&mut self.series, if version == Version::V1 { 1 } else { 5 }, &message);
    }

    fn finish(self) -> Vec<u8> {
        let mut out = Vec::new();
        if self.dialect == Dialect::V2 {
            self.symbols.put(&mut out);
        }
        out.extend_from_slice(&self.series);
        out
    }
}

/// Appends a line of Prometheus' text format. No value of these labels has a character that needs escaping.
fn put_line(out: &mut Vec<u8>, labels: &[(&'static str, String); 12], value: f64, timestamp: i64) {
    let [(_, metric), labels @ ..] = labels;
    out.extend_from_slice(metric.as_bytes());
    for (number, (name, value)) in labels.iter().enumerate() {
        let open = if number == 0 { '{' } else { ',' };
        out.extend_from_slice(format!("{open}{name}=\"{value}\"").as_bytes());
    }
    out.extend_from_slice(format!("}} {value} {timestamp}\n").as_bytes());
}

/// A line of InfluxDB's protocol with one series of each name as its fields. Their labels but the name are those of the
/// first one.
fn put_point(out: &mut Vec<u8>, plan: &Plan, pod: u32, handler: u32, sweep: u32) {
    out.extend_from_slice(b"prometheus");
    for (name, value) in labels(pod, handler).iter().skip(1) {
        out.extend_from_slice(format!(",{name}={value}").as_bytes());
    }
    for (number, name) in NAMES.iter().enumerate() {
        let series = pod * PER_POD + (number * HANDLERS) as u32 + handler;
        let separator = if number == 0 { ' ' } else { ',' };
        out.extend_from_slice(format!("{separator}{name}={}", plan.value(series, sweep)).as_bytes());
    }
    out.extend_from_slice(format!(" {}\n", plan.timestamp(sweep) * 1_000_000).as_bytes());
}

/// Twelve labels like those of a service in a cluster, sorted by name. The pod's name contains its number.
/// Its address and node are as random as in practice, so that compression is realistic.
fn labels(pod: u32, index: u32) -> [(&'static str, String); 12] {
    let (name, handler) = (index as usize / HANDLERS, index as usize % HANDLERS);
    let [a, b, c, d] = mix(pod).to_le_bytes();
    let one = |choices: [&str; 4]| {
        choices.get(mix(pod ^ index << 20) as usize % 4).copied().unwrap_or_default().to_string()
    };
    [
        ("__name__", NAMES.get(name).copied().unwrap_or_default().to_string()),
        ("cluster", "production".to_string()),
        ("code", one(["200", "204", "404", "500"])),
        ("container", "checkout".to_string()),
        ("handler", format!("/api/{:05x}/{handler}", mix(!pod ^ index << 20) & 0xf_ffff)),
        ("instance", format!("10.{a}.{b}.{c}:8080")),
        ("job", "shop/checkout".to_string()),
        ("method", one(["GET", "POST", "PUT", "DELETE"])),
        ("namespace", "shop".to_string()),
        ("node", format!("ip-10-{a}-{b}-{d}.eu-west-1.internal")),
        ("pod", format!("checkout-{:08x}-{pod:07}", mix(pod + 1))),
        ("region", "eu-west-1".to_string()),
    ]
}

/// The series with these labels; `None` if it is not part of a plan.
pub(crate) fn series_id(labels: &[(&[u8], &[u8])]) -> Option<SeriesId> {
    let (mut pod, mut name, mut handler) = (None, None, None);
    for &(label, value) in labels {
        match label {
            b"pod" => pod = number_at_end(value),
            b"handler" => handler = number_at_end(value),
            b"__name__" => name = NAMES.iter().position(|name| name.as_bytes() == value),
            _ => {}
        }
    }
    let index = name? as u32 * HANDLERS as u32 + handler?;
    Some(pod? * PER_POD + index)
}

fn number_at_end(value: &[u8]) -> Option<u32> {
    let start = value.iter().rposition(|byte| !byte.is_ascii_digit())? + 1;
    let digits = value.get(start..)?;
    if digits.is_empty() || digits.len() > 9 {
        return None;
    }
    Some(digits.iter().fold(0, |number, digit| number * 10 + u32::from(digit - b'0')))
}

/// A native histogram with ten buckets around a centre that moves, like one of a latency.
fn histogram(series: SeriesId, sweep: u32) -> Histogram {
    const BUCKETS: u32 = 10;
    let mut last = 0;
    let (mut total, mut deltas) = (0, Vec::with_capacity(BUCKETS as usize));
    for bucket in 0..BUCKETS {
        let count = i64::from(mix(series ^ bucket << 24) % 50 + sweep);
        deltas.push(count - last);
        last = count;
        total += count as u64;
    }
    let sum = total as f64 * 0.0371;
    Histogram { count: total, sum, schema: 3, zero_threshold: 1e-128, offset: -20, deltas }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::collections::{BTreeMap, BTreeSet};

    fn workload() -> Workload {
        Workload { replaced: 3, histograms: true, ..Workload::plain(4100, 5) }
    }

    #[test]
    fn every_sample_is_sent_once_and_recognised_in_both_versions() {
        let plan = Plan { workload: workload(), base: 1_700_000_000_000 };
        for dialect in [Dialect::V1, Dialect::V2, Dialect::Zstd] {
            let version = dialect.version();
            let mut sweeps: BTreeMap<SeriesId, BTreeSet<u32>> = BTreeMap::new();
            let mut histograms = 0;
            for request in 0..plan.workload.requests() {
                let body = wire::decompress(dialect.encoding(), &plan.request(dialect, request)).unwrap();
                let mut samples = 0;
                wire::visit(version, &body, |series| {
                    assert_eq!(series.labels.len(), 12);
                    assert!(series.labels.is_sorted());
                    let id = series_id(&series.labels).unwrap();
                    let floats = series.samples.iter().map(|&(timestamp, _)| timestamp);
                    for timestamp in floats.chain(series.histograms.iter().map(|&(timestamp, _)| timestamp)) {
                        samples += 1;
                        assert!(sweeps.entry(id).or_default().insert(plan.sweep(timestamp).unwrap()));
                    }
                    histograms += series.histograms.len() as u32;
                })
                .unwrap();
                assert_eq!(samples, plan.samples_in(request));
            }
            let sent: usize = sweeps.values().map(BTreeSet::len).sum();
            assert_eq!(sent as u64, plan.workload.samples());
            assert_eq!(histograms, 4100 / 10 * 5);
            assert_eq!(sweeps.len() as u32, plan.workload.all_series());
            assert!(*sweeps.last_key_value().unwrap().0 < plan.workload.all_series());
            // A series is sent from its first sweep to its last without a gap.
            let gapless = |sweeps: &BTreeSet<u32>| {
                sweeps.last().unwrap() - sweeps.first().unwrap() + 1 == sweeps.len() as u32
            };
            assert!(sweeps.values().all(gapless));
        }
    }

    #[test]
    fn text_has_the_same_samples_as_remote_write() {
        let workload = Workload { histograms: false, ..workload() };
        let plan = Plan { workload, base: 1_700_000_000_000 };
        for request in 0..plan.workload.requests() {
            let body = plan.request(Dialect::Text, request);
            let options = formats::text::ParseOptions::new(formats::text::Format::Text, 0);
            let batch = formats::text::parse(&body, &options).unwrap().batch;
            assert_eq!(batch.points.len() as u32, plan.samples_in(request));
            for point in &batch.points {
                let labels: Vec<_> = batch.labels(point.series).pairs().collect();
                let id = series_id(&labels).unwrap();
                let model::Value::Float(value) = point.value else { panic!("{point:?}") };
                assert!(plan.has_value(id, plan.sweep(point.timestamp).unwrap(), value));
                let sent = plan.labels(id);
                let sent = sent.iter().map(|(name, value)| (name.as_bytes(), value.as_bytes()));
                assert!(labels.iter().copied().eq(sent));
            }
        }
    }

    #[test]
    fn lines_of_influxdb_have_the_values_of_remote_write() {
        let workload = Workload { histograms: false, ..workload() };
        let plan = Plan { workload, base: 1_700_000_000_000 };
        for request in 0..plan.workload.requests() {
            let body = plan.request(Dialect::Influx, request);
            let options = influx::Options {
                precision: influx::Precision::Nanoseconds,
                value_field: influx::ValueField::Measurement,
                label: None,
                multiline_strings: true,
                now_ms: 0,
                limits: model::Limits::default(),
            };
            let part = influx::Lines::new(&body).read(&options, usize::MAX, &mut formats::Unknown);
            let batch = part.parsed.batch;
            assert_eq!((batch.points.len() as u32, part.faults), (plan.samples_in(request), vec![]));
            for point in &batch.points {
                let labels: Vec<_> = batch.labels(point.series).pairs().collect();
                let id = series_id(&labels).unwrap();
                let model::Value::Float(value) = point.value else { panic!("{point:?}") };
                assert!(plan.has_value(id, plan.sweep(point.timestamp).unwrap(), value));
                assert_eq!(labels.len(), 12);
            }
        }
    }

    #[test]
    fn a_group_has_the_series_of_its_pod() {
        let plan = Plan { workload: Workload::plain(4100, 1), base: 0 };
        let (path, body) = plan.group(7);
        let pod = path.rsplit('/').next().unwrap();
        let options = formats::text::ParseOptions::new(formats::text::Format::Text, 0);
        let batch = formats::text::parse(body.as_bytes(), &options).unwrap().batch;
        let mut ids = BTreeSet::new();
        for point in &batch.points {
            let labels = batch.labels(point.series).pairs().chain([(&b"pod"[..], pod.as_bytes())]);
            let id = series_id(&labels.collect::<Vec<_>>()).unwrap();
            assert_eq!(point.value, model::Value::Float(plan.value(id, 0)));
            ids.insert(id);
        }
        assert_eq!(ids, (7 * PER_POD..8 * PER_POD).collect());
    }

    #[test]
    fn without_churn_the_series_stay() {
        let workload = Workload { replaced: 0, ..workload() };
        assert!((0..41).all(|slot| (0..5).all(|sweep| workload.pod(slot, sweep) == slot)));
        assert_eq!(workload.all_series(), 4100);
    }

    #[test]
    fn other_timestamps_and_series_are_outside_the_plan() {
        let plan = Plan { workload: workload(), base: 1_700_000_000_000 };
        assert_eq!(plan.sweep(1_700_000_004_000), Some(4));
        for other in [1_700_000_005_000, 1_700_000_000_001, 1_699_999_999_000] {
            assert_eq!(plan.sweep(other), None, "{other}");
        }
        assert_eq!(series_id(&[(b"__name__", b"up"), (b"pod", b"a-1"), (b"handler", b"/1")]), None);
        assert_eq!(series_id(&[(b"__name__", b"queue_length"), (b"pod", b"a-x"), (b"handler", b"/1")]), None);
    }
}
