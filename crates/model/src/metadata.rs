//! What a metric is: its type, help text and unit.

/// The type of a metric, with remote write 2.0's numbers.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Default)]
#[repr(u8)]
pub enum MetricType {
    /// Not said.
    #[default]
    Unknown = 0,
    /// Only goes up, or restarts at zero.
    Counter = 1,
    /// Goes up and down.
    Gauge = 2,
    /// Buckets, sum and count; classic or native.
    Histogram = 3,
    /// A histogram whose buckets may go down.
    GaugeHistogram = 4,
    /// Quantiles, sum and count.
    Summary = 5,
    /// A constant 1 whose labels say something.
    Info = 6,
    /// A set of booleans.
    StateSet = 7,
}

impl MetricType {
    /// The type with this number in remote write; `Unknown` for a number that has none.
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

    /// The word used in a `# TYPE` line of OpenMetrics (and of the text format, which calls the first
    /// `untyped` and has not the last three).
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

    /// The type named in a `# TYPE` line of either text format.
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

/// What is known of a metric family. Strings are empty where nothing is known.
#[derive(Debug, Clone, PartialEq, Eq, Hash, Default)]
pub struct Metadata {
    /// The family's name: without `_bucket`, `_sum`, `_count` for histograms and summaries.
    pub family: String,
    /// Its type.
    pub kind: MetricType,
    /// Its help text.
    pub help: String,
    /// Its unit.
    pub unit: String,
}
