use model::words::counted;
use model::{Kinds, Value};
use std::fmt;

/// The parts of a request that were left out because they are invalid, while the rest was kept.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Rejected {
    /// Series whose labels are invalid.
    pub series: u64,
    /// Float samples, including those of such series.
    pub samples: u64,
    /// Native histograms, including those of such series.
    pub histograms: u64,
    /// Exemplars, including those of such series.
    pub exemplars: u64,
    /// How many of the series were left out because they are new and over a limit on active series.
    pub over_series_limit: u64,
    /// The reasons for the first [`Rejected::MAX_REASONS`] parts, each cut to [`Rejected::MAX_REASON_BYTES`].
    pub reasons: Vec<String>,
}

impl Rejected {
    pub const MAX_REASONS: usize = 4;
    pub const MAX_REASON_BYTES: usize = 512;

    /// Returns true if everything that was left out is new series over a limit on active series.
    pub fn is_only_over_series_limit(&self) -> bool {
        self.series > 0 && self.over_series_limit == self.series
    }

    pub const fn is_empty(&self) -> bool {
        self.series == 0 && self.samples == 0 && self.histograms == 0 && self.exemplars == 0
    }

    /// The number of points, by kind.
    pub const fn kinds(&self) -> Kinds {
        Kinds { samples: self.samples, histograms: self.histograms, exemplars: self.exemplars }
    }

    /// Counts a point that is left out.
    pub fn count(&mut self, value: &Value) {
        match value {
            Value::Float(_) => self.samples += 1,
            Value::Histogram(_) => self.histograms += 1,
            Value::Exemplar(_) => self.exemplars += 1,
        }
    }

    /// Adds what was left out of another part of the request.
    pub fn add(&mut self, other: Rejected) {
        self.series += other.series;
        self.samples += other.samples;
        self.histograms += other.histograms;
        self.exemplars += other.exemplars;
        self.over_series_limit += other.over_series_limit;
        for reason in other.reasons {
            self.explain(|| reason);
        }
    }

    /// Keeps a reason, up to [`Rejected::MAX_REASONS`].
    pub fn explain(&mut self, reason: impl FnOnce() -> String) {
        if self.reasons.len() >= Self::MAX_REASONS {
            return;
        }
        let mut reason = reason();
        if reason.len() > Self::MAX_REASON_BYTES {
            let mut cut = Self::MAX_REASON_BYTES - '…'.len_utf8();
            while !reason.is_char_boundary(cut) {
                cut -= 1;
            }
            reason.truncate(cut);
            reason.push('…');
        }
        self.reasons.push(reason);
    }
}

/// The counts and the first reasons: the body of a 400.
impl fmt::Display for Rejected {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let counts = [
            (self.series, "series"),
            (self.samples, "sample"),
            (self.histograms, "histogram"),
            (self.exemplars, "exemplar"),
        ];
        let parts: Vec<String> = counts
            .iter()
            .filter(|(count, _)| *count > 0)
            .map(|(count, what)| counted(*count, what))
            .collect();
        write!(f, "left out {}", parts.join(", "))?;
        for (index, reason) in self.reasons.iter().enumerate() {
            write!(f, "{}{reason}", if index == 0 { ": " } else { "; " })?;
        }
        Ok(())
    }
}
