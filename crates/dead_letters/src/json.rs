//! Labels, values and histograms as they are written in a line of JSON, written without an intermediate tree.

use model::{BucketSpan, Counts, Histogram, LabelsRef};
use serde::ser::{Serialize, SerializeStruct, Serializer};

/// The text that replaces the value of a staleness marker.
pub(crate) const STALE: &str = "stale";

/// Labels as an object.
pub(crate) struct LabelsJson<'a>(pub(crate) LabelsRef<'a>);

impl Serialize for LabelsJson<'_> {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_map(self.0.iter())
    }
}

/// A value as a string, as in Prometheus' API, with `NaN`, `+Inf` and `-Inf`.
pub(crate) struct Number(pub(crate) f64);

impl Serialize for Number {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        match self.0 {
            stale if model::is_stale(stale) => serializer.serialize_str(STALE),
            f64::INFINITY => serializer.serialize_str("+Inf"),
            f64::NEG_INFINITY => serializer.serialize_str("-Inf"),
            value => serializer.collect_str(&value),
        }
    }
}

/// A native histogram, with its counts as integers or as strings.
pub(crate) struct HistogramJson<'a>(pub(crate) &'a Histogram);

impl Serialize for HistogramJson<'_> {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        let histogram = self.0;
        let mut object = serializer.serialize_struct("Histogram", 11)?;
        object.serialize_field("reset_hint", &(histogram.reset_hint as u8))?;
        object.serialize_field("schema", &histogram.schema)?;
        object.serialize_field("zero_threshold", &Number(histogram.zero_threshold))?;
        object.serialize_field("sum", &Number(histogram.sum))?;
        object.serialize_field("positive_spans", &Spans(&histogram.positive_spans))?;
        object.serialize_field("negative_spans", &Spans(&histogram.negative_spans))?;
        object.serialize_field("custom_values", &Numbers(&histogram.custom_values))?;
        match &histogram.counts {
            Counts::Integer { count, zero, positive, negative } => {
                object.serialize_field("count", count)?;
                object.serialize_field("zero", zero)?;
                object.serialize_field("positive_deltas", positive)?;
                object.serialize_field("negative_deltas", negative)?;
            }
            Counts::Float { count, zero, positive, negative } => {
                object.serialize_field("count", &Number(*count))?;
                object.serialize_field("zero", &Number(*zero))?;
                object.serialize_field("positive_counts", &Numbers(positive))?;
                object.serialize_field("negative_counts", &Numbers(negative))?;
            }
        }
        object.end()
    }
}

struct Spans<'a>(&'a [BucketSpan]);

impl Serialize for Spans<'_> {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_seq(self.0.iter().map(|span| (span.offset, span.length)))
    }
}

struct Numbers<'a>(&'a [f64]);

impl Serialize for Numbers<'_> {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_seq(self.0.iter().map(|value| Number(*value)))
    }
}
