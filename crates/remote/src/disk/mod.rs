//! The files of a destination: positions, dead letters and parked samples. They are written and read with
//! [`wal::small_file`].

pub mod aside;
pub mod claims;
pub(crate) mod keep;
pub(crate) mod place;
pub mod positions;
pub(crate) mod progress;

pub use dead_letters as dead;
