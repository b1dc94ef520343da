//! All mistakes of a file are reported at once, each at its key and line, and nothing else is reported.

use super::parse;
use std::path::Path;

/// A correct line, the same line with a mistake, and the key at which the mistake is reported. Lines without
/// a mistake are the context for the others.
const LINES: &[(&str, &str, &str)] = &[
    ("global:", "", ""),
    ("  external_labels:", "", ""),
    ("    site: paris", "    site: ${NOT_SET}", "global.external_labels.site"),
    ("remote_write:", "", ""),
    ("  - url: http://a:9090/api/v1/write", "  - url: ftp://a:9090/api/v1/write", "remote_write[0].url"),
    ("    name: first", "    nmae: first", "remote_write[0].nmae"),
    ("    queue_config:", "", ""),
    ("      capacity: 100", "      capacity: lots", "remote_write[0].queue_config.capacity"),
    ("      max_shards: 10", "      max_shards: 0", "remote_write[0].queue_config.max_shards"),
    ("    write_relabel_configs:", "", ""),
    (
        "      - {source_labels: [a], regex: b, action: drop}",
        "      - {source_labels: [a], regex: (, action: drop}",
        "remote_write[0].write_relabel_configs[0].regex",
    ),
    (
        "      - {source_labels: [a], regex: b, action: keep}",
        "      - {source_labels: [a], regex: b, action: kep}",
        "remote_write[0].write_relabel_configs[1].action",
    ),
    ("  - url: http://b:9090/api/v1/write", "  - http://b:9090/api/v1/write", "remote_write[1]"),
    ("  - url: http://c:9090/api/v1/write", "  - url: http://c:99999/api/v1/write", "remote_write[2].url"),
    ("    remote_timeout: 30s", "    remote_timeout: soon", "remote_write[2].remote_timeout"),
    ("    headers: {X-Scope-OrgID: a}", "    headers: {Host: a}", "remote_write[2].headers"),
    (
        "    basic_auth: {username: a, password: b}",
        "    basic_auth: {username: a, password_file: /does/not/exist}",
        "remote_write[2].basic_auth.password_file",
    ),
    ("log:", "", ""),
    ("  max_size: 1GiB", "  max_size: 1KiB", "log.max_size"),
    ("  durability: os", "  max_size: 2GiB", "log.max_size"),
    ("send: {max_in_memory: 32MiB}", "send: {max_in_memory: 10%}", "send.max_in_memory"),
    ("collect:", "", ""),
    (
        "  host: {collectors: [cpu, meminfo]}",
        "  host: {collectors: [cpu, memm]}",
        "collect.host.collectors[1]",
    ),
    ("  self: true", "  self: 7", "collect.self"),
    ("receive:", "", ""),
    ("  pushgateway: {max_groups: 5}", "  pushgateway: {max_groups: 0}", "receive.pushgateway.max_groups"),
    ("  bearer:", "", ""),
    ("    token: hunter2", "    token_file: /does/not/exist", "receive.bearer.token_file"),
];

/// The file with mistakes in the lines that `is_wrong` selects, and each mistake as `LINE: KEY`.
fn file(is_wrong: impl Fn(usize) -> bool) -> (String, Vec<String>) {
    let (mut text, mut wanted) = (String::new(), Vec::new());
    for (index, (right, wrong, key)) in LINES.iter().enumerate() {
        let is_wrong = !wrong.is_empty() && is_wrong(index);
        text.push_str(if is_wrong { wrong } else { right });
        text.push('\n');
        if is_wrong {
            wanted.push(format!("{}: {key}", index + 1));
        }
    }
    (text, wanted)
}

/// The mistakes of a file, each as `LINE: KEY`, and the text of all errors.
fn mistakes(text: &str) -> (Vec<String>, String) {
    match parse("n.yml", Path::new(""), text, &|_| None) {
        Ok(_) => (Vec::new(), String::new()),
        Err(errors) => {
            let line = |place: Option<(usize, usize)>| place.map_or(0, |(line, _)| line);
            let shown = errors.mistakes.iter().map(|one| format!("{}: {}", line(one.place), one.key));
            (shown.collect(), errors.to_string())
        }
    }
}

