//! Numbers about the groups, read without waiting. Those of requests are the intake's.

use intake::Number;

/// Numbers about the groups.
#[derive(Debug, Default)]
pub struct Stats {
    /// Groups there are.
    pub groups: Number,
    /// Series of all groups.
    pub group_series: Number,
    /// Memory of all groups, in bytes.
    pub group_bytes: Number,
    /// Groups whose time to live is over and whose push times are still sent.
    pub groups_expired: Number,
    /// Times that a group's time to live ended.
    pub expirations: Number,
    /// Groups that were forgotten some time after they expired.
    pub forgotten: Number,
    /// Groups whose last push was refused.
    pub groups_failing: Number,
    /// Groups sent again.
    pub emissions: Number,
    /// Groups that could not be sent again in their turn.
    pub emissions_failed: Number,
    /// Pushes to groups that were refused and set a failure time.
    pub push_failures: Number,
    /// Staleness markers sent.
    pub markers: Number,
    /// Entries of the journal of groups that could not be read.
    pub journal_damaged: Number,
    /// Times that the journal was rewritten.
    pub journal_rewrites: Number,
}
