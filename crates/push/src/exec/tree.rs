//! Memory and processor time of a job with all its descendants.
//!
//! **Memory** is the peak. If this process has a cgroup to itself when the job starts (a systemd unit, a
//! container), it is `memory.peak` of the cgroup. This file has all memory that the kernel charges to the
//! cgroup, including the page cache and the few MiB of this process. Otherwise the resident memory of all
//! descendants is added up, at intervals that grow from 10 ms to 1 s. So a short spike of several processes
//! can be missed, and memory that they share counts for each of them. The peak of a single process is exact,
//! since the kernel keeps it.
//!
//! Orphans stay in the tree: this process is their subreaper.

use rustix::process::{Pid, WaitOptions, getpid, waitpid};
use std::collections::HashSet;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread::JoinHandle;
use std::time::Duration;

/// The first pause between two samples. Each pause is twice the one before.
const PAUSE_MIN: Duration = Duration::from_millis(10);
const PAUSE_MAX: Duration = Duration::from_secs(1);
/// The most processes that are read in one sample.
const PROCESSES_MAX: usize = 10_000;

/// Where procfs and cgroupfs are mounted.
#[derive(Debug, Clone)]
pub(super) struct Roots {
    pub(super) proc: PathBuf,
    pub(super) cgroup: PathBuf,
}

impl Default for Roots {
    fn default() -> Self {
        Roots { proc: "/proc".into(), cgroup: "/sys/fs/cgroup".into() }
    }
}

/// Processor time in seconds of the children that were waited for, with their descendants.
#[derive(Debug, Clone, Copy, PartialEq, Default)]
pub(super) struct Cpu {
    pub(super) user: f64,
    pub(super) system: f64,
}

impl Cpu {
    /// The time used by this process' children so far, in steps of the kernel's clock (10 ms).
    pub(super) fn of_children(roots: &Roots) -> Option<Cpu> {
        let text = std::fs::read_to_string(roots.proc.join("self/stat")).ok()?;
        let ticks = rustix::param::clock_ticks_per_second() as f64;
        Cpu::parse(&text).map(|cpu| Cpu { user: cpu.user / ticks, system: cpu.system / ticks })
    }

    /// The time used after `before` was read.
    pub(super) fn since(self, before: Cpu) -> Cpu {
        Cpu { user: self.user - before.user, system: self.system - before.system }
    }

    /// Reads user and system time in clock ticks.
    fn parse(stat: &str) -> Option<Cpu> {
        // The second field is the name in parentheses and may contain anything, so count from its end.
        let mut fields = stat.rsplit_once(')')?.1.split_whitespace().skip(13);
        let mut next = || fields.next()?.parse::<f64>().ok();
        Some(Cpu { user: next()?, system: next()? })
    }
}

/// The file with the peak memory of the cgroup that this process has to itself, if it has one.
pub(super) fn own_cgroup(roots: &Roots, pid: Pid) -> Option<PathBuf> {
    let text = std::fs::read_to_string(roots.proc.join("self/cgroup")).ok()?;
    let path = text.lines().find_map(|line| line.strip_prefix("0::/"))?;
    if path.split('/').any(|part| part == "..") {
        return None;
    }
    let folder = roots.cgroup.join(path);
    let processes = std::fs::read_to_string(folder.join("cgroup.procs")).ok()?;
    let alone = processes.split_whitespace().eq([pid.as_raw_nonzero().to_string()]);
    // The root cgroup, which contains all processes, has no such file.
    let peak = folder.join("memory.peak");
    (alone && peak.is_file()).then_some(peak)
}

/// Samples memory until it is stopped.
#[derive(Debug)]
pub(super) struct Sampler {
    stop: Arc<AtomicBool>,
    thread: JoinHandle<u64>,
    cgroup: Option<PathBuf>,
}

impl Sampler {
    /// Starts sampling. `job` is the command's process; `cgroup` is from [`own_cgroup`].
    pub(super) fn start(roots: Roots, job: Pid, cgroup: Option<PathBuf>) -> Sampler {
        let stop = Arc::new(AtomicBool::new(false));
        let stopped = Arc::clone(&stop);
        let sample = cgroup.is_none();
        let thread = std::thread::spawn(move || {
            let (mut peak, mut pause) = (0, PAUSE_MIN);
            loop {
                if sample {
                    peak = peak.max(memory(&roots, getpid()));
                }
                reap_orphans(&roots, job);
                if stopped.load(Ordering::Acquire) {
                    return peak;
                }
                std::thread::park_timeout(pause);
                pause = (pause * 2).min(PAUSE_MAX);
            }
        });
        Sampler { stop, thread, cgroup }
    }

