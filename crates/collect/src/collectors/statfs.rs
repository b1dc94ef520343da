//! Reads the sizes of file systems. Some never answer: a network file system without its server blocks the
//! calling thread in the kernel, where no signal can end it.
//!
//! So a separate thread reads the sizes, one mount after the other, and sends them through a channel. If an
//! answer does not come in time, the mount is stuck. Its thread is abandoned, and a new thread continues with
//! the other mounts. A stuck mount is not tried again before the abandoned thread has returned.

use rustix::fs::StatVfs;
use std::collections::HashMap;
use std::io;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::mpsc::{self, Receiver, RecvTimeoutError, TryRecvError};
use std::time::{Duration, Instant};

/// The longest time that one collection waits for all file systems together. File systems that have not
/// answered then are stuck.
pub const STATFS_PATIENCE: Duration = Duration::from_secs(5);

/// The longest wait for one mount before the next one is tried, so that a stuck mount leaves time for the
/// others.
const MOUNT_PATIENCE: Duration = Duration::from_secs(1);

/// The most abandoned threads. At this number no file system is tried until one of the threads has returned.
const MAX_STUCK: usize = 32;

/// The stack size of a thread that calls `statvfs`, with a reserve.
const STACK_BYTES: usize = 64 << 10;

/// The size of a file system in bytes, and its number of files.
#[derive(Debug, Clone, Copy, PartialEq)]
pub(super) struct Size {
    pub(super) size: f64,
    pub(super) free: f64,
    pub(super) available: f64,
    pub(super) files: f64,
    pub(super) files_free: f64,
}

/// The result for one mount.
#[derive(Debug)]
pub(super) enum Answer {
    Size(Size),
    Failed(io::Error),
    Stuck,
}

type Ask = dyn Fn(&Path) -> io::Result<Size> + Send + Sync;

/// The handle of a thread that reads sizes.
struct Asking {
    answers: Receiver<io::Result<Size>>,
    /// Set when the thread is abandoned.
    abandoned: Arc<AtomicBool>,
}

impl Asking {
    /// Returns true if the thread has ended. Its remaining answers are dropped.
    fn has_ended(&self) -> bool {
        loop {
            match self.answers.try_recv() {
                Ok(_) => {}
                Err(TryRecvError::Empty) => return false,
                Err(TryRecvError::Disconnected) => return true,
            }
        }
    }
}

/// Reads the sizes of mounts, and remembers which are stuck.
pub(super) struct Prober {
    ask: Arc<Ask>,
    mount_patience: Duration,
    /// The stuck mounts by path, with the threads that wait for them.
    stuck: HashMap<PathBuf, Asking>,
}

impl Default for Prober {
    fn default() -> Self {
        Prober { ask: Arc::new(statvfs), mount_patience: MOUNT_PATIENCE, stuck: HashMap::new() }
    }
}

impl std::fmt::Debug for Prober {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Prober").field("stuck", &self.stuck.keys()).finish_non_exhaustive()
    }
}

impl Prober {
    #[cfg(test)]
    pub(super) fn with(ask: Arc<Ask>, mount_patience: Duration) -> Self {
        Prober { ask, mount_patience, stuck: HashMap::new() }
    }

    /// Reads the sizes of all `paths`. Returns one answer for each, in the same order.
    pub(super) fn ask(&mut self, paths: &[PathBuf]) -> io::Result<Vec<Answer>> {
        // A late answer is outdated, so the mount is tried again.
        self.stuck.retain(|_, asking| !asking.has_ended());
        let deadline = Instant::now() + STATFS_PATIENCE;
        let mut answers: Vec<Answer> = paths.iter().map(|_| Answer::Stuck).collect();
        let mut open: Vec<usize> = (0..paths.len())
            .filter(|index| paths.get(*index).is_some_and(|path| !self.stuck.contains_key(path)))
            .collect();
        while !open.is_empty() && self.stuck.len() < MAX_STUCK && Instant::now() < deadline {
            let round: Vec<PathBuf> = open.iter().filter_map(|index| paths.get(*index).cloned()).collect();
            let asking = self.start(round)?;
            let mut answered = 0;
            let stuck_at = loop {
                let Some(index) = open.get(answered) else { break None };
                let patience = self.mount_patience.min(deadline.saturating_duration_since(Instant::now()));
                let answer = match asking.answers.recv_timeout(patience) {
                    Ok(Ok(size)) => Answer::Size(size),
                    Ok(Err(error)) => Answer::Failed(error),
                    Err(RecvTimeoutError::Timeout) => break Some(*index),
                    Err(RecvTimeoutError::Disconnected) => {
                        Answer::Failed(io::Error::other("the thread that asks has ended"))
                    }
                };
                if let Some(place) = answers.get_mut(*index) {
                    *place = answer;
                }
                answered += 1;
            };
            open.drain(..answered);
            if let Some(path) = stuck_at.and_then(|index| paths.get(index)) {
                open.remove(0);
                asking.abandoned.store(true, Ordering::Relaxed);
                self.stuck.insert(path.clone(), asking);
            }
        }
        Ok(answers)
    }

