//! Tests what identifies a destination: with a corrected URL, another name, other credentials or in another order it
//! continues at its position. Also tests removed destinations.
#![allow(clippy::unwrap_used, clippy::indexing_slicing, reason = "a panic is how a test reports")]

use std::path::{Path, PathBuf};
use support::narthex::config;
use support::numbered::sum;
use support::wire::Version;
use support::{Answer, FakeReceiver, Labels, Narthex, Numbered, Pushed, SOON, wait_for, wait_until};

const PROGRAM: &str = env!("CARGO_BIN_EXE_narthex");

/// A data folder, and the configuration of the next narthex that runs on it.
struct Place {
    folder: tempfile::TempDir,
    numbered: Numbered,
}

impl Place {
    fn new() -> Place {
        Place { folder: tempfile::tempdir().unwrap(), numbered: Numbered::default() }
    }

    fn data(&self) -> PathBuf {
        self.folder.path().join("data")
    }

    /// Writes a configuration with these entries of `remote_write`.
    fn config(&self, entries: &[String]) -> String {
        let entries: String = entries.iter().map(|entry| format!("  - {{{entry}}}\n")).collect();
        let more = "log: {max_size: 8MiB}\ncollect: {self: false, host: {collectors: none}}\n";
        config(self.folder.path(), &format!("remote_write:\n{entries}{more}"))
    }

    fn run(&self, arguments: &[&str]) -> Narthex {
        let own = ["--flush-deadline", "100ms", "--collect", "none"];
        Narthex::start_in(PROGRAM, "run", &self.data(), &[&own, arguments].concat())
    }

    fn run_with(&self, entries: &[String]) -> Narthex {
        let config = self.config(entries);
        self.run(&["--config", &config])
    }

    fn push(&self, narthex: &Narthex, count: i64) -> Pushed {
        self.numbered.push(narthex, count)
    }
}

#[test]
fn another_version_of_the_protocol_is_logged_by_its_number() {
    let receiver = FakeReceiver::start();
    receiver.answer(|request| match request.version() {
        Version::V1 => Answer::success(request),
        Version::V2 => Answer::status(415),
    });
    let place = Place::new();
    let narthex = place.run_with(&[entry(&receiver)]);
    let pushed = place.push(&narthex, 1);
    arrived(&receiver, &[&pushed]);
    let lines = end(narthex).join("\n");
    let line = lines.lines().find(|line| line.contains("another version of the protocol")).unwrap();
    assert!(line.contains(" to=1.0"), "{line}");
}

fn entry(receiver: &FakeReceiver) -> String {
    format!("url: '{}'", receiver.write_url())
}

fn end(narthex: Narthex) -> Vec<String> {
    assert_eq!(narthex.process.terminate(SOON).code(), Some(0), "{}", narthex.process.tail());
    narthex.process.lines()
}

fn arrived(receiver: &FakeReceiver, pushed: &[&Pushed]) {
    let tally = receiver.wait_for_all(&sum(pushed));
    assert_eq!((tally.out_of_order, tally.repeated), (0, 0), "{tally:?}");
}

#[test]
fn a_corrected_url_on_the_command_line_gets_the_whole_backlog() {
    let place = Place::new();
    let (wrong, right) = (FakeReceiver::start(), FakeReceiver::start());
    wrong.go_away();
    let narthex = place.run(&["--to", &wrong.write_url()]);
    let mut pushed: Vec<Pushed> = (0..20).map(|_| place.push(&narthex, 50)).collect();
    end(narthex);
    let narthex = place.run(&["--to", &right.write_url()]);
    narthex.process.wait_for_line("it goes on where it was", SOON);
    pushed.push(place.push(&narthex, 50));
    arrived(&right, &pushed.iter().collect::<Vec<_>>());
    end(narthex);
    // After another start it is an ordinary destination.
    let narthex = place.run(&["--to", &right.write_url()]);
    pushed.push(place.push(&narthex, 50));
    arrived(&right, &pushed.iter().collect::<Vec<_>>());
    let said = end(narthex).join("\n");
    assert!(!said.contains("goes on where it was") && !said.contains("was removed"), "{said}");
}

