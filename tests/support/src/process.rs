//! Child processes that are killed when their [`Process`] is dropped and when this process ends.
//!
//! Each child leads a process group of its own, which is killed as a whole when its [`Process`] is dropped.
//! This process may also be killed itself. For that case the kernel is asked to kill the child then. That
//! request (`PR_SET_PDEATHSIG`) must be made in the child between fork and exec, which needs `unsafe` in
//! Rust. So util-linux' `setpriv --pdeathsig` makes it and then becomes the program, with the same process
//! number. The kernel sends the signal when the *thread* that forked ends, so a single thread that never ends
//! forks all children.

use crate::wait::SOON;
use rustix::process::Pid;
pub use rustix::process::Signal;
use std::collections::VecDeque;
use std::ffi::OsStr;
use std::hash::{BuildHasher, RandomState};
use std::io::{BufRead, BufReader, Read};
use std::os::linux::net::SocketAddrExt;
use std::os::unix::net::{SocketAddr, UnixListener};
use std::os::unix::process::CommandExt;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, ExitStatus, Stdio};
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::mpsc::{Sender, channel};
use std::sync::{Arc, Condvar, LazyLock, Mutex};
use std::time::{Duration, Instant};

/// How often a test kills: as often as `NARTHEX_CRASH_ROUNDS` says, or else `default` times.
pub fn crash_rounds(default: u64) -> u64 {
    std::env::var("NARTHEX_CRASH_ROUNDS").ok().and_then(|rounds| rounds.parse().ok()).unwrap_or(default)
}

/// The most lines of output that are kept. The oldest are removed first.
pub const MAX_LINES: usize = 20_000;

/// The lines that a child has written to standard output and standard error, in order of arrival.
#[derive(Debug, Default)]
struct Output {
    lines: Mutex<VecDeque<String>>,
    more: Condvar,
    /// The number of streams that have ended.
    ended: AtomicUsize,
}

/// A child process. It is killed with its descendants when this value is dropped.
#[derive(Debug)]
pub struct Process {
    name: String,
    child: Mutex<Child>,
    pid: Pid,
    output: Arc<Output>,
    /// These folders are deleted after the process has ended.
    _data: Vec<tempfile::TempDir>,
}

impl Process {
    /// Starts a program with its standard input closed.
    ///
    /// # Panics
    /// If that fails.
    #[track_caller]
    pub fn start(program: &Path, arguments: impl IntoIterator<Item = impl AsRef<OsStr>>) -> Process {
        Process::with_env(program, arguments, &[])
    }

    /// Starts a program with environment variables in addition to those of this process.
    ///
    /// # Panics
    /// If that fails.
    #[track_caller]
    pub fn with_env(
        program: &Path,
        arguments: impl IntoIterator<Item = impl AsRef<OsStr>>,
        env: &[(&str, &str)],
    ) -> Process {
        assert!(program.is_file(), "no program {}", program.display());
        let mut command = match &*SETPRIV {
            Some(setpriv) => {
                let mut command = Command::new(setpriv);
                command.args(["--pdeathsig", "KILL", "--"]).arg(program);
                command
            }
            None => Command::new(program),
        };
        command.args(arguments).envs(env.iter().copied()).process_group(0);
        command.stdin(Stdio::null()).stdout(Stdio::piped()).stderr(Stdio::piped());
        let name = program.file_name().unwrap_or_default().to_string_lossy().into_owned();
        let mut child = spawn(command).unwrap_or_else(|error| panic!("cannot start {name}: {error}"));
        let output = Arc::new(Output::default());
        let (stdout, stderr) = (child.stdout.take().unwrap(), child.stderr.take().unwrap());
        collect(stdout, Arc::clone(&output));
        collect(stderr, Arc::clone(&output));
        let pid = Pid::from_child(&child);
        Process { name, child: Mutex::new(child), pid, output, _data: Vec::new() }
    }

    /// Keeps a folder until the process has ended.
    pub fn holding(mut self, folder: tempfile::TempDir) -> Process {
        self._data.push(folder);
        self
    }

    pub fn id(&self) -> u32 {
        self.pid.as_raw_nonzero().get() as u32
    }

    pub fn is_running(&self) -> bool {
        self.exit_status().is_none()
    }

    /// The exit status, if the process has ended.
    pub fn exit_status(&self) -> Option<ExitStatus> {
        self.child.lock().unwrap().try_wait().unwrap()
    }

    /// Waits after the process' end until its last output has been read. The wait is short, because
    /// descendants may hold the streams open.
    fn drain(&self) {
        let start = Instant::now();
        while self.output.ended.load(Ordering::Acquire) < 2 && start.elapsed() < Duration::from_secs(1) {
            std::thread::sleep(Duration::from_millis(1));
        }
    }

