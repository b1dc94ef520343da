//! `softnet`: incoming packets that each processor handled or dropped, from `/proc/net/softnet_stat`.

use super::{Context, Outcome};
use crate::error::CollectError;
use crate::out::{Def, Out, counter, gauge};

/// Columns of a processor's line. The numbers are hexadecimal.
const COLUMNS: [(usize, Def); 7] = [
    (0, counter("node_softnet_processed_total", "Number of processed packets")),
    (1, counter("node_softnet_dropped_total", "Number of dropped packets")),
    (2, counter("node_softnet_times_squeezed_total", "Number of times processing packets ran out of quota")),
    (
        8,
        counter(
            "node_softnet_cpu_collision_total",
            "Number of collision occur while obtaining device lock while transmitting",
        ),
    ),
    (9, counter("node_softnet_received_rps_total", "Number of times cpu woken up received_rps")),
    (10, counter("node_softnet_flow_limit_count_total", "Number of times flow limit has been reached")),
    (11, gauge("node_softnet_backlog_len", "Softnet backlog status")),
];

/// The column with the processor's number, since Linux 5.10. On older kernels the lines are counted.
const CPU: usize = 12;

pub(super) fn collect(context: &mut Context<'_>, out: &mut Out) -> Outcome {
    const FILE: &str = "proc/net/softnet_stat";
    let first = out.open_all(&COLUMNS.map(|(_, def)| def));
    for (number, line) in context.source.read(FILE)?.lines().enumerate() {
        let columns: Result<Vec<u64>, _> =
            line.split_ascii_whitespace().map(|field| u64::from_str_radix(field, 16)).collect();
        let columns = columns.map_err(|_| CollectError::malformed(FILE, "hexadecimal numbers", line))?;
        let cpu = columns.get(CPU).copied().unwrap_or(number as u64).to_string();
        for (index, (column, _)) in COLUMNS.iter().enumerate() {
            // Old kernels have fewer columns; as in node_exporter, a missing one is 0.
            let value = columns.get(*column).copied().unwrap_or(0);
            out.push(first.plus(index), &[("cpu", &cpu)], value as f64);
        }
    }
    Ok(())
}
