//! Mistakes in the values of a file, which has the right form. All of them are found, not only the first.

mod destinations;
mod influx;
mod inputs;
mod listeners;
mod otlp;
mod scrape;
mod statsd;

use super::error::{ConfigError, Reporter};
use super::file::{self, File};
use super::mapping_file;
use super::read::{MISTAKES_MAX, Place, Places};
use super::size::{Human, Size};
use super::{Collect, Config, INTERVAL, INTERVAL_MAX, INTERVAL_MIN, Log, MAX_IN_MEMORY_MIN, env};
use collect::CollectorSet;
use http_server::security::Settings;
use std::cell::RefCell;
use std::collections::BTreeMap;
use std::sync::Arc;

/// Collects the mistakes.
pub(super) struct Faults<'a> {
    reporter: &'a Reporter<'a>,
    places: &'a Places,
    found: RefCell<Vec<ConfigError>>,
}

impl<'a> Faults<'a> {
    pub(super) fn new(reporter: &'a Reporter<'a>, places: &'a Places) -> Self {
        Faults { reporter, places, found: RefCell::default() }
    }

    pub(super) fn found(self) -> Vec<ConfigError> {
        self.found.into_inner()
    }

    /// Adds an error about the value of `key`, unless the value could not be read.
    pub(super) fn add(&self, key: &str, message: impl Into<String>) {
        self.add_about(key, &[key], message);
    }

    /// Adds an error in another file that the configuration names.
    pub(super) fn add_of_file(&self, error: ConfigError) {
        let mut found = self.found.borrow_mut();
        if found.len() <= MISTAKES_MAX {
            found.push(error);
        }
    }

    /// Adds an error about the name of `key`, instead of its value.
    fn add_at_key(&self, key: &str, message: impl Into<String>) {
        let key = self.places.path_in_file(key);
        self.push(&key, self.places.key(&key), message);
    }

    /// Adds an error at `key` about the values of several keys, unless one of them could not be read.
    fn add_about(&self, key: &str, about: &[&str], message: impl Into<String>) {
        if about.iter().any(|key| self.places.is_mistaken(&self.places.path_in_file(key))) {
            return;
        }
        let key = self.places.path_in_file(key);
        self.push(&key, self.places.value(&key), message);
    }

    fn push(&self, key: &str, place: Option<Place>, message: impl Into<String>) {
        let mut found = self.found.borrow_mut();
        if found.len() <= MISTAKES_MAX {
            found.push(*self.reporter.at(place, key, message));
        }
    }

    /// Adds an error within `section`. Its message begins with the key that it is about: `a.b: why` or
    /// `a.b is why`.
    pub(super) fn add_within(&self, section: &str, message: &str) {
        let (mut key, mut rest) = (section.to_string(), message);
        loop {
            let end = rest.find(|c: char| !c.is_ascii_alphanumeric() && !matches!(c, '_' | '.' | '[' | ']'));
            let (name, after) = rest.split_at(end.unwrap_or(rest.len()));
            let below = format!("{key}.{name}");
            if name.is_empty() || !self.is_given(&below) {
                break;
            }
            key = below;
            let Some(after) = after.strip_prefix(": ") else { break };
            rest = after;
        }
        self.add(&key, rest);
    }

    /// Returns true if the file has `key`.
    fn is_given(&self, key: &str) -> bool {
        self.places.has(&self.places.path_in_file(key))
    }

    /// Returns true if an error was found at `key` or below it.
    fn has(&self, key: &str) -> bool {
        let key = self.places.path_in_file(key);
        self.places.is_mistaken(&key)
            || self.found.borrow().iter().any(|error| {
                error
                    .key
                    .strip_prefix(&key)
                    .is_some_and(|rest| rest.is_empty() || rest.starts_with(['.', '[']))
            })
    }
}

