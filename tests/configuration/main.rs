//! An error in a configuration is reported so that it can be fixed: with file, line, column, key, the text of the line,
//! and the correction. It never contains a secret.
#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::indexing_slicing,
    reason = "a panic is how a test reports"
)]

mod check;

use narthex::config::{Config, parse};
use std::path::Path;
use std::process::Command;
use std::time::Duration;
use support::{Answer, FakeReceiver, Narthex, SOON, wait_until};

const PROGRAM: &str = env!("CARGO_BIN_EXE_narthex");

fn lookup(name: &str) -> Option<String> {
    match name {
        "SITE" => Some("lyon".into()),
        "SIZE" => Some("20MiB".into()),
        "WRONG" => Some("hunter2".into()),
        _ => None,
    }
}

fn read(text: &str) -> (Config, Vec<String>) {
    parse("n.yml", Path::new("conf"), text, &lookup).unwrap_or_else(|error| panic!("{error}"))
}

#[track_caller]
fn wrong(text: &str) -> String {
    match parse("n.yml", Path::new("conf"), text, &lookup) {
        Ok(_) => panic!("accepted: {text}"),
        Err(error) => error.to_string(),
    }
}

#[test]
fn external_labels_may_have_any_name_that_prometheus_accepts() {
    let (config, _) =
        read("global:\n  external_labels: {__replica__: a, a-b: x, a.b: y}\nremote_write: []\n");
    let names: Vec<&str> = config.external_labels.keys().map(String::as_str).collect();
    assert_eq!(names, ["__replica__", "a-b", "a.b"]);
}

#[test]
fn labeldrop_without_a_regex_gets_a_hint() {
    let rules = "write_relabel_configs: [{action: keep}, {action: LabelDrop}]";
    let (_, warnings) = read(&format!("remote_write:\n  - url: http://h:9090/api/v1/write\n    {rules}\n"));
    assert_eq!(warnings.len(), 1, "{warnings:?}");
    assert!(
        warnings[0].contains("remote_write[0].write_relabel_configs[1]: action labeldrop"),
        "{warnings:?}"
    );
}

/// The places and keys of all errors.
fn places(text: &str) -> Vec<String> {
    let is_first = |line: &&str| line.starts_with("n.yml:");
    wrong(text)
        .lines()
        .filter(is_first)
        .map(|line| line.split(": ").take(2).collect::<Vec<_>>().join(": "))
        .collect()
}

const DESTINATION: &str = "remote_write:\n  - url: http://h:9090/api/v1/write\n";

#[test]
fn a_file_with_all_sections_is_accepted() {
    let (config, warnings) = read(
        "global:\n  external_labels: {site: '${SITE}', raw: '$$1'}\n\
         remote_write:\n  - url: http://h:9090/api/v1/write\n    name: a\n    queue_config: {max_shards: 3}\n\
         log:\n  max_size: ${SIZE}\n  max_age: 7d\n  when_full: refuse\n  durability: os\n  compression: zstd\n\
         send: {max_in_memory: 5MiB}\n\
         collect:\n  host: {interval: 30s, collectors: [cpu, meminfo]}\n  self: false\n\
         receive:\n  pushgateway: {interval: 60s, ttl: 1d, expose: true}\n",
    );
    assert_eq!(warnings, Vec::<String>::new());
    assert_eq!(config.external_labels["site"], "lyon");
    assert_eq!(config.external_labels["raw"], "$1");
    assert_eq!(config.destinations[0].queue_config.max_shards, 3);
    assert_eq!(config.log.max_size, Some(narthex::config::size::Size::Bytes(20 << 20)));
    assert_eq!(config.log.max_age, Some(Duration::from_secs(7 * 86_400)));
    assert_eq!(config.log.when_full, storage::WhenFull::Refuse);
    assert_eq!(config.log.durability, wal::Durability::Os);
    assert_eq!(config.log.compression, wal::Compression::Zstd);
    assert_eq!(config.max_in_memory, 5 << 20);
    assert_eq!((config.collect.host.to_string(), config.collect.own), ("cpu,meminfo".into(), false));
    assert_eq!(config.receive.pushgateway.groups.ttl, Some(Duration::from_secs(86_400)));
}

