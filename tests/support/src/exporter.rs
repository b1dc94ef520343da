//! The real node_exporter, for comparison with narthex' host collectors.

use crate::process::{Process, start_server};
use crate::{Peers, http};

/// A running node_exporter.
#[derive(Debug)]
pub struct NodeExporter {
    /// The process.
    pub process: Process,
    url: String,
}

impl NodeExporter {
    /// Starts it with further arguments (`--collector.disable-defaults`), and waits until it answers.
    ///
    /// # Panics
    /// If it doesn't become ready.
    #[track_caller]
    pub fn start(peers: &Peers, arguments: &[&str]) -> NodeExporter {
        let (process, url) = start_server("/", |port| {
            let listen = format!("--web.listen-address=127.0.0.1:{port}");
            Process::start(&peers.node_exporter, arguments.iter().copied().chain([&*listen]))
        });
        NodeExporter { process, url }
    }

    /// `http://127.0.0.1:PORT`.
    pub fn url(&self) -> &str {
        &self.url
    }

    /// The page of a scrape, in the text format.
    ///
    /// # Panics
    /// If the answer is not 200.
    #[track_caller]
    pub fn scrape(&self) -> String {
        http::get(&format!("{}/metrics", self.url)).unwrap().expect_success().text()
    }
}
