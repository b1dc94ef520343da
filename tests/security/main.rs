//! Access control: each refusal and each acceptance, with real TLS if TLS is configured.
#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::indexing_slicing,
    reason = "a panic is how a test reports"
)]

mod authority;
mod push;

use authority::{Authority, Client, folder, write};
use base64::Engine;
use rustls::SupportedProtocolVersion;
use std::io::{Read, Write};
use std::net::TcpStream;
use std::path::Path;
use std::process::{Command, Stdio};
use support::{Answer, Chromium, FakeReceiver, Narthex, SOON, wait_until};

const PROGRAM: &str = env!("CARGO_BIN_EXE_narthex");

/// The lowest cost, to keep the test fast.
fn hash(password: &str) -> String {
    bcrypt::hash(password, 4).unwrap()
}

fn basic(user: &str, password: &str) -> String {
    format!("Basic {}", base64::engine::general_purpose::STANDARD.encode(format!("{user}:{password}")))
}

/// Runs narthex to the end. Returns the exit code and the output.
fn end(arguments: &[&str]) -> (Option<i32>, String) {
    let output = Command::new(PROGRAM).args(arguments).stdin(Stdio::null()).output().unwrap();
    let text = [output.stdout, output.stderr].concat();
    (output.status.code(), String::from_utf8(text).unwrap())
}

/// Starts a narthex with this text in its configuration.
fn start(folder: &Path, receive: &str, arguments: &[&str]) -> (Narthex, FakeReceiver) {
    let receiver = FakeReceiver::start();
    let text = format!("remote_write:\n  - url: {}\n{receive}", receiver.write_url());
    let file = write(&folder.join("narthex.yml"), &text);
    let all = ["--config", file.to_str().unwrap(), "--collect", "none", "--flush-deadline", "1s"];
    let narthex = Narthex::start(PROGRAM, &[&all[..], arguments].concat());
    (narthex, receiver)
}

fn port(narthex: &Narthex) -> u16 {
    narthex.url().rsplit(':').next().unwrap().parse().unwrap()
}

