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
    /// InfluxDB's line protocol.
    pub influx: crate::influx::Settings,
    /// How OTLP becomes series.
    pub otlp: otlp::Settings,
    /// How deltas of OTLP are added up.
    pub deltas: crate::otlp_input::deltas::Settings,
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
            influx: crate::influx::Settings::default(),
            otlp: otlp::Settings::default(),
            deltas: crate::otlp_input::deltas::Settings::default(),
        }
    }
}

/// Settings of the Pushgateway's interface.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Pushgateway {
    /// Serve the groups as a page to scrape, too.
    pub expose: bool,
    /// Accept bodies with timestamps.
    pub allow_timestamps: bool,
    /// Allow wiping all groups over HTTP.
    pub enable_admin: bool,
    pub groups: groups::Options,
}

/// Why settings are refused.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum OptionsError {
    /// The groups.
    #[error("pushgateway.{0}")]
    Groups(#[from] groups::OptionsError),
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

impl Options {
    /// Checks that the settings make sense together.
    pub fn check(&self) -> Result<(), OptionsError> {
        self.errors().into_iter().next().map_or(Ok(()), Err)
    }

    /// All that is wrong with the settings.
    pub fn errors(&self) -> Vec<OptionsError> {
        let groups = self.pushgateway.groups.errors().into_iter();
        let mut errors: Vec<OptionsError> = groups.map(OptionsError::Groups).collect();
        for (name, zero) in [("body_bytes", self.body_bytes == 0), ("decoded_bytes", self.decoded_bytes == 0)]
        {
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
    fn limits_of_nothing_are_refused() {
        let options = Options { body_bytes: 0, ..Options::default() };
        assert_eq!(options.check(), Err(OptionsError::Zero { name: "body_bytes" }));
        let intake = intake::Settings { memory_bytes: 1 << 20, ..intake::Settings::default() };
        let options = Options { intake, ..Options::default() };
        assert!(matches!(options.check(), Err(OptionsError::Memory { .. })));
    }
}
