//! The ways into a Prometheus. Each has its own Prometheus.

use crate::Result;
use std::path::{Path, PathBuf};
use support::narthex::config;
use support::process::start_server_on;
use support::prometheus::Options;
use support::{Narthex, NodeExporter, Peers, Process, Prometheus, http};

/// All ways, running.
pub(super) struct Ways {
    pub(super) all: Vec<Way>,
}

pub(super) struct Way {
    pub(super) name: &'static str,
    prometheus: Option<Prometheus>,
    options: Options,
    peers: Peers,
    door: Door,
}

enum Door {
    Narthex { program: PathBuf, data: PathBuf, config: String, running: Option<Narthex> },
    Gateway { port: u16, file: PathBuf, running: Option<Process> },
    Exporter { folder: PathBuf, _running: NodeExporter },
}

/// A section that scrapes `target` (`127.0.0.1:PORT`).
pub(super) fn scrape(target: &str, interval: u64) -> String {
    format!(
        "scrape_configs:\n- job_name: scraped\n  scrape_interval: {interval}s\n  scrape_timeout: {}s\n  \
         honor_labels: true\n  static_configs:\n  - targets: [\"{target}\"]\n",
        interval.min(10)
    )
}

/// Writes a configuration file into `folder` that makes narthex push groups to `to`. `more` is a further
/// section.
fn narthex_config(folder: &Path, to: &str, interval: u64, queue: &str, more: &str) -> String {
    let text = format!(
        "remote_write:\n- url: {to}\n{queue}receive:\n  pushgateway:\n    interval: {interval}s\n{more}"
    );
    config(folder, &text)
}

/// Starts narthex with this Prometheus as its destination. It collects the machine's metrics, or nothing.
pub(super) fn start_narthex(
    program: &Path,
    folder: &Path,
    to: &Prometheus,
    interval: u64,
    queue: &str,
    host_metrics: bool,
) -> Narthex {
    let collectors = if host_metrics { "default" } else { "none" };
    let more =
        format!("collect:\n  self: false\n  host: {{collectors: {collectors}, interval: {interval}s}}\n");
    let config = narthex_config(folder, &to.write_url(), interval, queue, &more);
    Narthex::start_in(program, "run", &folder.join("data"), &["--config", &config])
}

/// The part of a URL after `http://`.
pub(super) fn host(url: &str) -> &str {
    url.trim_start_matches("http://")
}

impl Ways {
    pub(super) fn start(narthex: &Path, peers: &Peers, folder: &Path, interval: u64) -> Result<Ways> {
        let mut all = Vec::new();
        for (name, queue) in [
            ("narthex", ""),
            ("narthex, batch_send_deadline: 100ms", "  queue_config: {batch_send_deadline: 100ms}\n"),
        ] {
            let own = folder.join(format!("narthex{}", all.len()));
            let options = Options { data: Some(own.join("prometheus")), ..Options::receiver() };
            let prometheus = Prometheus::start(peers, options.clone());
            let more = "collect:\n  self: false\n  host: {collectors: none}\n";
            let config = narthex_config(&own, &prometheus.write_url(), interval, queue, more);
            let mut door =
                Door::Narthex { program: narthex.into(), data: own.join("data"), config, running: None };
            door.start(peers);
            all.push(Way { name, prometheus: Some(prometheus), options, peers: peers.clone(), door });
        }
        let mut gateway = Door::Gateway {
            port: support::process::free_port(),
            file: folder.join("gateway"),
            running: None,
        };
        gateway.start(peers);
        let textfiles = folder.join("textfiles");
        std::fs::create_dir_all(&textfiles)?;
        let argument = format!("--collector.textfile.directory={}", textfiles.display());
        let running = NodeExporter::start(peers, &[&argument]);
        let target = host(running.url()).to_string();
        let exporter = Door::Exporter { folder: textfiles, _running: running };
        let gateway_target = gateway.target();
        for (name, door, target) in
            [("Pushgateway, scraped", gateway, gateway_target), ("node_exporter, scraped", exporter, target)]
        {
            let data = Some(folder.join(format!("prometheus{}", all.len())));
            let options = Options { config: scrape(&target, interval), data, ..Options::default() };
            let prometheus = Some(Prometheus::start(peers, options.clone()));
            all.push(Way { name, prometheus, options, peers: peers.clone(), door });
        }
        Ok(Ways { all })
    }
}

