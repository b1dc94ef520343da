//! What a destination keeps on disk: positions, dead letters and the side queue. Files are written and read by
//! [`wal::small_file`].

pub mod aside;
pub mod claims;
pub mod dead;
pub(crate) mod keep;
pub(crate) mod place;
pub mod positions;
pub(crate) mod progress;

// The names by which the rings of members use them.
pub(crate) use wal::small_file::{UNFINISHED, create as replace, make_folder, with_ending as beside};
