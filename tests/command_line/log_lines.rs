//! The log on standard error: the form of each line, from the start to the end, and the number of lines.

use super::PROGRAM;
use rustix::pty::{OpenptFlags, grantpt, openpt, ptsname, unlockpt};
use std::io::Read;
use std::process::{Command, Stdio};
use support::{Answer, FakeReceiver, Narthex, SOON, wait_until};

/// The pairs of a line of logfmt.
fn logfmt(line: &str) -> Vec<(String, String)> {
    let mut pairs = Vec::new();
    let mut rest = line;
    while !rest.is_empty() {
        let (name, after) = rest.split_once('=').unwrap_or_else(|| panic!("no pair at {rest:?} in {line}"));
        assert!(name.chars().all(|c| c.is_ascii_lowercase() || c == '_'), "{name:?} in {line}");
        let (value, after) = if after.starts_with('"') {
            let mut values = serde_json::Deserializer::from_str(after).into_iter::<String>();
            let value = values.next().unwrap().unwrap_or_else(|error| panic!("{error}: {line}"));
            (value, &after[values.byte_offset()..])
        } else {
            let end = after.find(' ').unwrap_or(after.len());
            (after[..end].to_string(), &after[end..])
        };
        pairs.push((name.to_string(), value));
        rest = after.strip_prefix(' ').unwrap_or(after);
    }
    pairs
}

#[test]
fn every_line_of_a_run_has_time_level_and_message() {
    let folder = tempfile::tempdir().unwrap();
    let text = "rule_files: [a]\nremote_write: [{url: http://127.0.0.1:1/api/v1/write}]\n";
    let file = support::narthex::config(folder.path(), text);
    for format in ["logfmt", "json"] {
        let narthex = Narthex::start(PROGRAM, &["--config.file", &file, "--log.format", format]);
        narthex.process.wait_for_line("trying again", SOON);
        std::fs::write(&file, "remote_write: [{url: http://h/x, nmae: a}]\nlog: {max_size: lots}\n").unwrap();
        narthex.process.signal(rustix::process::Signal::HUP);
        narthex.process.wait_for_line("the configuration was not reloaded", SOON);
        // As after a failed start: one line for each error. The last line has no line break in it.
        let lines = narthex.process.lines();
        for (key, place) in [("remote_write[0].nmae", "1"), ("log.max_size", "2")] {
            let has =
                |line: &&String| line.contains(key) && line.contains(place) && !line.contains("not reloaded");
            assert!(lines.iter().any(|line| has(&line)), "{key}: {lines:#?}");
        }
        let last = lines.iter().find(|line| line.contains("not reloaded")).unwrap();
        assert!(last.contains("(and 1 more mistake)") && !last.contains("\\n"), "{last}");
        std::fs::write(&file, text).unwrap();
        assert_eq!(narthex.process.terminate(SOON).code(), Some(0));
        let lines = narthex.process.lines();
        assert!(lines.len() > 5, "{lines:?}");
        for line in lines {
            if format == "json" {
                let value: serde_json::Value =
                    serde_json::from_str(&line).unwrap_or_else(|error| panic!("{error}: {line}"));
                assert!(
                    value["time"].is_string() && value["level"].is_string() && value["msg"].is_string(),
                    "{line}"
                );
                continue;
            }
            let pairs = logfmt(&line);
            let names: Vec<&str> = pairs.iter().take(3).map(|(name, _)| name.as_str()).collect();
            assert_eq!(names, ["time", "level", "msg"], "{line}");
            assert!(["ERROR", "WARN", "INFO"].contains(&pairs[1].1.as_str()), "{line}");
            assert!(!line.contains("::"), "a module path: {line}");
        }
    }
}

