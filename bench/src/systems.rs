//! The systems that are measured, and how each is started.

use crate::Result;
use crate::dialect::Dialect;
use crate::receiver::{Arrived, Receiver};
use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::{Duration, Instant};
use support::prometheus::Options;
use support::{Narthex, Peers, Process, Prometheus, Vmagent, http};

/// A system under test.
#[derive(Debug, Clone, Copy, PartialEq, Eq, clap::ValueEnum)]
pub(crate) enum System {
    /// narthex, release build, default configuration: every acknowledged push is on disk.
    Narthex,
    /// Prometheus in agent mode.
    Prometheus,
    /// VictoriaMetrics' vmagent.
    Vmagent,
}

/// The protocol in, and the protocol out.
#[derive(Debug, Clone, Copy, PartialEq, Eq, clap::ValueEnum)]
pub(crate) enum Route {
    /// Remote write 1.0 in and out.
    #[value(name = "1-1")]
    OneOne,
    /// Remote write 1.0 in, 2.0 out.
    #[value(name = "1-2")]
    OneTwo,
    /// Remote write 2.0 in and out.
    #[value(name = "2-2")]
    TwoTwo,
    /// VictoriaMetrics' zstd variant of 1.0 in and out.
    #[value(name = "zstd")]
    Zstd,
    /// Prometheus' text format in, remote write 1.0 out.
    #[value(name = "text-1")]
    TextOne,
    /// InfluxDB's line protocol in, remote write 1.0 out.
    #[value(name = "influx-1")]
    InfluxOne,
}

impl Route {
    /// The sender's format.
    pub(crate) fn input(self) -> Dialect {
        match self {
            Route::OneOne | Route::OneTwo => Dialect::V1,
            Route::TwoTwo => Dialect::V2,
            Route::Zstd => Dialect::Zstd,
            Route::TextOne => Dialect::Text,
            Route::InfluxOne => Dialect::Influx,
        }
    }

    /// The receiver's format.
    pub(crate) fn output(self) -> Dialect {
        match self {
            Route::OneOne | Route::TextOne | Route::InfluxOne => Dialect::V1,
            Route::OneTwo | Route::TwoTwo => Dialect::V2,
            Route::Zstd => Dialect::Zstd,
        }
    }

    /// Its name in a table.
    pub(crate) fn name(self) -> &'static str {
        match self {
            Route::OneOne => "1.0 -> 1.0",
            Route::OneTwo => "1.0 -> 2.0",
            Route::TwoTwo => "2.0 -> 2.0",
            Route::Zstd => "zstd -> zstd",
            Route::TextOne => "text -> 1.0",
            Route::InfluxOne => "Influx -> 1.0",
        }
    }
}

impl System {
    pub(crate) const ALL: [System; 3] = [System::Narthex, System::Prometheus, System::Vmagent];

    /// Its name in a table.
    pub(crate) fn name(self) -> &'static str {
        match self {
            System::Narthex => "narthex",
            System::Prometheus => "Prometheus agent",
            System::Vmagent => "vmagent",
        }
    }

    /// Why the system does not support the route; `None` if it does.
    pub(crate) fn lacks(self, route: Route, histograms: bool) -> Option<&'static str> {
        match (self, route) {
            (System::Vmagent, Route::OneTwo | Route::TwoTwo) => Some("does not speak remote write 2.0"),
            (System::Vmagent, _) if histograms => Some("turns native histograms into buckets of its own"),
            (System::Prometheus, Route::Zstd) => Some("does not speak the zstd variant"),
            (System::Prometheus, Route::TextOne | Route::InfluxOne) => Some("accepts no text"),
            (_, Route::TextOne | Route::InfluxOne) if histograms => Some("has no native histograms in text"),
            _ => None,
        }
    }
}

/// Optional features of a system.
#[derive(Debug, Clone, Copy, Default)]
pub(crate) struct Asked {
    /// Native histograms are sent.
    pub(crate) histograms: bool,
    /// A label is added to each series.
    pub(crate) label: bool,
    /// A limit on disk; the default is the system's own. The Prometheus agent has no such limit.
    pub(crate) budget: Option<Budget>,
}

