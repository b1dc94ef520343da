//! What a user may set.

use formats::statsd::TagStyles;
use std::sync::Arc;
use std::time::Duration;
use totals::{Shape, ShapeError};

/// What timers, histograms and distributions become without a mapping file.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub enum Timers {
    #[default]
    Classic,
    Native,
    Both,
}

/// See the module.
#[derive(Debug, Clone, PartialEq)]
pub struct Options {
    /// How often totals are appended to the log.
    pub interval: Duration,
    /// How long a series lives without a line. `None`: without a limit.
    pub ttl: Option<Duration>,
    /// What observations become that no mapping file decides on.
    pub shape: Arc<Shape>,
    pub tags: TagStyles,
    /// Whether the container of DogStatsD becomes the label `container_id`.
    pub container_id: bool,
}

impl Options {
    /// The default of [`Options::interval`]: that of StatsD.
    pub const INTERVAL: Duration = Duration::from_secs(10);
    /// The default of [`Options::ttl`].
    pub const TTL: Duration = Duration::from_secs(3600);

    /// The shape of histograms with these bounds of classic buckets.
    pub fn shape_of(timers: Timers, bounds: &[f64]) -> Result<Shape, ShapeError> {
        Ok(match timers {
            Timers::Classic => Shape::classic(bounds)?,
            Timers::Native => Shape::native(),
            Timers::Both => Shape::classic(bounds)?.and_native(),
        })
    }
}

impl Default for Options {
    fn default() -> Self {
        let shape = Options::shape_of(Timers::Classic, &mapping::DEFAULT_BUCKETS);
        Options {
            interval: Options::INTERVAL,
            ttl: Some(Options::TTL),
            shape: Arc::new(shape.unwrap_or_else(|_| Shape::native())),
            tags: TagStyles::default(),
            container_id: false,
        }
    }
}
