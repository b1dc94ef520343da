//! `diskstats`: operations, bytes and time of block devices, from `/proc/diskstats`. Properties of the
//! devices, from `/sys/block` and udev's database.

use super::{Context, Outcome};
use crate::error::CollectError;
use crate::out::{Def, Out, counter, gauge};
use crate::source::{MAX_DEVICES, Source, parse_number};

/// The kernel counts sectors of 512 bytes, even if the device has another sector size.
const SECTOR_BYTES: f64 = 512.0;
const SECONDS_PER_MILLI: f64 = 0.001;

const INFO: Def = gauge("node_disk_info", "Info of /sys/block/<block_device>.");

/// The columns after major, minor and name, and the unit of each. Old kernels have the first eleven. Linux
/// 4.18 added discards, 5.5 flushes.
const COLUMNS: [(Def, f64); 17] = [
    (counter("node_disk_reads_completed_total", "The total number of reads completed successfully."), 1.0),
    (counter("node_disk_reads_merged_total", "The total number of reads merged."), 1.0),
    (counter("node_disk_read_bytes_total", "The total number of bytes read successfully."), SECTOR_BYTES),
    (
        counter("node_disk_read_time_seconds_total", "The total number of seconds spent by all reads."),
        SECONDS_PER_MILLI,
    ),
    (counter("node_disk_writes_completed_total", "The total number of writes completed successfully."), 1.0),
    (counter("node_disk_writes_merged_total", "The number of writes merged."), 1.0),
    (
        counter("node_disk_written_bytes_total", "The total number of bytes written successfully."),
        SECTOR_BYTES,
    ),
    (
        counter(
            "node_disk_write_time_seconds_total",
            "This is the total number of seconds spent by all writes.",
        ),
        SECONDS_PER_MILLI,
    ),
    (gauge("node_disk_io_now", "The number of I/Os currently in progress."), 1.0),
    (counter("node_disk_io_time_seconds_total", "Total seconds spent doing I/Os."), SECONDS_PER_MILLI),
    (
        counter("node_disk_io_time_weighted_seconds_total", "The weighted # of seconds spent doing I/Os."),
        SECONDS_PER_MILLI,
    ),
    (
        counter("node_disk_discards_completed_total", "The total number of discards completed successfully."),
        1.0,
    ),
    (counter("node_disk_discards_merged_total", "The total number of discards merged."), 1.0),
    (
        counter("node_disk_discarded_sectors_total", "The total number of sectors discarded successfully."),
        1.0,
    ),
    (
        counter(
            "node_disk_discard_time_seconds_total",
            "This is the total number of seconds spent by all discards.",
        ),
        SECONDS_PER_MILLI,
    ),
    (
        counter(
            "node_disk_flush_requests_total",
            "The total number of flush requests completed successfully",
        ),
        1.0,
    ),
    (
        counter(
            "node_disk_flush_requests_time_seconds_total",
            "This is the total number of seconds spent by all flush requests.",
        ),
        SECONDS_PER_MILLI,
    ),
];

const FILESYSTEM_INFO: Def = gauge("node_disk_filesystem_info", "Info about disk filesystem.");
const MAPPER_INFO: Def = gauge("node_disk_device_mapper_info", "Info about disk device mapper.");
const ATA: [(&str, Def); 3] = [
    ("ID_ATA_WRITE_CACHE", gauge("node_disk_ata_write_cache", "ATA disk has a write cache.")),
    (
        "ID_ATA_WRITE_CACHE_ENABLED",
        gauge("node_disk_ata_write_cache_enabled", "ATA disk has its write cache enabled."),
    ),
    (
        "ID_ATA_ROTATION_RATE_RPM",
        gauge("node_disk_ata_rotation_rate_rpm", "ATA disk rotation rate in RPMs (0 for SSDs)."),
    ),
];

struct Device {
    major: u32,
    minor: u32,
    name: String,
    columns: Vec<f64>,
}

