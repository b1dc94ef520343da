//! What comes of a text or of exposition protobuf.

use crate::Rejected;
use model::Batch;

/// A body that could be read.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct Parsed {
    /// What is within the limits.
    pub batch: Batch,
    /// What was left out because it is over one of them.
    pub rejected: Rejected,
}

impl Parsed {
    /// The batch if nothing was left out, and what was left out otherwise.
    pub fn whole(self) -> Result<Batch, Rejected> {
        if self.rejected.is_empty() { Ok(self.batch) } else { Err(self.rejected) }
    }
}
