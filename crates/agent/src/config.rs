//! What an agent is asked for: a configuration that is checked, whether it comes from a file or from flags.

use collect::CollectorSet;
use http_server::security::Settings;
use model::size::Size;
use remote::config::RemoteWrite;
use std::collections::BTreeMap;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

/// How often this machine's metrics are collected unless the configuration says otherwise.
pub const INTERVAL: Duration = Duration::from_secs(15);

/// What to collect.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Collect {
    /// This machine's metrics; none where the set is empty.
    pub host: CollectorSet,
    /// Whether the file or a flag is about this machine's metrics, so that an empty set is meant.
    pub is_host_configured: bool,
    /// Where its `proc`, `sys`, `etc` and `run` are.
    pub root: PathBuf,
    /// How often.
    pub interval: Duration,
    /// narthex' own metrics.
    pub own: bool,
}

/// The log.
#[derive(Debug, Clone, Copy, PartialEq, Default)]
pub struct Log {
    /// Its budget; 10 % of the file system and at most 10 GiB where absent.
    pub max_size: Option<Size>,
    /// How long it keeps what no destination has taken, in running time.
    pub max_age: Option<Duration>,
    /// What gives way at the budget.
    pub when_full: storage::WhenFull,
    /// What an acknowledgement promises.
    pub durability: wal::Durability,
    /// How its records are compressed.
    pub compression: wal::Compression,
}

/// A configuration, checked.
#[derive(Debug, Clone)]
pub struct Config {
    /// Labels that everything that is sent gets, unless it has them.
    pub external_labels: BTreeMap<String, String>,
    /// Where to push.
    pub destinations: Vec<RemoteWrite>,
    /// The log, as it is until a restart.
    pub log: Log,
    /// Bytes of batches that wait in memory, for all destinations together.
    pub max_in_memory: usize,
    /// What to collect.
    pub collect: Collect,
    /// The HTTP inputs.
    pub receive: receive::Options,
    /// Inputs with sockets of their own.
    pub listeners: Vec<Arc<dyn intake::Listener>>,
    /// Who may send requests.
    pub security: Settings,
}

impl Default for Config {
    /// What `narthex run --to URL` does, but for the URL.
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
            listeners: Vec::new(),
            security: Settings::default(),
        }
    }
}

/// The log's budget on a file system of `total` bytes where none was given.
pub fn default_max_size(total: u64) -> u64 {
    (total / 10).clamp(storage::Options::MIN_SIZE, 10 << 30)
}
