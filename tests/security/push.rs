//! `narthex push` and `narthex exec` over TLS, with users and tokens.

use crate::authority::{Authority, Client, folder, write};
use crate::{TLS, basic, end, hash, port, start};
use std::process::Command;
use support::FakeReceiver;

#[test]
fn push_and_exec_send_their_credentials() {
    let authority = Authority::new();
    let folder = folder(&authority);
    let path = |name: &str| folder.path().join(name).to_str().unwrap().to_string();
    write(&folder.path().join("right"), "hunter2\n");
    write(&folder.path().join("wrong"), "hunter3\n");
    write(&folder.path().join("token"), "t0ken\n");
    let receive = format!(
        "{TLS}  basic_auth:\n    users:\n      ann: {}\n  bearer:\n    token_file: token\n",
        hash("hunter2")
    );
    let (narthex, _receiver) = start(folder.path(), &receive, &[]);
    let port = port(&narthex);
    let (gateway, ca) = (format!("https://localhost:{port}"), path("ca.pem"));
    let target = |spool: &str| {
        let all = ["--gateway", &gateway, "--ca-file", &ca, "--spool", &path(spool)];
        all.map(str::to_string).to_vec()
    };
    let run = |command: &str, job: &str, spool: &str, more: &[&str]| {
        let target = target(spool);
        let target: Vec<&str> = target.iter().map(String::as_str).collect();
        end(&[&[command, "--job", job], &target[..], more].concat())
    };
    let (right, wrong, token) = (path("right"), path("wrong"), path("token"));
    let ann = ["--user", "ann", "--password-file"];
    let (code, text) = run("push", "by-user", "a", &[&ann[..], &[&right, "x=1"]].concat());
    assert_eq!(code, Some(0), "{text}");
    let (code, text) = run("push", "by-token", "b", &["--bearer-token-file", &token, "x=1"]);
    assert_eq!(code, Some(0), "{text}");
    let (code, text) = run("exec", "by-exec", "c", &[&ann[..], &[&right, "--", "true"]].concat());
    assert_eq!((code, text.as_str()), (Some(0), ""));
    // A password that is corrected later: then the waiting samples are sent.
    let (code, text) = run("push", "late", "d", &[&ann[..], &[&wrong, "x=1"]].concat());
    assert_eq!(code, Some(1), "a wrong password is not an outage");
    assert!(text.contains("401") && !text.contains("hunter"), "{text}");
    let (code, text) = run("push", "later", "d", &[&ann[..], &[&path("gone"), "x=1"]].concat());
    assert!(code == Some(1) && text.contains("No such file"), "{code:?} {text}");
    let groups = || {
        let head =
            format!("GET /api/v1/metrics HTTP/1.1\r\nauthorization: {}\r\nx: ", basic("ann", "hunter2"));
        Client::trusting(&authority).request(port, &head, "").unwrap()
    };
    let before = groups();
    assert!(["by-user", "by-token", "by-exec"].iter().all(|job| before.contains(job)), "{before}");
    assert!(!before.contains("late"), "{before}");
    let (code, text) = run("push", "last", "d", &[&ann[..], &[&right, "x=1"]].concat());
    assert_eq!(code, Some(0), "{text}");
    let after = groups();
    assert!(["\"late\"", "\"later\"", "\"last\""].iter().all(|job| after.contains(job)), "{after}");
    // Without a certificate authority to trust, nothing is sent.
    let bare = ["push", "--job", "untrusted", "--gateway", &gateway, "--spool", &path("e")];
    let (code, text) = end(&[&bare[..], &ann, &[&right, "x=1"]].concat());
    assert!(!groups().contains("untrusted"), "{text}");
    assert_eq!(code, Some(1), "{text}");
    assert!(text.contains("set --ca-file to a file") && text.contains("(1 waiting)"), "{text}");
}

#[test]
fn push_trusts_a_configured_self_signed_certificate() {
    let folder = tempfile::tempdir().unwrap();
    let path = |name: &str| folder.path().join(name).to_str().unwrap().to_string();
    let (cert, key, spool) = (path("server.pem"), path("server.key"), path("spool"));
    let made = Command::new("openssl")
        .args(["req", "-x509", "-newkey", "rsa:2048", "-nodes", "-days", "30", "-subj", "/CN=localhost"])
        .args(["-addext", "subjectAltName=DNS:localhost", "-keyout", &key, "-out", &cert])
        .output()
        .unwrap();
    assert!(made.status.success(), "{made:?}");
    let (narthex, _receiver) = start(folder.path(), TLS, &[]);
    let port = port(&narthex);
    let push = |host: &str| {
        let gateway = format!("https://{host}:{port}");
        let target = ["--gateway", &gateway, "--ca-file", &cert, "--spool", &spool];
        end(&[&["push", "--job", "j"], &target[..], &["a=1"]].concat())
    };
    assert_eq!(push("localhost"), (Some(0), String::new()));
    let (code, text) = push("127.0.0.1");
    assert_eq!(code, Some(1), "{text}");
    assert!(text.contains("not for 127.0.0.1 but for localhost: use such a name in the URL"), "{text}");
}

