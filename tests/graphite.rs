//! Graphite plaintext: from real clients, over TCP and UDP, into a real Prometheus. Also reloads, limits, and datagrams
//! that the kernel drops.
#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::indexing_slicing,
    reason = "a panic is how a test reports"
)]

use receive::lines::CONNECTIONS_MAX;
use rustix::process::Signal;
use std::io::Write;
use std::net::{Ipv4Addr, SocketAddr, TcpStream, UdpSocket};
use std::path::Path;
use std::process::Command;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;
use support::narthex::{QUIET, config, config_with};
use support::prometheus::Options;
use support::{Client, FakeReceiver, Narthex, Prometheus, SOON, now_ms, wait_for};

const PROGRAM: &str = env!("CARGO_BIN_EXE_narthex");
const DROPS: &str = r#"narthex_receive_kernel_drops_total{door="graphite",input="graphite"}"#;
const POINTS: &str = r#"narthex_receive_points_total{door="graphite",input="graphite"}"#;
const BYTES: &str = r#"narthex_receive_bytes_total{door="graphite",input="graphite"}"#;
const DENIED: &str = r#"narthex_receive_denied_total{door="graphite",input="graphite"}"#;

fn write_config(folder: &Path, url: &str, graphite: &str) -> String {
    config_with(folder, url, "graphite", graphite)
}

fn start(folder: &Path, url: &str, graphite: &str) -> Narthex {
    let path = write_config(folder, url, graphite);
    Narthex::start_in(PROGRAM, "run", &folder.join("data"), &["--config", &path, "--flush-deadline", "5s"])
}

/// The address of the input after its `number`th start, which is the same for TCP and UDP.
fn address(narthex: &Narthex, number: usize) -> SocketAddr {
    let [tcp, udp] = ["TCP", "UDP"].map(|transport| narthex.input_address(transport, number));
    assert_eq!(tcp, udp);
    tcp
}

fn by_tcp(to: SocketAddr, text: &str) {
    TcpStream::connect(to).unwrap().write_all(text.as_bytes()).unwrap();
}

fn udp() -> UdpSocket {
    UdpSocket::bind("127.0.0.1:0").unwrap()
}

/// Waits until a metric has a value.
#[track_caller]
fn wait_for_metric(narthex: &Narthex, series: &str, value: usize) {
    wait_for(series, SOON, || match narthex.metric(series) {
        Some(now) if now == value as f64 => Ok(()),
        now => Err(format!("{now:?} of {value}")),
    });
}

/// Waits until the summary has a detail of this kind.
#[track_caller]
fn wait_for_detail(narthex: &Narthex, kind: &str) -> serde_json::Value {
    wait_for(kind, SOON, || {
        let summary = narthex.get("/api/v1/status/summary").json();
        let details = summary["details"].as_array();
        let is_told = details.is_some_and(|details| details.iter().any(|one| one["kind"] == kind));
        if is_told { Ok(summary) } else { Err(summary.to_string()) }
    })
}