#[test]
fn order_credentials_and_name_keep_the_identity_of_a_destination() {
    let place = Place::new();
    let [a, b, c] = [(); 3].map(|()| FakeReceiver::start());
    let all = [&a, &b, &c];
    let named = |name: &str, receiver: &FakeReceiver| format!("name: {name}, {}", entry(receiver));
    let narthex = place.run_with(&[entry(&a), entry(&b), named("third", &c)]);
    let first = place.push(&narthex, 10);
    all.iter().for_each(|receiver| arrived(receiver, &[&first]));
    all.iter().for_each(|receiver| receiver.go_away());
    let backlog = place.push(&narthex, 10);
    end(narthex);
    all.iter().for_each(|receiver| receiver.come_back());

    let credentials = |receiver: &FakeReceiver| {
        format!(
            "{}, basic_auth: {{username: me, password: new}}, queue_config: {{max_shards: 3}}",
            entry(receiver)
        )
    };
    let narthex = place.run_with(&[named("third", &c), credentials(&b), named("first", &a)]);
    let more = place.push(&narthex, 10);
    all.iter().for_each(|receiver| arrived(receiver, &[&first, &backlog, &more]));
    all.iter().for_each(|receiver| receiver.go_away());
    let again = place.push(&narthex, 10);
    let said = end(narthex).join("\n");
    assert!(said.contains("it goes on where it was") && !said.contains("was removed"), "{said}");
    all.iter().for_each(|receiver| receiver.come_back());

    // The name is removed again, and another destination gets one.
    let narthex = place.run_with(&[entry(&a), named("second", &b), named("other", &c)]);
    all.iter().for_each(|receiver| arrived(receiver, &[&first, &backlog, &more, &again]));
    end(narthex);
}

#[test]
fn two_destinations_changed_at_once_start_new_and_are_reported() {
    let place = Place::new();
    let [a, b, c, d] = [(); 4].map(|()| FakeReceiver::start());
    a.go_away();
    b.go_away();
    let narthex = place.run_with(&[entry(&a), entry(&b)]);
    place.push(&narthex, 10);
    end(narthex);
    let narthex = place.run_with(&[entry(&c), entry(&d)]);
    narthex.process.wait_for_line("nothing tells which is which", SOON);
    let line = narthex.process.wait_for_line("was removed", SOON);
    assert!(line.contains("of the log behind"), "{line}");
    let after = place.push(&narthex, 10);
    arrived(&c, &[&after]);
    arrived(&d, &[&after]);
    end(narthex);
}

#[test]
fn a_removed_destination_is_reported_and_continues_when_added_again() {
    let place = Place::new();
    let (a, b) = (FakeReceiver::start(), FakeReceiver::start());
    let narthex = place.run_with(&[entry(&a), format!("name: gone, {}", entry(&b))]);
    let first = place.push(&narthex, 10);
    arrived(&a, &[&first]);
    arrived(&b, &[&first]);
    b.go_away();
    let backlog = place.push(&narthex, 1000);
    arrived(&a, &[&first, &backlog]);
    // The other destination pins the log too, so that the samples of the removed one can be counted at any time.
    a.go_away();
    let held = place.push(&narthex, 10);
    end(narthex);

    let narthex = place.run_with(&[entry(&a)]);
    let line = narthex.process.wait_for_line("gone was removed", SOON);
    assert!(line.contains("30 days"), "{line}");
    let status = narthex.get("/api/v1/status/remote_write").json();
    let removed = &status["removed_destinations"];
    assert_eq!((removed.as_array().unwrap().len(), &removed[0]["name"]), (1, &"gone".into()));
    assert!(removed[0]["behind_bytes"].as_u64().unwrap() > 1000, "{removed}");
    assert_eq!(
        removed[0]["until_ms"].as_i64().unwrap() - removed[0]["since_ms"].as_i64().unwrap(),
        30 * 86_400_000
    );
    assert_eq!(narthex.metric("narthex_removed_destinations"), Some(1.0));
    a.come_back();
    arrived(&a, &[&first, &backlog, &held]);
    // The samples of the removed destination are not delivered.
    let summary = wait_for("all else to be delivered", SOON, || {
        let summary = narthex.get("/api/v1/status/summary").json();
        if summary["kind"] == "delivered" { Ok(summary) } else { Err(summary.to_string()) }
    });
    assert_eq!(summary["sentence"], "Everything is delivered to the destinations of the configuration.");
    let details = summary["details"].as_array().unwrap();
    let gone = details.iter().find(|detail| detail["kind"] == "destination_removed").unwrap();
    let sentence = gone["sentence"].as_str().unwrap();
    assert!(sentence.starts_with("gone is not in the configuration any more: "), "{sentence}");
    end(narthex);
    // Its pin is released at the next start at the latest. When it is added again, narthex reports that a segment is
    // missing.
    let narthex = place.run_with(&[entry(&a)]);
    let between = place.push(&narthex, 10);
    arrived(&a, &[&first, &backlog, &held, &between]);
    let oldest = || narthex.metric("narthex_log_oldest_segment").unwrap_or_default();
    wait_until("its segment to go", SOON, || oldest() > 0.0);
    end(narthex);
    b.come_back();
    let narthex = place.run_with(&[entry(&a), format!("name: gone, {}", entry(&b))]);
    narthex.process.wait_for_line("before the oldest segment of the log", SOON);
    let reset = "narthex_remote_positions_reset_total";
    let url = b.write_url();
    let series = format!("{reset}{{remote_name=\"gone\",url=\"{url}\",reason=\"gone\"}}");
    assert!(narthex.metric(&series).is_some_and(|lanes| lanes > 0.0));
    let after = place.push(&narthex, 10);
    arrived(&b, &[&first, &after]);
    assert_eq!(narthex.metric("narthex_removed_destinations"), Some(0.0));
    end(narthex);
}

