//! `sockstat`: sockets by protocol, from `/proc/net/sockstat` and `sockstat6`.

use super::{Context, Outcome};
use crate::error::CollectError;
use crate::out::{Def, Out, gauge};
use model::MetricType;

const USED: Def = gauge("node_sockstat_sockets_used", "Number of IPv4 sockets in use.");

pub(super) fn collect(context: &mut Context<'_>, out: &mut Out) -> Outcome {
    for path in ["proc/net/sockstat", "proc/net/sockstat6"] {
        let text = match context.source.read(path) {
            Ok(text) => text,
            // A kernel without IPv4 or IPv6.
            Err(error) if error.is_missing() => continue,
            Err(error) => return Err(error),
        };
        for line in text.lines() {
            // "TCP: inuse 5 orphan 0"
            let Some((protocol, pairs)) = line.split_once(':') else { continue };
            let mut fields = pairs.split_ascii_whitespace();
            while let (Some(state), Some(value)) = (fields.next(), fields.next()) {
                let value: f64 =
                    value.parse().map_err(|_| CollectError::malformed(path, "a number", line))?;
                if protocol == "sockets" {
                    out.single(USED, value);
                    continue;
                }
                push(out, protocol, state, value);
                if state == "mem" {
                    push(out, protocol, "mem_bytes", value * rustix::param::page_size() as f64);
                }
            }
        }
    }
    Ok(())
}

fn push(out: &mut Out, protocol: &str, state: &str, value: f64) {
    let slot = out.open_named(
        format!("node_sockstat_{protocol}_{state}"),
        format!("Number of {protocol} sockets in state {state}."),
        MetricType::Gauge,
    );
    out.push(slot, &[], value);
}
