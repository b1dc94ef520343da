//! Compares the metrics of this crate with those of node_exporter, on the same machine at the same time.
//! Names, labels, types and help texts must be equal, except those listed here, and values must agree. One
//! test does this on the real machine, the other one on a machine made of files, which has something for
//! every collector.
//!
//! Without node_exporter the tests report that they are skipped; with `NARTHEX_REQUIRE_PEERS` they fail.

mod common;

use collect::{CollectorSet, Host, HostOptions};
use common::Page;
use std::time::{SystemTime, UNIX_EPOCH};
use support::exporter::NodeExporter;

/// Metrics that only node_exporter has, by the beginning of the name, and why.
const ABSENT: &[(&str, &str)] = &[
    ("go_", "about the Go program itself"),
    ("process_", "about the Go program itself"),
    ("promhttp_", "about the Go program itself"),
    ("node_exporter_build_info", "about node_exporter itself; narthex has its own"),
    ("node_textfile_", "no textfile collector: a script pushes to narthex instead"),
    ("node_systemd_", "off by default in node_exporter; Debian's package turns it on"),
];

/// Collectors that node_exporter runs by default and this crate does not have: their names in the label
/// `collector`, the beginning of their metrics' names, and why.
const ABSENT_COLLECTORS: &[(&str, &str, &str)] = &[
    ("bcache", "node_bcache_", "rare"),
    ("bcachefs", "node_bcachefs_", "rare"),
    ("btrfs", "node_btrfs_", "not yet; part of it needs ioctls"),
    ("fibrechannel", "node_fibrechannel_", "rare"),
    ("infiniband", "node_infiniband_", "rare"),
    ("ipvs", "node_ipvs_", "rare"),
    ("nfs", "node_nfs_", "not yet"),
    ("nfsd", "node_nfsd_", "not yet"),
    ("systemd", "node_systemd_", "off by default in node_exporter; Debian's package turns it on"),
    ("tapestats", "node_tape_", "rare"),
    ("textfile", "node_textfile_", "a script pushes to narthex instead"),
    ("zfs", "node_zfs_", "not yet"),
];

/// Metrics that only this crate has, and why.
const MORE: &[(&str, &str)] = &[
    (
        "node_memory_",
        "node_exporter knows a list of the lines of /proc/meminfo; this crate takes them all, as \
         node_exporter did before 1.9",
    ),
    (
        "node_power_supply_temp_ambient_m",
        "node_exporter does not read temp_ambient_alert_max and _min, which is what the kernel calls these files",
    ),
];

/// node_exporter's own default, which Debian's package changes.
const MOUNT_POINTS: &str = "--collector.filesystem.mount-points-exclude=^/(dev|proc|run/credentials/.+|sys|\
                            var/lib/docker/.+|var/lib/containers/storage/.+)($|/)";

fn now_ms() -> i64 {
    SystemTime::now().duration_since(UNIX_EPOCH).map_or(0, |since| since.as_millis() as i64)
}

/// The differences between `ours` and `theirs` as messages. `agree` decides whether two values of a series
/// agree.
fn differences(ours: &Page, theirs: &Page, agree: impl Fn(&str, f64, f64) -> bool) -> Vec<String> {
    let mut differences = Vec::new();
    for (series, value) in &theirs.samples {
        match ours.samples.get(series) {
            None if is_absent(series) => {}
            None => differences.push(format!("missing: {series} {value}")),
            Some(own) if agree(series, *own, *value) || is_their_mistake(series, *own, *value) => {}
            Some(own) => differences.push(format!("{series} is {own}, node_exporter says {value}")),
        }
    }
    for (series, value) in &ours.samples {
        let listed = MORE.iter().any(|(start, _)| series.starts_with(start));
        if !theirs.samples.contains_key(series) && !listed {
            differences.push(format!("node_exporter has not: {series} {value}"));
        }
    }
    for (family, theirs) in &theirs.families {
        if let Some(own) = ours.families.get(family).filter(|own| *own != theirs) {
            differences.push(format!("{family} is {own:?}, node_exporter says {theirs:?}"));
        }
    }
    differences
}

/// node_exporter 1.11 treats the size of an NVMe namespace as a number of logical blocks, but it is a number
/// of sectors of 512 bytes. The namespace in the test has blocks of 4096 bytes.
///
/// It also joins the options of a mount without commas and then looks for `ro` between commas. So it finds
/// `ro` only if a mount has no other option.
fn is_their_mistake(series: &str, own: f64, theirs: f64) -> bool {
    let of_nvme = ["node_nvme_namespace_size_bytes{", "node_nvme_namespace_capacity_bytes{"];
    (of_nvme.iter().any(|start| series.starts_with(start)) && theirs == 8.0 * own)
        || (series.starts_with("node_filesystem_readonly{") && own == 1.0 && theirs == 0.0)
}

fn is_absent(series: &str) -> bool {
    ABSENT.iter().any(|(start, _)| series.starts_with(start))
        || ABSENT_COLLECTORS.iter().any(|(collector, start, _)| {
            series.starts_with(start)
                || (series.starts_with("node_scrape_collector_")
                    && series.contains(&format!("{{collector=\"{collector}\"}}")))
        })
}

