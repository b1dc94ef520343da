//! A real Prometheus agent opens logs that narthex wrote: whole, truncated, and left by a kill. Every segment
//! is still there afterwards (an agent deletes what it takes for corrupt), and the series are all there.
#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::indexing_slicing,
    reason = "a panic is how a test reports"
)]

mod log;

use std::path::{Path, PathBuf};
use support::process::Signal;
use support::prometheus::Options;
use support::wire::{self, Series, Version};
use support::{Narthex, Peers, Prometheus, SOON, wait_until};

const PROGRAM: &str = env!("CARGO_BIN_EXE_narthex");

/// A destination that nobody serves.
const NOWHERE: &str = "http://127.0.0.1:1";

fn push(narthex: &Narthex, from: usize, count: usize) {
    let now = std::time::UNIX_EPOCH.elapsed().unwrap().as_millis() as i64;
    let series: Vec<Series> = (from..from + count)
        .map(|id| Series::new("opened", &[("id", &id.to_string())], &[(now, id as f64)]))
        .collect();
    wire::push(&narthex.write_url(), Version::V2, &series).unwrap().expect_success();
}

fn copy(from: &Path, to: &Path) {
    std::fs::create_dir_all(to).unwrap();
    for entry in std::fs::read_dir(from).unwrap() {
        let entry = entry.unwrap();
        let to = to.join(entry.file_name());
        if entry.file_type().unwrap().is_dir() {
            copy(&entry.path(), &to);
        } else {
            std::fs::copy(entry.path(), to).unwrap();
        }
    }
}

fn segments(wal: &Path) -> Vec<(u64, u64)> {
    let segments = wal::dir::segments(&wal::RealFilesystem, wal).unwrap();
    segments.into_iter().map(|segment| (segment.number, segment.bytes)).collect()
}

/// A copy of the log, in a folder as an agent has it.
fn copied(data: &Path, folder: &Path, name: &str) -> PathBuf {
    let agent = folder.join(name);
    copy(&data.join("wal"), &agent.join("wal"));
    agent
}

fn opens(peers: &Peers, agent: PathBuf) {
    let before = segments(&agent.join("wal"));
    let series = log::references(&agent.join("wal")) as f64;
    assert!(series > 0.0 && !before.is_empty());
    let stale = |value: &u64| *value == model::STALE_NAN;
    let samples = log::samples(&agent.join("wal"));
    assert!(
        !samples.values().flat_map(|values| values.values()).any(stale),
        "no end marks a series as ended"
    );
    let url = format!("{NOWHERE}/api/v1/write");
    let options = Options { data: Some(agent.clone()), ..Options::agent(&url, "prometheus.WriteRequest") };
    let prometheus = Prometheus::start(peers, options);
    // Ready means replayed.
    assert_eq!(prometheus.metric("prometheus_agent_active_series"), Some(series));
    let after = segments(&agent.join("wal"));
    assert_eq!(after[..before.len()], before, "the agent changed or removed segments");
}

#[test]
fn a_real_agent_opens_a_log_whole_truncated_and_left_by_a_kill() {
    let Some(peers) = support::peers() else { return };
    let folder = tempfile::tempdir().unwrap();
    let data = folder.path().join("data");
    let start = |to: &str| Narthex::start_in(PROGRAM, "run", &data, &["--to", to, "--collect", "none"]);

    // Whole: three runs, a segment each, series in common.
    for run in 0..3 {
        let narthex = start(NOWHERE);
        push(&narthex, run * 500, 1000);
        // The first signal asks it to send what is left, which nobody takes; the second ends it.
        narthex.process.signal(Signal::TERM);
        narthex.process.wait_for_line("sending what is left", SOON);
        narthex.process.terminate(SOON);
    }
    // A series has a reference of its own in each run.
    assert!(log::references(&data.join("wal")) >= 3000);
    opens(&peers, copied(&data, folder.path(), "whole"));

    // Left by a kill under load: its end may be torn anywhere.
    let narthex = start(NOWHERE);
    std::thread::scope(|scope| {
        let pushing = scope.spawn(|| {
            let now = std::time::UNIX_EPOCH.elapsed().unwrap().as_millis() as i64;
            for time in 0.. {
                let series = [Series::new("opened", &[("id", "killed")], &[(now + time, 1.0)])];
                if wire::push(&narthex.write_url(), Version::V1, &series).is_err() {
                    return time;
                }
            }
            0
        });
        wait_until("some pushes", SOON, || {
            narthex.metric("prometheus_agent_samples_appended_total").unwrap_or(0.0) > 1050.0
        });
        narthex.process.kill();
        assert!(pushing.join().unwrap() > 50);
    });
    drop(narthex);
    opens(&peers, copied(&data, folder.path(), "killed"));

    // Truncated: a destination took everything, so the old segments went.
    let prometheus = Prometheus::start(&peers, Options::receiver());
    let narthex = start(prometheus.url());
    push(&narthex, 0, 700);
    wait_until("old segments to go", SOON * 2, || segments(&data.join("wal"))[0].0 > 0);
    narthex.process.terminate(SOON * 2);
    let truncated = copied(&data, folder.path(), "truncated");
    assert!(segments(&truncated.join("wal"))[0].0 > 0);
    opens(&peers, truncated);
}
