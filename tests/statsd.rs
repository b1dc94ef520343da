//! StatsD: lines over UDP, TCP and unix datagrams into a real Prometheus; restarts, reloads, socket activation.
#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::indexing_slicing,
    reason = "a panic is how a test reports"
)]

use rustix::process::Signal;
use std::io::Write;
use std::net::{TcpListener, TcpStream, UdpSocket};
use std::os::fd::{AsFd, AsRawFd, BorrowedFd, OwnedFd};
use std::os::unix::net::UnixDatagram;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::Duration;
use support::narthex::{QUIET, config, config_with};
use support::peers::skip;
use support::prometheus::Options;
use support::{Client, FakeReceiver, Narthex, Prometheus, SOON, VictoriaMetrics, wait_for};

const PROGRAM: &str = env!("CARGO_BIN_EXE_narthex");
const DROPS: &str = r#"narthex_receive_kernel_drops_total{door="statsd",input="statsd"}"#;

fn start_program(program: &Path, folder: &Path, url: &str, statsd: &str) -> Narthex {
    let path = config_with(folder, url, "statsd", statsd);
    Narthex::start_in(program, "run", &folder.join("data"), &["--config", &path, "--flush-deadline", "5s"])
}

fn start(folder: &Path, url: &str, statsd: &str) -> Narthex {
    start_program(Path::new(PROGRAM), folder, url, statsd)
}

fn udp() -> UdpSocket {
    UdpSocket::bind("127.0.0.1:0").unwrap()
}