#[test]
fn every_path_except_health_checks_needs_credentials() {
    let folder = tempfile::tempdir().unwrap();
    write(&folder.path().join("token"), "t0ken-secret\n");
    let receive = format!(
        "receive:\n  basic_auth:\n    users:\n      ann: {}\n  bearer:\n    token_file: token\n",
        hash("hunter2")
    );
    let (narthex, _receiver) = start(folder.path(), &receive, &[]);
    let status = |method: &str, path: &str, authorization: Option<&str>| {
        let headers: Vec<(&str, &str)> =
            authorization.map(|value| ("authorization", value)).into_iter().collect();
        let body: Option<&[u8]> = (method != "GET").then_some(b"a 1\n");
        narthex.request(method, path, &headers, body).status
    };
    let (right, token) = (basic("ann", "hunter2"), "Bearer t0ken-secret".to_string());
    let wrong = [
        basic("ann", "hunter3"),
        basic("bob", "hunter2"),
        basic("ann", ""),
        "Bearer t0ken-secre".into(),
        "Bearer hunter2".into(),
        "nonsense".into(),
    ];
    for (method, path, answer) in [
        ("GET", "/", 200),
        ("GET", "/metrics", 200),
        ("GET", "/api/v1/status/remote_write", 200),
        ("GET", "/api/v1/status", 200),
        ("GET", "/api/v1/metrics", 200),
        ("POST", "/metrics/job/x", 200),
        ("PUT", "/metrics/job/x", 200),
        ("POST", "/api/v1/import/prometheus", 204),
        ("POST", "/api/v1/write", 400),
        ("PUT", "/api/v1/admin/wipe", 404),
        ("GET", "/nothing", 404),
    ] {
        assert_eq!(status(method, path, None), 401, "{method} {path}");
        assert_eq!(status(method, path, Some(&wrong[0])), 401, "{method} {path}");
        assert_eq!(status(method, path, Some(&right)), answer, "{method} {path}");
        assert_eq!(status(method, path, Some(&token)), answer, "{method} {path}");
    }
    for wrong in &wrong {
        assert_eq!(status("POST", "/metrics/job/stranger", Some(wrong)), 401, "{wrong}");
    }
    for path in ["/-/healthy", "/-/ready"] {
        assert_eq!(status("GET", path, None), 200, "{path}");
        assert_eq!(status("GET", path, Some(&wrong[0])), 200, "{path}");
    }
    // The refusals are counted, and logged once a minute.
    let own = narthex.request("GET", "/metrics", &[("authorization", &right)], None).text();
    let count = own.lines().find_map(|line| line.strip_prefix("narthex_receive_unauthorized_total "));
    assert_eq!(
        count.and_then(|count| count.parse().ok()),
        Some(2.0 * 11.0 + wrong.len() as f64),
        "{count:?}"
    );
    narthex.process.wait_for_line("a request without valid credentials was refused", SOON);
    // The lines of the destination are independent of this.
    let lines = || narthex.process.lines().iter().filter(|line| !line.contains("destination=")).count();
    let said = lines();
    for _ in 0..100 {
        assert_eq!(status("POST", "/metrics/job/stranger", Some("Bearer guess")), 401);
    }
    assert_eq!(lines(), said, "{}", narthex.process.tail());
    let refused = narthex.get("/");
    assert_eq!(refused.header("www-authenticate"), Some("Basic realm=\"narthex\""));
    let kept = narthex.request("GET", "/api/v1/metrics", &[("authorization", &right)], None).text();
    assert!(kept.contains("\"x\"") && !kept.contains("stranger"), "{kept}");
    // The right password does not authorise a page of another origin.
    let foreign = [("authorization", &*right), ("origin", "https://evil.example")];
    assert_eq!(narthex.request("POST", "/metrics/job/x", &foreign, Some(b"a 1\n")).status, 403);
}

#[test]
fn prometheus_web_configuration_file_is_accepted_and_reloaded() {
    let folder = tempfile::tempdir().unwrap();
    let text = |password: &str| {
        let headers = "http_server_config:\n  headers:\n    X-Frame-Options: deny\n";
        format!("{headers}basic_auth_users:\n  ann: {}\n", hash(password))
    };
    let web = write(&folder.path().join("web.yml"), &text("first"));
    let (narthex, _receiver) = start(folder.path(), "", &["--web.config.file", web.to_str().unwrap()]);
    let status = |password: &str| {
        let authorization = basic("ann", password);
        narthex.request("GET", "/metrics", &[("authorization", &authorization)], None).status
    };
    assert_eq!((status("first"), status("second")), (200, 401));
    assert_eq!(narthex.get("/-/ready").header("x-frame-options"), Some("deny"));
    write(&web, &text("second"));
    wait_until("the new password", SOON, || status("second") == 200);
    assert_eq!(status("first"), 401);
    // An invalid file changes nothing.
    write(&web, "basic_auth_users: [");
    narthex.process.wait_for_line("can't be used: the old ones stay", SOON);
    assert_eq!((status("second"), status("first")), (200, 401));
}

const TLS12: &[&SupportedProtocolVersion] = &[&rustls::version::TLS12];
const TLS13: &[&SupportedProtocolVersion] = &[&rustls::version::TLS13];
const TLS: &str = "receive:\n  tls:\n    cert_file: server.pem\n    key_file: server.key\n";