    /// Sends a signal to the process, without its descendants.
    pub fn signal(&self, signal: Signal) {
        // The process may have ended by itself, which is no failure here.
        if self.is_running() {
            let _ = rustix::process::kill_process(self.pid, signal);
        }
    }

    /// Kills the process (SIGKILL) with its descendants, and waits for its end.
    pub fn kill(&self) -> ExitStatus {
        let mut child = self.child.lock().unwrap();
        if child.try_wait().unwrap().is_none() {
            let _ = rustix::process::kill_process_group(self.pid, Signal::KILL);
        }
        child.wait().unwrap()
    }

    /// Asks the process to end (SIGTERM), and waits for its end.
    ///
    /// # Panics
    /// After `deadline`.
    #[track_caller]
    pub fn terminate(&self, deadline: Duration) -> ExitStatus {
        self.signal(Signal::TERM);
        self.wait(deadline)
    }

    /// Waits for the process' end.
    ///
    /// # Panics
    /// After `deadline`. The message has its output.
    #[track_caller]
    pub fn wait(&self, deadline: Duration) -> ExitStatus {
        let start = Instant::now();
        loop {
            if let Some(status) = self.exit_status() {
                self.drain();
                return status;
            }
            if start.elapsed() > deadline {
                panic!("{} has not ended after {deadline:?}{}", self.name, self.tail());
            }
            std::thread::sleep(Duration::from_millis(5));
        }
    }

    /// All lines that it has written so far (the newest [`MAX_LINES`]), of standard output and standard error
    /// together.
    pub fn lines(&self) -> Vec<String> {
        self.output.lines.lock().unwrap().iter().cloned().collect()
    }

    /// Waits for a line that contains `pattern`, and returns it. The line may have been written before the
    /// call.
    ///
    /// # Panics
    /// If the process ends without such a line, or after `deadline`. The message has its last lines.
    #[track_caller]
    pub fn wait_for_line(&self, pattern: &str, deadline: Duration) -> String {
        let start = Instant::now();
        loop {
            let ended = self.exit_status();
            let lines = self.output.lines.lock().unwrap();
            if let Some(line) = lines.iter().find(|line| line.contains(pattern)) {
                return line.clone();
            }
            let waited = start.elapsed();
            // The last lines may still be in the pipe if the process has just ended.
            let over = if ended.is_some() { Duration::from_millis(200) } else { deadline };
            if waited > over {
                drop(lines);
                let how = ended.map_or_else(|| "still runs".to_string(), |status| status.to_string());
                panic!("no line with {pattern:?} from {} ({how}){}", self.name, self.tail());
            }
            drop(self.output.more.wait_timeout(lines, Duration::from_millis(50)).unwrap());
        }
    }

    /// Its last lines, for the message of a failure.
    pub fn tail(&self) -> String {
        let lines = self.output.lines.lock().unwrap();
        let skip = lines.len().saturating_sub(20);
        let last: Vec<_> = lines.iter().skip(skip).map(|line| format!("\n  | {line}")).collect();
        format!("; its last lines:{}", last.concat())
    }

    /// The resident memory in bytes.
    pub fn rss_bytes(&self) -> u64 {
        self.status_kib("VmRSS:") * 1024
    }

    /// The resident memory in bytes that the process allocated, without mapped pages of its program file: the
    /// number of those depends on the build.
    pub fn allocated_bytes(&self) -> u64 {
        self.status_kib("RssAnon:") * 1024
    }

    /// The highest resident memory in bytes.
    pub fn peak_rss_bytes(&self) -> u64 {
        self.status_kib("VmHWM:") * 1024
    }

    /// Seconds of processor time (user and system) of all its threads so far, in steps of 10 ms.
    pub fn cpu_seconds(&self) -> f64 {
        let text = std::fs::read_to_string(self.proc("stat")).unwrap_or_default();
        // The second field is the name in parentheses and may contain anything, so count from its end.
        let fields: Vec<&str> = text.rsplit(')').next().unwrap_or_default().split_whitespace().collect();
        let ticks = |index: usize| fields.get(index).and_then(|text| text.parse::<u64>().ok()).unwrap_or(0);
        (ticks(11) + ticks(12)) as f64 / rustix::param::clock_ticks_per_second() as f64
    }

    /// The bytes that it caused to be written to disks, from `/proc/PID/io`.
    pub fn written_bytes(&self) -> u64 {
        number_after(&self.proc("io"), "write_bytes:")
    }

    fn status_kib(&self, key: &str) -> u64 {
        number_after(&self.proc("status"), key)
    }

    fn proc(&self, file: &str) -> PathBuf {
        PathBuf::from(format!("/proc/{}/{file}", self.id()))
    }
}

impl Drop for Process {
    fn drop(&mut self) {
        self.kill();
    }
}

