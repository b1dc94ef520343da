//! A request in the plainest form. The batches of the hand-written codec and prost's messages are both converted to it
//! for comparison. There are also strategies that generate such requests.

use model::{Batch, BucketSpan, Counts, Histogram, Labels, LabelsRef, Metadata, MetricType, ResetHint};
use proptest::prelude::*;

/// A float by its bits, so that NaNs compare.
pub(crate) type Bits = u64;

#[derive(Debug, Clone, PartialEq)]
pub(crate) struct PlainSeries {
    pub(crate) labels: Vec<(String, String)>,
    pub(crate) points: Vec<PlainPoint>,
    pub(crate) exemplars: Vec<PlainExemplar>,
    /// Type, help, unit.
    pub(crate) metadata: Option<(u8, String, String)>,
}

#[derive(Debug, Clone, PartialEq)]
pub(crate) struct PlainPoint {
    pub(crate) timestamp: i64,
    pub(crate) start: i64,
    pub(crate) value: PlainValue,
}

#[derive(Debug, Clone, PartialEq)]
pub(crate) enum PlainValue {
    Float(Bits),
    Histogram(Histogram),
}

#[derive(Debug, Clone, PartialEq)]
pub(crate) struct PlainExemplar {
    pub(crate) labels: Vec<(String, String)>,
    pub(crate) value: Bits,
    pub(crate) timestamp: i64,
}

pub(crate) fn pairs(labels: LabelsRef<'_>) -> Vec<(String, String)> {
    labels.iter().map(|(name, value)| (name.into_owned(), value.into_owned())).collect()
}

pub(crate) fn labels(pairs: &[(String, String)]) -> Labels {
    Labels::from_pairs(pairs.iter().map(|(name, value)| (name.as_str(), value.as_str())))
}

pub(crate) fn of_batch(batch: &Batch) -> Vec<PlainSeries> {
    let mut all: Vec<PlainSeries> = (0..batch.series.len())
        .map(|index| PlainSeries {
            labels: pairs(batch.labels(index as u32)),
            points: Vec::new(),
            exemplars: Vec::new(),
            metadata: batch
                .metadata
                .get(batch.series[index].metadata as usize)
                .map(|entry| (entry.kind as u8, entry.help.clone(), entry.unit.clone())),
        })
        .collect();
    for point in &batch.points {
        let series = &mut all[point.series as usize];
        let (timestamp, start) = (point.timestamp, point.start_timestamp);
        let value = match point.value {
            model::Value::Float(value) => PlainValue::Float(value.to_bits()),
            model::Value::Histogram(index) => PlainValue::Histogram(batch.histograms[index as usize].clone()),
            model::Value::Exemplar(index) => {
                let exemplar = batch.exemplars[index as usize];
                let labels = pairs(LabelsRef::parse(batch.slice(exemplar.labels)).unwrap());
                series.exemplars.push(PlainExemplar { labels, value: exemplar.value.to_bits(), timestamp });
                continue;
            }
        };
        series.points.push(PlainPoint { timestamp, start, value });
    }
    all
}

/// Joins neighbours with the same labels: a series whose points change kind is sent in several parts.
pub(crate) fn join(series: Vec<PlainSeries>) -> Vec<PlainSeries> {
    let mut joined: Vec<PlainSeries> = Vec::new();
    for mut next in series {
        match joined.last_mut() {
            Some(last) if last.labels == next.labels => {
                last.points.append(&mut next.points);
                last.exemplars.append(&mut next.exemplars);
            }
            _ => joined.push(next),
        }
    }
    joined
}

/// Text of the relevant kinds: short, of one chunk or more, with a length of two bytes, not ASCII.
fn text(max: usize) -> impl Strategy<Value = String> {
    prop_oneof![
        6 => "[a-zA-Z0-9_./-]{1,20}",
        2 => "[a-z]{21,127}",
        1 => proptest::collection::vec(any::<char>(), 1..10).prop_map(String::from_iter),
        1 => (128..max.max(129)).prop_map(|len| "x".repeat(len)),
    ]
}

fn name() -> impl Strategy<Value = String> {
    prop_oneof![8 => "[a-zA-Z_][a-zA-Z0-9_]{0,12}", 1 => "same_first_eight_[a-z]{1,3}", 1 => text(300)]
}

pub(crate) fn label_set(metric: bool) -> impl Strategy<Value = Vec<(String, String)>> {
    (proptest::collection::btree_map(name(), text(20_000), 0..14), text(300)).prop_map(
        move |(mut set, name)| {
            set.remove("__name__");
            if metric {
                set.insert("__name__".into(), name);
            }
            set.into_iter().filter(|(_, value)| value.len() <= 16 << 10).collect()
        },
    )
}

pub(crate) fn timestamp() -> impl Strategy<Value = i64> {
    prop_oneof![8 => 1_600_000_000_000..1_800_000_000_000i64, 1 => any::<i64>(), 1 => Just(0)]
}

/// Any float except minus zero, which prost mistakes for the default value and does not write.
fn float() -> impl Strategy<Value = Bits> {
    let any = any::<f64>().prop_map(|value| if value == 0.0 { 0 } else { value.to_bits() });
    prop_oneof![3 => any, 1 => Just(model::STALE_NAN), 1 => Just(0)]
}

