//! `narthex exec`: input, output, signals and exit codes pass through, and the metrics of the job are pushed.

use crate::{Gateway, PROGRAM, Place, dead_url, exposing_narthex, now_seconds, stderr};
use std::net::TcpListener;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::{Duration, Instant};
use support::process::Signal;
use support::{Pushgateway, SOON, wait_for};

#[test]
fn input_output_and_exit_code_pass_through() {
    let place = Place::new();
    let dead = dead_url();
    let exec = ["exec", "--gateway", &dead, "--job", "j", "--"];
    let with = |more: &[&'static str]| exec.iter().copied().chain(more.iter().copied()).collect::<Vec<_>>();
    let input: Vec<u8> = (0..300_000u32).flat_map(u32::to_le_bytes).collect();
    let output = place.run_with_input(&with(&["cat"]), &input);
    assert_eq!(output.status.code(), Some(0), "{}", stderr(&output));
    assert!(output.stdout == input, "bytes pass as they are");

    for code in [0, 1, 2, 42, 126, 127, 255] {
        let script = format!("echo out; echo err >&2; exit {code}");
        let mut arguments = exec.to_vec();
        arguments.extend(["sh", "-c", &script]);
        let output = place.run(&arguments);
        assert_eq!(output.status.code(), Some(code));
        assert_eq!(output.stdout, b"out\n");
        let text = stderr(&output);
        let lines: Vec<_> = text.lines().collect();
        assert_eq!(lines[0], "err");
        assert_eq!(lines.len(), 2, "one line at most about metrics: {text}");
        assert!(lines[1].contains("how the job went is kept for the next push in"), "{text}");
    }
    for (command, code, words) in [("/does/not/exist", 127, "No such file"), ("/etc/passwd", 126, "denied")] {
        let output = place.run(&with(&[command]));
        assert_eq!(output.status.code(), Some(code));
        assert!(stderr(&output).contains(&format!("narthex: {command}: ")), "{}", stderr(&output));
        assert!(stderr(&output).contains(words));
    }
    let output = place.run(&with(&["sh", "-c", "kill -9 $$"]));
    assert_eq!(output.status.code(), Some(137));
}

#[test]
fn a_script_without_an_interpreter_line_runs_as_in_a_shell() {
    use std::os::unix::fs::PermissionsExt;
    let place = Place::new();
    let dead = dead_url();
    let write = |name: &str, content: &[u8]| {
        let path = place.path(name);
        std::fs::write(&path, content).unwrap();
        std::fs::set_permissions(&path, std::fs::Permissions::from_mode(0o755)).unwrap();
        path
    };
    let script = write("script", b"echo \"$0|$1|$2\"\nexit 7\n");
    let empty = write("empty", b"");
    let foreign = write("foreign", b"\x7fELF\x02\x01\x01\x00\x00\n");
    let exec = |command: &[&str]| {
        let mut run = place.command(&[&["exec", "--gateway", &dead, "--job", "j", "--"], command].concat());
        let path = std::env::var("PATH").unwrap();
        run.env("PATH", format!("{}:{path}", place.folder.path().display())).output().unwrap()
    };
    // Once by its path, and once by its name.
    for command in [&script[..], "script"] {
        let output = exec(&[command, "a b", "-c"]);
        assert_eq!(output.status.code(), Some(7), "{}", stderr(&output));
        assert_eq!(String::from_utf8_lossy(&output.stdout), format!("{script}|a b|-c\n"));
    }
    assert_eq!(exec(&[&empty]).status.code(), Some(0), "an empty script does nothing");
    let output = exec(&[&foreign]);
    assert_eq!(output.status.code(), Some(126));
    assert!(stderr(&output).contains("Exec format error"), "{}", stderr(&output));
}

#[test]
fn errors_of_target_or_spool_keep_the_exit_code() {
    let place = Place::new();
    let file = place.path("file");
    std::fs::write(&file, "").unwrap();
    let dead = dead_url();
    let (in_file, missing) = (format!("{file}/spool"), place.path("missing"));
    for (arguments, words) in [
        (vec!["--gateway", "ftp://me:hunter2@h"], "--gateway: the URL must begin with http"),
        (vec!["--to-file", &missing], "--to-file "),
        (vec!["--gateway", &dead, "--spool", &in_file], "how the job went is lost"),
        (vec!["--to", &dead], "is kept for the next push"),
        (vec!["--gateway", &dead, "--log", "a=b=c"], "--log"),
    ] {
        let mut command = Command::new(PROGRAM);
        command.args(["exec", "--job", "j"]).args(&arguments).args(["--", "sh", "-c", "echo out; exit 7"]);
        command.env("XDG_STATE_HOME", place.folder.path()).env_remove("NARTHEX_LOG");
        command.env_remove("NARTHEX_TO").env_remove("NARTHEX_GATEWAY");
        let output = command.output().unwrap();
        assert_eq!(output.status.code(), Some(7), "{arguments:?}");
        assert_eq!(output.stdout, b"out\n");
        let text = stderr(&output);
        assert!(text.contains(words) && !text.contains("hunter2"), "{arguments:?}: {text}");
    }
}

#[test]
fn a_silent_gateway_does_not_delay_the_start() {
    let place = Place::new();
    // The system accepts connections, but no answer is ever sent.
    let silent = TcpListener::bind("127.0.0.1:0").unwrap();
    let url = format!("http://{}", silent.local_addr().unwrap());
    let mark = place.path("mark");
    let begun = Instant::now();
    let process = place.start(&["exec", "--gateway", &url, "--job", "j", "--", "touch", &mark]);
    wait_for("the job to run", SOON, || if Path::new(&mark).exists() { Ok(()) } else { Err("not yet") });
    let started = begun.elapsed();
    assert!(process.is_running(), "it is still pushing");
    assert!(started < Duration::from_secs(4), "less than the time-out of a request: {started:?}");
    assert_eq!(process.wait(SOON).code(), Some(0));
    assert_eq!(place.entries().len(), 2, "start and end are kept");
}

/// Returns true if this process, and so its child processes, ignores a signal.
fn ignored_here(signal: Signal) -> bool {
    let status = std::fs::read_to_string("/proc/self/status").unwrap();
    let mask = status.lines().find_map(|line| line.strip_prefix("SigIgn:")).unwrap().trim().to_string();
    u64::from_str_radix(&mask, 16).unwrap() >> (signal.as_raw() - 1) & 1 == 1
}

#[test]
fn signals_pass_through() {
    let place = Place::new();
    let dead = dead_url();
    let script = "for s in TERM INT HUP QUIT USR1 USR2; do trap \"echo got $s\" $s; done
        trap 'echo got USR2; exit 9' USR2
        echo ready; while :; do sleep 0.02; done";
    let process = place.start(&["exec", "--gateway", &dead, "--job", "j", "--", "sh", "-c", script]);
    process.wait_for_line("ready", SOON);
    // Signals that this process ignores from its start (in the background of a shell, or by nohup) stay ignored.
    let passed = [
        (Signal::TERM, "TERM"),
        (Signal::INT, "INT"),
        (Signal::HUP, "HUP"),
        (Signal::QUIT, "QUIT"),
        (Signal::USR1, "USR1"),
        (Signal::USR2, "USR2"),
    ]
    .into_iter()
    .filter(|(signal, name)| {
        let here = ignored_here(*signal);
        if here {
            support::peers::shout(&format!("SKIPPED: SIG{name} is ignored here, so it can't be passed on"));
        }
        !here
    });
    let mut sent = 0;
    for (signal, name) in passed {
        process.signal(signal);
        process.wait_for_line(&format!("got {name}"), SOON);
        sent += 1;
    }
    assert_eq!(process.wait(SOON).code(), Some(9));
    let got = process.lines().iter().filter(|line| line.starts_with("got ")).count();
    assert_eq!(got, sent, "each once: {:?}", process.lines());

    // A signal that the command does not catch ends it, and determines the exit code.
    let process = place.start(&[
        "exec",
        "--gateway",
        &dead,
        "--job",
        "j",
        "--",
        "sh",
        "-c",
        "echo ready; exec sleep 60",
    ]);
    process.wait_for_line("ready", SOON);
    process.signal(Signal::TERM);
    assert_eq!(process.wait(SOON).code(), Some(128 + 15));
}

#[test]
fn a_signal_that_was_ignored_stays_ignored() {
    let place = Place::new();
    let dead = dead_url();
    let mut command = Command::new("sh");
    command.args(["-c", "trap '' HUP; exec \"$@\"", "sh", PROGRAM, "exec", "--gateway", &dead, "--job", "j"]);
    command.arg("--spool").arg(place.spool()).args(["--", "grep", "SigIgn", "/proc/self/status"]);
    let output = command.output().unwrap();
    let text = String::from_utf8_lossy(&output.stdout);
    let mask = u64::from_str_radix(text.split_whitespace().last().unwrap(), 16).unwrap();
    assert_eq!(mask & 1, 1, "as nohup has it: {text}");
}

/// Compares the metrics that exec pushes with the job's actual results.
fn gauges_show_the_result_of_a_job(gateway: &impl Gateway) {
    let place = Place::new();
    let url = gateway.url().to_string();
    let run = |script: &str| {
        place.run(&[
            "exec",
            "--gateway",
            &url,
            "--job",
            "backup",
            "--instance",
            "box",
            "--",
            "sh",
            "-c",
            script,
        ])
    };
    let before = now_seconds();
    let output = run("i=0; while [ $i -lt 100000 ]; do i=$((i+1)); done; sleep 0.2");
    assert_eq!((output.status.code(), stderr(&output).as_str()), (Some(0), ""));
    let after = now_seconds();
    let gauge =
        |name: &str| gateway.gauge("backup", name).unwrap_or_else(|| panic!("{name}: {}", gateway.page()));
    let (start, end) = (
        gauge("narthex_job_last_start_timestamp_seconds"),
        gauge("narthex_job_last_completion_timestamp_seconds"),
    );
    assert!(before - 0.002 <= start && start + 0.2 <= end && end <= after, "{before} {start} {end} {after}");
    let success = gauge("narthex_job_last_success_timestamp_seconds");
    assert_eq!(success, end);
    let took = gauge("narthex_job_last_duration_seconds");
    assert!((took - (end - start)).abs() < 0.05, "{took} {start} {end}");
    assert_eq!(gauge("narthex_job_last_exit_code"), 0.0);
    assert_eq!(gauge("narthex_job_running"), 0.0);
    assert_eq!(gauge("narthex_job_heartbeat_timestamp_seconds"), start);
    assert!(gauge("narthex_job_last_peak_memory_bytes") > 100_000.0);
    let group = gateway.group("backup");
    let cpu = |mode: &str| {
        group[&format!("narthex_job_last_cpu_seconds{{instance=\"box\",job=\"backup\",mode=\"{mode}\"}}")]
    };
    assert!(cpu("user") > 0.01 && cpu("user") + cpu("system") < took, "{group:?}");

    // A failure does not change the time of the last success.
    assert_eq!(run("exit 3").status.code(), Some(3));
    assert_eq!(gauge("narthex_job_last_exit_code"), 3.0);
    assert_eq!(gauge("narthex_job_last_success_timestamp_seconds"), success);
    assert!(gauge("narthex_job_last_completion_timestamp_seconds") > end);
    assert_eq!(run("kill -TERM $$").status.code(), Some(143));
    assert_eq!(gauge("narthex_job_last_exit_code"), 143.0);

    // Labels identify the job, and not its result.
    for series in gateway.group("backup").keys() {
        let labels =
            series.split_once('{').unwrap().1.replace(",mode=\"user\"", "").replace(",mode=\"system\"", "");
        assert_eq!(labels, "instance=\"box\",job=\"backup\"}", "{series}");
    }
    let output = place.run(&[
        "exec",
        "--gateway",
        &url,
        "--job",
        "roams",
        "--no-instance",
        "--label",
        "env=a/b",
        "--",
        "true",
    ]);
    assert_eq!(stderr(&output), "");
    let roams = gateway.group("roams");
    assert!(!roams.is_empty() && roams.keys().all(|series| !series.contains("instance=\"b")), "{roams:?}");
    assert!(roams.keys().all(|series| series.contains("env=\"a/b\"")), "{roams:?}");
    assert_eq!(place.entries(), Vec::<PathBuf>::new(), "nothing had to wait");
}

#[test]
fn a_narthex_gets_the_result_of_a_job() {
    let folder = tempfile::tempdir().unwrap();
    gauges_show_the_result_of_a_job(&exposing_narthex(folder.path()));
}

#[test]
fn a_pushgateway_gets_the_result_of_a_job() {
    let Some(peers) = support::peers() else { return };
    gauges_show_the_result_of_a_job(&Pushgateway::start(&peers, &[]));
}

#[test]
fn a_running_job_sends_heartbeats() {
    let folder = tempfile::tempdir().unwrap();
    let narthex = exposing_narthex(folder.path());
    let place = Place::new();
    let url = narthex.url();
    let process = place.start(&[
        "exec",
        "--gateway",
        url,
        "--job",
        "long",
        "--heartbeat",
        "100ms",
        "--",
        "sh",
        "-c",
        "echo ready; exec sleep 60",
    ]);
    process.wait_for_line("ready", SOON);
    let beat = |above: f64| {
        wait_for("a heartbeat", SOON, || {
            let beat = narthex.gauge("long", "narthex_job_heartbeat_timestamp_seconds").unwrap_or(0.0);
            if beat > above { Ok(beat) } else { Err(format!("{beat}")) }
        })
    };
    let first = beat(0.0);
    let second = beat(first);
    beat(second);
    assert_eq!(narthex.gauge("long", "narthex_job_running"), Some(1.0));
    assert_eq!(narthex.gauge("long", "narthex_job_last_completion_timestamp_seconds"), None);
    let started = narthex.gauge("long", "narthex_job_last_start_timestamp_seconds").unwrap();
    // Killed with all child processes: no push reports its end, and the heartbeat does not change any more.
    process.kill();
    let last = narthex.gauge("long", "narthex_job_heartbeat_timestamp_seconds").unwrap();
    assert!(last > started);
    assert_eq!(narthex.gauge("long", "narthex_job_running"), Some(1.0));
}

#[test]
fn peak_memory_is_that_of_the_whole_tree() {
    let folder = tempfile::tempdir().unwrap();
    let narthex = exposing_narthex(folder.path());
    let place = Place::new();
    let url = narthex.url();
    // Two grandchildren at a time, one of them an orphan, each with some 32 MiB in a shell variable.
    let hold = "x=$(head -c 33554432 /dev/zero | tr '\\0' x); echo holds; sleep 0.7; echo ${#x} >&2";
    let script = format!(
        "sh -c '({hold}) & exit'; sh -c '{hold}'; sleep 0.7; true",
        hold = hold.replace('\'', "'\\''")
    );
    let output = place.run(&["exec", "--gateway", url, "--job", "big", "--", "sh", "-c", &script]);
    assert_eq!(output.status.code(), Some(0), "{}", stderr(&output));
    assert_eq!(stderr(&output).matches("33554432").count(), 2, "{}", stderr(&output));
    let peak = narthex.gauge("big", "narthex_job_last_peak_memory_bytes").unwrap();
    assert!(peak > 64.0 * 1048576.0, "both count: {peak}");
    assert!(peak < 400.0 * 1048576.0, "{peak}");
    // The default instance is the name of this machine.
    let host = std::fs::read_to_string("/proc/sys/kernel/hostname").unwrap();
    let instance = format!("instance=\"{}\"", host.trim());
    let group = narthex.group("big");
    let pushed: Vec<_> = group.keys().filter(|series| series.starts_with("narthex_job_")).collect();
    assert!(!pushed.is_empty() && pushed.iter().all(|series| series.contains(&instance)), "{pushed:?}");
}
