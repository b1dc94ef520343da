//! What all destinations stand on.

use model::Clock;
use std::path::PathBuf;
use std::sync::Arc;
use storage::Storage;
use wal::Filesystem;

/// What all destinations stand on.
#[derive(Debug, Clone)]
pub struct Base {
    /// The log.
    pub storage: Storage,
    /// Where positions and dead letters are written.
    pub fs: Arc<dyn Filesystem>,
    /// The time.
    pub clock: Arc<dyn Clock>,
    /// The data folder.
    pub data_dir: PathBuf,
}
