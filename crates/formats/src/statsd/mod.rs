//! StatsD and DogStatsD, up to version 1.6 of the latter's format. No allocation for a line.
//!
//! ```text
//! NAME:VALUE|TYPE[|@RATE][|#TAG:V,TAG:V][|c:CONTAINER][|T UNIX][|e:EXTERNAL][|card:LEVEL]
//! ```
//!
//! - Sections after the type may be in any order. Unknown ones are ignored, as the Datadog agent does.
//! - `NAME:1:2:3|d` has several values of one type (DogStatsD 1.1). `NAME:1|c:200|ms` has several samples of one name
//!   (the original StatsD). The first `:` after a type, or after a rate, begins the next sample.
//! - Tags may also be in the name, in the styles of SignalFx, Librato and InfluxDB ([`describe`]).
//! - Events (`_e{`) and service checks (`_sc|`) are recognised, so that they can be counted.
//!
//! [`lines`] splits a datagram, [`parse`] reads a line, [`Metric::samples`] has its samples, and [`describe`] reads the
//! name and labels of a series. The first three run for each line, the last one only for a new series.
//!
//! Facts: the metric types in the documentation of `statsd/statsd`, the datagram format in Datadog's, and
//! `prometheus/statsd_exporter: pkg/line/line.go`, whose reasons for errors have the same names here.

mod name;
mod sample;
#[cfg(test)]
mod tests;

pub use name::{Described, TagStyles, describe, escape};
pub use sample::{Number, Sample, Samples};

/// The type of a sample.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Kind {
    /// `c`
    Counter,
    /// `g`
    Gauge,
    /// `ms`: milliseconds.
    Timer,
    /// `h`
    Histogram,
    /// `d`
    Distribution,
    /// `s`
    Set,
}

impl Kind {
    pub const ALL: [Kind; 6] =
        [Kind::Counter, Kind::Gauge, Kind::Timer, Kind::Histogram, Kind::Distribution, Kind::Set];

    fn of(word: &str) -> Option<Kind> {
        Some(match word {
            "c" => Kind::Counter,
            "g" => Kind::Gauge,
            "ms" => Kind::Timer,
            "h" => Kind::Histogram,
            "d" => Kind::Distribution,
            "s" => Kind::Set,
            _ => return None,
        })
    }

    /// The value of the label `type`.
    pub const fn as_str(self) -> &'static str {
        match self {
            Kind::Counter => "counter",
            Kind::Gauge => "gauge",
            Kind::Timer => "timer",
            Kind::Histogram => "histogram",
            Kind::Distribution => "distribution",
            Kind::Set => "set",
        }
    }

    /// Whether samples of this type are observations.
    pub const fn is_observer(self) -> bool {
        matches!(self, Kind::Timer | Kind::Histogram | Kind::Distribution)
    }
}

/// Why a line or a sample is refused, or a part of it ignored.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, thiserror::Error)]
pub enum Reason {
    #[error("a line is NAME:VALUE|TYPE in UTF-8")]
    MalformedLine,
    #[error("the type is missing: NAME:VALUE|TYPE")]
    NotEnoughParts,
    #[error("a section between two | is empty")]
    MalformedComponent,
    #[error("the value is not a finite number")]
    MalformedValue,
    #[error("the type is none of c, g, ms, h, d and s")]
    IllegalType,
    #[error("the sample rate is not a number between 0 and 1; the sample counts once")]
    InvalidSampleFactor,
    #[error("the name and |# both have tags")]
    MixedTaggingStyles,
    #[error("the container after |c: is empty")]
    MalformedContainer,
    #[error("the time after |T is not a number of seconds since 1970")]
    MalformedTimestamp,
}

impl Reason {
    pub const ALL: [Reason; 9] = [
        Reason::MalformedLine,
        Reason::NotEnoughParts,
        Reason::MalformedComponent,
        Reason::MalformedValue,
        Reason::IllegalType,
        Reason::InvalidSampleFactor,
        Reason::MixedTaggingStyles,
        Reason::MalformedContainer,
        Reason::MalformedTimestamp,
    ];

    /// The value of the label `reason`.
    pub const fn as_str(self) -> &'static str {
        match self {
            Reason::MalformedLine => "malformed_line",
            Reason::NotEnoughParts => "not_enough_parts_after_colon",
            Reason::MalformedComponent => "malformed_component",
            Reason::MalformedValue => "malformed_value",
            Reason::IllegalType => "illegal_type",
            Reason::InvalidSampleFactor => "invalid_sample_factor",
            Reason::MixedTaggingStyles => "mixed_tagging_styles",
            Reason::MalformedContainer => "malformed_container_id",
            Reason::MalformedTimestamp => "malformed_timestamp",
        }
    }
}

/// The kind of a line.
#[derive(Debug, Clone, Copy, PartialEq)]
pub enum Line<'a> {
    Metric(Metric<'a>),
    /// An event of DogStatsD.
    Event,
    /// A service check of DogStatsD.
    ServiceCheck,
}

/// A line with samples.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Metric<'a> {
    /// The name as it was sent, with tags if it has any.
    pub name: &'a str,
    /// The text after the first colon.
    rest: &'a str,
}

impl<'a> Metric<'a> {
    /// The samples of the line. A refused sample does not affect the others.
    pub fn samples(&self) -> Samples<'a> {
        Samples::new(self.rest)
    }
}

/// The lines of a datagram, without empty ones.
pub fn lines(datagram: &[u8]) -> impl Iterator<Item = &[u8]> {
    let lines = datagram.split(|byte| *byte == b'\n');
    lines.map(|line| line.strip_suffix(b"\r").unwrap_or(line)).filter(|line| !line.is_empty())
}

pub fn parse(line: &[u8]) -> Result<Line<'_>, Reason> {
    let line = std::str::from_utf8(line).map_err(|_| Reason::MalformedLine)?;
    if line.starts_with("_e{") {
        return Ok(Line::Event);
    }
    if line.starts_with("_sc|") {
        return Ok(Line::ServiceCheck);
    }
    match line.split_once(':') {
        Some((name, rest)) if !name.is_empty() => Ok(Line::Metric(Metric { name, rest })),
        _ => Err(Reason::MalformedLine),
    }
}
