//! The identity of this process.

use std::hash::{BuildHasher, RandomState};
use std::sync::OnceLock;

/// Name of the header with [`id`] in remote-write requests.
pub const HEADER: &str = "narthex-process";

/// Returns a random number that identifies this process. A receiver that finds its own number in a request
/// detects that narthex sends to itself.
pub fn id() -> u64 {
    static ID: OnceLock<u64> = OnceLock::new();
    *ID.get_or_init(|| RandomState::new().hash_one(std::process::id()))
}
