//! `netdev`: counters of network interfaces, from `/proc/net/dev`, and packets without a handler, from
//! `/sys/class/net`.

use super::{Context, Outcome};
use crate::error::CollectError;
use crate::out::{Def, Out, counter};
use crate::source::MAX_DEVICES;

macro_rules! columns {
    ($direction:literal: $($key:literal)*) => {
        [$(counter(
            concat!("node_network_", $direction, "_", $key, "_total"),
            concat!("Network device statistic ", $direction, "_", $key, "."),
        ),)*]
    };
}

const RECEIVE: [Def; 8] =
    columns!("receive": "bytes" "packets" "errs" "drop" "fifo" "frame" "compressed" "multicast");
const TRANSMIT: [Def; 8] =
    columns!("transmit": "bytes" "packets" "errs" "drop" "fifo" "colls" "carrier" "compressed");
const NO_HANDLER: [Def; 1] = columns!("receive": "nohandler");

pub(super) fn collect(context: &mut Context<'_>, out: &mut Out) -> Outcome {
    const FILE: &str = "proc/net/dev";
    let first = out.open_all(&RECEIVE);
    out.open_all(&TRANSMIT);
    let mut names = Vec::new();
    let mut cut = false;
    // The file begins with two lines of headings.
    for line in context.source.read(FILE)?.lines().skip(2) {
        // A name may contain colons; the numbers do not.
        let Some((name, numbers)) = line.rsplit_once(':') else { continue };
        if names.len() == MAX_DEVICES {
            cut = true;
            break;
        }
        let name = name.trim();
        let mut count = 0;
        for (index, number) in numbers.split_ascii_whitespace().enumerate() {
            let value: u64 = number.parse().map_err(|_| CollectError::malformed(FILE, "a number", line))?;
            if index < RECEIVE.len() + TRANSMIT.len() {
                out.push(first.plus(index), &[("device", name)], value as f64);
                count += 1;
            }
        }
        if count != RECEIVE.len() + TRANSMIT.len() {
            return Err(CollectError::malformed(FILE, "16 numbers", line));
        }
        names.push(name.to_owned());
    }
    if cut {
        context.source.note_cut();
    }
    let slot = out.open_all(&NO_HANDLER);
    for name in names {
        let path = format!("sys/class/net/{name}/statistics/rx_nohandler");
        if let Some(value) = context.source.number_if_any(&path) {
            out.push(slot, &[("device", &name)], value);
        }
    }
    Ok(())
}
