//! `pressure`: how long processes waited for processor, memory and disk (pressure stall information, since
//! Linux 4.20).

use super::{Context, Outcome};
use crate::error::CollectError;
use crate::out::{Def, Out, counter};

/// A file of `/proc/pressure` and its metrics: the time in which some processes waited, and the time in which
/// all did. For the whole system "full" of the processor has no meaning. Interrupts have no "some".
type Resource = (&'static str, Option<Def>, Option<Def>);

const RESOURCES: [Resource; 4] = [
    (
        "cpu",
        Some(counter(
            "node_pressure_cpu_waiting_seconds_total",
            "Total time in seconds that processes have waited for CPU time",
        )),
        None,
    ),
    (
        "io",
        Some(counter(
            "node_pressure_io_waiting_seconds_total",
            "Total time in seconds that processes have waited due to IO congestion",
        )),
        Some(counter(
            "node_pressure_io_stalled_seconds_total",
            "Total time in seconds no process could make progress due to IO congestion",
        )),
    ),
    (
        "memory",
        Some(counter(
            "node_pressure_memory_waiting_seconds_total",
            "Total time in seconds that processes have waited for memory",
        )),
        Some(counter(
            "node_pressure_memory_stalled_seconds_total",
            "Total time in seconds no process could make progress due to memory congestion",
        )),
    ),
    (
        "irq",
        None,
        Some(counter(
            "node_pressure_irq_stalled_seconds_total",
            "Total time in seconds no process could make progress due to IRQ congestion",
        )),
    ),
];

pub(super) fn collect(context: &mut Context<'_>, out: &mut Out) -> Outcome {
    for (resource, some, full) in RESOURCES {
        let path = format!("proc/pressure/{resource}");
        let text = match context.source.value(&path) {
            Ok(text) => text,
            // The file about interrupts is newer than the others, and needs a kernel that accounts for them.
            Err(error) if resource == "irq" && error.is_absence() => continue,
            Err(error) => return Err(error),
        };
        for line in text.lines() {
            let def = match line.split(' ').next() {
                Some("some") => some,
                Some("full") => full,
                _ => None,
            };
            let Some(def) = def else { continue };
            let micros: u64 = line
                .rsplit_once("total=")
                .and_then(|(_, total)| total.parse().ok())
                .ok_or_else(|| CollectError::malformed(&*path, "total=MICROSECONDS", line))?;
            out.single(def, micros as f64 / 1000.0 / 1000.0);
        }
    }
    Ok(())
}