#[test]
fn a_host_root_mounted_elsewhere_is_collected_from_there() {
    let folder = tempfile::tempdir().unwrap();
    std::fs::create_dir_all(folder.path().join("machine/proc")).unwrap();
    std::fs::write(folder.path().join("machine/proc/stat"), "btime 1700000000\n").unwrap();
    std::fs::write(folder.path().join("machine/proc/loadavg"), "42.5 1 1 1/1 1\n").unwrap();
    let file = support::narthex::config(
        folder.path(),
        "collect: {host: {root: machine, collectors: [loadavg]}, self: false}\n",
    );
    let receiver = FakeReceiver::start();
    let _narthex = Narthex::start(PROGRAM, &["--config", &file, "--to", &receiver.write_url()]);
    wait_until("its load to arrive", SOON, || {
        let arrivals = receiver.arrivals();
        let load = arrivals.iter().find(|(labels, _)| labels["__name__"] == "node_load1");
        load.is_some_and(|(_, points)| points[0].1 == 42.5)
    });
}

#[test]
fn host_metrics_are_collected_only_if_configured() {
    assert!(read(DESTINATION).0.collect.host.is_empty());
    assert!(!read(&format!("{DESTINATION}collect: {{}}\n")).0.collect.host.is_empty());
    assert!(!read(&format!("{DESTINATION}collect:\n")).0.collect.host.is_empty());
    assert!(
        read(&format!("{DESTINATION}collect: {{host: {{collectors: none}}}}\n")).0.collect.host.is_empty()
    );
}

#[test]
fn sections_for_a_server_are_accepted_with_a_warning_each() {
    let text = format!(
        "global: {{evaluation_interval: 30s}}\nrule_files: [a.yml]\nalerting: {{alertmanagers: []}}\n\
         storage: {{tsdb: {{}}}}\n{DESTINATION}"
    );
    let (_, warnings) = read(&text);
    assert_eq!(
        warnings,
        [
            "n.yml: rule_files has no effect: rules are evaluated by the server that narthex pushes to",
            "n.yml: alerting has no effect: alerts are sent by the server that narthex pushes to",
            "n.yml: storage has no effect: storage is the business of the server that narthex pushes to; \
             narthex' own log is set in `log`",
            "n.yml: global.evaluation_interval has no effect: narthex evaluates no rules",
        ]
    );
}

#[test]
fn unsupported_settings_of_prometheus_are_named() {
    assert_eq!(
        wrong(&format!("{DESTINATION}scrape_configs:\n  - job_name: x\n    ec2_sd_configs: []\n")),
        "n.yml:5:5: scrape_configs[0].ec2_sd_configs: narthex does not find targets in this way: use \
         static_configs, file_sd_configs or http_sd_configs\n  5 |     ec2_sd_configs: …\n    |     ^"
    );
    let error = wrong(&format!("{DESTINATION}    azuread: {{certificate: {{}}}}\n"));
    assert!(error.starts_with("n.yml:3:"), "{error}");
    assert!(
        error.contains("remote_write[0].azuread.certificate: narthex gets Azure's tokens with"),
        "{error}"
    );
    let error = wrong(&format!("{DESTINATION}    azuread: {{cloud: AzureMoon}}\n"));
    assert!(error.contains("what can stand here: AzurePublic, AzureChina, AzureGovernment"), "{error}");
}

#[test]
fn the_error_for_an_unknown_key_suggests_a_similar_one() {
    assert_eq!(
        wrong("remote_write:\n  - url: http://h/x\n    queue_config:\n      capcity: 100\n"),
        "n.yml:4:7: remote_write[0].queue_config.capcity: unknown key \"capcity\"\n  \
         4 |       capcity: …\n    |       ^\n  did you mean \"capacity\"?"
    );
    assert_eq!(
        wrong(&format!("{DESTINATION}log: {{colour: red}}\n")),
        "n.yml:3:7: log.colour: unknown key \"colour\"\n  3 | log: {colour: …\n    |       ^\n  \
         the keys here are: max_size, max_age, when_full, durability, compression"
    );
}