#[test]
fn tls_uses_configured_versions_and_refuses_plain_http() {
    let authority = Authority::new();
    let folder = folder(&authority);
    let (narthex, _receiver) = start(folder.path(), TLS, &[]);
    let port = port(&narthex);
    assert!(narthex.url().starts_with("https://"), "{}", narthex.url());
    let mut client = Client::trusting(&authority);
    assert_eq!(client.get(port, "/metrics"), Ok(200));
    assert!(client.request(port, "POST /metrics/job/x", "a 1\n").unwrap().starts_with("HTTP/1.1 200"));
    client.versions = TLS12;
    assert_eq!(client.get(port, "/metrics"), Ok(200));
    let stranger = Client::trusting(&Authority::new());
    assert!(stranger.get(port, "/metrics").is_err());

    let mut plain = TcpStream::connect(("127.0.0.1", port)).unwrap();
    plain.write_all(b"GET /-/healthy HTTP/1.1\r\nhost: localhost\r\n\r\n").unwrap();
    let mut answer = String::new();
    plain.read_to_string(&mut answer).unwrap();
    assert!(answer.starts_with("HTTP/1.1 400") && answer.contains("https://"), "{answer}");

    let (narthex, _receiver) = start(folder.path(), &format!("{TLS}    min_version: TLS13\n"), &[]);
    let port = self::port(&narthex);
    assert!(client.get(port, "/metrics").is_err(), "1.2 is refused");
    client.versions = TLS13;
    assert_eq!(client.get(port, "/metrics"), Ok(200));
}

#[test]
fn a_renewed_certificate_is_used_without_a_restart() {
    let (old, new) = (Authority::new(), Authority::new());
    let folder = folder(&old);
    let (narthex, _receiver) = start(folder.path(), TLS, &[]);
    let port = port(&narthex);
    let renewed = new.sign(&["localhost"]);
    let client = Client::trusting(&new);
    assert!(client.get(port, "/-/ready").is_err());
    // Only half of it: certificate and key don't match, and the old pair stays.
    write(&folder.path().join("server.pem"), &renewed.certificate);
    narthex.process.wait_for_line("can't be used: the old ones stay", SOON);
    assert_eq!(Client::trusting(&old).get(port, "/-/ready"), Ok(200));
    write(&folder.path().join("server.key"), &renewed.key);
    wait_until("the new certificate", SOON, || client.get(port, "/-/ready") == Ok(200));
}

#[test]
fn clients_need_certificates_if_configured() {
    let (authority, other) = (Authority::new(), Authority::new());
    let folder = folder(&authority);
    let mut client = Client::trusting(&authority);
    for (mode, without) in [("RequireAndVerifyClientCert", false), ("VerifyClientCertIfGiven", true)] {
        let text = format!("{TLS}    client_auth_type: {mode}\n    client_ca_file: ca.pem\n");
        let (narthex, _receiver) = start(folder.path(), &text, &[]);
        let port = port(&narthex);
        client.own = Some(authority.sign(&["till-7"]));
        assert_eq!(client.get(port, "/metrics"), Ok(200), "{mode}");
        client.own = Some(other.sign(&["till-7"]));
        assert!(client.get(port, "/metrics").is_err(), "{mode}");
        client.own = None;
        assert_eq!(client.get(port, "/metrics").is_ok(), without, "{mode}");
    }
}

