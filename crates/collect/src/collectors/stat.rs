//! `stat`: boot time, context switches, forks, interrupts, running and blocked processes.

use super::{Context, Outcome};
use crate::error::CollectError;
use crate::out::{Def, Out, counter, gauge};

/// The first word of a line of `/proc/stat`, and the metric of its first number.
const LINES: [(&str, Def); 6] = [
    ("intr", counter("node_intr_total", "Total number of interrupts serviced.")),
    ("ctxt", counter("node_context_switches_total", "Total number of context switches.")),
    ("btime", gauge("node_boot_time_seconds", "Node boot time, in unixtime.")),
    ("processes", counter("node_forks_total", "Total number of forks.")),
    ("procs_running", gauge("node_procs_running", "Number of processes in runnable state.")),
    (
        "procs_blocked",
        gauge("node_procs_blocked", "Number of processes blocked waiting for I/O to complete."),
    ),
];

pub(super) fn collect(context: &mut Context<'_>, out: &mut Out) -> Outcome {
    const FILE: &str = "proc/stat";
    for line in context.source.read(FILE)?.lines() {
        let Some((word, rest)) = line.split_once(' ') else { continue };
        let Some((_, def)) = LINES.iter().find(|(key, _)| *key == word) else { continue };
        // The line about interrupts has a further number for each interrupt.
        let number = rest.split(' ').next().unwrap_or_default();
        let value = number.parse().map_err(|_| CollectError::malformed(FILE, "a number", line))?;
        out.single(*def, value);
    }
    Ok(())
}