/// The standard error of a command that ends with an error: each line as its pairs, in any format.
fn failed_start(arguments: &[&str], format: &str) -> (Option<i32>, Vec<Vec<(String, String)>>) {
    let mut command = Command::new(PROGRAM);
    command.args(arguments).args(["--log-format", format]).env("NARTHEX_TO", "");
    let output = command.stdin(Stdio::null()).output().unwrap();
    let text = String::from_utf8(output.stderr).unwrap();
    let pairs = |line: &str| match format {
        "json" => {
            let value: serde_json::Map<String, serde_json::Value> =
                serde_json::from_str(line).unwrap_or_else(|error| panic!("{error}: {line}"));
            let shown = |value: serde_json::Value| value.as_str().map_or(value.to_string(), str::to_string);
            value.into_iter().map(|(name, value)| (name, shown(value))).collect()
        }
        _ => logfmt(line),
    };
    (output.status.code(), text.lines().map(pairs).collect())
}

#[test]
fn a_failed_start_logs_its_reason() {
    let folder = tempfile::tempdir().unwrap();
    let text = "remote_write:\n  - url: http://h/x\n    nmae: a\nlog: {max_size: lots}\n";
    let file = support::narthex::config(folder.path(), text);
    let listen = ["run", "--to", "http://h", "--listen", "127.0.0.1:0"];
    let data = [&listen[..], &["--data", &file]].concat();
    let level = [&listen[..], &["--log", "loud"]].concat();
    for format in ["logfmt", "json"] {
        for (arguments, code, messages) in [
            (
                &["run", "--config", &file][..],
                2,
                &["unknown key \"nmae\"; did you mean \"name\"?", "\"lots\" is not a size"][..],
            ),
            (&["run", "--config", "/does/not/exist"], 2, &["the configuration can't be read: No such file"]),
            (&["run"], 2, &["no destination: give --to URL"]),
            (
                &["run", "--listen", "foo"],
                2,
                &["invalid value 'foo' for '--listen <ADDR>': the port is missing; write ADDRESS:PORT"],
            ),
            (&["sink", "--delay", "soon"], 2, &["invalid value 'soon' for '--delay <"]),
            (&level, 2, &["--log \"loud\": there is no log level \"loud\""]),
            (&data, 1, &["the data folder "]),
            (&["sink", "--log", "loud"], 2, &["--log \"loud\": there is no log level \"loud\""]),
        ] {
            let (ended, lines) = failed_start(arguments, format);
            assert_eq!((ended, lines.len()), (Some(code), messages.len()), "{arguments:?}: {lines:?}");
            for (line, message) in lines.iter().zip(messages) {
                let value =
                    |name: &str| line.iter().find(|(key, _)| key == name).map(|(_, value)| value.as_str());
                assert!(value("time").is_some() && value("level") == Some("ERROR"), "{line:?}");
                assert!(value("msg").is_some_and(|said| said.starts_with(message)), "{line:?}");
            }
        }
        let (_, lines) = failed_start(&["run", "--config", &file], format);
        let place = |line: &[(String, String)]| {
            let value = |name: &str| line.iter().find(|(key, _)| key == name).map(|(_, value)| value.clone());
            ["file", "line", "column", "key"].map(|name| value(name).unwrap_or_default())
        };
        let places: Vec<_> = lines.iter().map(|line| place(line)).collect();
        let want = [[&file, "3", "5", "remote_write[0].nmae"], [&file, "4", "17", "log.max_size"]];
        assert_eq!(places, want.map(|place| place.map(str::to_string)));
    }
}

/// The output of a failed start on a terminal.
fn on_a_terminal(no_color: Option<&str>) -> String {
    let screen = openpt(OpenptFlags::RDWR | OpenptFlags::NOCTTY).unwrap();
    grantpt(&screen).unwrap();
    unlockpt(&screen).unwrap();
    let terminal = ptsname(&screen, Vec::new()).unwrap().into_string().unwrap();
    let terminal = std::fs::OpenOptions::new().read(true).write(true).open(terminal).unwrap();
    let mut command = Command::new(PROGRAM);
    command.args(["run", "--config", "/does/not/exist"]).env_remove("NO_COLOR");
    command.envs(no_color.map(|value| ("NO_COLOR", value))).stderr(terminal);
    assert_eq!(command.status().unwrap().code(), Some(2));
    // The last handle on the terminal's side: reading ends after it is closed.
    drop(command);
    let mut seen = Vec::new();
    let _ = std::fs::File::from(screen).read_to_end(&mut seen);
    String::from_utf8(seen).unwrap()
}