#[test]
fn an_address_beyond_loopback_needs_authentication_or_consent() {
    let authority = Authority::new();
    let folder = folder(&authority);
    let file = |name: &str, text: &str| {
        let to = "remote_write:\n  - url: http://127.0.0.1:1/api/v1/write\n";
        write(&folder.path().join(name), &format!("{to}{text}")).to_str().unwrap().to_string()
    };
    let tls = file("tls.yml", TLS);
    let optional = "    client_auth_type: VerifyClientCertIfGiven\n    client_ca_file: ca.pem\n";
    let optional = file("optional.yml", &format!("{TLS}{optional}"));
    let certified = "    client_auth_type: RequireAndVerifyClientCert\n    client_ca_file: ca.pem\n";
    let certified = file("certified.yml", &format!("{TLS}{certified}"));
    let bearer = file("bearer.yml", "receive:\n  bearer:\n    token: t\n");
    let data = folder.path().join("data");
    // An address for documentation, which no machine has: with accepted settings the start ends with 1 because of it.
    let common = ["--listen", "192.0.2.1:9091", "--data", data.to_str().unwrap(), "--collect", "none"];
    let run = |more: &[&str]| end(&[&["run"], &common[..], more].concat());
    let to = ["--to", "http://127.0.0.1:1"];
    for refused in [&to[..], &["--config", &tls], &["--config", &optional]] {
        let (code, text) = run(refused);
        assert_eq!(code, Some(2), "{refused:?}: {text}");
        assert!(text.contains("192.0.2.1:9091") && text.contains("--allow-unauthenticated"), "{text}");
    }
    let allowed = [&to[..], &["--allow-unauthenticated"]].concat();
    for let_through in [&allowed[..], &["--config", &certified], &["--config", &bearer]] {
        let (code, text) = run(let_through);
        assert_eq!(code, Some(1), "{let_through:?}: {text}");
        assert!(text.contains("can't listen on 192.0.2.1:9091"), "{text}");
    }
    for command in ["sink", "demo"] {
        let (code, text) = end(&[command, "--listen", "0.0.0.0:0"]);
        assert!(code == Some(2) && text.contains("--allow-unauthenticated"), "{command}: {text}");
        let (code, text) = end(&[command, "--listen", "192.0.2.1:9091", "--allow-unauthenticated"]);
        assert!(code == Some(1) && text.contains("can't listen"), "{command}: {text}");
    }
}

#[test]
fn settings_without_protection_are_refused_at_the_start() {
    let authority = Authority::new();
    let folder = folder(&authority);
    write(&folder.path().join("other.key"), &authority.sign(&["x"]).key);
    write(&folder.path().join("empty"), "\n");
    let check = |text: &str| {
        let to = "remote_write:\n  - url: http://127.0.0.1:1/api/v1/write\n";
        end(&["check", write(&folder.path().join("n.yml"), &format!("{to}{text}")).to_str().unwrap()])
    };
    for (text, words) in [
        ("receive:\n  tls:\n    cert_file: server.pem\n", "n.yml:5:5: receive.tls: key_file is missing"),
        (
            "receive:\n  tls:\n    cert_file: gone\n    key_file: server.key\n",
            "n.yml:5:16: receive.tls.cert_file: ",
        ),
        (
            "receive:\n  tls:\n    cert_file: empty\n    key_file: server.key\n",
            "there is no certificate in PEM",
        ),
        (
            "receive:\n  tls:\n    cert_file: server.pem\n    key_file: ca.pem\n",
            "there is no private key in PEM",
        ),
        ("receive:\n  tls:\n    cert_file: server.pem\n    key_file: other.key\n", "TLS: "),
        ("receive:\n  basic_auth: {}\n", "receive.basic_auth: there are no users"),
        ("receive:\n  basic_auth:\n    users:\n      ann: hunter2\n", "\"ann\" is not a bcrypt hash"),
        ("receive:\n  basic_auth:\n    users:\n      ann: [hunter2]\n", "receive.basic_auth.users.ann"),
        ("receive:\n  bearer: {}\n", "receive.bearer: give token_file"),
        ("receive:\n  bearer:\n    token: hunter2\n    token_file: x\n", "exclude each other"),
        ("receive:\n  bearer:\n    token: {a: hunter2}\n", "receive.bearer.token"),
        ("receive:\n  bearer:\n    token_file: empty\n", "n.yml:5:17: receive.bearer.token_file: "),
        ("receive:\n  bearer:\n    token_file: gone\n", "n.yml:5:17: receive.bearer.token_file: "),
        ("receive:\n  bearer:\n    tokn: hunter2\n", "did you mean \"token\"?"),
    ] {
        let (code, said) = check(text);
        assert_eq!(code, Some(2), "{text}: {said}");
        assert!(said.contains(words), "{text}: {said}");
        assert!(!said.contains("hunter2"), "{text}: {said}");
    }
    let (code, said) = check(TLS);
    assert_eq!(code, Some(0), "{said}");
    let web = write(&folder.path().join("web.yml"), "basic_auth_users:\n  ann: hunter2\n");
    let run = ["run", "--to", "http://127.0.0.1:1", "--web.config.file", web.to_str().unwrap()];
    let (code, said) = end(&run);
    assert!(code == Some(2) && said.contains("web.yml:2:") && !said.contains("hunter2"), "{said}");
}

