//! Everything between a chunk of the log and a destination's answer.
#![allow(missing_docs)]
pub mod backoff;
pub mod lanes;
pub mod narrow;
pub mod queue;
pub mod reshard;
mod shard;
