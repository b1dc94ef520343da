//! A real Prometheus agent opens logs that narthex wrote: complete, truncated, and after a kill. Afterwards every
//! segment still exists (an agent deletes segments that it considers corrupt) and all series are known. An agent has no
//! queries for samples. So label sets and samples are compared with those that a real server reads from the same log,
//! in each compression.
#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::indexing_slicing,
    reason = "a panic is how a test reports"
)]

mod log;

use std::path::{Path, PathBuf};
use support::folder::copy;
use support::narthex::config;
use support::process::Signal;
use support::prometheus::Options;
use support::wire::{self, Series, Version};
use support::{Narthex, Peers, Prometheus, SOON, now_ms, wait_until};

const PROGRAM: &str = env!("CARGO_BIN_EXE_narthex");

/// A destination without a server.
const NOWHERE: &str = "http://127.0.0.1:1";

fn push(narthex: &Narthex, from: usize, count: usize) {
    let now = now_ms();
    let series: Vec<Series> = (from..from + count)
        .map(|id| Series::new("opened", &[("id", &id.to_string())], &[(now, id as f64)]))
        .collect();
    wire::push(&narthex.write_url(), Version::V2, &series).unwrap().expect_success();
}

fn segments(wal: &Path) -> Vec<(u64, u64)> {
    let segments = wal::dir::segments(&wal::RealFilesystem, wal).unwrap();
    segments.into_iter().map(|segment| (segment.number, segment.bytes)).collect()
}

/// Copies the log into a folder with an agent's layout.
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
    // A ready agent has replayed the log.
    assert_eq!(prometheus.metric("prometheus_agent_active_series"), Some(series));
    let after = segments(&agent.join("wal"));
    assert_eq!(after[..before.len()], before, "the agent changed or removed segments");
}

