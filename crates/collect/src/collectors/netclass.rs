//! `netclass`: properties and settings of network interfaces, from `/sys/class/net`.

use super::{Context, Outcome};
use crate::out::{Def, Out, counter, gauge};
use crate::source::parse_number;

const UP: Def = gauge("node_network_up", "Value is 1 if operstate is 'up', 0 otherwise.");
const INFO: Def =
    gauge("node_network_info", "Non-numeric data from /sys/class/net/<iface>, value is always 1.");

/// Bytes per second in a megabit per second.
const MEGABIT: f64 = 1_000_000.0 / 8.0;

macro_rules! property {
    ($kind:ident $file:literal $name:literal) => {
        ($file, $kind(concat!("node_network_", $name), concat!("Network device property: ", $name)))
    };
}

/// Files of an interface's folder and their metrics. The driver and the state of the interface decide which
/// of them can be read.
const PROPERTIES: [(&str, Def); 17] = [
    property!(gauge "addr_assign_type" "address_assign_type"),
    property!(gauge "carrier" "carrier"),
    property!(counter "carrier_changes" "carrier_changes_total"),
    property!(counter "carrier_up_count" "carrier_up_changes_total"),
    property!(counter "carrier_down_count" "carrier_down_changes_total"),
    property!(gauge "dev_id" "device_id"),
    property!(gauge "dormant" "dormant"),
    property!(gauge "flags" "flags"),
    property!(gauge "ifindex" "iface_id"),
    property!(gauge "iflink" "iface_link"),
    property!(gauge "link_mode" "iface_link_mode"),
    property!(gauge "mtu" "mtu_bytes"),
    property!(gauge "netdev_group" "net_dev_group"),
    property!(gauge "name_assign_type" "name_assign_type"),
    property!(gauge "speed" "speed_bytes"),
    property!(gauge "tx_queue_len" "transmit_queue_length"),
    property!(gauge "type" "protocol_type"),
];

/// The flag of an interface that is enabled (IFF_UP).
const IFF_UP: u64 = 1;

pub(super) fn collect(context: &mut Context<'_>, out: &mut Out) -> Outcome {
    let source = &mut *context.source;
    // The bonding driver has a file in this folder that is no interface.
    let devices = source.list("sys/class/net", |name| name != "bonding_masters")?;
    let up = out.open(UP);
    let info = out.open(INFO);
    let first = out.open_all(&PROPERTIES.map(|(_, def)| def));
    for device in devices {
        // The interface may have been removed after the listing.
        let Some(directory) = source.directory(&format!("sys/class/net/{device}")) else { continue };
        let mut flags = None;
        for (index, (file, _)) in PROPERTIES.iter().enumerate() {
            let Some(mut value) = source.value_in(&directory, file).and_then(parse_number) else { continue };
            match *file {
                // The speed is -1 if it is unknown.
                "speed" => value = (value * MEGABIT).trunc(),
                "flags" => flags = Some(value as u64),
                _ => {}
            }
            out.push(first.plus(index), &[("device", &device)], value);
        }
        let mut text = |file: &str| source.value_in(&directory, file).unwrap_or_default().to_owned();
        let operstate = text("operstate");
        let adminstate = match flags {
            None => "unknown",
            Some(flags) if flags & IFF_UP != 0 => "up",
            Some(_) => "down",
        };
        out.push(up, &[("device", &device)], f64::from(u8::from(operstate == "up")));
        out.push(
            info,
            &[
                ("device", &device),
                ("address", &text("address")),
                ("broadcast", &text("broadcast")),
                ("duplex", &text("duplex")),
                ("operstate", &operstate),
                ("adminstate", adminstate),
                ("ifalias", &text("ifalias")),
            ],
            1.0,
        );
    }
    Ok(())
}
