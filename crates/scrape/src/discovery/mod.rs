//! Where targets come from, besides the configuration itself.
//!
//! Each entry of `file_sd_configs` and `http_sd_configs` is a task. It sends the groups of a source (a file, a server)
//! whenever they change. Where it can't read them, it sends nothing: the targets stay as they were.

mod file;
mod groups;
mod http;

use crate::config::Group;
use crate::job::Job;
use std::path::PathBuf;
use std::sync::atomic::{AtomicU64, Ordering};
use tokio::sync::mpsc;
use tokio::task::JoinHandle;

pub use file::{FILES_MAX, FileSd};
pub use groups::{GROUPS_BYTES_MAX, LABELS_BYTES_MAX, TARGETS_MAX};
pub use http::{ANSWER_TIME_MAX, HttpSd};

/// A source of targets.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) struct Source {
    /// The number of the task that found it.
    pub(crate) entry: u64,
    /// Empty if it is not a file.
    pub(crate) file: PathBuf,
}

impl Source {
    /// The targets in the configuration itself.
    pub(crate) const STATIC: Source = Source { entry: STATIC_ENTRY, file: PathBuf::new() };
}

const STATIC_ENTRY: u64 = 0;

/// The groups of sources that have changed.
#[derive(Debug)]
pub(crate) struct Found {
    pub(crate) job: String,
    /// The number of the task.
    pub(crate) entry: u64,
    pub(crate) changes: Vec<(PathBuf, Vec<Group>)>,
}

/// Where a task sends what it finds.
#[derive(Debug, Clone)]
struct Sender {
    job: String,
    entry: u64,
    found: mpsc::Sender<Found>,
}

impl Sender {
    async fn send(&self, changes: Vec<(PathBuf, Vec<Group>)>) {
        let found = Found { job: self.job.clone(), entry: self.entry, changes };
        // The receiver ends only with the scraper.
        let _ = self.found.send(found).await;
    }
}

/// An entry of the configuration.
#[derive(Debug, Clone, PartialEq)]
enum Entry {
    File(FileSd),
    Http(Box<HttpSd>),
}

/// An entry with its task, which ends when this is dropped.
#[derive(Debug)]
struct Running {
    number: u64,
    entry: Entry,
    task: JoinHandle<()>,
}

impl Drop for Running {
    fn drop(&mut self) {
        self.task.abort();
    }
}

/// The tasks of a job.
#[derive(Debug, Default)]
pub(crate) struct Discovery(Vec<Running>);

impl Discovery {
    /// Goes over to the entries of `job`. The task of an entry that has not changed is not touched.
    pub(crate) fn change(&mut self, job: &Job, found: &mpsc::Sender<Found>) {
        let files = job.file_sd_configs.iter().cloned().map(Entry::File);
        let http = job.http_sd_configs.iter().cloned().map(|http| Entry::Http(Box::new(http)));
        let mut before = std::mem::take(&mut self.0);
        for entry in files.chain(http) {
            let same = before.iter().position(|running| running.entry == entry);
            let running = match same {
                Some(index) => before.swap_remove(index),
                None => start(&job.name, entry, found.clone()),
            };
            self.0.push(running);
        }
    }

    /// Whether the task with this number is one of the job's.
    pub(crate) fn has(&self, number: u64) -> bool {
        self.0.iter().any(|running| running.number == number)
    }
}

fn start(job: &str, entry: Entry, found: mpsc::Sender<Found>) -> Running {
    // A number is never used again, so that what a task has sent before its end is not taken for another's.
    static NEXT: AtomicU64 = AtomicU64::new(STATIC_ENTRY + 1);
    let number = NEXT.fetch_add(1, Ordering::Relaxed);
    let sender = Sender { job: job.to_string(), entry: number, found };
    let task = match entry.clone() {
        Entry::File(settings) => {
            let task = supervisor::Task::of("file_sd", job);
            let files = file::Looked::default();
            let run = move || file::run(settings.clone(), files.clone(), sender.clone());
            tokio::spawn(supervisor::supervise(task, run))
        }
        Entry::Http(settings) => {
            let task = supervisor::Task::of("http_sd", job);
            let run = move || http::run((*settings).clone(), sender.clone());
            tokio::spawn(supervisor::supervise(task, run))
        }
    };
    Running { number, entry, task }
}

#[cfg(test)]
mod tests;
