//! The real promtool imports dumps.

use super::{fixture, log, push, undelivered, wal_ok, with_config};
use serde_json::Value;
use std::collections::BTreeMap;
use std::path::Path;
use std::process::Command;
use support::prometheus::Options;
use support::wire::{self, Series, Version};
use support::{Peers, Prometheus, SOON, now_ms, wait_until};

/// Imports a dump in OpenMetrics as blocks into the data folder of a stopped Prometheus.
fn import(peers: &Peers, dump: &Path, data: &Path) {
    let output = Command::new(&peers.promtool)
        .args(["tsdb", "create-blocks-from", "openmetrics"])
        .args([dump, data])
        .output()
        .unwrap();
    let text = String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success(), "promtool: {text}{}", String::from_utf8_lossy(&output.stdout));
}

/// Series and their samples by time, NaN by its bits.
type Stored = BTreeMap<support::Labels, Vec<(i64, u64)>>;

fn stored(prometheus: &Prometheus, selector: &str, window: &str, at: i64) -> Stored {
    let bits = |value: f64| if value.is_nan() { 0 } else { value.to_bits() };
    let raw = prometheus.raw_at(selector, window, at);
    raw.into_iter()
        .map(|series| {
            let samples = series.samples.iter().map(|&(time, value)| (time, bits(value)));
            (series.labels, samples.collect())
        })
        .collect()
}

