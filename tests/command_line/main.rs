//! Flags, ports, folders and signals: each fault has a clear message and the right exit code.
#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::indexing_slicing,
    reason = "a panic is how a test reports"
)]

mod log_lines;
#[cfg(not(any(feature = "demo", feature = "manual", feature = "sigv4", feature = "google_iam")))]
mod small;

use std::net::TcpListener;
use std::path::Path;
use std::process::{Command, Stdio};
use std::time::Duration;
use support::{Answer, FakeReceiver, Narthex, SOON, wait_until};

const PROGRAM: &str = env!("CARGO_BIN_EXE_narthex");

/// Runs narthex to the end. Returns the exit code and the output.
fn end(arguments: &[&str]) -> (Option<i32>, String) {
    end_with(arguments, &[])
}

fn end_with(arguments: &[&str], environment: &[(&str, &str)]) -> (Option<i32>, String) {
    let variables = environment.iter().copied();
    let output = Command::new(PROGRAM).args(arguments).envs(variables).stdin(Stdio::null()).output().unwrap();
    let text = [output.stdout, output.stderr].concat();
    (output.status.code(), String::from_utf8(text).unwrap().trim_end().to_string())
}

#[test]
fn wrong_flags_end_with_2_and_a_sentence() {
    for (arguments, words) in [
        (vec!["run", "--nonsense"], "unexpected argument '--nonsense'"),
        (vec!["run"], "no destination: give --to URL"),
        (vec!["run", "--to", "ftp://h/"], "--to: the URL must begin with http:// or https://"),
        (vec!["run", "--to", "http://"], "--to: "),
        (vec!["run", "--to", "http://h", "--to-file", "x"], "cannot be used with"),
        (vec!["run", "--to-file", "/does/not/exist"], "--to-file /does/not/exist: No such file"),
        (
            vec!["run", "--to", "http://h", "--collect", "cpus"],
            "there is no collector \\\"cpus\\\" (is cpu meant?)",
        ),
        (vec!["run", "--to", "http://h", "--listen", "h:http"], "\\\"http\\\" is not a port from 0 to 65535"),
        (vec!["run", "--to", "http://h", "--job", ""], "--job is empty"),
        (vec!["run", "--config", "/does/not/exist.yml"], "the configuration can't be read: No such file"),
        (vec!["run", "--to", "http://h", "--log", "a=b=c"], "--log \\\"a=b=c\\\": "),
        (
            vec!["run", "--to", "http://h", "--log", "warning"],
            "there is no log level \\\"warning\\\"; the levels are off, error, warn, info, debug and trace",
        ),
        (vec!["run", "--to", "http://h", "--log-format", "xml"], "[possible values: logfmt, json]"),
        (vec!["sink", "--fail", "200"], "200 is not in 400..=599"),
        (vec!["sink", "--delay", "soon"], "\\\"soon\\\" is not a duration"),
        (vec!["nonsense"], "unrecognized subcommand"),
    ] {
        let (code, text) = end_with(&arguments, &[("NARTHEX_TO", "")]);
        assert_eq!(code, Some(2), "{arguments:?}: {text}");
        assert!(text.contains(words), "{arguments:?}: {text}");
        assert!(!text.contains("panicked"), "{text}");
    }
}

