//! Which member of a sharded entry owns a series: [`ring`] decides it for one set of members, [`rings`] keeps on disk from
//! which position of the log each set holds, and [`share`] is what one member knows of both.

pub mod ring;
pub mod rings;
pub mod share;