    /// Stops sampling after the job's end. Returns the peak in bytes, or `None` if no sample succeeded.
    pub(super) fn stop(self) -> Option<u64> {
        self.stop.store(true, Ordering::Release);
        self.thread.thread().unpark();
        let sampled = self.thread.join().ok().filter(|peak| *peak > 0);
        let counted = self.cgroup.and_then(|peak| std::fs::read_to_string(peak).ok());
        counted.and_then(|text| text.trim().parse().ok()).or(sampled)
    }
}

/// The resident memory in bytes of all descendants of `root` now, or the peak of a single descendant if that
/// is higher.
fn memory(roots: &Roots, root: Pid) -> u64 {
    let root = root.as_raw_nonzero().get();
    let (mut now, mut once) = (0, 0);
    let mut seen = HashSet::from([root]);
    let mut open = children(&roots.proc, root);
    while let Some(pid) = open.pop() {
        if seen.len() > PROCESSES_MAX || !seen.insert(pid) {
            continue;
        }
        let status =
            std::fs::read_to_string(roots.proc.join(pid.to_string()).join("status")).unwrap_or_default();
        now += kib_after(&status, "VmRSS:") * 1024;
        once = once.max(kib_after(&status, "VmHWM:") * 1024);
        open.extend(children(&roots.proc, pid));
    }
    now.max(once)
}

/// The child processes of all threads of a process.
fn children(proc: &Path, pid: i32) -> Vec<i32> {
    let mut all = Vec::new();
    let Ok(tasks) = std::fs::read_dir(proc.join(pid.to_string()).join("task")) else { return all };
    for task in tasks.flatten() {
        match std::fs::read_to_string(task.path().join("children")) {
            Ok(text) => all.extend(text.split_whitespace().filter_map(|pid| pid.parse::<i32>().ok())),
            // Either the kernel does not have this file, or the thread has just ended.
            Err(_) if task.path().join("stat").exists() => return children_by_search(proc, pid),
            Err(_) => {}
        }
    }
    all
}

/// Finds the child processes by reading every process, for kernels that don't list children.
fn children_by_search(proc: &Path, parent: i32) -> Vec<i32> {
    let Ok(folder) = std::fs::read_dir(proc) else { return Vec::new() };
    let of_parent = |pid: &i32| {
        let stat = std::fs::read_to_string(proc.join(pid.to_string()).join("stat")).ok()?;
        let ppid = stat.rsplit_once(')')?.1.split_whitespace().nth(1)?;
        (ppid.parse() == Ok(parent)).then_some(())
    };
    folder
        .flatten()
        .filter_map(|entry| entry.file_name().to_str()?.parse().ok())
        .filter(|pid| of_parent(pid).is_some())
        .collect()
}

/// Waits for orphans that this process adopted and that have ended. The job itself is not waited for here.
fn reap_orphans(roots: &Roots, job: Pid) {
    for pid in children(&roots.proc, getpid().as_raw_nonzero().get()) {
        if let Some(pid) = Pid::from_raw(pid).filter(|pid| *pid != job) {
            let _ = waitpid(Some(pid), WaitOptions::NOHANG);
        }
    }
}

