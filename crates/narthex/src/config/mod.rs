//! The configuration file: from YAML to what [`crate::run`] is given, and errors that help.
//!
//! `global` and `remote_write` are Prometheus' own sections; `log`, `collect` and `receive` are narthex'.
//! `docs/configuration.md` describes every key. Where to start: [`load`]; the sections as written are in
//! [`mod@file`], what can be wrong with them in [`error`].

pub mod duration;
pub mod env;
pub mod error;
pub mod file;
mod hints;
mod known;
mod locate;
pub mod mistakes;
pub mod size;
pub mod web;

use crate::security::Settings;
use crate::security::hosts::AllowedHost;
use collect::CollectorSet;
use error::{ConfigError, ConfigErrors, Reporter};
use file::File;
use receive::web_config::TlsServerConfig;
use remote::config::RemoteWrite;
use remote::members;
use size::{Human, Size};
use std::cell::RefCell;
use std::collections::{BTreeMap, BTreeSet};
use std::io::Read;
use std::path::{Path, PathBuf};
use std::time::Duration;

/// The largest file that is read.
pub const FILE_BYTES_MAX: u64 = 4 << 20;
/// How often this machine is looked at where nothing else is said.
pub const INTERVAL: Duration = Duration::from_secs(15);
/// The shortest interval of collection.
pub const INTERVAL_MIN: Duration = Duration::from_secs(1);
/// The longest: twice in the five minutes for which a query sees a sample.
pub const INTERVAL_MAX: Duration = Duration::from_secs(120);
/// The least memory for what waits for destinations.
pub const MAX_IN_MEMORY_MIN: usize = 1 << 20;
/// Sections in which environment variables are expanded.
const OWN_SECTIONS: [&str; 4] = ["log", "send", "collect", "receive"];

/// What to collect.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Collect {
    /// This machine's metrics; none where the set is empty.
    pub host: CollectorSet,
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
    /// The doors.
    pub receive: receive::Options,
    /// Who may come in by them.
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
                root: "/".into(),
                interval: INTERVAL,
                own: true,
            },
            receive: receive::Options::default(),
            security: Settings::default(),
        }
    }
}

/// Reads a file, or standard input where the path is `-`. Besides the configuration: warnings, each a sentence.
pub fn load(path: &Path, lookup: env::Lookup<'_>) -> Result<(Config, Vec<String>), ConfigErrors> {
    let is_stdin = path == Path::new("-");
    let name = if is_stdin { "standard input".into() } else { path.display().to_string() };
    let whole = |message| Reporter { file: &name, text: "", expanded: &[] }.whole(message);
    let unreadable = |error: std::io::Error| whole(format!("it can't be read: {error}"));
    let from: Box<dyn Read> = if is_stdin {
        Box::new(std::io::stdin().lock())
    } else {
        Box::new(std::fs::File::open(path).map_err(unreadable)?)
    };
    let mut bytes = Vec::new();
    from.take(FILE_BYTES_MAX + 1).read_to_end(&mut bytes).map_err(unreadable)?;
    if bytes.len() as u64 > FILE_BYTES_MAX {
        return Err(whole(format!("it is larger than the limit of {}", Human(FILE_BYTES_MAX))).into());
    }
    let text = String::from_utf8(bytes).map_err(|_| whole("it is not UTF-8".into()))?;
    let folder = path.parent().unwrap_or(Path::new(""));
    parse(&name, folder, &text, lookup)
}