/// The number after `key` at the beginning of a line; 0 if there is none, as after the process' end.
fn number_after(file: &Path, key: &str) -> u64 {
    let text = std::fs::read_to_string(file).unwrap_or_default();
    let rest = text.lines().find_map(|line| line.strip_prefix(key)).unwrap_or_default();
    rest.split_whitespace().next().and_then(|number| number.parse().ok()).unwrap_or(0)
}

fn collect(from: impl Read + Send + 'static, output: Arc<Output>) {
    std::thread::spawn(move || {
        let mut from = BufReader::new(from);
        let mut line = Vec::new();
        while matches!(from.read_until(b'\n', &mut line), Ok(1..)) {
            let text = String::from_utf8_lossy(&line).trim_end().to_string();
            line.clear();
            let mut lines = output.lines.lock().unwrap();
            if lines.len() == MAX_LINES {
                lines.pop_front();
            }
            lines.push_back(text);
            output.more.notify_all();
        }
        output.ended.fetch_add(1, Ordering::Release);
    });
}

/// util-linux' `setpriv`, which every Debian has. Without it a child may outlive a killed test.
static SETPRIV: LazyLock<Option<PathBuf>> = LazyLock::new(|| find_in_path("setpriv"));

/// The program `name` in `PATH`.
pub fn find_in_path(name: &str) -> Option<PathBuf> {
    let path = std::env::var_os("PATH")?;
    std::env::split_paths(&path).map(|folder| folder.join(name)).find(|path| path.is_file())
}

type Order = (Command, Sender<std::io::Result<Child>>);

/// Starts `command` from the thread that never ends.
fn spawn(command: Command) -> std::io::Result<Child> {
    static SPAWNER: LazyLock<Mutex<Sender<Order>>> = LazyLock::new(|| {
        let (orders, queue) = channel::<Order>();
        std::thread::spawn(move || {
            for (mut command, answer) in queue {
                let _ = answer.send(command.spawn());
            }
        });
        Mutex::new(orders)
    });
    let (answer, child) = channel();
    SPAWNER.lock().unwrap().send((command, answer)).map_err(std::io::Error::other)?;
    child.recv().map_err(std::io::Error::other)?
}

/// A port on loopback for a program that can't choose one itself. It is reserved for this process until this
/// process ends.
///
/// No other test process on this machine gets it, and no socket whose port the system chooses: it is outside
/// the range that the kernel chooses from. So only the program that was given the port answers there.
///
/// # Panics
/// If no port is free.
pub fn free_port() -> u16 {
    free_listener().local_addr().unwrap().port()
}

/// Listens on such a port.
///
/// # Panics
/// If no port is free.
pub fn free_listener() -> std::net::TcpListener {
    static CLAIMS: Mutex<Vec<UnixListener>> = Mutex::new(Vec::new());
    let candidates = ports_that_nothing_chooses();
    // The start depends on the process, so that processes that start together do not try the same ports one
    // after the other.
    let start = RandomState::new().hash_one(std::process::id()) as usize;
    for step in 0..candidates.len() {
        let port = candidates[start.wrapping_add(step) % candidates.len()];
        let Some(claim) = claim(port) else { continue };
        CLAIMS.lock().unwrap().push(claim);
        if let Ok(listener) = std::net::TcpListener::bind(("127.0.0.1", port)) {
            return listener;
        }
    }
    panic!("none of {} ports is free", candidates.len());
}

/// Reserves a port: binds a name that only one socket in this network namespace can have at a time. The
/// kernel frees it when this process ends.
fn claim(port: u16) -> Option<UnixListener> {
    let name = SocketAddr::from_abstract_name(format!("narthex-test-port-{port}")).unwrap();
    UnixListener::bind_addr(&name).ok()
}

/// The ports outside the range that the kernel chooses from. If the range is unknown or has nearly all ports,
/// it is all ports, and only the reservation protects them.
fn ports_that_nothing_chooses() -> Vec<u16> {
    let all = 10_000..=u16::MAX;
    let range = std::fs::read_to_string("/proc/sys/net/ipv4/ip_local_port_range").unwrap_or_default();
    let bounds: Vec<u16> = range.split_whitespace().map(|bound| bound.parse().unwrap()).collect();
    let chosen = |port: &u16| bounds.len() == 2 && (bounds[0]..=bounds[1]).contains(port);
    let apart: Vec<u16> = all.clone().filter(|port| !chosen(port)).collect();
    if apart.len() < 1_000 { all.collect() } else { apart }
}

/// Starts a server that needs a given port, and waits until `ready` (a path) answers 200. If another program
/// has taken the port meanwhile, the next one is tried.
///
/// # Panics
/// If the server ends or isn't ready in time. The message has its last lines.
#[track_caller]
pub fn start_server(ready: &str, start: impl Fn(u16) -> Process) -> (Process, String) {
    start_server_on(ready, None, start)
}