#[track_caller]
fn check(text: &str, wanted: &[&str]) -> String {
    let (found, said) = mistakes(text);
    assert_eq!(found, wanted, "{text}\n{said}");
    said
}

#[test]
fn all_mistakes_of_a_file_are_reported_and_nothing_else() {
    let (text, wanted) = file(|_| true);
    assert_eq!(wanted.len(), 19);
    let (found, said) = mistakes(&text);
    assert_eq!(found, wanted, "{said}");
    assert!(!said.contains("hunter2"));
    assert_eq!(mistakes(&file(|_| false).0).1, "");
}

#[test]
fn each_mistake_alone_is_one_error() {
    for index in 0..LINES.len() {
        let (text, wanted) = file(|other| other == index);
        let (found, said) = mistakes(&text);
        assert_eq!(found, wanted, "{text}\n{said}");
    }
}

#[test]
fn each_pair_of_mistakes_is_two_errors() {
    for first in 0..LINES.len() {
        for second in first + 1..LINES.len() {
            let (text, wanted) = file(|index| index == first || index == second);
            let (found, said) = mistakes(&text);
            assert_eq!(found, wanted, "{text}\n{said}");
        }
    }
}

#[test]
fn mistakes_in_the_settings_of_each_input_are_found() {
    check(
        "collect: {max_series: 0}\ninputs:\n  labels: {__site: boat}\n  max_series_per_metric: lots\nreceive:\n  \
         import:\n    metric_relabel_configs: [{regex: (, action: labeldrop}]\n  remote_write: {max_serie: 5}\n  \
         pushgateway: {labels: {\"\": a}}\n",
        &[
            "1: collect.max_series",
            "3: inputs.labels.__site",
            "4: inputs.max_series_per_metric",
            "7: receive.import.metric_relabel_configs[0].regex",
            "8: receive.remote_write.max_serie",
            "9: receive.pushgateway.labels.",
        ],
    );
}

#[test]
fn mistakes_beyond_a_missing_dash_are_found() {
    let said = check(
        "remote_write:\n  url: http://h/x\n  nmae: a\n  queue_config: {capacity: lots}\nlog: {max_size: lots}\n",
        &[
            "2: remote_write",
            "3: remote_write[0].nmae",
            "4: remote_write[0].queue_config.capacity",
            "5: log.max_size",
        ],
    );
    assert!(said.contains("put a dash before the first key of each entry: `- url: http://h/x`"), "{said}");
    // Only the second entry lacks the dash; the file is not valid YAML then.
    check(
        "remote_write:\n  - url: http://h/x\n  url: http://i/x\n  - {url: http://j/x, nmae: a}\nlog: {max_size: lots}\n",
        &["3: remote_write[0]", "4: remote_write[1].nmae", "5: log.max_size"],
    );
}

#[test]
fn a_section_that_is_not_yaml_does_not_hide_the_others() {
    check(
        "global:\n  external_labels: {a: \"b}\nremote_write:\n  - url: http://h/x\n    nmae: a\n  - url: [\n  - nmae: b\n    \
         url: http://i/x\nlog:\n  max_size: 1KiB\nsend: {\n",
        &[
            "2: global",
            "5: remote_write[0].nmae",
            "6: remote_write[1]",
            "7: remote_write[2].nmae",
            "10: log.max_size",
            "11: send",
        ],
    );
    // An anchor from another section is not a mistake, and does not hide any.
    check(
        "remote_write:\n  - &a {url: http://h/x, name: a}\nlog: [\nsend: {}\ncollect: {host: {interval: 5m}}\n",
        &["3: log", "5: collect.host.interval"],
    );
    check("global: {external_labels: &a {b: c}}\nlog: *a\nsend: [\n", &["2: log.b", "3: send"]);
    // It is not known which section the mistake is in.
    assert_eq!(mistakes("log: {}\n--- x\n...\n%\n").0.len(), 1);
}

