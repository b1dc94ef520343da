//! `loadavg`: the three load averages.

use super::{Context, Outcome};
use crate::error::CollectError;
use crate::out::{Def, Out, gauge};
use crate::source::parse_number;

const LOADS: [Def; 3] = [
    gauge("node_load1", "1m load average."),
    gauge("node_load5", "5m load average."),
    gauge("node_load15", "15m load average."),
];

pub(super) fn collect(context: &mut Context<'_>, out: &mut Out) -> Outcome {
    const FILE: &str = "proc/loadavg";
    let text = context.source.value(FILE)?;
    let mut fields = text.split_ascii_whitespace();
    for load in LOADS {
        let value = fields
            .next()
            .and_then(parse_number)
            .ok_or_else(|| CollectError::malformed(FILE, "three load averages", text))?;
        out.single(load, value);
    }
    Ok(())
}
