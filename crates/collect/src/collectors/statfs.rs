//! Asking file systems for their size, some of which never answer: a network file system whose server is
//! gone blocks whoever asks, in the kernel, beyond the reach of any signal.
//!
//! So a thread of its own asks, one mount after the other, and its answers come through a channel. When
//! one doesn't come in time, the mount counts as stuck, its thread is left to wait, and a new one goes on
//! with the rest. A stuck mount is not asked again before the thread that waits for it has returned.

use rustix::fs::StatVfs;
use std::collections::HashMap;
use std::io;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::mpsc::{self, Receiver, RecvTimeoutError, TryRecvError};
use std::time::{Duration, Instant};

/// How long one collection waits for all file systems together. What hasn't answered then counts as
/// stuck.
pub const STATFS_PATIENCE: Duration = Duration::from_secs(5);

/// How long one mount is waited for before the next is asked, so that one that is stuck leaves time for
/// the others.
const MOUNT_PATIENCE: Duration = Duration::from_secs(1);

/// The most threads left waiting. Beyond it no file system is asked until one of them has returned.
const MAX_STUCK: usize = 32;

/// What a thread that calls `statvfs` needs, generously.
const STACK_BYTES: usize = 64 << 10;

/// The size of a file system, in bytes, and its files.
#[derive(Debug, Clone, Copy, PartialEq)]
pub(super) struct Size {
    pub(super) size: f64,
    pub(super) free: f64,
    pub(super) available: f64,
    pub(super) files: f64,
    pub(super) files_free: f64,
}

/// What became of asking one mount.
#[derive(Debug)]
pub(super) enum Answer {
    Size(Size),
    Failed(io::Error),
    Stuck,
}

type Ask = dyn Fn(&Path) -> io::Result<Size> + Send + Sync;

/// A thread that asks, seen from here.
struct Asking {
    answers: Receiver<io::Result<Size>>,
    /// Set when its answers are no longer wanted.
    abandoned: Arc<AtomicBool>,
}

impl Asking {
    /// Whether the thread has ended; throws away what it still had to say.
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

/// Asks mounts, and remembers which are stuck.
pub(super) struct Prober {
    ask: Arc<Ask>,
    mount_patience: Duration,
    /// By path, with the thread that waits for it.
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

    /// Asks all of `paths`; as many answers, in their order.
    pub(super) fn ask(&mut self, paths: &[PathBuf]) -> io::Result<Vec<Answer>> {
        // A late answer is of no use any more: the mount is asked anew.
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

    /// A thread that asks `paths`, until it is abandoned.
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
    // Blocks are counted in fragments (POSIX), which only some FUSE file systems have smaller than blocks.
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

    /// A file system that answers at once, except below `/stuck` where it waits until it is let go.
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
    fn each_mount_has_its_answer_in_its_place() {
        let (_, mut prober) = prober(Duration::from_secs(5));
        assert_eq!(kinds(&prober.ask(&paths(&["/a", "/denied", "/b"])).unwrap()), "sfs");
        assert_eq!(kinds(&prober.ask(&[]).unwrap()), "");
    }

    #[test]
    fn a_stuck_mount_costs_only_itself_and_is_asked_again_once_it_has_returned() {
        let (fake, mut prober) = prober(Duration::from_millis(50));
        let mounts = paths(&["/a", "/stuck/1", "/b", "/stuck/2", "/c"]);
        assert_eq!(kinds(&prober.ask(&mounts).unwrap()), "s!s!s");
        fake.asked.lock().unwrap().clear();
        assert_eq!(kinds(&prober.ask(&mounts).unwrap()), "s!s!s");
        assert_eq!(*fake.asked.lock().unwrap(), paths(&["/a", "/b", "/c"]), "no stuck mount is asked twice");

        *fake.released.lock().unwrap() = true;
        fake.change.notify_all();
        // The threads return in their own time.
        let deadline = Instant::now() + Duration::from_secs(30);
        while kinds(&prober.ask(&mounts).unwrap()) != "sssss" {
            assert!(Instant::now() < deadline, "the mounts never recovered");
            std::thread::yield_now();
        }
        assert!(prober.stuck.is_empty());
    }

    #[test]
    fn threads_left_waiting_are_bounded() {
        let (fake, mut prober) = prober(Duration::from_millis(1));
        let mounts: Vec<PathBuf> = (0..MAX_STUCK + 8).map(|n| format!("/stuck/{n}").into()).collect();
        for _ in 0..3 {
            assert!(prober.ask(&mounts).unwrap().iter().all(|answer| matches!(answer, Answer::Stuck)));
        }
        assert_eq!(prober.stuck.len(), MAX_STUCK);
        // The last thread may not have got to asking yet.
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
