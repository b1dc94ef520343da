//! `file_sd_configs`: groups of targets in files, which are looked at every few seconds.

use super::Sender;
use super::groups::{GROUPS_BYTES_MAX, of_json, of_yaml};
use crate::config::Group;
use crate::files::matching;
use serde::Deserialize;
use std::collections::BTreeMap;
use std::fs::{File, Metadata, metadata};
use std::io::{ErrorKind, Read};
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;
use tokio::time::{Instant, sleep};

/// How often files are looked at, at least. They are read only if they have changed.
const LOOK: Duration = Duration::from_secs(2);
/// Most files that one pattern may match.
pub const FILES_MAX: usize = 1000;
const REFRESH: Duration = Duration::from_secs(5 * 60);

/// An entry of `file_sd_configs`.
#[derive(Debug, Clone, PartialEq, Eq, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct FileSd {
    /// Paths of JSON and YAML files. The last part of a path may have a `*`.
    pub files: Vec<PathBuf>,
    /// When files are read again although they look unchanged.
    #[serde(default = "refresh", deserialize_with = "model::duration::deserialize")]
    pub refresh_interval: Duration,
}

fn refresh() -> Duration {
    REFRESH
}

impl FileSd {
    /// Makes relative paths relative to `folder`.
    pub(crate) fn resolve_paths(&mut self, folder: &Path) {
        for path in &mut self.files {
            *path = folder.join(&*path);
        }
    }

    /// What is wrong with the settings: the key, and why.
    pub(crate) fn faults(&self) -> Vec<(String, String)> {
        let fault = |path: &PathBuf| match extension(path).as_str() {
            "json" | "yml" | "yaml" => matching(path, FILES_MAX).err(),
            _ => Some(format!("{}: the name must end with .json, .yml or .yaml", path.display())),
        };
        let of_path = |(index, path)| Some((format!("files[{index}]"), fault(path)?));
        let mut faults: Vec<(String, String)> = self.files.iter().enumerate().filter_map(of_path).collect();
        if self.files.is_empty() {
            faults.push(("files".into(), "the list is empty: name at least one file".into()));
        }
        if self.refresh_interval.is_zero() {
            faults.push(("refresh_interval".into(), "is 0: it must be longer".into()));
        }
        faults
    }
}

fn extension(path: &Path) -> String {
    path.extension().map(|extension| extension.to_string_lossy().to_lowercase()).unwrap_or_default()
}

/// What differs if a file was replaced or written to.
#[derive(Debug, Clone, PartialEq, Eq)]
struct Mark {
    place: (u64, u64),
    bytes: u64,
    modified: (i64, i64),
    /// Unlike the time of the modification, programs can't set it.
    changed: (i64, i64),
}

impl Mark {
    fn of(file: &Metadata) -> Mark {
        Mark {
            place: (file.dev(), file.ino()),
            bytes: file.len(),
            modified: (file.mtime(), file.mtime_nsec()),
            changed: (file.ctime(), file.ctime_nsec()),
        }
    }
}

/// The files as they were at the last look.
#[derive(Debug, Default)]
pub(super) struct Files {
    /// The mark of each file when it was read, whether or not its content could be used. `None`: nothing was known of
    /// the file, which had been read before.
    marks: BTreeMap<PathBuf, Option<Mark>>,
    /// Files and patterns that could not be looked at, with the reason.
    unseen: BTreeMap<PathBuf, String>,
}

/// The state of a task, which continues if the task panics.
pub(super) type Looked = Arc<Mutex<Files>>;

/// A change of a file: its groups, no groups if the file is gone, or why it can't be used.
type Change = (PathBuf, Result<Vec<Group>, String>);