impl Door {
    fn start(&mut self, peers: &Peers) {
        match self {
            Door::Narthex { program, data, config, running } => {
                let arguments = ["--config", &**config];
                *running = Some(Narthex::start_in(program, "run", data, &arguments));
            }
            Door::Gateway { port, file, running } => {
                let persistence = format!("--persistence.file={}", file.display());
                let (process, _) = start_server_on("/-/ready", Some(*port), |port| {
                    let listen = format!("--web.listen-address=127.0.0.1:{port}");
                    Process::start(&peers.pushgateway, [&listen, &persistence])
                });
                *running = Some(process);
            }
            Door::Exporter { .. } => {}
        }
    }

    fn target(&self) -> String {
        match self {
            Door::Narthex { running, .. } => running.as_ref().map(|narthex| host(narthex.url()).to_string()),
            Door::Gateway { port, .. } => Some(format!("127.0.0.1:{port}")),
            Door::Exporter { .. } => None,
        }
        .unwrap_or_default()
    }
}

impl Way {
    pub(super) fn prometheus(&self) -> &Prometheus {
        match &self.prometheus {
            Some(prometheus) => prometheus,
            None => panic!("{}: its Prometheus is stopped", self.name),
        }
    }

    /// Sets a metric to a value in this way.
    pub(super) fn put(&self, metric: &str, value: f64) -> Result<()> {
        match &self.door {
            Door::Exporter { folder, .. } => {
                let (new, file) = (folder.join("new"), folder.join(format!("{metric}.prom")));
                std::fs::write(&new, format!("{metric} {value}\n"))?;
                Ok(std::fs::rename(new, file)?)
            }
            _ => self.push(&format!("/metrics/job/{metric}"), &format!("{metric} {value}\n")),
        }
    }

    pub(super) fn push(&self, path: &str, body: &str) -> Result<()> {
        let url = format!("http://{}{path}", self.door.target());
        let status = http::request("PUT", &url, &[], Some(body.as_bytes()))?.status;
        if matches!(status, 200 | 202) { Ok(()) } else { Err(format!("{url}: {status}").into()) }
    }

    /// Returns true if clients push to it.
    pub(super) fn takes_pushes(&self) -> bool {
        !matches!(self.door, Door::Exporter { .. })
    }

    /// Kills the process that clients push to with SIGKILL, and starts it again.
    pub(super) fn kill_and_restart(&mut self) -> Result<()> {
        match &mut self.door {
            Door::Narthex { running, .. } => drop(running.take().map(|narthex| narthex.process.kill())),
            Door::Gateway { running, .. } => drop(running.take().map(|process| process.kill())),
            Door::Exporter { .. } => {}
        }
        self.door.start(&self.peers);
        Ok(())
    }

    /// Ends its Prometheus with SIGTERM.
    pub(super) fn stop_prometheus(&mut self) {
        if let Some(prometheus) = self.prometheus.take() {
            self.options.port = Some(prometheus.port());
            prometheus.process.terminate(support::SOON);
        }
    }

    /// Starts its Prometheus again, with its data and on its port.
    pub(super) fn start_prometheus(&mut self) {
        self.prometheus = Some(Prometheus::start(&self.peers, self.options.clone()));
    }

    /// How many different values of a metric its Prometheus has.
    pub(super) fn values(&self, metric: &str) -> usize {
        let mut values: Vec<u64> = Vec::new();
        for series in self.prometheus().raw(metric, "15m") {
            values.extend(series.samples.iter().map(|(_, value)| value.to_bits()));
        }
        values.sort_unstable();
        values.dedup();
        values.len()
    }
}
