//! What a user may set about the doors, with the defaults, which are the numbers of `docs/limits.md`.

use std::time::Duration;

/// What is reserved for decoding, as a multiple of the decompressed body: itself and what it is decoded
/// into. The latter may take more, for a body of nothing but tiny samples; then that is reserved afterwards.
pub(crate) const WORK: usize = 3;

/// Settings of [`crate::Doors`].
#[derive(Debug, Clone, PartialEq)]
pub struct Options {
    /// What holds for all inputs.
    pub intake: intake::Settings,
    /// The largest body as sent, in bytes; over it 413. Prometheus' own limit.
    pub body_bytes: usize,
    /// The largest body decompressed, in bytes; over it 400. Prometheus' own limit.
    pub decoded_bytes: usize,
    /// How long a sender may pause within a body; past it 408.
    pub body_pause: Duration,
    /// How long a sender may take for a whole body, however steadily it drips; past it 408.
    pub body_time: Duration,
    /// The Pushgateway's interface.
    pub pushgateway: Pushgateway,
}

impl Default for Options {
    fn default() -> Self {
        Options {
            intake: intake::Settings::default(),
            body_bytes: 32 << 20,
            decoded_bytes: 32 << 20,
            body_pause: Duration::from_secs(10),
            body_time: Duration::from_secs(60),
            pushgateway: Pushgateway::default(),
        }
    }
}

/// Settings of the Pushgateway's interface.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Pushgateway {
    /// How often each group is sent anew. At most [`Pushgateway::MAX_INTERVAL`].
    pub interval: Duration,
    /// The time to live of a group that doesn't name its own. None: for ever.
    pub ttl: Option<Duration>,
    /// How long an expired group's two push times go on being sent.
    pub ttl_forget: Duration,
    /// Serve the groups for a scrape, too.
    pub expose: bool,
    /// Take bodies with timestamps.
    pub allow_timestamps: bool,
    /// Allow wiping all groups over HTTP.
    pub enable_admin: bool,
    /// The most groups; past it 429.
    pub max_groups: usize,
    /// The most series of one group; past it 429.
    pub max_group_series: usize,
    /// The most series of all groups together; past it 429.
    pub max_series: usize,
    /// The most memory of all groups together, in bytes; past it 429.
    pub max_bytes: usize,
}

impl Default for Pushgateway {
    fn default() -> Self {
        Pushgateway {
            interval: Duration::from_secs(30),
            ttl: None,
            ttl_forget: Duration::from_secs(30 * 86_400),
            expose: false,
            allow_timestamps: false,
            enable_admin: false,
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
    /// Groups would fall out of instant queries between two emissions.
    #[error(
        "pushgateway.interval is {given:?}: at most {:?}, since a query looks back five minutes only, and a \
         group that is sent less often would vanish from it when one emission is lost",
        Pushgateway::MAX_INTERVAL
    )]
    Interval {
        /// What was set.
        given: Duration,
    },
    /// A limit of nothing.
    #[error("{name} is 0: it must be at least 1")]
    Zero {
        /// The setting.
        name: &'static str,
    },
    /// What holds for all inputs.
    #[error(transparent)]
    Intake(#[from] intake::SettingsError),
    /// A body that is within its limit could not be held.
    #[error(
        "memory_bytes is {memory}: it must hold at least one body and what it is decoded into, body_bytes + {WORK} * \
         decoded_bytes = {needed}"
    )]
    Memory {
        /// What was set.
        memory: usize,
        /// What is needed.
        needed: usize,
    },
}

impl Pushgateway {
    /// The longest interval: two emissions may be lost within a look-back of five minutes.
    pub const MAX_INTERVAL: Duration = Duration::from_secs(120);
}

impl Options {
    /// Checks that the settings make sense together.
    pub fn check(&self) -> Result<(), OptionsError> {
        self.errors().into_iter().next().map_or(Ok(()), Err)
    }

    /// All that is wrong with the settings.
    pub fn errors(&self) -> Vec<OptionsError> {
        let gateway = &self.pushgateway;
        let mut errors = Vec::new();
        if gateway.interval > Pushgateway::MAX_INTERVAL {
            errors.push(OptionsError::Interval { given: gateway.interval });
        }
        for (name, zero) in [
            ("pushgateway.interval", gateway.interval.is_zero()),
            ("pushgateway.ttl", gateway.ttl.is_some_and(|ttl| ttl.is_zero())),
            ("pushgateway.ttl_forget", gateway.ttl_forget.is_zero()),
            ("pushgateway.max_groups", gateway.max_groups == 0),
            ("pushgateway.max_group_series", gateway.max_group_series == 0),
            ("pushgateway.max_series", gateway.max_series == 0),
            ("pushgateway.max_bytes", gateway.max_bytes == 0),
            ("body_bytes", self.body_bytes == 0),
            ("decoded_bytes", self.decoded_bytes == 0),
        ] {
            if zero {
                errors.push(OptionsError::Zero { name });
            }
        }
        let needed = self.body_bytes.saturating_add(self.decoded_bytes.saturating_mul(WORK));
        if self.intake.memory_bytes < needed {
            errors.push(OptionsError::Memory { memory: self.intake.memory_bytes, needed });
        }
        errors
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_interval_over_two_minutes_is_refused_for_the_look_back() {
        let mut options = Options::default();
        assert_eq!(options.check(), Ok(()));
        options.pushgateway.interval = Duration::from_secs(120);
        assert_eq!(options.check(), Ok(()));
        options.pushgateway.interval = Duration::from_secs(121);
        assert!(options.check().unwrap_err().to_string().contains("looks back five minutes"));
    }

    #[test]
    fn limits_of_nothing_are_refused() {
        let options = Options { body_bytes: 0, ..Options::default() };
        assert_eq!(options.check(), Err(OptionsError::Zero { name: "body_bytes" }));
        let intake = intake::Settings { memory_bytes: 1 << 20, ..intake::Settings::default() };
        let options = Options { intake, ..Options::default() };
        assert!(matches!(options.check(), Err(OptionsError::Memory { .. })));
    }
}