#[test]
fn positions_beyond_the_log_are_reported_and_existing_samples_sent() {
    let place = Place::new();
    let a = FakeReceiver::start();
    let to = a.write_url();
    for _ in 0..3 {
        let narthex = place.run(&["--to", &to]);
        let pushed = place.push(&narthex, 10);
        wait_until("it to arrive", SOON, || a.tally(&pushed).lost == 0);
        end(narthex);
    }
    // The log is missing with all its state, as in a folder that was restored from a backup.
    let data = place.data();
    std::fs::remove_dir_all(data.join("wal")).unwrap();
    remove_but_positions(&data);
    let narthex = place.run(&["--to", &to]);
    narthex.process.wait_for_line("beyond the end of the log", SOON);
    let series = format!(
        "narthex_remote_positions_reset_total{{remote_name=\"{to}\",url=\"{to}\",reason=\"beyond_end\"}}"
    );
    assert_eq!(narthex.metric(&series), Some(256.0));
    let after = place.push(&narthex, 10);
    wait_until("the samples after that", SOON, || a.tally(&after).lost == 0);
    end(narthex);
}

fn remove_but_positions(data: &Path) {
    for entry in std::fs::read_dir(data).unwrap().flatten() {
        if entry.file_name() == "positions" {
            continue;
        }
        let path = entry.path();
        if path.is_dir() {
            std::fs::remove_dir_all(path).unwrap()
        } else {
            std::fs::remove_file(path).unwrap()
        }
    }
}

#[test]
fn destinations_with_one_url_are_distinguished_or_refused() {
    let place = Place::new();
    let a = FakeReceiver::start();
    let tenant = |name: &str| format!("{}, headers: {{X-Scope-OrgID: {name}}}", entry(&a));
    let narthex = place.run_with(&[tenant("x"), tenant("y")]);
    let pushed = place.push(&narthex, 10);
    let by = |tenant: &str| {
        let requests = a.requests();
        let its = requests.iter().filter(|request| request.header("x-scope-orgid") == Some(tenant));
        its.filter(|request| request.stored).count()
    };
    wait_until("both tenants", SOON, || by("x") > 0 && by("y") > 0);
    let names: std::collections::BTreeSet<String> =
        narthex.get("/api/v1/status/remote_write").json()["destinations"]
            .as_array()
            .unwrap()
            .iter()
            .map(|destination| destination["name"].as_str().unwrap().to_string())
            .collect();
    assert_eq!(names.len(), 2, "{names:?}");
    drop(pushed);
    end(narthex);
    let config = place.config(&[entry(&a), entry(&a)]);
    let output = std::process::Command::new(PROGRAM).args(["check", &config]).output().unwrap();
    let text = String::from_utf8(output.stderr).unwrap();
    assert_eq!(output.status.code(), Some(2), "{text}");
    assert!(text.contains("two destinations push the same to"), "{text}");
}