    /// Starts a thread that reads the sizes of `paths` until it is abandoned.
    fn start(&self, paths: Vec<PathBuf>) -> io::Result<Asking> {
        let (sender, answers) = mpsc::sync_channel(1);
        let abandoned = Arc::new(AtomicBool::new(false));
        let (ask, is_abandoned) = (Arc::clone(&self.ask), Arc::clone(&abandoned));
        std::thread::Builder::new().name("statfs".into()).stack_size(STACK_BYTES).spawn(move || {
            for path in paths {
                let gone = sender.send(ask(&path)).is_err();
                if gone || is_abandoned.load(Ordering::Relaxed) {
                    return;
                }
            }
        })?;
        Ok(Asking { answers, abandoned })
    }
}

fn statvfs(path: &Path) -> io::Result<Size> {
    let StatVfs { f_blocks, f_bfree, f_bavail, f_frsize, f_files, f_ffree, .. } = rustix::fs::statvfs(path)?;
    // Blocks are counted in fragments (POSIX). Only some FUSE file systems have fragments that are smaller
    // than blocks.
    let bytes = |blocks: u64| blocks as f64 * f_frsize as f64;
    Ok(Size {
        size: bytes(f_blocks),
        free: bytes(f_bfree),
        available: bytes(f_bavail),
        files: f_files as f64,
        files_free: f_ffree as f64,
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::sync::{Condvar, Mutex};

    const SIZE: Size = Size { size: 5.0, free: 4.0, available: 3.0, files: 2.0, files_free: 1.0 };

    /// A file system that answers immediately, except below `/stuck`, where it waits until it is released.
    #[derive(Default)]
    struct Fake {
        released: Mutex<bool>,
        change: Condvar,
        asked: Mutex<Vec<PathBuf>>,
    }

    impl Fake {
        fn ask(&self, path: &Path) -> io::Result<Size> {
            self.asked.lock().unwrap().push(path.to_path_buf());
            if path.starts_with("/stuck") {
                let released = self.released.lock().unwrap();
                drop(self.change.wait_while(released, |released| !*released).unwrap());
            }
            if path.starts_with("/denied") {
                return Err(io::Error::from_raw_os_error(13));
            }
            Ok(SIZE)
        }
    }

    fn prober(patience: Duration) -> (Arc<Fake>, Prober) {
        let fake = Arc::new(Fake::default());
        let asked = Arc::clone(&fake);
        (fake, Prober::with(Arc::new(move |path: &Path| asked.ask(path)), patience))
    }

    fn kinds(answers: &[Answer]) -> String {
        let letter = |answer: &Answer| match answer {
            Answer::Size(size) => {
                assert_eq!(*size, SIZE);
                's'
            }
            Answer::Failed(_) => 'f',
            Answer::Stuck => '!',
        };
        answers.iter().map(letter).collect()
    }

    fn paths(names: &[&str]) -> Vec<PathBuf> {
        names.iter().map(PathBuf::from).collect()
    }

    #[test]
    fn answers_are_in_the_order_of_the_mounts() {
        let (_, mut prober) = prober(Duration::from_secs(5));
        assert_eq!(kinds(&prober.ask(&paths(&["/a", "/denied", "/b"])).unwrap()), "sfs");
        assert_eq!(kinds(&prober.ask(&[]).unwrap()), "");
    }

    #[test]
    fn a_stuck_mount_affects_only_itself_and_recovers() {
        let (fake, mut prober) = prober(Duration::from_millis(50));
        let mounts = paths(&["/a", "/stuck/1", "/b", "/stuck/2", "/c"]);
        assert_eq!(kinds(&prober.ask(&mounts).unwrap()), "s!s!s");
        fake.asked.lock().unwrap().clear();
        assert_eq!(kinds(&prober.ask(&mounts).unwrap()), "s!s!s");
        assert_eq!(*fake.asked.lock().unwrap(), paths(&["/a", "/b", "/c"]), "no stuck mount is asked twice");

        *fake.released.lock().unwrap() = true;
        fake.change.notify_all();
        // It is not known when the threads return.
        let deadline = Instant::now() + Duration::from_secs(30);
        while kinds(&prober.ask(&mounts).unwrap()) != "sssss" {
            assert!(Instant::now() < deadline, "the mounts never recovered");
            std::thread::yield_now();
        }
        assert!(prober.stuck.is_empty());
    }

    #[test]
    fn abandoned_threads_are_limited() {
        let (fake, mut prober) = prober(Duration::from_millis(1));
        let mounts: Vec<PathBuf> = (0..MAX_STUCK + 8).map(|n| format!("/stuck/{n}").into()).collect();
        for _ in 0..3 {
            assert!(prober.ask(&mounts).unwrap().iter().all(|answer| matches!(answer, Answer::Stuck)));
        }
        assert_eq!(prober.stuck.len(), MAX_STUCK);
        // The last thread may not have tried its mount yet.
        assert!(fake.asked.lock().unwrap().len() <= MAX_STUCK);
        *fake.released.lock().unwrap() = true;
        fake.change.notify_all();
    }

    #[test]
    fn the_root_has_a_size() {
        let size = statvfs(Path::new("/")).unwrap();
        assert!(size.size >= size.free && size.free >= size.available);
    }
}
