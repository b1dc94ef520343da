//! `narthex push` and `narthex exec`, against a real narthex, the real Pushgateway and a real Prometheus.
#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::indexing_slicing,
    reason = "a panic is how a test reports"
)]

mod exec;
mod push;
mod spool;

use std::collections::BTreeMap;
use std::io::Write;
use std::path::{Path, PathBuf};
use std::process::{Command, Output, Stdio};
use std::time::{SystemTime, UNIX_EPOCH};
use support::narthex::config;
use support::{Narthex, Process, Pushgateway};

const PROGRAM: &str = env!("CARGO_BIN_EXE_narthex");

/// The folder for a test's own spool, and the commands that use it.
struct Place {
    folder: tempfile::TempDir,
}

impl Place {
    fn new() -> Place {
        Place { folder: tempfile::tempdir().unwrap() }
    }

    fn spool(&self) -> PathBuf {
        self.folder.path().join("spool")
    }

    fn path(&self, name: &str) -> String {
        self.folder.path().join(name).display().to_string()
    }

    fn command(&self, arguments: &[&str]) -> Command {
        let mut command = Command::new(PROGRAM);
        command.arg(arguments[0]).arg("--spool").arg(self.spool()).args(&arguments[1..]);
        command.env_remove("NARTHEX_TO").env_remove("NARTHEX_GATEWAY").env_remove("NARTHEX_LOG");
        command.stdin(Stdio::null());
        command
    }

    fn run(&self, arguments: &[&str]) -> Output {
        self.command(arguments).output().unwrap()
    }

    fn run_with_input(&self, arguments: &[&str], input: &[u8]) -> Output {
        let mut command = self.command(arguments);
        let mut child =
            command.stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().unwrap();
        let (mut stdin, input) = (child.stdin.take().unwrap(), input.to_vec());
        // In its own thread, because both pipes have little space. A program that does not read its input is no error.
        let writer = std::thread::spawn(move || drop(stdin.write_all(&input)));
        let output = child.wait_with_output().unwrap();
        writer.join().unwrap();
        output
    }

    /// Runs a command in the background. It ends together with the test.
    fn start(&self, arguments: &[&str]) -> Process {
        let spool = self.path("spool");
        let all = [&arguments[..1], &["--spool", &spool], &arguments[1..]].concat();
        Process::with_env(Path::new(PROGRAM), all, &[("NARTHEX_TO", ""), ("NARTHEX_GATEWAY", "")])
    }

    /// The entries in all spools, by name.
    fn entries(&self) -> Vec<PathBuf> {
        self.files_named("")
    }

    /// The parked entries in all spools, by name.
    fn parked(&self) -> Vec<PathBuf> {
        self.files_named("parked-")
    }

    fn files_named(&self, prefix: &str) -> Vec<PathBuf> {
        let folders = std::fs::read_dir(self.spool()).into_iter().flatten().flatten();
        let files = folders.flat_map(|folder| std::fs::read_dir(folder.path()).unwrap().flatten());
        let mut entries: Vec<_> = files.map(|file| file.path()).collect();
        entries.retain(|path| {
            let name = path.file_name().unwrap().to_str().unwrap();
            name.strip_prefix(prefix).is_some_and(|number| number.parse::<u64>().is_ok())
        });
        entries.sort();
        entries
    }
}

fn stderr(output: &Output) -> String {
    String::from_utf8_lossy(&output.stderr).into_owned()
}

fn now_seconds() -> f64 {
    SystemTime::now().duration_since(UNIX_EPOCH).unwrap().as_secs_f64()
}

/// A gateway that shows its groups.
trait Gateway {
    fn url(&self) -> &str;

    fn page(&self) -> String {
        support::http::get(&format!("{}/metrics", self.url())).unwrap().expect_success().text()
    }

    /// The series of a job's group on the page, with their values.
    fn group(&self, job: &str) -> BTreeMap<String, f64> {
        let job = format!("job=\"{job}\"");
        let page = self.page();
        let lines = page.lines().filter(|line| !line.starts_with('#') && line.contains(&job));
        lines
            .filter_map(|line| line.rsplit_once(' '))
            .map(|(series, value)| (series.to_string(), value.parse().unwrap()))
            .collect()
    }

    /// The value of the only series of a job with this name.
    fn gauge(&self, job: &str, name: &str) -> Option<f64> {
        let found: Vec<_> = self
            .group(job)
            .into_iter()
            .filter(|(series, _)| series.starts_with(&format!("{name}{{")))
            .collect();
        assert!(found.len() <= 1, "{found:?}");
        found.first().map(|(_, value)| *value)
    }
}

impl Gateway for Pushgateway {
    fn url(&self) -> &str {
        self.url()
    }
}

impl Gateway for Narthex {
    fn url(&self) -> &str {
        self.url()
    }
}

/// A narthex that shows its groups on its own page.
fn exposing_narthex(folder: &Path) -> Narthex {
    let receiver = "http://127.0.0.1:1/";
    let text = format!(
        "remote_write:\n- url: {receiver}\nreceive:\n  pushgateway:\n    expose: true\ncollect:\n  self: false\n"
    );
    Narthex::start(PROGRAM, &["--config", &config(folder, &text), "--collect", "none"])
}

/// A port that nothing listens on.
fn dead_url() -> String {
    format!("http://127.0.0.1:{}", support::process::free_port())
}