#[test]
fn a_flag_adds_a_destination_to_those_of_the_file() {
    let place = Place::new();
    let (a, b) = (FakeReceiver::start(), FakeReceiver::start());
    let config = place.config(&[entry(&a)]);
    let narthex = place.run(&["--config", &config, "--to", &b.write_url()]);
    let pushed = place.push(&narthex, 10);
    arrived(&a, &[&pushed]);
    arrived(&b, &[&pushed]);
    end(narthex);

    // A file without destinations is valid only if a flag adds one.
    let place = Place::new();
    let config = place.folder.path().join("n.yml");
    std::fs::write(
        &config,
        "global: {external_labels: {site: here}}\ncollect: {self: false, host: {collectors: none}}\n",
    )
    .unwrap();
    let config = config.to_str().unwrap();
    let narthex = place.run(&["--config", config, "--to", &b.write_url()]);
    place.push(&narthex, 10);
    let here = |labels: &Labels| labels.get("site").is_some_and(|site| site == "here");
    wait_until("the label of the file", SOON, || b.arrivals().keys().any(here));
    end(narthex);
    let output = std::process::Command::new(PROGRAM)
        .args(["run", "--config", config, "--data"])
        .arg(place.data())
        .env("NARTHEX_TO", "")
        .output()
        .unwrap();
    let text = String::from_utf8(output.stderr).unwrap();
    assert_eq!(output.status.code(), Some(2), "{text}");
    assert!(text.contains("n.yml: remote_write: no destination") && text.contains("--to URL"), "{text}");
    // The same destination twice is an error.
    let config = place.config(&[entry(&a)]);
    let output = std::process::Command::new(PROGRAM)
        .args(["run", "--config", &config, "--to", &a.write_url(), "--data"])
        .arg(place.data())
        .output()
        .unwrap();
    let text = String::from_utf8(output.stderr).unwrap();
    assert!(output.status.code() == Some(2) && text.contains("push the same to"), "{text}");
}

#[test]
fn existing_samples_are_sent_from_the_oldest_if_configured() {
    let place = Place::new();
    let (away, late) = (FakeReceiver::start(), FakeReceiver::start());
    away.go_away();
    let narthex = place.run_with(&[entry(&away)]);
    let before = place.push(&narthex, 10);
    end(narthex);
    let narthex = place.run_with(&[entry(&away), format!("start_at: oldest, name: late, {}", entry(&late))]);
    let after = place.push(&narthex, 10);
    arrived(&late, &[&before, &after]);
    end(narthex);
}

