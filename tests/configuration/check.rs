//! The output of `narthex check` about a file, and about the destinations that it tries.

use super::{DESTINATION, PROGRAM};
use std::io::Write;
use std::process::{Command, Stdio};
use support::{Answer, FakeReceiver};

#[test]
fn check_reports_the_effect_of_a_file() {
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("n.yml");
    let check = |text: &str| {
        std::fs::write(&file, text).unwrap();
        let output = Command::new(PROGRAM).arg("check").arg(&file).output().unwrap();
        (output.status.code(), String::from_utf8(output.stderr).unwrap().trim_end().to_string())
    };
    let (code, said) = check(DESTINATION);
    assert_eq!(code, Some(0), "{said}");
    assert!(said.contains("pushing to http://h:9090/api/v1/write"), "{said}");
    assert!(said.ends_with("n.yml is valid"), "{said}");
    let (code, said) = check("remote_rite: []\n");
    assert_eq!(code, Some(2));
    assert!(said.contains("did you mean \"remote_write\"?"), "{said}");
}

#[test]
fn check_reads_standard_input() {
    let check = |text: &str| {
        let mut child = Command::new(PROGRAM)
            .args(["check", "-"])
            .stdin(Stdio::piped())
            .stderr(Stdio::piped())
            .spawn()
            .unwrap();
        child.stdin.take().unwrap().write_all(text.as_bytes()).unwrap();
        let output = child.wait_with_output().unwrap();
        (output.status.code(), String::from_utf8(output.stderr).unwrap())
    };
    let (code, said) = check(DESTINATION);
    assert_eq!(code, Some(0), "{said}");
    assert!(said.ends_with("standard input is valid\n"), "{said}");
    let (code, said) = check("nonsense: 1\n");
    assert!(code == Some(2) && said.contains("standard input:1:1: nonsense"), "{said}");
    let (code, said) = check(&format!("# {}\n", "x".repeat(4 << 20)));
    assert!(code == Some(2) && said.contains("larger than the limit of 4.00 MiB"), "{said}");
}

fn check_send(arguments: &[&str]) -> (Option<i32>, String) {
    let output = Command::new(PROGRAM).args(["check", "--send"]).args(arguments).output().unwrap();
    (output.status.code(), String::from_utf8(output.stderr).unwrap())
}

#[test]
fn check_send_tries_each_destination_and_names_the_remedy() {
    let folder = tempfile::tempdir().unwrap();
    let [second, first, locked, gone, lost] = std::array::from_fn(|_| FakeReceiver::start());
    let unknown = "http://no-such-host.invalid/api/v1/write";
    first.answer(|request| {
        if request.version() == support::wire::Version::V2 {
            Answer::status(415)
        } else {
            Answer::status(204)
        }
    });
    lost.answer(|_| Answer::status(404));
    locked.answer(|_| Answer::status(401).body("no such token"));
    gone.go_away();
    let text = format!(
        "global: {{external_labels: {{site: lyon}}}}\nremote_write:\n\
         - {{name: second, url: '{}'}}\n- {{name: first, url: '{}'}}\n- {{name: locked, url: '{}'}}\n- {{name: gone, url: '{}'}}\n- {{name: unknown, url: '{unknown}'}}\n- {{name: lost, url: '{}/write'}}\n",
        second.write_url(),
        first.write_url(),
        locked.write_url(),
        gone.write_url(),
        lost.url()
    );
    let file = support::narthex::config(folder.path(), &text);
    let (code, said) = check_send(&[&file]);
    assert_eq!(code, Some(1), "{said}");
    let line = |name: &str| {
        said.lines()
            .find(|line| line.starts_with(&format!("{name} http")))
            .unwrap_or_else(|| panic!("{name}: {said}"))
    };
    assert!(line("second").contains("accepted one sample by remote write 2.0 in "), "{said}");
    assert!(line("first").contains("accepted one sample by remote write 1.0 in "), "{said}");
    let want = "FAILED: 401 Unauthorized: no such token; check the user and password, or the token";
    assert!(line("locked").contains(want), "{said}");
    let want = "; nothing listens on this port: start the receiver, or check the port in the URL";
    assert!(line("gone").contains("FAILED: can't connect: ") && line("gone").ends_with(want), "{said}");
    let want = "; check the host's name in the URL, and this machine's name servers";
    assert!(line("unknown").contains("FAILED: can't connect: ") && line("unknown").ends_with(want), "{said}");
    let want = "FAILED: 404 Not Found; nothing receives remote write at this path: remote write is at /api/v1/write (";
    assert!(line("lost").contains(want), "{said}");
    assert!(said.contains("4 of 6 destinations failed"), "{said}");
    let arrivals = second.arrivals();
    assert_eq!(arrivals.len(), 1, "one sample and no more");
    let (labels, points) = arrivals.iter().next().unwrap();
    assert_eq!(
        (labels["__name__"].as_str(), labels["site"].as_str(), points[0].1),
        ("narthex_check", "lyon", 1.0)
    );
}

