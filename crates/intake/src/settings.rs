//! What a user may set about all inputs together, with the defaults, which are the numbers of `docs/limits.md`.

use mapping::Mapping;
use relabel::{AddedLabels, Rule};
use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

/// Most memory of the series that inputs recognise, in bytes.
pub const KNOWN_SERIES_BYTES: usize = 32 << 20;

/// Settings that each input has.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct InputSettings {
    /// Labels that each series gets, unless it has them.
    pub labels: AddedLabels,
    /// Rules for the series, applied after `labels`.
    pub metric_relabel_configs: Vec<Rule>,
    /// Most series that may be active within an hour. `None`: no limit.
    pub max_series: Option<usize>,
    /// The same for each metric name.
    pub max_series_per_metric: Option<usize>,
    /// Rules for dotted names, before everything else.
    pub mapping: Option<Arc<Mapping>>,
}

impl InputSettings {
    /// Whether there is anything that may change the labels of series.
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
    /// What one series may measure.
    pub limits: model::Limits,
    /// Requests that are worked on at once; over it they are refused with [`crate::Refusal::Busy`].
    pub requests: usize,
    /// Memory of all requests together, in bytes: bodies, what they are decoded into, and batches that wait for the
    /// log. A request that finds no memory free waits for [`Settings::wait`].
    pub memory_bytes: usize,
    /// Most memory of the series that inputs recognise ([`crate::known`]), in bytes. It is taken as it is used.
    pub known_series_bytes: usize,
    /// How long a request waits for memory before it is refused with [`crate::Refusal::Busy`].
    pub wait: Duration,
    /// Samples further ahead of the clock than this are rejected, because a sample from the future blocks its series
    /// at the receiver until that time has come. Prometheus has the same bound.
    pub ahead: Duration,
    /// Samples older than this are rejected. `None`: no bound.
    pub max_age: Option<Duration>,
    /// Settings of inputs, by their sections.
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
    /// Memory that each request may take in the log's queue beside its batch.
    const QUEUED_BYTES: usize = 4 << 10;
    /// Memory for the batches of tasks that append without a request, one at a time each: groups that are sent again,
    /// and what is collected. They do not share the budget of the requests, because requests wait for them.
    const OWN_BATCHES_BYTES: usize = 32 << 20;

    /// The settings of a section; the defaults if there are none.
    pub fn of(&self, section: &str) -> Arc<InputSettings> {
        self.inputs.get(section).cloned().unwrap_or_default()
    }

    /// The smallest bound on waiting batches with which the log never refuses what the intake has admitted.
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
