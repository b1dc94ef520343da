//! The static program in a root directory with nothing else: host metrics, TLS, and names in `/etc/hosts` and from a
//! name server.

use crate::name_server;
use crate::root::Root;
use rcgen::{BasicConstraints, CertificateParams, CertifiedIssuer, DnType, IsCa, KeyPair};
use std::path::Path;
use std::process::Command;
use support::narthex::listening_url;
use support::process::free_port;
use support::{Process, SOON, wait_for};

const IN_HOSTS: &str = "in-hosts.example";
const IN_DNS: &str = "in-dns.example";

/// Writes a certificate authority and a certificate that it signed for both names. Returns the authority in PEM.
fn certificates(folder: &Path) -> String {
    let mut parameters = CertificateParams::new(Vec::new()).unwrap();
    // OpenSSL distinguishes the two certificates by their names.
    parameters.distinguished_name.push(DnType::CommonName, "authority");
    parameters.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
    let authority = CertifiedIssuer::self_signed(parameters, KeyPair::generate().unwrap()).unwrap();
    let key = KeyPair::generate().unwrap();
    let names = [IN_HOSTS, IN_DNS, "localhost"].map(String::from).to_vec();
    let certificate = CertificateParams::new(names).unwrap().signed_by(&key, &authority).unwrap();
    std::fs::write(folder.join("server.pem"), certificate.pem()).unwrap();
    std::fs::write(folder.join("server.key"), key.serialize_pem()).unwrap();
    std::fs::write(folder.join("ca.pem"), authority.pem()).unwrap();
    authority.pem()
}

#[test]
fn the_static_program_needs_nothing_but_itself_and_certificates() {
    let (Some(peers), Some(root)) = (support::peers(), Root::empty()) else { return };
    let Ok(program) = std::env::var("NARTHEX_STATIC_PROGRAM") else {
        support::peers::skip("NARTHEX_REQUIRE_STATIC", "NARTHEX_STATIC_PROGRAM names no static program");
        return;
    };
    let folder = tempfile::tempdir().unwrap();
    let authority = certificates(folder.path());
    let web = "tls_server_config:\n  cert_file: server.pem\n  key_file: server.key\n";
    std::fs::write(folder.path().join("web.yml"), web).unwrap();
    std::fs::write(folder.path().join("prometheus.yml"), "").unwrap();
    let port = free_port();
    let at = |name: &str| folder.path().join(name).display().to_string();
    let _prometheus = Process::start(
        &peers.prometheus,
        [
            format!("--config.file={}", at("prometheus.yml")),
            format!("--storage.tsdb.path={}", at("data")),
            format!("--web.config.file={}", at("web.yml")),
            format!("--web.listen-address=127.0.0.1:{port}"),
            "--web.enable-remote-write-receiver".into(),
        ],
    );

    root.write("/etc/ssl/certs/ca-certificates.crt", &authority);
    root.write("/etc/hosts", &format!("127.0.0.1 {IN_HOSTS}\n"));
    root.write("/etc/resolv.conf", &format!("nameserver {}\n", name_server::start(IN_DNS)));
    // Services whose shared libraries are missing, as on a machine with another glibc.
    root.write("/etc/nsswitch.conf", "hosts: mymachines resolve [!UNAVAIL=return] files myhostname dns\n");
    let destination = |host: &str| {
        format!(
            "- url: https://{host}:{port}/api/v1/write\n  name: {host}\n  write_relabel_configs:\n  \
             - target_label: via\n    replacement: {host}\n"
        )
    };
    let destinations = destination(IN_HOSTS) + &destination(IN_DNS);
    root.write(
        "/narthex.yml",
        &format!("remote_write:\n{destinations}collect:\n  host:\n    interval: 1s\n"),
    );
    std::fs::copy(&program, root.path("/narthex")).unwrap();
    let mut command =
        vec!["/narthex", "run", "--config", "/narthex.yml", "--data", "/data", "--listen", "127.0.0.1:0"];
    // The program is for another processor.
    if let Ok(emulator) = std::env::var("NARTHEX_EMULATOR") {
        std::fs::copy(emulator, root.path("/emulator")).unwrap();
        command.insert(0, "/emulator");
    }
    let narthex = root.start("0:0", &[], &command);
    listening_url(&narthex);
    for host in [IN_HOSTS, IN_DNS] {
        let url = format!("https://localhost:{port}/api/v1/query");
        let query = format!("query=node_uname_info{{via=\"{host}\"}}");
        wait_for(&format!("the metrics by {host}"), SOON, || {
            let command =
                ["--silent", "--show-error", "--cacert", &at("ca.pem"), "--data-urlencode", &query, &url];
            let answer = Command::new("curl").args(command).output().unwrap();
            let answer = String::from_utf8_lossy(&[answer.stdout, answer.stderr].concat()).into_owned();
            if answer.contains("\"release\"") { Ok(()) } else { Err(format!("{answer}{}", narthex.tail())) }
        });
    }
}
