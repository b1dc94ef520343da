//! `meminfo`: every line of `/proc/meminfo`, in bytes.

use super::{Context, Outcome};
use crate::error::CollectError;
use crate::out::Out;
use model::MetricType;

pub(super) fn collect(context: &mut Context<'_>, out: &mut Out) -> Outcome {
    const FILE: &str = "proc/meminfo";
    for line in context.source.read(FILE)?.lines() {
        let mut fields = line.split_ascii_whitespace();
        let (Some(key), Some(value)) = (fields.next(), fields.next()) else { continue };
        let value: f64 =
            value.parse().map_err(|_| CollectError::malformed(FILE, "a key and a number", line))?;
        let mut key = metric_name(key);
        let value = match fields.next() {
            // The file says kB, but the unit is KiB.
            Some("kB") => {
                key.push_str("_bytes");
                value * 1024.0
            }
            _ => value,
        };
        let slot = out.open_named(
            format!("node_memory_{key}"),
            format!("Memory information field {key}."),
            MetricType::Gauge,
        );
        out.push(slot, &[], value);
    }
    Ok(())
}

/// `Active(anon):` becomes `Active_anon`.
fn metric_name(key: &str) -> String {
    let key = key.strip_suffix(':').unwrap_or(key);
    match key.strip_suffix(')').and_then(|key| key.split_once('(')) {
        Some((outside, inside)) => format!("{outside}_{inside}"),
        None => key.to_owned(),
    }
}
