//! Counts refused series over a limit by metric name.

use std::collections::BTreeMap;

/// The maximum of metric names with their own count of refused series.
pub const BLAMED_MAX: usize = 100;
/// The name under which all metric names beyond [`BLAMED_MAX`] are counted.
const OTHERS: &str = "";

/// Refused series by metric name: the first [`BLAMED_MAX`] names, and all others under the empty name.
#[derive(Debug, Default)]
pub struct Blamed {
    by_name: BTreeMap<String, u64>,
}

impl Blamed {
    pub fn add(&mut self, name: &[u8]) {
        let name = String::from_utf8_lossy(name);
        if let Some(count) = self.by_name.get_mut(&*name) {
            *count += 1;
        } else if self.by_name.len() < BLAMED_MAX {
            self.by_name.insert(name.into_owned(), 1);
        } else {
            *self.by_name.entry(OTHERS.into()).or_default() += 1;
        }
    }

    pub fn by_name(&self) -> &BTreeMap<String, u64> {
        &self.by_name
    }
}
