//! One sample that a real Prometheus refuses costs only that sample, and few requests.
#![allow(clippy::unwrap_used, clippy::indexing_slicing, reason = "a panic is how a test reports")]

use support::narthex::config;
use support::prometheus::Options;
use support::wire::{self, Series, Version};
use support::{Narthex, Prometheus, SOON, now_ms, wait_until};

const PROGRAM: &str = env!("CARGO_BIN_EXE_narthex");
/// A full batch, including the refused sample.
const SAMPLES: usize = 2000;

#[test]
fn one_old_sample_among_2000_costs_itself_and_at_most_40_requests() {
    let Some(peers) = support::peers() else { return };
    for (message, per_series) in [
        ("prometheus.WriteRequest", 1),
        ("prometheus.WriteRequest", 3),
        ("io.prometheus.write.v2.Request", 1),
        ("io.prometheus.write.v2.Request", 3),
    ] {
        let case = format!("{message}, {per_series} a series");
        let prometheus = Prometheus::start(&peers, Options::receiver());
        let folder = tempfile::tempdir().unwrap();
        let text = format!(
            "remote_write:\n- url: {}\n  protobuf_message: {message}\n  queue_config:\n    \
             batch_send_deadline: 200ms\n    max_shards: 1\ncollect:\n  self: false\n",
            prometheus.write_url()
        );
        let narthex = Narthex::start(PROGRAM, &["--config", &config(folder.path(), &text)]);
        let push = |series: &[Series]| {
            wire::push(&narthex.write_url(), Version::V1, series).unwrap().expect_success();
        };
        let now = now_ms();
        // Advances the head of Prometheus to now: it refuses all samples that are an hour older.
        push(&[Series::new("first", &[], &[(now, 1.0)])]);
        wait_until("the first sample", SOON, || prometheus.raw("first", "5m").len() == 1);
        let sum = |name: &str| {
            let page = narthex.get("/metrics").text();
            let lines = page.lines().filter(|line| line.split(['{', ' ']).next() == Some(name));
            lines.map(|line| line.rsplit(' ').next().unwrap().parse::<f64>().unwrap()).sum::<f64>()
        };
        let before = sum("narthex_remote_requests_total");
        let mut left = SAMPLES;
        let mut series = Vec::new();
        for number in 0.. {
            let count = per_series.min(left);
            left -= count;
            let mut samples: Vec<(i64, f64)> =
                (0..count).map(|step| (now - 3000 + 1000 * step as i64, number as f64)).collect();
            if number == 321 {
                samples[0].0 = now - 3_700_000;
            }
            series.push(Series::new("many", &[("id", &number.to_string())], &samples));
            if left == 0 {
                break;
            }
        }
        push(&series);
        let arrived =
            || prometheus.raw("many", "2h").iter().map(|series| series.samples.len()).sum::<usize>();
        wait_until(&format!("all others, {case}"), SOON, || arrived() == SAMPLES - 1);
        wait_until("the refusal to be counted", SOON, || {
            sum("prometheus_remote_storage_samples_failed_total") == 1.0
        });
        let requests = sum("narthex_remote_requests_total") - before;
        println!("{case}: {requests} requests");
        assert!(requests <= 40.0, "{case}: {requests} requests");
        let taken = sum("prometheus_remote_storage_samples_total");
        assert!(taken >= SAMPLES as f64, "{case}: {taken}");
    }
}
