//! `nvme`: NVMe devices and their namespaces.

use super::{Context, Outcome};
use crate::out::{Def, Out, gauge};

const INFO: Def =
    gauge("node_nvme_info", "Non-numeric data from /sys/class/nvme/<device>, value is always 1.");
const NAMESPACE_INFO: Def =
    gauge("node_nvme_namespace_info", "Information about NVMe namespaces. Value is always 1");
const CAPACITY: Def = gauge(
    "node_nvme_namespace_capacity_bytes",
    "Capacity of the NVMe namespace in bytes. Computed as namespace_size * namespace_logical_block_size",
);
const SIZE: Def = gauge(
    "node_nvme_namespace_size_bytes",
    "Size of the NVMe namespace in bytes. Available in /sys/class/nvme/<device>/<namespace>/size",
);
const USED: Def = gauge(
    "node_nvme_namespace_used_bytes",
    "Used space of the NVMe namespace in bytes. Available in /sys/class/nvme/<device>/<namespace>/nuse",
);
const BLOCK: Def = gauge(
    "node_nvme_namespace_logical_block_size_bytes",
    "Logical block size of the NVMe namespace in bytes. Usually 4Kb. Available in \
     /sys/class/nvme/<device>/<namespace>/queue/logical_block_size",
);

/// The kernel reports sizes of block devices in sectors of 512 bytes, even if the blocks are larger.
const SECTOR_BYTES: f64 = 512.0;

const DEVICES: &str = "sys/class/nvme";

pub(super) fn collect(context: &mut Context<'_>, out: &mut Out) -> Outcome {
    let source = &mut *context.source;
    let devices = source.list(DEVICES, |_| true)?;
    let [info, namespace_info, capacity, size, used, block] =
        [INFO, NAMESPACE_INFO, CAPACITY, SIZE, USED, BLOCK].map(|def| out.open(def));
    for device in devices {
        let path = format!("{DEVICES}/{device}");
        let mut text = |file: &str| source.text_if_any(&format!("{path}/{file}")).unwrap_or_default();
        out.push(
            info,
            &[
                ("device", &device),
                ("firmware_revision", &text("firmware_rev")),
                ("model", &text("model")),
                ("serial", &text("serial")),
                ("state", &text("state")),
                ("cntlid", &text("cntlid")),
            ],
            1.0,
        );
        for directory in source.list(&path, |name| namespace(&device, name).is_some())? {
            let Some(nsid) = namespace(&device, &directory) else { continue };
            let path = format!("{path}/{directory}");
            let labels = [("device", device.as_str()), ("nsid", nsid)];
            let state = source.text_if_any(&format!("{path}/ana_state")).unwrap_or("unknown".into());
            out.push(namespace_info, &[("device", &device), ("nsid", nsid), ("ana_state", &state)], 1.0);
            let sectors = source.number_if_any(&format!("{path}/size"));
            let in_use = source.number_if_any(&format!("{path}/nuse"));
            let bytes = source.number_if_any(&format!("{path}/queue/logical_block_size"));
            let (Some(sectors), Some(in_use), Some(bytes)) = (sectors, in_use, bytes) else { continue };
            // node_exporter treats the sectors as blocks. So its value is eight times too large if blocks
            // have 4096 bytes.
            out.push(capacity, &labels, sectors * SECTOR_BYTES);
            out.push(size, &labels, sectors * SECTOR_BYTES);
            out.push(used, &labels, in_use * bytes);
            out.push(block, &labels, bytes);
        }
    }
    Ok(())
}

/// The number of a namespace: 2 of `nvme0n2`. If a namespace has several paths, each path has a folder, too,
/// such as `nvme0c1n2`. As in node_exporter, these are left out.
fn namespace<'a>(device: &str, name: &'a str) -> Option<&'a str> {
    let number = name.strip_prefix(device)?.strip_prefix('n')?;
    let digits = !number.is_empty() && number.bytes().all(|byte| byte.is_ascii_digit());
    digits.then_some(number)
}
