//! The real Prometheus, as a server that receives remote write or as an agent.

use crate::process::{Process, try_start_server_on};
use crate::query::{self, RawSeries, Sample};
use crate::{Peers, http};
use std::path::{Path, PathBuf};

/// The options of a start.
#[derive(Debug, Clone, Default)]
pub struct Options {
    /// Accept remote write at `/api/v1/write`.
    pub remote_write_receiver: bool,
    /// How far samples may be out of order (`10m`). Without it no sample may be out of order.
    pub out_of_order_window: Option<String>,
    /// Run as an agent: no queries, and only a log at `DATA/wal`.
    pub agent: bool,
    /// Further sections of the configuration (`remote_write: ...`), after `global`.
    pub config: String,
    /// The data folder; the default is a temporary one.
    pub data: Option<PathBuf>,
    /// Further command-line arguments.
    pub arguments: Vec<String>,
    /// Another program than Prometheus of the peers.
    pub program: Option<PathBuf>,
    /// The port of an earlier start, for a server that starts again. The default is a free port.
    pub port: Option<u16>,
}

impl Options {
    /// A server that accepts remote write.
    pub fn receiver() -> Options {
        Options { remote_write_receiver: true, ..Options::default() }
    }

    /// An agent that accepts remote write and sends to `url`. `protobuf_message` is the setting in
    /// `remote_write`: `prometheus.WriteRequest` or `io.prometheus.write.v2.Request`.
    pub fn agent(url: &str, protobuf_message: &str) -> Options {
        let config = format!("remote_write:\n- url: {url}\n  protobuf_message: {protobuf_message}\n");
        Options { remote_write_receiver: true, agent: true, config, ..Options::default() }
    }
}

/// A running Prometheus.
#[derive(Debug)]
pub struct Prometheus {
    /// The process.
    pub process: Process,
    url: String,
    /// The data folder.
    pub data: PathBuf,
}

impl Prometheus {
    /// Starts it and waits until it is ready.
    ///
    /// # Panics
    /// If it doesn't become ready.
    #[track_caller]
    pub fn start(peers: &Peers, options: Options) -> Prometheus {
        Prometheus::try_start(peers, options).unwrap_or_else(|message| panic!("{message}"))
    }

    /// Starts it and waits until it is ready or has ended. The error has its last lines.
    pub fn try_start(peers: &Peers, options: Options) -> Result<Prometheus, String> {
        let folder = tempfile::tempdir().unwrap();
        let config = folder.path().join("prometheus.yml");
        let mut text = format!("global:\n  scrape_interval: 1h\n{}", options.config);
        if let Some(window) = &options.out_of_order_window {
            text.push_str(&format!("storage:\n  tsdb:\n    out_of_order_time_window: {window}\n"));
        }
        std::fs::write(&config, text).unwrap();
        let data = options.data.clone().unwrap_or_else(|| folder.path().join("data"));
        let program = options.program.clone().unwrap_or_else(|| peers.prometheus.clone());
        let arguments = arguments(&options, &config, &data);
        let (process, url) = try_start_server_on("/-/ready", options.port, |port| {
            let listen = format!("--web.listen-address=127.0.0.1:{port}");
            Process::start(&program, arguments.iter().chain([&listen]))
        })?;
        Ok(Prometheus { process: process.holding(folder), url, data })
    }

    /// `http://127.0.0.1:PORT`.
    pub fn url(&self) -> &str {
        &self.url
    }

    /// Its port, for another start at the same address.
    pub fn port(&self) -> u16 {
        self.url.rsplit(':').next().unwrap().parse().unwrap()
    }

    /// The URL of its remote-write receiver.
    pub fn write_url(&self) -> String {
        format!("{}/api/v1/write", self.url)
    }

    /// An instant query at the current time.
    #[track_caller]
    pub fn query(&self, promql: &str) -> Vec<Sample> {
        query::instant(&self.url, promql, None)
    }

    /// An instant query at `time`, in milliseconds since 1970.
    #[track_caller]
    pub fn query_at(&self, promql: &str, time: i64) -> Vec<Sample> {
        query::instant(&self.url, promql, Some(time))
    }

    /// A range query; times in milliseconds.
    #[track_caller]
    pub fn query_range(&self, promql: &str, from: i64, to: i64, step: i64) -> Vec<RawSeries> {
        query::range(&self.url, promql, from, to, step)
    }

    /// The exact stored samples of the series that match `selector`, in the `window` (`1h`) before now.
    #[track_caller]
    pub fn raw(&self, selector: &str, window: &str) -> Vec<RawSeries> {
        query::raw(&self.url, selector, window, None)
    }

    /// Like [`Prometheus::raw`], in the `window` before `time`, in milliseconds since 1970.
    #[track_caller]
    pub fn raw_at(&self, selector: &str, window: &str, time: i64) -> Vec<RawSeries> {
        query::raw(&self.url, selector, window, Some(time))
    }

    /// The number of series that match `selector`, regardless of the age of their samples.
    #[track_caller]
    pub fn series_count(&self, selector: &str) -> usize {
        let url = format!("{}/api/v1/series?match[]={}&start=0", self.url, http::encode(selector));
        let json = http::get(&url).unwrap().expect_success().json();
        json["data"].as_array().map_or(0, Vec::len)
    }

    /// The entries of `/api/v1/metadata` for one metric; empty if the metric is unknown.
    #[track_caller]
    pub fn metadata(&self, metric: &str) -> Vec<serde_json::Value> {
        let url = format!("{}/api/v1/metadata?metric={}", self.url, http::encode(metric));
        let json = http::get(&url).unwrap().expect_success().json();
        json["data"][metric].as_array().cloned().unwrap_or_default()
    }

    /// The value of one of its own metrics. `series` is a name, or a series as it is written on the page.
    pub fn metric(&self, series: &str) -> Option<f64> {
        query::metric(&self.url, series)
    }
}

fn arguments(options: &Options, config: &Path, data: &Path) -> Vec<String> {
    let storage = if options.agent { "--storage.agent.path" } else { "--storage.tsdb.path" };
    let mut arguments = vec![
        format!("--config.file={}", config.display()),
        format!("{storage}={}", data.display()),
        "--log.level=warn".to_string(),
    ];
    if options.agent {
        arguments.push("--agent".into());
    }
    if options.remote_write_receiver {
        arguments.push("--web.enable-remote-write-receiver".into());
        if !options.agent {
            arguments.push("--enable-feature=native-histograms,exemplar-storage".into());
        }
    }
    arguments.extend(options.arguments.iter().cloned());
    arguments
}