fn lines_metric(kind: &str) -> String {
    format!(r#"narthex_receive_lines_total{{door="statsd",input="statsd",type="{kind}"}}"#)
}

/// Waits until narthex has read this number of samples of a type.
#[track_caller]
fn wait_for_lines(narthex: &Narthex, kind: &str, count: usize) {
    wait_for("all lines", SOON, || match narthex.metric(&lines_metric(kind)) {
        Some(now) if now == count as f64 => Ok(()),
        now => Err(format!("{now:?} of {count}; dropped {:?}", narthex.metric(DROPS))),
    });
}

#[track_caller]
fn wait_for_value(prometheus: &Prometheus, narthex: &Narthex, query: &str, value: f64) {
    wait_for(query, SOON, || {
        let found: Vec<f64> = prometheus.query(query).iter().map(|sample| sample.value).collect();
        let is_it = found.len() == 1 && (found[0] - value).abs() < 1e-9;
        if is_it { Ok(()) } else { Err(format!("{found:?} is not {value}{}", narthex.process.tail())) }
    });
}

#[test]
fn lines_over_each_transport_reach_a_default_prometheus() {
    let Some(peers) = support::peers() else { return };
    let prometheus = Prometheus::start(&peers, Options::receiver());
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("dsd.socket");
    let statsd = format!(
        "listen_udp: '127.0.0.1:0', listen_tcp: '127.0.0.1:0', listen_unixgram: '{}', interval: 1s, labels: {{site: boat}}",
        path.display()
    );
    let narthex = start(folder.path(), &prometheus.write_url(), &statsd);
    udp()
        .send_to(
            b"web.hits:3|c|@0.5|#page:home\ntemp:21.5|g\ntemp:-1|g\nwait:200:700|ms\n",
            narthex.input_address("UDP", 0),
        )
        .unwrap();
    let mut tcp = TcpStream::connect(narthex.input_address("TCP", 0)).unwrap();
    tcp.write_all(b"web.hits:1|c|#page:home\nusers:ann|s\nusers:bob|s\nbroken\n_e{1,1}:a|b\n").unwrap();
    let unix = UnixDatagram::unbound().unwrap();
    wait_for("the socket", SOON, || {
        unix.send_to(b"web.hits:2|c|#page:home", &path).map_err(|e| e.to_string())
    });
    for (query, value) in [
        (r#"web_hits{page="home",site="boat"}"#, 9.0),
        ("temp", 20.5),
        ("wait_count", 2.0),
        ("wait_sum", 0.9),
        (r#"wait_bucket{le="0.25"}"#, 1.0),
        // The increase is visible although the series has just begun.
        (r#"increase(web_hits[1m]) > bool 0"#, 1.0),
        ("max_over_time(users[5m])", 2.0),
    ] {
        wait_for_value(&prometheus, &narthex, query, value);
    }
    let error = r#"narthex_receive_line_errors_total{door="statsd",input="statsd",reason="malformed_line"}"#;
    assert_eq!(narthex.metric(error), Some(1.0));
    assert_eq!(narthex.metric(&lines_metric("event")), Some(1.0));
}

/// Runs a library with each transport, and compares the metrics in Prometheus with default settings and in
/// VictoriaMetrics.
fn client_reaches_both_receivers(client: Client, program: &str, series: &[(&str, &str)]) {
    let Some(peers) = support::peers() else { return };
    let program = support::peers::repository().join("tests/clients").join(program);
    let Some(mut client) = client.script(&program) else { return };
    let prometheus = Prometheus::start(&peers, Options::receiver());
    let victoria = VictoriaMetrics::start(&peers);
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("dsd.socket");
    let text = format!(
        "remote_write: [{{url: '{}', name: a}}, {{url: '{}', name: b}}]\n{QUIET}statsd: {{listen_udp: '127.0.0.1:0', \
         listen_unixgram: '{}', interval: 1s}}\n",
        prometheus.write_url(),
        victoria.write_url(),
        path.display()
    );
    let file = config(folder.path(), &text);
    let narthex = Narthex::start_in(PROGRAM, "run", &folder.path().join("data"), &["--config", &file]);
    let output = client.arg(narthex.input_address("UDP", 0).port().to_string()).arg(&path).output().unwrap();
    assert!(output.status.success(), "{output:?}");
    let said = String::from_utf8_lossy(&output.stdout).into_owned();
    let has_unix = !said.contains("no unix datagrams");
    if !has_unix {
        skip("NARTHEX_REQUIRE_CLIENTS", &said);
    }
    for (name, labels) in series.iter().filter(|(_, labels)| has_unix || !labels.contains("unix")) {
        for (query, value) in [
            (format!("{name}_hits{labels}"), 7.0),
            (format!("{name}_level{labels}"), 2.5),
            (format!("{name}_wait_count{labels}"), 1.0),
            (format!("{name}_wait_sum{labels}"), 0.25),
            (format!("max_over_time({name}_users{labels}[5m])"), 1.0),
        ] {
            wait_for_value(&prometheus, &narthex, &query, value);
            wait_for(&query, SOON, || {
                victoria.flush();
                let found: Vec<f64> = victoria.query(&query).iter().map(|sample| sample.value).collect();
                if found == [value] { Ok(()) } else { Err(format!("{found:?} at VictoriaMetrics")) }
            });
        }
    }
    let errors = narthex.get("/metrics").text();
    let errors = errors.lines().filter(|line| line.starts_with("narthex_receive_line_errors_total"));
    assert!(errors.clone().count() > 0);
    errors.for_each(|line| assert!(line.ends_with(" 0"), "{line}"));
}

#[test]
fn pythons_clients_reach_both_receivers() {
    let series = [("python", r#"{by="udp"}"#), ("python", r#"{by="unix"}"#), ("pystatsd", "")];
    client_reaches_both_receivers(Client::Python, "dogstatsd.py", &series);
}

#[test]
fn javascripts_client_reaches_both_receivers() {
    let series = [("javascript", r#"{by="udp"}"#), ("javascript", r#"{by="unix"}"#)];
    client_reaches_both_receivers(Client::JavaScript, "statsd.js", &series);
}

#[test]
fn gos_client_reaches_both_receivers() {
    let series = [("go", r#"{by="udp"}"#), ("go", r#"{by="unix"}"#)];
    client_reaches_both_receivers(Client::Go, "statsd.go", &series);
}

#[test]
fn javas_client_reaches_both_receivers() {
    let series = [("java", r#"{by="udp"}"#), ("java", r#"{by="unix"}"#)];
    client_reaches_both_receivers(Client::Java, "Statsd.java", &series);
}

#[test]
fn totals_continue_after_a_stop_and_a_kill() {
    let Some(peers) = support::peers() else { return };
    let prometheus = Prometheus::start(&peers, Options::receiver());
    let folder = tempfile::tempdir().unwrap();
    let statsd = "listen_udp: '127.0.0.1:0', interval: 1s";
    let url = prometheus.write_url();
    let mut total = 0.0;
    for round in 0..4 {
        let narthex = start(folder.path(), &url, statsd);
        let to = narthex.input_address("UDP", 0);
        udp().send_to(b"n:5|c\ng:+2|g\nt:100|ms", to).unwrap();
        total += 1.0;
        wait_for_lines(&narthex, "timer", 1);
        if round % 2 == 0 {
            assert!(narthex.process.terminate(SOON).success());
        } else {
            // Flushed totals are on disk.
            wait_for_value(&prometheus, &narthex, "n", 5.0 * total);
            narthex.process.kill();
        }
    }
    let narthex = start(folder.path(), &url, statsd);
    for (query, value) in [
        ("n", 5.0 * total),
        ("g", 2.0 * total),
        ("t_count", total),
        ("resets(n[5m])", 0.0),
        ("resets(t_count[5m])", 0.0),
    ] {
        wait_for_value(&prometheus, &narthex, query, value);
    }
}

#[test]
fn a_reload_changes_the_mapping_and_refuses_a_bad_file() {
    let receiver = FakeReceiver::start();
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("mapping.yml");
    std::fs::write(&file, "mappings:\n- {match: a.*, name: first, labels: {of: $1}}\n").unwrap();
    let narthex = start(
        folder.path(),
        &receiver.write_url(),
        "listen_udp: '127.0.0.1:0', interval: 1s, mapping_config: mapping.yml",
    );
    let (to, socket) = (narthex.input_address("UDP", 0), udp());
    let names = || -> Vec<String> {
        receiver.arrivals().keys().filter_map(|labels| labels.get("__name__").cloned()).collect()
    };
    let mut sent = 0;
    let mut send_until = |name: &str| {
        socket.send_to(b"a.x:1|c", to).unwrap();
        sent += 1;
        wait_for_lines(&narthex, "counter", sent);
        wait_for(name, SOON, || {
            if names().iter().any(|one| one == name) { Ok(()) } else { Err(format!("{:?}", names())) }
        });
    };
    send_until("first");
    std::fs::write(&file, "mappings:\n- {match: 'a.*b', name: broken}\n").unwrap();
    let said = narthex.reload();
    assert!(said.contains("was not reloaded") && said.contains("mappings[0].match"), "{said}");
    std::fs::write(&file, "mappings:\n- {match: a.*, name: second}\n").unwrap();
    assert!(narthex.reload().contains("was reloaded"));
    send_until("second");
    assert!(!names().contains(&"broken".into()));
}

#[test]
fn other_buckets_after_a_reload_or_restart_begin_new_totals() {
    let Some(peers) = support::peers() else { return };
    let prometheus = Prometheus::start(&peers, Options::receiver());
    let (folder, url) = (tempfile::tempdir().unwrap(), prometheus.write_url());
    let statsd = |more: &str| format!("listen_udp: '127.0.0.1:0', interval: 1s{more}");
    let observe = |narthex: &Narthex, count: usize, expected: &[(&str, f64)]| {
        let before = narthex.metric(&lines_metric("timer")).unwrap_or_default();
        for _ in 0..count {
            udp().send_to(b"t:100|ms", narthex.input_address("UDP", 0)).unwrap();
        }
        wait_for_lines(narthex, "timer", before as usize + count);
        for (query, value) in expected {
            wait_for_value(&prometheus, narthex, query, *value);
        }
        let errors = r#"narthex_receive_rejected_total{door="statsd",input="statsd"}"#;
        assert_eq!(narthex.metric(errors), Some(0.0));
    };
    let narthex = start(folder.path(), &url, &statsd(""));
    observe(&narthex, 2, &[("t_count", 2.0), ("count(t_bucket)", 12.0)]);
    let reload = |more: &str| {
        config_with(folder.path(), &url, "statsd", &statsd(more));
        assert!(narthex.reload().contains("was reloaded"));
    };
    reload(", buckets: [1, 2]");
    let buckets = [("t_count", 5.0), ("count(t_bucket)", 3.0), (r#"t_bucket{le="1"}"#, 5.0)];
    observe(&narthex, 5, &buckets);
    std::fs::write(folder.path().join("rules.yml"), "mappings: []\n").unwrap();
    reload(", mapping_config: rules.yml");
    let summary = [("t_count", 3.0), ("count(t_bucket) or vector(0)", 0.0), ("count(t)", 3.0)];
    observe(&narthex, 3, &summary);
    assert!(narthex.process.terminate(SOON).success());
    let narthex = start(folder.path(), &url, &statsd(", buckets: [5]"));
    observe(&narthex, 4, &[("t_count", 4.0), ("count(t_bucket)", 2.0), ("count(t) or vector(0)", 0.0)]);
    // The new totals are in the journal.
    narthex.process.kill();
    let narthex = start(folder.path(), &url, &statsd(", buckets: [5]"));
    observe(&narthex, 1, &[("t_count", 5.0), ("resets(t_count[5m])", 3.0)]);
}

#[test]
fn totals_continue_when_a_reload_moves_removes_and_adds_the_section() {
    let receiver = FakeReceiver::start();
    let folder = tempfile::tempdir().unwrap();
    let (url, data) = (receiver.write_url(), folder.path());
    let narthex = start(data, &url, "listen_udp: '127.0.0.1:0', interval: 1s");
    let reload = || assert!(narthex.reload().contains("was reloaded"));
    let mut total = 0;
    let mut add = |number: usize, value: i32| {
        udp().send_to(format!("n:{value}|c").as_bytes(), narthex.input_address("UDP", number)).unwrap();
        total += value;
        wait_for("the total", SOON, || {
            let arrivals = receiver.arrivals();
            let samples =
                arrivals.iter().find(|(labels, _)| labels["__name__"] == "n").map(|(_, samples)| samples);
            let last = samples.and_then(|samples| samples.last()).map(|(_, value)| *value);
            if last == Some(f64::from(total)) { Ok(()) } else { Err(format!("{last:?} is not {total}")) }
        });
    };
    add(0, 5);
    let port = support::process::free_port();
    config_with(
        data,
        &url,
        "statsd",
        &format!("listen_udp: '127.0.0.1:{port}', interval: 1s, ttl: 2h, timers: both"),
    );
    reload();
    add(1, 3);
    config(data, &format!("remote_write: [{{url: '{url}'}}]\n{QUIET}"));
    reload();
    config_with(data, &url, "statsd", "listen_udp: '127.0.0.1:0', interval: 1s");
    reload();
    add(2, 1);
}

#[test]
fn received_samples_are_kept_when_narthex_stops() {
    let receiver = FakeReceiver::start();
    let folder = tempfile::tempdir().unwrap();
    let narthex = start(folder.path(), &receiver.write_url(), "listen_udp: '127.0.0.1:0', interval: 1m");
    let (to, socket) = (narthex.input_address("UDP", 0), udp());
    for number in 0..100 {
        socket.send_to(format!("last:{number}|g|#n:{number}").as_bytes(), to).unwrap();
    }
    assert!(narthex.process.terminate(SOON).success());
    wait_for("all series", SOON, || match receiver.arrivals().len() {
        100 => Ok(()),
        stored => Err(format!("{stored} of 100")),
    });
}

/// A copy of a socket with a high number, which child processes inherit.
fn inheritable(socket: impl AsFd) -> OwnedFd {
    let copy = rustix::io::fcntl_dupfd_cloexec(socket, 50).unwrap();
    rustix::io::fcntl_setfd(&copy, rustix::io::FdFlags::empty()).unwrap();
    copy
}

/// A script that starts the program like systemd, with these sockets; the test keeps them open.
fn activated(folder: &Path, sockets: [BorrowedFd<'_>; 2]) -> (PathBuf, [OwnedFd; 2]) {
    let held = sockets.map(inheritable);
    let program = folder.join("activated");
    let script = format!(
        "#!/bin/bash\nexport LISTEN_PID=$$ LISTEN_FDS=2 LISTEN_FDNAMES=one:two\nexec '{PROGRAM}' \"$@\" 3<&{} 4<&{}\n",
        held[0].as_raw_fd(),
        held[1].as_raw_fd()
    );
    std::fs::write(&program, script).unwrap();
    std::fs::set_permissions(&program, std::os::unix::fs::PermissionsExt::from_mode(0o755)).unwrap();
    (program, held)
}

#[test]
fn unused_inherited_sockets_are_logged() {
    let receiver = FakeReceiver::start();
    let folder = tempfile::tempdir().unwrap();
    let (socket, tcp) = (udp(), TcpListener::bind("127.0.0.1:0").unwrap());
    let (to, tcp_at) = (socket.local_addr().unwrap(), tcp.local_addr().unwrap());
    let (program, _held) = activated(folder.path(), [socket.as_fd(), tcp.as_fd()]);
    let used = format!("listen_udp: '{to}'");
    let narthex = start_program(&program, folder.path(), &receiver.write_url(), &used);
    let named =
        format!("no input uses the service manager's socket on TCP {tcp_at}: write exactly this address as");
    narthex.process.wait_for_line(&named, SOON);
    assert!(!narthex.process.tail().contains(&format!("socket on UDP {to}")));
    assert!(narthex.process.terminate(SOON).success());
    // An address that differs from that of the socket, although it includes it.
    let path = config_with(
        folder.path(),
        &receiver.write_url(),
        "statsd",
        &format!("listen_udp: '0.0.0.0:{}', allow_unauthenticated: true", to.port()),
    );
    let run = |listen: &str| {
        let mut command = Command::new(&program);
        command
            .args(["run", "--listen", listen, "--config", &path, "--data"])
            .arg(folder.path().join("data"));
        let output = command.output().unwrap();
        assert!(!output.status.success());
        String::from_utf8_lossy(&output.stderr).into_owned()
    };
    let said = run("127.0.0.1:0");
    assert!(said.contains(&format!("holds a socket on UDP {to}; write the same address")), "{said}");
    let said = run(&tcp_at.to_string());
    assert!(said.contains(&format!("holds a socket on TCP {tcp_at}, which is for no input")), "{said}");
}

/// The test holds the sockets, like systemd, and restarts narthex while lines arrive.
#[test]
fn socket_activation_loses_no_datagram_at_a_restart() {
    const LINES: usize = 10_000;
    let Some(peers) = support::peers() else { return };
    let prometheus = Prometheus::start(&peers, Options::receiver());
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("dsd.socket");
    let (udp_socket, unix_socket) = (udp(), UnixDatagram::bind(&path).unwrap());
    let to = udp_socket.local_addr().unwrap();
    let (program, _held) = activated(folder.path(), [udp_socket.as_fd(), unix_socket.as_fd()]);
    let statsd = format!("listen_udp: '{to}', listen_unixgram: '{}', interval: 1s", path.display());
    let run = || start_program(&program, folder.path(), &prometheus.write_url(), &statsd);
    let mut narthex = run();
    narthex.process.wait_for_line("handed over 2 sockets", SOON);
    let sending = std::thread::spawn(move || {
        let (by_udp, by_unix) = (udp(), UnixDatagram::unbound().unwrap());
        for number in 0..LINES {
            by_udp.send_to(format!("udp.n:1|c|#mod:{}", number % 7).as_bytes(), to).unwrap();
            by_unix.send_to(b"unix.n:1|c", &path).unwrap();
            if number % 10 == 0 {
                std::thread::sleep(Duration::from_millis(2));
            }
        }
    });
    let mut restarts = 0;
    while !sending.is_finished() {
        assert!(narthex.process.terminate(SOON).success());
        narthex = run();
        restarts += 1;
        // Meanwhile the sender waits for space in the buffer of the unix socket.
        wait_for("some lines to be read", SOON, || {
            let read = narthex.metric(&lines_metric("counter")).unwrap_or_default();
            if read > 1000.0 || sending.is_finished() { Ok(()) } else { Err(format!("{read}")) }
        });
    }
    sending.join().unwrap();
    assert!(restarts > 0);
    wait_for_value(&prometheus, &narthex, "unix_n", LINES as f64);
    wait_for_value(&prometheus, &narthex, "sum(udp_n)", LINES as f64);
    assert_eq!(narthex.metric(DROPS), Some(0.0));
}

#[test]
fn left_out_lines_are_counted_and_logged_by_reason() {
    let receiver = FakeReceiver::start();
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("dsd.socket");
    let statsd = format!("listen_tcp: '127.0.0.1:0', listen_unixgram: '{}'", path.display());
    let narthex = start(folder.path(), &receiver.write_url(), &statsd);
    let errors = |reason: &str| {
        narthex.metric(&format!(
            r#"narthex_receive_line_errors_total{{door="statsd",input="statsd",reason="{reason}"}}"#
        ))
    };
    let expect = |reason: &str, words: &str| {
        wait_for(reason, SOON, || {
            let (count, summary) = (errors(reason), narthex.get("/api/v1/status/summary").text());
            let is_it = count == Some(1.0) && summary.contains(words);
            if is_it { Ok(()) } else { Err(format!("{count:?} {summary}")) }
        });
    };
    let unix = UnixDatagram::unbound().unwrap();
    let longest = [b"n:1|c\n".repeat(65_536 / 6), b"\n".repeat(65_536 % 6)].concat();
    unix.send_to(&longest, &path).unwrap();
    wait_for_lines(&narthex, "counter", 65_536 / 6);
    unix.send_to(&[longest.as_slice(), b"\n"].concat(), &path).unwrap();
    expect("datagram_too_long", "a datagram over the limit of 65536 bytes was left out");
    let mut tcp = TcpStream::connect(narthex.input_address("TCP", 0)).unwrap();
    tcp.write_all(format!("{}:1|c\nn:1|c\n", "x".repeat(20_000)).as_bytes()).unwrap();
    expect("line_too_long", "lines over the limit of 16384 bytes were left out");
    wait_for_lines(&narthex, "counter", 65_536 / 6 + 1);
    unix.send_to(b"n:1|g", &path).unwrap();
    expect("type_conflict", "n:1|g");
    let summary = narthex.get("/api/v1/status/summary").text();
    assert!(summary.contains("n is counter, and can't be gauge too"), "{summary}");
}

#[test]
fn datagrams_dropped_by_the_kernel_are_counted() {
    const SENT: usize = 5000;
    let receiver = FakeReceiver::start();
    let folder = tempfile::tempdir().unwrap();
    let narthex = start(folder.path(), &receiver.write_url(), "listen_udp: '127.0.0.1:0', interval: 1s");
    let (to, socket) = (narthex.input_address("UDP", 0), udp());
    narthex.process.signal(Signal::STOP);
    let padding = "x".repeat(1000);
    for _ in 0..SENT {
        socket.send_to(format!("drops.{padding}:1|c").as_bytes(), to).unwrap();
    }
    narthex.process.signal(Signal::CONT);
    wait_for("the counters to add up", SOON, || {
        let (drops, lines) = (narthex.metric(DROPS), narthex.metric(&lines_metric("counter")));
        let sum = drops.unwrap_or_default() + lines.unwrap_or_default();
        let is_all = sum == SENT as f64 && drops > Some(0.0) && lines > Some(0.0);
        if is_all { Ok(()) } else { Err(format!("{drops:?} dropped, {lines:?} read")) }
    });
}
