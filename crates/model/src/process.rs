//! What tells this process from all others.

use std::hash::{BuildHasher, RandomState};
use std::sync::OnceLock;

/// The name of the header in which requests of remote write carry [`id`].
pub const HEADER: &str = "narthex-process";

/// A number that no other process has. A receiver that finds its own in a request has been sent to by itself.
pub fn id() -> u64 {
    static ID: OnceLock<u64> = OnceLock::new();
    *ID.get_or_init(|| RandomState::new().hash_one(std::process::id()))
}
