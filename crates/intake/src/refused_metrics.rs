//! Counts refused series over a limit by metric name.

use std::collections::BTreeMap;

/// The maximum of metric names with their own count of refused series.
pub const REFUSED_METRICS_MAX: usize = 100;
/// The name under which all metric names beyond [`REFUSED_METRICS_MAX`] are counted.
const OTHERS: &str = "";

/// Refused series by metric name: the first [`REFUSED_METRICS_MAX`] names, and all others under the empty name.
#[derive(Debug, Default)]
pub struct RefusedMetrics {
    by_name: BTreeMap<String, u64>,
}

impl RefusedMetrics {
    pub fn add(&mut self, name: &[u8]) {
        let name = String::from_utf8_lossy(name);
        if let Some(count) = self.by_name.get_mut(&*name) {
            *count += 1;
        } else if self.by_name.len() < REFUSED_METRICS_MAX {
            self.by_name.insert(name.into_owned(), 1);
        } else {
            *self.by_name.entry(OTHERS.into()).or_default() += 1;
        }
    }

    pub fn by_name(&self) -> &BTreeMap<String, u64> {
        &self.by_name
    }
}