#[test]
fn a_python_client_and_plain_lines_reach_a_real_prometheus() {
    let Some(peers) = support::peers() else { return };
    let program = support::peers::repository().join("tests/clients/graphite.py");
    let client = Client::Python.script(&program);
    let prometheus = Prometheus::start(&peers, Options::receiver());
    let folder = tempfile::tempdir().unwrap();
    let graphite = "listen: '127.0.0.1:0', labels: {site: harbour}, \
                    metric_relabel_configs: [{source_labels: [__name__], regex: 'noise_.*', action: drop}]";
    let narthex = start(folder.path(), &prometheus.write_url(), graphite);
    let to = address(&narthex, 0);
    let now = now_ms() / 1000;
    by_tcp(
        to,
        &format!("servers.web-1.load;dc=eu 1.5 {now}\nnoise.a 1 {now}\nwrong\n\nlast.without.end 2 {now}"),
    );
    udp().send_to(format!("by.udp 3 {now}\nby.udp;n=2 4").as_bytes(), to).unwrap();
    let mut wanted = vec![
        (r#"servers_web_1_load{dc="eu",site="harbour"}"#, 1.5),
        (r#"last_without_end{site="harbour"}"#, 2.0),
        (r#"by_udp{site="harbour",n=""}"#, 3.0),
        (r#"by_udp{site="harbour",n="2"}"#, 4.0),
    ];
    if let Some(mut client) = client {
        let output = client.arg("127.0.0.1").arg(to.port().to_string()).output().unwrap();
        assert!(output.status.success(), "{output:?}");
        // The bridge itself writes `_` for characters outside of ASCII.
        wanted.push((r#"shop_eu_queue_length{till="3",site="harbour"}"#, 17.0));
        wanted.push((r#"shop_eu_queue_length{shop="a_b",till="4",site="harbour"}"#, 0.5));
    }
    for (selector, value) in wanted {
        wait_for(selector, SOON, || {
            let found = prometheus.query(selector);
            let values: Vec<f64> = found.iter().map(|sample| sample.value).collect();
            if values == [value] { Ok(()) } else { Err(format!("{values:?}{}", narthex.process.tail())) }
        });
    }
    assert_eq!(prometheus.query(r#"{__name__=~"noise.*"}"#).len(), 0);
    // A series that is known by its path gets the same labels and rules.
    by_tcp(to, &format!("servers.web-1.load;dc=eu 2.5 {}\nnoise.a 1 {now}\n", now + 1));
    wait_for("the second sample", SOON, || {
        let found = prometheus.query(r#"servers_web_1_load{dc="eu",site="harbour"}"#);
        let values: Vec<f64> = found.iter().map(|sample| sample.value).collect();
        if values == [2.5] { Ok(()) } else { Err(format!("{values:?}")) }
    });
    assert_eq!(narthex.metric("narthex_known_series_hits_total"), Some(2.0));
    let metric = |series: &str| narthex.metric(series);
    assert_eq!(metric(r#"narthex_receive_dropped_total{door="graphite",input="graphite"}"#), Some(2.0));
    assert_eq!(metric(r#"narthex_receive_rejected_total{door="graphite",input="graphite"}"#), Some(1.0));
    let line = narthex.process.wait_for_line("lines were rejected", SOON);
    assert!(line.contains("wrong") && line.contains("PATH VALUE [TIMESTAMP]"), "{line}");
}

#[test]
fn datagrams_dropped_by_the_kernel_are_counted() {
    const SENT: usize = 5000;
    let receiver = FakeReceiver::start();
    let folder = tempfile::tempdir().unwrap();
    let narthex = start(folder.path(), &receiver.write_url(), "listen: '127.0.0.1:0'");
    let (to, socket) = (address(&narthex, 0), udp());
    assert_eq!(narthex.metric(DROPS), Some(0.0));
    // Triggers a worse warning, which becomes the sentence of the summary.
    socket.send_to(b"wrong", to).unwrap();
    wait_for_detail(&narthex, "samples_rejected");
    narthex.process.signal(Signal::STOP);
    // Padding, so that the datagrams can't fit into the largest buffer that the system may grant.
    let padding = "x".repeat(1000);
    for number in 0..SENT {
        socket.send_to(format!("drops.{padding};n={number} 1\n").as_bytes(), to).unwrap();
    }
    narthex.process.signal(Signal::CONT);
    wait_for("the counters to add up", SOON, || {
        let (drops, points) = (narthex.metric(DROPS), narthex.metric(POINTS));
        let sum = drops.unwrap_or_default() + points.unwrap_or_default();
        if sum == SENT as f64 && drops > Some(0.0) && points > Some(0.0) {
            Ok(())
        } else {
            Err(format!("{drops:?} dropped, {points:?} kept"))
        }
    });
    let summary = wait_for_detail(&narthex, "datagrams_dropped");
    assert!(summary.to_string().contains("The kernel's buffer for them is "), "{summary}");
    assert_eq!((&summary["level"], &summary["kind"]), (&"warning".into(), &"samples_rejected".into()));
    narthex.process.wait_for_line("the kernel dropped datagrams", SOON);
}

#[test]
fn exhausted_connections_are_reported_until_one_ends() {
    let receiver = FakeReceiver::start();
    let folder = tempfile::tempdir().unwrap();
    let narthex = start(folder.path(), &receiver.write_url(), "listen: '127.0.0.1:0'");
    let to = address(&narthex, 0);
    let metric = |name: &str| format!(r#"narthex_receive_{name}{{door="graphite",input="graphite"}}"#);
    let mut connections: Vec<TcpStream> =
        (0..CONNECTIONS_MAX).map(|_| TcpStream::connect(to).unwrap()).collect();
    wait_for_metric(&narthex, &metric("connections"), CONNECTIONS_MAX);
    assert_eq!(narthex.metric(&metric("connections_max")), Some(CONNECTIONS_MAX as f64));
    assert_eq!(narthex.metric(&metric("connections_full_total")), Some(1.0));
    let summary = wait_for_detail(&narthex, "connections_full");
    assert_eq!((&summary["level"], &summary["kind"]), (&"warning".into(), &"connections_full".into()));
    narthex.process.wait_for_line("all connections are in use", SOON);
    // This connection waits, and is read after another one ends.
    by_tcp(to, "waited 1\n");
    assert_eq!(narthex.metric(POINTS), Some(0.0));
    drop(connections.pop());
    wait_for_metric(&narthex, POINTS, 1);
    wait_for_metric(&narthex, &metric("connections"), CONNECTIONS_MAX - 1);
    assert_eq!(narthex.metric(&metric("connections_full_total")), Some(2.0));
}

#[test]
fn a_reload_changes_an_input_without_losing_a_datagram() {
    let receiver = FakeReceiver::start();
    let folder = tempfile::tempdir().unwrap();
    let url = receiver.write_url();
    let narthex = start(folder.path(), &url, "listen: '127.0.0.1:0'");
    let first = address(&narthex, 0);
    let stop = AtomicBool::new(false);
    let sent = std::thread::scope(|scope| {
        let sending = scope.spawn(|| {
            let socket = udp();
            let mut sent = 0;
            while !stop.load(Ordering::Relaxed) {
                socket.send_to(format!("steady;n={sent} 1\n").as_bytes(), first).unwrap();
                sent += 1;
                std::thread::sleep(Duration::from_millis(1));
            }
            sent
        });
        for settings in ["labels: {a: '1'}", "allow_from: [127.0.0.0/8]", "max_series: 1000000"] {
            write_config(folder.path(), &url, &format!("listen: '127.0.0.1:0', {settings}"));
            assert!(narthex.reload().contains("was reloaded"));
        }
        stop.store(true, Ordering::Relaxed);
        sending.join().unwrap()
    });
    wait_for_metric(&narthex, POINTS, sent);
    assert_eq!((narthex.metric(DROPS), narthex.metric(DENIED)), (Some(0.0), Some(0.0)));

    // Another port: samples that were sent to the old one before are kept, and it is closed.
    let port = support::process::free_port();
    udp().send_to(b"before.the.move 1\n", first).unwrap();
    write_config(folder.path(), &url, &format!("listen: {port}"));
    assert!(narthex.reload().contains("was reloaded"));
    let second = address(&narthex, 1);
    assert_eq!(second.port(), port);
    by_tcp(second, "after.the.move 1\n");
    assert!(TcpStream::connect(first).is_err());
    wait_for_metric(&narthex, POINTS, sent + 2);

    // The same port on all addresses: both can't be open at once, so the old sockets are closed first.
    write_config(folder.path(), &url, &format!("listen: '0.0.0.0:{port}', allow_from: [127.0.0.0/8]"));
    assert!(narthex.reload().contains("was reloaded"));
    assert_eq!(address(&narthex, 2), SocketAddr::new(Ipv4Addr::UNSPECIFIED.into(), port));
    by_tcp(second, "at.all.addresses 1\n");
    wait_for_metric(&narthex, POINTS, sent + 3);

    // A port in use changes nothing.
    let taken = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    write_config(folder.path(), &url, &format!("listen: '{}'", taken.local_addr().unwrap()));
    let said = narthex.reload();
    assert!(
        said.contains("was not reloaded") && said.contains("graphite.listen: can't listen on TCP"),
        "{said}"
    );
    by_tcp(second, "still.here 1\n");

    // Without its section the input stops.
    config(folder.path(), &format!("remote_write: [{{url: '{url}'}}]\n{QUIET}"));
    assert!(narthex.reload().contains("was reloaded"));
    assert!(TcpStream::connect(second).is_err());
    assert_eq!(narthex.metric(POINTS), Some(sent as f64 + 4.0));
}

#[test]
fn received_samples_are_kept_when_narthex_stops() {
    let receiver = FakeReceiver::start();
    let folder = tempfile::tempdir().unwrap();
    let narthex = start(folder.path(), &receiver.write_url(), "listen: '127.0.0.1:0'");
    let to = address(&narthex, 0);
    let socket = udp();
    let mut connection = TcpStream::connect(to).unwrap();
    connection.write_all(b"open.connection 1\n").unwrap();
    for number in 0..100 {
        socket.send_to(format!("last;n={number} 1").as_bytes(), to).unwrap();
    }
    assert!(narthex.process.terminate(SOON).success());
    wait_for("all samples", SOON, || match receiver.stored() {
        101 => Ok(()),
        stored => Err(format!("{stored} of 101")),
    });
}

#[test]
fn a_truncated_line_is_never_parsed() {
    let receiver = FakeReceiver::start();
    let folder = tempfile::tempdir().unwrap();
    let url = receiver.write_url();
    let narthex = start(folder.path(), &url, "listen: '127.0.0.1:0'");
    let to = address(&narthex, 0);
    let mut long = TcpStream::connect(to).unwrap();
    long.write_all("x".repeat(40_000).as_bytes()).unwrap();
    let read = |bytes: usize| wait_for_metric(&narthex, BYTES, bytes);
    read(40_000);
    long.write_all(b"tail.of.long 5\nafter.long 6\n").unwrap();
    let mut cut = TcpStream::connect(to).unwrap();
    cut.write_all(b"whole 1\ncut 12").unwrap();
    wait_for("the whole lines", SOON, || match receiver.stored() {
        2 => Ok(()),
        stored => Err(format!("{stored} of 2")),
    });
    // A client that is no longer allowed is disconnected, and its complete lines are kept.
    cut.write_all(b"34\nhalf 9").unwrap();
    read(40_000 + 28 + 14 + 9);
    write_config(folder.path(), &url, "listen: '127.0.0.1:0', allow_from: [10.0.0.0/8]");
    assert!(narthex.reload().contains("was reloaded"));
    wait_for_metric(&narthex, DENIED, 2);
    assert!(narthex.process.terminate(SOON).success());
    wait_for("all samples", SOON, || match receiver.stored() {
        3 => Ok(()),
        stored => Err(format!("{stored} of 3")),
    });
    let names: Vec<String> =
        receiver.arrivals().keys().filter_map(|labels| labels.get("__name__").cloned()).collect();
    assert_eq!(names, ["after_long", "cut", "whole"]);
}

#[test]
fn tcp_waits_while_the_log_is_full_and_loses_nothing() {
    let receiver = FakeReceiver::start();
    receiver.go_away();
    let folder = tempfile::tempdir().unwrap();
    let more = "graphite: {listen: '127.0.0.1:0'}\nlog: {max_size: 8MiB, when_full: refuse}\n";
    let path =
        config(folder.path(), &format!("remote_write: [{{url: '{}'}}]\n{QUIET}{more}", receiver.write_url()));
    let narthex = Narthex::start_in(
        PROGRAM,
        "run",
        &folder.path().join("data"),
        &["--config", &path, "--flush-deadline", "5s"],
    );
    let to = address(&narthex, 0);
    let ready = |status: u16| {
        wait_for("/-/ready", SOON * 2, || {
            let now = narthex.get("/-/ready");
            if now.status == status { Ok(()) } else { Err(format!("{} {}", now.status, now.text())) }
        });
    };
    let stop = AtomicBool::new(false);
    let sent = std::thread::scope(|scope| {
        let sending = scope.spawn(|| {
            let mut connection = TcpStream::connect(to).unwrap();
            let mut sent = 0;
            while !stop.load(Ordering::Relaxed) {
                let lines: String =
                    (sent..sent + 100).map(|number| format!("full.{number:0>200} {number}.5\n")).collect();
                connection.write_all(lines.as_bytes()).unwrap();
                sent += 100;
            }
            sent
        });
        ready(503);
        stop.store(true, Ordering::Relaxed);
        receiver.come_back();
        sending.join().unwrap()
    });
    ready(200);
    wait_for("all samples", SOON * 2, || match receiver.stored() {
        stored if stored == sent => Ok(()),
        stored => Err(format!("{stored} of {sent}{}", narthex.process.tail())),
    });
    assert_eq!(narthex.metric(r#"narthex_receive_lost_total{door="graphite",input="graphite"}"#), Some(0.0));
}

#[test]
fn only_networks_that_are_allowed_may_send() {
    let receiver = FakeReceiver::start();
    let folder = tempfile::tempdir().unwrap();
    let narthex =
        start(folder.path(), &receiver.write_url(), "listen: '127.0.0.1:0', allow_from: [10.0.0.0/8]");
    let to = address(&narthex, 0);
    by_tcp(to, "a 1\n");
    udp().send_to(b"a 1\n", to).unwrap();
    wait_for_metric(&narthex, DENIED, 2);
    assert_eq!(narthex.metric(POINTS), Some(0.0));
    narthex.process.wait_for_line("an address outside of allow_from", SOON);
}

#[test]
fn errors_in_the_section_name_their_keys() {
    let folder = tempfile::tempdir().unwrap();
    let check = |graphite: &str| {
        let path = write_config(folder.path(), "http://127.0.0.1:1/api/v1/write", graphite);
        let output = Command::new(PROGRAM).args(["check", &path]).output().unwrap();
        (output.status.success(), String::from_utf8_lossy(&output.stderr).into_owned())
    };
    for (graphite, wanted) in [
        ("listen: '0.0.0.0:2003'", "graphite.listen: 0.0.0.0:2003 can be reached by other machines"),
        ("listen: ':2003'", "allow_unauthenticated: true"),
        ("listen: 'localhost'", "graphite.listen: the port is missing"),
        ("listen: 99999", "is not a port from 0 to 65535"),
        ("allow_from: [10.0.0.0/8]", "graphite: the address is missing"),
        ("listen: 2003, allow_from: [10.0.0/8]", "graphite.allow_from[0]: \"10.0.0/8\" is not a network"),
        ("listen: 2003, max_series: 0", "graphite.max_series: 0 would refuse everything"),
        ("listen: 2003, lables: {}", "graphite.lables: unknown key"),
    ] {
        let (valid, said) = check(graphite);
        assert!(!valid && said.contains(wanted), "{graphite}: {said}");
    }
    for graphite in [
        "listen: 2003",
        "listen: ':2003', allow_from: [10.0.0.0/8, 192.0.2.1]",
        "listen: '0.0.0.0:2003', allow_unauthenticated: true",
    ] {
        let (valid, said) = check(graphite);
        assert!(valid, "{graphite}: {said}");
    }
}
