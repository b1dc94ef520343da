//! Counters of groups that can be read without waiting. The counters of requests are in the intake.

use intake::Number;

#[derive(Debug, Default)]
pub struct Stats {
    /// The number of groups.
    pub groups: Number,
    /// The number of series in all groups.
    pub group_series: Number,
    /// The memory of all groups, in bytes.
    pub group_bytes: Number,
    /// Groups whose time to live is over and whose push times are still sent.
    pub groups_expired: Number,
    /// The number of times that the time to live of a group ended.
    pub expirations: Number,
    /// Expired groups that were removed after `removed_after`.
    pub removed: Number,
    /// Groups whose last push was refused.
    pub groups_failing: Number,
    /// Groups that were sent again.
    pub emissions: Number,
    /// Groups that could not be sent again at their time.
    pub emissions_failed: Number,
    /// Refused pushes that set the failure time of a group.
    pub push_failures: Number,
    /// Staleness markers that were sent.
    pub markers: Number,
    /// Entries of the journal of groups that could not be read.
    pub journal_damaged: Number,
    /// The number of times that the journal was rewritten.
    pub journal_rewrites: Number,
}