#[test]
fn a_wrong_variable_is_named_and_not_the_flag() {
    let (level, format) = ([("NARTHEX_LOG", "bogus")], [("NARTHEX_LOG_FORMAT", "xml")]);
    let wrong_level = "NARTHEX_LOG \"bogus\": there is no log level \"bogus\"";
    let wrong_format =
        "NARTHEX_LOG_FORMAT \"xml\": there is no such log format; the formats are logfmt and json";
    for (arguments, environment, words) in [
        (&["wal", "stat", "/"][..], level, wrong_level),
        (&["wal", "stat", "/"], format, wrong_format),
        (&["wal", "stat", "/", "--log", "worse"], level, "--log \"worse\": "),
        (&["--log", "worse", "wal", "stat", "/"], level, "--log \"worse\": "),
        (&["--log-format", "yml", "wal", "stat", "/"], format, "'--log-format <FORMAT>'"),
    ] {
        let (code, text) = end_with(arguments, &environment);
        assert!(code == Some(2) && text.contains(words), "{arguments:?}: {text}");
    }
    for environment in [level, format] {
        // A job must not fail because of a variable for its metrics.
        let folder = tempfile::tempdir().unwrap();
        let state = ("XDG_STATE_HOME", folder.path().to_str().unwrap());
        let job = ["exec", "--job", "j", "--gateway", "http://127.0.0.1:9", "--", "echo", "done"];
        let (code, text) = end_with(&job, &[environment[0], state]);
        assert!(code == Some(0) && text.contains("done") && text.contains(environment[0].0), "{text}");
    }
    // A flag has precedence over a variable with any content.
    let (_, text) = end_with(&["--log-format", "json", "--log", "warn", "wal", "stat", "/"], &format);
    assert!(!text.contains("NARTHEX_LOG"), "{text}");
}

#[test]
fn help_and_version_end_with_0() {
    assert_eq!(end(&["--version"]), (Some(0), format!("narthex {}", env!("CARGO_PKG_VERSION"))));
    for arguments in [&["--help"][..], &["run", "--help"], &["sink", "--help"], &["demo", "--help"]] {
        assert_eq!(end(arguments).0, Some(0));
    }
}

#[test]
fn a_password_in_a_url_is_not_repeated() {
    let (_, text) = end(&["run", "--to", "ftp://me:hunter2@h/"]);
    assert!(!text.contains("hunter2"), "{text}");
    let (_, help) = end_with(&["run", "--help"], &[("NARTHEX_TO", "http://me:hunter2@h/")]);
    assert!(!help.contains("hunter2"), "{help}");
}

#[test]
fn a_port_in_use_is_reported_before_anything_else_is_done() {
    let taken = TcpListener::bind("127.0.0.1:0").unwrap();
    let address = taken.local_addr().unwrap().to_string();
    let folder = tempfile::tempdir().unwrap();
    let data = folder.path().join("data");
    let data_text = data.to_str().unwrap();
    for command in [
        &["run", "--to", "http://127.0.0.1:1", "--listen", &address, "--data", data_text][..],
        &["demo", "--listen", &address, "--data", data_text],
        &["sink", "--listen", &address],
    ] {
        let (code, text) = end(command);
        assert_eq!(code, Some(1), "{text}");
        let port = taken.local_addr().unwrap().port();
        let words = format!("port {port} is already in use ({address}); choose another with --listen");
        assert!(text.contains(&words), "{text}");
    }
    assert!(!data.exists());
}

#[test]
fn a_data_folder_in_use_is_reported_with_the_other_process() {
    let receiver = FakeReceiver::start();
    let first = Narthex::start(PROGRAM, &["--to", &receiver.write_url(), "--collect", "none"]);
    let data = first.data.to_str().unwrap();
    let (code, text) =
        end(&["run", "--to", &receiver.write_url(), "--listen", "127.0.0.1:0", "--data", data]);
    assert_eq!(code, Some(1));
    assert!(text.contains(&format!("in use by another narthex (process {})", first.process.id())), "{text}");
}

#[test]
fn a_data_folder_that_cannot_be_created_is_reported() {
    let file = tempfile::NamedTempFile::new().unwrap();
    let data = file.path().join("data");
    let (code, text) = end(&[
        "run",
        "--to",
        "http://127.0.0.1:1",
        "--listen",
        "127.0.0.1:0",
        "--data",
        data.to_str().unwrap(),
    ]);
    assert_eq!(code, Some(1));
    assert!(text.contains("is not a folder; choose another with --data"), "{text}");
    let (code, text) =
        end(&["run", "--to", "http://127.0.0.1:1", "--listen", "0", "--data", file.path().to_str().unwrap()]);
    assert!(code == Some(1) && text.contains("is not a folder; choose another with --data"), "{text}");
}

