//! `narthex push`: the samples that it sends and its messages on failure; to a gateway, and directly to an endpoint.

use crate::{Gateway, Place, dead_url, exposing_narthex, now_seconds, stderr};
use std::io::{Read, Write};
use std::net::TcpListener;
use std::path::PathBuf;
use support::{Answer, FakeReceiver, Prometheus, Pushgateway, SOON, wait_for};

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
    // By POST: series that a push does not name are kept.
    assert_eq!(place.run(&with(&["a=9"])).status.code(), Some(0));
    let group = narthex.group("j");
    assert_eq!(group.get("c{env=\"a b\",instance=\"\",job=\"j\",x=\"1\"}"), Some(&4.0));
    assert_eq!(group.keys().filter(|series| series.starts_with("a{")).count(), 1, "{group:?}");

    // The end of the time to live removes the series.
    let output = place.run(&["push", "--gateway", url, "--job", "short", "--ttl", "1s", "d=1"]);
    assert_eq!(output.status.code(), Some(0));
    wait_for("the group to expire", SOON, || {
        let left = narthex.gauge("short", "d");
        if left.is_none() { Ok(()) } else { Err(format!("{left:?}")) }
    });
}

#[test]
fn errors_of_a_push_have_a_sentence_and_the_right_code() {
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
    // One byte more than the limit, of otherwise valid text.
    let long = [b"a 1\n#", "x".repeat((8 << 20) - 5).as_bytes(), b"\n"].concat();
    assert_eq!(long.len(), (8 << 20) + 1);
    let output = place.run_with_input(&["push", "--gateway", url, "--job", "j"], &long);
    assert_eq!(output.status.code(), Some(2));
    assert!(stderr(&output).contains("more than 8 MiB; push it in parts"), "{}", stderr(&output));
    let output = place.run_with_input(&["push", "--gateway", url, "--job", "j"], b"a 1 1700000000000\n");
    assert_eq!(output.status.code(), Some(1));
    let text = stderr(&output);
    assert!(text.contains("refuses this push: 400") && text.contains("timestamp"), "{text}");
    assert_eq!(place.entries(), Vec::<PathBuf>::new(), "a refused push is not kept");
}

#[test]
fn success_without_written_samples_is_reported_as_refusal() {
    let (place, receiver) = (Place::new(), FakeReceiver::start());
    receiver.answer(|_| Answer::status(200).header("X-Prometheus-Remote-Write-Samples-Written", "0"));
    let output = place.run(&["push", "--to", &receiver.write_url(), "--job", "j", "a=1"]);
    let text = stderr(&output);
    assert_eq!(output.status.code(), Some(1), "{text}");
    assert!(text.contains("it answered 200 OK, but wrote 0 of 1 sample"), "{text}");
}

#[test]
fn the_error_for_compressed_input_names_the_command() {
    let place = Place::new();
    for (text, command) in
        [(&b"\x1f\x8b\x08rest"[..], "`gunzip < FILE |"), (b"\x28\xb5\x2f\xfdrest", "`zstd -d < FILE |")]
    {
        let output = place.run_with_input(&["push", "--job", "j"], text);
        assert_eq!(output.status.code(), Some(2));
        let text = stderr(&output);
        assert!(text.contains(command) && !text.contains("header"), "{text}");
    }
    assert_eq!(place.entries(), Vec::<PathBuf>::new());
}

/// A server that answers a connection depending on its first byte, and closes it.
fn server(answer: impl Fn(u8) -> &'static [u8] + Send + 'static) -> u16 {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let port = listener.local_addr().unwrap().port();
    std::thread::spawn(move || {
        for mut stream in listener.incoming().flatten() {
            let mut received = [0; 4096];
            if matches!(stream.read(&mut received), Ok(1..)) {
                let _ = stream.write_all(answer(received[0]));
            }
        }
    });
    port
}

#[test]
fn a_wrong_url_protocol_fails_after_keeping_the_value() {
    let place = Place::new();
    let receiver = FakeReceiver::start();
    receiver.answer(|_| Answer::status(400).body("Client sent an HTTP request to an HTTPS server.\n"));
    // Many TLS servers close a connection without an answer if it does not begin with a handshake.
    let alert = &[21, 3, 3, 0, 2, 2, 40];
    let silent = format!("http://127.0.0.1:{}", server(move |first| if first == 22 { alert } else { b"" }));
    let plain = format!("https://127.0.0.1:{}", server(|_| b"HTTP/1.1 400 Bad Request\r\n\r\n"));
    let nobody = format!("http://127.0.0.1:{}", support::process::free_port());
    for (url, code, words) in [
        (receiver.url(), 1, "this port speaks TLS: use https in the URL (Client sent an HTTP request"),
        (silent, 1, "this port speaks TLS: use https in the URL; kept for the next push"),
        (plain, 1, "the server does not speak TLS: is it the right port, or has the URL to be http?; kept"),
        (nobody, 0, "kept for the next push"),
    ] {
        for target in ["--gateway", "--to"] {
            let before = place.entries().len();
            let output = place.run(&["push", target, &url, "--job", "j", "a=1"]);
            let text = stderr(&output);
            assert_eq!(output.status.code(), Some(code), "{target} {text}");
            assert!(text.contains(words), "{target} {text}");
            assert_eq!(place.entries().len(), before + 1, "{target} {text}");
        }
    }
}

#[test]
fn pushes_and_jobs_go_directly_to_a_prometheus() {
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

    // Offline at first: the samples keep their original times.
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
fn pushes_go_directly_to_an_endpoint_with_1_0_only() {
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

#[test]
fn text_without_a_last_line_end_arrives_at_a_pushgateway() {
    let Some(peers) = support::peers() else { return };
    let gateway = Pushgateway::start(&peers, &[]);
    let place = Place::new();
    let output = place.run_with_input(&["push", "--gateway", gateway.url(), "--job", "j"], b"a 1\nb 2");
    assert_eq!((output.status.code(), stderr(&output).as_str()), (Some(0), ""));
    assert_eq!((gateway.gauge("j", "a"), gateway.gauge("j", "b")), (Some(1.0), Some(2.0)));
}

#[test]
fn a_proxy_is_used_for_gateways_and_endpoints() {
    let place = Place::new();
    let proxy = FakeReceiver::start();
    proxy.answer(
        |request| if request.path.contains("/job/") { Answer::status(200) } else { Answer::success(request) },
    );
    let url = proxy.url();
    for (target, path) in [
        (["--gateway", "http://gateway.example:9091"], "http://gateway.example:9091/metrics/job/j"),
        (["--to", "http://receiver.example"], "http://receiver.example/api/v1/write"),
    ] {
        let output =
            place.run(&[&["push", "--proxy-url", &url], &target[..], &["--job", "j", "a=1"]].concat());
        assert_eq!((output.status.code(), stderr(&output).as_str()), (Some(0), ""));
        assert_eq!(proxy.requests().last().unwrap().path, path);
    }
    let output = place.run(&["push", "--proxy-url", "ftp://me:hunter2@h", "--job", "j", "a=1"]);
    assert_eq!(output.status.code(), Some(2));
    let text = stderr(&output);
    assert!(text.contains("--proxy-url: ") && text.contains("socks5://"), "{text}");
    assert!(!text.contains("hunter2"), "{text}");
}
