//! Checks that a real VictoriaMetrics has every value that narthex pushed.
#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::indexing_slicing,
    reason = "a panic is how a test reports"
)]

use std::collections::BTreeMap;
use support::wire::{self, Series, Version};
use support::{Narthex, SOON, VictoriaMetrics, now_ms, wait_until};

const PROGRAM: &str = env!("CARGO_BIN_EXE_narthex");

#[test]
fn pushed_values_are_exact_by_its_protocol() {
    let Some(peers) = support::peers() else { return };
    let victoria = VictoriaMetrics::start(&peers);
    let narthex = Narthex::start(PROGRAM, &["--to", victoria.url(), "--collect", "loadavg"]);
    let start = now_ms() - 60_000;
    let mut expected: BTreeMap<String, Vec<(i64, f64)>> = BTreeMap::new();
    for push in 0..20i64 {
        let series: Vec<Series> = (0..50)
            .map(|number| {
                let sample = (start + push * 1000, f64::from(number) * 0.5 + push as f64);
                let id = number.to_string();
                expected.entry(id.clone()).or_default().push(sample);
                Series::new("exact", &[("id", &id)], &[sample])
            })
            .collect();
        wire::push(&narthex.write_url(), Version::V2, &series).unwrap().expect_success();
    }
    wait_until("all samples", SOON * 2, || {
        victoria.flush();
        victoria.export("exact").iter().map(|series| series.samples.len()).sum::<usize>() == 1000
    });
    for series in victoria.export("exact") {
        assert_eq!(series.samples, expected[&series.labels["id"]]);
    }
    wait_until("this machine's load", SOON, || {
        victoria.flush();
        !victoria.query(r#"node_load1{job="node"}"#).is_empty()
    });
    narthex.process.wait_for_line("accepted", SOON);
}