#[test]
fn no_page_and_no_log_shows_a_secret() {
    let folder = tempfile::tempdir().unwrap();
    let hashed = hash("pa55word-right");
    let receive = format!(
        "receive:\n  basic_auth:\n    users:\n      ann: {hashed}\n  bearer:\n    token: t0ken-secret\n"
    );
    let (narthex, _receiver) = start(folder.path(), &receive, &["--log", "trace"]);
    let right = basic("ann", "pa55word-right");
    let mut said = String::new();
    for authorization in
        [&*right, &*basic("ann", "pa55word-wrong"), "Bearer t0ken-secret", "Bearer t0ken-wrong"]
    {
        for path in ["/", "/metrics", "/api/v1/status", "/api/v1/status/remote_write", "/api/v1/metrics"] {
            said += &narthex.request("GET", path, &[("authorization", authorization)], None).text();
        }
        let pushed = [("authorization", authorization)];
        said += &narthex.request("POST", "/metrics/job/x", &pushed, Some(b"wrong {\n")).text();
        said += &narthex.request("POST", "/metrics/job/x", &pushed, Some(b"a 1\n")).text();
    }
    narthex.process.terminate(SOON);
    said += &narthex.process.lines().join("\n");
    assert!(said.contains("narthex_build_info") && said.contains("ended"), "{said}");
    for secret in [&*hashed, "pa55word", "t0ken", right.trim_start_matches("Basic ")] {
        assert!(!said.contains(secret), "{secret} is shown");
    }
}

#[test]
fn all_groups_are_deleted_only_if_enabled() {
    let receiver = FakeReceiver::start();
    let url = receiver.url();
    for (flags, wiped) in [(&[][..], false), (&["--enable-admin"][..], true)] {
        let narthex = Narthex::start(PROGRAM, &[&["--to", &url, "--collect", "none"], flags].concat());
        assert_eq!(narthex.post("/metrics/job/x", &[], b"a 1\n").status, 200);
        let status = narthex.request("PUT", "/api/v1/admin/wipe", &[], Some(b"")).status;
        assert_eq!(status, if wiped { 202 } else { 404 });
        assert_eq!(narthex.metric("narthex_groups"), Some(if wiped { 0.0 } else { 1.0 }));
    }
}

#[test]
fn dns_rebinding_reads_nothing() {
    let folder = tempfile::tempdir().unwrap();
    let receive = "receive:\n  allowed_hosts: [gateway.example]\n";
    let (narthex, _receiver) = start(folder.path(), receive, &["--allowed-host", "b.example,c.example"]);
    assert_eq!(narthex.post("/metrics/job/secret", &[("host", "any.example")], b"a 1\n").status, 200);
    let get = |path: &str, host: &str| narthex.request("GET", path, &[("host", host)], None);
    let paths = ["/", "/metrics", "/api/v1/metrics", "/api/v1/status", "/api/v1/status/remote_write", "/x"];
    for path in paths {
        let refused = get(path, "evil.example:9091");
        assert_eq!(refused.status, 403, "{path}");
        let text = refused.text();
        assert!(text.contains("--allowed-host evil.example") && !text.contains("secret"), "{path}: {text}");
        for host in ["127.0.0.1", "localhost:9091", "gateway.example:9091", "b.example", "c.example"] {
            assert_ne!(get(path, host).status, 403, "{path} by {host}");
        }
    }
    for path in ["/-/healthy", "/-/ready"] {
        assert_eq!(get(path, "evil.example").status, 200, "{path}");
    }
    let wrong = write(
        &folder.path().join("w.yml"),
        "remote_write:\n  - url: http://127.0.0.1:1/api/v1/write\nreceive:\n  allowed_hosts: [\"https://a.example/\"]\n",
    );
    let (code, said) = end(&["check", wrong.to_str().unwrap()]);
    assert!(code == Some(2) && said.contains("receive.allowed_hosts[0]"), "{said}");
    assert!(said.contains("w.yml:4:") && said.contains("as in a URL"), "{said}");
}