/// Makes the configuration. It may be used only if no mistake was found.
pub(super) fn validate(file: File, lookup: env::Lookup<'_>, faults: &Faults<'_>) -> Config {
    let mappings = mapping_file::read_files(file.mapping_files(), faults);
    let mut settings =
        inputs::input_settings(file.inputs(), &file.inputs.clone().unwrap_or_default(), faults);
    for (section, mapping) in mappings {
        Arc::make_mut(settings.entry(section).or_default()).mapping = Some(mapping);
    }
    let influx = file.influx.as_ref().map(|section| influx::settings(section, faults)).unwrap_or_default();
    let jobs = scrape::jobs(&file, faults);
    let mut listeners = listeners::listeners(&file, &influx, faults);
    if !jobs.is_empty() {
        listeners.push(Arc::new(::scrape::Scraper::new(jobs.clone())));
    }
    let validation = file.global.as_ref().and_then(|global| global.metric_name_validation_scheme);
    let otlp = otlp::settings(file.otlp.as_ref(), validation, faults);
    let deltas = otlp::deltas(file.otlp.as_ref(), &file.inputs.clone().unwrap_or_default());
    let more_addresses = otlp::addresses(file.otlp.as_ref(), faults);
    let labels = file.global.and_then(|global| global.external_labels).unwrap_or_default();
    let external_labels = external_labels(labels, lookup, faults);
    let mut destinations = file.remote_write.unwrap_or_default();
    destinations::note_deadlines(&mut destinations, faults);
    destinations::check(&destinations, faults);
    let log = file.log.unwrap_or_default();
    if let Some(Size::Bytes(bytes)) = log.max_size
        && bytes < storage::Options::MIN_SIZE
    {
        let least = Human(storage::Options::MIN_SIZE);
        faults.add("log.max_size", format!("too small: at least {least}"));
    }
    if log.max_age.is_some_and(|age| age.is_zero()) {
        let why = "nothing would be kept: leave it out to keep without regard to age";
        faults.add("log.max_age", why);
    }
    let log = Log {
        max_size: log.max_size,
        max_age: log.max_age,
        when_full: match log.when_full {
            file::WhenFull::DropOldest => storage::WhenFull::DropOldest,
            file::WhenFull::Refuse => storage::WhenFull::Refuse,
        },
        durability: match log.durability {
            file::Durability::Fsync => wal::Durability::Fsync,
            file::Durability::Os => wal::Durability::Os,
        },
        compression: match log.compression {
            file::Compression::None => wal::Compression::None,
            file::Compression::Snappy => wal::Compression::Snappy,
            file::Compression::Zstd => wal::Compression::Zstd,
        },
    };
    let max_in_memory = max_in_memory(file.send.unwrap_or_default(), faults);
    let collect = collect(file.collect, faults);
    let mut section = file.receive.unwrap_or_default();
    let security = Settings { more_addresses, ..inputs::security(&mut section, faults) };
    let receive = receive::Options { influx, otlp, deltas, ..inputs::options(section, settings, faults) };
    Config { external_labels, destinations, log, max_in_memory, collect, receive, jobs, listeners, security }
}

fn external_labels(
    given: BTreeMap<String, String>,
    lookup: env::Lookup<'_>,
    faults: &Faults<'_>,
) -> BTreeMap<String, String> {
    let mut labels = BTreeMap::new();
    for (name, value) in given {
        let key = format!("global.external_labels.{name}");
        // As in Prometheus any other name is valid: `__replica__` for the tracker of Mimir and Cortex, or
        // `a.b`.
        if name.is_empty() {
            faults.add_at_key(&key, "an external label needs a name");
        }
        match env::label(&value, lookup) {
            Ok(value) => drop(labels.insert(name, value)),
            Err(error) => faults.add(&key, error.to_string()),
        }
    }
    labels
}

fn max_in_memory(section: file::Send, faults: &Faults<'_>) -> usize {
    let Some(bytes) = section.max_in_memory else { return remote::config::MAX_IN_MEMORY };
    let bytes = usize::try_from(bytes).unwrap_or(usize::MAX);
    if bytes < MAX_IN_MEMORY_MIN {
        let least = Human(MAX_IN_MEMORY_MIN as u64);
        faults.add("send.max_in_memory", format!("too small: at least {least}"));
    }
    bytes
}

fn collect(section: Option<super::inputs::Collect>, faults: &Faults<'_>) -> Collect {
    let is_host_configured = section.is_some();
    let default = if section.is_some() { CollectorSet::default() } else { CollectorSet::EMPTY };
    let section = section.unwrap_or_default();
    let host = section.host.unwrap_or_default();
    let interval = host.interval.unwrap_or(INTERVAL);
    if !(INTERVAL_MIN..=INTERVAL_MAX).contains(&interval) {
        let why = "from 1s to 2m: queries look back five minutes only, and one collection may be lost";
        faults.add("collect.host.interval", why);
    }
    // With a wrong root each collector finds nothing and reports little, because on every machine some files
    // are missing. So the root is checked here.
    if let Some(root) = host.root.as_ref().filter(|root| !root.join("proc/stat").exists()) {
        let why = format!(
            "no proc/stat below {}: give the folder where the machine's root is mounted",
            root.display()
        );
        faults.add("collect.host.root", why);
    }
    let root = host.root.unwrap_or_else(|| "/".into());
    let host = host.collectors.map_or(default, |collectors| collectors.0);
    Collect { host, is_host_configured, root, interval, own: section.own }
}
