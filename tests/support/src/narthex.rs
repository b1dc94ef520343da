//! narthex as a process.

use crate::http::{self, Response};
use crate::process::Process;
use crate::query;
use crate::wait::{SOON, wait_for};
use rustix::process::Signal;
use std::ffi::OsStr;
use std::net::SocketAddr;
use std::path::{Path, PathBuf};

/// A running `narthex run` (or `demo`, `sink`).
#[derive(Debug)]
pub struct Narthex {
    /// The process.
    pub process: Process,
    url: String,
    /// Its data folder.
    pub data: PathBuf,
}

impl Narthex {
    /// Starts `narthex run` with `arguments` on a free port, with its data in a temporary folder, and waits
    /// until it listens. `program` is `env!("CARGO_BIN_EXE_narthex")` in tests of the crate `narthex`.
    ///
    /// # Panics
    /// If it doesn't listen in time.
    #[track_caller]
    pub fn start(program: impl AsRef<Path>, arguments: &[&str]) -> Narthex {
        let folder = tempfile::tempdir().unwrap();
        let data = folder.path().join("data");
        let mut narthex = Narthex::start_in(program, "run", &data, arguments);
        narthex.process = narthex.process.holding(folder);
        narthex
    }

    /// Starts `narthex COMMAND` on the data folder `data`, which is kept afterwards, for a test that starts
    /// narthex again. `command` must have `--data` and `--listen`.
    ///
    /// # Panics
    /// If it doesn't listen in time.
    #[track_caller]
    pub fn start_in(program: impl AsRef<Path>, command: &str, data: &Path, arguments: &[&str]) -> Narthex {
        Narthex::start_with_env(program, command, data, arguments, &[])
    }

    /// Like [`Narthex::start_in`], with environment variables.
    ///
    /// # Panics
    /// If it doesn't listen in time.
    #[track_caller]
    pub fn start_with_env(
        program: impl AsRef<Path>,
        command: &str,
        data: &Path,
        arguments: &[&str],
        environment: &[(&str, &str)],
    ) -> Narthex {
        let own = [command, "--listen", "127.0.0.1:0", "--data"].map(OsStr::new);
        let own = own.into_iter().chain([data.as_os_str()]);
        let all = own.chain(arguments.iter().map(OsStr::new));
        let process = Process::with_env(program.as_ref(), all, environment);
        let url = listening_url(&process);
        Narthex { process, url, data: data.to_path_buf() }
    }

    /// `http://127.0.0.1:PORT`.
    pub fn url(&self) -> &str {
        &self.url
    }

    /// The URL of its remote-write input.
    pub fn write_url(&self) -> String {
        format!("{}/api/v1/write", self.url)
    }

    #[track_caller]
    pub fn get(&self, path: &str) -> Response {
        http::get(&format!("{}{path}", self.url)).unwrap_or_else(|error| self.fail(&error))
    }

    #[track_caller]
    pub fn post(&self, path: &str, headers: &[(&str, &str)], body: &[u8]) -> Response {
        self.request("POST", path, headers, Some(body))
    }

    #[track_caller]
    pub fn request(
        &self,
        method: &str,
        path: &str,
        headers: &[(&str, &str)],
        body: Option<&[u8]>,
    ) -> Response {
        http::request(method, &format!("{}{path}", self.url), headers, body)
            .unwrap_or_else(|error| self.fail(&error))
    }

    /// Where an input listens by a transport (`TCP` or `UDP`), the `number`th time that one began to, from 0.
    ///
    /// # Panics
    /// If it does not listen in time.
    #[track_caller]
    pub fn input_address(&self, transport: &str, number: usize) -> SocketAddr {
        let before = format!("listening on {transport} ");
        wait_for("a line with the address", SOON, || {
            let lines = self.process.lines();
            let mut found = lines.iter().filter_map(|line| line.split(&before).nth(1));
            let address = found.nth(number).ok_or_else(|| lines.join("\n"))?;
            let address = address.trim().split([' ', '"']).next().unwrap_or_default();
            address.parse::<SocketAddr>().map_err(|error| error.to_string())
        })
    }

    /// The value of one of its own metrics. `series` is a name, or a series as it is written on the page.
    pub fn metric(&self, series: &str) -> Option<f64> {
        query::metric(&self.url, series)
    }

    /// Sends SIGHUP and waits until the configuration has been read again. Returns the log line about the
    /// result.
    #[track_caller]
    pub fn reload(&self) -> String {
        let said = || -> Vec<String> {
            let lines = self.process.lines().into_iter();
            lines.filter(|line| line.contains("the configuration was")).collect()
        };
        let before = said().len();
        self.process.signal(Signal::HUP);
        wait_for("the reload", SOON, || {
            let said = said();
            said.get(before).cloned().ok_or_else(|| format!("{} lines", said.len()))
        })
    }

    #[track_caller]
    fn fail(&self, error: &str) -> ! {
        panic!("{error}{}", self.process.tail())
    }
}

/// Collects nothing, so that only what a test sends arrives.
pub const QUIET: &str = "collect: {self: false, host: {collectors: none}}\n";

/// Writes a configuration with one destination and one section, such as `statsd`, that collects nothing; gives its path.
pub fn config_with(folder: &Path, url: &str, section: &str, settings: &str) -> String {
    config(folder, &format!("remote_write: [{{url: '{url}'}}]\n{QUIET}{section}: {{{settings}}}\n"))
}

/// Writes a configuration file for `--config` into a folder, which is created if necessary. Returns the
/// file's path.
///
/// # Panics
/// If that fails.
pub fn config(folder: &Path, text: &str) -> String {
    std::fs::create_dir_all(folder).unwrap();
    let path = folder.join("narthex.yml");
    std::fs::write(&path, text).unwrap();
    path.into_os_string().into_string().unwrap()
}

/// The address in the line `listening on http://...`, which narthex writes when it listens.
///
/// # Panics
/// If there is no such line in time.
#[track_caller]
pub fn listening_url(process: &Process) -> String {
    const BEFORE: &str = "listening on ";
    let line = process.wait_for_line("listening on http", SOON);
    let url = line.split(BEFORE).nth(1).unwrap_or_default();
    url.split_whitespace().next().unwrap_or_default().trim_end_matches('/').to_string()
}
