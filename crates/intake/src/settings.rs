//! The settings of all inputs, with their defaults, which are the numbers of `docs/limits.md`.

use mapping::Mapping;
use relabel::{AddedLabels, Rule};
use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

/// The maximum of memory for known series, in bytes.
pub const KNOWN_SERIES_BYTES: usize = 32 << 20;

/// Settings that each input has.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct InputSettings {
    /// Labels to add to each series that does not have them.
    pub labels: AddedLabels,
    /// Rules for the series, applied after `labels`.
    pub metric_relabel_configs: Vec<Rule>,
    /// The maximum of series that may be active within an hour. `None` means no limit.
    pub max_series: Option<usize>,
    /// The same for each metric name.
    pub max_series_per_metric: Option<usize>,
    /// Rules for dotted names, applied before everything else.
    pub mapping: Option<Arc<Mapping>>,
}

impl InputSettings {
    /// Returns true if a rule may change the labels of series.
    pub(crate) fn has_rules(&self) -> bool {
        !self.labels.is_empty() || !self.metric_relabel_configs.is_empty()
    }

    pub(crate) fn limits_series(&self) -> bool {
        self.max_series.is_some() || self.max_series_per_metric.is_some()
    }
}

/// Settings of [`crate::Intake`].
#[derive(Debug, Clone, PartialEq)]
pub struct Settings {
    /// Limits on one series.
    pub limits: model::Limits,
    /// The maximum of concurrent requests. Further ones are refused with [`crate::Refusal::Busy`].
    pub requests: usize,
    /// The memory of all requests together, in bytes: bodies, decoded batches, and batches that wait for the log. If
    /// not enough is free, a request waits for [`Settings::wait`].
    pub memory_bytes: usize,
    /// The maximum of memory for known series ([`crate::known`]), in bytes. It is reserved as it is needed.
    pub known_series_bytes: usize,
    /// How long a request waits for memory before it is refused with [`crate::Refusal::Busy`].
    pub wait: Duration,
    /// Samples further ahead of the clock than this are rejected, because a sample from the future blocks its series at
    /// the receiver until that time has come. Prometheus has the same limit.
    pub ahead: Duration,
    /// Samples older than this are rejected. `None` means no limit.
    pub max_age: Option<Duration>,
    /// The settings of inputs by their sections.
    pub inputs: BTreeMap<&'static str, Arc<InputSettings>>,
}

impl Default for Settings {
    fn default() -> Self {
        Settings {
            limits: model::Limits::default(),
            requests: 1000,
            memory_bytes: 192 << 20,
            known_series_bytes: KNOWN_SERIES_BYTES,
            wait: Duration::from_secs(10),
            ahead: Duration::from_secs(600),
            max_age: None,
            inputs: BTreeMap::new(),
        }
    }
}

/// Why settings are refused.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum SettingsError {
    #[error("{name} is 0: it must be at least 1")]
    Zero { name: &'static str },
    /// The log would refuse batches for which the intake has reserved memory.
    #[error(
        "the log accepts {log} bytes of waiting batches, less than the {memory} bytes that requests may take"
    )]
    Log { log: usize, memory: usize },
}

impl Settings {
    /// The memory of each request in the log's queue besides its batch.
    const QUEUED_BYTES: usize = 4 << 10;
    /// Memory for the batches of tasks that append without a request, one batch of each at a time: groups that are sent
    /// again, and the collectors. They do not share the budget of the requests, because requests wait for them.
    const OWN_BATCHES_BYTES: usize = 32 << 20;

    /// The settings of a section, or the defaults.
    pub fn of(&self, section: &str) -> Arc<InputSettings> {
        self.inputs.get(section).cloned().unwrap_or_default()
    }

    /// The smallest limit on waiting batches with which the log never refuses a batch that the intake has admitted.
    pub fn log_bytes(&self) -> usize {
        let queued = self.requests.saturating_mul(Self::QUEUED_BYTES);
        self.memory_bytes.saturating_add(queued).saturating_add(Self::OWN_BATCHES_BYTES)
    }

    pub(crate) fn check(&self, log: usize) -> Result<(), SettingsError> {
        if self.requests == 0 {
            return Err(SettingsError::Zero { name: "requests" });
        }
        if log < self.log_bytes() {
            return Err(SettingsError::Log { log, memory: self.memory_bytes });
        }
        Ok(())
    }
}
