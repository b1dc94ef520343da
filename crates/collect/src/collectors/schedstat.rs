//! `schedstat`: counters of each processor's scheduler, from `/proc/schedstat`.

use super::{Context, Outcome};
use crate::error::CollectError;
use crate::out::{Def, Out, counter};

const COLUMNS: [Def; 3] = [
    counter("node_schedstat_running_seconds_total", "Number of seconds CPU spent running a process."),
    counter(
        "node_schedstat_waiting_seconds_total",
        "Number of seconds spent by processing waiting for this CPU.",
    ),
    counter("node_schedstat_timeslices_total", "Number of timeslices executed by CPU."),
];

/// The first of the three columns that are read, in a line `cpuN a b c d e f RUNNING WAITING TIMESLICES`.
const FIRST_COLUMN: usize = 6;
const NANOS_PER_SECOND: f64 = 1e9;

pub(super) fn collect(context: &mut Context<'_>, out: &mut Out) -> Outcome {
    const FILE: &str = "proc/schedstat";
    let first = out.open_all(&COLUMNS);
    for line in context.source.read(FILE)?.lines() {
        let Some((cpu, numbers)) = line.strip_prefix("cpu").and_then(|rest| rest.split_once(' ')) else {
            continue;
        };
        let columns: Option<Vec<u64>> = numbers
            .split_ascii_whitespace()
            .skip(FIRST_COLUMN)
            .take(COLUMNS.len())
            .map(|number| number.parse().ok())
            .collect();
        let Some(&[running, waiting, slices]) = columns.as_deref() else {
            return Err(CollectError::malformed(FILE, "nine numbers", line));
        };
        let labels = [("cpu", cpu)];
        out.push(first, &labels, running as f64 / NANOS_PER_SECOND);
        out.push(first.plus(1), &labels, waiting as f64 / NANOS_PER_SECOND);
        out.push(first.plus(2), &labels, slices as f64);
    }
    Ok(())
}
