//! What a destination keeps on disk: positions, dead letters and the side queue. Files are written and read by
//! [`wal::small_file`].

pub mod aside;
pub mod claims;
pub(crate) mod keep;
pub(crate) mod place;
pub mod positions;
pub(crate) mod progress;

pub use dead_letters as dead;
