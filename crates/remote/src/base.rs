//! The parts of the program that all destinations use.

use model::Clock;
use std::path::PathBuf;
use std::sync::Arc;
use storage::Storage;
use wal::Filesystem;

#[derive(Debug, Clone)]
pub struct Base {
    pub storage: Storage,
    /// For positions, dead letters and parked samples.
    pub fs: Arc<dyn Filesystem>,
    pub clock: Arc<dyn Clock>,
    pub data_dir: PathBuf,
}
