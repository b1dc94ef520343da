//! Decodes InfluxDB's line protocol into batches: `MEASUREMENT[,TAG=VALUE…] FIELD=VALUE[,FIELD=VALUE…] [TIMESTAMP]`.
//!
//! What the crate promises:
//! - No I/O, no clock, no thread: bytes in, values out.
//! - An invalid line costs only itself, and its error has InfluxDB's own words ([`Fault`]).
//! - A body is read in parts ([`Lines::read`]), because a line repeats its tags for each of its fields: the labels can
//!   need many times the memory of the text.
//!
//! # From a line to samples
//!
//! | line | samples |
//! | --- | --- |
//! | `cpu,host=a idle=1,user=2i` | `cpu_idle{host="a"} 1`, `cpu_user{host="a"} 2` |
//! | `cpu value=1` | `cpu 1`, or `cpu_value 1` with [`ValueField::Suffix`] |
//! | `prometheus,host=a up=1` | `up{host="a"} 1`: this is how Telegraf writes what it has scraped |
//! | `valve open=true` | `valve_open 1` |
//! | `valve state="open"` | none: strings are counted in [`LeftOut`] |
//!
//! Characters that a name cannot have become `_`. Tags without a value are left out.
//!
//! Sources: the documentation and the decoder of `github.com/influxdata/line-protocol`, `models/points.go` of InfluxDB
//! 1.x for the words of the errors, Telegraf's serializer `prometheusremotewrite` for the names.
//!
//! # Where to start
//!
//! [`Lines`]; then `scan.rs`, which splits a line, and `labels.rs`, which makes the labels of a series.

mod fault;
mod labels;
mod lines;
mod precision;
mod scan;
mod value;

pub use fault::{Fault, LINE_SHOWN_CHARS, LineError};
pub use lines::{FAULTS_MAX, LINE_LABEL_BYTES_MAX, LeftOut, Lines, Part};
pub use precision::Precision;
pub use scan::LINE_FIELDS_MAX;

use model::Limits;

/// The metric name of a field that is called `value`.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub enum ValueField {
    /// The measurement alone.
    #[default]
    Measurement,
    /// The measurement with `_value`, as for any other field.
    Suffix,
}

/// The options of reading a body.
#[derive(Debug, Clone, Copy)]
pub struct Options<'o> {
    pub precision: Precision,
    pub value_field: ValueField,
    /// A label to add to each series that has no tag with its name.
    pub label: Option<(&'o str, &'o str)>,
    /// Strings may contain line ends. In a datagram they may not.
    pub multiline_strings: bool,
    /// The timestamp of lines without one, in milliseconds since 1970.
    pub now_ms: i64,
    pub limits: Limits,
}
