//! Counts of points by kind.

use crate::Value;

/// Counts of points by kind.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Kinds {
    pub samples: u64,
    pub histograms: u64,
    pub exemplars: u64,
}

impl Kinds {
    /// Counts one point.
    pub fn count(&mut self, value: &Value) {
        match value {
            Value::Float(_) => self.samples += 1,
            Value::Histogram(_) => self.histograms += 1,
            Value::Exemplar(_) => self.exemplars += 1,
        }
    }

    /// The count of the kind that this value has.
    pub fn of_kind(&self, value: &Value) -> u64 {
        match value {
            Value::Float(_) => self.samples,
            Value::Histogram(_) => self.histograms,
            Value::Exemplar(_) => self.exemplars,
        }
    }

    /// Total of all kinds.
    pub fn total(&self) -> u64 {
        self.samples + self.histograms + self.exemplars
    }

    /// The sums, kind by kind.
    pub fn plus(self, other: Kinds) -> Kinds {
        self.with(other, u64::saturating_add)
    }

    /// The differences, kind by kind, but not below 0.
    pub fn minus(self, other: Kinds) -> Kinds {
        self.with(other, u64::saturating_sub)
    }

    /// The smaller count of each kind.
    pub fn at_most(self, other: Kinds) -> Kinds {
        self.with(other, u64::min)
    }

    fn with(self, other: Kinds, number: fn(u64, u64) -> u64) -> Kinds {
        Kinds {
            samples: number(self.samples, other.samples),
            histograms: number(self.histograms, other.histograms),
            exemplars: number(self.exemplars, other.exemplars),
        }
    }
}
