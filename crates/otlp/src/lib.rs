//! OTLP metrics as batches: what applications with OpenTelemetry send, as the series that Prometheus would store.
//!
//! ```text
//!  JSON ─► protocol buffers ─┐
//!                            ├─► data points, one by one ─► series ─► batch
//!  protocol buffers ─────────┘       └─ left out: counted by reason
//! ```
//!
//! # What it promises
//!
//! - **The series of Prometheus.** Names, labels, values, timestamps and types are those that Prometheus' own OTLP receiver
//!   gives (`prometheusremotewrite` and `otlptranslator`), with Prometheus' settings. `tests/prometheus.rs` compares with
//!   its modules. `docs/otlp.md` lists the differences.
//! - **One bad data point costs one data point.** It is left out with a reason, and all of its series with it.
//! - **No tree.** A data point is translated while it is read; the labels of its resource and its scope are made once.
//! - **No clock, no I/O.** Which times are accepted is asked through [`Options::refused_time`].
//!
//! # Where to start
//!
//! [`decode`], then `translate/mod.rs`. [`response()`] is what is answered.
//!
//! Deltas are not in the batch: [`Decoded::deltas`] has them for the caller, who adds them up.

mod buckets;
mod deltas;
mod json;
mod label_name;
mod metric_name;
mod rejected;
mod response;
mod settings;
mod translate;
mod unit;
mod value;

pub use deltas::{Change, DeltaPoint, Deltas};
pub use rejected::{Counts, Reason};
pub use response::{Code, response, status, status_with_retry};
pub use settings::{ExponentialHistograms, Promote, Settings, Strategy};
pub use translate::{
    DecodeError, Decoded, EXEMPLARS_MAX, Options, RESOURCE_ATTRIBUTES_MAX, TARGET_INFO_SAMPLES_MAX, decode,
};
pub use value::{NESTING_MAX, STRUCTURE_BYTES_MAX};

/// How a message is written.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Encoding {
    Protobuf,
    Json,
}