#[test]
fn the_page_is_read_in_a_browser_with_user_and_password() {
    let Some(program) = Chromium::find() else { return };
    let folder = tempfile::tempdir().unwrap();
    let receive = format!("receive:\n  basic_auth:\n    users:\n      ann: {}\n", hash("hunter2"));
    let (narthex, _receiver) = start(folder.path(), &receive, &[]);
    let browser = Chromium::start(&program);
    // As in links. Credentials that are typed into the browser's own dialog have the same effect.
    let page = browser.open(&format!("{}/", narthex.url().replace("://", "://ann:hunter2@")));
    page.wait_for("document.querySelector('#state').className === 'ok'", SOON);
    assert!(!page.html().contains("hunter2"));

    // The button of the page deletes a group with the user's password; a client without it can't.
    let ann = basic("ann", "hunter2");
    let push = |body: &[u8]| narthex.post("/metrics/job/old", &[("authorization", &ann)], body).status;
    assert_eq!(push(b"a 1\n"), 200);
    assert_eq!(narthex.request("DELETE", "/metrics/job/old", &[], None).status, 401);
    page.wait_for("document.querySelectorAll('#group-list tbody tr').length === 1", SOON);
    page.click("#group-list tbody button");
    page.click("#group-list tbody button.sure");
    page.wait_for("document.querySelectorAll('#group-list tbody tr').length === 0", SOON);
    let left = narthex.request("GET", "/api/v1/metrics", &[("authorization", &ann)], None).json();
    assert_eq!(left["data"].as_array().map(Vec::len), Some(0), "{left}");
}

/// Each secret in narthex' configuration with a name for messages.
const SECRETS: [(&str, &str); 8] = [
    ("the password of a user", "s3cret-user-password"),
    ("a bearer token", "s3cret-door-token"),
    ("the password in a destination's URL", "s3cret-url-password"),
    ("a query parameter of a destination", "s3cret-query-token"),
    ("a destination's password", "s3cret-basic-password"),
    ("a header of a destination", "s3cret-header"),
    ("the token of another destination", "s3cret-destination-token"),
    ("what was guessed", "s3cret-guess"),
];

fn secret(what: &str) -> &'static str {
    SECRETS.iter().find(|(name, _)| *name == what).unwrap().1
}

/// The files in a folder with their contents.
fn files(folder: &Path) -> Vec<(String, Vec<u8>)> {
    let mut found = Vec::new();
    for entry in std::fs::read_dir(folder).unwrap() {
        let path = entry.unwrap().path();
        if path.is_dir() {
            found.extend(files(&path));
        } else {
            found.push((path.display().to_string(), std::fs::read(&path).unwrap()));
        }
    }
    found
}

