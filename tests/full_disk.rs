//! A disk that is really full: a small file system in memory as the data folder. While it is full, pushes are refused
//! with 503 and delivery continues. No acknowledged sample is lost, and narthex recovers without help.
//!
//! This needs the permission to mount. Without it the test is skipped with a message, or fails if
//! `NARTHEX_REQUIRE_MOUNT` is set.
#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::indexing_slicing,
    reason = "a panic is how a test reports"
)]

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::Duration;
use support::narthex::config;
use support::wire::{self, Series, Version};
use support::{Chromium, FakeReceiver, Labels, Narthex, SOON, now_ms, wait_until};

const PROGRAM: &str = env!("CARGO_BIN_EXE_narthex");
/// The file system; 16 MiB of it are narthex' reserve.
const DISK_MIB: u64 = 64;
/// The space that the log can use before the disk is full. It is less than the log's budget, so that the disk is full
/// and not the log.
const LOG_MIB: u64 = 12;
const SERIES: usize = 100;
const SAMPLES: usize = 50;

/// A file system that is mounted until this is dropped.
struct Disk(PathBuf);

impl Disk {
    fn mount(at: &Path) -> Option<Disk> {
        let options = format!("size={DISK_MIB}m,mode=0700");
        let mut mount = Command::new("mount");
        let output = mount.args(["-t", "tmpfs", "-o", &options, "narthex-test"]).arg(at).output();
        match output {
            Ok(output) if output.status.success() => Some(Disk(at.to_path_buf())),
            other => {
                let why = match other {
                    Ok(output) => String::from_utf8_lossy(&output.stderr).trim().to_string(),
                    Err(error) => error.to_string(),
                };
                let why = format!("there is no full disk without the right to mount: {why}");
                support::peers::skip("NARTHEX_REQUIRE_MOUNT", &why);
                None
            }
        }
    }

    fn free_mib(&self) -> u64 {
        let stat = rustix::fs::statvfs(&self.0).unwrap();
        (stat.f_bavail * stat.f_frsize) >> 20
    }
}

impl Drop for Disk {
    fn drop(&mut self) {
        let plain = Command::new("umount").arg(&self.0).status().is_ok_and(|status| status.success());
        if !plain {
            let _ = Command::new("umount").arg("-l").arg(&self.0).status();
        }
    }
}

/// Creates a file that uses `mib` of the disk.
fn ballast(path: &Path, mib: u64) {
    let file = std::fs::File::create(path).unwrap();
    rustix::fs::fallocate(&file, rustix::fs::FallocateFlags::empty(), 0, mib << 20).unwrap();
}

/// Pushes numbered samples and remembers the acknowledged ones.
struct Pusher {
    start: i64,
    next: i64,
    acked: BTreeMap<Labels, Vec<i64>>,
    dice: fastrand::Rng,
}

impl Pusher {
    /// The status of the answer.
    fn push(&mut self, narthex: &Narthex) -> u16 {
        let times: Vec<i64> = (0..SAMPLES as i64).map(|at| self.start + self.next + at).collect();
        self.next += SAMPLES as i64;
        let mut series = Vec::new();
        for number in 0..SERIES {
            // Values that can't be compressed, so that the log grows.
            let samples: Vec<(i64, f64)> = times.iter().map(|time| (*time, self.dice.f64())).collect();
            series.push(Series::new("full", &[("id", &number.to_string())], &samples));
        }
        let answer = wire::push(&narthex.write_url(), Version::V2, &series).unwrap();
        if answer.is_success() {
            for one in series {
                let labels = one.labels.into_iter().collect();
                self.acked.entry(labels).or_default().extend(&times);
            }
        } else {
            assert_eq!(answer.status, 503, "{}", answer.text());
            assert!(answer.text().contains("full"), "the answer says why: {}", answer.text());
            assert!(answer.header("retry-after").is_some(), "{:?}", answer.headers);
        }
        answer.status
    }

    fn push_until_full(&mut self, narthex: &Narthex) -> u32 {
        for pushed in 0..1000 {
            if self.push(narthex) == 503 {
                return pushed;
            }
        }
        panic!("the disk never became full");
    }

    fn wait_for_all(&self, receiver: &FakeReceiver, what: &str) {
        wait_until(what, SOON * 2, || receiver.tally(&self.acked).lost == 0);
    }
}