pub(crate) fn histogram(custom: bool) -> impl Strategy<Value = Histogram> {
    let side = || proptest::collection::vec((0..5i32, proptest::collection::vec(0..1000u64, 0..6)), 0..4);
    let rest = (-4..9i32, 0..4u64, any::<bool>(), 0..100u64, float(), any::<bool>());
    (side(), side(), rest).prop_map(
        move |(positive, negative, (schema, hint, floats, zero, sum, is_custom))| {
            let custom = custom && is_custom;
            let negative = if custom { Vec::new() } else { negative };
            let zero = if custom { 0 } else { zero };
            let spans = |side: &[(i32, Vec<u64>)]| -> Vec<BucketSpan> {
                side.iter()
                    .map(|(offset, b)| BucketSpan { offset: *offset, length: b.len() as u32 })
                    .collect()
            };
            let flat =
                |side: &[(i32, Vec<u64>)]| side.iter().flat_map(|(_, b)| b.clone()).collect::<Vec<u64>>();
            let (p, n) = (flat(&positive), flat(&negative));
            let count = zero + p.iter().chain(&n).sum::<u64>();
            let deltas = |counts: &[u64]| {
                let mut last = 0;
                counts
                    .iter()
                    .map(|c| std::mem::replace(&mut last, *c as i64))
                    .zip(counts)
                    .map(|(last, c)| *c as i64 - last)
                    .collect::<Vec<i64>>()
            };
            let counts = if floats {
                let float = |counts: &[u64]| counts.iter().map(|c| *c as f64 + 0.5).collect();
                Counts::Float {
                    count: count as f64,
                    zero: zero as f64,
                    positive: float(&p),
                    negative: float(&n),
                }
            } else {
                Counts::Integer { count, zero, positive: deltas(&p), negative: deltas(&n) }
            };
            let reach: i64 = positive.iter().map(|(offset, b)| i64::from(*offset) + b.len() as i64).sum();
            // A NaN would not compare equal.
            let sum = Some(f64::from_bits(sum)).filter(|sum| !sum.is_nan()).unwrap_or(1.0);
            Histogram {
                reset_hint: ResetHint::from_number(hint),
                schema: if custom { model::histogram::CUSTOM_BUCKETS_SCHEMA } else { schema },
                zero_threshold: if custom { 0.0 } else { 0.125 },
                sum,
                positive_spans: spans(&positive),
                negative_spans: spans(&negative),
                counts,
                custom_values: if custom {
                    (0..reach).map(|bound| bound as f64).collect()
                } else {
                    Vec::new()
                },
            }
        },
    )
}

fn point(start: bool) -> impl Strategy<Value = PlainPoint> {
    let value = prop_oneof![
        4 => float().prop_map(PlainValue::Float),
        1 => histogram(start).prop_map(PlainValue::Histogram),
    ];
    let start = if start { prop_oneof![Just(0), timestamp()].boxed() } else { Just(0).boxed() };
    (timestamp(), start, value).prop_map(|(timestamp, start, value)| PlainPoint { timestamp, start, value })
}

/// A series with at least one point. Only 2.0 has start timestamps, custom buckets and metadata.
pub(crate) fn series(v2: bool) -> impl Strategy<Value = PlainSeries> {
    let exemplar = (label_set(false), float(), timestamp())
        .prop_map(|(labels, value, timestamp)| PlainExemplar { labels, value, timestamp });
    let metadata = (0..8u8, text(300), prop_oneof![Just(String::new()), text(30)]);
    (
        label_set(true),
        proptest::collection::vec(point(v2), 1..5),
        proptest::collection::vec(exemplar, 0..3),
        if v2 { proptest::option::of(metadata).boxed() } else { Just(None).boxed() },
    )
        .prop_map(|(labels, points, exemplars, metadata)| PlainSeries {
            labels,
            points,
            exemplars,
            metadata,
        })
}

/// The batch of these series.
pub(crate) fn to_batch(all: &[PlainSeries]) -> Batch {
    let mut batch = Batch::new();
    for series in all {
        let metadata = match &series.metadata {
            Some((kind, help, unit)) => {
                let family = series.labels.iter().find(|(name, _)| name == "__name__").unwrap().1.clone();
                let kind = MetricType::from_number(u64::from(*kind));
                batch.metadata.push(Metadata { family, kind, help: help.clone(), unit: unit.clone() });
                batch.metadata.len() as u32 - 1
            }
            None => model::Series::NO_METADATA,
        };
        let number = batch.add_series(labels(&series.labels).as_ref(), metadata);
        for point in &series.points {
            match &point.value {
                PlainValue::Float(bits) => {
                    batch.push_float(number, point.timestamp, f64::from_bits(*bits));
                    batch.points.last_mut().unwrap().start_timestamp = point.start;
                }
                PlainValue::Histogram(h) => {
                    batch.push_histogram(number, point.timestamp, point.start, h.clone());
                }
            }
        }
        for exemplar in &series.exemplars {
            let start = batch.bytes.len();
            batch.bytes.extend_from_slice(labels(&exemplar.labels).as_ref().as_bytes());
            batch.push_exemplar(number, exemplar.timestamp, start, f64::from_bits(exemplar.value));
        }
    }
    batch
}
