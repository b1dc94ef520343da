//! The packages, installed into a minimal Debian: a machine with nothing else has its metrics in a real Prometheus
//! within a minute. And the static program in an empty root directory.
//!
//! These tests need root, `debootstrap`, and for the packages `dpkg-deb` and `rpmbuild`. systemd is not the first
//! process there, so a test itself does what the unit requires: see [`service`].
//!
//! `NARTHEX_OLD_PROGRAM` is the program of an older version for the upgrade; without it the upgrade is from this
//! version. `NARTHEX_STATIC_PROGRAM` is a program that `scripts/package` built; without it that test is skipped. If it
//! is for another processor, `NARTHEX_EMULATOR` is a static QEMU for that processor (`qemu-aarch64`).
#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::indexing_slicing,
    reason = "a panic is how a test reports"
)]

mod licenses;
mod manifests;
mod name_server;
mod root;
mod script;
mod service;
mod static_program;

use root::{Root, run};
use service::{Service, UNIT, settings};
use std::path::{Path, PathBuf};
use std::sync::OnceLock;
use std::time::{Duration, Instant};
use support::peers::repository;
use support::process::Signal;
use support::prometheus::Options;
use support::wire::{self, Series, Version};
use support::{FakeReceiver, Prometheus, SOON, http, now_ms, wait_until};

const PROGRAM: &str = env!("CARGO_BIN_EXE_narthex");
const CONFIG: &str = "/etc/narthex/narthex.yml";
const MINUTE: Duration = Duration::from_secs(60);

/// Packages a program with `scripts/package`.
fn pack(program: &str, version: &str) -> tempfile::TempDir {
    let out = tempfile::tempdir().unwrap();
    let script = repository().join("scripts/package");
    let arguments = ["--binary", program, "--version", version, out.path().to_str().unwrap()];
    let output = std::process::Command::new(script)
        .args(arguments)
        // Good compression needs most of the time.
        .env("DPKG_DEB_COMPRESSOR_LEVEL", "0")
        .output()
        .unwrap();
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    out
}

fn file(folder: &Path, begin: &str, end: &str) -> PathBuf {
    let entries = std::fs::read_dir(folder).unwrap().map(|entry| entry.unwrap().path());
    let mut matching = entries.filter(|path| {
        let name = path.file_name().unwrap().to_str().unwrap();
        name.starts_with(begin) && name.ends_with(end)
    });
    matching.next().unwrap_or_else(|| panic!("no {begin}*{end} in {}", folder.display()))
}

/// The packages of this version, built once.
fn packages() -> &'static Path {
    static MADE: OnceLock<tempfile::TempDir> = OnceLock::new();
    MADE.get_or_init(|| pack(PROGRAM, env!("CARGO_PKG_VERSION"))).path()
}

fn install(root: &Root, deb: &Path) {
    let inside = root.bring(deb);
    root.run(&["dpkg", "--install", "--force-confold", &inside]);
}

/// Changes the configuration like an administrator.
fn configure(root: &Root, url: &str) {
    let text = root.read(CONFIG).replace("#remote_write:\n", "remote_write:\n");
    root.write(
        CONFIG,
        &text.replace("#  - url: http://HOST:9090/api/v1/write\n", &format!("  - url: {url}\n")),
    );
}

