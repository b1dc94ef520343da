//! Which members of a sharded entry own a series. [`ring`] decides it for one set of members. [`rings`] keeps
//! on disk from which position of the log each set is in force. [`share`] is the part of both that one member
//! needs.

pub mod ring;
pub mod rings;
pub mod share;
