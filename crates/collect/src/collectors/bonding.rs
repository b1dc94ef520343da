//! `bonding`: the number of interfaces of a bond, and how many of them are up.

use super::{Context, Outcome};
use crate::out::{Def, Out, gauge};

const SLAVES: Def = gauge("node_bonding_slaves", "Number of configured slaves per bonding interface.");
const ACTIVE: Def = gauge("node_bonding_active", "Number of active slaves per bonding interface.");

const NET: &str = "sys/class/net";

pub(super) fn collect(context: &mut Context<'_>, out: &mut Out) -> Outcome {
    let source = &mut *context.source;
    let masters = source.value(&format!("{NET}/bonding_masters"))?.to_owned();
    let slaves_slot = out.open(SLAVES);
    let active_slot = out.open(ACTIVE);
    for master in masters.split_ascii_whitespace() {
        let slaves = source.value(&format!("{NET}/{master}/bonding/slaves"))?.to_owned();
        let (mut count, mut active) = (0_u32, 0_u32);
        for slave in slaves.split_ascii_whitespace() {
            // Old kernels use slave_ instead of lower_.
            let state = ["lower", "slave"].iter().find_map(|prefix| {
                source.text_if_any(&format!("{NET}/{master}/{prefix}_{slave}/bonding_slave/mii_status"))
            });
            count += 1;
            active += u32::from(state.as_deref() == Some("up"));
        }
        out.push(slaves_slot, &[("master", master)], f64::from(count));
        out.push(active_slot, &[("master", master)], f64::from(active));
    }
    Ok(())
}
