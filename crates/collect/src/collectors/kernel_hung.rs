//! `kernel_hung`: tasks that the kernel found hanging (since Linux 6.13).

use super::{Context, Outcome};
use crate::out::{Def, Out, counter};

const HUNG: Def = counter(
    "node_kernel_hung_tasks_total",
    "Total number of tasks that have been detected as hung since the system booted.",
);

pub(super) fn collect(context: &mut Context<'_>, out: &mut Out) -> Outcome {
    let count = context.source.number("proc/sys/kernel/hung_task_detect_count")?;
    out.single(HUNG, count);
    Ok(())
}