#[test]
fn consequences_of_a_mistake_are_not_reported() {
    for (text, wanted) in [
        // Two URLs that can't be read are not the same destination.
        (
            "remote_write: [{url: ftp://h/}, {url: ftp://h/}]\n",
            &["1: remote_write[0].url", "1: remote_write[1].url"][..],
        ),
        // The intended key is not reported as missing.
        ("remote_write:\n  - urll: http://h/x\n", &["2: remote_write[0].urll"]),
        (
            "remote_write:\n  - name: a\n    queue_config: {url: http://h/x}\n",
            &["3: remote_write[0].queue_config.url"],
        ),
        // The value of a required key can't be read.
        (
            "remote_write:\n  - url: http://h/x\n    oauth2: {client_id: a, client_secret: b, token_url: ftp://h}\n",
            &["3: remote_write[0].oauth2.token_url"],
        ),
        (
            "remote_write:\n  - name: a\n    members: [http://h/x, ftp://h/x]\n    shard_by: series\n    replicas: 2\n",
            &["3: remote_write[0].members[1]"],
        ),
        (
            "remote_write:\n  - url: http://h/x\n    write_relabel_configs: [{action: kep, regex: (}]\n",
            &[
                "3: remote_write[0].write_relabel_configs[0].action",
                "3: remote_write[0].write_relabel_configs[0].regex",
            ],
        ),
        ("log: {max_size: 1GiB}\nlog: {max_size: 2GiB}\n", &["2: log"]),
        (
            "remote_write:\n  - {url: http://h/x, catch_up: newest_first, out_of_order_window: long}\n",
            &["2: remote_write[0].out_of_order_window"],
        ),
    ] {
        check(text, wanted);
    }
}

#[test]
fn each_of_several_missing_keys_is_reported() {
    check(
        "remote_write:\n  - url: http://h/x\n    oauth2: {client_secret: a}\n",
        &["3: remote_write[0].oauth2", "3: remote_write[0].oauth2"],
    );
}

#[test]
fn all_mistakes_within_the_credentials_of_a_destination_are_reported() {
    check(
        "remote_write:\n  - url: http://h/x\n    basic_auth:\n      username_file: /does/not/exist\n      password_file: /nor/this\n",
        &["4: remote_write[0].basic_auth.username_file", "5: remote_write[0].basic_auth.password_file"],
    );
    check(
        "remote_write:\n  - url: http://h/x\n    oauth2:\n      client_id: a\n      token_url: http://h/t\n      \
         client_secret_file: /does/not/exist\n      tls_config:\n        ca_file: /nor/this\n        cert_file: /or/this\n",
        &[
            "6: remote_write[0].oauth2.client_secret_file",
            "8: remote_write[0].oauth2.tls_config.ca_file",
            "9: remote_write[0].oauth2.tls_config.cert_file",
        ],
    );
    check(
        "remote_write:\n  - url: http://h/x\n    azuread:\n      oauth:\n        client_id: a\n        \
         client_secret: b\n        tenant_id: a b\n",
        &["5: remote_write[0].azuread.oauth.client_id", "7: remote_write[0].azuread.oauth.tenant_id"],
    );
    check(
        "remote_write:\n  - url: http://h/x\n    tls_config:\n      ca_file: /does/not/exist\n      server_name: a b\n",
        &["4: remote_write[0].tls_config.ca_file", "5: remote_write[0].tls_config.server_name"],
    );
}

#[test]
fn the_right_entry_is_named_after_an_unreadable_one() {
    let said = check(
        "remote_write:\n  - url: ftp://h/\n  - nonsense\n  - url: http://h/x\n    queue_config: {capacity: 0}\n  - url: http://i\n",
        &["2: remote_write[0].url", "3: remote_write[1]", "5: remote_write[2].queue_config.capacity"],
    );
    assert!(said.contains("warning: n.yml: remote_write[3]: the URL http://i/ has no path"), "{said}");
}

