//! Numbers by kind of point.

use crate::Value;

/// Numbers by kind of point.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Kinds {
    /// Float samples.
    pub samples: u64,
    /// Native histograms.
    pub histograms: u64,
    /// Exemplars.
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

    /// How many there are of the kind of this point.
    pub fn of_kind(&self, value: &Value) -> u64 {
        match value {
            Value::Float(_) => self.samples,
            Value::Histogram(_) => self.histograms,
            Value::Exemplar(_) => self.exemplars,
        }
    }

    /// All of them.
    pub fn total(&self) -> u64 {
        self.samples + self.histograms + self.exemplars
    }

    /// Both together.
    pub fn plus(self, other: Kinds) -> Kinds {
        self.with(other, u64::saturating_add)
    }

    /// Without the others; where there are more of these, none.
    pub fn minus(self, other: Kinds) -> Kinds {
        self.with(other, u64::saturating_sub)
    }

    /// Of each kind no more than of the other.
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
