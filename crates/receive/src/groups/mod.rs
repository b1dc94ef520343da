//! Groups: what the Pushgateway's interface pushes, kept, sent anew, and ended.
//!
//! - A group goes out when it is pushed and then once each interval, since a single sample is gone from a
//!   query after five minutes. Groups are spread over the interval.
//! - Each group has its own clock ([`clock`]), so that no two values of a series share a millisecond.
//! - What a PUT or a POST no longer has, what is deleted and what expires ends with a staleness marker.
//! - A group that has expired goes on sending its two push times until it is forgotten.
//! - All of it is in a journal that is committed together with the samples.
//!
//! Everything but [`keeper`], the task that holds it all, is pure. Start with [`group`], then [`state`].

pub mod ask;
pub mod change;
pub mod clock;
pub mod consistency;
pub mod emit;
pub mod entry;
pub mod group;
pub mod keeper;
pub mod limits;
pub mod pushed;
pub mod schedule;
pub mod state;
#[cfg(test)]
mod tests;
pub mod types;
