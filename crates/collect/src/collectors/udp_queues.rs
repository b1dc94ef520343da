//! `udp_queues`: the bytes in the queues of all UDP sockets together.

use super::{Context, Outcome};
use crate::error::CollectError;
use crate::out::{Def, Out, gauge};
use std::ops::ControlFlow;

const QUEUES: Def =
    gauge("node_udp_queues", "Number of allocated memory in the kernel for UDP datagrams in bytes.");

pub(super) fn collect(context: &mut Context<'_>, out: &mut Out) -> Outcome {
    let slot = out.open(QUEUES);
    let mut found = false;
    for (path, version) in [("proc/net/udp", "v4"), ("proc/net/udp6", "v6")] {
        let (mut sent, mut received) = (0_u64, 0_u64);
        let read = context.source.each_line(path, |line| {
            // "sl local_address rem_address st tx_queue:rx_queue ...". The queues are hexadecimal.
            let queues = line.split_ascii_whitespace().nth(4).and_then(|queues| queues.split_once(':'));
            let number = |text: &str| u64::from_str_radix(text, 16).ok();
            if let Some((Some(tx), Some(rx))) = queues.map(|(tx, rx)| (number(tx), number(rx))) {
                sent = sent.wrapping_add(tx);
                received = received.wrapping_add(rx);
            }
            ControlFlow::Continue(())
        });
        match read {
            Ok(()) => found = true,
            // A kernel without IPv4 or IPv6.
            Err(error) if error.is_missing() => continue,
            Err(error) => return Err(error),
        }
        out.push(slot, &[("queue", "tx"), ("ip", version)], sent as f64);
        out.push(slot, &[("queue", "rx"), ("ip", version)], received as f64);
    }
    if found { Ok(()) } else { Err(CollectError::NoData("no table of UDP sockets")) }
}