#[test]
fn the_error_for_a_wrong_value_names_valid_ones() {
    for (section, want) in [
        (
            "log: {max_size: lots}",
            "n.yml:3:17: log.max_size: \"lots\" is not a size: write a number and a unit, such as 10GiB, \
             512MiB or 10%\n  3 | log: {max_size: lots}\n    |                 ^",
        ),
        (
            "log: {max_size: 1KiB}",
            "n.yml:3:17: log.max_size: too small: at least 8.00 MiB\n  3 | log: {max_size: 1KiB}\n    \
             |                 ^",
        ),
        (
            "log:\n  durability: fsink",
            "n.yml:4:15: log.durability: \"fsink\" is not a value that can stand here\n  4 |   durability: \
             fsink\n    |               ^\n  what can stand here: fsync, os",
        ),
        (
            "collect: {self: 7}",
            "n.yml:3:17: collect.self: expected true or false\n  3 | collect: {self: 7}\n    \
             |                 ^",
        ),
        (
            "collect: {host: {collectors: [cpus]}}",
            "n.yml:3:31: collect.host.collectors[0]: there is no collector \"cpus\" (is cpu meant?)",
        ),
        (
            "collect: {host: {root: /does/not/exist}}",
            "n.yml:3:24: collect.host.root: no proc/stat below /does/not/exist: give the folder",
        ),
        ("log: {max_age: soon}", "n.yml:3:16: log.max_age: \"soon\" is not a duration"),
        ("collect: {host: {interval: 5m}}", "n.yml:3:28: collect.host.interval: from 1s to 2m"),
        (
            "receive: {pushgateway: {interval: 5m}}",
            "n.yml:3:35: receive.pushgateway.interval: pushgateway.interval is 300s",
        ),
    ] {
        let error = wrong(&format!("{DESTINATION}{section}\n"));
        assert!(error.starts_with(want), "{error}\n--- wanted\n{want}");
    }
    assert_eq!(
        wrong("remote_write:\n  - name: a\n"),
        "n.yml:2:5: remote_write[0]: the key \"url\" is missing (or members, with shard_by)\n  2 |   - name: a\n    |     ^"
    );
    assert_eq!(
        wrong(&format!("{DESTINATION}    queue_config:\n      max_shards: 0\n")),
        "n.yml:4:19: remote_write[0].queue_config.max_shards: 0 would send nothing: at least 1\n  \
         4 |       max_shards: 0\n    |                   ^"
    );
    let header = wrong(&format!("{DESTINATION}    headers: {{Content-Type: text/plain}}\n"));
    assert!(
        header.starts_with("n.yml:3:14: remote_write[0].headers: content-type can't be set here"),
        "{header}"
    );
    let twice = format!("{DESTINATION}{}", DESTINATION.trim_start_matches("remote_write:\n"));
    assert!(wrong(&twice).contains("two destinations push the same to"), "{}", wrong(&twice));
}

#[test]
fn members_are_checked_and_reported_with_their_place() {
    let entry = |more: &str| {
        format!("remote_write:\n- name: c\n  members: [http://a:9090/x, http://b:9090/x]\n  {more}\n")
    };
    let (config, _) = read(&entry("shard_by: series\n  replicas: 2"));
    assert_eq!((config.destinations[0].members.len(), config.destinations[0].replicas), (2, Some(2)));
    for (more, want) in [
        ("replicas: 1", "n.yml:3:12: remote_write[0].members: say how they share: `shard_by: series`"),
        ("shard_by: lot", "n.yml:4:13: remote_write[0].shard_by: \"lot\" is not a value that can stand here"),
        (
            "shard_by: series\n  replicas: 3",
            "n.yml:5:13: remote_write[0].replicas: from 1 to the number of members, 2",
        ),
        (
            "shard_by: series\n  url: http://c/",
            "n.yml:5:8: remote_write[0].url: an entry has either a url or members",
        ),
    ] {
        let error = wrong(&entry(more));
        assert!(error.starts_with(want), "{error}\n--- wanted\n{want}");
    }
    let error = wrong("remote_write:\n- name: c\n  shard_by: series\n  members:\n  - http://me:pw@a/x\n");
    assert!(error.starts_with("n.yml:5:5: remote_write[0].members[0]: a member is known by"), "{error}");
    assert!(!error.contains("pw"), "{error}");
}

#[test]
fn relative_paths_are_relative_to_the_file() {
    let error = wrong(&format!("{DESTINATION}    basic_auth: {{username: me, password_file: pw}}\n"));
    assert!(error.starts_with("n.yml:3:47: remote_write[0].basic_auth.password_file: "), "{error}");
    assert!(error.contains("conf/pw"), "{error}");
}

#[test]
fn memory_for_waiting_samples_has_a_minimum() {
    assert_eq!(read(DESTINATION).0.max_in_memory, 32 << 20);
    let wrong = |value: &str| wrong(&format!("{DESTINATION}send: {{max_in_memory: {value}}}\n"));
    let share = wrong("10%");
    assert!(
        share.contains("send.max_in_memory: \"10%\" is not an amount of bytes: a share is not possible"),
        "{share}"
    );
    assert!(share.contains("such as 512KiB or 32MiB"), "{share}");
    assert!(
        wrong("1000KiB").contains("send.max_in_memory: too small: at least 1.00 MiB"),
        "{}",
        wrong("1000KiB")
    );
}