/// Reads the text of a file; `name` is for errors, relative paths in it are relative to `folder`.
pub fn parse(
    name: &str,
    folder: &Path,
    text: &str,
    lookup: env::Lookup<'_>,
) -> Result<(Config, Vec<String>), ConfigErrors> {
    let before = Reporter { file: name, text, expanded: &[] };
    let (expanded, lines) = env::sections(text, &OWN_SECTIONS, lookup)
        .map_err(|located| before.at(Some((located.line, located.column)), "", located.error.to_string()))?;
    let reporter = Reporter { file: name, text, expanded: &lines };
    let mut reading = mistakes::read_all::<File>(&expanded, &reporter);
    let Some(mut file) = reading.value.take() else { return Err(ConfigErrors(reading.mistakes)) };
    for destination in file.remote_write.iter_mut().flatten() {
        destination.resolve_paths(folder);
    }
    if let Some(receive) = &mut file.receive {
        receive.resolve_paths(folder);
    }
    let host = file.collect.as_mut().and_then(|collect| collect.host.as_mut());
    if let Some(root) = host.and_then(|host| host.root.as_mut()) {
        *root = folder.join(&*root);
    }
    let warnings = warnings(name, &file);
    let at = |key: &str, message: String| *reporter.at(locate::locate(&expanded, key), key, message);
    let faults = Faults { at: &at, found: RefCell::default() };
    let config = check(file, lookup, &faults);
    let mut errors = faults.found.into_inner();
    errors.retain(|error| !reading.is_near_mistake(&error.key));
    errors.append(&mut reading.mistakes);
    if errors.is_empty() {
        return Ok((config, warnings));
    }
    errors.sort_by_key(|error| error.place);
    Err(ConfigErrors(errors))
}

/// From YAML to types, with errors that say where.
fn read<T: serde::de::DeserializeOwned>(text: &str, reporter: &Reporter<'_>) -> Result<T, Box<ConfigError>> {
    let options = serde_saphyr::options! { with_snippet: false };
    let mut stopped_at = String::new();
    let read = serde_saphyr::with_deserializer_from_str_with_options(text, options, |deserializer| {
        serde_path_to_error::deserialize(deserializer).map_err(|error: serde_path_to_error::Error<_>| {
            stopped_at = error.path().to_string();
            error.into_inner()
        })
    });
    read.map_err(|error| reporter.yaml(&error, &stopped_at))
}

fn warnings(name: &str, file: &File) -> Vec<String> {
    let mut warnings = Vec::new();
    for (key, why) in known::NOT_FOR_AN_AGENT {
        let given = match key {
            "rule_files" => file.rule_files.is_some(),
            "alerting" => file.alerting.is_some(),
            "storage" => file.storage.is_some(),
            "remote_read" => file.remote_read.is_some(),
            _ => false,
        };
        if given {
            warnings.push(format!("{name}: {key} has no effect: {why}"));
        }
    }
    for key in file.global.iter().flat_map(|global| global.idle()) {
        warnings.push(format!("{name}: global.{key} has no effect: narthex neither scrapes nor evaluates"));
    }
    for (entry, destination) in file.remote_write.iter().flatten().enumerate() {
        for (rule, relabel) in destination.write_relabel_configs.iter().enumerate() {
            if let Some(hint) = relabel.hint() {
                warnings.push(format!("{name}: remote_write[{entry}].write_relabel_configs[{rule}]: {hint}"));
            }
        }
    }
    for (index, entry) in file.remote_write.iter().flatten().enumerate() {
        let urls = if entry.members.is_empty() { std::slice::from_ref(&entry.url) } else { &entry.members };
        for url in urls.iter().filter(|url| url.has_no_path()) {
            let (url, path) = (url.redacted(), http_client::url::DEFAULT_PATH);
            warnings.push(format!(
                "{name}: remote_write[{index}]: the URL {url} has no path; receivers of remote write usually \
                 listen at {path}, so write {}{path}",
                url.trim_end_matches('/')
            ));
        }
    }
    warnings
}

/// What is found wrong with the values of a file that could be read.
struct Faults<'a> {
    /// Makes an error about the value of a key.
    at: &'a dyn Fn(&str, String) -> ConfigError,
    found: RefCell<Vec<ConfigError>>,
}

impl Faults<'_> {
    fn add(&self, key: &str, message: impl Into<String>) {
        self.found.borrow_mut().push((self.at)(key, message.into()));
    }
}

