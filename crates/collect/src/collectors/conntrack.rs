//! `conntrack`: the table of tracked connections: its size, its limit, and counters of its entries.

use super::{Context, Outcome};
use crate::error::CollectError;
use crate::out::{Def, Out, gauge};

const ENTRIES: Def =
    gauge("node_nf_conntrack_entries", "Number of currently allocated flow entries for connection tracking.");
const LIMIT: Def = gauge("node_nf_conntrack_entries_limit", "Maximum size of connection tracking table.");

/// Columns by their headings.
const COLUMNS: [(&str, Def); 8] = [
    ("found", gauge("node_nf_conntrack_stat_found", "Number of searched entries which were successful.")),
    ("invalid", gauge("node_nf_conntrack_stat_invalid", "Number of packets seen which can not be tracked.")),
    (
        "ignore",
        gauge(
            "node_nf_conntrack_stat_ignore",
            "Number of packets seen which are already connected to a conntrack entry.",
        ),
    ),
    ("insert", gauge("node_nf_conntrack_stat_insert", "Number of entries inserted into the list.")),
    (
        "insert_failed",
        gauge(
            "node_nf_conntrack_stat_insert_failed",
            "Number of entries for which list insertion was attempted but failed.",
        ),
    ),
    ("drop", gauge("node_nf_conntrack_stat_drop", "Number of packets dropped due to conntrack failure.")),
    (
        "early_drop",
        gauge(
            "node_nf_conntrack_stat_early_drop",
            "Number of dropped conntrack entries to make room for new ones, if maximum table size was \
             reached.",
        ),
    ),
    (
        "search_restart",
        gauge(
            "node_nf_conntrack_stat_search_restart",
            "Number of conntrack table lookups which had to be restarted due to hashtable resizes.",
        ),
    ),
];

pub(super) fn collect(context: &mut Context<'_>, out: &mut Out) -> Outcome {
    const FILE: &str = "proc/net/stat/nf_conntrack";
    // The files do not exist if the kernel module is not loaded.
    let entries = context.source.number("proc/sys/net/netfilter/nf_conntrack_count")?;
    out.single(ENTRIES, entries);
    let limit = context.source.number("proc/sys/net/netfilter/nf_conntrack_max")?;
    out.single(LIMIT, limit);

    let text = context.source.read(FILE)?;
    let mut lines = text.lines();
    let headings: Vec<&str> = lines.next().unwrap_or_default().split_ascii_whitespace().collect();
    let mut sums = [0_u64; COLUMNS.len()];
    // One line for each processor, with hexadecimal numbers.
    for line in lines {
        for (heading, field) in headings.iter().zip(line.split_ascii_whitespace()) {
            let Some(index) = COLUMNS.iter().position(|(name, _)| name == heading) else { continue };
            let value = u64::from_str_radix(field, 16)
                .map_err(|_| CollectError::malformed(FILE, "hexadecimal numbers", line))?;
            if let Some(sum) = sums.get_mut(index) {
                *sum = sum.wrapping_add(value);
            }
        }
    }
    for ((_, def), sum) in COLUMNS.into_iter().zip(sums) {
        out.single(def, sum as f64);
    }
    Ok(())
}
