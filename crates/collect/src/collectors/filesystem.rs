//! `filesystem`: size and use of the mounted file systems.

use super::mounts::{self, Mount};
use super::statfs::Answer;
use super::{Context, Outcome};
use crate::error::CollectError;
use crate::out::{Def, Out, gauge};
use crate::source::MAX_DEVICES;
use std::collections::HashSet;
use std::io;
use std::path::PathBuf;

const DEVICE_ERROR: Def = gauge(
    "node_filesystem_device_error",
    "Whether an error occurred while getting statistics for the given device.",
);
const READ_ONLY: Def = gauge("node_filesystem_readonly", "Filesystem read-only status.");
const SIZE: Def = gauge("node_filesystem_size_bytes", "Filesystem size in bytes.");
const FREE: Def = gauge("node_filesystem_free_bytes", "Filesystem free space in bytes.");
const AVAILABLE: Def =
    gauge("node_filesystem_avail_bytes", "Filesystem space available to non-root users in bytes.");
const FILES: Def = gauge("node_filesystem_files", "Filesystem total file nodes.");
const FILES_FREE: Def = gauge("node_filesystem_files_free", "Filesystem total free file nodes.");
const PURGEABLE: Def = gauge(
    "node_filesystem_purgeable_bytes",
    "Filesystem space available including purgeable space (MacOS specific).",
);
const MOUNT_INFO: Def = gauge("node_filesystem_mount_info", "Filesystem mount information.");

/// The label `device_error` of a mount that does not answer, as in node_exporter.
const STUCK: &str = "mountpoint timeout";

pub(super) fn collect(context: &mut Context<'_>, out: &mut Out) -> Outcome {
    let mut mounts = mounts::read(context.source)?;
    mounts.retain(|mount| !is_excluded_mount(&mount.mountpoint) && !is_excluded_type(&mount.fstype));
    // Several mounts of the same device at the same place are one series.
    let mut seen = HashSet::new();
    mounts
        .retain(|mount| seen.insert((mount.device.clone(), mount.mountpoint.clone(), mount.fstype.clone())));
    if mounts.len() > MAX_DEVICES {
        mounts.truncate(MAX_DEVICES);
        context.source.note_cut();
    }
    let root = context.source.root();
    let below_root = |mount: &Mount| root.join(mount.path.strip_prefix("/").unwrap_or(&mount.path));
    let paths: Vec<PathBuf> = mounts.iter().map(below_root).collect();
    let answers = context.memory.statfs.ask(&paths).map_err(|source| CollectError::System {
        call: "starting the thread that asks file systems",
        source,
    })?;

    let device_error = out.open(DEVICE_ERROR);
    let read_only = out.open(READ_ONLY);
    let [size, free, available, files, files_free, purgeable, mount_info] =
        [SIZE, FREE, AVAILABLE, FILES, FILES_FREE, PURGEABLE, MOUNT_INFO].map(|def| out.open(def));
    let mut informed = HashSet::new();
    for (mount, answer) in mounts.iter().zip(answers) {
        let (error, sizes) = match answer {
            Answer::Size(sizes) => (String::new(), Some(sizes)),
            Answer::Failed(error) => (describe(&error), None),
            Answer::Stuck => (STUCK.to_owned(), None),
        };
        let labels = [
            ("device", mount.device.as_str()),
            ("mountpoint", &mount.mountpoint),
            ("fstype", &mount.fstype),
            ("device_error", &error),
        ];
        out.push(device_error, &labels, f64::from(u8::from(sizes.is_none())));
        out.push(read_only, &labels, f64::from(u8::from(mount.read_only)));
        let Some(sizes) = sizes else { continue };
        out.push(size, &labels, sizes.size);
        out.push(free, &labels, sizes.free);
        out.push(available, &labels, sizes.available);
        out.push(files, &labels, sizes.files);
        out.push(files_free, &labels, sizes.files_free);
        out.push(purgeable, &labels, 0.0);
        let labels = [
            ("device", mount.device.as_str()),
            ("major", &mount.major),
            ("minor", &mount.minor),
            ("mountpoint", &mount.mountpoint),
        ];
        if informed.insert((&mount.device, &mount.major, &mount.minor, &mount.mountpoint)) {
            out.push(mount_info, &labels, 1.0);
        }
    }
    Ok(())
}

/// The error text of the system in lower case and without the number, as Go writes it: `permission denied`.
fn describe(error: &io::Error) -> String {
    let text = error.to_string();
    text.split(" (os error").next().unwrap_or_default().to_lowercase()
}

/// node_exporter's default,
/// `^/(dev|proc|run/credentials/.+|sys|var/lib/docker/.+|var/lib/containers/storage/.+)($|/)`.
fn is_excluded_mount(path: &str) -> bool {
    let whole = ["/dev", "/proc", "/sys"];
    let below = ["/run/credentials/", "/var/lib/docker/", "/var/lib/containers/storage/"];
    whole
        .iter()
        .any(|start| path.strip_prefix(start).is_some_and(|rest| rest.is_empty() || rest.starts_with('/')))
        || below.iter().any(|start| path.strip_prefix(start).is_some_and(|rest| !rest.is_empty()))
}

/// node_exporter's default.
fn is_excluded_type(fstype: &str) -> bool {
    const EXCLUDED: [&str; 25] = [
        "autofs",
        "binfmt_misc",
        "bpf",
        "cgroup",
        "cgroup2",
        "configfs",
        "debugfs",
        "devpts",
        "devtmpfs",
        "erofs",
        "fusectl",
        "hugetlbfs",
        "iso9660",
        "mqueue",
        "nsfs",
        "overlay",
        "proc",
        "procfs",
        "pstore",
        "rpc_pipefs",
        "securityfs",
        "selinuxfs",
        "squashfs",
        "sysfs",
        "tracefs",
    ];
    EXCLUDED.contains(&fstype)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn mount_points_of_the_system_and_of_containers_are_left_out() {
        for path in
            ["/dev", "/dev/shm", "/proc/fs", "/sys", "/run/credentials/x.service", "/var/lib/docker/a/b"]
        {
            assert!(is_excluded_mount(path), "{path}");
        }
        for path in ["/", "/run", "/mnt", "/developer", "/var/lib/docker", "/var/lib/docker/", "/home/sys"] {
            assert!(!is_excluded_mount(path), "{path}");
        }
    }

    #[test]
    fn an_error_is_described_as_go_does() {
        assert_eq!(describe(&io::Error::from_raw_os_error(13)), "permission denied");
        assert_eq!(describe(&io::Error::from_raw_os_error(5)), "input/output error");
    }
}
