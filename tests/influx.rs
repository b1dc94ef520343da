//! InfluxDB's line protocol: from real clients, over HTTP and UDP, into a real Prometheus. Also credentials, reloads,
//! and errors in the configuration.
#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::indexing_slicing,
    reason = "a panic is how a test reports"
)]

use std::collections::BTreeMap;
use std::net::{SocketAddr, UdpSocket};
use std::path::Path;
use std::process::{Command, Stdio};
use support::narthex::config;
use support::prometheus::Options;
use support::{Client, FakeReceiver, Labels, Narthex, Prometheus, SOON, now_ms, wait_for};

const PROGRAM: &str = env!("CARGO_BIN_EXE_narthex");
const QUIET: &str = "collect: {self: false, host: {collectors: none}}\n";

fn write_config(folder: &Path, url: &str, more: &str) -> String {
    config(folder, &format!("remote_write: [{{url: '{url}'}}]\n{QUIET}{more}\n"))
}

fn start(folder: &Path, url: &str, more: &str) -> Narthex {
    let path = write_config(folder, url, more);
    Narthex::start_in(PROGRAM, "run", &folder.join("data"), &["--config", &path, "--flush-deadline", "5s"])
}

/// Users with the lowest cost of a hash, to keep the test fast.
fn users() -> String {
    let hash = bcrypt::hash("secret", 4).unwrap();
    format!("receive: {{basic_auth: {{users: {{ann: '{hash}'}}}}, bearer: {{token: t0ken}}}}\n")
}

/// Waits until Prometheus has one sample for a selector, with this value and time.
#[track_caller]
fn wait_for_sample(prometheus: &Prometheus, narthex: &Narthex, selector: &str, value: f64, time: i64) {
    wait_for(selector, SOON, || {
        let raw = prometheus.raw(selector, "10m");
        let found: Vec<_> = raw.iter().flat_map(|series| series.samples.iter()).collect();
        match found.as_slice() {
            [(at, is)] if *at == time && *is == value => Ok(()),
            _ => Err(format!("{raw:?}{}", narthex.process.tail())),
        }
    });
}

/// Runs a client that writes to a narthex with credentials, in front of a real Prometheus, and compares the samples
/// that arrive.
fn client_reaches_prometheus(client: Client, program: &str, wanted: &[(&str, f64)]) {
    let Some(peers) = support::peers() else { return };
    let program = support::peers::repository().join("tests/clients").join(program);
    let Some(mut client) = client.script(&program) else { return };
    let prometheus = Prometheus::start(&peers, Options::receiver());
    let folder = tempfile::tempdir().unwrap();
    let more = format!("influx: {{at_root: true, db_label: db}}\n{}", users());
    let narthex = start(folder.path(), &prometheus.write_url(), &more);
    let time = now_ms() - 5000;
    let output = client.arg(narthex.url()).arg(time.to_string()).output().unwrap();
    assert!(output.status.success(), "{output:?}{}", narthex.process.tail());
    for (selector, value) in wanted {
        wait_for_sample(&prometheus, &narthex, selector, *value, time);
    }
    let others = prometheus.query("count({__name__=~\".*note|wrong\"})");
    assert_eq!(others.len(), 0, "{others:?}");
}

