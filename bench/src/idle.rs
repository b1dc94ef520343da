//! `bench idle`: the cost of collecting this machine's own metrics and pushing them, without other work.

use crate::Result;
use crate::receiver::{Accepts, Receiver};
use crate::relay::mib;
use crate::systems::{Programs, System, Which, data_folder};
use crate::table::{Table, number};
use crate::workload::{Plan, Workload};
use std::time::Duration;
use support::narthex::config;
use support::prometheus::Options;
use support::{Narthex, NodeExporter, Process, Prometheus, Vmagent, now_ms};

/// Options of `bench idle`.
#[derive(Debug, Clone, clap::Args)]
pub(crate) struct Idle {
    /// How long each is watched
    #[arg(long, default_value_t = 120)]
    seconds: u64,
    /// Seconds between two collections
    #[arg(long, default_value_t = 15)]
    interval: u64,
    #[command(flatten)]
    which: Which,
}

/// The most memory that narthex may keep resident: 16.3 MiB were measured with all inputs compiled in, OTLP, InfluxDB's
/// protocol and HTTP/2 among them. Half a MiB of it is for pages that the kernel maps around the used pages of the
/// program. Their number differs between runs of one program.
const RESIDENT_MAX: u64 = 17 << 20;

/// Runs the benchmark and prints the table. Returns an error if narthex takes more than [`RESIDENT_MAX`].
pub(crate) fn run(options: &Idle) -> Result<()> {
    let programs = Programs::find(&options.which)?;
    let mut too_much = None;
    let mut table = Table::new(&["", "idle MiB", "peak MiB", "CPU ms per minute", "samples per minute"]);
    for &system in options.which.systems.iter().filter(|system| programs.has(**system)) {
        eprintln!("watching {} for {} s", system.name(), options.seconds);
        let receiver = Receiver::start(Accepts::Anything)?;
        // No metric of a host is part of this plan, so that everything that arrives is counted as foreign.
        receiver.expect(Plan { workload: Workload::plain(100, 1), base: now_ms() });
        let folder = data_folder()?;
        let mut parts = Parts::default();
        let name = match (system, &programs.peers) {
            (System::Narthex, _) => {
                let program = programs.narthex().ok_or("no narthex")?;
                let text = format!(
                    "remote_write:\n- url: {}\ncollect:\n  host:\n    interval: {}s\n",
                    receiver.url(),
                    options.interval
                );
                let arguments = ["--config", &config(folder.path(), &text)];
                let data = folder.path().join("data");
                parts.narthex = Some(Narthex::start_in(program, "run", &data, &arguments));
                "narthex".to_string()
            }
            (_, Some(peers)) => {
                let exporter = NodeExporter::start(peers, &[]);
                let target = exporter.url().trim_start_matches("http://");
                let scrape = format!(
                    "scrape_configs:\n- job_name: node\n  scrape_interval: {}s\n  scrape_timeout: {}s\n  \
                     static_configs:\n  - targets: [\"{target}\"]\n",
                    options.interval,
                    options.interval.min(5)
                );
                if system == System::Prometheus {
                    let mut own = Options::agent(&receiver.url(), "prometheus.WriteRequest");
                    own.config.push_str(&scrape);
                    own.data = Some(folder.path().join("data"));
                    parts.prometheus = Some(Prometheus::start(peers, own));
                } else {
                    let file = folder.path().join("scrape.yml");
                    std::fs::write(&file, &scrape)?;
                    let argument = format!("-promscrape.config={}", file.display());
                    let data = folder.path().join("data");
                    parts.vmagent = Some(Vmagent::start(peers, &receiver.url(), Some(&data), &[&argument]));
                }
                parts.exporter = Some(exporter);
                format!("node_exporter + {}", system.name())
            }
            (_, None) => continue,
        };
        // The start is not measured: the measurement begins after the first collections.
        std::thread::sleep(Duration::from_secs(2 * options.interval));
        let (cpu, before) = (parts.sum(Process::cpu_seconds), receiver.arrived().counts.foreign);
        std::thread::sleep(Duration::from_secs(options.seconds));
        let minutes = options.seconds as f64 / 60.0;
        let resident = parts.sum(|process| process.rss_bytes() as f64) as u64;
        if system == System::Narthex && resident > RESIDENT_MAX {
            too_much = Some(resident);
        }
        table.push(vec![
            name,
            number(mib(resident)),
            number(mib(parts.sum(|process| process.peak_rss_bytes() as f64) as u64)),
            number((parts.sum(Process::cpu_seconds) - cpu) * 1000.0 / minutes),
            number((receiver.arrived().counts.foreign - before) as f64 / minutes),
        ]);
    }
    println!(
        "\nthis machine's own metrics every {} s, watched for {} s\n\n{table}",
        options.interval, options.seconds
    );
    match too_much {
        Some(resident) => {
            Err(format!("narthex keeps {resident} bytes resident; {RESIDENT_MAX} is the limit").into())
        }
        None => Ok(()),
    }
}

/// The processes of one setup.
#[derive(Default)]
struct Parts {
    narthex: Option<Narthex>,
    prometheus: Option<Prometheus>,
    vmagent: Option<Vmagent>,
    exporter: Option<NodeExporter>,
}

impl Parts {
    fn sum(&self, of: impl Fn(&Process) -> f64) -> f64 {
        let processes = [
            self.narthex.as_ref().map(|part| &part.process),
            self.prometheus.as_ref().map(|part| &part.process),
            self.vmagent.as_ref().map(|part| &part.process),
            self.exporter.as_ref().map(|part| &part.process),
        ];
        processes.into_iter().flatten().map(of).sum()
    }
}
