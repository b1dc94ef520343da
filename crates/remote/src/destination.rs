//! A destination: its handle, and how it starts and stops.

use crate::base::Base;
use crate::client::Client;
use crate::config::identity::{Duplicate, Identity};
use crate::config::{NEEDS_WINDOW, RemoteWrite, StartAt};
use crate::delivery::{self, Delivery, Parking, Settings};
use crate::disk::aside::Files;
use crate::disk::claims;
use crate::disk::keep::{Disk, Keeper};
use crate::disk::place;
use crate::disk::positions::{Found, PositionFile};
use crate::disk::progress::Progress;
use crate::members::RingsFailed;
use crate::outgoing::Rules;
use crate::output::RemoteWriteOutput;
use crate::queue::lanes::LANE_HASH_VERSION;
use crate::stats::{State, Stats};
use crate::supervise::supervise;
use crate::worker::{Orders, Parts, ShutdownReport, Stop, Worker};
use http_client::ClientError;
use http_client::Url;
use model::Clock;
use relabel::AddedLabels;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;
use storage::Storage;
use tokio::sync::watch;
use tokio::task::JoinHandle;
use wal::Filesystem;
use xxhash_rust::xxh3::Xxh3;

#[derive(Debug, thiserror::Error)]
pub enum StartError {
    /// The configuration of its HTTP client is invalid.
    #[error("remote_write {destination}: {source}")]
    Client { destination: String, source: ClientError },
    /// A number in its configuration is too small.
    #[error("remote_write {destination}: {key} must be at least {least}")]
    TooSmall {
        destination: String,
        /// The configuration key.
        key: &'static str,
        /// The smallest valid value.
        least: usize,
    },
    /// `catch_up: newest_first` without a window of the receiver for samples out of order.
    #[error("remote_write {destination}: {}", NEEDS_WINDOW)]
    OutOfOrder { destination: String },
    /// Two destinations without any difference.
    #[error("remote_write: {0}")]
    Duplicate(#[from] Duplicate),
    /// The folder of saved positions can't be listed.
    #[error("the saved positions in {path} can't be looked through: {source}", path = path.display())]
    Folder { path: PathBuf, source: std::io::Error },
    /// The rings of an entry with members can't be used.
    #[error(transparent)]
    Rings(#[from] RingsFailed),
    /// Its saved positions can't be used.
    #[error("remote_write {destination}: the saved positions in {path} can't be used: {source}", path = path.display())]
    Positions {
        destination: String,
        /// The file of positions.
        path: PathBuf,
        source: std::io::Error,
    },
}

/// How long a destination that is replaced waits for answers. Requests without an answer by then are sent
/// once more.
pub(crate) const HAND_OVER: Duration = Duration::from_secs(2);

/// A running destination. Dropping it stops it at once, as a kill would. However it ends, the log keeps the
/// undelivered samples until the destination is started again or [`Storage::release`] is called with its
/// name.
#[derive(Debug)]
pub struct Destination {
    name: String,
    url: Url,
    stats: Arc<Stats>,
    orders: watch::Sender<Orders>,
    task: Option<JoinHandle<ShutdownReport>>,
}

/// The settings from which a destination, or another worker after a panic, is made.
#[derive(Debug, Clone)]
pub(crate) struct Recipe {
    config: RemoteWrite,
    identity: Identity,
    external_labels: Vec<(String, String)>,
}

/// A destination that is checked and ready to start. It does nothing yet and has touched no file.
#[derive(Debug)]
pub struct Prepared {
    recipe: Recipe,
    client: Client,
    rules: Rules,
}

impl Prepared {
    pub fn new(
        config: RemoteWrite,
        identity: Identity,
        external_labels: &[(String, String)],
    ) -> Result<Prepared, StartError> {
        Recipe { config, identity, external_labels: external_labels.to_vec() }.prepare()
    }

    /// Starts delivery at the saved positions. A new destination starts at the log's end, or as `start_at`
    /// says. Its task runs on the current tokio runtime. `stats` continue to count.
    pub fn start(self, base: &Base, stats: Arc<Stats>) -> Result<Destination, StartError> {
        let recipe = self.recipe.clone();
        let worker = self.worker(base, &stats)?;
        let memory = recipe.config.max_in_memory;
        let (orders, ordered) = watch::channel(Orders { memory, stop: None });
        let (name, url) = (recipe.name(), recipe.config.url.clone());
        let supervised = supervise(recipe, base.clone(), stats.clone(), worker, ordered);
        Ok(Destination { name, url, stats, orders, task: Some(tokio::spawn(supervised)) })
    }

    /// Returns a worker that continues from the saved positions.
    pub(crate) fn worker(self, base: &Base, stats: &Arc<Stats>) -> Result<Worker, StartError> {
        let Prepared { recipe, client, rules } = self;
        let (name, Recipe { config, identity, .. }) = (recipe.name(), recipe);
        // Points that an earlier worker held in memory are read and counted again.
        stats.left_behind.add(stats.pending());
        stats.set_state(State::Starting);
        let Base { storage, fs, clock, data_dir } = base.clone();
        let path = claims::folder(&data_dir).join(identity.file());
        let new = match (&config.part, config.start_at) {
            (Some(part), _) => part.begin,
            (None, StartAt::Now) => storage.end(),
            (None, StartAt::Oldest) => storage.oldest(),
        };
        let (mark, oldest) = (fingerprint(&rules), storage.oldest());
        let keep = || {
            storage.set_aside(&path);
        };
        let opened = PositionFile::open_keeping(&*fs, &path, identity.owner(), mark, new, oldest, keep);
        let (file, mut settled, found) = opened.map_err(|source| StartError::Positions {
            destination: name.clone(),
            path: path.clone(),
            source,
        })?;
        match found {
            Found::New => tracing::info!(destination = %name, url = %config.url, "a new destination"),
            Found::Intact => {}
            Found::OtherFingerprint => tracing::warn!(
                destination = %name,
                "external labels or relabelling have changed: some samples are sent again"
            ),
            Found::Damaged(lanes) => {
                stats.positions_reset.damaged.add(lanes as u64);
                tracing::warn!(
                    destination = %name, path = %path.display(), lanes,
                    "saved positions were damaged: what the log still holds is sent again"
                );
            }
        }
        place::fit(&mut settled, base, &name, &stats.positions_reset);
        let dead = claims::dead_folder(&data_dir);
        let files = Files::new(&dead, identity.file());
        let shelf = files.list_or_leave(&*fs, clock.now_ms());
        let dead = dead.join(format!("{}.jsonl", identity.file()));
        let keeper = Keeper::start(Disk::new(fs.clone(), clock.clone(), dead, files.clone(), stats.clone()));
        let repeats_until = (found != Found::New).then(|| storage.end());
        let (settings, now) = (Settings::of(&config), clock.monotonic());
        let output = RemoteWriteOutput::new(&config, client, storage.clone(), clock.clone(), stats.clone());
        let delivery = delivery::Parts {
            name: name.clone(),
            output,
            rules,
            clock,
            stats: stats.clone(),
            parking: Parking::new(shelf, now),
            seed: fastrand::u64(..),
        };
        let delivery = Delivery::new(settings, &settled, repeats_until, delivery);
        let progress = Progress::new(name, stats.clone(), file, settled);
        Ok(Worker::new(Parts { delivery, progress, keeper, storage, fs, files }))
    }
}

impl Recipe {
    pub(crate) fn prepare(self) -> Result<Prepared, StartError> {
        let (config, name) = (&self.config, || self.name());
        if let Some(key) = config.queue_config.zero_keys().next() {
            return Err(StartError::TooSmall { destination: name(), key, least: 1 });
        }
        if config.lacks_window() {
            return Err(StartError::OutOfOrder { destination: name() });
        }
        let client =
            Client::new(config).map_err(|source| StartError::Client { destination: name(), source })?;
        let mut rules = Rules::new(
            AddedLabels::new(&self.external_labels),
            relabel::Relabeller::new(config.write_relabel_configs.clone()),
            config.send_exemplars,
            config.send_native_histograms,
        );
        rules.share = config.part.as_ref().map(|part| part.share.clone());
        Ok(Prepared { recipe: self, client, rules })
    }

    pub(crate) fn with_memory(mut self, bytes: usize) -> Recipe {
        self.config.max_in_memory = bytes;
        self
    }

    pub(crate) fn name(&self) -> String {
        self.identity.shown().to_string()
    }
}

impl Destination {
    /// Starts a single destination, see [`Prepared::start`].
    pub fn start(
        config: RemoteWrite,
        external_labels: &[(String, String)],
        storage: Storage,
        fs: Arc<dyn Filesystem>,
        clock: Arc<dyn Clock>,
        data_dir: &Path,
    ) -> Result<Destination, StartError> {
        let identity = Identity::of(&config);
        let base = Base { storage, fs, clock, data_dir: data_dir.to_path_buf() };
        Prepared::new(config, identity, external_labels)?.start(&base, Arc::default())
    }

    /// Returns its name for metrics: the configured one, or one made from the URL.
    pub fn name(&self) -> &str {
        &self.name
    }

    /// Returns its URL without credentials and query.
    pub fn url_redacted(&self) -> String {
        self.url.redacted()
    }

    pub fn stats(&self) -> &Arc<Stats> {
        &self.stats
    }

    /// Sends until everything in the log is settled, at most for `flush_deadline`, and saves the positions. A
    /// destination that is failing, and has failed or accepted nothing before, gets at most 5 s. The rest is
    /// sent after the next start.
    pub async fn shutdown(self, flush_deadline: Duration) -> ShutdownReport {
        self.stop(Stop::Flush(flush_deadline)).await
    }

    /// Sends nothing more, waits at most two seconds for the answers of requests under way, and saves the
    /// positions, so that another worker can continue from there.
    pub async fn hand_over(self) -> ShutdownReport {
        self.stop(Stop::HandOver(HAND_OVER)).await
    }

    /// Changes how many bytes of batches may wait in memory.
    pub fn set_memory(&self, bytes: usize) {
        self.orders.send_if_modified(|orders| std::mem::replace(&mut orders.memory, bytes) != bytes);
    }

    /// Returns true if its task has ended for any reason. After a panic the task continues with another
    /// worker.
    pub fn has_ended(&self) -> bool {
        self.task.as_ref().is_none_or(JoinHandle::is_finished)
    }

    async fn stop(mut self, stop: Stop) -> ShutdownReport {
        let failed = ShutdownReport::FAILED;
        self.orders.send_modify(|orders| orders.stop = Some(stop));
        match self.task.take() {
            Some(task) => task.await.unwrap_or(failed),
            None => failed,
        }
    }
}

impl Drop for Destination {
    fn drop(&mut self) {
        if let Some(task) = &self.task {
            task.abort();
        }
    }
}

/// Returns a hash of all settings that decide lanes and outgoing labels.
fn fingerprint(rules: &Rules) -> u64 {
    let mut hash = Xxh3::new();
    hash.update(&LANE_HASH_VERSION.to_le_bytes());
    for (name, value) in rules.external.pairs() {
        for text in [name, value] {
            hash.update(&(text.len() as u64).to_le_bytes());
            hash.update(text);
        }
    }
    hash.update(rules.relabel.description().as_bytes());
    hash.digest()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn fingerprint_depends_on_the_added_labels() {
        let rules = |pairs: &[(&str, &str)]| {
            let pairs: Vec<_> = pairs.iter().map(|(n, v)| (n.to_string(), v.to_string())).collect();
            Rules::new(AddedLabels::new(&pairs), relabel::Relabeller::default(), true, true)
        };
        assert_ne!(fingerprint(&rules(&[("a", "bc")])), fingerprint(&rules(&[("ab", "c")])));
        assert_eq!(
            fingerprint(&rules(&[("a", "b"), ("c", "d")])),
            fingerprint(&rules(&[("c", "d"), ("a", "b")]))
        );
    }
}
