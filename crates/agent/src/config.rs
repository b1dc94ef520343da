//! The checked configuration of an agent, whether it comes from a file or from flags.

use collect::CollectorSet;
use http_server::security::Settings;
use model::size::Size;
use remote::config::RemoteWrite;
use std::collections::BTreeMap;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

/// The default interval of collections.
pub const INTERVAL: Duration = Duration::from_secs(15);

#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Collect {
    /// The collectors of this machine's metrics; the set may be empty.
    pub host: CollectorSet,
    /// True if the file or a flag configures this machine's metrics, so that an empty set is intended.
    pub is_host_configured: bool,
    /// The folder that contains this machine's `proc`, `sys`, `etc` and `run`.
    pub root: PathBuf,
    pub interval: Duration,
    /// Whether narthex' own metrics are pushed.
    pub own: bool,
}

/// The log's settings.
#[derive(Debug, Clone, Copy, PartialEq, Default)]
pub struct Log {
    /// Its budget; the default is 10 % of the file system and at most 10 GiB.
    pub max_size: Option<Size>,
    /// How long the log keeps samples that no destination has read, in running time.
    pub max_age: Option<Duration>,
    /// What happens when the budget is used up.
    pub when_full: storage::WhenFull,
    pub durability: wal::Durability,
    pub compression: wal::Compression,
}

#[derive(Debug, Clone)]
pub struct Config {
    /// Labels that are added to everything that is sent, unless the series has them already.
    pub external_labels: BTreeMap<String, String>,
    pub destinations: Vec<RemoteWrite>,
    /// The log's settings. Changes of them take effect after a restart.
    pub log: Log,
    /// The most bytes of batches that wait in memory, for all destinations together.
    pub max_in_memory: usize,
    pub collect: Collect,
    pub receive: receive::Options,
    /// What is scraped; one of the listeners has the same.
    pub jobs: Vec<Arc<scrape::Job>>,
    /// Inputs with sockets of their own.
    pub listeners: Vec<Arc<dyn intake::Listener>>,
    pub security: Settings,
}

impl Default for Config {
    /// The configuration of `narthex run --to URL`, without the destination.
    fn default() -> Self {
        Config {
            external_labels: BTreeMap::new(),
            destinations: Vec::new(),
            log: Log::default(),
            max_in_memory: remote::config::MAX_IN_MEMORY,
            collect: Collect {
                host: CollectorSet::default(),
                is_host_configured: true,
                root: "/".into(),
                interval: INTERVAL,
                own: true,
            },
            receive: receive::Options::default(),
            jobs: Vec::new(),
            listeners: Vec::new(),
            security: Settings::default(),
        }
    }
}

/// The log's default budget on a file system of `total` bytes.
pub fn default_max_size(total: u64) -> u64 {
    (total / 10).clamp(storage::Options::MIN_SIZE, 10 << 30)
}