#[test]
fn a_push_without_tls_waits_for_the_https_url() {
    let authority = Authority::new();
    let folder = folder(&authority);
    let path = |name: &str| folder.path().join(name).to_str().unwrap().to_string();
    let (narthex, _receiver) = start(folder.path(), TLS, &[]);
    let (port, ca, spool) = (port(&narthex), path("ca.pem"), path("spool"));
    let push = |scheme: &str, value: &str| {
        let gateway = format!("{scheme}://localhost:{port}");
        end(&["push", "--job", "j", "--gateway", &gateway, "--ca-file", &ca, "--spool", &spool, value])
    };
    // The https spool exists before the mistake.
    assert_eq!(push("https", "first=1"), (Some(0), String::new()));
    let (code, text) = push("http", "second=2");
    assert_eq!(code, Some(1), "{text}");
    assert!(text.contains(": this port speaks TLS: use https in the URL; kept for the next push"), "{text}");
    assert_eq!(push("https", "third=3"), (Some(0), String::new()));
    let groups =
        Client::trusting(&authority).request(port, "GET /api/v1/metrics HTTP/1.1\r\nx: ", "").unwrap();
    assert!(["\"first\"", "\"second\"", "\"third\""].iter().all(|name| groups.contains(name)), "{groups}");
}

#[test]
fn a_push_waits_for_the_files_that_tls_needs() {
    let authority = Authority::new();
    let folder = folder(&authority);
    let path = |name: &str| folder.path().join(name).to_str().unwrap().to_string();
    let (narthex, _receiver) = start(folder.path(), TLS, &[]);
    let (port, ca, spool) = (port(&narthex), path("later.pem"), path("spool"));
    let gateway = format!("https://localhost:{port}");
    let target = ["--gateway", &gateway, "--ca-file", &ca, "--spool", &spool];
    for content in [None, Some("no certificate")] {
        if let Some(content) = content {
            write(&folder.path().join("later.pem"), content);
        }
        let (code, text) = end(&[&["push", "--job", "j"], &target[..], &["a=1"]].concat());
        assert_eq!(code, Some(1), "{text}");
        assert!(text.contains(": --ca-file: ") && text.contains("; kept for"), "{text}");
    }
    let (code, text) = end(&[&["exec", "--job", "e"], &target[..], &["--", "sh", "-c", "exit 3"]].concat());
    assert_eq!(code, Some(3), "{text}");
    std::fs::copy(path("ca.pem"), &ca).unwrap();
    assert_eq!(end(&[&["push", "--job", "k"], &target[..], &["b=1"]].concat()), (Some(0), String::new()));
    let groups =
        Client::trusting(&authority).request(port, "GET /api/v1/metrics HTTP/1.1\r\nx: ", "").unwrap();
    let names = ["\"a\"", "\"b\"", "\"narthex_job_last_exit_code\""];
    assert!(names.iter().all(|name| groups.contains(name)), "{groups}");
}

#[test]
fn a_push_waits_for_the_files_of_its_credentials() {
    for (flag, with) in [("--password-file", &["--user", "ann"][..]), ("--bearer-token-file", &[])] {
        let folder = tempfile::tempdir().unwrap();
        let path = |name: &str| folder.path().join(name).to_str().unwrap().to_string();
        let receiver = FakeReceiver::start();
        let (secret, url, spool) = (path("later"), receiver.write_url(), path("spool"));
        let target = ["push", "--job", "j", "--to", &url, "--spool", &spool, flag, &secret];
        let (code, text) = end(&[&target[..], with, &["first=1"]].concat());
        let words = format!("{flag}: {secret}: No such file");
        assert!(code == Some(1) && text.contains(&words) && text.contains("; kept for"), "{code:?} {text}");
        write(&folder.path().join("later"), "hunter2\n");
        let (code, text) = end(&[&target[..], with, &["second=2"]].concat());
        assert_eq!((code, text), (Some(0), String::new()));
        assert_eq!(receiver.stored(), 2);
    }
}
