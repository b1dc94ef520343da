//! `mdadm`: software RAID, from `/proc/mdstat` and `/sys/block/DEVICE/md`.
//!
//! ```text
//! md3 : active raid6 sda1[8] sdh1[7] sdg1[6](F) sdf1[5](S)
//!       5853468288 blocks super 1.2 level 6, 64k chunk, algorithm 2 [8/7] [UUUUUU_U]
//!       [=>...................]  recovery =  8.5% (16775552/195310144) finish=17.0min speed=259783K/sec
//! ```

use super::{Context, Outcome};
use crate::error::CollectError;
use crate::out::{Def, Out, gauge};
use crate::source::{MAX_DEVICES, Source};

const STATE: Def = gauge("node_md_state", "Indicates the state of md-device.");
const DISKS: Def = gauge("node_md_disks", "Number of active/failed/spare disks of device.");
const REQUIRED: Def = gauge("node_md_disks_required", "Total number of disks of device.");
const BLOCKS: Def = gauge("node_md_blocks", "Total number of blocks on device.");
const SYNCED: Def = gauge("node_md_blocks_synced", "Number of blocks synced on device.");
const RAID_DISKS: Def = gauge("node_md_raid_disks", "Number of raid disks on device.");
const DEGRADED: Def = gauge("node_md_degraded", "Number of degraded disks on device.");

const BLOCK_DEVICES: &str = "sys/block";

/// Levels with redundancy. Only these have a file with the number of missing disks.
const REDUNDANT_LEVELS: [&str; 5] = ["raid1", "raid4", "raid5", "raid6", "raid10"];

const STATES: [&str; 5] = ["active", "inactive", "recovering", "resync", "check"];

#[derive(Debug, Default, PartialEq)]
struct Array {
    name: String,
    state: &'static str,
    active: u64,
    failed: u64,
    spare: u64,
    required: u64,
    blocks: u64,
    synced: u64,
}

pub(super) fn collect(context: &mut Context<'_>, out: &mut Out) -> Outcome {
    const FILE: &str = "proc/mdstat";
    let mut arrays = parse(FILE, context.source.read(FILE)?)?;
    if arrays.len() > MAX_DEVICES {
        arrays.truncate(MAX_DEVICES);
        context.source.note_cut();
    }
    let [state, disks, required, blocks, synced] =
        [STATE, DISKS, REQUIRED, BLOCKS, SYNCED].map(|def| out.open(def));
    for array in arrays {
        let device = ("device", array.name.as_str());
        for one in STATES {
            out.push(state, &[device, ("state", one)], f64::from(u8::from(one == array.state)));
        }
        for (one, count) in [("active", array.active), ("failed", array.failed), ("spare", array.spare)] {
            out.push(disks, &[device, ("state", one)], count as f64);
        }
        out.push(required, &[device], array.required as f64);
        out.push(blocks, &[device], array.blocks as f64);
        out.push(synced, &[device], array.synced as f64);
    }
    collect_devices(context.source, out)
}

/// The metrics of each array from sysfs. If a file is missing, the array is being assembled or stopped; then
/// only that metric is left out.
fn collect_devices(source: &mut Source, out: &mut Out) -> Outcome {
    let devices = match source.list(BLOCK_DEVICES, |name| name.starts_with("md")) {
        Err(error) if error.is_missing() => return Ok(()),
        devices => devices?,
    };
    let [raid_disks, degraded] = [RAID_DISKS, DEGRADED].map(|def| out.open(def));
    for device in devices {
        let path = format!("{BLOCK_DEVICES}/{device}/md");
        if !source.is_directory(&path) {
            continue;
        }
        let labels = [("device", device.as_str())];
        if let Some(count) = disks(source, &format!("{path}/raid_disks"))? {
            out.push(raid_disks, &labels, count);
        }
        let level = source.text_if_any(&format!("{path}/level")).unwrap_or_default();
        let count = if REDUNDANT_LEVELS.contains(&level.as_str()) {
            disks(source, &format!("{path}/degraded"))?
        } else {
            Some(0.0)
        };
        if let Some(count) = count {
            out.push(degraded, &labels, count);
        }
    }
    Ok(())
}