#[test]
fn invalid_yaml_is_reported_with_its_place() {
    assert_eq!(
        wrong("remote_write: [\n"),
        "n.yml:1:15: remote_write: not valid YAML: unclosed bracket '['\n  1 | remote_write: [\n    \
         |               ^"
    );
    assert!(
        wrong("remote_write:\n\t- url: x\n")
            .starts_with("n.yml:2:2: remote_write[0]: not valid YAML: tabs disallowed")
    );
}

#[test]
fn an_unset_variable_is_reported() {
    assert_eq!(
        wrong(&format!("{DESTINATION}log:\n  max_size: ${{NOPE}}\n")),
        "n.yml:4:13: log.max_size: environment variable NOPE is not set\n  4 |   max_size: ${NOPE}\n    |             ^"
    );
    let error = wrong(&format!("global:\n  external_labels:\n    site: ${{NOPE}}\n{DESTINATION}"));
    assert!(
        error.starts_with("n.yml:3:11: global.external_labels.site: environment variable NOPE is not set")
    );
}

#[test]
fn no_secret_is_ever_repeated() {
    for text in [
        "remote_write:\n  - url: ftp://me:hunter2@h/\n",
        "remote_write:\n  - url: http://me:hunter2@h/\n    colour: 1\n  - url: http://me:hunter2@i\n    x: 1\n",
        "remote_write:\n  - {url: http://h/, basic_auth: {username: me, password: hunter2}, colour: 1}\n",
        "remote_write:\n  - url: http://h/\n    basic_auth: {username: me, passwort: hunter2}\n",
        "remote_write:\n  - url: http://h/\n    pasword: hunter2\n",
        "remote_write:\n  - url: http://h/\n    tls_config: {key: hunter2, cert: 1, colour: 1}\n",
        "remote_write:\n  - url: http://h/\n    basic_auth: {username: me, password: [hunter2]}\n",
        "remote_write:\n  - url: http://h/\n    headers: {X-Token: [hunter2]}\n",
        "remote_write:\n  - url: http://h/\n    headers:\n      X-Key: \"hunter2\n",
        "remote_write:\n  - url: http://h/\n    authorization: {credentials: \"hunter2\n    x: y\n",
        "remote_write:\n  - url: http://h/\nlog:\n  max_size: ${WRONG}\n",
        "remote_write:\n  - url: http://h/\nlog:\n  durability: ${WRONG}\n",
        "remote_write:\n  - url: http://h/\nlog: {max_age: \"${WRONG}\"}\n",
    ] {
        let error = wrong(text);
        assert!(!error.contains("hunter2"), "{text}\n---\n{error}");
    }
}

#[test]
fn all_errors_are_reported_at_once_with_their_keys() {
    let text = "global:\n  external_labels: {site: '${NOPE}'}\n\
        remote_write:\n  - url: http://h:9090/api/v1/write\n    queue_config:\n      capcity: 100\n      max_shards: many\n  \
        - url: ftp://i/\n    nmae: b\n\
        log:\n  max_size: lots\n  durability: fsink\n\
        collect:\n  host:\n    interval: 5m\n\
        nonsense: 1\n";
    assert_eq!(
        places(text),
        [
            "n.yml:2:27: global.external_labels.site",
            "n.yml:6:7: remote_write[0].queue_config.capcity",
            "n.yml:7:19: remote_write[0].queue_config.max_shards",
            "n.yml:8:10: remote_write[1].url",
            "n.yml:9:5: remote_write[1].nmae",
            "n.yml:11:13: log.max_size",
            "n.yml:12:15: log.durability",
            "n.yml:15:15: collect.host.interval",
            "n.yml:16:1: nonsense",
        ],
        "{}",
        wrong(text)
    );
}

#[test]
fn the_number_of_reported_errors_is_limited() {
    let keys: String = (0..100).map(|number| format!("  nonsense_{number}: 1\n")).collect();
    assert_eq!(places(&format!("log:\n{keys}")).len(), narthex::config::read::MISTAKES_MAX);
}

