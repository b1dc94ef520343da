//! `narthex exec`: runs a command and pushes how it went.
//!
//! The command is started before anything is pushed, and pushes are sent while it runs. A push that fails
//! never changes the exit code. Only the last push delays the end, by at most [`crate::courier::PATIENCE`]
//! and one request.

pub mod args;
mod gauges;
mod signals;
mod start;
mod tree;

use crate::courier::{Courier, Outcome, Report};
use crate::entry::Entry;
use args::ExecArgs;
use command::hostname;
use command::say;
use gauges::Ended;
use model::{Clock, Family, SystemClock};
use rustix::io::Errno;
use rustix::process::{Pid, WaitId, WaitIdOptions, WaitOptions, WaitStatus, waitid, waitpid};
use signals::{Caught, Receiver};
use std::collections::BTreeMap;
use std::process::ExitCode;
use std::time::Duration;
use tokio::sync::oneshot;
use tokio::time::{Instant, MissedTickBehavior, interval_at};
use tree::{Cpu, Roots, Sampler, own_cgroup};

/// The exit code for a command that does not exist, as in shells.
const NOT_FOUND: u8 = 127;
/// The exit code for a command that can't be run.
const NOT_RUNNABLE: u8 = 126;
/// Added to the number of the signal that ended the command to make the exit code.
const SIGNALED: i32 = 128;

/// Runs the command and returns its exit code.
pub async fn run(args: ExecArgs) -> ExitCode {
    let clock = SystemClock::new();
    let job = Job::start(&args.command, &clock);
    let started = job.started;
    let mut ended = job.ended;
    let mut reporter = Reporter::new(&args);
    reporter.push(started, gauges::start(started)).await;

    let mut beats = interval_at(Instant::now() + args.heartbeat, args.heartbeat);
    beats.set_missed_tick_behavior(MissedTickBehavior::Delay);
    let ended = loop {
        tokio::select! {
            biased;
            ended = &mut ended => break ended,
            _ = beats.tick() => {
                let now = clock.now_ms();
                reporter.beat(now, gauges::beat(now)).await;
            }
        }
    };
    // The waiting thread always sends the result, unless it has a bug.
    let Ok(ended) = ended else { return ExitCode::from(NOT_RUNNABLE) };
    reporter.push(ended.at, gauges::end(started, &ended)).await;
    reporter.tell();
    ExitCode::from(ended.code)
}

/// A command that was started, or that could not be started.
struct Job {
    /// Milliseconds since 1970.
    started: i64,
    ended: oneshot::Receiver<Ended>,
}

impl Job {
    fn start(command: &[std::ffi::OsString], clock: &SystemClock) -> Job {
        let roots = Roots::default();
        let caught = Caught::new();
        // Become the subreaper of the job's orphans, so that they are measured, too. Where this is not
        // allowed, orphans are not counted.
        let _ = rustix::process::set_child_subreaper(Some(rustix::process::getpid()));
        let cgroup = own_cgroup(&roots, rustix::process::getpid());
        let cpu_before = Cpu::of_children(&roots);
        let (tell, ended) = oneshot::channel();
        let (started, since) = (clock.now_ms(), std::time::Instant::now());
        let (program, arguments) = match command.split_first() {
            Some((program, arguments)) => (program.as_os_str(), arguments),
            // clap requires at least one argument.
            None => (std::ffi::OsStr::new(""), command),
        };
        match start::spawn(program, arguments) {
            Ok(child) => {
                let pid = Pid::from_child(&child);
                let receiver = Receiver::default();
                receiver.is(pid);
                match caught {
                    Ok(caught) => caught.pass_on_to(receiver.clone()),
                    Err(error) => say(format_args!("narthex: signals are not passed on: {error}")),
                }
                let sampler = Sampler::start(roots.clone(), pid, cgroup);
                std::thread::spawn(move || {
                    let status = wait(pid, &receiver);
                    let (at, took) = (SystemClock::new().now_ms(), since.elapsed());
                    let cpu = Cpu::of_children(&roots);
                    let cpu = cpu.zip(cpu_before).map(|(cpu, before)| cpu.since(before));
                    let code = code(status);
                    let _ = tell.send(Ended { at, took, code, cpu, peak_memory_bytes: sampler.stop() });
                });
            }
            Err(error) => {
                say(format_args!("narthex: {}: {error}", program.display()));
                let code =
                    if error.kind() == std::io::ErrorKind::NotFound { NOT_FOUND } else { NOT_RUNNABLE };
                let took = Duration::ZERO;
                let _ = tell.send(Ended { at: started, took, code, cpu: None, peak_memory_bytes: None });
            }
        }
        Job { started, ended }
    }
}

