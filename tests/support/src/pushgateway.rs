//! The real Pushgateway, for comparison with narthex' input.

use crate::process::{Process, start_server};
use crate::{Peers, query};

/// A running Pushgateway.
#[derive(Debug)]
pub struct Pushgateway {
    /// The process.
    pub process: Process,
    url: String,
}

impl Pushgateway {
    /// Starts it with further arguments (`--web.enable-admin-api`), and waits until it is ready.
    ///
    /// # Panics
    /// If it doesn't become ready.
    #[track_caller]
    pub fn start(peers: &Peers, arguments: &[&str]) -> Pushgateway {
        let (process, url) = start_server("/-/ready", |port| {
            let listen = format!("--web.listen-address=127.0.0.1:{port}");
            // By default Debian's package keeps groups in /var/lib, also those of another test.
            let own = [&*listen, "--persistence.file="];
            Process::start(&peers.pushgateway, arguments.iter().copied().chain(own))
        });
        Pushgateway { process, url }
    }

    /// `http://127.0.0.1:PORT`.
    pub fn url(&self) -> &str {
        &self.url
    }

    /// The value of a metric on its page. `series` is a name, or a series as it is written on the page.
    pub fn metric(&self, series: &str) -> Option<f64> {
        query::metric(&self.url, series)
    }
}