#[test]
fn equal_destinations_are_reported_at_the_later_ones() {
    check(
        "remote_write:\n  - url: http://h/x\n  - url: http://h/x\n  - {url: http://h/x, name: a}\n  - url: http://h/x\n",
        &["3: remote_write[1]", "5: remote_write[3]"],
    );
}

#[test]
fn more_shards_than_are_allowed_get_a_warning() {
    let text = |max: usize| {
        format!(
            "remote_write:\n  - url: http://h/x\n    queue_config: {{min_shards: 90, max_shards: {max}}}\n"
        )
    };
    let (_, warnings) = parse("n.yml", Path::new(""), &text(10), &|_| None).unwrap();
    let want = "n.yml: remote_write[0].queue_config.min_shards: 90 is more than max_shards, 10";
    assert!(warnings.len() == 1 && warnings[0].starts_with(want), "{warnings:?}");
    let said = check(&text(0), &["3: remote_write[0].queue_config.max_shards"]);
    assert!(
        said.contains("warning: n.yml: remote_write[0].queue_config.min_shards: 90 is more than"),
        "{said}"
    );
}

#[test]
fn merged_and_overridden_keys_are_valid() {
    check(
        "remote_write:\n  - &first\n    url: http://h/x\n    name: a\n    queue_config: &queue {capacity: 5}\n  - <<: *first\n    \
         name: b\n  - name: c\n    <<: *first\n    queue_config: *queue\n",
        &[],
    );
}

#[test]
fn hints_explain_mistakes_of_form() {
    for (text, hint) in [
        ("remote_write:\n  -url: http://h/x\n", "put a space after the dash: `- url: http://h/x`"),
        (
            "remote_write:\n  -url: http://h/x\n   name: a\n",
            "put a space after the dash: `- url: http://h/x`",
        ),
        (
            "remote_write:\n  - http://me:pw@h/x\n",
            "write each URL as an entry of the list: `- url: http://…@h/x`",
        ),
        ("remote_write: http://h/x\n", "write each URL as an entry of the list: `- url: http://h/x`"),
        (
            "graphite:\n  listen: 2003\n  allow_from: 10.0.0.0/8 # the network\n",
            "write a list, also of one value: `allow_from: [10.0.0.0/8]`",
        ),
        (
            "graphite: {allow_from: 10.0.0.0/8, listen: 2003}\n",
            "write a list, also of one value: `allow_from: [10.0.0.0/8]`",
        ),
        (
            "graphite: {listen: 2003, allow_from: '10.0.0.0/8'}\n",
            "write a list, also of one value: `allow_from: ['10.0.0.0/8']`",
        ),
        (
            "graphite:\n  allow_from: 10.0.0.0/8, 192.168.0.1\n  listen: 2003\n",
            "write a list, also of one value: `allow_from: [10.0.0.0/8, 192.168.0.1]`",
        ),
        (
            "remote_write: [{members: http://me:pw@h/x}]\n",
            "write a list, also of one value: `members: [http://…@h/x]`",
        ),
        (
            "remote_write: [{url: http://h/x, http_headers: {X-Token: {secrets: hunter2}}}]\n",
            "write a list, also of one value: `secrets: [...]`",
        ),
        (
            "remote_write: [{url: http://h/x, queue_config: {max_bytes_per_second: lots}}]\n",
            "\"lots\" is not a number of bytes a second: write a number and a unit, such as 100KiB or 10MiB",
        ),
        (
            "send: {max_in_memory: lots}\n",
            "\"lots\" is not an amount of bytes: write a number and a unit, such as 512KiB or 32MiB",
        ),
        (
            "log:\n  max_size: 1GiB\n    max_age\n",
            "line 3 is indented more than this key, so it is read as part of the value; the next key belongs in column 3",
        ),
        (
            "remote_write:\n  - url: http://h/x\n      name: a\n",
            "this line begins in column 7 and so continues the value above it; the next key belongs in column 5",
        ),
        (
            "remote_write:\n  - url: http://h/x\n  name: a\n",
            "this key begins in the column of the dash above it; a key of the same entry begins in column 5",
        ),
        (
            "remote_write:\n  - url: http://h/x\n    queue_config:\n      capacity: 5\n  # why\n  name: a\n",
            "this key begins in the column of the dash above it; a key of the same entry begins in column 5",
        ),
        ("log:\n\tmax_size: 1GiB\n", "line 2 is indented with a tab: YAML allows only spaces there"),
        (
            "log:\n  max_size: 1GiB\n\tmax_age: 1h\n",
            "line 3 is indented with a tab: YAML allows only spaces there",
        ),
        (
            "\tremote_write:\n  - url: http://h/x\n",
            "a tab stands before the key: YAML allows only spaces there",
        ),
        ("# x\n\n \tlog: {}\n", "a tab stands before the key: YAML allows only spaces there"),
        (
            "receive:\n  labels: {a: b}\n",
            "\"labels\" is a key of `inputs`, for all inputs, and of each single one, such as `receive.import`",
        ),
        (
            "receive:\n  max_series_per_metric: 5\n",
            "is a key of `inputs`, for all inputs, and of each single one",
        ),
    ] {
        let (found, said) = mistakes(text);
        assert!(found.len() == 1 && said.contains(hint), "{found:?} {said}\n--- wanted\n{hint}");
    }
}