#[test]
fn a_fresh_debian_delivers_to_prometheus_within_a_minute() {
    let (Some(peers), Some(root)) = (support::peers(), Root::debian()) else { return };
    let prometheus = Prometheus::start(&peers, Options::receiver());
    let deb = file(packages(), "narthex_", ".deb");
    let started = Instant::now();
    install(&root, &deb);
    configure(&root, &prometheus.write_url());
    let service = Service::start(&root);
    service.wait_for_message("READY=1");
    wait_until("the metrics of the machine at Prometheus", SOON, || {
        !prometheus.query("node_uname_info{job=\"node\"}").is_empty() && !prometheus.query("up").is_empty()
    });
    let page = http::get(&format!("{}/", service.url)).unwrap().expect_success();
    assert!(page.text().contains("<html"), "{}", page.text());
    let took = started.elapsed();
    println!("installed, configured and delivering after {took:.1?}");
    assert!(took < MINUTE, "{took:?}");

    assert_eq!(root.owner(CONFIG), "root:narthex 640");
    assert_eq!(root.owner("/etc/narthex"), "root:narthex 750");
    assert_eq!(root.owner("/var/lib/narthex"), "narthex:narthex 700");
    assert!(root.path("/usr/share/man/man1/narthex-run.1.gz").exists());
    let completions = root.read("/usr/share/bash-completion/completions/narthex");
    assert!(completions.contains("--flush-deadline"));
    let status = http::get(&format!("{}/api/v1/status/remote_write", service.url)).unwrap().json();
    assert_eq!(status["version"], env!("CARGO_PKG_VERSION"));
    let build = format!("narthex_build_info{{version=\"{}\"}}", env!("CARGO_PKG_VERSION"));
    assert!(http::get(&format!("{}/metrics", service.url)).unwrap().text().contains(&build), "{build}");

    for _ in 0..2 {
        service.wait_for_message("WATCHDOG=1");
    }
    service.process.signal(Signal::HUP);
    let reloading = service.wait_for_message("RELOADING=1");
    assert!(reloading.lines().any(|line| line.starts_with("MONOTONIC_USEC=")), "{reloading}");
    service.wait_for_message("READY=1");
    service.wait_for_message("WATCHDOG=1");
    service.process.signal(Signal::TERM);
    let stopping = service.wait_for_message("STOPPING=1");
    assert!(stopping.contains("EXTEND_TIMEOUT_USEC="), "{stopping}");
    assert_eq!(service.process.wait(MINUTE).code(), Some(0));
}

#[test]
fn an_upgrade_keeps_backlog_and_configuration_and_a_purge_removes_both() {
    let Some(root) = Root::debian() else { return };
    let old = std::env::var("NARTHEX_OLD_PROGRAM").unwrap_or_else(|_| PROGRAM.to_string());
    let old = pack(&old, "0.1.0");
    let receiver = FakeReceiver::start();
    install(&root, &file(old.path(), "narthex_", ".deb"));
    configure(&root, &receiver.write_url());
    let config = root.read(CONFIG).replace("interval: 15s", "interval: 2m");
    root.write(CONFIG, &config);
    receiver.go_away();

    let times: Vec<i64> = (0..5_000).map(|n| now_ms() - 60_000 + n).collect();
    let labels = support::Labels::from([("__name__".into(), "backlog".into()), ("a".into(), "b".into())]);
    let service = Service::start(&root);
    for part in times.chunks(500) {
        let samples: Vec<(i64, f64)> = part.iter().map(|time| (*time, 1.0)).collect();
        let url = format!("{}/api/v1/write", service.url);
        wire::push(&url, Version::V1, &[Series::new("backlog", &[("a", "b")], &samples)])
            .unwrap()
            .expect_success();
    }
    service.process.kill();
    assert_eq!(receiver.stored(), 0);

    install(&root, &file(packages(), "narthex_", ".deb"));
    assert_eq!(root.read(CONFIG), config);
    assert_eq!(root.owner(CONFIG), "root:narthex 640");
    receiver.come_back();
    let service = Service::start(&root);
    let tally = receiver.wait_for_all(&[(labels, times)].into());
    assert_eq!((tally.lost, tally.out_of_order), (0, 0), "{tally:?}");
    service.process.terminate(MINUTE);

    root.run(&["dpkg", "--remove", "narthex"]);
    assert!(!root.path("/usr/bin/narthex").exists() && !root.path(UNIT).exists());
    assert_eq!(root.read(CONFIG), config, "removal keeps the configuration");
    assert!(root.path("/var/lib/narthex/wal").exists(), "removal keeps the data");
    root.run(&["dpkg", "--purge", "narthex"]);
    assert!(!root.path("/etc/narthex").exists() && !root.path("/var/lib/narthex").exists());
}