#[test]
fn pythons_clients_reach_prometheus() {
    let labels = r#"{shop="a, b=c",db="shop"}"#;
    let mut wanted = Vec::new();
    for name in ["python1", "python1_gzip", "python2", "python2_gzip"] {
        wanted.extend(
            [("level", 2.5), ("count", 7.0), ("open", 1.0)]
                .map(|(field, value)| (format!("{name}_{field}{labels}"), value)),
        );
    }
    for name in ["python2", "python2_gzip"] {
        wanted.push((format!(r#"{name}_point{{shop="a",db="shop"}}"#), 1.5));
        wanted.extend([0, 1, 999].map(|n| (format!(r#"{name}_many{{n="{n}",db="shop"}}"#), f64::from(n))));
    }
    let wanted: Vec<(&str, f64)> =
        wanted.iter().map(|(selector, value)| (selector.as_str(), *value)).collect();
    client_reaches_prometheus(Client::Python, "influx.py", &wanted);
}

#[test]
fn javascripts_client_reaches_prometheus() {
    let mut wanted = Vec::new();
    for name in ["javascript", "javascript_gzip"] {
        for (field, value) in [("level", 2.5), ("count", 7.0), ("size", 9.0), ("open", 1.0)] {
            wanted.push((format!(r#"{name}_{field}{{shop="a, b=c",db="shop"}}"#), value));
        }
    }
    let wanted: Vec<(&str, f64)> =
        wanted.iter().map(|(selector, value)| (selector.as_str(), *value)).collect();
    client_reaches_prometheus(Client::JavaScript, "influx.js", &wanted);
}

#[test]
fn gos_client_reaches_prometheus() {
    let mut wanted = Vec::new();
    for name in ["go", "go_gzip"] {
        for (field, value) in [("level", 2.5), ("count", 7.0), ("size", 9.0), ("open", 1.0)] {
            wanted.push((format!(r#"{name}_{field}{{shop="a, b=c",db="shop"}}"#), value));
        }
    }
    let wanted: Vec<(&str, f64)> =
        wanted.iter().map(|(selector, value)| (selector.as_str(), *value)).collect();
    client_reaches_prometheus(Client::Go, "influx.go", &wanted);
}

#[test]
fn each_form_of_credentials_is_accepted_and_wrong_ones_refused() {
    let receiver = FakeReceiver::start();
    let folder = tempfile::tempdir().unwrap();
    let narthex = start(folder.path(), &receiver.write_url(), &users());
    let status = |path: &str, authorization: &str| {
        let headers: Vec<(&str, &str)> =
            [("authorization", authorization)].into_iter().filter(|(_, value)| !value.is_empty()).collect();
        let response = narthex.post(path, &headers, b"m f=1\n");
        (response.status, response.text())
    };
    let write = "/influx/write?db=x";
    for (path, authorization) in [
        (write, "Basic YW5uOnNlY3JldA=="),
        (write, "Token ann:secret"),
        (write, "Token t0ken"),
        (write, "Bearer t0ken"),
        ("/influx/write?u=ann&p=secret", ""),
        ("/influx/api/v2/write?org=o&bucket=b", "Token ann:secret"),
        ("/influx/api/v3/write_lp?db=x", "Bearer t0ken"),
    ] {
        assert_eq!(status(path, authorization), (204, String::new()), "{path} {authorization}");
    }
    for (path, authorization, wanted) in [
        (write, "", "{\"error\":\"authentication required\"}\n"),
        (write, "Token ann:wrong", "{\"error\":\"authentication required\"}\n"),
        ("/influx/write?u=ann&p=wrong", "", "{\"error\":\"authentication required\"}\n"),
        (
            "/influx/api/v2/write",
            "Token wrong",
            "{\"code\":\"unauthorized\",\"message\":\"authentication required\"}\n",
        ),
        // On other paths the parameters are no credentials.
        ("/api/v1/import/prometheus?u=ann&p=secret", "", "authentication required\n"),
    ] {
        assert_eq!(status(path, authorization), (401, wanted.to_string()), "{path} {authorization}");
    }
    // As in InfluxDB, probes need no credentials, and any Host header is accepted.
    for (path, wanted) in [("/influx/ping", 204), ("/influx/health", 200), ("/influx/query?q=x", 401)] {
        let response = narthex.request("GET", path, &[("host", "influxdb.example")], None);
        assert_eq!(response.status, wanted, "{path}");
    }
}

#[test]
fn a_reload_changes_paths_names_and_the_socket() {
    let receiver = FakeReceiver::start();
    let folder = tempfile::tempdir().unwrap();
    let narthex = start(folder.path(), &receiver.write_url(), "");
    let names = || -> Vec<String> {
        receiver.arrivals().keys().filter_map(|labels| labels.get("__name__").cloned()).collect()
    };
    let wait_for_name = |name: &str| {
        wait_for(name, SOON, || {
            if names().iter().any(|one| one == name) { Ok(()) } else { Err(format!("{:?}", names())) }
        });
    };
    let status = |path: &str, text: &str| narthex.post(path, &[], text.as_bytes()).status;
    assert_eq!((status("/influx/write", "first value=1\n"), status("/write", "m f=1\n")), (204, 404));
    wait_for_name("first");

    let reload = |influx: &str| {
        write_config(folder.path(), &receiver.write_url(), influx);
        narthex.reload()
    };
    let said = reload(
        "influx: {at_root: true, value_field: suffix, listen_udp: '127.0.0.1:0', labels: {site: boat}}",
    );
    assert!(said.contains("was reloaded"), "{said}");
    assert_eq!(status("/write", "second value=1\n"), 204);
    wait_for_name("second_value");
    let to: SocketAddr = wait_for("a line with the address", SOON, || {
        let lines = narthex.process.lines();
        let found = lines.iter().find_map(|line| line.split("listening on UDP ").nth(1).map(str::to_string));
        let found = found.ok_or_else(|| lines.join("\n"))?;
        let found = found.split([' ', '"']).next().unwrap_or_default().to_string();
        found.parse::<SocketAddr>().map_err(|error| error.to_string())
    });
    let socket = UdpSocket::bind("127.0.0.1:0").unwrap();
    socket.send_to(b"third value=1\nbroken", to).unwrap();
    wait_for_name("third_value");
    // The socket stays open and uses the new settings.
    let said = reload("influx: {listen_udp: '127.0.0.1:0', precision: s}");
    assert!(said.contains("was reloaded"), "{said}");
    assert_eq!(status("/write", "m f=1\n"), 404);
    socket.send_to(format!("fourth value=1 {}", now_ms() / 1000).as_bytes(), to).unwrap();
    wait_for_name("fourth");
    let said = reload("influx: {precision: minutes}");
    assert!(said.contains("was not reloaded") && said.contains("influx.precision"), "{said}");
    for (metric, value) in [
        (r#"narthex_receive_points_total{door="influx_udp",input="influx_udp"}"#, 2.0),
        (r#"narthex_receive_rejected_total{door="influx_udp",input="influx_udp"}"#, 1.0),
        (r#"narthex_receive_points_total{door="influx",input="influx"}"#, 2.0),
        (r#"narthex_receive_left_out_total{door="influx",input="influx",reason="string_field"}"#, 0.0),
    ] {
        assert_eq!(narthex.metric(metric), Some(value), "{metric}");
    }
}

#[test]
fn check_names_each_error_and_its_correction() {
    let folder = tempfile::tempdir().unwrap();
    for (influx, wanted) in [
        ("{precision: minutes}", "influx.precision"),
        ("{value_field: none}", "influx.value_field"),
        ("{db_label: 'a-b'}", "influx.db_label: the name of a label has letters, digits and _"),
        ("{db_label: __name__}", "influx.db_label: the name of a label has letters, digits and _"),
        ("{listen_udp: '0.0.0.0:8089'}", "influx.listen_udp: 0.0.0.0:8089 can be reached by other machines"),
        ("{allow_from: [10.0.0.0/8]}", "influx.allow_from: this is about UDP: add listen_udp: ADDRESS:PORT"),
        ("{listen: '127.0.0.1:1'}", "influx.listen"),
    ] {
        let path = write_config(folder.path(), "http://127.0.0.1:1/x", &format!("influx: {influx}"));
        let output = Command::new(PROGRAM).args(["check", &path]).stdin(Stdio::null()).output().unwrap();
        let said = String::from_utf8([output.stdout, output.stderr].concat()).unwrap();
        assert!(!output.status.success() && said.contains(wanted), "{influx}: {said}");
    }
    let path = write_config(folder.path(), "http://127.0.0.1:1/x", "influx: {at_root: true}");
    let output = Command::new(PROGRAM).args(["check", &path]).stdin(Stdio::null()).output().unwrap();
    let said = String::from_utf8([output.stdout, output.stderr].concat()).unwrap();
    assert!(output.status.success() && said.contains("influx: also at InfluxDB's own paths"), "{said}");
}

/// Sends the same text to narthex and to a vmagent, which both write to a Prometheus.
#[test]
fn values_and_times_are_those_of_vmagent() {
    let Some(peers) = support::peers() else { return };
    let [own, other] = [(); 2].map(|()| Prometheus::start(&peers, Options::receiver()));
    let folder = tempfile::tempdir().unwrap();
    let narthex = start(folder.path(), &own.write_url(), "influx: {value_field: suffix, db_label: db}");
    let vmagent =
        support::Vmagent::start(&peers, &other.write_url(), None, &["-remoteWrite.forcePromProto=true"]);
    let now = now_ms() - 5000;
    let mut text = String::new();
    for n in 0..200 {
        let time = (now - i64::from(n)) * 1_000_000 + i64::from(n) * 777;
        text.push_str(&format!(
            "cpu,host=h{n},region=eu\\ west idle={n}.25,user={n}i,up={},value=-{n}e-3 {time}\n",
            n % 2 == 0
        ));
    }
    assert_eq!(narthex.post("/influx/write?db=x", &[], text.as_bytes()).status, 204);
    let url = vmagent.write_url().replace("/api/v1/write", "/influx/write?db=x");
    assert!(support::http::post(&url, &[], text.as_bytes()).unwrap().is_success());
    let samples = |prometheus: &Prometheus| -> BTreeMap<Labels, Vec<(i64, f64)>> {
        let all = prometheus.raw(r#"{__name__=~"cpu_.*"}"#, "10m");
        all.into_iter().map(|series| (series.labels, series.samples)).collect()
    };
    let wanted = wait_for("all of vmagent", SOON, || {
        let samples = samples(&other);
        if samples.len() == 800 { Ok(samples) } else { Err(format!("{} series", samples.len())) }
    });
    wait_for("the same through narthex", SOON, || {
        let found = samples(&own);
        // vmagent's decimal fractions are not exact in the last bit.
        let is_same = |(time, value): &(i64, f64), of: &[(i64, f64)]| matches!(of, [(at, is)] if at == time && (is - value).abs() <= value.abs() * 1e-15);
        let differs = wanted.iter().find(|(labels, samples)| {
            let found = found.get(*labels).map(Vec::as_slice).unwrap_or_default();
            !samples.iter().all(|sample| is_same(sample, found))
        });
        match differs {
            None if found.len() == wanted.len() => Ok(()),
            _ => Err(format!(
                "{} series, wanted {differs:?}, found {:?}",
                found.len(),
                differs.map(|(labels, _)| found.get(labels))
            )),
        }
    });
}