/// A number of disks. Returns `None` if the file is missing or empty. While the number of disks changes, the
/// kernel appends the old one: `4 (3)`.
fn disks(source: &mut Source, path: &str) -> Result<Option<f64>, CollectError> {
    let text = match source.value(path) {
        Err(error) if error.is_missing() => return Ok(None),
        text => text?,
    };
    match text.split_ascii_whitespace().next().map(str::parse::<u32>) {
        None => Ok(None),
        Some(Ok(count)) => Ok(Some(f64::from(count))),
        Some(Err(_)) => Err(CollectError::malformed(path, "a number of disks", text)),
    }
}

fn parse(path: &str, text: &str) -> Result<Vec<Array>, CollectError> {
    let mut arrays: Vec<Array> = Vec::new();
    for line in text.lines() {
        if line.starts_with("Personalities") || line.starts_with("unused") || line.trim().is_empty() {
            continue;
        }
        if !line.starts_with([' ', '\t']) {
            arrays.push(device(line).ok_or_else(|| CollectError::malformed(path, "NAME : STATE ...", line))?);
        } else if let Some(array) = arrays.last_mut() {
            detail(array, line.trim())
                .ok_or_else(|| CollectError::malformed(path, "blocks or progress", line))?;
        }
    }
    Ok(arrays)
}

/// The first line of an array.
fn device(line: &str) -> Option<Array> {
    let (name, rest) = line.split_once(" : ")?;
    let mut words = rest.split_ascii_whitespace();
    let state = match words.next()? {
        "active" => "active",
        _ => "inactive",
    };
    let mut array = Array { name: name.to_owned(), state, ..Array::default() };
    for disk in words.filter(|word| word.contains('[')) {
        if disk.contains("(F)") {
            array.failed += 1;
        } else if disk.contains("(S)") {
            array.spare += 1;
        } else {
            array.active += 1;
        }
    }
    // An array without redundancy has no [8/7] with other numbers.
    array.required = array.active;
    Some(array)
}