#[test]
fn the_unit_is_valid_and_restricted() {
    let Some(root) = Root::debian() else { return };
    install(&root, &file(packages(), "narthex_", ".deb"));
    // A minimal Debian has no systemd. The dependencies of the unit are those of this machine.
    let units = "/usr/lib/systemd/system";
    if !Path::new(units).exists()
        || std::process::Command::new("systemd-analyze").arg("--version").output().is_err()
    {
        support::peers::skip("NARTHEX_REQUIRE_PACKAGES", "there is no systemd here to check the unit with");
        return;
    }
    for kind in ["target", "slice"] {
        let copy = format!("cp --recursive {units}/*.{kind} {}", root.path(units).display());
        run("sh", &["-c", &copy]);
    }
    let inside = format!("--root={}", root.path("/").display());
    let said = run("systemd-analyze", &["verify", "--man=no", &inside, "narthex.service"]);
    assert_eq!(said.trim(), "");
    // An exposure of at most 2.5 of 10.
    run("systemd-analyze", &["security", "--offline=yes", "--threshold=25", &inside, "narthex.service"]);
    let settings = settings(&root);
    for (name, value) in [("WatchdogSec", "3min"), ("User", "narthex"), ("StateDirectoryMode", "0700")] {
        assert_eq!(settings[name], value);
    }
}

#[test]
fn the_rpm_installs_the_same_files() {
    let (Some(root), Some(fresh)) = (Root::debian(), Root::debian()) else { return };
    install(&root, &file(packages(), "narthex_", ".deb"));
    let rpm = file(packages(), "narthex-", ".rpm");
    let inside = format!("--root={}", fresh.path("/").display());
    // Fedora's shell and user programs have the same names as Debian's.
    run("rpm", &["--install", &inside, "--nodeps", rpm.to_str().unwrap()]);
    for file in [UNIT, CONFIG, "/usr/share/man/man1/narthex.1.gz", "/usr/bin/narthex"] {
        assert_eq!(root.owner(file), fresh.owner(file), "{file}");
        let [deb, rpm] = [&root, &fresh].map(|root| std::fs::read(root.path(file)).unwrap());
        assert!(deb == rpm, "{file} differs");
    }
    assert_eq!(fresh.owner("/etc/narthex"), "root:narthex 750");
    for file in ["LICENSE", "THIRD-PARTY-LICENSES"] {
        let ours = std::fs::read_to_string(repository().join(file)).unwrap();
        assert!(fresh.read(&format!("/usr/share/licenses/narthex/{file}")) == ours, "{file} differs");
        // The README links to this file.
        assert!(fresh.read(&format!("/usr/share/doc/narthex/{file}")) == ours, "{file} differs");
    }
}

#[test]
fn packing_the_same_program_twice_gives_the_same_bytes() {
    if Root::empty().is_none() {
        return;
    }
    let again = pack(PROGRAM, env!("CARGO_PKG_VERSION"));
    let sums = |folder: &Path| std::fs::read_to_string(folder.join("SHA256SUMS")).unwrap();
    let first = sums(packages());
    assert_eq!(first.lines().count(), 5, "program, .deb, .rpm and two files of licences: {first}");
    assert_eq!(sums(again.path()), first);
}

#[test]
fn removing_the_rpm_keeps_data_and_a_changed_configuration() {
    let Some(root) = Root::debian() else { return };
    let inside = format!("--root={}", root.path("/").display());
    let rpm = file(packages(), "narthex-", ".rpm");
    run("rpm", &["--install", &inside, "--nodeps", rpm.to_str().unwrap()]);
    configure(&root, "http://127.0.0.1:9/api/v1/write");
    let config = root.read(CONFIG);
    root.write("/var/lib/narthex/wal/00000000", "");
    run("rpm", &["--erase", &inside, "narthex"]);
    assert!(!root.path("/usr/bin/narthex").exists() && !root.path(CONFIG).exists());
    assert_eq!(root.read("/etc/narthex/narthex.yml.rpmsave"), config);
    assert!(root.path("/var/lib/narthex/wal/00000000").exists());
    assert_eq!(root.run(&["getent", "passwd", "narthex"]).split(':').next(), Some("narthex"));
}