#[test]
fn a_destination_gets_its_token_from_googles_metadata_service() {
    let place = Place::new();
    let (receiver, metadata) = (FakeReceiver::start(), FakeReceiver::start());
    metadata
        .answer(|_| support::Answer::status(200).body(r#"{"access_token": "t0ken", "expires_in": 3599}"#));
    let config = place.config(&[format!("{}, google_iam: {{}}", entry(&receiver))]);
    let (data, home) = (place.data(), place.folder.path().join("home"));
    let address = metadata.url().replace("http://", "");
    let variables = [
        ("GCE_METADATA_HOST", address.as_str()),
        ("GOOGLE_APPLICATION_CREDENTIALS", ""),
        ("XDG_CONFIG_HOME", home.to_str().unwrap()),
    ];
    let arguments = ["run", "--config", &config, "--listen", "127.0.0.1:0", "--data", data.to_str().unwrap()];
    let process = support::Process::with_env(Path::new(PROGRAM), arguments, &variables);
    let url = support::narthex::listening_url(&process);
    let pushed =
        support::http::request("POST", &format!("{url}/metrics/job/j"), &[], Some(b"a 1\n")).unwrap();
    assert_eq!(pushed.status, 200);
    wait_until("a request", SOON, || !receiver.requests().is_empty());
    assert_eq!(receiver.requests()[0].header("authorization"), Some("Bearer t0ken"));
    assert_eq!(metadata.requests()[0].header("metadata-flavor"), Some("Google"));
}

#[test]
fn a_stop_respects_the_rate_limit() {
    const SAMPLES: usize = 2000;
    let (receiver, place) = (FakeReceiver::start(), Place::new());
    let limited = format!("{}, queue_config: {{max_bytes_per_second: 1KiB}}", entry(&receiver));
    let narthex = place.run_with(&[limited]);
    // Even compressed these are far more bytes than can be sent in the time of this test.
    let text: String = (0..SAMPLES).map(|number| format!("m{:x} 1\n", (number as u64 + 1).pow(5))).collect();
    assert_eq!(narthex.post("/api/v1/import/prometheus", &[], text.as_bytes()).status, 204);
    let lines = end(narthex).join("\n");
    assert!(lines.contains("not all samples were sent to "), "{lines}");
    let sent = receiver.stored();
    assert!(sent < SAMPLES / 2, "{sent} samples although the limit is 1 KiB a second");
    let narthex = place.run_with(&[entry(&receiver)]);
    wait_until("the rest", SOON, || receiver.stored() >= SAMPLES);
    end(narthex);
}

/// The status of the only destination.
fn status(narthex: &Narthex) -> serde_json::Value {
    narthex.get("/api/v1/status/remote_write").json()["destinations"][0].clone()
}

#[test]
fn a_destination_slowed_by_its_limit_is_a_warning() {
    let (receiver, place) = (FakeReceiver::start(), Place::new());
    let limited = format!("{}, name: prod, queue_config: {{max_bytes_per_second: 1KiB}}", entry(&receiver));
    let narthex = place.run_with(&[limited]);
    let text: String = (0..8000_u64).map(|number| format!("m{:x} 1\n", (number + 1).pow(4))).collect();
    assert_eq!(narthex.post("/api/v1/import/prometheus", &[], text.as_bytes()).status, 204);
    wait_until("the limit to be named", SOON, || status(&narthex)["slowed_by"] == "max_bytes_per_second");
    let summary = || narthex.get("/api/v1/status/summary").json();
    wait_until("samples to be late", SOON * 2, || summary()["kind"] == "catching_up");
    let summary = summary();
    assert_eq!(summary["level"], "warning", "{summary}");
    let sentence = summary["sentence"].as_str().unwrap();
    let limit =
        "prod is catching up. It is sent at most 1.00 KiB a second (queue_config.max_bytes_per_second).";
    assert!(sentence.starts_with(limit), "{sentence}");
    let status = status(&narthex);
    assert_eq!((&status["level"], &status["pause_until_ms"]), (&"warning".into(), &0.into()), "{status}");
    assert!(status["words"].as_str().unwrap().contains("queue_config.max_bytes_per_second"), "{status}");
    end(narthex);
}

#[test]
fn a_pause_that_a_receiver_asks_for_is_shown_with_its_end() {
    for code in [429, 503] {
        let (receiver, place) = (FakeReceiver::start(), Place::new());
        receiver.answer(move |_| Answer::status(code).header("Retry-After", "60"));
        let narthex = place.run_with(&[entry(&receiver)]);
        let pushed = place.push(&narthex, 1);
        wait_until("the pause", SOON, || status(&narthex)["slowed_by"] == "retry_after");
        let now_ms = narthex.get("/api/v1/status/remote_write").json()["now_ms"].as_i64().unwrap();
        let status = status(&narthex);
        let left = status["pause_until_ms"].as_i64().unwrap() - now_ms;
        assert!((20_000..=61_000).contains(&left), "{left} ms: {status}");
        let words = status["words"].as_str().unwrap();
        assert!(words.contains("It has asked for a pause (Retry-After) until "), "{words}");
        let summary = narthex.get("/api/v1/status/summary").json();
        let sentence = summary["sentence"].as_str().unwrap();
        assert!(sentence.contains("It has asked for a pause (Retry-After) until "), "{sentence}");
        drop(pushed);
        end(narthex);
    }
}

#[test]
fn a_destination_that_is_narthex_itself_is_reported_and_waits() {
    let receiver = FakeReceiver::start();
    let place = Place::new();
    let named = |url: &str| vec![format!("name: mended, url: '{url}'")];
    let narthex = place.run_with(&named(&receiver.write_url()));
    place.config(&named(&narthex.write_url()));
    assert!(narthex.reload().contains("reloaded"));
    let pushed = place.push(&narthex, 3);
    let is_told = "508 Loop Detected: this is the narthex that sends it: the URL of the destination is its own \
                   address";
    wait_for("what is wrong", SOON, || {
        let text = narthex.get("/api/v1/status/remote_write").text();
        if text.contains(is_told) { Ok(()) } else { Err(text) }
    });
    place.config(&named(&receiver.write_url()));
    assert!(narthex.reload().contains("reloaded"));
    arrived(&receiver, &[&pushed]);
}