/// Checks that the API, and the page if there is a browser, report that the disk is full and not the log.
fn expect_full_disk(narthex: &Narthex, browser: Option<&Chromium>) {
    let summary = narthex.get("/api/v1/status/summary").json();
    assert_eq!((&summary["level"], &summary["kind"]), (&"error".into(), &"disk_full".into()), "{summary}");
    let ready = narthex.get("/-/ready");
    assert_eq!((ready.status, ready.text().contains("the disk is full")), (503, true), "{}", ready.text());
    assert_eq!(narthex.get("/-/healthy").status, 200);
    let log = narthex.get("/api/v1/status/remote_write").json()["log"].clone();
    assert_eq!(log["full_reason"], "disk", "{log}");
    let Some(browser) = browser else { return };
    let page = browser.open(&format!("{}/", narthex.url()));
    let shows = "document.querySelector('#state').className === 'bad' && \
                 document.querySelector('#sentence').innerText.startsWith('The disk is full: the inputs accept no samples until 24.0 MiB are free')";
    page.wait_for(shows, SOON);
}

#[test]
fn a_full_disk_refuses_pushes_and_loses_nothing() {
    let folder = tempfile::tempdir().unwrap();
    let Some(disk) = Disk::mount(folder.path()) else { return };
    let aside = tempfile::tempdir().unwrap();
    let browser = Chromium::find().map(|program| Chromium::start(&program));
    let receiver = FakeReceiver::start();
    receiver.go_away();
    let text = format!(
        "remote_write:\n- url: {}\n  queue_config: {{max_backoff: 200ms, batch_send_deadline: 50ms}}\n\
         log: {{max_size: 16MiB}}\ncollect: {{host: {{collectors: none}}, self: false}}\n",
        receiver.write_url()
    );
    let config = config(aside.path(), &text);
    let data = folder.path().join("data");
    let arguments = ["--config", &config, "--flush-deadline", "1s"];
    let start = || Narthex::start_in(PROGRAM, "run", &data, &arguments);
    let start_ms = now_ms() - 3_600_000;
    let mut pusher =
        Pusher { start: start_ms, next: 0, acked: BTreeMap::new(), dice: fastrand::Rng::with_seed(1) };

    // The destination is unreachable, and the log fills the rest of the disk.
    let narthex = start();
    let filler = folder.path().join("filler");
    ballast(&filler, disk.free_mib() - LOG_MIB);
    let pushed = pusher.push_until_full(&narthex);
    assert!(pushed > 100, "there was space for more than {pushed} pushes");
    assert_eq!(narthex.metric("narthex_log_full"), Some(1.0));
    expect_full_disk(&narthex, browser.as_ref());
    assert_eq!(
        narthex.metric("narthex_log_segments_dropped_total"),
        Some(0.0),
        "the budget was to be larger"
    );
    for _ in 0..20 {
        assert_eq!(pusher.push(&narthex), 503, "the reserve is not for pushes");
    }

    // narthex is killed while the disk is full, and starts again.
    narthex.process.kill();
    drop(narthex);
    let narthex = start();
    pusher.push_until_full(&narthex);
    expect_full_disk(&narthex, browser.as_ref());

    // The destination is reachable again: everything arrives although the disk is full, and then there is space.
    receiver.come_back();
    pusher.wait_for_all(&receiver, "all that was acknowledged, from a full disk");
    wait_until("pushes are taken again, by itself", SOON, || pusher.push(&narthex) != 503);
    assert_eq!(narthex.metric("narthex_log_full"), Some(0.0));
    pusher.wait_for_all(&receiver, "what was pushed after that");

    // Another program fills the disk to the last byte, and frees it again.
    let more = folder.path().join("more");
    std::fs::remove_file(&filler).unwrap();
    ballast(&more, disk.free_mib());
    wait_until("the last page is full, too", SOON, || pusher.push(&narthex) == 503);
    expect_full_disk(&narthex, browser.as_ref());
    pusher.wait_for_all(&receiver, "all that was acknowledged before the disk was full again");
    std::fs::remove_file(&more).unwrap();
    // Without a push: a client that checks readiness before it pushes must not wait forever.
    wait_until("it is ready again by itself", SOON, || narthex.get("/-/ready").status == 200);
    wait_until("pushes to be accepted again after space is freed", SOON, || {
        std::thread::sleep(Duration::from_millis(100));
        pusher.push(&narthex) != 503
    });
    pusher.wait_for_all(&receiver, "the last ones");

    assert_eq!(narthex.process.terminate(SOON).code(), Some(0));
    drop(narthex);
    let tally = receiver.tally(&pusher.acked);
    assert_eq!((tally.lost, tally.out_of_order), (0, 0), "{tally:?}");
    println!("full disk: {} samples acknowledged; {tally:?}", tally.arrived);
    drop(disk);
}