/// The URL of a port that no server listens on: it was free a moment ago.
fn dead(scheme: &str) -> String {
    format!("{scheme}://127.0.0.1:{}", support::process::free_port())
}

#[test]
fn check_send_names_the_failing_part_and_the_remedy() {
    let folder = tempfile::tempdir().unwrap();
    let [nothing, receiver, tokens] = std::array::from_fn(|_| FakeReceiver::start());
    nothing.answer(|_| Answer::status(200).header("X-Prometheus-Remote-Write-Samples-Written", "0"));
    tokens.answer(|_| Answer::status(401).body("unknown client"));
    let url = receiver.write_url();
    let oauth2 = |token_url: &str| {
        format!("oauth2: {{client_id: c, client_secret: s, token_url: '{token_url}/token'}}")
    };
    let entries = [
        format!("{{name: nothing, url: '{}'}}", nothing.write_url()),
        format!("{{name: socks, url: '{url}', proxy_url: '{}'}}", dead("socks5")),
        format!("{{name: proxy, url: '{url}', proxy_url: '{}'}}", dead("http")),
        format!("{{name: tunnel, url: 'https://receiver.invalid/w', proxy_url: '{}'}}", dead("http")),
        format!("{{name: denied, url: '{url}', {}}}", oauth2(&tokens.url())),
        format!("{{name: tokenless, url: '{url}', {}}}", oauth2(&dead("http"))),
    ];
    let file =
        support::narthex::config(folder.path(), &format!("remote_write:\n- {}\n", entries.join("\n- ")));
    let (code, said) = check_send(&[&file]);
    assert_eq!(code, Some(1), "{said}");
    let line = |name: &str| said.lines().find(|line| line.starts_with(&format!("{name} http"))).unwrap();
    assert!(line("nothing").contains("FAILED: it answered 200 OK, but wrote 0 of 1 sample; "), "{said}");
    for name in ["socks", "proxy", "tunnel"] {
        let advice = "; nothing listens on the proxy's port: start the proxy, or check proxy_url";
        assert!(line(name).contains("the proxy ") && line(name).contains(advice), "{name}: {said}");
    }
    for name in ["denied", "tokenless"] {
        let advice = "; check token_url, client_id and client_secret of oauth2";
        assert!(
            line(name).contains("FAILED: no token from ") && line(name).contains(advice),
            "{name}: {said}"
        );
    }
}

#[test]
fn check_send_dry_sends_no_sample() {
    let folder = tempfile::tempdir().unwrap();
    let receiver = FakeReceiver::start();
    let text = format!("remote_write: [{{url: '{}'}}]\n", receiver.write_url());
    let file = support::narthex::config(folder.path(), &text);
    let (code, said) = check_send(&["--dry", &file]);
    assert_eq!(code, Some(0), "{said}");
    assert!(said.contains("accepted a request without samples by remote write 2.0"), "{said}");
    assert!(receiver.arrivals().is_empty() && receiver.requests().len() == 1);
}