/// The configuration. It may be used only if no fault was found.
fn check(file: File, lookup: env::Lookup<'_>, faults: &Faults<'_>) -> Config {
    let labels = file.global.and_then(|global| global.external_labels).unwrap_or_default();
    let external_labels = external_labels(labels, lookup, faults);
    let destinations = file.remote_write.unwrap_or_default();
    check_destinations(&destinations, faults);
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
    let security = security(&mut section, faults);
    let receive = doors(section);
    if let Err(error) = receive.check() {
        let message = error.to_string();
        // The message begins with the key.
        let key = message.split(' ').next().unwrap_or_default();
        faults.add(&format!("receive.{key}"), message.as_str());
    }
    Config { external_labels, destinations, log, max_in_memory, collect, receive, security }
}

/// Who may come in. What can be told without reading files is told here.
fn security(section: &mut file::Receive, faults: &Faults<'_>) -> Settings {
    let mut settings = Settings { tls: section.tls.take(), ..Settings::default() };
    if let Some(Err(error)) = settings.tls.as_ref().map(TlsServerConfig::check) {
        faults.add("receive.tls", error.to_string());
    }
    if let Some(basic) = section.basic_auth.take() {
        if basic.users.is_empty() {
            let why = "there are no users, so nobody would be asked: leave basic_auth out for that";
            faults.add("receive.basic_auth", why);
        }
        let users = basic.users.iter().map(|(user, hash)| (user.clone(), hash.reveal().to_string()));
        if let Err(error) = receive::auth::Auth::new(users.collect(), Vec::new()) {
            faults.add("receive.basic_auth.users", error.to_string());
        }
        settings.users = basic.users;
    }
    if let Some(bearer) = section.bearer.take() {
        let why = match (&bearer.token, &bearer.token_file) {
            (Some(token), None) if token.reveal().is_empty() => Some("the token is empty"),
            (Some(_), None) | (None, Some(_)) => None,
            (Some(_), Some(_)) => Some("token and token_file exclude each other"),
            (None, None) => Some("give token_file, or token"),
        };
        if let Some(why) = why {
            faults.add("receive.bearer", why);
        }
        (settings.token, settings.token_file) = (bearer.token, bearer.token_file);
    }
    for (index, host) in section.allowed_hosts.iter().enumerate() {
        let key = format!("receive.allowed_hosts[{index}]");
        match host.parse::<AllowedHost>() {
            Ok(host) => settings.allowed_hosts.push(host),
            Err(error) => faults.add(&key, error.to_string()),
        }
    }
    settings
}

fn external_labels(
    given: BTreeMap<String, String>,
    lookup: env::Lookup<'_>,
    faults: &Faults<'_>,
) -> BTreeMap<String, String> {
    let mut labels = BTreeMap::new();
    for (name, value) in given {
        let key = format!("global.external_labels.{name}");
        // Prometheus accepts any other name: `__replica__` for the tracker of Mimir and Cortex, or `a.b`.
        if name.is_empty() {
            faults.add(&key, "an external label needs a name");
        }
        match env::label(&value, lookup) {
            Ok(value) => drop(labels.insert(name, value)),
            Err(error) => faults.add(&key, error.to_string()),
        }
    }
    labels
}

fn check_destinations(destinations: &[RemoteWrite], faults: &Faults<'_>) {
    let mut names = BTreeSet::new();
    for (index, destination) in destinations.iter().enumerate() {
        let key = |last: &str| format!("remote_write[{index}]{last}");
        if let Some(name) = &destination.name
            && !names.insert(name)
        {
            faults.add(&key(".name"), format!("another destination is called {name:?} already"));
        }
        if let Err(error) = members::check(destination) {
            let key = key(&if error.key.is_empty() { String::new() } else { format!(".{}", error.key) });
            faults.add(&key, error.why);
            continue;
        }
        // What can be told before anything is sent: headers, credentials, certificates.
        for member in members::destinations(destination) {
            if let Err(error) = remote::client::Client::new(&member) {
                let message = error.to_string();
                let blamed = blamed_key(&error, &message);
                faults.add(&key(blamed), message);
                // The others would fail for the same reason.
                break;
            }
        }
        if destination.lacks_window() {
            faults.add(&key(".catch_up"), remote::config::NEEDS_WINDOW);
        }
        let queue = &destination.queue_config;
        for (name, value) in [
            (".queue_config.capacity", queue.capacity),
            (".queue_config.max_shards", queue.max_shards),
            (".queue_config.min_shards", queue.min_shards),
            (".queue_config.max_samples_per_send", queue.max_samples_per_send),
        ] {
            if value == 0 {
                faults.add(&key(name), "0 would send nothing: at least 1");
            }
        }
    }
    let all: Vec<RemoteWrite> = destinations.iter().flat_map(members::destinations).collect();
    if let Err(error) = remote::Identity::of_all(&all) {
        faults.add("remote_write", error.to_string());
    }
}