pub(super) fn collect(context: &mut Context<'_>, out: &mut Out) -> Outcome {
    let source = &mut *context.source;
    let devices = devices(source)?;
    let first = out.open_all(&COLUMNS.map(|(def, _)| def));
    for device in &devices {
        for (index, (value, (_, unit))) in device.columns.iter().zip(COLUMNS).enumerate() {
            // A division is exact here; 0.001 has no exact floating-point value.
            let value = if unit == SECONDS_PER_MILLI { value / 1000.0 } else { value * unit };
            out.push(first.plus(index), &[("device", &device.name)], value);
        }
    }
    let info = out.open(INFO);
    let filesystem = out.open(FILESYSTEM_INFO);
    let mapper = out.open(MAPPER_INFO);
    let ata = out.open_all(&ATA.map(|(_, def)| def));
    for device in &devices {
        let name = device.name.as_str();
        let udev = Udev::read(source, device);
        let rotational = source.text_if_any(&format!("sys/block/{name}/queue/rotational"));
        out.push(
            info,
            &[
                ("device", name),
                ("major", &device.major.to_string()),
                ("minor", &device.minor.to_string()),
                ("path", udev.get("ID_PATH")),
                ("wwn", udev.get("ID_WWN")),
                ("model", udev.get("ID_MODEL")),
                ("serial", udev.first_of(&["SCSI_IDENT_SERIAL", "ID_SERIAL_SHORT", "ID_SERIAL"])),
                ("revision", udev.get("ID_REVISION")),
                // A partition has no queue of its own, and so no such file.
                ("rotational", rotational.as_deref().unwrap_or("0")),
            ],
            1.0,
        );
        if !udev.get("ID_FS_TYPE").is_empty() {
            out.push(
                filesystem,
                &[
                    ("device", name),
                    ("type", udev.get("ID_FS_TYPE")),
                    ("usage", udev.get("ID_FS_USAGE")),
                    ("uuid", udev.get("ID_FS_UUID")),
                    ("version", udev.get("ID_FS_VERSION")),
                ],
                1.0,
            );
        }
        if !udev.get("DM_NAME").is_empty() {
            out.push(
                mapper,
                &[
                    ("device", name),
                    ("name", udev.get("DM_NAME")),
                    ("uuid", udev.get("DM_UUID")),
                    ("vg_name", udev.get("DM_VG_NAME")),
                    ("lv_name", udev.get("DM_LV_NAME")),
                    ("lv_layer", udev.get("DM_LV_LAYER")),
                ],
                1.0,
            );
        }
        if !udev.get("ID_ATA").is_empty() {
            for (index, (property, _)) in ATA.iter().enumerate() {
                if let Some(value) = parse_number(udev.get(property)) {
                    out.push(ata.plus(index), &[("device", name)], value);
                }
            }
        }
    }
    Ok(())
}

fn devices(source: &mut Source) -> Result<Vec<Device>, CollectError> {
    const FILE: &str = "proc/diskstats";
    let mut devices = Vec::new();
    let mut cut = false;
    for line in source.read(FILE)?.lines() {
        let mut fields = line.split_ascii_whitespace();
        let (Some(major), Some(minor), Some(name)) = (fields.next(), fields.next(), fields.next()) else {
            continue;
        };
        if is_excluded(name) {
            continue;
        }
        if devices.len() == MAX_DEVICES {
            cut = true;
            break;
        }
        let malformed = |_| CollectError::malformed(FILE, "numbers of a device", line);
        let columns: Result<Vec<u64>, _> = fields.take(COLUMNS.len()).map(str::parse).collect();
        devices.push(Device {
            major: major.parse().map_err(malformed)?,
            minor: minor.parse().map_err(malformed)?,
            name: name.to_owned(),
            columns: columns.map_err(malformed)?.into_iter().map(|number| number as f64).collect(),
        });
    }
    if cut {
        source.note_cut();
    }
    Ok(devices)
}

/// node_exporter's default, `^(z?ram|loop|fd|(h|s|v|xv)d[a-z]|nvme\d+n\d+p)\d+$`: RAM, loop and floppy
/// devices, and partitions.
fn is_excluded(name: &str) -> bool {
    let stem = name.trim_end_matches(|c: char| c.is_ascii_digit());
    if stem.len() == name.len() {
        return false;
    }
    if matches!(stem, "ram" | "zram" | "loop" | "fd") {
        return true;
    }
    let letter = ["hd", "sd", "vd", "xvd"].iter().find_map(|kind| stem.strip_prefix(kind));
    if letter.is_some_and(|letter| letter.len() == 1 && letter.bytes().all(|b| b.is_ascii_lowercase())) {
        return true;
    }
    let nvme = stem.strip_prefix("nvme").and_then(|rest| rest.strip_suffix('p'));
    nvme.and_then(|numbers| numbers.split_once('n'))
        .is_some_and(|(controller, namespace)| is_number(controller) && is_number(namespace))
}

fn is_number(text: &str) -> bool {
    !text.is_empty() && text.bytes().all(|byte| byte.is_ascii_digit())
}

/// udev's properties of a device: lines `E:KEY=VALUE`.
struct Udev(Vec<(String, String)>);

impl Udev {
    fn read(source: &mut Source, device: &Device) -> Udev {
        let path = format!("run/udev/data/b{}:{}", device.major, device.minor);
        let Ok(text) = source.read(&path) else { return Udev(Vec::new()) };
        let properties = text.lines().filter_map(|line| line.strip_prefix("E:")?.split_once('='));
        Udev(properties.map(|(key, value)| (key.to_owned(), value.to_owned())).collect())
    }

    fn get(&self, key: &str) -> &str {
        self.0.iter().find(|(name, _)| name == key).map(|(_, value)| value.as_str()).unwrap_or_default()
    }

    fn first_of<'a>(&'a self, keys: &[&str]) -> &'a str {
        keys.iter().map(|key| self.get(key)).find(|value| !value.is_empty()).unwrap_or_default()
    }
}

#[cfg(test)]
mod tests {
    use super::is_excluded;

    #[test]
    fn memory_loop_and_floppy_devices_and_partitions_are_left_out() {
        for name in ["ram0", "zram1", "loop12", "fd0", "sda1", "vdb2", "hda9", "xvda1", "nvme0n1p2"] {
            assert!(is_excluded(name), "{name}");
        }
        for name in ["sda", "vda", "nvme0n1", "dm-0", "md0", "mmcblk0p1", "sr0", "sdaa1", "nbd0", "nvmenp1"] {
            assert!(!is_excluded(name), "{name}");
        }
    }
}
