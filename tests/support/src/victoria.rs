//! The real VictoriaMetrics and vmagent.

use crate::process::{Process, start_server};
use crate::query::{self, RawSeries, Sample};
use crate::{Peers, http};
use std::path::{Path, PathBuf};

/// The year 2100 in seconds. Without an end the API stops at the current second.
const ALL: &str = "4102444800";

/// A running VictoriaMetrics, single node.
#[derive(Debug)]
pub struct VictoriaMetrics {
    /// The process.
    pub process: Process,
    url: String,
}

impl VictoriaMetrics {
    /// Starts it on an empty temporary folder, and waits until it is ready. It keeps samples for 100 years.
    ///
    /// # Panics
    /// If it doesn't become ready.
    #[track_caller]
    pub fn start(peers: &Peers) -> VictoriaMetrics {
        let folder = tempfile::tempdir().unwrap();
        let storage = format!("-storageDataPath={}", folder.path().display());
        let (process, url) = start_server("/health", |port| {
            let listen = format!("-httpListenAddr=127.0.0.1:{port}");
            let fixed = ["-retentionPeriod=100y", "-search.latencyOffset=0s", "-loggerLevel=WARN"];
            Process::start(&peers.victoria_metrics, fixed.into_iter().chain([&*storage, &listen]))
        });
        VictoriaMetrics { process: process.holding(folder), url }
    }

    /// `http://127.0.0.1:PORT`.
    pub fn url(&self) -> &str {
        &self.url
    }

    /// The URL of its remote-write receiver.
    pub fn write_url(&self) -> String {
        format!("{}/api/v1/write", self.url)
    }

    /// Makes everything that was written visible to queries.
    pub fn flush(&self) {
        http::get(&format!("{}/internal/force_flush", self.url)).unwrap().expect_success();
    }

    /// An instant query at the current time.
    #[track_caller]
    pub fn query(&self, promql: &str) -> Vec<Sample> {
        self.flush();
        query::instant(&self.url, promql, None)
    }

    /// All stored samples of the series that match `selector`. VictoriaMetrics stores decimal numbers with
    /// one exponent for a whole block, so values are exact only if they have few digits.
    #[track_caller]
    pub fn export(&self, selector: &str) -> Vec<RawSeries> {
        self.flush();
        let url = format!("{}/api/v1/export?match[]={}&start=0&end={ALL}", self.url, http::encode(selector));
        let text = http::get(&url).unwrap().expect_success().text();
        text.lines().map(exported_series).collect()
    }

    /// The value of one of its own metrics. `series` is a name, or a series as it is written on the page.
    pub fn metric(&self, series: &str) -> Option<f64> {
        query::metric(&self.url, series)
    }
}

fn exported_series(line: &str) -> RawSeries {
    let json: serde_json::Value = serde_json::from_str(line).unwrap();
    let list = |key: &str| json[key].as_array().cloned().unwrap_or_default();
    let times = list("timestamps").into_iter().map(|time| time.as_i64().unwrap());
    let values = list("values");
    RawSeries {
        labels: query::labels_from(&json["metric"]),
        samples: times.zip(values.iter().map(query::number)).collect(),
        histograms: Vec::new(),
    }
}

/// A running vmagent.
#[derive(Debug)]
pub struct Vmagent {
    /// The process.
    pub process: Process,
    url: String,
    /// Its buffer on disk.
    pub data: PathBuf,
}

impl Vmagent {
    /// Starts it to send to `to` with further arguments (`-remoteWrite.forcePromProto=true`), and waits until
    /// it is ready. Its buffer is in `data` or a temporary folder.
    ///
    /// # Panics
    /// If it doesn't become ready.
    #[track_caller]
    pub fn start(peers: &Peers, to: &str, data: Option<&Path>, arguments: &[&str]) -> Vmagent {
        let folder = tempfile::tempdir().unwrap();
        let data = data.map_or_else(|| folder.path().to_path_buf(), Path::to_path_buf);
        let own = [
            format!("-remoteWrite.url={to}"),
            format!("-remoteWrite.tmpDataPath={}", data.display()),
            "-loggerLevel=WARN".to_string(),
        ];
        let (process, url) = start_server("/health", |port| {
            let listen = format!("-httpListenAddr=127.0.0.1:{port}");
            let own = own.iter().map(String::as_str);
            Process::start(&peers.vmagent, own.chain(arguments.iter().copied()).chain([&*listen]))
        });
        Vmagent { process: process.holding(folder), url, data }
    }

    /// `http://127.0.0.1:PORT`.
    pub fn url(&self) -> &str {
        &self.url
    }

    /// The URL of its remote-write receiver.
    pub fn write_url(&self) -> String {
        format!("{}/api/v1/write", self.url)
    }

    /// The value of one of its own metrics. `series` is a name, or a series as it is written on the page.
    pub fn metric(&self, series: &str) -> Option<f64> {
        query::metric(&self.url, series)
    }
}
