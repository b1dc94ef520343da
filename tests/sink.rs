//! `narthex sink` as a program: samples of `narthex run` arrive there, and it fails on command.
#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::indexing_slicing,
    reason = "a panic is how a test reports"
)]

use serde_json::Value as Json;
use std::path::Path;
use support::{Narthex, Process, SOON, http, narthex::listening_url, wait_until};

const PROGRAM: &str = env!("CARGO_BIN_EXE_narthex");

struct Sink {
    process: Process,
    url: String,
}

fn sink(arguments: &[&str]) -> Sink {
    let own = ["sink", "--listen", "127.0.0.1:0"];
    let process = Process::start(Path::new(PROGRAM), own.iter().chain(arguments));
    let url = listening_url(&process);
    Sink { process, url }
}

impl Sink {
    fn status(&self, search: &str) -> Json {
        let url = format!("{}/api/v1/status/sink?search={search}", self.url);
        http::get(&url).unwrap().expect_success().json()
    }

    fn tell(&self, behaviour: &str) {
        let url = format!("{}/api/v1/sink/behaviour", self.url);
        let headers = [("content-type", "application/json")];
        http::post(&url, &headers, behaviour.as_bytes()).unwrap().expect_success();
    }
}

fn agent(sink: &Sink) -> Narthex {
    Narthex::start(PROGRAM, &["--to", &sink.url, "--collect", "loadavg", "--instance", "i"])
}

#[test]
fn pushed_samples_are_listed() {
    let sink = sink(&[]);
    let _agent = agent(&sink);
    wait_until("the load to arrive", SOON, || {
        let listed = sink.status("node_load1{")["listed"].clone();
        listed.as_array().unwrap().iter().any(|l| l["series"] == r#"node_load1{instance="i",job="node"}"#)
    });
    let status = sink.status("");
    assert!(status["recent"][0]["user_agent"].as_str().unwrap().starts_with("narthex/"), "{status}");
    assert!(http::get(&format!("{}/", sink.url)).unwrap().text().contains("data-mode=\"sink\""));
    assert_eq!(sink.process.terminate(SOON).code(), Some(0));
}

#[test]
fn a_sink_of_1_0_gets_1_0() {
    let sink = sink(&["--accept", "1.0"]);
    let _agent = agent(&sink);
    wait_until("samples to arrive", SOON, || sink.status("")["samples"].as_u64().unwrap() > 0);
    let recent = sink.status("")["recent"].as_array().unwrap().clone();
    assert!(recent.iter().any(|r| r["protocol"] == "1.0" && r["status"] == 204), "{recent:?}");
}

#[test]
fn it_fails_as_configured_until_changed() {
    let sink = sink(&["--fail", "503", "--retry-after", "0"]);
    let _agent = agent(&sink);
    wait_until("failures", SOON, || sink.status("")["requests"]["failed_on_purpose"].as_u64().unwrap() > 1);
    assert_eq!(sink.status("")["samples"], 0);
    sink.tell("{}");
    wait_until("samples to arrive", SOON, || sink.status("")["samples"].as_u64().unwrap() > 0);
}

#[test]
fn a_sink_that_cuts_connections_still_shows_its_page() {
    let sink = sink(&["--refuse"]);
    let agent = agent(&sink);
    agent.process.wait_for_line("trying again", SOON);
    assert_eq!(sink.status("")["samples"], 0);
    assert_eq!(sink.status("")["behaviour"]["refuse"], true);
    sink.tell("{}");
    wait_until("samples to arrive", SOON, || sink.status("")["samples"].as_u64().unwrap() > 0);
}
