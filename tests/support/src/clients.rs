//! The Prometheus client libraries of other languages, which push like applications.

use crate::peers::{repository, script, shout, skip};
use std::ffi::OsStr;
use std::path::Path;
use std::process::Command;

/// The exit status of `scripts/clients` if the installed language is too old for its library.
const TOO_OLD: i32 = 3;

/// A language with a client library.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Client {
    /// Python's `prometheus_client`.
    Python,
    /// `prom-client` of Node.js.
    JavaScript,
    /// `client_golang`.
    Go,
    /// `prometheus-metrics` of Java.
    Java,
}

impl Client {
    /// A command that runs `program` in that language with the library. If the language or the library is
    /// missing, the test is skipped with a message, and this returns `None`. `scripts/clients` fetches the
    /// library once.
    ///
    /// # Panics
    /// If it is missing and `NARTHEX_REQUIRE_CLIENTS` is set. A language that is installed but too old for
    /// the library (Go in Debian 12) never panics: the test is skipped.
    pub fn script(self, program: &Path) -> Option<Command> {
        let folder = repository().join("target/clients");
        if let Err(failure) = script("scripts/clients", [OsStr::new(self.name()), folder.as_os_str()]) {
            let why = format!("the client library for {} can't be had: {}", self.name(), failure.why);
            match failure.status {
                Some(TOO_OLD) => shout(&format!("SKIPPED: {why}")),
                _ => skip("NARTHEX_REQUIRE_CLIENTS", &why),
            }
            return None;
        }
        let mut command = match self {
            Client::Python => {
                let mut command = Command::new(folder.join("python/bin/python"));
                command.arg(program);
                command
            }
            Client::JavaScript => {
                let mut command = Command::new("node");
                command.env("NODE_PATH", folder.join("javascript/node_modules"));
                command.arg(program);
                command
            }
            Client::Go => Command::new(folder.join("go").join(program.file_stem().unwrap_or_default())),
            Client::Java => {
                let mut command = Command::new("java");
                // Without the compiler that optimises code that runs for long, because this code does not.
                command.args(["-XX:TieredStopAtLevel=1", "-cp"]).arg(folder.join("java/lib/*")).arg(program);
                command
            }
        };
        // The tests' servers are on loopback, so a proxy of this machine must not be used.
        command.env("no_proxy", "*").env("PYTHONDONTWRITEBYTECODE", "1");
        Some(command)
    }

    fn name(self) -> &'static str {
        match self {
            Client::Python => "python",
            Client::JavaScript => "javascript",
            Client::Go => "go",
            Client::Java => "java",
        }
    }
}
