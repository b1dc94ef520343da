//! What flows through narthex: label sets, samples, native histograms, exemplars and metadata,
//! and the batch that carries them from a door to a destination.
//!
//! This crate does no I/O and knows no wire format; the one thing in it that reads a clock is [`SystemClock`],
//! behind [`Clock`]. Everything else depends on it.
//!
//! The one idea to know first: a label set has exactly one representation, the *canonical bytes* of
//! [`labels`]: sorted pairs in the encoding of the write-ahead log's series record. It is what a door
//! builds, what the registry hashes, what the log stores and what a queue re-encodes for the wire, so
//! that a label set is copied once on its way and never parsed into strings.
//!
//! Where to start: [`Batch`], then [`LabelsRef`].

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
/// For [`invariant!`].
#[doc(hidden)]
pub use tracing;