/// The key of an entry that an error of its client is about; empty where the error does not say.
fn blamed_key(error: &http_client::ClientError, message: &str) -> &'static str {
    use http_client::ClientError;
    const KEYS: [&str; 10] = [
        ".tls_config",
        ".http_headers",
        ".headers",
        ".basic_auth",
        ".authorization",
        ".bearer_token_file",
        ".oauth2",
        ".sigv4",
        ".proxy_url",
        ".no_proxy",
    ];
    let named = KEYS.into_iter().find(|key| message.starts_with(key.trim_start_matches('.')));
    named.unwrap_or(match error {
        ClientError::Tls(_) => ".tls_config",
        _ => "",
    })
}

fn max_in_memory(section: file::Send, faults: &Faults<'_>) -> usize {
    let default = remote::config::MAX_IN_MEMORY;
    match section.max_in_memory {
        None => default,
        Some(Size::Percent(_)) => {
            faults.add("send.max_in_memory", "an amount such as 32MiB, not a share");
            default
        }
        Some(Size::Bytes(bytes)) => {
            let bytes = usize::try_from(bytes).unwrap_or(usize::MAX);
            if bytes < MAX_IN_MEMORY_MIN {
                let least = Human(MAX_IN_MEMORY_MIN as u64);
                faults.add("send.max_in_memory", format!("too small: at least {least}"));
            }
            bytes
        }
    }
}

fn collect(section: Option<file::Collect>, faults: &Faults<'_>) -> Collect {
    let default = if section.is_some() { CollectorSet::default() } else { CollectorSet::EMPTY };
    let section = section.unwrap_or_default();
    let host = section.host.unwrap_or_default();
    let interval = host.interval.unwrap_or(INTERVAL);
    if !(INTERVAL_MIN..=INTERVAL_MAX).contains(&interval) {
        let why = "from 1s to 2m: queries look back five minutes only, and one collection may be lost";
        faults.add("collect.host.interval", why);
    }
    // Otherwise each collector would find nothing and say little: on any machine something is missing.
    if let Some(root) = host.root.as_ref().filter(|root| !root.join("proc/stat").exists()) {
        let why = format!(
            "no proc/stat below {}: give the folder where the machine's root is mounted",
            root.display()
        );
        faults.add("collect.host.root", why);
    }
    let root = host.root.unwrap_or_else(|| "/".into());
    let host = host.collectors.map_or(default, |collectors| collectors.0);
    Collect { host, root, interval, own: section.own }
}

fn doors(section: file::Receive) -> receive::Options {
    let mut options = receive::Options::default();
    options.intake.max_age = section.max_age;
    let given = section.pushgateway.unwrap_or_default();
    let gateway = &mut options.pushgateway;
    gateway.interval = given.interval.unwrap_or(gateway.interval);
    gateway.ttl = given.ttl.or(gateway.ttl);
    gateway.expose = given.expose.unwrap_or(gateway.expose);
    gateway.allow_timestamps = given.allow_timestamps.unwrap_or(gateway.allow_timestamps);
    gateway.enable_admin = given.enable_admin.unwrap_or(gateway.enable_admin);
    gateway.max_groups = given.max_groups.unwrap_or(gateway.max_groups);
    gateway.max_group_series = given.max_group_series.unwrap_or(gateway.max_group_series);
    gateway.max_series = given.max_series.unwrap_or(gateway.max_series);
    options
}

/// The log's budget on a file system of `total` bytes where none was given.
pub fn default_max_size(total: u64) -> u64 {
    (total / 10).clamp(storage::Options::MIN_SIZE, 10 << 30)
}