/// The limit of a system on disk.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Budget {
    pub(crate) bytes: u64,
    /// If true, pushes are refused with 503 at the limit. Otherwise the oldest samples are dropped.
    pub(crate) refuse: bool,
}

/// The label that is added.
const LABEL: (&str, &str) = ("replica", "a");

/// Which systems are measured.
#[derive(Debug, Clone, clap::Args)]
pub(crate) struct Which {
    /// Which systems; several after commas
    #[arg(long, value_enum, value_delimiter = ',', default_value = "narthex,prometheus,vmagent")]
    pub(crate) systems: Vec<System>,
    /// This narthex, instead of one that is built for it
    #[arg(long, value_name = "PROGRAM")]
    pub(crate) narthex: Option<PathBuf>,
}

/// The programs that were found.
#[derive(Debug)]
pub(crate) struct Programs {
    narthex: Option<PathBuf>,
    pub(crate) peers: Option<Peers>,
}

impl Programs {
    /// Finds the real programs. If narthex is requested without a program, it is built in release mode.
    pub(crate) fn find(which: &Which) -> Result<Programs> {
        let narthex = match &which.narthex {
            _ if !which.systems.contains(&System::Narthex) => None,
            Some(program) => Some(program.clone()),
            None => Some(build_narthex()?),
        };
        let needs_peers = which.systems.iter().any(|system| *system != System::Narthex);
        Ok(Programs { narthex, peers: if needs_peers { support::peers() } else { None } })
    }

    pub(crate) fn narthex(&self) -> Option<&Path> {
        self.narthex.as_deref()
    }

    /// Returns true if there is a program for `system`.
    pub(crate) fn has(&self, system: System) -> bool {
        match system {
            System::Narthex => self.narthex.is_some(),
            System::Prometheus | System::Vmagent => self.peers.is_some(),
        }
    }

    /// Starts `system` with the data folder `data` to send to `to`, and waits until it is ready.
    pub(crate) fn start(
        &self,
        system: System,
        route: Route,
        asked: Asked,
        to: &str,
        data: &Path,
    ) -> Result<Running> {
        let (name, value) = LABEL;
        let begun = Instant::now();
        let kind = match (system, &self.narthex, &self.peers) {
            (System::Narthex, Some(narthex), _) => {
                let mut arguments = vec!["--to", to, "--collect", "none"];
                let config = data.with_extension("yml");
                let mut text = String::new();
                if asked.label {
                    text.push_str(&format!("global: {{external_labels: {{{name}: {value}}}}}\n"));
                }
                if let Some(Budget { bytes, refuse }) = asked.budget {
                    let when_full = if refuse { "refuse" } else { "drop_oldest" };
                    text.push_str(&format!("log: {{max_size: {bytes}B, when_full: {when_full}}}\n"));
                }
                if !text.is_empty() {
                    std::fs::write(&config, text)?;
                    let config = config.to_str().ok_or("the temporary folder's name is not text")?;
                    arguments.extend(["--config", config]);
                }
                let narthex = Narthex::start_in(narthex, "run", data, &arguments);
                wait_ready(narthex.url())?;
                Kind::Narthex(narthex)
            }
            (System::Prometheus, _, Some(peers)) => {
                let message = match route {
                    Route::OneTwo | Route::TwoTwo => "io.prometheus.write.v2.Request",
                    Route::OneOne | Route::Zstd | Route::TextOne | Route::InfluxOne => {
                        "prometheus.WriteRequest"
                    }
                };
                let mut options = Options { data: Some(data.into()), ..Options::agent(to, message) };
                if asked.label {
                    let rule = format!(
                        "  write_relabel_configs: [{{target_label: {name}, replacement: {value}}}]\n"
                    );
                    options.config.push_str(&rule);
                }
                if asked.histograms {
                    options.config.push_str("  send_native_histograms: true\n");
                }
                Kind::Prometheus(Prometheus::start(peers, options))
            }
            (System::Vmagent, _, Some(peers)) => {
                let protocol = match route {
                    Route::Zstd => "-remoteWrite.forceVMProto=true",
                    _ => "-remoteWrite.forcePromProto=true",
                };
                let label = format!("-remoteWrite.label={name}={value}");
                let budget =
                    asked.budget.map(|budget| format!("-remoteWrite.maxDiskUsagePerURL={}", budget.bytes));
                let mut flags = vec![protocol];
                // The name of a series is that of its field; narthex does that where the measurement is `prometheus`.
                flags.extend((route == Route::InfluxOne).then_some("-influxSkipMeasurement"));
                flags.extend(asked.label.then_some(&*label));
                flags.extend(budget.as_deref());
                Kind::Vmagent(Vmagent::start(peers, to, Some(data), &flags))
            }
            _ => return Err(format!("there is no program for {}", system.name()).into()),
        };
        Ok(Running { kind, ready_after: begun.elapsed() })
    }
}