#[test]
fn a_dump_that_promtool_imports_has_every_value_at_its_time() {
    let Some(peers) = support::peers() else { return };
    let folder = tempfile::tempdir().unwrap();
    let data = folder.path().join("data");
    let (narthex, start) = (undelivered(&data), now_ms() - 5 * 3_600_000);
    let values = [0.1, -0.0, 1e300, 5e-324, f64::INFINITY, f64::NEG_INFINITY, f64::NAN, 1_234_567_890.123];
    let series: Vec<Series> = (0..300i64)
        .map(|id| {
            let samples: Vec<_> =
                (0..20).map(|round| (start + round * 900_007, values[((id + round) % 8) as usize])).collect();
            let odd = format!("q\"uo\\te\nü {id}");
            let name = if id % 2 == 0 { "exported" } else { "exporté" };
            Series::new(name, &[("id", &id.to_string()), ("odd", &odd), ("zo né", "x")], &samples)
        })
        .collect();
    push(&narthex, &series);
    narthex.process.kill();
    let expected: Stored = log::samples(&data.join("wal"))
        .into_iter()
        .map(|(labels, samples)| {
            let bits = |bits: u64| if f64::from_bits(bits).is_nan() { 0 } else { bits };
            (labels, samples.into_iter().map(|(time, value)| (time, bits(value))).collect())
        })
        .collect();
    assert_eq!(expected.values().map(Vec::len).sum::<usize>(), 6000);

    let dump = folder.path().join("dump.om");
    wal_ok(&["dump", data.to_str().unwrap(), "--format", "openmetrics", "--out", dump.to_str().unwrap()]);
    let blocks = folder.path().join("prometheus");
    import(&peers, &dump, &blocks);
    let options = Options { data: Some(blocks), ..Options::default() };
    let prometheus = Prometheus::start(&peers, options);
    let there = stored(&prometheus, r#"{id=~".+"}"#, "6h", now_ms());
    assert_eq!(there.len(), 300);
    assert!(there == expected, "the values differ");
}

#[test]
fn a_log_of_prometheus_is_exported_too() {
    let Some(peers) = support::peers() else { return };
    let folder = tempfile::tempdir().unwrap();
    let data = fixture("server-checkpoint", folder.path());
    let (dir, dump) = (data.to_str().unwrap(), folder.path().join("dump.om"));
    wal_ok(&["dump", dir, "--format", "openmetrics", "--out", dump.to_str().unwrap()]);
    let stat: Value = serde_json::from_str(&wal_ok(&["stat", dir, "--json"])).unwrap();
    let blocks = folder.path().join("prometheus");
    import(&peers, &dump, &blocks);
    let prometheus = Prometheus::start(&peers, Options { data: Some(blocks), ..Options::default() });
    let newest = stat["max_time"].as_i64().unwrap();
    let there = stored(&prometheus, "requests_total", "1d", newest);
    let samples: usize = there.values().map(Vec::len).sum();
    assert_eq!((there.len(), samples as u64), (40, stat["floats"].as_u64().unwrap()));
}

const MINUTE: i64 = 60_000;
const HOUR: i64 = 60 * MINUTE;

/// The source of the export.
enum Export {
    Log,
    DeadLetters,
}

/// Six hours without the destination, by the samples' clock. Meanwhile other clients have pushed to it, so that its
/// head has advanced. It accepts nothing out of order, so the first five hours are refused for good when narthex
/// delivers them. The export restores them.
fn six_hours(protobuf_message: &str, export: &Export) {
    let Some(peers) = support::peers() else { return };
    let folder = tempfile::tempdir().unwrap();
    let stored_at = folder.path().join("prometheus");
    let prometheus = |port| {
        let options = Options { data: Some(stored_at.clone()), port, ..Options::receiver() };
        Prometheus::start(&peers, options)
    };
    let destination = prometheus(None);
    let port = destination.port();
    let text = format!(
        "remote_write:\n- url: {}\n  protobuf_message: {protobuf_message}\n  queue_config:\n    batch_send_deadline: 100ms\n    min_backoff: 30ms\n    max_backoff: 100ms\n",
        destination.write_url()
    );
    let data = folder.path().join("data");
    let narthex = with_config(&data, &text);

    // The day: one sample each minute of six series, for eight hours up to now.
    let now = now_ms();
    let day = |from: i64, to: i64| {
        for minute in from / MINUTE..to / MINUTE {
            let series: Vec<Series> = (0..6)
                .map(|id| {
                    let sample = (now + minute * MINUTE, (minute * 10 + id) as f64);
                    Series::new("day", &[("id", &id.to_string())], &[sample])
                })
                .collect();
            push(&narthex, &series);
        }
    };
    let count = |prometheus: &Prometheus| {
        stored(prometheus, "day", "9h", now + MINUTE).values().map(Vec::len).sum::<usize>()
    };
    day(-8 * HOUR, -6 * HOUR);
    wait_until("the first two hours", SOON, || count(&destination) == 6 * 120);
    destination.process.terminate(SOON);
    drop(destination);
    day(-6 * HOUR, 0);

    // Other clients push to it first, at another address.
    let elsewhere = prometheus(None);
    let fresh = [Series::new("fresh", &[], &[(now - MINUTE, 1.0), (now, 1.0)])];
    wire::push(&elsewhere.write_url(), Version::V1, &fresh).unwrap().expect_success();
    wait_until("its head to move on", SOON * 2, || {
        let oldest = elsewhere.metric("prometheus_tsdb_head_min_time_seconds").unwrap_or(0.0);
        oldest * 1000.0 > (now - 3 * HOUR) as f64
    });
    elsewhere.process.terminate(SOON);
    drop(elsewhere);

    let destination = prometheus(Some(port));
    let failed = || {
        let page = narthex.get("/metrics").text();
        let lines =
            page.lines().filter(|line| line.starts_with("prometheus_remote_storage_samples_failed_total{"));
        lines.map(|line| line.rsplit(' ').next().unwrap().parse::<f64>().unwrap()).sum::<f64>() as usize
    };
    let whole = 6 * 8 * 60;
    wait_until("each sample to be delivered or refused", SOON * 2, || {
        failed() + count(&destination) == whole
    });
    let refused = failed();
    assert!((6 * 4 * 60..=6 * 6 * 60).contains(&refused), "{refused} were refused");
    let ids = stored(&destination, "day", "9h", now + MINUTE);
    // The missing samples are between these two.
    let first_of_the_end =
        ids.values().flatten().map(|sample| sample.0).filter(|&at| at > now - 6 * HOUR).min();
    narthex.process.terminate(SOON);
    drop(destination);

    let dump = folder.path().join("dump.om");
    let (dir, out) = (data.to_str().unwrap(), dump.to_str().unwrap());
    match export {
        Export::Log => {
            let (from, to) = (now - 6 * HOUR, first_of_the_end.unwrap() - 1);
            let [from, to] = [from, to].map(|time| format!("{}", time as f64 / 1000.0));
            wal_ok(&["dump", dir, "--format", "openmetrics", "--from", &from, "--to", &to, "--out", out]);
        }
        Export::DeadLetters => {
            wal_ok(&["dump", "--dead", dir, "--format", "openmetrics", "--out", out]);
        }
    }
    let lines = std::fs::read_to_string(&dump).unwrap().lines().count();
    assert_eq!(lines, refused + 1, "a line for each, and the end");
    import(&peers, &dump, &stored_at);
    let destination = prometheus(None);
    let there = stored(&destination, "day", "9h", now + MINUTE);
    assert_eq!(there.len(), 6);
    for (labels, samples) in there {
        let id: i64 = labels["id"].parse().unwrap();
        let day = (-8 * 60..0).map(|minute| (now + minute * MINUTE, ((minute * 10 + id) as f64).to_bits()));
        assert_eq!(samples, day.collect::<Vec<_>>(), "{labels:?}");
    }
    assert_eq!(destination.raw_at("fresh", "9h", now + MINUTE)[0].samples.len(), 2);
}

#[test]
fn an_outage_of_six_hours_is_restored_from_the_log() {
    six_hours("io.prometheus.write.v2.Request", &Export::Log);
}

#[test]
fn an_outage_of_six_hours_is_restored_from_dead_letters() {
    six_hours("prometheus.WriteRequest", &Export::DeadLetters);
}