#[test]
fn levels_have_a_color_on_a_terminal_unless_no_color_is_set() {
    for (no_color, is_colored) in [(None, true), (Some(""), true), (Some("1"), false), (Some("0"), false)] {
        let seen = on_a_terminal(no_color);
        assert!(seen.contains("the configuration can't be read"), "{seen:?}");
        assert_eq!(seen.contains("level=\u{1b}[31mERROR\u{1b}[0m"), is_colored, "{no_color:?}: {seen:?}");
        assert_eq!(seen.contains('\u{1b}'), is_colored, "{no_color:?}: {seen:?}");
    }
}

/// The number of requests that failed and were retried.
fn retries(narthex: &Narthex) -> f64 {
    let page = narthex.get("/metrics").text();
    let failures = page.lines().filter(|line| line.starts_with("narthex_remote_requests_retried_total{"));
    failures.filter_map(|line| line.rsplit(' ').next()?.parse::<f64>().ok()).sum()
}

#[test]
fn a_rate_limiting_receiver_causes_few_lines() {
    let receiver = FakeReceiver::start();
    let requests = std::sync::atomic::AtomicU64::new(0);
    // The text differs each time, like that of a receiver that reports its current rate.
    receiver.answer(move |_| {
        let number = requests.fetch_add(1, std::sync::atomic::Ordering::Relaxed);
        Answer::status(429).body(&format!("ingestion rate limit exceeded while adding {number} samples"))
    });
    let folder = tempfile::tempdir().unwrap();
    let file = support::narthex::config(
        folder.path(),
        &format!(
            "remote_write: [{{url: '{}', queue_config: {{max_backoff: 50ms}}}}]\n",
            receiver.write_url()
        ),
    );
    let narthex = Narthex::start(PROGRAM, &["--config", &file, "--flush-deadline", "100ms"]);
    wait_until("twenty failures", SOON, || retries(&narthex) >= 20.0);
    let written = |words: &str| narthex.process.lines().iter().filter(|line| line.contains(words)).count();
    assert_eq!(written("waiting, and trying again"), 1, "{}", narthex.process.tail());
    assert_eq!(narthex.process.terminate(SOON).code(), Some(0));
    let last = narthex.process.wait_for_line("suppressed=", SOON);
    assert!(last.contains("destination=") && last.contains("first_event="), "{last}");
    assert_eq!(written("waiting, and trying again"), 2, "{}", narthex.process.tail());
}

/// The state of a destination is logged although another one is in a worse state.
#[test]
fn each_destination_has_its_own_lines() {
    let refusing = FakeReceiver::start();
    refusing.answer(|_| Answer::status(400).body("label name too long"));
    let away = FakeReceiver::start();
    away.go_away();
    let limiting = FakeReceiver::start();
    limiting.answer(|_| Answer::status(429).body("slow down"));
    let folder = tempfile::tempdir().unwrap();
    let entry = |name: &str, receiver: &FakeReceiver| {
        format!(
            "- {{name: {name}, url: '{}', queue_config: {{max_backoff: 200ms, batch_send_deadline: 50ms}}}}\n",
            receiver.write_url()
        )
    };
    let entries = [("refusing", &refusing), ("away", &away), ("limiting", &limiting)];
    let entries: String = entries.iter().map(|(name, receiver)| entry(name, receiver)).collect();
    let file = support::narthex::config(folder.path(), &format!("remote_write:\n{entries}"));
    let narthex = Narthex::start(PROGRAM, &["--config", &file, "--flush-deadline", "100ms"]);
    let line = |state: &str, name: &str| {
        let is = format!(" state={state} destination={name} ");
        wait_until(&format!("{is:?} in the log"), SOON * 2, || {
            narthex.process.lines().iter().any(|line| format!("{line} ").contains(&is))
        });
        let lines = narthex.process.lines();
        lines.into_iter().find(|line| format!("{line} ").contains(&is)).unwrap()
    };
    assert!(line("refusing", "refusing").contains("level=ERROR"));
    assert!(line("destination_retrying", "away").contains("level=WARN"));
    for name in ["away", "limiting"] {
        let failing = line("destination_failing", name);
        assert!(failing.contains("level=ERROR") && failing.contains("waiting in the log"), "{failing}");
    }
    // The end of one of them, with its duration and the number of failed requests.
    limiting.answer(Answer::success);
    wait_until("the end to be logged", SOON * 2, || {
        let over = |line: &String| {
            line.contains("level=INFO")
                && line.contains(": over\"")
                && line.contains("destination=limiting")
                && line.contains(" lasted=")
                && line.contains(" failed_requests=")
        };
        narthex.process.lines().iter().any(over)
    });
    // Lines are in the order of their times.
    let times: Vec<String> = narthex.process.lines().iter().map(|line| logfmt(line)[0].1.clone()).collect();
    assert!(times.is_sorted(), "{times:#?}");
}