/// Runs as another user, which needs root.
#[test]
fn a_data_folder_of_another_user_is_reported_with_both_users() {
    use std::os::unix::fs::{MetadataExt, PermissionsExt};
    const NOBODY: u32 = 65_534;
    let folder = tempfile::tempdir().unwrap();
    if std::fs::metadata(folder.path()).unwrap().uid() != 0 {
        return;
    }
    std::fs::set_permissions(folder.path(), std::fs::Permissions::from_mode(0o755)).unwrap();
    // The build folder may not be readable for other users.
    let program = folder.path().join("narthex");
    std::fs::copy(PROGRAM, &program).unwrap();
    let data = folder.path().join("data");
    std::fs::create_dir(&data).unwrap();
    for data in [data.join("below"), data] {
        let output = Command::new("setpriv")
            .args(["--reuid", &NOBODY.to_string(), "--clear-groups", "--"])
            .arg(&program)
            .args(["run", "--to", "http://127.0.0.1:1", "--listen", "0", "--data"])
            .arg(&data)
            .output()
            .unwrap();
        let text = String::from_utf8(output.stderr).unwrap();
        assert_eq!(output.status.code(), Some(1), "{text}");
        let words = format!("belongs to user 0, and narthex runs as user {NOBODY}");
        assert!(text.contains(&words) && text.contains("chown -R"), "{text}");
    }
}

#[test]
fn it_logs_its_work_and_ends_with_0() {
    let receiver = FakeReceiver::start();
    let arguments =
        ["--to", &receiver.write_url(), "--job", "till", "--instance", "till-7", "--collect", "cpu"];
    let narthex = Narthex::start(PROGRAM, &arguments);
    let accepted = narthex.process.wait_for_line("accepted what was sent (remote write 2.0)", SOON);
    assert!(accepted.contains(&receiver.write_url()), "{accepted}");
    let said = narthex.process.lines().join("\n");
    assert!(said.contains("collecting every 15 s, as job till and instance till-7: cpu"), "{said}");
    assert!(said.contains(&format!("pushing to {}", receiver.url())), "{said}");
    for path in ["/-/ready", "/-/healthy", "/", "/metrics", "/api/v1/status/remote_write"] {
        narthex.get(path).expect_success();
    }
    assert_eq!(narthex.get("/nothing").status, 404);
    assert!(narthex.metric("prometheus_remote_storage_samples_total").unwrap() > 0.0);
    let ended = narthex.process.terminate(SOON);
    assert_eq!(ended.code(), Some(0), "{}", narthex.process.tail());
}

#[test]
fn a_destination_down_at_the_start_is_reported_and_retried() {
    let port = support::process::free_port();
    let url = format!("http://127.0.0.1:{port}/api/v1/write");
    let narthex = Narthex::start(PROGRAM, &["--to", &url, "--collect", "loadavg"]);
    let line = narthex.process.wait_for_line("refused", SOON);
    assert!(line.contains("trying again"), "{line}");
    let status = narthex.get("/api/v1/status/remote_write").json();
    assert_eq!(status["destinations"][0]["state"], "retrying");
    let ended = narthex.process.terminate(SOON);
    assert_eq!(ended.code(), Some(0));
    assert!(
        narthex
            .process
            .lines()
            .join("\n")
            .contains("the rest is in the log and is sent after the next start")
    );
}

#[test]
fn a_destination_that_is_no_http_server_is_reported_with_its_text() {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let address = listener.local_addr().unwrap();
    std::thread::spawn(move || {
        for stream in listener.incoming() {
            use std::io::{Read, Write};
            let mut stream = stream.unwrap();
            let _ = stream.read(&mut [0; 4096]);
            let _ = stream.write_all(b"SSH-2.0-OpenSSH_9.9\r\n");
        }
    });
    let narthex = Narthex::start(PROGRAM, &["--to", &format!("http://{address}"), "--collect", "loadavg"]);
    narthex.process.wait_for_line("trying again", SOON);
    let narthex = Narthex::start(PROGRAM, &["--to", &format!("https://{address}"), "--collect", "loadavg"]);
    narthex.process.wait_for_line("trying again", SOON);
}

