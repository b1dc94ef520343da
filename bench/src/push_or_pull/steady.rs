//! How late a value is while narthex is busy. As in practice, groups are sent again and this machine's
//! metrics are collected. It also counts the requests per second that this takes.

use super::ways::start_narthex;
use super::{ASK_EVERY, FOUND_WITHIN, PushOrPull};
use crate::Result;
use crate::measure::{median, quantile};
use crate::systems::data_folder;
use crate::table::{Table, number};
use std::path::Path;
use std::time::{Duration, Instant};
use support::prometheus::Options;
use support::{Narthex, Peers, Prometheus};

/// The other work of narthex, and the settings of its queue.
const ROWS: [(&str, usize, bool, &str); 5] = [
    ("nothing else", 0, false, ""),
    ("host metrics", 0, true, ""),
    ("1,000 groups and host metrics", 1000, true, ""),
    ("the same, `batch_send_deadline: 5s`", 1000, true, "  queue_config: {batch_send_deadline: 5s}\n"),
    ("the same, `batch_send_deadline: 100ms`", 1000, true, "  queue_config: {batch_send_deadline: 100ms}\n"),
];
const METRIC: &str = "bench_steady";

/// One row for each setup, one after the other.
pub(super) fn table(narthex: &Path, peers: &Peers, options: &PushOrPull) -> Result<Table> {
    let mut table = Table::new(&[
        "a value a second beside",
        "median, s",
        "p95, s",
        "most, s",
        "requests a second",
        "samples a second",
    ]);
    for (name, groups, host_metrics, queue) in ROWS {
        eprintln!("how late beside {name}, {} s", options.seconds);
        table.push(row(narthex, peers, options, name, groups, host_metrics, queue)?);
    }
    Ok(table)
}

fn row(
    program: &Path,
    peers: &Peers,
    options: &PushOrPull,
    name: &str,
    groups: usize,
    host_metrics: bool,
    queue: &str,
) -> Result<Vec<String>> {
    let folder = data_folder()?;
    let prometheus = Prometheus::start(peers, Options::receiver());
    let narthex = start_narthex(program, folder.path(), &prometheus, options.interval, queue, host_metrics);
    for group in 0..groups {
        let path = format!("/metrics/job/bench/group/{group}");
        narthex.post(&path, &[], b"bench_group 1\nbench_group_other 2\n").expect_success();
    }
    // Groups are not sent again before their first pushes have been sent.
    std::thread::sleep(Duration::from_secs(2 * options.interval));
    let sent = || {
        ["narthex_remote_requests_total", "prometheus_remote_storage_samples_total"]
            .map(|name| narthex.metric(name).unwrap_or(0.0))
    };
    let (before, begun) = (sent(), Instant::now());
    let took = std::thread::scope(|scope| {
        let finder = scope.spawn(|| find(&prometheus, options.seconds));
        let pushed = push(&narthex, options.seconds)?;
        let found = finder.join().map_err(|_| "a panic")??;
        let took = |(pushed, found): (&Instant, &Instant)| found.duration_since(*pushed).as_secs_f64();
        Result::Ok(pushed.iter().zip(&found).map(took).collect::<Vec<f64>>())
    })?;
    let (after, seconds) = (sent(), begun.elapsed().as_secs_f64());
    let ([requests_before, samples_before], [requests_after, samples_after]) = (before, after);
    let requests = (requests_after - requests_before) / seconds;
    let samples = (samples_after - samples_before) / seconds;
    Ok(vec![
        name.to_string(),
        number(median(&took)),
        number(quantile(&took, 0.95)),
        number(quantile(&took, 1.0)),
        number(requests),
        number(samples),
    ])
}

/// Pushes 1, 2, 3, … once a second. Returns when each push began.
fn push(narthex: &Narthex, values: u64) -> Result<Vec<Instant>> {
    let begun = Instant::now();
    let mut pushed = Vec::new();
    for value in 1..=values {
        // The pushes are not in step with other work: each is up to half a second later, spread evenly.
        let late = (value as f64 * 0.618_033_988_749_895).fract() / 2.0;
        let at = Duration::from_secs_f64(value as f64 + late);
        std::thread::sleep(at.saturating_sub(begun.elapsed()));
        pushed.push(Instant::now());
        narthex.post("/metrics/job/steady", &[], format!("{METRIC} {value}\n").as_bytes()).expect_success();
    }
    Ok(pushed)
}

/// When Prometheus was first seen to have each of the values or a later one.
fn find(prometheus: &Prometheus, values: u64) -> Result<Vec<Instant>> {
    let begun = Instant::now();
    let mut found = Vec::new();
    while (found.len() as u64) < values {
        if begun.elapsed() > FOUND_WITHIN + Duration::from_secs(values) {
            return Err(format!("value {} was not found", found.len() + 1).into());
        }
        let newest = prometheus.query(METRIC).iter().map(|sample| sample.value).fold(0.0, f64::max);
        let now = Instant::now();
        found.resize((newest as usize).max(found.len()), now);
        std::thread::sleep(ASK_EVERY);
    }
    Ok(found)
}