/// Like [`start_server`], on a given port, for a server that starts again at its old address.
///
/// # Panics
/// As [`start_server`].
#[track_caller]
pub fn start_server_on(ready: &str, port: Option<u16>, start: impl Fn(u16) -> Process) -> (Process, String) {
    try_start_server_on(ready, port, start).unwrap_or_else(|message| panic!("{message}"))
}

/// Like [`start_server_on`], for a server that may end instead of becoming ready. The error has its last
/// lines.
pub fn try_start_server_on(
    ready: &str,
    port: Option<u16>,
    start: impl Fn(u16) -> Process,
) -> Result<(Process, String), String> {
    const ATTEMPTS: usize = 5;
    for _ in 0..ATTEMPTS {
        let port = port.unwrap_or_else(free_port);
        let (process, url) = (start(port), format!("http://127.0.0.1:{port}"));
        if wait_ready(&process, &format!("{url}{ready}"))? {
            return Ok((process, url));
        }
    }
    Err(format!("no free port in {ATTEMPTS} attempts"))
}

/// Returns true if the server became ready, and false if its port was in use.
fn wait_ready(process: &Process, url: &str) -> Result<bool, String> {
    let start = Instant::now();
    loop {
        let running = process.is_running();
        if running && crate::http::get(url).is_ok_and(|answer| answer.status == 200) {
            return Ok(true);
        }
        if !running {
            process.drain();
        }
        if !running && process.lines().iter().any(|line| line.contains("address already in use")) {
            return Ok(false);
        }
        if !running || start.elapsed() > SOON {
            let how = if running { "is not ready" } else { "has ended" };
            return Err(format!("{} {how} ({url}){}", process.name, process.tail()));
        }
        std::thread::sleep(Duration::from_millis(20));
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::wait::wait_until;

    fn shell(script: &str) -> Process {
        Process::start(Path::new("/bin/sh"), ["-c", script])
    }

    fn runs(pid: &str) -> bool {
        // A killed process without a parent stays a zombie until it is reaped.
        std::fs::read_to_string(format!("/proc/{pid}/stat"))
            .is_ok_and(|stat| !stat.rsplit(')').next().unwrap().trim_start().starts_with('Z'))
    }

    #[test]
    fn a_port_is_given_once_and_outside_the_kernels_range() {
        let mut given: Vec<u16> = (0..50).map(|_| free_port()).collect();
        assert!(given.iter().all(|port| claim(*port).is_none()), "another process could get one of them");
        let apart = ports_that_nothing_chooses();
        assert!(given.iter().all(|port| apart.contains(port)));
        given.sort();
        given.dedup();
        assert_eq!(given.len(), 50);
    }

    #[test]
    fn lines_of_both_streams_are_seen() {
        let process = shell("echo out; echo err >&2; echo last; sleep 60");
        assert_eq!(process.wait_for_line("rr", SOON), "err");
        process.wait_for_line("last", SOON);
        assert!(process.lines().contains(&"out".to_string()));
    }

    #[test]
    #[should_panic(expected = "no line with \"ready\" from sh (exit status: 3); its last lines:\n  | oops")]
    fn an_early_end_is_reported_with_the_last_lines() {
        shell("echo oops; exit 3").wait_for_line("ready", SOON);
    }

    #[test]
    fn dropping_also_kills_the_descendants_of_the_child() {
        let process = shell("sleep 600 & echo grandchild $!; wait");
        let line = process.wait_for_line("grandchild", SOON);
        let pid = line.rsplit(' ').next().unwrap().to_string();
        assert!(runs(&pid));
        drop(process);
        wait_until("the grandchild's end", SOON, || !runs(&pid));
    }

    #[test]
    fn a_child_outlives_the_thread_that_started_it_and_answers_signals() {
        let process =
            std::thread::spawn(|| shell("trap 'exit 7' TERM; echo up; while :; do sleep 0.05; done"))
                .join()
                .unwrap();
        process.wait_for_line("up", SOON);
        assert_eq!(process.terminate(SOON).code(), Some(7));
    }

    #[test]
    fn measures_come_from_proc() {
        let process = shell("while :; do :; done");
        wait_until("some CPU used", SOON, || process.cpu_seconds() > 0.03);
        assert!(process.rss_bytes() > 100 << 10);
        assert!(process.peak_rss_bytes() >= process.rss_bytes());
        assert!((1..process.rss_bytes()).contains(&process.allocated_bytes()));
    }

    #[test]
    fn only_the_newest_lines_are_kept() {
        let process = shell(&format!("seq {}; echo end; sleep 60", MAX_LINES + 10));
        process.wait_for_line("end", SOON);
        let lines = process.lines();
        assert_eq!((lines.len(), lines[0].as_str()), (MAX_LINES, "12"));
    }
}