#[test]
fn the_same_metrics_on_the_machine_that_runs_the_test() {
    let Some(peers) = support::peers() else { return };
    let exporter = NodeExporter::start(&peers, &["--collector.processes", MOUNT_POINTS]);
    let mut host = Host::new(HostOptions { collectors: CollectorSet::all(), ..HostOptions::default() });
    let mut collect = || without_rotation(common::parse(&common::render(&host.collect(now_ms()))));

    // A process, an interface or a mount may come or go between two collections. A real difference stays.
    let mut found = Vec::new();
    for _ in 0..5 {
        let before = collect();
        let theirs = without_rotation(common::parse(&exporter.scrape()));
        let after = collect();
        found = differences(&after, &theirs, |series, after, theirs| {
            let before = before.samples.get(series).copied().unwrap_or(after);
            lies_between(series, before, theirs, after)
        });
        // The number of sleeping processes changes all the time.
        found.retain(|difference| !difference.contains("node_processes_") || !difference.contains("state{"));
        if found.is_empty() {
            let both = theirs.samples.keys().filter(|series| after.samples.contains_key(*series)).count();
            assert!(both > 200, "only {both} series were compared");
            return;
        }
    }
    panic!("{} differences:\n{}", found.len(), found.join("\n"));
}

/// Removes the label that says whether a disk rotates. node_exporter reports 0 if any of the thirty files
/// that it reads besides that one is missing, as some are on new kernels.
fn without_rotation(mut page: Page) -> Page {
    let unknown = |series: String| series.replace(",rotational=\"1\"", "").replace(",rotational=\"0\"", "");
    page.samples = page.samples.into_iter().map(|(series, value)| (unknown(series), value)).collect();
    page
}

/// Returns true if node_exporter's value is between ours from before and after it. There is a tolerance for
/// values that may have gone up and down meanwhile.
fn lies_between(series: &str, before: f64, theirs: f64, after: f64) -> bool {
    // The duration of a collector differs.
    if series.starts_with("node_scrape_collector_duration_seconds") || (before == theirs && theirs == after) {
        return true;
    }
    // node_exporter has its own memory of the highest value of each of these counters, which go back at
    // times.
    let clumsy = series.starts_with("node_cpu_");
    // Blocks, pages and sockets come and go, so the value only has to be similar.
    let lively = [
        "node_memory_",
        "node_filesystem_avail_bytes",
        "node_filesystem_free_bytes",
        "node_filesystem_files_free",
        "node_filefd_allocated",
        "node_procs_",
        "node_load",
        "node_entropy_available_bits",
        "node_sockstat_",
        "node_netstat_Tcp_CurrEstab",
        "node_disk_io_now",
        "node_processes_",
        "node_udp_queues",
        "node_arp_entries",
        "node_nf_conntrack_entries",
        "node_timex_",
        "node_softnet_backlog_len",
        "node_cpu_scaling_frequency_hertz",
        "node_cpu_frequency_hertz",
        "node_thermal_zone_temp",
        "node_hwmon_",
    ];
    let room = if lively.iter().any(|start| series.starts_with(start)) {
        let bytes = if series.contains("_bytes") { 256e6 } else { 20.0 };
        0.5 * theirs.abs() + bytes
    } else if clumsy {
        1.0
    } else {
        1e-6
    };
    (before.min(after) - room..=before.max(after) + room).contains(&theirs)
}

#[test]
fn the_same_metrics_on_a_machine_made_of_files() {
    let Some(peers) = support::peers() else { return };
    let machine = common::machine();
    let root = machine.path();
    let below = |path: &str| root.join(path).to_string_lossy().into_owned();
    let exporter = NodeExporter::start(
        &peers,
        &[
            &format!("--path.procfs={}", below("proc")),
            &format!("--path.sysfs={}", below("sys")),
            &format!("--path.rootfs={}", root.display()),
            &format!("--path.udev.data={}", below("run/udev/data")),
            "--collector.processes",
            // These read the running kernel instead of the files.
            "--no-collector.netdev.netlink",
            "--no-collector.arp.netlink",
            "--no-collector.uname",
            "--no-collector.timex",
            "--no-collector.selinux",
            MOUNT_POINTS,
        ],
    );
    let options =
        HostOptions { root: root.to_path_buf(), collectors: "all,-uname,-timex,-selinux".parse().unwrap() };
    let ours = common::parse(&common::render(&Host::new(options).collect(now_ms())));
    let theirs = common::parse(&exporter.scrape());
    let found = differences(&ours, &theirs, |series, own, theirs| {
        let passing = ["node_time_seconds", "node_scrape_collector_duration_seconds"];
        let of_the_real_disk =
            ["node_filesystem_avail_bytes", "node_filesystem_free_bytes", "node_filesystem_files_free"];
        let near = |by: f64| (own - theirs).abs() <= by;
        if passing.iter().any(|start| series.starts_with(start)) {
            near(60.0)
        } else if of_the_real_disk.iter().any(|start| series.starts_with(start)) {
            near(0.1 * own)
        } else {
            near(1e-9 * own.abs())
        }
    });
    // node_exporter reads this metric over netlink only.
    let netlink = "node_exporter has not: node_network_receive_nohandler_total{";
    let found: Vec<String> =
        found.into_iter().filter(|difference| !difference.starts_with(netlink)).collect();
    assert!(found.is_empty(), "{} differences:\n{}", found.len(), found.join("\n"));
}
