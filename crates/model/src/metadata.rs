//! Metadata of a metric: its type, help text and unit.

/// The type of a metric. The numbers are those of remote write 2.0.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Default)]
#[repr(u8)]
pub enum MetricType {
    /// The type is not known.
    #[default]
    Unknown = 0,
    /// Increases, or restarts at zero.
    Counter = 1,
    /// Increases and decreases.
    Gauge = 2,
    /// Buckets, sum and count; classic or native.
    Histogram = 3,
    /// A histogram whose buckets may decrease.
    GaugeHistogram = 4,
    /// Quantiles, sum and count.
    Summary = 5,
    /// A constant 1 whose labels carry information.
    Info = 6,
    /// A set of booleans.
    StateSet = 7,
}

impl MetricType {
    /// Returns the type with this number in remote write, or `Unknown` if there is none.
    pub const fn from_number(number: u64) -> Self {
        match number {
            1 => Self::Counter,
            2 => Self::Gauge,
            3 => Self::Histogram,
            4 => Self::GaugeHistogram,
            5 => Self::Summary,
            6 => Self::Info,
            7 => Self::StateSet,
            _ => Self::Unknown,
        }
    }

    /// The word in a `# TYPE` line of OpenMetrics. (The text format calls the first type `untyped` and does
    /// not have the last three.)
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Unknown => "unknown",
            Self::Counter => "counter",
            Self::Gauge => "gauge",
            Self::Histogram => "histogram",
            Self::GaugeHistogram => "gaugehistogram",
            Self::Summary => "summary",
            Self::Info => "info",
            Self::StateSet => "stateset",
        }
    }

    /// Returns the type for the word in a `# TYPE` line of either text format.
    pub fn from_word(word: &str) -> Option<Self> {
        Some(match word {
            "unknown" | "untyped" => Self::Unknown,
            "counter" => Self::Counter,
            "gauge" => Self::Gauge,
            "histogram" => Self::Histogram,
            "gaugehistogram" => Self::GaugeHistogram,
            "summary" => Self::Summary,
            "info" => Self::Info,
            "stateset" => Self::StateSet,
            _ => return None,
        })
    }
}

/// The metadata of a metric family. Unknown strings are empty.
#[derive(Debug, Clone, PartialEq, Eq, Hash, Default)]
pub struct Metadata {
    /// The family's name, without the suffixes `_bucket`, `_sum` and `_count` of histograms and summaries.
    pub family: String,
    pub kind: MetricType,
    pub help: String,
    pub unit: String,
}
