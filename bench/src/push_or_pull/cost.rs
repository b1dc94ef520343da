//! The cost of each way without other work: processor time, memory, bytes on the wire.

use super::ways::{host, scrape, start_narthex};
use super::{PushOrPull, usage};
use crate::Result;
use crate::systems::data_folder;
use crate::table::{Table, number};
use std::io::{Read, Write};
use std::net::TcpStream;
use std::path::Path;
use std::time::Duration;
use support::prometheus::Options;
use support::{NodeExporter, Peers, Process, Prometheus, Pushgateway, http};

/// A table of all ways, which are measured one after the other.
pub(super) fn table(narthex: &Path, peers: &Peers, options: &PushOrPull) -> Result<Table> {
    let mut table = Table::new(&[
        "per minute",
        "samples",
        "CPU ms",
        "CPU ms of Prometheus",
        "CPU ms per 1000 samples, both",
        "bytes a sample",
        "MiB",
    ]);
    let pushed = format!("{} series pushed once", options.series);
    for (name, host_metrics) in [(pushed.as_str(), false), ("this machine's metrics", true)] {
        eprintln!("cost: {name}, {} s each", options.seconds);
        table.push(of_narthex(narthex, peers, options, name, host_metrics)?);
        table.push(of_scrape(peers, options, name, host_metrics)?);
    }
    Ok(table)
}

fn group(series: usize) -> String {
    (0..series).map(|n| format!("bench_cost{{number=\"{n}\",kind=\"some\",zone=\"a\"}} {n}.5\n")).collect()
}

fn of_narthex(
    program: &Path,
    peers: &Peers,
    options: &PushOrPull,
    what: &str,
    host_metrics: bool,
) -> Result<Vec<String>> {
    let folder = data_folder()?;
    let prometheus = Prometheus::start(peers, Options::receiver());
    let narthex = start_narthex(program, folder.path(), &prometheus, options.interval, "", host_metrics);
    if !host_metrics {
        narthex.post("/metrics/job/cost", &[], group(options.series).as_bytes()).expect_success();
    }
    let sent = |name: &str| narthex.metric(&format!("prometheus_remote_storage_{name}_total")).unwrap_or(0.0);
    let mut before = (0.0, 0.0);
    let usage = watch(options, &narthex.process, &prometheus.process, || {
        before = (sent("samples"), sent("bytes"));
    });
    let (samples, bytes) = (sent("samples") - before.0, sent("bytes") - before.1);
    Ok(row(&format!("{what}: narthex"), options, usage, samples, bytes / samples))
}

fn of_scrape(peers: &Peers, options: &PushOrPull, what: &str, host_metrics: bool) -> Result<Vec<String>> {
    let (gateway, exporter);
    let (name, url, process) = if host_metrics {
        exporter = NodeExporter::start(peers, &[]);
        ("node_exporter, scraped", exporter.url().to_string(), &exporter.process)
    } else {
        gateway = Pushgateway::start(peers, &[]);
        let url = format!("{}/metrics/job/cost", gateway.url());
        http::post(&url, &[], group(options.series).as_bytes())?.expect_success();
        ("Pushgateway, scraped", gateway.url().to_string(), &gateway.process)
    };
    let config = scrape(host(&url), options.interval);
    let prometheus = Prometheus::start(peers, Options { config, ..Options::default() });
    let appended = || prometheus.metric("prometheus_tsdb_head_samples_appended_total").unwrap_or(0.0);
    let mut before = 0.0;
    let usage = watch(options, process, &prometheus.process, || before = appended());
    let samples = appended() - before;
    let per_scrape = samples / (options.seconds as f64 / options.interval as f64);
    let bytes = compressed_page(host(&url))? as f64 / per_scrape;
    Ok(row(&format!("{what}: {name}"), options, usage, samples, bytes))
}

/// Processor time of the sender and of Prometheus in milliseconds per minute, and the sender's memory.
struct Usage {
    sender: (f64, f64),
    prometheus: f64,
}

/// Measures both after they have settled; `begin` is called when the measurement begins.
fn watch(options: &PushOrPull, sender: &Process, prometheus: &Process, begin: impl FnOnce()) -> Usage {
    // The start is not measured.
    std::thread::sleep(Duration::from_secs(2 * options.interval));
    begin();
    let cpu = (sender.cpu_seconds(), prometheus.cpu_seconds());
    std::thread::sleep(Duration::from_secs(options.seconds));
    let minutes = options.seconds as f64 / 60.0;
    Usage { sender: usage(sender, cpu.0, minutes), prometheus: usage(prometheus, cpu.1, minutes).0 }
}

fn row(name: &str, options: &PushOrPull, usage: Usage, samples: f64, bytes: f64) -> Vec<String> {
    let samples = samples * 60.0 / options.seconds as f64;
    let (cpu, memory) = usage.sender;
    vec![
        name.to_string(),
        number(samples),
        number(cpu),
        number(usage.prometheus),
        number((cpu + usage.prometheus) * 1000.0 / samples),
        number(bytes),
        number(memory),
    ]
}

/// The size of the body of `/metrics` as Prometheus fetches it, which is compressed.
fn compressed_page(target: &str) -> Result<usize> {
    let mut stream = TcpStream::connect(target)?;
    let request = format!(
        "GET /metrics HTTP/1.0\r\nhost: {target}\r\naccept-encoding: gzip\r\n\
         accept: text/plain;version=0.0.4\r\n\r\n"
    );
    stream.write_all(request.as_bytes())?;
    let mut answer = Vec::new();
    stream.read_to_end(&mut answer)?;
    let head = answer.windows(4).position(|bytes| bytes == b"\r\n\r\n").ok_or("no answer")?;
    Ok(answer.len() - head - 4)
}
