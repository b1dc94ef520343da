//! Which metric names have series that were refused because of a limit.

use std::collections::BTreeMap;

/// Most metric names that are remembered because series of theirs were refused.
pub const BLAMED_MAX: usize = 100;
/// In the place of the metric names beyond [`BLAMED_MAX`].
const OTHERS: &str = "";

/// Refused series by metric name: the [`BLAMED_MAX`] names that were first, and all others under the empty name.
#[derive(Debug, Default)]
pub struct Blamed {
    by_name: BTreeMap<String, u64>,
}

impl Blamed {
    /// Counts a series that was refused.
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
