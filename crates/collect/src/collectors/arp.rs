//! `arp`: entries of the ARP table by interface.

use super::{Context, Outcome};
use crate::out::{Def, Out, gauge};
use crate::source::MAX_DEVICES;
use std::collections::BTreeMap;
use std::ops::ControlFlow;

const ENTRIES: Def = gauge("node_arp_entries", "ARP entries by device");

pub(super) fn collect(context: &mut Context<'_>, out: &mut Out) -> Outcome {
    let mut entries: BTreeMap<String, u64> = BTreeMap::new();
    context.source.each_line("proc/net/arp", |line| {
        // The heading has spaces within its column names, so its sixth word is no device.
        let Some(device) = line.split_ascii_whitespace().nth(5).filter(|_| !line.starts_with("IP address"))
        else {
            return ControlFlow::Continue(());
        };
        if let Some(count) = entries.get_mut(device) {
            *count += 1;
        } else if entries.len() < MAX_DEVICES {
            entries.insert(device.to_owned(), 1);
        }
        ControlFlow::Continue(())
    })?;
    let slot = out.open(ENTRIES);
    for (device, count) in entries {
        out.push(slot, &[("device", &device)], count as f64);
    }
    Ok(())
}