/// Waits for the command's end. The command is reaped only after signals are no longer passed on, because its
/// process number can then be reused.
fn wait(pid: Pid, receiver: &Receiver) -> Option<WaitStatus> {
    let ended = WaitIdOptions::EXITED | WaitIdOptions::NOWAIT;
    while matches!(waitid(WaitId::Pid(pid), ended), Err(Errno::INTR)) {}
    receiver.is_gone();
    loop {
        match waitpid(Some(pid), WaitOptions::empty()) {
            Ok(ended) => return ended.map(|(_, status)| status),
            Err(Errno::INTR) => {}
            Err(_) => return None,
        }
    }
}

/// The exit code for a wait status, as in shells.
fn code(status: Option<WaitStatus>) -> u8 {
    let code = status.and_then(|status| {
        status.exit_status().or_else(|| status.terminating_signal().map(|number| SIGNALED + number))
    });
    code.and_then(|code| u8::try_from(code).ok()).unwrap_or(NOT_RUNNABLE)
}

/// Pushes the job's metrics, and remembers what went wrong with the pushes.
struct Reporter {
    courier: Result<Courier, String>,
    labels: BTreeMap<String, String>,
    /// The time of the last push. Two pushes must not have the same time.
    last_at: i64,
    /// Why the last push was not delivered; `None` if it was.
    trouble: Option<String>,
    notes: Vec<String>,
}

impl Reporter {
    fn new(args: &ExecArgs) -> Reporter {
        let mut labels: BTreeMap<_, _> = args.labels.iter().cloned().collect();
        if !args.no_instance {
            let instance = args.instance.clone().unwrap_or_else(hostname);
            labels.insert("instance".into(), instance);
        }
        labels.insert("job".into(), args.job.clone());
        let courier = Courier::new(&args.target, &|name| std::env::var(name).ok());
        let courier = courier.map_err(|failure| failure.to_string());
        Reporter { courier, labels, last_at: i64::MIN, trouble: None, notes: Vec::new() }
    }

    /// Delivers the metrics or keeps them in the spool.
    async fn push(&mut self, at: i64, families: Vec<Family>) {
        let entry = self.entry(at, &families);
        let courier = match &mut self.courier {
            Ok(courier) => courier,
            Err(error) => {
                self.trouble = Some(error.clone());
                return;
            }
        };
        let Report { outcome, notes } = courier.deliver(&entry).await;
        self.notes.extend(notes);
        let target = courier.target().shown();
        self.trouble = match outcome {
            Outcome::Delivered => None,
            Outcome::Kept { reason, waiting, .. } => Some(format!(
                "{target}: {reason}; how the job went is kept for the next push in {} ({waiting} waiting)",
                courier.spool_shown()
            )),
            Outcome::Refused(reason) => Some(format!("{target} refuses how the job went: {reason}")),
            Outcome::Lost(reason) => Some(format!("{target}: {reason}; how the job went is lost")),
        };
    }

    /// Delivers a heartbeat if that is possible now. It is not kept: the next heartbeat replaces it.
    async fn beat(&mut self, at: i64, families: Vec<Family>) {
        let entry = self.entry(at, &families);
        if let Ok(courier) = &mut self.courier {
            courier.try_now(&entry).await;
        }
    }

    fn entry(&mut self, at: i64, families: &[Family]) -> Entry {
        self.last_at = at.max(self.last_at.saturating_add(1));
        let body = formats::text::encode(families);
        Entry { at: self.last_at, labels: self.labels.clone(), ttl: None, add: None, body }
    }

    /// Prints what went wrong, in one line.
    fn tell(&self) {
        let parts: Vec<_> = self.trouble.iter().chain(&self.notes).map(String::as_str).collect();
        if !parts.is_empty() {
            say(format_args!("narthex: {}", parts.join("; ")));
        }
    }
}
