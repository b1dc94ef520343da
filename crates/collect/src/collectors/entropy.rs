//! `entropy`: the kernel's random pool.

use super::{Context, Outcome};
use crate::out::{Def, Out, gauge};

const FILES: [(&str, Def); 2] = [
    ("entropy_avail", gauge("node_entropy_available_bits", "Bits of available entropy.")),
    ("poolsize", gauge("node_entropy_pool_size_bits", "Bits of entropy pool.")),
];

pub(super) fn collect(context: &mut Context<'_>, out: &mut Out) -> Outcome {
    for (file, def) in FILES {
        let bits = context.source.number(&format!("proc/sys/kernel/random/{file}"))?;
        out.single(def, bits);
    }
    Ok(())
}