#[test]
fn the_end_of_an_outage_is_logged_with_its_duration() {
    let receiver = FakeReceiver::start();
    let folder = tempfile::tempdir().unwrap();
    let text = format!(
        "remote_write: [{{name: central, url: '{}', queue_config: {{max_backoff: 50ms}}}}]\n",
        receiver.write_url()
    );
    let file = support::narthex::config(folder.path(), &text);
    let narthex = Narthex::start(PROGRAM, &["--config", &file]);
    narthex.process.wait_for_line("accepted what was sent", SOON);
    receiver.go_away();
    narthex.post("/metrics/job/j", &[], b"a 1\n").expect_success();
    narthex.process.wait_for_line("trying again", SOON);
    // The state of destinations is checked every 200 ms, and requests are retried every 50 ms.
    wait_until("twenty failures", SOON, || retries(&narthex) >= 20.0);
    receiver.come_back();
    let line = narthex.process.wait_for_line("accepts again", SOON);
    assert!(line.contains("destination=central") && line.contains(" outage="), "{line}");
}

#[test]
fn each_refused_request_is_logged_or_counted_by_input_and_reason() {
    let receiver = FakeReceiver::start();
    let narthex = Narthex::start(PROGRAM, &["--to", &receiver.write_url(), "--collect", "none"]);
    let import =
        |body: &str, headers| narthex.post("/api/v1/import/prometheus", headers, body.as_bytes()).status;
    for _ in 0..5 {
        assert_eq!(import("}{ this is nothing\n", &[]), 400);
    }
    assert_eq!(import("a 1\n", &[("content-encoding", "br")]), 415);
    assert_eq!(narthex.post("/api/v1/write", &[], b"no snappy").status, 400);
    assert_eq!(narthex.process.terminate(SOON).code(), Some(0));
    let mut counts = std::collections::BTreeMap::new();
    let mut lines = 0;
    for line in narthex.process.lines() {
        let pairs: std::collections::BTreeMap<String, String> = logfmt(&line).into_iter().collect();
        if pairs["msg"].starts_with("a request was refused, wholly or in part") {
            lines += 1;
            let reason = pairs["msg"].rsplit(' ').next().unwrap().to_string();
            let count: u64 = pairs["count"].parse().unwrap();
            *counts.entry((pairs["input"].clone(), reason)).or_default() += count;
            assert!(!pairs["error"].is_empty(), "{line}");
        }
    }
    let count = |input: &str, reason: &str, count: u64| ((input.to_string(), reason.to_string()), count);
    let all = [
        count("import", "(invalid)", 5),
        count("import", "(unsupported_media)", 1),
        count("remote_write_v1", "(invalid)", 1),
    ];
    assert_eq!(counts.into_iter().collect::<Vec<_>>(), all);
    assert_eq!(lines, 4, "the first of each kind, and one for all others of it");
}
