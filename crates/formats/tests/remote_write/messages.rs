//! Converts between plain series and prost's messages of both versions.

use crate::oracle::{v1, v2};
use crate::plain::{PlainExemplar, PlainPoint, PlainSeries, PlainValue};
use model::{BucketSpan, Counts, Histogram, ResetHint};

/// The histograms of both versions have the same fields in two types.
macro_rules! histograms {
    ($module:ident, $into:ident, $from:ident, $start:expr) => {
        pub(crate) fn $into(h: &Histogram, timestamp: i64) -> $module::Histogram {
            use $module::histogram::{Count, ZeroCount};
            let spans = |spans: &[BucketSpan]| {
                spans.iter().map(|s| $module::BucketSpan { offset: s.offset, length: s.length }).collect()
            };
            let mut out = $module::Histogram {
                sum: h.sum,
                schema: h.schema,
                zero_threshold: h.zero_threshold,
                negative_spans: spans(&h.negative_spans),
                positive_spans: spans(&h.positive_spans),
                reset_hint: h.reset_hint as i32,
                timestamp,
                custom_values: h.custom_values.clone(),
                ..Default::default()
            };
            match &h.counts {
                Counts::Integer { count, zero, positive, negative } => {
                    out.count = Some(Count::CountInt(*count));
                    out.zero_count = Some(ZeroCount::ZeroCountInt(*zero));
                    out.positive_deltas = positive.clone();
                    out.negative_deltas = negative.clone();
                }
                Counts::Float { count, zero, positive, negative } => {
                    out.count = Some(Count::CountFloat(*count));
                    out.zero_count = Some(ZeroCount::ZeroCountFloat(*zero));
                    out.positive_counts = positive.clone();
                    out.negative_counts = negative.clone();
                }
            }
            out
        }

        fn $from(h: &$module::Histogram) -> PlainPoint {
            use $module::histogram::{Count, ZeroCount};
            let spans = |spans: &[$module::BucketSpan]| {
                spans.iter().map(|s| BucketSpan { offset: s.offset, length: s.length }).collect()
            };
            let counts = match (&h.count, &h.zero_count) {
                (Some(Count::CountInt(count)), Some(ZeroCount::ZeroCountInt(zero))) => Counts::Integer {
                    count: *count,
                    zero: *zero,
                    positive: h.positive_deltas.clone(),
                    negative: h.negative_deltas.clone(),
                },
                (Some(Count::CountFloat(count)), Some(ZeroCount::ZeroCountFloat(zero))) => Counts::Float {
                    count: *count,
                    zero: *zero,
                    positive: h.positive_counts.clone(),
                    negative: h.negative_counts.clone(),
                },
                other => panic!("counts of two kinds: {other:?}"),
            };
            PlainPoint {
                timestamp: h.timestamp,
                start: $start(h),
                value: PlainValue::Histogram(Histogram {
                    reset_hint: ResetHint::from_number(h.reset_hint as u64),
                    schema: h.schema,
                    zero_threshold: h.zero_threshold,
                    sum: h.sum,
                    positive_spans: spans(&h.positive_spans),
                    negative_spans: spans(&h.negative_spans),
                    counts,
                    custom_values: h.custom_values.clone(),
                }),
            }
        }
    };
}

histograms!(v1, into_v1, from_v1, |_: &v1::Histogram| 0);
histograms!(v2, into_v2, from_v2, |h: &v2::Histogram| h.start_timestamp);

fn to_labels(pairs: &[(String, String)]) -> Vec<v1::Label> {
    pairs.iter().map(|(name, value)| v1::Label { name: name.clone(), value: value.clone() }).collect()
}

pub(crate) fn to_v1(all: &[PlainSeries]) -> v1::WriteRequest {
    let mut request = v1::WriteRequest::default();
    for series in all {
        let mut message = v1::TimeSeries { labels: to_labels(&series.labels), ..Default::default() };
        for point in &series.points {
            match &point.value {
                PlainValue::Float(bits) => message
                    .samples
                    .push(v1::Sample { value: f64::from_bits(*bits), timestamp: point.timestamp }),
                PlainValue::Histogram(h) => message.histograms.push(into_v1(h, point.timestamp)),
            }
        }
        message.exemplars.extend(series.exemplars.iter().map(|exemplar| v1::Exemplar {
            labels: to_labels(&exemplar.labels),
            value: f64::from_bits(exemplar.value),
            timestamp: exemplar.timestamp,
        }));
        request.timeseries.push(message);
    }
    request
}

