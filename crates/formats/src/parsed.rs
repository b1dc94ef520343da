//! The result of parsing a text or exposition protobuf.

use crate::Rejected;
use model::Batch;

/// A body that could be parsed.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct Parsed {
    /// The series within the limits.
    pub batch: Batch,
    /// What was left out because it is over a limit.
    pub rejected: Rejected,
}

impl Parsed {
    /// The batch if nothing was left out, otherwise what was left out.
    pub fn whole(self) -> Result<Batch, Rejected> {
        if self.rejected.is_empty() { Ok(self.batch) } else { Err(self.rejected) }
    }
}
