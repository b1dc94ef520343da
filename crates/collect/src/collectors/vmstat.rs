//! `vmstat`: the lines of `/proc/vmstat` that node_exporter has by default: paging, swapping, page faults and
//! out-of-memory kills.

use super::{Context, Outcome};
use crate::error::CollectError;
use crate::out::Out;
use model::MetricType;

pub(super) fn collect(context: &mut Context<'_>, out: &mut Out) -> Outcome {
    const FILE: &str = "proc/vmstat";
    for line in context.source.read(FILE)?.lines() {
        let Some((key, value)) = line.split_once(' ').filter(|(key, _)| is_wanted(key)) else { continue };
        let value = value.trim().parse().map_err(|_| CollectError::malformed(FILE, "a number", line))?;
        let slot = out.open_named(
            format!("node_vmstat_{key}"),
            format!("/proc/vmstat information field {key}."),
            MetricType::Unknown,
        );
        out.push(slot, &[], value);
    }
    Ok(())
}

/// node_exporter's default, `^(oom_kill|pgpg|pswp|pg.*fault).*`.
fn is_wanted(key: &str) -> bool {
    ["oom_kill", "pgpg", "pswp"].iter().any(|start| key.starts_with(start))
        || key.strip_prefix("pg").is_some_and(|rest| rest.contains("fault"))
}

#[cfg(test)]
mod tests {
    use super::is_wanted;

    #[test]
    fn the_default_fields() {
        for key in ["oom_kill", "pgpgin", "pswpout", "pgfault", "pgmajfault"] {
            assert!(is_wanted(key), "{key}");
        }
        for key in ["nr_free_pages", "pgalloc_dma", "numa_pte_updates", "thp_fault_alloc"] {
            assert!(!is_wanted(key), "{key}");
        }
    }
}