#[test]
fn tabs_that_yaml_allows_are_not_mistakes() {
    check("\t# a\n\t\nlog:\t\n  max_size:\t1GiB\t# b\n\t\n", &[]);
}

#[test]
fn a_variable_that_is_not_set_is_reported_at_its_key() {
    check(
        "collect:\n  labels: {a: \"${A}\", b: 'x${B}'}\nreceive:\n  pushgateway:\n    labels: {c: ${C}}\n  allowed_hosts:\n    \
         - ${D}\n  bearer:\n    token: ${E}\n",
        &[
            "2: collect.labels.a",
            "2: collect.labels.b",
            "5: receive.pushgateway.labels.c",
            "7: receive.allowed_hosts[0]",
            "9: receive.bearer.token",
        ],
    );
}

#[test]
fn files_with_credentials_are_checked() {
    let folder = tempfile::tempdir().unwrap();
    std::fs::write(folder.path().join("junk.json"), r#"{"type": "service_account", "private_key": "junk"}"#)
        .unwrap();
    std::fs::write(folder.path().join("empty"), "\n").unwrap();
    let folder = folder.path().display();
    let azure = "client_id: 00000000-0000-0000-0000-000000000000, tenant_id: a.example";
    for (section, key) in [
        (format!("google_iam: {{credentials_file: {folder}/gone}}"), "google_iam.credentials_file"),
        (format!("google_iam: {{credentials_file: {folder}/junk.json}}"), "google_iam.credentials_file"),
        (
            format!("azuread: {{workload_identity: {{{azure}, token_file_path: {folder}/gone}}}}"),
            "azuread.workload_identity.token_file_path",
        ),
        (format!("tls_config: {{ca_file: {folder}/empty}}"), "tls_config.ca_file"),
        (format!("tls_config: {{ca_file: {folder}/gone}}"), "tls_config.ca_file"),
    ] {
        check(
            &format!("remote_write:\n  - url: https://h/x\n    {section}\n"),
            &[&format!("3: remote_write[0].{key}")],
        );
    }
    for (section, keys) in [
        ("bearer: {token_file: FOLDER/gone}", &["2: receive.bearer.token_file"][..]),
        ("bearer: {token_file: FOLDER/empty}", &["2: receive.bearer.token_file"]),
        (
            "tls: {cert_file: FOLDER/empty, key_file: FOLDER/gone}",
            &["2: receive.tls.cert_file", "2: receive.tls.key_file"],
        ),
        (
            "tls: {client_ca_file: FOLDER/empty}",
            &[
                "2: receive.tls",
                "2: receive.tls",
                "2: receive.tls.client_ca_file",
                "2: receive.tls.client_ca_file",
            ],
        ),
    ] {
        let section = section.replace("FOLDER", &folder.to_string());
        check(&format!("receive:\n  {section}\n"), keys);
    }
}