/// The series that a receiver reads from a request: for each time series the floats, then the histograms.
pub(crate) fn of_v1(request: &v1::WriteRequest) -> Vec<PlainSeries> {
    let pairs = |labels: &[v1::Label]| labels.iter().map(|l| (l.name.clone(), l.value.clone())).collect();
    let each = request.timeseries.iter().map(|message| {
        let floats = message.samples.iter().map(|sample| PlainPoint {
            timestamp: sample.timestamp,
            start: 0,
            value: PlainValue::Float(sample.value.to_bits()),
        });
        PlainSeries {
            labels: pairs(&message.labels),
            points: floats.chain(message.histograms.iter().map(from_v1)).collect(),
            exemplars: message
                .exemplars
                .iter()
                .map(|exemplar| PlainExemplar {
                    labels: pairs(&exemplar.labels),
                    value: exemplar.value.to_bits(),
                    timestamp: exemplar.timestamp,
                })
                .collect(),
            metadata: None,
        }
    });
    each.collect()
}

/// The table is in order of first use, with each symbol once.
pub(crate) fn to_v2(all: &[PlainSeries]) -> v2::Request {
    let mut symbols = vec![String::new()];
    let mut intern = |text: &str| {
        let at = symbols.iter().position(|symbol| symbol == text).unwrap_or_else(|| {
            symbols.push(text.to_string());
            symbols.len() - 1
        });
        at as u32
    };
    let mut timeseries = Vec::new();
    for series in all {
        let mut refs = |pairs: &[(String, String)]| -> Vec<u32> {
            pairs.iter().flat_map(|(name, value)| [intern(name), intern(value)]).collect()
        };
        let mut message = v2::TimeSeries { labels_refs: refs(&series.labels), ..Default::default() };
        for exemplar in &series.exemplars {
            message.exemplars.push(v2::Exemplar {
                labels_refs: refs(&exemplar.labels),
                value: f64::from_bits(exemplar.value),
                timestamp: exemplar.timestamp,
            });
        }
        message.metadata = series.metadata.as_ref().map(|(kind, help, unit)| v2::Metadata {
            r#type: i32::from(*kind),
            help_ref: intern(help),
            unit_ref: intern(unit),
        });
        for point in &series.points {
            match &point.value {
                PlainValue::Float(bits) => message.samples.push(v2::Sample {
                    value: f64::from_bits(*bits),
                    timestamp: point.timestamp,
                    start_timestamp: point.start,
                }),
                PlainValue::Histogram(h) => message
                    .histograms
                    .push(v2::Histogram { start_timestamp: point.start, ..into_v2(h, point.timestamp) }),
            }
        }
        timeseries.push(message);
    }
    v2::Request { symbols, timeseries }
}

pub(crate) fn of_v2(request: &v2::Request) -> Vec<PlainSeries> {
    let symbol = |reference: u32| request.symbols[reference as usize].clone();
    let pairs = |refs: &[u32]| refs.chunks(2).map(|pair| (symbol(pair[0]), symbol(pair[1]))).collect();
    let each = request.timeseries.iter().map(|message| {
        let floats = message.samples.iter().map(|sample| PlainPoint {
            timestamp: sample.timestamp,
            start: sample.start_timestamp,
            value: PlainValue::Float(sample.value.to_bits()),
        });
        PlainSeries {
            labels: pairs(&message.labels_refs),
            points: floats.chain(message.histograms.iter().map(from_v2)).collect(),
            exemplars: message
                .exemplars
                .iter()
                .map(|exemplar| PlainExemplar {
                    labels: pairs(&exemplar.labels_refs),
                    value: exemplar.value.to_bits(),
                    timestamp: exemplar.timestamp,
                })
                .collect(),
            metadata: message
                .metadata
                .as_ref()
                .map(|entry| (entry.r#type as u8, symbol(entry.help_ref), symbol(entry.unit_ref))),
        }
    });
    each.collect()
}