/// One destination refuses everything for good, one is unreachable, and one accepts everything. Nothing that narthex
/// writes, shows or sends has a secret in it.
#[test]
fn no_output_contains_a_secret() {
    let folder = tempfile::tempdir().unwrap();
    let (refusing, taking) = (FakeReceiver::start(), FakeReceiver::start());
    let refusing_url = refusing.write_url().replace("http://", "");
    refusing.answer(|_| Answer::status(400).body("no"));
    let text = format!(
        "global: {{external_labels: {{site: here}}}}\n\
         remote_write:\n\
         - url: http://joe:{}@{refusing_url}?token={}\n  name: refusing\n  headers: {{X-Key: {}}}\n\
         - url: http://127.0.0.1:1/api/v1/write\n  basic_auth: {{username: joe, password: {}}}\n\
         - url: {}\n  name: taking\n  authorization: {{credentials: {}}}\n\
         log: {{max_size: 64MiB}}\n\
         receive:\n  basic_auth: {{users: {{ann: \"{}\"}}}}\n  bearer: {{token: {}}}\n",
        secret("the password in a destination's URL"),
        secret("a query parameter of a destination"),
        secret("a header of a destination"),
        secret("a destination's password"),
        taking.write_url(),
        secret("the token of another destination"),
        hash(secret("the password of a user")),
        secret("a bearer token"),
    );
    let file = write(&folder.path().join("narthex.yml"), &text);
    let data = folder.path().join("data");
    let arguments = ["--config", file.to_str().unwrap(), "--flush-deadline", "1s", "--log", "debug"];
    let narthex = Narthex::start_in(PROGRAM, "run", &data, &arguments);
    let right = basic("ann", secret("the password of a user"));
    let token = format!("Bearer {}", secret("a bearer token"));
    let ask = |method: &str, path: &str, authorization: &str, body: Option<&[u8]>| {
        narthex.request(method, path, &[("authorization", authorization)], body)
    };
    let mut shown: Vec<(String, Vec<u8>)> = Vec::new();
    for (authorization, status) in
        [(&*right, 200), (&*token, 200), (&*basic("ann", secret("what was guessed")), 401)]
    {
        let answer = ask("PUT", "/metrics/job/x", authorization, Some(b"pushed 1\n"));
        assert_eq!(answer.status, status);
        shown.push(("an answer".into(), answer.body));
    }
    wait_until("a delivery and a dead letter", SOON, || {
        !taking.requests().is_empty() && data.join("dead").exists() && !files(&data.join("dead")).is_empty()
    });
    wait_until("a failure to reach one", SOON, || {
        narthex.process.lines().iter().any(|line| line.contains("127.0.0.1:1"))
    });
    for path in [
        "/",
        "/metrics",
        "/api/v1/status/remote_write",
        "/api/v1/status/groups",
        "/api/v1/status",
        "/api/v1/metrics",
    ] {
        let answer = ask("GET", path, &right, None);
        assert!(answer.is_success(), "{path}: {}", answer.status);
        shown.push((path.into(), answer.body));
    }
    let log = narthex.process.lines().join("\n").into_bytes();
    let _ = narthex.process.terminate(SOON);
    shown.push(("the log".into(), [log, narthex.process.lines().join("\n").into_bytes()].concat()));
    shown.extend(files(&data));
    shown.push(("what a destination was sent".into(), format!("{:?}", taking.arrivals()).into_bytes()));
    // The log is compressed.
    let dump = Command::new(PROGRAM).args(["wal", "dump"]).arg(&data).output().unwrap();
    assert!(String::from_utf8_lossy(&dump.stdout).contains("pushed"), "{dump:?}");
    shown.push(("the log on disk".into(), dump.stdout));
    // Errors of a configuration are shown without secrets too.
    let wrong = write(&folder.path().join("wrong.yml"), &text.replace("max_size: 64MiB", "max_size: 1"));
    let output = Command::new(PROGRAM).args(["check", wrong.to_str().unwrap()]).output().unwrap();
    shown.push(("an error of the configuration".into(), [output.stdout, output.stderr].concat()));
    for (place, bytes) in &shown {
        for (what, secret) in SECRETS {
            let there = bytes.windows(secret.len()).any(|window| window == secret.as_bytes());
            assert!(!there, "{what} is in {place}: {}", String::from_utf8_lossy(bytes));
        }
    }
}