#[test]
fn errors_of_syntax_have_a_hint() {
    for (text, hint) in [
        (
            "remote_write:\n  url: http://h:9090/api/v1/write\n",
            "put a dash before the first key of each entry: `- url: http://h:9090/api/v1/write`",
        ),
        (
            "remote_write:\n  - url: http://h:9090/api/v1/write\nmax_shards: 3\n",
            "\"max_shards\" is a key of `queue_config`: is it at the right depth?",
        ),
        (
            "remote_write:\n  - url: http://h:9090/api/v1/write\n   name: a\n",
            "check the indentation: this line begins in column 4",
        ),
        ("log:\n    max_size: 1GiB\n  max_age: 7d\n", "check the indentation: this line begins in column 3"),
        (
            "remote_write:\n  - url: http://h/w\n    basic_auth:\n    username: a\n",
            "\"username\" is a key of `basic_auth`: is it at the right depth?",
        ),
        (
            "remote_write:\n  - url: http://h/w\n    authorization:\n    credentials: a\n",
            "\"credentials\" is a key of `authorization`: is it at the right depth?",
        ),
        ("remote_write:\n  - url: http://h/w\n    ca_file: a\n", "\"ca_file\" is a key of `tls_config`"),
        (
            "remote_write:\n  - url: http://h/w\n    action: drop\n",
            "\"action\" is a key of `write_relabel_configs`",
        ),
        ("-url: http://h/w\n", "put a space after the dash: `- url: ...`, below `remote_write:`"),
        (
            "remote_write:\n-url: http://h/w\n",
            "put a space after the dash: `- url: ...`, below `remote_write:`",
        ),
        ("remote_write: {url: http://h/w}\n", "write a list, also of one entry: `remote_write: [{...}]`"),
        ("- url: http://h/w\n", "write the key of the list above it, such as `remote_write:`"),
    ] {
        let error = wrong(text);
        assert!(error.contains(hint), "{error}\n--- wanted\n{hint}");
    }
}

#[test]
fn a_url_without_a_path_gets_a_warning() {
    let (_, warnings) =
        read("remote_write:\n  - url: http://h:9090\n  - url: http://i/x\n  - url: https://j/\n");
    assert_eq!(
        warnings,
        [
            "n.yml: remote_write[0]: the URL http://h:9090/ has no path; receivers of remote write usually listen \
             at /api/v1/write, so write http://h:9090/api/v1/write",
            "n.yml: remote_write[2]: the URL https://j/ has no path; receivers of remote write usually listen at \
             /api/v1/write, so write https://j/api/v1/write",
        ]
    );
    let folder = tempfile::tempdir().unwrap();
    let receiver = FakeReceiver::start();
    receiver.answer(|_| Answer::status(405));
    let text = format!("remote_write: [{{url: '{}'}}]\n", receiver.url());
    let file = support::narthex::config(folder.path(), &text);
    let narthex = Narthex::start(PROGRAM, &["--config", &file, "--flush-deadline", "100ms"]);
    narthex.process.wait_for_line("has no path", SOON);
    let refused = narthex.process.wait_for_line("405", SOON);
    assert!(refused.contains("receivers of remote write usually listen at /api/v1/write"), "{refused}");
}

#[test]
fn a_file_without_collect_gets_a_hint() {
    let folder = tempfile::tempdir().unwrap();
    let file = support::narthex::config(folder.path(), DESTINATION);
    let output = Command::new(PROGRAM).args(["check", &file]).output().unwrap();
    let said = String::from_utf8(output.stderr).unwrap();
    assert!(
        said.contains("collecting nothing of this machine; add `collect:` to the configuration file"),
        "{said}"
    );
}

/// narthex accepts every pattern that promtool accepts.
#[test]
fn octal_escapes_in_patterns_are_accepted_as_by_prometheus() {
    let promtool = support::peers().map(|peers| peers.promtool);
    let folder = tempfile::tempdir().unwrap();
    for (pattern, valid) in [
        (r"'\101'", true),
        (r"'[\060-\071]+'", true),
        (r"'\0'", true),
        (r"'\12'", true),
        (r"'\1'", false),
        (r"'\8'", false),
        (r#""\0""#, true),
        (r#""\101""#, false),
        (r#""\x41""#, true),
    ] {
        let text = format!(
            "{DESTINATION}    write_relabel_configs:\n      - {{source_labels: [a], regex: {pattern}, action: drop}}\n"
        );
        let file = support::narthex::config(folder.path(), &text);
        if let Some(promtool) = &promtool {
            let output =
                Command::new(promtool).args(["check", "config", "--syntax-only", &file]).output().unwrap();
            assert_eq!(output.status.success(), valid, "promtool: {pattern}: {output:?}");
        }
        assert_eq!(parse("n.yml", Path::new("conf"), &text, &lookup).is_ok(), valid, "{pattern}");
    }
}
