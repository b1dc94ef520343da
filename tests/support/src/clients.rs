//! The Prometheus client libraries of other languages, which push as applications do.

use crate::peers::{repository, script, skip};
use std::ffi::OsStr;
use std::path::Path;
use std::process::Command;

/// A language whose client library can be had.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Client {
    /// Python's `prometheus_client`.
    Python,
    /// `prom-client` of Node.js.
    JavaScript,
}

impl Client {
    /// A command that runs `program`, a script in that language, with the library; nothing (said aloud)
    /// where interpreter or library can't be had. `scripts/clients` fetches the library, once.
    ///
    /// # Panics
    /// Where it can't be had and `NARTHEX_REQUIRE_CLIENTS` is set.
    pub fn script(self, program: &Path) -> Option<Command> {
        let folder = repository().join("target/clients");
        if let Err(why) = script("scripts/clients", [OsStr::new(self.name()), folder.as_os_str()]) {
            skip(
                "NARTHEX_REQUIRE_CLIENTS",
                &format!("the client library for {} can't be had: {why}", self.name()),
            );
            return None;
        }
        let mut command = match self {
            Client::Python => Command::new(folder.join("python/bin/python")),
            Client::JavaScript => {
                let mut command = Command::new("node");
                command.env("NODE_PATH", folder.join("javascript/node_modules"));
                command
            }
        };
        // What the tests talk to is on loopback, wherever this machine's proxy is.
        command.arg(program).env("no_proxy", "*").env("PYTHONDONTWRITEBYTECODE", "1");
        Some(command)
    }

    fn name(self) -> &'static str {
        match self {
            Client::Python => "python",
            Client::JavaScript => "javascript",
        }
    }
}
