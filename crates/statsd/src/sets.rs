//! Sets: how many different values came within an interval.

use hashbrown::HashMap;
use std::hash::{BuildHasher, Hasher, RandomState};
use totals::{Handle, Totals};

/// Most sets that have values in an interval.
pub const SETS_MAX: usize = 10_000;
/// Up to this many values a set is exact; above it is an estimate with a standard error of 3.3 %.
pub const EXACT_MAX: usize = 256;
/// Registers of an estimate.
const REGISTERS: usize = 1024;

/// The different values of one set. Values are distinguished by 64 bits of their hash.
#[derive(Debug, Clone, PartialEq)]
enum Values {
    Exact(Vec<u64>),
    /// HyperLogLog: the most leading zeros that were seen in each register.
    Estimate(Box<[u8; REGISTERS]>),
}

impl Values {
    fn add(&mut self, hash: u64) {
        match self {
            Values::Exact(hashes) => {
                let Err(at) = hashes.binary_search(&hash) else { return };
                hashes.insert(at, hash);
                if hashes.len() > EXACT_MAX {
                    let mut registers = Box::new([0; REGISTERS]);
                    hashes.iter().for_each(|hash| register(&mut registers, *hash));
                    *self = Values::Estimate(registers);
                }
            }
            Values::Estimate(registers) => register(registers, hash),
        }
    }

    fn count(&self) -> f64 {
        match self {
            Values::Exact(hashes) => hashes.len() as f64,
            Values::Estimate(registers) => {
                let most = REGISTERS as f64;
                let sum: f64 = registers.iter().map(|zeros| 2f64.powi(-i32::from(*zeros))).sum();
                let empty = registers.iter().filter(|zeros| **zeros == 0).count();
                let estimate = 0.7213 / (1.0 + 1.079 / most) * most * most / sum;
                // The correction for few values, of the paper of HyperLogLog.
                let few = estimate <= 2.5 * most && empty > 0;
                if few { (most * (most / empty as f64).ln()).round() } else { estimate.round() }
            }
        }
    }
}

fn register(registers: &mut [u8; REGISTERS], hash: u64) {
    let zeros = ((hash / REGISTERS as u64) | (1 << 54)).trailing_zeros() as u8 + 1;
    if let Some(register) = registers.get_mut((hash % REGISTERS as u64) as usize) {
        *register = zeros.max(*register);
    }
}

/// All sets that have values in this interval, or had some in the one before.
#[derive(Debug, Default)]
pub(crate) struct Sets {
    sets: HashMap<u64, Values>,
    hasher: RandomState,
}

impl Sets {
    /// Adds a value to the set with this gauge. Returns false if there are too many sets.
    pub(crate) fn add(&mut self, gauge: Handle, value: &str) -> bool {
        let mut hasher = self.hasher.build_hasher();
        hasher.write(value.as_bytes());
        let hash = hasher.finish();
        let number = gauge.to_number();
        if !self.sets.contains_key(&number) && self.sets.len() >= SETS_MAX {
            return false;
        }
        self.sets.entry(number).or_insert_with(|| Values::Exact(Vec::new())).add(hash);
        true
    }

    /// Shows the sizes of the sets, and begins the next interval. A set without values is shown once as 0.
    pub(crate) fn flush(&mut self, totals: &mut Totals) {
        self.sets.retain(|gauge, values| {
            let count = values.count();
            // A gauge that has ended is opened again by the next line.
            let is_open = totals.set(Handle::from_number(*gauge), count).is_ok();
            *values = Values::Exact(Vec::new());
            is_open && count > 0.0
        });
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn few_values_are_counted_exactly_and_many_are_estimated() {
        let hasher = RandomState::new();
        for (count, error) in [(1, 0.0), (100, 0.0), (EXACT_MAX, 0.0), (1000, 0.15), (100_000, 0.15)] {
            let mut values = Values::Exact(Vec::new());
            for _ in 0..2 {
                (0..count).for_each(|value| values.add(hasher.hash_one(value)));
            }
            let off = (values.count() - count as f64).abs() / count as f64;
            assert!(off <= error, "{} for {count}", values.count());
        }
    }
}