impl Files {
    /// Reads the files that have changed. `all` reads all of them.
    fn look(&mut self, patterns: &[PathBuf], all: bool) -> Vec<Change> {
        let (mut changes, mut unseen) = (Vec::new(), BTreeMap::new());
        let mut present: Vec<PathBuf> = Vec::new();
        for pattern in patterns {
            match matching(pattern, FILES_MAX) {
                Ok(files) => present.extend(files),
                Err(why) => {
                    // Which of the known files match this pattern does not matter: each is looked at itself.
                    present.extend(self.marks.keys().cloned());
                    unseen.insert(pattern.clone(), why);
                }
            }
        }
        present.sort();
        present.dedup();
        let mut before = std::mem::take(&mut self.marks);
        for path in present {
            let known = before.remove(&path);
            match metadata(&path) {
                Ok(metadata) => {
                    // The mark is older than the content: a file that changes meanwhile is read again.
                    let mark = Some(Mark::of(&metadata));
                    if all || known.as_ref() != Some(&mark) {
                        changes.push((path.clone(), read(&path, &metadata)));
                    }
                    self.marks.insert(path, mark);
                }
                Err(error) if error.kind() == ErrorKind::NotFound => {
                    if known.is_some() {
                        changes.push((path, Ok(Vec::new())));
                    }
                }
                Err(error) => {
                    unseen.insert(path.clone(), format!("{}: {error}", path.display()));
                    if known.is_some() {
                        self.marks.insert(path, None);
                    }
                }
            }
        }
        changes.extend(before.into_keys().map(|path| (path, Ok(Vec::new()))));
        // What lasts is reported once, and again whenever all files are read.
        let is_new = |(path, why): &(&PathBuf, &String)| all || self.unseen.get(*path) != Some(*why);
        changes.extend(unseen.iter().filter(is_new).map(|(path, why)| (path.clone(), Err(why.clone()))));
        self.unseen = unseen;
        changes
    }
}

fn read(path: &Path, metadata: &Metadata) -> Result<Vec<Group>, String> {
    let shown = path.display().to_string();
    let failed = |why: String| format!("{shown}: {why}");
    // Opening a pipe would wait for its other end.
    if !metadata.is_file() {
        return Err(failed("not a file".into()));
    }
    let file = File::open(path).map_err(|error| failed(error.to_string()))?;
    let mut text = String::new();
    let read = file.take(GROUPS_BYTES_MAX + 1).read_to_string(&mut text);
    read.map_err(|error| failed(error.to_string()))?;
    if text.len() as u64 > GROUPS_BYTES_MAX {
        return Err(failed(format!("larger than the limit of {GROUPS_BYTES_MAX} bytes")));
    }
    let meta = ("__meta_filepath", shown.as_str());
    let is_json = extension(path) == "json";
    let groups = if is_json { of_json(text.as_bytes(), meta) } else { of_yaml(&text, meta) };
    groups.map_err(failed)
}

/// Looks at the files until the task is aborted.
pub(super) async fn run(settings: FileSd, looked: Looked, sender: Sender) {
    let mut read_all = Instant::now();
    loop {
        let all = read_all.elapsed() >= settings.refresh_interval;
        if all {
            read_all = Instant::now();
        }
        let (patterns, files) = (settings.files.clone(), looked.clone());
        // Reading waits for the disk.
        let look = tokio::task::spawn_blocking(move || {
            files.lock().unwrap_or_else(PoisonError::into_inner).look(&patterns, all)
        });
        let changes = match look.await {
            Ok(changes) => changes,
            Err(error) if error.is_panic() => std::panic::resume_unwind(error.into_panic()),
            // The runtime ends.
            Err(_) => return,
        };
        let mut found = Vec::new();
        for (path, change) in changes {
            match change {
                Ok(groups) => found.push((path, groups)),
                Err(error) => {
                    tracing::warn!(job = sender.job, error, "the targets of a file stay as they were");
                }
            }
        }
        if !found.is_empty() {
            sender.send(found).await;
        }
        sleep(LOOK.min(settings.refresh_interval)).await;
    }
}

#[cfg(test)]
mod tests;
