//! The settings of groups, with their defaults, which are the numbers of `docs/limits.md`.

use std::time::Duration;

/// Settings of [`crate::Groups`].
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Options {
    /// The interval at which each group is sent again. At most [`Options::MAX_INTERVAL`].
    pub interval: Duration,
    /// The time to live of a group whose push does not set one. `None` means forever.
    pub ttl: Option<Duration>,
    /// How long an expired group still sends its two push times.
    pub removed_after: Duration,
    /// The maximum of groups; further ones are refused.
    pub max_groups: usize,
    /// The maximum of series in one group; a push with more is refused.
    pub max_group_series: usize,
    /// The maximum of series in all groups.
    pub max_series: usize,
    /// The maximum of memory of all groups, in bytes without compression.
    pub max_bytes: usize,
}

impl Default for Options {
    fn default() -> Self {
        Options {
            interval: Duration::from_secs(30),
            ttl: None,
            removed_after: Duration::from_secs(30 * 86_400),
            max_groups: 10_000,
            max_group_series: 10_000,
            max_series: 1_000_000,
            max_bytes: 256 << 20,
        }
    }
}

/// Why settings are refused.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum OptionsError {
    /// Groups would be missing from instant queries between two emissions.
    #[error(
        "interval is {given:?}: at most {:?}, since a query looks back five minutes only, and a group that is sent \
         less often would be missing from it when one emission is lost",
        Options::MAX_INTERVAL
    )]
    Interval { given: Duration },
    #[error("{name} is 0: it must be at least 1")]
    Zero { name: &'static str },
}

impl Options {
    /// The longest interval. A query looks back five minutes, so two emissions in sequence may be lost.
    pub const MAX_INTERVAL: Duration = Duration::from_secs(120);

    /// All errors of the settings.
    pub fn errors(&self) -> Vec<OptionsError> {
        let mut errors = Vec::new();
        if self.interval > Options::MAX_INTERVAL {
            errors.push(OptionsError::Interval { given: self.interval });
        }
        let zeros = [
            ("interval", self.interval.is_zero()),
            ("ttl", self.ttl.is_some_and(|ttl| ttl.is_zero())),
            ("removed_after", self.removed_after.is_zero()),
            ("max_groups", self.max_groups == 0),
            ("max_group_series", self.max_group_series == 0),
            ("max_series", self.max_series == 0),
            ("max_bytes", self.max_bytes == 0),
        ];
        let zeros = zeros.into_iter().filter(|(_, is_zero)| *is_zero);
        errors.extend(zeros.map(|(name, _)| OptionsError::Zero { name }));
        errors
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_interval_over_two_minutes_is_refused() {
        let with =
            |seconds| Options { interval: Duration::from_secs(seconds), ..Options::default() }.errors();
        assert_eq!((with(30), with(120)), (vec![], vec![]));
        assert!(with(121).iter().any(|error| error.to_string().contains("looks back five minutes")));
    }
}