#[test]
fn a_real_agent_opens_complete_truncated_and_killed_logs() {
    let Some(peers) = support::peers() else { return };
    let folder = tempfile::tempdir().unwrap();
    let data = folder.path().join("data");
    let start = |to: &str| Narthex::start_in(PROGRAM, "run", &data, &["--to", to, "--collect", "none"]);

    // Complete: three runs with one segment each, with common series, and each with another compression.
    for (run, (compression, flag)) in [("none", 0), ("zstd", 0x10), ("snappy", 8)].into_iter().enumerate() {
        let text = format!("remote_write: [{{url: {NOWHERE:?}}}]\nlog: {{compression: {compression}}}\n");
        let config = config(folder.path(), &text);
        let narthex = Narthex::start_in(PROGRAM, "run", &data, &["--config", &config]);
        let newest = segments(&data.join("wal")).last().unwrap().0;
        push(&narthex, run * 500, 1000);
        // The first signal makes narthex send the remaining samples, without success; the second one ends it.
        narthex.process.signal(Signal::TERM);
        narthex.process.wait_for_line("sending the remaining samples", SOON);
        narthex.process.terminate(SOON);
        // The first fragment is that of the series record, which every compression makes smaller.
        let first = std::fs::read(wal::dir::segment_path(&data.join("wal"), newest)).unwrap()[0];
        assert_eq!(first & 0x18, flag, "{compression}");
    }
    // A series has its own reference in each run.
    assert!(log::references(&data.join("wal")) >= 3000);
    opens(&peers, copied(&data, folder.path(), "whole"));

    // After a kill under load: the end may be incomplete anywhere.
    let narthex = start(NOWHERE);
    std::thread::scope(|scope| {
        let pushing = scope.spawn(|| {
            let now = now_ms();
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

    // Truncated: a destination accepted everything, so the old segments were deleted.
    let prometheus = Prometheus::start(&peers, Options::receiver());
    let narthex = start(prometheus.url());
    push(&narthex, 0, 700);
    wait_until("old segments to go", SOON * 2, || segments(&data.join("wal"))[0].0 > 0);
    narthex.process.terminate(SOON * 2);
    let truncated = copied(&data, folder.path(), "truncated");
    assert!(segments(&truncated.join("wal"))[0].0 > 0);
    opens(&peers, truncated);
}

/// The samples that a server reads from a log. It takes each series' last record as its beginning, and each segment
/// repeats these records.
fn kept_by_a_server(wal: &Path) -> log::Samples {
    let mut kept = log::Samples::new();
    for segment in log::by_segment(wal) {
        kept.extend(segment);
    }
    kept
}

/// A real server and a real agent open the log in `wal`, which has the samples `pushed`.
fn compare(peers: &Peers, wal: &Path, pushed: &log::Samples, what: &str) {
    let folder = tempfile::tempdir().unwrap();
    let [agent, server] = ["agent", "server"].map(|name| folder.path().join(name));
    for data in [&agent, &server] {
        copy(wal, &data.join("wal"));
    }
    assert!(log::samples(wal) == *pushed, "{what}: not what was pushed");
    let kept = kept_by_a_server(wal);

    let url = format!("{NOWHERE}/api/v1/write");
    let options = Options { data: Some(agent.clone()), ..Options::agent(&url, "prometheus.WriteRequest") };
    let prometheus = Prometheus::start(peers, options);
    let series = log::references(wal) as f64;
    assert_eq!(prometheus.metric("prometheus_agent_active_series"), Some(series), "{what}");
    drop(prometheus);
    assert!(log::samples(&agent.join("wal")) == *pushed, "{what}: not all is there after an agent had it");

    let options = Options { data: Some(server.clone()), ..Options::default() };
    let prometheus = Prometheus::start(peers, options);
    let there: log::Samples = prometheus
        .raw("opened", "2h")
        .into_iter()
        .map(|mut series| {
            series.labels.insert("__name__".into(), "opened".into());
            let bits = series.samples.iter().map(|(time, value)| (*time, value.to_bits()));
            (series.labels, bits.collect())
        })
        .collect();
    assert_eq!(there.len(), kept.len(), "{what}: series");
    assert!(there == kept, "{what}: a server reads other samples or label sets");
}

/// Writes through the library, so that the log has only the samples of this test.
#[test]
fn prometheus_reads_equal_samples_in_every_compression() {
    let Some(peers) = support::peers() else { return };
    let runtime = tokio::runtime::Builder::new_multi_thread().enable_all().build().unwrap();
    for compression in [wal::Compression::None, wal::Compression::Snappy, wal::Compression::Zstd] {
        let folder = tempfile::tempdir().unwrap();
        let data = folder.path().join("data");
        let wal = data.join("wal");
        let open = || {
            let options = storage::Options { compression, ..storage::Options::new(&data) };
            let clock = std::sync::Arc::new(model::SystemClock::new());
            let storage =
                storage::Storage::open(std::sync::Arc::new(wal::RealFilesystem), clock, options).unwrap().0;
            let pin = storage.pin("away", storage.oldest());
            storage.begin_truncating();
            (storage, pin)
        };
        let mut pushed = log::Samples::new();
        let mut time = now_ms() - 1_800_000;
        let mut append = |storage: &storage::Storage, from: usize, pushed: &mut log::Samples| {
            for _ in 0..20 {
                time += 1000;
                let mut batch = model::Batch::new();
                for id in from..from + 200 {
                    let text = format!("{id} \u{e9}\"\n");
                    let pairs = [("__name__", "opened"), ("id", text.as_str())];
                    let labels = model::Labels::from_pairs(pairs);
                    let series = batch.add_series(labels.as_ref(), model::Series::NO_METADATA);
                    let value = id as f64 + time as f64 / 7.0;
                    batch.push_float(series, time, value);
                    let labels = pairs.map(|(name, value)| (name.to_string(), value.to_string()));
                    pushed.entry(labels.into()).or_default().insert(time, value.to_bits());
                }
                runtime.block_on(storage.append(batch)).unwrap();
            }
        };
        // Complete: three runs with one segment each, with common and with different series.
        for run in 0..3 {
            let (storage, _pin) = open();
            append(&storage, run * 100, &mut pushed);
            storage.close();
        }
        compare(&peers, &wal, &pushed, &format!("{compression:?}, whole"));

        // After a kill: the acknowledged samples, and a part of the record that was being written.
        let (storage, pin) = open();
        append(&storage, 0, &mut pushed);
        let killed = folder.path().join("killed");
        copy(&wal, &killed);
        let (number, length) = *segments(&wal).last().unwrap();
        append(&storage, 0, &mut log::Samples::new());
        let mut reader = wal::SegmentReader::open(&wal::RealFilesystem, &wal, number, length).unwrap();
        let next = reader.next().unwrap().map(|record| (record.start + record.end) / 2).unwrap();
        let torn = &std::fs::read(wal::dir::segment_path(&wal, number)).unwrap()[..next as usize];
        std::fs::write(wal::dir::segment_path(&killed, number), torn).unwrap();
        compare(&peers, &killed, &pushed, &format!("{compression:?}, after a kill"));

        // Truncated: all but the last segment is delivered.
        pin.set(storage.end());
        wait_until("old segments to go", SOON, || segments(&wal)[0].0 > 0);
        storage.close();
        let left = log::samples(&wal);
        assert_eq!(left.len(), 200);
        compare(&peers, &wal, &left, &format!("{compression:?}, truncated"));
    }
}
