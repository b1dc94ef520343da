//! `narthex push` and `narthex exec`, against a real narthex, the real Pushgateway and a real Prometheus.
#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::indexing_slicing,
    reason = "a panic is how a test reports"
)]

use std::collections::BTreeMap;
use std::io::Write;
use std::net::TcpListener;
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};
use std::process::{Command, Output, Stdio};
use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};
use support::process::Signal;
use support::{Answer, FakeReceiver, Narthex, Process, Prometheus, Pushgateway, SOON, wait_for};

const PROGRAM: &str = env!("CARGO_BIN_EXE_narthex");

/// A place of its own for a test's spool, and the commands that use it.
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
        // Beside reading what comes out, as both pipes hold little. One that does not read is no fault.
        let writer = std::thread::spawn(move || drop(stdin.write_all(&input)));
        let output = child.wait_with_output().unwrap();
        writer.join().unwrap();
        output
    }

    /// Runs in the background, under a process that ends with the test.
    fn start(&self, arguments: &[&str]) -> Process {
        let spool = self.path("spool");
        let all = [&arguments[..1], &["--spool", &spool], &arguments[1..]].concat();
        Process::with_env(Path::new(PROGRAM), all, &[("NARTHEX_TO", ""), ("NARTHEX_GATEWAY", "")])
    }

    /// The entries in all spools, by name.
    fn entries(&self) -> Vec<PathBuf> {
        let folders = std::fs::read_dir(self.spool()).into_iter().flatten().flatten();
        let files = folders.flat_map(|folder| std::fs::read_dir(folder.path()).unwrap().flatten());
        let mut entries: Vec<_> = files.map(|file| file.path()).collect();
        entries.retain(|path| path.file_name().unwrap().to_str().unwrap().parse::<u64>().is_ok());
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

/// A gateway that shows what it has.
trait Gateway {
    fn url(&self) -> &str;

    fn page(&self) -> String {
        support::http::get(&format!("{}/metrics", self.url())).unwrap().expect_success().text()
    }

    /// The series of a job's group as it shows them, with their values.
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
    let config = folder.join("narthex.yml");
    let text = format!(
        "remote_write:\n- url: {receiver}\nreceive:\n  pushgateway:\n    expose: true\ncollect:\n  self: false\n"
    );
    std::fs::write(&config, text).unwrap();
    Narthex::start(PROGRAM, &["--config", config.to_str().unwrap(), "--collect", "none"])
}

/// A port that nothing listens on.
fn dead_url() -> String {
    let address = TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap();
    format!("http://{address}")
}

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
fn trouble_with_the_target_or_the_spool_never_changes_the_exit_code() {
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
fn a_gateway_that_says_nothing_does_not_hold_up_the_start() {
    let place = Place::new();
    // It accepts connections (the system does) and never answers.
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

/// Whether this process, and so what it starts, ignores a signal.
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
    // What this process was started with as ignored (in the background of a shell, by nohup) stays ignored.
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

    // A signal that the command does not catch ends it, and stands in the exit code.
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

/// What exec pushes, held against what happened.
fn gauges_tell_how_a_job_went(gateway: &impl Gateway) {
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

    // A failure leaves the last success as it was.
    assert_eq!(run("exit 3").status.code(), Some(3));
    assert_eq!(gauge("narthex_job_last_exit_code"), 3.0);
    assert_eq!(gauge("narthex_job_last_success_timestamp_seconds"), success);
    assert!(gauge("narthex_job_last_completion_timestamp_seconds") > end);
    assert_eq!(run("kill -TERM $$").status.code(), Some(143));
    assert_eq!(gauge("narthex_job_last_exit_code"), 143.0);

    // Labels say what it is, not how it went.
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
fn a_narthex_is_told_how_a_job_went() {
    let folder = tempfile::tempdir().unwrap();
    gauges_tell_how_a_job_went(&exposing_narthex(folder.path()));
}

#[test]
fn a_pushgateway_is_told_how_a_job_went() {
    let Some(peers) = support::peers() else { return };
    gauges_tell_how_a_job_went(&Pushgateway::start(&peers, &[]));
}

#[test]
fn a_running_job_says_so_again_and_again() {
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
    // Killed with all it has: nothing says that it ended, and the heartbeat stays where it was.
    process.kill();
    let last = narthex.gauge("long", "narthex_job_heartbeat_timestamp_seconds").unwrap();
    assert!(last > started);
    assert_eq!(narthex.gauge("long", "narthex_job_running"), Some(1.0));
}

#[test]
fn heartbeats_are_not_kept_and_drain_the_spool() {
    let place = Place::new();
    let receiver = FakeReceiver::start();
    receiver.answer(|_| Answer::status(503));
    let url = receiver.url();
    let process = place.start(&[
        "exec",
        "--gateway",
        &url,
        "--job",
        "long",
        "--heartbeat",
        "50ms",
        "--",
        "sleep",
        "60",
    ]);
    wait_for("several heartbeats to be tried", SOON, || {
        let tried = receiver.requests().len();
        if tried >= 5 { Ok(()) } else { Err(tried) }
    });
    assert_eq!(place.entries().len(), 1, "the start alone is kept");
    receiver.answer(|_| Answer::status(200));
    wait_for("the start to be sent", SOON, || {
        let left = place.entries().len();
        if left == 0 { Ok(()) } else { Err(left) }
    });
    process.kill();
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
    // It says which machine it ran on, as nobody said otherwise.
    let host = std::fs::read_to_string("/proc/sys/kernel/hostname").unwrap();
    let instance = format!("instance=\"{}\"", host.trim());
    let group = narthex.group("big");
    let pushed: Vec<_> = group.keys().filter(|series| series.starts_with("narthex_job_")).collect();
    assert!(!pushed.is_empty() && pushed.iter().all(|series| series.contains(&instance)), "{pushed:?}");
}

#[test]
fn push_sends_arguments_and_text() {
    let folder = tempfile::tempdir().unwrap();
    let narthex = exposing_narthex(folder.path());
    let place = Place::new();
    let url = narthex.url();
    let push = ["push", "--gateway", url, "--job", "j", "--label", "env=a b"];
    let with = |more: &[&'static str]| push.iter().copied().chain(more.iter().copied()).collect::<Vec<_>>();
    let output = place.run(&with(&["--type", "gauge", "a{x=\"1\"}=1.5", "a{x=2}=-2", "b_total=3"]));
    assert_eq!((output.status.code(), stderr(&output).as_str()), (Some(0), ""));
    let output = place.run_with_input(&push, b"# TYPE c counter\nc{x=\"1\"} 4\n");
    assert_eq!((output.status.code(), stderr(&output).as_str()), (Some(0), ""));
    let group = narthex.group("j");
    for (series, value) in [
        ("a{env=\"a b\",instance=\"\",job=\"j\",x=\"1\"}", 1.5),
        ("a{env=\"a b\",instance=\"\",job=\"j\",x=\"2\"}", -2.0),
        ("b_total{env=\"a b\",instance=\"\",job=\"j\"}", 3.0),
        ("c{env=\"a b\",instance=\"\",job=\"j\",x=\"1\"}", 4.0),
    ] {
        assert_eq!(group.get(series), Some(&value), "{series} in {group:?}");
    }
    let page = narthex.page();
    assert!(page.contains("# TYPE a gauge") && page.contains("# TYPE c counter"), "{page}");
    // By POST: what a push does not name stays.
    assert_eq!(place.run(&with(&["a=9"])).status.code(), Some(0));
    let group = narthex.group("j");
    assert_eq!(group.get("c{env=\"a b\",instance=\"\",job=\"j\",x=\"1\"}"), Some(&4.0));
    assert_eq!(group.keys().filter(|series| series.starts_with("a{")).count(), 1, "{group:?}");

    // A time to live that is over takes the series away.
    let output = place.run(&["push", "--gateway", url, "--job", "short", "--ttl", "1s", "d=1"]);
    assert_eq!(output.status.code(), Some(0));
    wait_for("the group to expire", SOON, || {
        let left = narthex.gauge("short", "d");
        if left.is_none() { Ok(()) } else { Err(format!("{left:?}")) }
    });
}

#[test]
fn faults_of_a_push_have_a_sentence_and_the_right_code() {
    let place = Place::new();
    let folder = tempfile::tempdir().unwrap();
    let narthex = exposing_narthex(folder.path());
    let url = narthex.url();
    for (arguments, code, words) in [
        (vec!["--job", "j", "a"], 2, "\"a\", character 2: expected {LABELS} or =VALUE, found the end"),
        (vec!["--job", "j", "a=1", "a=2"], 2, "a{} is given twice"),
        (vec!["--job", "", "a=1"], 2, "--job is empty"),
        (vec!["a=1"], 2, "--job"),
        (vec!["--job", "j"], 2, "there is no sample in it"),
        (vec!["--job", "j", "--label", "job=x", "a=1"], 2, "the label job is set by --job"),
        (vec!["--job", "j", "--timestamp", "1700000000", "a=1"], 2, "--timestamp needs --to"),
        (vec!["--job", "j", "--ttl", "soon", "a=1"], 2, "is no time to live"),
    ] {
        let arguments = [&["push", "--gateway", url][..], &arguments].concat();
        let output = place.run(&arguments);
        assert_eq!(output.status.code(), Some(code), "{arguments:?}: {}", stderr(&output));
        assert!(stderr(&output).contains(words), "{arguments:?}: {}", stderr(&output));
    }
    let output = place.run_with_input(&["push", "--gateway", url, "--job", "j"], b"a 1\nb{ 2\n");
    assert_eq!(output.status.code(), Some(2));
    assert!(stderr(&output).contains("standard input: line 2, column 4"), "{}", stderr(&output));
    // One byte more than the limit, of text that would be right.
    let long = [b"a 1\n#", "x".repeat((8 << 20) - 5).as_bytes(), b"\n"].concat();
    assert_eq!(long.len(), (8 << 20) + 1);
    let output = place.run_with_input(&["push", "--gateway", url, "--job", "j"], &long);
    assert_eq!(output.status.code(), Some(2));
    assert!(stderr(&output).contains("more than 8 MiB; push it in parts"), "{}", stderr(&output));
    let output = place.run_with_input(&["push", "--gateway", url, "--job", "j"], b"a 1 1700000000000\n");
    assert_eq!(output.status.code(), Some(1));
    let text = stderr(&output);
    assert!(text.contains("refuses this push: 400") && text.contains("timestamp"), "{text}");
    assert_eq!(place.entries(), Vec::<PathBuf>::new(), "what is refused is not kept");
}

#[test]
fn what_could_not_be_sent_arrives_in_order_before_anything_newer() {
    let place = Place::new();
    let receiver = FakeReceiver::start();
    receiver.go_away();
    let url = receiver.url();
    let push = |value: &str| place.run(&["push", "--gateway", &url, "--job", "j", &format!("a={value}")]);
    for (number, value) in ["1", "2", "3"].into_iter().enumerate() {
        let output = push(value);
        assert_eq!(output.status.code(), Some(0), "a gateway that is down is no failure of the script");
        let text = stderr(&output);
        assert!(text.contains(&format!("kept for the next push in {}", place.spool().display())), "{text}");
        assert!(text.contains(&format!("({} waiting)", number + 1)) && text.lines().count() == 1, "{text}");
    }
    for entry in place.entries() {
        let mode = |path: &Path| std::fs::metadata(path).unwrap().permissions().mode() & 0o777;
        assert_eq!((mode(&entry), mode(entry.parent().unwrap())), (0o600, 0o700));
        assert_eq!(mode(&place.spool()), 0o700);
    }
    receiver.come_back();
    // The first answer is a failure in the middle: order holds through that, too.
    let mut left = 1;
    receiver.answer(move |_| {
        left -= 1;
        Answer::status(if left == -1 { 503 } else { 200 })
    });
    assert!(stderr(&push("4")).contains("503"), "1 is taken, 2 is not");
    assert_eq!(stderr(&push("5")), "");
    let bodies: Vec<_> = receiver.requests().iter().map(body).collect();
    assert_eq!(bodies, ["a 1", "a 2", "a 2", "a 3", "a 4", "a 5"]);
    assert_eq!(place.entries(), Vec::<PathBuf>::new());
}

fn body(request: &support::receiver::Received) -> String {
    let text = String::from_utf8_lossy(&request.body).into_owned();
    text.lines().filter(|line| !line.starts_with('#')).collect::<Vec<_>>().join("\n")
}

#[test]
fn a_pushgateway_that_comes_back_has_the_newest_of_each_job() {
    let Some(peers) = support::peers() else { return };
    let place = Place::new();
    let dead = dead_url();
    for number in 0..5 {
        let script = format!("exit {number}");
        let output = place.run(&[
            "exec",
            "--gateway",
            &dead,
            "--job",
            "j",
            "--instance",
            "i",
            "--",
            "sh",
            "-c",
            &script,
        ]);
        assert_eq!(output.status.code(), Some(number));
    }
    let address = dead.strip_prefix("http://").unwrap();
    let gateway = Process::start(&peers.pushgateway, [format!("--web.listen-address={address}")]);
    wait_for("the gateway", SOON, || support::http::get(&format!("{dead}/-/ready")));
    let output = place.run(&["push", "--gateway", &dead, "--job", "other", "a=1"]);
    assert_eq!((output.status.code(), stderr(&output).as_str()), (Some(0), ""), "{}", gateway.tail());
    let metric = |series: &str| {
        let page = support::http::get(&format!("{dead}/metrics")).unwrap().text();
        support::query::metric_in(&page, series)
    };
    assert_eq!(metric("narthex_job_last_exit_code{instance=\"i\",job=\"j\"}"), Some(4.0));
    assert_eq!(metric("narthex_job_running{instance=\"i\",job=\"j\"}"), Some(0.0));
    assert!(metric("narthex_job_last_success_timestamp_seconds{instance=\"i\",job=\"j\"}").is_some());
    assert_eq!(metric("a{instance=\"\",job=\"other\"}"), Some(1.0));
    assert_eq!(place.entries(), Vec::<PathBuf>::new());
}

#[test]
fn many_at_once_lose_nothing_and_repeat_nothing() {
    let place = Place::new();
    let receiver = FakeReceiver::start();
    receiver.go_away();
    let url = receiver.url();
    let push_all = |from: usize| {
        let all: Vec<_> = (from..from + 8)
            .map(|number| {
                let value = format!("a={number}");
                let mut command = place.command(&["push", "--gateway", &url, "--job", "j", &value]);
                command.stderr(Stdio::null()).spawn().unwrap()
            })
            .collect();
        for mut child in all {
            assert!(child.wait().unwrap().success());
        }
    };
    push_all(0);
    assert_eq!(place.entries().len(), 8);
    receiver.come_back();
    receiver.answer(|_| Answer::status(200));
    push_all(8);
    let mut seen: Vec<String> = receiver.requests().iter().map(body).collect();
    assert_eq!(place.entries(), Vec::<PathBuf>::new());
    let newer = seen.iter().take(8).filter(|body| body[2..].parse::<usize>().unwrap() >= 8).count();
    assert_eq!(newer, 0, "those that waited come first: {seen:?}");
    seen.sort_by_key(|body| body[2..].parse::<usize>().unwrap());
    assert_eq!(seen, (0..16).map(|number| format!("a {number}")).collect::<Vec<_>>());
}

#[test]
fn what_the_target_refuses_for_good_does_not_block_the_rest() {
    let place = Place::new();
    let receiver = FakeReceiver::start();
    receiver.go_away();
    let url = receiver.url();
    let push = |value: &str| place.run(&["push", "--gateway", &url, "--job", "j", &format!("a={value}")]);
    push("1");
    push("2");
    receiver.come_back();
    receiver.answer(|request| {
        let bad = body(request) == "a 1";
        if bad { Answer::status(400).body("that is wrong") } else { Answer::status(200) }
    });
    let output = push("3");
    assert_eq!(output.status.code(), Some(0));
    assert!(
        stderr(&output).contains("1 pushes that waited were refused and are gone: 400"),
        "{}",
        stderr(&output)
    );
    assert!(stderr(&output).contains("that is wrong"));
    let bodies: Vec<_> = receiver.requests().iter().map(body).collect();
    assert_eq!(bodies, ["a 1", "a 2", "a 3"]);
    assert_eq!(push("1").status.code(), Some(1), "one's own push that is refused is a failure");
}

#[test]
fn straight_to_a_prometheus() {
    let Some(peers) = support::peers() else { return };
    let prometheus = Prometheus::start(&peers, support::prometheus::Options::receiver());
    let place = Place::new();
    let url = prometheus.url();
    let before = now_seconds();
    let at = format!("{}", before.floor() - 60.0);
    let output = place.run(&[
        "push",
        "--to",
        url,
        "--job",
        "j",
        "--label",
        "env=x",
        "--timestamp",
        &at,
        "--type",
        "gauge",
        "a{b=c}=1.5",
    ]);
    assert_eq!((output.status.code(), stderr(&output).as_str()), (Some(0), ""));
    let found = prometheus.raw("a", "1h");
    assert_eq!(found.len(), 1);
    assert_eq!(found[0].samples, [((before.floor() as i64 - 60) * 1000, 1.5)]);
    let labels: Vec<_> = found[0].labels.iter().map(|(name, value)| format!("{name}={value}")).collect();
    assert_eq!(labels, ["__name__=a", "b=c", "env=x", "job=j"]);

    // Offline at first: the samples keep the time at which they were.
    let dead = dead_url();
    let output =
        place.run(&["exec", "--to", &dead, "--job", "job", "--no-instance", "--", "sh", "-c", "exit 5"]);
    assert_eq!(output.status.code(), Some(5));
    let output = place.run(&["exec", "--to", url, "--job", "job", "--no-instance", "--", "true"]);
    assert_eq!((output.status.code(), stderr(&output).as_str()), (Some(0), ""));
    assert_eq!(place.entries().len(), 2, "another target has a spool of its own");
    let running = prometheus.raw("narthex_job_running{job=\"job\"}", "1h");
    let values: Vec<f64> = running[0].samples.iter().map(|(_, value)| *value).collect();
    assert_eq!(values, [1.0, 0.0]);
    let query = "last_over_time(narthex_job_last_exit_code{job=\"job\"}[2d])";
    assert_eq!(prometheus.query(query)[0].value, 0.0);
}

#[test]
fn straight_to_an_endpoint_that_speaks_1_0_only() {
    let place = Place::new();
    let receiver = FakeReceiver::start();
    receiver.answer(|request| match request.header("content-type") {
        Some("application/x-protobuf") => Answer::status(204),
        _ => Answer::status(415),
    });
    let output = place.run(&["push", "--to", &receiver.write_url(), "--job", "j", "a=1"]);
    assert_eq!((output.status.code(), stderr(&output).as_str()), (Some(0), ""));
    let versions: Vec<_> = receiver
        .requests()
        .iter()
        .map(|request| request.header("content-type").unwrap().to_string())
        .collect();
    assert_eq!(versions.len(), 2);
    assert_eq!(versions[1], "application/x-protobuf");
}