fn kib_after(status: &str, key: &str) -> u64 {
    let rest = status.lines().find_map(|line| line.strip_prefix(key));
    rest.and_then(|rest| rest.split_whitespace().next()).and_then(|kib| kib.parse().ok()).unwrap_or(0)
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::fs;

    struct Made {
        _folder: tempfile::TempDir,
        roots: Roots,
    }

    fn made() -> Made {
        let folder = tempfile::tempdir().unwrap();
        let roots = Roots { proc: folder.path().join("proc"), cgroup: folder.path().join("cgroup") };
        Made { _folder: folder, roots }
    }

    impl Made {
        fn process(&self, pid: i32, parent: i32, children: Option<&str>, kib: (u64, u64)) {
            let folder = self.roots.proc.join(pid.to_string());
            let task = folder.join("task").join(pid.to_string());
            fs::create_dir_all(&task).unwrap();
            let status = format!("Name:\tx\nVmHWM:\t{:>8} kB\nVmRSS:\t{:>8} kB\n", kib.1, kib.0);
            fs::write(folder.join("status"), status).unwrap();
            fs::write(folder.join("stat"), format!("{pid} (a) b) S {parent} 1 1")).unwrap();
            fs::write(task.join("stat"), "").unwrap();
            if let Some(children) = children {
                fs::write(task.join("children"), children).unwrap();
            }
        }

        fn cgroup(&self, line: &str, processes: &str, peak: Option<&str>) {
            fs::create_dir_all(self.roots.proc.join("self")).unwrap();
            fs::write(self.roots.proc.join("self/cgroup"), line).unwrap();
            let folder = self.roots.cgroup.join("system.slice/x.service");
            fs::create_dir_all(&folder).unwrap();
            fs::write(folder.join("cgroup.procs"), processes).unwrap();
            if let Some(peak) = peak {
                fs::write(folder.join("memory.peak"), peak).unwrap();
            }
        }
    }

    fn pid(number: i32) -> Pid {
        Pid::from_raw(number).unwrap()
    }

    #[test]
    fn memory_counts_all_descendants_but_not_this_process() {
        for listed in [true, false] {
            let made = made();
            let children = |text| listed.then_some(text);
            made.process(1, 0, children("2 3"), (1000, 1000));
            made.process(2, 1, children("4"), (10, 20));
            made.process(3, 1, children(""), (20, 20));
            made.process(4, 2, children("9"), (30, 30));
            assert_eq!(memory(&made.roots, pid(1)), 60 * 1024, "listed: {listed}");
            made.process(4, 2, children(""), (30, 500));
            assert_eq!(memory(&made.roots, pid(1)), 500 * 1024, "a spike between two samples");
        }
    }

    #[test]
    fn processes_above_the_limit_are_not_read() {
        let made = made();
        // Processes are read from the last one, so the limit is reached at 12. Most have ended since they
        // were listed.
        let last = 11 + i32::try_from(PROCESSES_MAX).unwrap();
        let all: Vec<String> = (2..=last).map(|pid| pid.to_string()).collect();
        made.process(1, 0, Some(&all.join(" ")), (1, 1));
        for pid in [11, 12, last] {
            made.process(pid, 1, Some(""), (10, 10));
        }
        assert_eq!(memory(&made.roots, pid(1)), 20 * 1024);
    }

    #[test]
    fn a_cgroup_counts_only_if_it_has_one_process() {
        let made = made();
        let own = || own_cgroup(&made.roots, pid(7));
        assert_eq!(own(), None, "no such file");
        made.cgroup("4:memory:/a\n0::/system.slice/x.service\n", "7\n", None);
        assert_eq!(own(), None, "no memory.peak");
        made.cgroup("4:memory:/a\n0::/system.slice/x.service\n", "7\n", Some("12345\n"));
        let peak = own().expect("its own");
        made.cgroup("0::/system.slice/x.service\n", "7\n8\n", Some("12345\n"));
        assert_eq!(own(), None, "somebody else's too");
        made.cgroup("0::/../system.slice/x.service\n", "7\n", Some("12345\n"));
        assert_eq!(own(), None, "outside of what can be seen");

        made.process(1, 0, Some(""), (1, 1));
        let sampler = Sampler::start(made.roots.clone(), pid(7), Some(peak));
        assert_eq!(sampler.stop(), Some(12345));
    }

    #[test]
    fn processor_time_is_read_for_children() {
        let stat = "7 (a (b) c) S 1 7 7 0 -1 4194560 500 90000 0 0 11 12 345 67 20 0 1 0 5 6 7";
        assert_eq!(Cpu::parse(stat), Some(Cpu { user: 345.0, system: 67.0 }));
        assert_eq!(Cpu::parse("7 (a) S 1"), None);
        let (before, after) = (Cpu { user: 1.0, system: 2.0 }, Cpu { user: 1.5, system: 4.0 });
        assert_eq!(after.since(before), Cpu { user: 0.5, system: 2.0 });
    }
}
