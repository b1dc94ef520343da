//! A dump for programs: one JSON object per line and entry. Numbers that JSON cannot express (NaN, the
//! infinities) are strings; the staleness marker is `"stale"`.

use super::{Entry, Format, Wrote};
use model::{BucketSpan, Counts, Histogram, LabelsRef};
use serde_json::{Map, Value, json};
use std::io::{self, Write};

pub(super) struct Json;

impl Format for Json {
    fn entry(
        &mut self,
        out: &mut dyn Write,
        entry: &Entry<'_>,
        series: Option<(u32, LabelsRef<'_>)>,
    ) -> io::Result<Wrote> {
        let mut object = Map::new();
        let mut put = |key: &str, value: Value| drop(object.insert(key.to_owned(), value));
        put("reference", entry.reference().into());
        put("labels", series.map_or(Value::Null, |(_, set)| labels(set)));
        if let Some(timestamp) = entry.timestamp() {
            put("timestamp", timestamp.into());
        }
        let (kind, start) = match entry {
            Entry::Series(_) => ("series", 0),
            Entry::Sample(entry) => {
                put("value", number(entry.value));
                ("sample", entry.start_timestamp)
            }
            Entry::Histogram(entry) => {
                put("histogram", histogram(&entry.histogram));
                ("histogram", entry.start_timestamp)
            }
            Entry::Exemplar(entry) => {
                put("value", number(entry.value));
                put("exemplar_labels", labels(entry.labels));
                ("exemplar", 0)
            }
            Entry::Metadata(entry) => {
                put("metric_type", entry.kind.as_str().into());
                put("unit", String::from_utf8_lossy(entry.unit).into());
                put("help", String::from_utf8_lossy(entry.help).into());
                ("metadata", 0)
            }
            Entry::Tombstone(entry) => {
                put("from", entry.from.into());
                put("to", entry.to.into());
                ("tombstone", 0)
            }
        };
        if start != 0 {
            put("start_timestamp", start.into());
        }
        put("kind", kind.into());
        serde_json::to_writer(&mut *out, &object)?;
        out.write_all(b"\n")?;
        Ok(Wrote::It)
    }
}

fn labels(set: LabelsRef<'_>) -> Value {
    set.iter().map(|(name, value)| (name.into_owned(), Value::from(value))).collect::<Map<_, _>>().into()
}

fn number(value: f64) -> Value {
    match value {
        value if model::is_stale(value) => "stale".into(),
        value if value.is_finite() => value.into(),
        value => value.to_string().into(),
    }
}

fn histogram(histogram: &Histogram) -> Value {
    let spans = |spans: &[BucketSpan]| -> Value {
        spans.iter().map(|span| json!({"offset": span.offset, "length": span.length})).collect()
    };
    let numbers = |values: &[f64]| -> Value { values.iter().copied().map(number).collect() };
    let mut value = json!({
        "schema": histogram.schema,
        "sum": number(histogram.sum),
        "zero_threshold": number(histogram.zero_threshold),
        "reset_hint": histogram.reset_hint as u8,
        "positive_spans": spans(&histogram.positive_spans),
        "negative_spans": spans(&histogram.negative_spans),
        "custom_values": numbers(&histogram.custom_values),
    });
    let counts = match &histogram.counts {
        Counts::Integer { count, zero, positive, negative } => json!({
            "count": count, "zero_count": zero, "positive_deltas": positive, "negative_deltas": negative,
        }),
        Counts::Float { count, zero, positive, negative } => json!({
            "count": number(*count), "zero_count": number(*zero),
            "positive_counts": numbers(positive), "negative_counts": numbers(negative),
        }),
    };
    if let (Value::Object(value), Value::Object(counts)) = (&mut value, counts) {
        value.extend(counts);
    }
    value
}
