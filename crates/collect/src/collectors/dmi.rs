//! `dmi`: the names of the machine and its parts from the firmware. Only root can read serial numbers; files
//! that can't be read are left out.

use super::{Context, Outcome};
use crate::error::CollectError;
use crate::out::{Def, Out, gauge};

const INFO: Def = gauge(
    "node_dmi_info",
    "A metric with a constant '1' value labeled by bios_date, bios_release, bios_vendor, bios_version, \
     board_asset_tag, board_name, board_serial, board_vendor, board_version, chassis_asset_tag, \
     chassis_serial, chassis_vendor, chassis_version, product_family, product_name, product_serial, \
     product_sku, product_uuid, product_version, system_vendor if provided by DMI.",
);

/// Files of `/sys/class/dmi/id` and their labels.
const FILES: [(&str, &str); 20] = [
    ("bios_date", "bios_date"),
    ("bios_release", "bios_release"),
    ("bios_vendor", "bios_vendor"),
    ("bios_version", "bios_version"),
    ("board_asset_tag", "board_asset_tag"),
    ("board_name", "board_name"),
    ("board_serial", "board_serial"),
    ("board_vendor", "board_vendor"),
    ("board_version", "board_version"),
    ("chassis_asset_tag", "chassis_asset_tag"),
    ("chassis_serial", "chassis_serial"),
    ("chassis_vendor", "chassis_vendor"),
    ("chassis_version", "chassis_version"),
    ("product_family", "product_family"),
    ("product_name", "product_name"),
    ("product_serial", "product_serial"),
    ("product_sku", "product_sku"),
    ("product_uuid", "product_uuid"),
    ("product_version", "product_version"),
    ("sys_vendor", "system_vendor"),
];

pub(super) fn collect(context: &mut Context<'_>, out: &mut Out) -> Outcome {
    let mut found: Vec<(&'static str, String)> = Vec::new();
    if let Some(directory) = context.source.directory("sys/class/dmi/id") {
        for (file, label) in FILES {
            if let Some(value) = context.source.value_in(&directory, file) {
                found.push((label, value.to_owned()));
            }
        }
    }
    if found.is_empty() {
        return Err(CollectError::NoData("no DMI information"));
    }
    let labels: Vec<(&'static str, &str)> =
        found.iter().map(|(label, value)| (*label, value.as_str())).collect();
    let slot = out.open(INFO);
    out.push(slot, &labels, 1.0);
    Ok(())
}