enum Kind {
    Narthex(Narthex),
    Prometheus(Prometheus),
    Vmagent(Vmagent),
}

/// A running system. It is killed when dropped.
pub(crate) struct Running {
    kind: Kind,
    /// The time from its start to its readiness.
    pub(crate) ready_after: Duration,
}

impl Running {
    pub(crate) fn process(&self) -> &Process {
        match &self.kind {
            Kind::Narthex(narthex) => &narthex.process,
            Kind::Prometheus(prometheus) => &prometheus.process,
            Kind::Vmagent(vmagent) => &vmagent.process,
        }
    }

    /// Waits until `expected` samples have arrived, or until nothing new has arrived for `patience`.
    pub(crate) fn drain(&self, receiver: &Receiver, expected: u64, patience: Duration) -> Result<Arrived> {
        let done = Instant::now();
        loop {
            let arrived = receiver.arrived();
            let quiet = arrived.last_new.elapsed().min(done.elapsed());
            if arrived.counts.arrived >= expected || quiet > patience {
                return Ok(arrived);
            }
            if let Some(status) = self.process().exit_status() {
                return Err(format!("the system has ended: {status}{}", self.process().tail()).into());
            }
            std::thread::sleep(Duration::from_millis(20));
        }
    }

    /// The URL of its remote-write input.
    pub(crate) fn write_url(&self) -> String {
        match &self.kind {
            Kind::Narthex(narthex) => narthex.write_url(),
            Kind::Prometheus(prometheus) => prometheus.write_url(),
            Kind::Vmagent(vmagent) => vmagent.write_url(),
        }
    }
}

pub(crate) fn wait_ready(url: &str) -> Result<()> {
    let (since, url) = (Instant::now(), format!("{url}/-/ready"));
    while since.elapsed() < support::SOON {
        if http::get(&url).is_ok_and(|answer| answer.status == 200) {
            return Ok(());
        }
        std::thread::sleep(Duration::from_millis(2));
    }
    Err(format!("{url} is not ready").into())
}

/// A data folder on the disk of the build. The system's temporary folder may be in memory, where fsync costs
/// nothing.
pub(crate) fn data_folder() -> Result<tempfile::TempDir> {
    let folder = target_folder()?.join("bench");
    std::fs::create_dir_all(&folder)?;
    Ok(tempfile::tempdir_in(folder)?)
}

/// The folder `target`: this program is in `target/release`.
fn target_folder() -> Result<PathBuf> {
    let program = std::env::current_exe()?;
    program.ancestors().nth(2).map(Path::to_path_buf).ok_or_else(|| "no target folder".into())
}

fn build_narthex() -> Result<PathBuf> {
    let cargo = std::env::var_os("CARGO").unwrap_or_else(|| "cargo".into());
    let target = target_folder()?;
    let status = Command::new(cargo)
        .args(["build", "--quiet", "--release", "-p", "narthex", "--target-dir"])
        .arg(&target)
        .current_dir(concat!(env!("CARGO_MANIFEST_DIR"), "/.."))
        .status()?;
    if !status.success() {
        return Err("narthex does not build".into());
    }
    Ok(target.join("release/narthex"))
}
