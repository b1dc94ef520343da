//! `prometheus.yml` files as in Prometheus' documentation and examples. Each is accepted with the same meaning, or
//! refused with the name of the key that narthex does not support. Prometheus' own checker tests the same files.
#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::indexing_slicing,
    reason = "a panic is how a test reports"
)]

use http_client::tls::TlsVersion;
use narthex::config::{Config, load};
use remote::config::Message;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::Duration;

type Means = fn(&Config);

enum Expected {
    /// Accepted with this meaning, in addition to the common meaning of all accepted files.
    Accepted(Means),
    /// The same, but whether Prometheus' checker accepts the file depends on its build.
    AcceptedAtLeast(Means),
    /// Refused with this key. Prometheus' checker accepts the file.
    Refused(&'static str),
    /// Refused with this key. Prometheus' checker does not accept the file either.
    RefusedByBoth(&'static str),
}

use Expected::{Accepted, AcceptedAtLeast, Refused, RefusedByBoth};

const SECOND: Duration = Duration::from_secs(1);

fn seconds(number: u32) -> Duration {
    SECOND * number
}

const TABLE: [(&str, Expected); 24] = [
    ("agent_smallest", Accepted(agent_smallest)),
    ("agent_that_scrapes", Accepted(agent_that_scrapes)),
    ("every_key", Accepted(every_key)),
    ("tuned", Accepted(tuned)),
    ("relabelled", Accepted(relabelled)),
    ("two_destinations", Accepted(two_destinations)),
    ("hosted_basic", Accepted(hosted_basic)),
    ("token", Accepted(token)),
    ("amazon", Accepted(amazon)),
    ("amazon_keys", Accepted(amazon_keys)),
    ("proxied", Accepted(proxied)),
    ("more_headers", Accepted(more_headers)),
    ("certificates", Accepted(certificates)),
    ("second_version", Accepted(second_version)),
    ("of_a_server", Accepted(of_a_server)),
    ("of_azure", AcceptedAtLeast(of_azure)),
    ("of_google", AcceptedAtLeast(of_google)),
    ("with_otlp", Accepted(with_otlp)),
    ("with_tracing", Refused("tracing")),
    ("with_runtime", Refused("runtime")),
    ("with_scrape_files", Accepted(|config| assert_eq!(config.jobs, []))),
    ("by_socks", Accepted(by_socks)),
    ("without_scheme", Refused("remote_write[0].url")),
    ("two_schemes", RefusedByBoth("basic_auth and authorization exclude each other")),
];

fn with_otlp(config: &Config) {
    let promote = otlp::Promote::Only(["service.name".to_string()].into());
    assert_eq!(config.receive.otlp, otlp::Settings { promote, ..Default::default() });
}

fn agent_that_scrapes(config: &Config) {
    let job = &config.jobs[0];
    assert_eq!(
        (job.name.as_str(), job.interval, job.timeout),
        ("prometheus-agent", seconds(15), seconds(10))
    );
    assert_eq!(job.static_configs[0].targets, ["localhost:9095"]);
}

fn agent_smallest(config: &Config) {
    let one = &config.destinations[0];
    assert_eq!(one.url.to_string(), "http://localhost:9090/api/v1/write");
    assert_eq!((one.remote_timeout, one.follow_redirects, one.enable_http2), (seconds(30), true, false));
    // Intentional differences: data that Prometheus sends only if configured.
    assert_eq!((one.protobuf_message, one.send_exemplars, one.send_native_histograms), (None, true, true));
    assert!(one.queue_config.retry_on_http_429);
    let queue = &one.queue_config;
    assert_eq!((queue.capacity, queue.min_shards, queue.max_shards), (10_000, 1, 50));
    assert_eq!((queue.max_samples_per_send, queue.batch_send_deadline), (2000, seconds(1)));
    assert_eq!((queue.min_backoff, queue.max_backoff), (Duration::from_millis(30), seconds(5)));
    assert!(one.metadata_config.send && one.metadata_config.send_interval == seconds(60));
}

fn every_key(config: &Config) {
    let one = &config.destinations[0];
    let labels: Vec<_> = config.external_labels.iter().map(|(k, v)| (k.as_str(), v.as_str())).collect();
    assert_eq!(labels, [("monitor", "codelab"), ("region", "eu-west")]);
    assert_eq!(one.protobuf_message, Some(Message::V1));
    assert_eq!((one.name.as_deref(), one.headers["X-Scope-OrgID"].reveal()), (Some("all"), "tenant-1"));
    // Explicit settings apply, also if narthex has another default.
    assert_eq!((one.send_exemplars, one.send_native_histograms), (false, false));
    assert!(!one.queue_config.retry_on_http_429);
    // The file has Prometheus' deadline of 5 s; narthex has another default.
    let expected = remote::config::QueueConfig {
        retry_on_http_429: false,
        batch_send_deadline: seconds(5),
        deadline_is_set: true,
        ..Default::default()
    };
    assert_eq!(one.queue_config, expected, "the reference's defaults are the ones here");
    assert_eq!(one.metadata_config, remote::config::MetadataConfig::default());
}

fn tuned(config: &Config) {
    let (one, queue) = (&config.destinations[0], &config.destinations[0].queue_config);
    assert_eq!((one.remote_timeout, one.metadata_config.send), (seconds(90), false));
    assert_eq!((queue.capacity, queue.max_shards, queue.min_shards), (50_000, 30, 4));
    assert_eq!((queue.max_samples_per_send, queue.batch_send_deadline), (5000, seconds(60)));
    assert_eq!((queue.min_backoff, queue.max_backoff), (Duration::from_millis(100), seconds(3600)));
    assert_eq!((queue.retry_on_http_429, queue.sample_age_limit), (true, seconds(36 * 3600)));
}

/// The labels of a series after the rules; `None` if it is dropped.
fn relabelled_to(config: &Config, labels: &[(&str, &str)]) -> Option<Vec<(String, String)>> {
    use relabel::{Relabelled, Relabeller};
    let labels = model::Labels::from_pairs(labels.iter().copied());
    let mut relabeller = Relabeller::new(config.destinations[0].write_relabel_configs.clone());
    let mut bytes = Vec::new();
    let labels = match relabeller.apply(labels.as_ref(), &mut bytes) {
        Relabelled::Dropped => return None,
        Relabelled::Same => labels.as_ref(),
        Relabelled::Changed => model::LabelsRef::trusted(&bytes),
    };
    Some(labels.iter().map(|(name, value)| (name.into_owned(), value.into_owned())).collect())
}

fn relabelled(config: &Config) {
    let series = |name, instance| {
        let pairs = [("__name__", name), ("job", "API"), ("cluster", "c"), ("__replica__", "a"), instance];
        relabelled_to(config, &pairs)
    };
    assert_eq!(series("expensive_total", ("instance", "x")), None);
    let instances = ["one", "two", "three", "four", "five", "six", "seven", "eight"];
    let kept: Vec<_> =
        instances.iter().filter_map(|instance| series("cheap_total", ("instance", *instance))).collect();
    assert!(!kept.is_empty() && kept.len() < instances.len(), "one of four shards is kept: {kept:?}");
    for labels in kept {
        let get = |name: &str| labels.iter().find(|(own, _)| own == name).map(|(_, value)| value.as_str());
        assert_eq!((get("source"), get("__replica__")), (Some("c/a"), None));
        assert_eq!((get("shard"), get("job")), (Some("0"), Some("api")));
    }
}

fn two_destinations(config: &Config) {
    let [one, two] = &config.destinations[..] else { panic!("two") };
    let oauth2 = one.oauth2.as_ref().unwrap();
    assert_eq!((one.name.as_deref(), oauth2.client_id.as_str()), (Some("drop_expensive"), "123"));
    assert_eq!(oauth2.client_secret.as_ref().unwrap().reveal(), "456");
    assert_eq!(
        (oauth2.token_url.to_string(), &oauth2.scopes[..]),
        ("http://remote1/auth".into(), &["write".into()][..])
    );
    assert_eq!(oauth2.endpoint_params["audience"], "metrics");
    assert!(oauth2.tls_config.cert_file.as_ref().unwrap().is_absolute(), "relative to the file");
    assert!(two.tls_config.key_file.as_ref().unwrap().is_absolute());
    assert_eq!((two.name.as_deref(), two.headers["name"].reveal()), (Some("rw_tls"), "value"));
}

fn hosted_basic(config: &Config) {
    let basic = config.destinations[0].basic_auth.as_ref().unwrap();
    assert_eq!(basic.username.as_deref(), Some("12345"));
    assert!(basic.password_file.as_ref().unwrap().ends_with("password"));
}

fn token(config: &Config) {
    let [one, two, three] = &config.destinations[..] else { panic!("three") };
    assert!(one.authorization.as_ref().unwrap().credentials_file.as_ref().unwrap().is_absolute());
    let two = two.authorization.as_ref().unwrap();
    assert_eq!((two.scheme.as_deref(), two.credentials.as_ref().unwrap().reveal()), (Some("Token"), "abc"));
    assert!(three.bearer_token_file.as_ref().unwrap().is_absolute());
}

fn of_azure(config: &Config) {
    let azuread = config.destinations[0].azuread.as_ref().unwrap();
    let identity = azuread.managed_identity.as_ref().unwrap();
    assert_eq!(identity.client_id.as_deref(), Some("00000000-a12b-3cd4-e56f-000000000000"));
}

fn of_google(config: &Config) {
    let google = config.destinations[0].google_iam.as_ref().unwrap();
    assert!(google.credentials_file.as_ref().unwrap().is_absolute());
}

fn by_socks(config: &Config) {
    let proxy = config.destinations[0].proxy_url.as_ref().unwrap();
    assert_eq!(proxy.to_string(), "socks5://proxy.example:1080/");
}

fn amazon(config: &Config) {
    let one = &config.destinations[0];
    let sigv4 = one.sigv4.as_ref().unwrap();
    assert_eq!(sigv4.region.as_deref(), Some("us-east-1"));
    assert_eq!(sigv4.role_arn.as_deref(), Some("arn:aws:iam::123456789012:role/metrics"));
    assert_eq!(sigv4.external_id.as_deref(), Some("outside"));
    assert_eq!((one.queue_config.max_shards, one.queue_config.capacity), (200, 2500));
}

fn amazon_keys(config: &Config) {
    let [one, two] = &config.destinations[..] else { panic!("two") };
    let one = one.sigv4.as_ref().unwrap();
    assert_eq!(one.access_key.as_deref(), Some("AKIAIOSFODNN7EXAMPLE"));
    assert_eq!(one.secret_key.as_ref().unwrap().reveal(), "abc");
    assert_eq!(two.sigv4.as_ref().unwrap().profile.as_deref(), Some("metrics"));
}

fn proxied(config: &Config) {
    let [one, two] = &config.destinations[..] else { panic!("two") };
    let proxies = http_client::proxy::Proxies::new(&one.http().proxy, |_| None).unwrap();
    let way = |to: &str| proxies.way_to(&to.parse().unwrap()).map(ToString::to_string);
    assert_eq!(way("https://remote.example/write"), Some("http://proxy.example:3128/".into()));
    assert_eq!(way("http://10.1.1.1/"), None);
    assert_eq!(one.proxy_connect_header["Proxy-Authorization"][0].reveal(), "Basic abc");
    assert!(two.proxy_from_environment && two.enable_http2 && two.round_robin_dns);
}

fn more_headers(config: &Config) {
    let headers = &config.destinations[0].http_headers;
    assert_eq!(headers["X-Tenant"].values, ["one", "two"]);
    assert_eq!(headers["X-Key"].secrets[0].reveal(), "abc");
    assert!(headers["X-Token"].files[0].is_absolute());
}

fn certificates(config: &Config) {
    let tls = &config.destinations[0].tls_config;
    assert!(
        [&tls.ca_file, &tls.cert_file, &tls.key_file].iter().all(|file| file.as_ref().unwrap().is_absolute())
    );
    assert_eq!((tls.server_name.as_deref(), tls.insecure_skip_verify), (Some("other.example"), false));
    assert_eq!((tls.min_version, tls.max_version), (Some(TlsVersion::Tls12), Some(TlsVersion::Tls13)));
}

fn second_version(config: &Config) {
    assert_eq!(config.destinations[0].protobuf_message, Some(Message::V2));
}

fn of_a_server(config: &Config) {
    assert_eq!(config.external_labels["replica"], "1");
    assert_eq!(config.destinations[0].url.to_string(), "http://remote1/push");
}

/// A folder with the configuration files and the files that they refer to.
fn laid_out() -> (tempfile::TempDir, Vec<PathBuf>) {
    let dir = tempfile::tempdir().unwrap();
    let fixtures = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../tests/fixtures/prometheus");
    let mut files = Vec::new();
    for entry in std::fs::read_dir(fixtures).unwrap() {
        let from = entry.unwrap().path();
        if from.extension().is_none_or(|extension| extension != "yml") {
            continue;
        }
        let to = dir.path().join(from.file_name().unwrap());
        std::fs::copy(&from, &to).unwrap();
        files.push(to);
    }
    let made = rcgen::generate_simple_self_signed(vec!["other.example".to_string()]).unwrap();
    for (name, text) in [
        ("ca.pem", made.cert.pem()),
        ("cert.pem", made.cert.pem()),
        ("key.pem", made.signing_key.serialize_pem()),
        ("password", "abc\n".to_string()),
        ("token", "abc\n".to_string()),
        ("google.json", "{}\n".to_string()),
    ] {
        std::fs::write(dir.path().join(name), text).unwrap();
    }
    files.sort();
    (dir, files)
}

#[test]
fn files_of_prometheus_mean_the_same_or_are_refused_with_the_key() {
    let (dir, files) = laid_out();
    let names: Vec<_> = files.iter().map(|file| file.file_stem().unwrap().to_str().unwrap()).collect();
    let mut table: Vec<_> = TABLE.iter().map(|(name, _)| *name).collect();
    table.sort_unstable();
    assert_eq!(names, table, "each file is in the table");
    for (name, expected) in &TABLE {
        let read = load(&dir.path().join(format!("{name}.yml")), &|_| None);
        match (expected, read) {
            (Accepted(means) | AcceptedAtLeast(means), Ok((config, warnings))) => {
                println!("{name}: accepted, {} warnings", warnings.len());
                means(&config);
            }
            (Refused(key) | RefusedByBoth(key), Err(error)) => {
                let error = error.to_string();
                assert!(error.contains(key), "{name}: {error}");
                assert!(error.contains(&format!("{name}.yml:")), "it says where: {error}");
            }
            (Accepted(_) | AcceptedAtLeast(_), Err(error)) => panic!("{name}: {error}"),
            (_, Ok(_)) => panic!("{name} is accepted"),
        }
    }
}

#[test]
fn sections_of_a_server_are_ignored_with_a_warning_each() {
    let (dir, _) = laid_out();
    let (_, warnings) = load(&dir.path().join("of_a_server.yml"), &|_| None).unwrap();
    for key in [
        "rule_files",
        "alerting",
        "storage",
        "remote_read",
        "global.evaluation_interval",
        "global.query_log_file",
    ] {
        assert!(warnings.iter().any(|warning| warning.contains(&format!(": {key} has no effect"))), "{key}");
    }
    assert_eq!(warnings.len(), 6, "{warnings:?}");
}

#[test]
fn prometheus_own_checker_accepts_the_same_files() {
    let Some(peers) = support::peers() else { return };
    let (dir, _) = laid_out();
    for (name, expected) in &TABLE {
        let takes = |arguments: &[&str]| {
            let mut promtool = Command::new(&peers.promtool);
            promtool.args(["check", "config"]).args(arguments).arg(dir.path().join(format!("{name}.yml")));
            promtool.output().unwrap().status.success()
        };
        // Sections for a server are errors in agent mode, and vice versa.
        let taken = takes(&["--agent"]) || takes(&["--syntax-only"]);
        match expected {
            Accepted(_) | Refused(_) => assert!(taken, "{name}"),
            RefusedByBoth(_) => assert!(!taken, "{name}"),
            AcceptedAtLeast(_) => {}
        }
    }
}