#[test]
fn it_continues_when_its_output_is_closed() {
    use std::io::{BufRead, BufReader};
    let data = tempfile::tempdir().unwrap();
    let mut child = Command::new(PROGRAM)
        .args(["run", "--to", "http://127.0.0.1:1", "--listen", "127.0.0.1:0", "--data"])
        .arg(data.path().join("data"))
        .stderr(Stdio::piped())
        .spawn()
        .unwrap();
    let mut lines = BufReader::new(child.stderr.take().unwrap()).lines();
    lines.find(|line| line.as_ref().unwrap().contains("listening on")).unwrap().unwrap();
    drop(lines);
    let pid = rustix::process::Pid::from_child(&child);
    rustix::process::kill_process(pid, rustix::process::Signal::TERM).unwrap();
    assert_eq!(child.wait().unwrap().code(), Some(0));
}

#[test]
fn a_second_signal_ends_it_immediately() {
    let receiver = FakeReceiver::start();
    receiver.answer(|_| Answer::status(204).delay(Duration::from_secs(60)));
    let narthex = Narthex::start(PROGRAM, &["--to", &receiver.write_url(), "--collect", "loadavg"]);
    let pending = "prometheus_remote_storage_samples_pending";
    wait_until("something to send", SOON, || narthex.metric(pending).is_some_and(|pending| pending > 0.0));
    narthex.process.signal(rustix::process::Signal::INT);
    narthex.process.wait_for_line("SIGINT: sending the remaining samples", SOON);
    narthex.process.signal(rustix::process::Signal::INT);
    assert_eq!(narthex.process.wait(SOON).code(), Some(130));
}

#[test]
fn a_wrong_port_does_not_delay_the_end_before_the_first_request() {
    let folder = tempfile::tempdir().unwrap();
    // Nothing is sent before the end is requested.
    let text = "remote_write:\n- url: http://127.0.0.1:1/api/v1/write\n  queue_config: {batch_send_deadline: 1h}\n\
                collect: {host: {collectors: none}, self: false}\n";
    let config = support::narthex::config(folder.path(), text);
    let narthex = Narthex::start(PROGRAM, &["--config", &config]);
    let import = "/api/v1/import/prometheus";
    assert_eq!(narthex.post(import, &[], b"a 1\n").status, 204);
    wait_until("something to send", SOON, || {
        narthex.metric("prometheus_remote_storage_samples_pending").is_some_and(|pending| pending > 0.0)
    });
    narthex.process.signal(rustix::process::Signal::INT);
    // The flush deadline is a minute.
    assert_eq!(narthex.process.wait(SOON).code(), Some(0));
    narthex.process.wait_for_line("not all samples were sent to ", SOON);
}

#[test]
fn listen_addresses_may_be_abbreviated() {
    for (listen, want) in [("0", "127.0.0.1:"), ("localhost:0", "127.0.0.1:")] {
        let arguments =
            ["run", "--to", "http://127.0.0.1:1", "--collect", "none", "--web.listen-address", listen];
        let data = tempfile::tempdir().unwrap();
        let data = ["--data", data.path().to_str().unwrap()];
        let process = support::Process::start(Path::new(PROGRAM), arguments.iter().chain(&data));
        process.wait_for_line(&format!("listening on http://{want}"), SOON);
    }
    let (code, text) = end(&["run", "--to", "http://127.0.0.1:1", "--listen", ":0"]);
    assert_eq!(code, Some(2), "all addresses need authentication: {text}");
    assert!(text.contains("--allow-unauthenticated"), "{text}");
}
