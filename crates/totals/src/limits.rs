//! How much totals may hold, and why a new series is refused.

use model::MetricType;

/// How many totals of the same series may take each other's place before a flush is committed. Each takes some
/// milliseconds of the time between two flushes.
pub const TURNS_MAX: usize = 32;

/// How much the totals of an input may hold.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Limits {
    /// Most series, as receivers count them: a classic histogram has one for each bucket.
    pub series: usize,
    /// Most series of a metric name; those of a histogram count for the histogram's name.
    pub series_per_name: usize,
    /// Most memory of all totals, in bytes.
    pub bytes: usize,
}

impl Default for Limits {
    fn default() -> Self {
        Limits { series: 100_000, series_per_name: 50_000, bytes: 64 << 20 }
    }
}

/// Why a series is refused.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum Refused {
    #[error("{name}: a new series over the limit of {limit} series")]
    Series { name: String, limit: usize },
    #[error("{name}: a new series over the limit of {limit} series of one metric name")]
    SeriesOfName { name: String, limit: usize },
    #[error("{name}: a new series over the limit of {limit} bytes of memory")]
    Memory { name: String, limit: usize },
    #[error("{labels} gets other buckets more than {TURNS_MAX} times before a flush is committed")]
    Turns { labels: String },
    #[error("{labels} is {}, and can't be {} too", has.as_str(), wants.as_str())]
    Kind { labels: String, has: MetricType, wants: MetricType },
    #[error("{labels} is a histogram with other buckets")]
    Shape { labels: String },
    #[error("{name:?} is {}, and other series of that name are {}", wants.as_str(), has.as_str())]
    NameKind { name: String, has: MetricType, wants: MetricType },
    /// A name is a part of a classic histogram.
    #[error("{name:?} collides with the histogram {histogram:?}, which has a series of that name")]
    Part { name: String, histogram: String },
}

impl Refused {
    /// Whether the series would be accepted if a limit were higher.
    pub fn is_over_limit(&self) -> bool {
        matches!(
            self,
            Refused::Series { .. }
                | Refused::SeriesOfName { .. }
                | Refused::Memory { .. }
                | Refused::Turns { .. }
        )
    }
}
