//! Sums of many floats without the rounding errors of adding them one by one.

/// A running sum with the part that rounding took away (Neumaier's algorithm).
#[derive(Debug, Clone, Copy, Default, PartialEq)]
pub struct Sum {
    pub(crate) sum: f64,
    pub(crate) lost: f64,
}

impl From<f64> for Sum {
    fn from(sum: f64) -> Sum {
        Sum { sum, lost: 0.0 }
    }
}

impl Sum {
    pub fn add(&mut self, value: f64) {
        let sum = self.sum + value;
        self.lost +=
            if self.sum.abs() >= value.abs() { (self.sum - sum) + value } else { (value - sum) + self.sum };
        self.sum = sum;
    }

    pub fn value(&self) -> f64 {
        // An infinite sum makes `lost` NaN.
        if self.sum.is_finite() { self.sum + self.lost } else { self.sum }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn a_million_tenths_are_a_hundred_thousand() {
        let mut sum = Sum::default();
        (0..1_000_000).for_each(|_| sum.add(0.1));
        assert_eq!(sum.value(), 100_000.0);
    }

    proptest! {
        #[test]
        fn additions_that_are_not_negative_never_lower_it(values in prop::collection::vec(0.0..1e12f64, 1..200)) {
            let (mut sum, mut last) = (Sum::default(), 0.0);
            for value in values {
                sum.add(value);
                prop_assert!(sum.value() >= last);
                last = sum.value();
            }
        }
    }
}
