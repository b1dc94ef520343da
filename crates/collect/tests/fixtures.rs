//! Each collector on a machine made of files, compared with the exact expected result.
//!
//! `fixtures/expected.txt` was compared with node_exporter on the same files (see
//! `against_node_exporter.rs`). To write it again after an intended change, run
//! `NARTHEX_BLESS=1 cargo test -p collect --test fixtures` and read the difference.

mod common;

use collect::{Collector, CollectorSet, Host, HostOptions};
use std::collections::HashMap;
use std::fmt::Write as _;
use std::fs;
use std::path::Path;

const NOW_MS: i64 = 1_793_600_000_123;

/// Collectors that read the kernel instead of files, so that the files do not affect them.
const NOT_OF_FILES: [Collector; 2] = [Collector::Uname, Collector::Timex];

fn collect(root: &Path, collector: Collector) -> String {
    let collectors = CollectorSet::from_iter([collector]);
    let mut families = Host::new(HostOptions { root: root.to_path_buf(), collectors }).collect(NOW_MS);
    // The sizes depend on the file system that the test runs on.
    const SIZES: [&str; 5] = [
        "node_filesystem_size_bytes",
        "node_filesystem_free_bytes",
        "node_filesystem_avail_bytes",
        "node_filesystem_files",
        "node_filesystem_files_free",
    ];
    for family in &mut families {
        if SIZES.contains(&&*family.name) {
            assert!(family.metrics.iter().all(|metric| metric.value >= 0.0));
            family.metrics.iter_mut().for_each(|metric| metric.value = 1.0);
        }
    }
    families.retain(|family| family.name != "node_scrape_collector_duration_seconds");
    common::render(&families).replace(&*root.to_string_lossy(), "")
}

#[test]
fn every_collector_returns_exactly_the_expected_metrics() {
    let machine = common::machine();
    let collectors = Collector::ALL.iter().filter(|collector| !NOT_OF_FILES.contains(collector));
    let given: Vec<(Collector, String)> =
        collectors.map(|collector| (*collector, collect(machine.path(), *collector))).collect();
    let path = common::fixture("expected.txt");
    if std::env::var_os("NARTHEX_BLESS").is_some() {
        let mut text = String::new();
        for (collector, families) in &given {
            write!(text, "== {collector}\n{families}").unwrap();
        }
        fs::write(&path, text).unwrap();
    }
    let expected: HashMap<String, String> =
        common::sections(&fs::read_to_string(path).unwrap()).into_iter().collect();
    assert_eq!(expected.len(), given.len(), "a section for each collector");
    for (collector, families) in given {
        let expected = &expected[collector.name()];
        assert!(families == *expected, "{collector}: given\n{families}\nexpected\n{expected}");
        assert!(
            families.lines().filter(|line| !line.starts_with('#')).count() > 1,
            "{collector} has nothing but its success: the fixture lacks its files"
        );
    }
}

#[test]
fn a_machine_without_any_file_fails_collectors_and_nothing_else() {
    let empty = tempfile::tempdir().unwrap();
    let options = HostOptions { root: empty.path().to_path_buf(), collectors: CollectorSet::all() };
    let mut host = Host::new(options);
    for _ in 0..2 {
        let page = common::parse(&common::render(&host.collect(NOW_MS)));
        for collector in Collector::ALL {
            let success =
                page.samples[&format!("node_scrape_collector_success{{collector=\"{collector}\"}}")];
            // These read the kernel, or have no metrics without failing.
            let without_files = NOT_OF_FILES.contains(collector)
                || matches!(
                    collector,
                    Collector::Edac
                        | Collector::ThermalZone
                        | Collector::Selinux
                        | Collector::Sockstat
                        | Collector::Xfs
                );
            assert!(success == 0.0 || without_files, "{collector}");
        }
        assert_eq!(page.samples["node_time_seconds"], 1_793_600_000.123, "what is known is told");
    }
}

#[test]
fn one_malformed_file_fails_one_collector() {
    let machine = common::machine();
    fs::write(machine.path().join("proc/loadavg"), "what load?\n").unwrap();
    let options = HostOptions {
        root: machine.path().to_path_buf(),
        collectors: "cpu,loadavg,meminfo".parse().unwrap(),
    };
    let mut host = Host::new(options);
    let page = common::parse(&common::render(&host.collect(NOW_MS)));
    assert_eq!(page.samples[r#"node_scrape_collector_success{collector="loadavg"}"#], 0.0);
    assert_eq!(page.samples[r#"node_scrape_collector_success{collector="cpu"}"#], 1.0);
    assert_eq!(page.samples["node_memory_MemTotal_bytes"], 16_042_172.0 * 1024.0);

    fs::write(machine.path().join("proc/loadavg"), "1 2 3 1/2 3\n").unwrap();
    let page = common::parse(&common::render(&host.collect(NOW_MS)));
    assert_eq!(page.samples[r#"node_scrape_collector_success{collector="loadavg"}"#], 1.0);
    assert_eq!(page.samples["node_load15"], 3.0);
}

#[test]
fn devices_beyond_the_limit_and_files_beyond_theirs_are_left_out() {
    let machine = common::machine();
    let mut interfaces = "heading\nheading\n".to_owned();
    for number in 0..collect::MAX_DEVICES + 500 {
        writeln!(interfaces, "veth{number}: 1 2 3 4 5 6 7 8 9 10 11 12 13 14 15 16").unwrap();
    }
    fs::write(machine.path().join("proc/net/dev"), interfaces).unwrap();
    let memory = "Some: 1 kB\n".repeat(collect::MAX_FILE_BYTES / 10);
    fs::write(machine.path().join("proc/meminfo"), memory).unwrap();
    let options = HostOptions {
        root: machine.path().to_path_buf(),
        collectors: "netdev,meminfo,loadavg".parse().unwrap(),
    };
    let page = common::parse(&common::render(&Host::new(options).collect(NOW_MS)));
    let packets = page.samples.keys().filter(|name| name.starts_with("node_network_receive_packets_total"));
    assert_eq!(packets.count(), collect::MAX_DEVICES);
    assert_eq!(page.samples[r#"node_scrape_collector_success{collector="netdev"}"#], 1.0);
    assert_eq!(page.samples[r#"node_scrape_collector_success{collector="meminfo"}"#], 0.0);
    assert_eq!(page.samples["node_load1"], 0.21);
}

#[test]
fn uname_is_the_kernel_that_runs() {
    let empty = tempfile::tempdir().unwrap();
    let uname = rustix::system::uname();
    let families = collect(empty.path(), Collector::Uname);
    let release = format!("release={:?}", uname.release().to_str().unwrap());
    assert!(families.contains(&release), "{families}");
}
