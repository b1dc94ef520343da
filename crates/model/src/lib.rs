//! The data of narthex: label sets, samples, native histograms, exemplars and metadata, and the batch that
//! carries them from an input to a destination.
//!
//! This crate does no I/O and knows no wire format. Only [`SystemClock`] reads a clock, behind [`Clock`]. All
//! other crates depend on this one.
//!
//! The most important idea: a label set has exactly one representation, the *canonical bytes* of [`labels`].
//! These are sorted pairs in the encoding of the write-ahead log's series record. Inputs produce them, the
//! registry hashes them, the log stores them, and queues encode them for the wire. So a label set is copied
//! once between input and wire, and is never parsed into strings.
//!
//! Start with [`Batch`], then [`LabelsRef`].

pub mod arena;
pub mod batch;
pub mod clock;
pub mod counter;
pub mod duration;
pub mod emission_time;
pub mod family;
pub mod histogram;
pub mod invariant;
pub mod kinds;
pub mod labels;
pub mod limits;
pub mod metadata;
pub mod moment;
pub mod original;
pub mod process;
pub mod secret;
pub mod size;
pub mod stale;
pub mod varint;
pub mod words;

pub use batch::{Batch, Exemplar, Point, Series, Span, Value};
pub use clock::{Clock, SystemClock};
pub use counter::Counter;
pub use family::{Family, Metric};
pub use histogram::{BucketSpan, Counts, Histogram, HistogramError, ResetHint};
pub use kinds::Kinds;
pub use labels::{LabelError, Labels, LabelsBuilder, LabelsRef};
pub use limits::Limits;
pub use metadata::{Metadata, MetricType};
pub use original::Original;
pub use secret::Secret;
pub use stale::{STALE_NAN, is_stale, stale_nan};
/// Used by [`invariant!`].
#[doc(hidden)]
pub use tracing;
