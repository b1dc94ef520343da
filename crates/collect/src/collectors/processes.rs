//! `processes`: the number of processes and threads, by state. It reads a file for each process, and for each
//! thread of processes with several threads. So it is off by default, as in node_exporter.

use super::{Context, Outcome};
use crate::error::CollectError;
use crate::out::{Def, Out, gauge};
use crate::source::Source;
use std::collections::BTreeMap;

/// The most processes and threads that are read.
const MAX_TASKS: usize = 100_000;

const THREADS: Def = gauge("node_processes_threads", "Allocated threads in system");
const MAX_THREADS: Def = gauge("node_processes_max_threads", "Limit of threads in the system");
const STATE: Def = gauge("node_processes_state", "Number of processes in each state.");
const THREAD_STATE: Def = gauge("node_processes_threads_state", "Number of threads in each state.");
const PIDS: Def = gauge("node_processes_pids", "Number of PIDs");
const MAX_PROCESSES: Def = gauge("node_processes_max_processes", "Number of max PIDs limit");

pub(super) fn collect(context: &mut Context<'_>, out: &mut Out) -> Outcome {
    let source = &mut *context.source;
    let mut states: BTreeMap<char, u64> = BTreeMap::new();
    let mut thread_states: BTreeMap<char, u64> = BTreeMap::new();
    let (mut pids, mut threads) = (0u64, 0u64);
    let mut left = MAX_TASKS;
    for pid in source.list_limited("proc", MAX_TASKS, is_number)? {
        // The process may have ended after the listing.
        let Some(task) = read(source, &format!("proc/{pid}/stat"))? else { continue };
        left = left.saturating_sub(1);
        pids += 1;
        threads += task.threads;
        *states.entry(task.state).or_default() += 1;
        if task.threads <= 1 {
            *thread_states.entry(task.state).or_default() += 1;
            continue;
        }
        let directory = format!("proc/{pid}/task");
        let Ok(tasks) = source.list_limited(&directory, left, is_number) else { continue };
        for thread in tasks {
            if let Some(task) = read(source, &format!("{directory}/{thread}/stat"))? {
                left = left.saturating_sub(1);
                *thread_states.entry(task.state).or_default() += 1;
            }
        }
    }
    out.single(THREADS, threads as f64);
    let limit = source.number("proc/sys/kernel/threads-max")?;
    out.single(MAX_THREADS, limit);
    for (def, label, counts) in [(STATE, "state", states), (THREAD_STATE, "thread_state", thread_states)] {
        let slot = out.open(def);
        for (state, count) in counts {
            out.push(slot, &[(label, state.encode_utf8(&mut [0; 4]))], count as f64);
        }
    }
    out.single(PIDS, pids as f64);
    let limit = source.number("proc/sys/kernel/pid_max")?;
    out.single(MAX_PROCESSES, limit);
    Ok(())
}

fn is_number(name: &str) -> bool {
    name.bytes().all(|byte| byte.is_ascii_digit())
}

struct Task {
    state: char,
    threads: u64,
}

/// The `stat` file of a process or thread. Returns `None` if it has ended or may not be read.
fn read(source: &mut Source, path: &str) -> Result<Option<Task>, CollectError> {
    /// ESRCH: the error on reading the file of a process that is ending.
    const NO_SUCH_PROCESS: i32 = 3;
    match source.value(path) {
        Ok(text) => match parse(text) {
            Some(task) => Ok(Some(task)),
            None => Err(CollectError::malformed(path, "a process' state and threads", text)),
        },
        Err(error) if error.is_absence() => Ok(None),
        Err(CollectError::Read { source, .. }) if source.raw_os_error() == Some(NO_SUCH_PROCESS) => Ok(None),
        Err(error) => Err(error),
    }
}

/// `PID (NAME) STATE ...`. The name may contain spaces and parentheses; the number of threads is the 20th
/// field.
fn parse(text: &str) -> Option<Task> {
    let (_, rest) = text.rsplit_once(')')?;
    let mut fields = rest.split_ascii_whitespace();
    let state = fields.next()?.chars().next()?;
    Some(Task { state, threads: fields.nth(16)?.parse().ok()? })
}

#[cfg(test)]
mod tests {
    use super::parse;

    #[test]
    fn a_name_with_brackets_and_blanks() {
        let task = parse("7 (a) R (b) S 1 7 7 0 -1 0 0 0 0 0 0 0 0 0 20 0 12 0 5").unwrap();
        assert_eq!((task.state, task.threads), ('S', 12));
        assert!(parse("7 (a) S 1 7").is_none());
    }
}