/// A line below the first one: blocks, progress, or another (bitmap), which is ignored. Returns `None` if the
/// format of blocks or progress is unknown.
fn detail(array: &mut Array, line: &str) -> Option<()> {
    if let Some((blocks, rest)) = line.split_once(" blocks") {
        array.blocks = blocks.trim().parse().ok()?;
        array.synced = array.blocks;
        // An inactive array has no active disks.
        if array.state == "inactive" {
            (array.required, array.active) = (0, 0);
            return Some(());
        }
        let counts = rest.split('[').filter_map(|part| part.split_once(']')?.0.split_once('/'));
        for (required, active) in counts {
            if let (Ok(required), Ok(active)) = (required.parse(), active.parse()) {
                array.required = required;
                array.active = active;
            }
        }
        return Some(());
    }
    let doing =
        [("recovery", "recovering"), ("reshape", "recovering"), ("resync", "resync"), ("check", "check")]
            .into_iter()
            .find(|(word, _)| line.contains(word));
    let Some((_, state)) = doing else { return Some(()) };
    array.state = state;
    if line.contains("PENDING") || line.contains("DELAYED") || line.contains("REMOTE") {
        array.synced = 0;
        return Some(());
    }
    let (_, progress) = line.split_once('(')?;
    array.synced = progress.split_once('/')?.0.parse().ok()?;
    Some(())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn one(text: &str) -> Array {
        let mut arrays = parse("proc/mdstat", text).unwrap();
        assert_eq!(arrays.len(), 1, "{arrays:?}");
        arrays.remove(0)
    }

    #[test]
    fn an_array_that_recovers_with_failed_and_spare_disks() {
        let array = one("Personalities : [raid6]\n\
            md6 : active raid6 sdb2[2](F) sdc[1](S) sda2[0] sdd[3]\n\
            \x20     195310144 blocks [4/2] [U__U]\n\
            \x20     [=>...................]  recovery =  8.5% (16775552/195310144) finish=17.0min speed=259783K/sec\n\
            \n\
            unused devices: <none>\n");
        assert_eq!((array.state, array.active, array.failed, array.spare), ("recovering", 2, 1, 1));
        assert_eq!((array.required, array.blocks, array.synced), (4, 195_310_144, 16_775_552));
    }

    #[test]
    fn a_check_that_waits_has_synced_nothing() {
        let array = one("md8 : active raid1 sdb1[1] sda1[0]\n\
            \x20     195310144 blocks [2/2] [UU]\n\
            \x20     \tresync=DELAYED\n");
        assert_eq!((array.state, array.synced), ("resync", 0));
    }

    #[test]
    fn an_array_without_redundancy_needs_the_disks_it_has() {
        let array = one("md1 : active raid0 sdc2[0] sdd2[1]\n      314159265 blocks 64k chunks\n");
        assert_eq!((array.active, array.required, array.blocks), (2, 2, 314_159_265));
    }

    #[test]
    fn an_inactive_array_has_no_active_disks() {
        let array = one("md4 : inactive raid1 sda3[0](F) sdb3[1](S)\n      4883648 blocks [2/2] [UU]\n");
        assert_eq!((array.state, array.active, array.required), ("inactive", 0, 0));
        assert_eq!((array.failed, array.spare, array.blocks), (1, 1, 4_883_648));
    }

    /// The metrics of one array whose sysfs folder has these files.
    fn device_metrics(files: &[(&str, &str)]) -> Result<Vec<(String, f64)>, CollectError> {
        let root = tempfile::tempdir().unwrap();
        let folder = root.path().join("sys/block/md0/md");
        std::fs::create_dir_all(&folder).unwrap();
        files.iter().for_each(|(name, text)| std::fs::write(folder.join(name), text).unwrap());
        let mut out = Out::default();
        collect_devices(&mut Source::new(root.path().to_path_buf()), &mut out)?;
        let families = out.finish();
        Ok(families.iter().flat_map(|f| f.metrics.iter().map(|m| (f.name.to_string(), m.value))).collect())
    }

    #[test]
    fn missing_disks_are_counted_for_levels_with_redundancy() {
        let metrics = |raid_disks: f64, degraded: f64| {
            vec![("node_md_raid_disks".to_string(), raid_disks), ("node_md_degraded".to_string(), degraded)]
        };
        let raid1 = [("level", "raid1\n"), ("raid_disks", "2\n"), ("degraded", "1\n")];
        assert_eq!(device_metrics(&raid1).unwrap(), metrics(2.0, 1.0));
        let raid0 = [("level", "raid0\n"), ("raid_disks", "3\n"), ("degraded", "7\n")];
        assert_eq!(device_metrics(&raid0).unwrap(), metrics(3.0, 0.0));
        let growing = [("level", "raid5\n"), ("raid_disks", "4 (3)\n"), ("degraded", "0\n")];
        assert_eq!(device_metrics(&growing).unwrap(), metrics(4.0, 0.0));
    }

    #[test]
    fn an_array_without_some_of_its_files_keeps_the_other_metrics() {
        let starting = [("level", "raid1\n"), ("raid_disks", "\n")];
        assert_eq!(device_metrics(&starting).unwrap(), []);
        let stopped = [("level", "\n"), ("raid_disks", "\n")];
        assert_eq!(device_metrics(&stopped).unwrap(), [("node_md_degraded".to_string(), 0.0)]);
        assert!(device_metrics(&[("raid_disks", "two\n")]).is_err());
    }

    #[test]
    fn malformed_values_are_refused() {
        for text in ["md1\n", "md1 : active raid1 sda[0]\n   many blocks\n", "md1 : active\n  resync = x\n"] {
            assert!(parse("proc/mdstat", text).is_err(), "{text}");
        }
    }
}
