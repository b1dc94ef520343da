//! `selinux`: whether SELinux is enabled, its mode, and counters of its cache.

use super::{Context, Outcome};
use crate::error::CollectError;
use crate::out::{Def, Out, counter, gauge};
use crate::source::Source;

const ENABLED: Def = gauge("node_selinux_enabled", "SELinux is enabled, 1 is true, 0 is false");
const CONFIG_MODE: Def = gauge("node_selinux_config_mode", "Configured SELinux enforcement mode");
const CURRENT_MODE: Def = gauge("node_selinux_current_mode", "Current SELinux enforcement mode");

/// Columns of `avc/cache_stats` by their headings.
const CACHE: [(&str, Def); 6] = [
    ("lookups", counter("node_selinux_avc_lookups_total", "SELinux AVC lookups")),
    ("hits", counter("node_selinux_avc_hits_total", "SELinux AVC hits")),
    ("misses", counter("node_selinux_avc_misses_total", "SELinux AVC misses")),
    ("allocations", counter("node_selinux_avc_allocations_total", "SELinux AVC allocations")),
    ("reclaims", counter("node_selinux_avc_reclaims_total", "SELinux AVC reclaims")),
    ("frees", counter("node_selinux_avc_frees_total", "SELinux AVC frees")),
];
const HASH_ENTRIES: Def = gauge("node_selinux_avc_hash_entries", "SELinux AVC hash entries");
const HASH_AVAILABLE: Def =
    gauge("node_selinux_avc_hash_buckets_available", "SELinux AVC hash buckets available");
const HASH_USED: Def = gauge("node_selinux_avc_hash_buckets_used", "SELinux AVC hash buckets used");
const HASH_LONGEST: Def = gauge("node_selinux_avc_hash_longest_chain", "SELinux AVC hash longest chain");
const THRESHOLD: Def = gauge("node_selinux_avc_threshold", "SELinux AVC threshold");

const FILES: &str = "sys/fs/selinux";

pub(super) fn collect(context: &mut Context<'_>, out: &mut Out) -> Outcome {
    let source = &mut *context.source;
    let mode = match source.number(&format!("{FILES}/enforce")) {
        Ok(mode) => mode,
        Err(error) if error.is_missing() => {
            out.single(ENABLED, 0.0);
            return Ok(());
        }
        Err(error) => return Err(error),
    };
    out.single(ENABLED, 1.0);
    let configured = configured_mode(source);
    out.single(CONFIG_MODE, configured);
    out.single(CURRENT_MODE, mode);
    cache(source, out)?;
    hash(source, out)?;
    let threshold = source.number(&format!("{FILES}/avc/cache_threshold"))?;
    out.single(THRESHOLD, threshold);
    Ok(())
}

/// 1 for enforcing, 0 for permissive, -1 for disabled or not configured.
fn configured_mode(source: &mut Source) -> f64 {
    let Ok(text) = source.read("etc/selinux/config") else { return -1.0 };
    let said = text.lines().find_map(|line| line.trim().strip_prefix("SELINUX="));
    match said.map(str::trim) {
        Some("enforcing") => 1.0,
        Some("permissive") => 0.0,
        _ => -1.0,
    }
}

/// Reads a line of headings and a line for each processor.
fn cache(source: &mut Source, out: &mut Out) -> Outcome {
    let path = format!("{FILES}/avc/cache_stats");
    let text = source.read(&path)?;
    let mut lines = text.lines();
    let headings: Vec<&str> = lines.next().unwrap_or_default().split_ascii_whitespace().collect();
    let mut sums = [0_u64; CACHE.len()];
    for line in lines {
        for (heading, field) in headings.iter().zip(line.split_ascii_whitespace()) {
            let index = CACHE.iter().position(|(name, _)| name == heading);
            let value: u64 = field.parse().map_err(|_| CollectError::malformed(&*path, "numbers", line))?;
            if let Some(sum) = index.and_then(|index| sums.get_mut(index)) {
                *sum = sum.wrapping_add(value);
            }
        }
    }
    for ((_, def), sum) in CACHE.into_iter().zip(sums) {
        out.single(def, sum as f64);
    }
    Ok(())
}

/// Reads `entries: 503`, `buckets used: 283/512`, `longest chain: 7`.
fn hash(source: &mut Source, out: &mut Out) -> Outcome {
    let path = format!("{FILES}/avc/hash_stats");
    for line in source.read(&path)?.lines() {
        let malformed = || CollectError::malformed(&*path, "a name and a number", line);
        let (name, value) = line.split_once(':').ok_or_else(malformed)?;
        let number = |text: &str| text.trim().parse::<f64>().map_err(|_| malformed());
        match name {
            "entries" => out.single(HASH_ENTRIES, number(value)?),
            "buckets used" => {
                let (used, available) = value.split_once('/').ok_or_else(malformed)?;
                out.single(HASH_USED, number(used)?);
                out.single(HASH_AVAILABLE, number(available)?);
            }
            "longest chain" => out.single(HASH_LONGEST, number(value)?),
            _ => {}
        }
    }
    Ok(())
}
