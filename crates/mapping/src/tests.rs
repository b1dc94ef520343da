//! The files and names are those of `prometheus/statsd_exporter: pkg/mapper/mapper_test.go`.

use super::*;

fn read(text: &str) -> Result<Mapping, String> {
    let file: Option<File> = serde_saphyr::from_str(text).map_err(|error| error.to_string())?;
    let shown = |faults: Vec<Fault>| {
        faults
            .into_iter()
            .map(|fault| format!("{}: {}", fault.key, fault.message))
            .collect::<Vec<_>>()
            .join("\n")
    };
    Mapping::new(file.unwrap_or_default()).map_err(shown)
}

/// Formats what a name becomes: `NAME{LABELS}`, or nothing.
fn of(mapping: &Mapping, name: &str, kind: Kind) -> String {
    let Some(found) = mapping.find(name, kind) else { return "no rule".into() };
    let labels: Vec<String> = found.labels.iter().map(|(name, value)| format!("{name}={value}")).collect();
    let drop = if found.rule.is_drop { " dropped" } else { "" };
    format!("{}{{{}}}{drop}", found.name, labels.join(","))
}

fn check(text: &str, names: &[(&str, &str)]) {
    let mapping = read(text).unwrap_or_else(|error| panic!("{text}: {error}"));
    for (name, wanted) in names {
        assert_eq!(of(&mapping, name, Kind::Counter), *wanted, "{name} in\n{text}");
    }
}

#[test]
fn globs_and_regular_expressions_produce_names_and_labels() {
    check(
        r#"---
mappings:
- match: test.dispatcher.*.*.*
  name: "dispatch_events"
  labels: {processor: "$1", action: "$2", result: "$3", job: "test_dispatcher"}
- match: test.my-dispatch-host01.name.dispatcher.*.*.*
  name: "host_dispatch_events"
  labels: {processor: "$1", action: "$2", result: "$3"}
- match: request_time.*.*.*.*.*.*.*.*.*.*.*.*
  name: "tyk_http_request"
  labels: {method_and_path: "${1}", response_code: "${2}", ipv4_t4: "${10}", oauthid: "${12}"}
- match: "*.*"
  name: "catchall"
  labels: {first: "$1", second: "$2", third: "$3", job: "$1-$2-$3"}
- match: (.*)\.(.*)-(.*)\.(.*)
  match_type: regex
  name: "proxy_requests_total"
  labels: {job: "$1", protocol: "$2", endpoint: "$3", result: "$4"}
"#,
        &[
            (
                "test.dispatcher.FooProcessor.send.succeeded",
                "dispatch_events{action=send,job=test_dispatcher,processor=FooProcessor,result=succeeded}",
            ),
            (
                "test.my-dispatch-host01.name.dispatcher.FooProcessor.send.succeeded",
                "host_dispatch_events{action=send,processor=FooProcessor,result=succeeded}",
            ),
            (
                "request_time.get/threads/1/posts.200.00000000.nonversioned.discussions.a11bbcdf0ac64ec243658dc64b7100fb.172.20.0.1.12ba97b7eaa1a50001000001.",
                "tyk_http_request{ipv4_t4=1,method_and_path=get/threads/1/posts,oauthid=,response_code=200}",
            ),
            ("foo.bar", "catchall{first=foo,job=foo-bar-,second=bar,third=}"),
            ("foo.bar.baz", "no rule"),
            (
                "proxy-1.http-goober.success",
                "proxy_requests_total{endpoint=goober,job=proxy-1,protocol=http,result=success}",
            ),
        ],
    );
    check(
        r#"
mappings:
- {match: test1.*.*, name: "$1"}
- {match: test2.*.*, name: "${1}_$2"}
- {match: 'test3\.(\w+)\.(\w+)', match_type: regex, name: "${2}_$1"}
"#,
        &[
            ("test1.total_requests.count", "total_requests{}"),
            ("test1.total-requests.count", "total_requests{}"),
            ("test2.total_requests.count", "total_requests_count{}"),
            ("test3.total_requests.count", "count_total_requests{}"),
        ],
    );
    check(
        "mappings:\n- {match: test.*, name: name, labels: {label: $1_foo}}\n",
        &[("test.a", "name{label=}")],
    );
    check("mappings:\n- {match: '.*_bar', match_type: regex, name: '${1}'}", &[("foo_bar", "{}")]);
}

#[test]
fn the_first_or_the_most_specific_glob_is_used() {
    check(
        "defaults: {glob_disable_ordering: true}\nmappings:\n- {match: backtrack.*.bbb, name: testb, labels: {label: \
         '${1}_foo'}}\n- {match: backtrack.justatest.aaa, name: testa, labels: {label: '${1}_foo'}}\n",
        &[
            ("backtrack.good.bbb", "testb{label=good_foo}"),
            ("backtrack.justatest.bbb", "testb{label=justatest_foo}"),
            ("backtrack.justatest.aaa", "testa{label=_foo}"),
        ],
    );
    check(
        "mappings:\n- {match: '*.dummy.*', name: metric_one, labels: {system: $1, attribute: $2}}\n- {match: \
         'full.name.*', name: metric_two, labels: {system: static, attribute: $1}}\n",
        &[
            ("whatever.dummy.test", "metric_one{attribute=test,system=whatever}"),
            ("full.name.anothertest", "metric_two{attribute=anothertest,system=static}"),
        ],
    );
    let rules = "mappings:\n- {match: order.*.*, name: testa}\n- {match: order.*.bbb, name: testb}\n- {match: \
                 order.ccc.bbb, name: testc}\n";
    check(rules, &[("order.good.bbb", "testa{}"), ("order.ccc.bbb", "testa{}")]);
    check(
        &format!("defaults: {{glob_disable_ordering: true}}\n{rules}"),
        &[("order.good.bbb", "testb{}"), ("order.ccc.bbb", "testc{}"), ("order.ccc.ddd", "testa{}")],
    );
}

/// A linear search of the rules must give the same result as the tree.
#[test]
fn the_tree_finds_the_same_rule_as_a_linear_search() {
    let words = ["a", "b", "*"];
    let mut patterns = Vec::new();
    let mut seed: u64 = 7;
    let mut next = |below: usize| {
        seed = seed.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1);
        (seed >> 33) as usize % below
    };
    for _ in 0..40 {
        let length = 1 + next(4);
        patterns.push((0..length).map(|_| words[next(3)]).collect::<Vec<_>>().join("."));
    }
    let mut globs = Globs::new(false);
    patterns.iter().enumerate().for_each(|(index, pattern)| globs.add(pattern, None, index));
    let matches = |pattern: &str, name: &str| {
        let (pattern, name): (Vec<_>, Vec<_>) = (pattern.split('.').collect(), name.split('.').collect());
        pattern.len() == name.len()
            && pattern.iter().zip(&name).all(|(one, other)| *one == "*" || one == other)
    };
    for _ in 0..500 {
        let length = 1 + next(5);
        let name = (0..length).map(|_| ["a", "b", "c"][next(3)]).collect::<Vec<_>>().join(".");
        let wanted = patterns.iter().position(|pattern| matches(pattern, &name));
        let found = globs.find(&name, Kind::Gauge);
        assert_eq!(found.as_ref().map(|(rule, _)| *rule), wanted, "{name}");
        if let Some((rule, captures)) = found {
            let name: Vec<&str> = name.split('.').collect();
            let stars = patterns[rule].split('.').enumerate().filter(|(_, part)| *part == "*");
            assert_eq!(captures, stars.map(|(index, _)| name[index]).collect::<Vec<_>>());
        }
    }
}

#[test]
fn rules_can_be_restricted_to_one_type() {
    let mapping = read(
        "mappings:\n- {match: test.foo.*, name: test_foo_sum, match_metric_type: counter}\n- {match: test.foo.*, name: \
         test_foo_current, match_metric_type: gauge}\n- {match: '^test\\.', match_type: regex, match_metric_type: timer, \
         name: time}\n",
    )
    .unwrap();
    assert_eq!(of(&mapping, "test.foo.test", Kind::Counter), "test_foo_sum{}");
    assert_eq!(of(&mapping, "test.foo.test", Kind::Gauge), "test_foo_current{}");
    assert_eq!(of(&mapping, "test.foo.test", Kind::Observer), "time{}");
}

#[test]
fn rules_can_drop_samples() {
    check(
        "mappings:\n- {match: web.*, name: web, labels: {site: $1}}\n- {match: ., match_type: regex, name: drop, action: \
         drop}\n",
        &[("test.a", "drop{} dropped"), ("web.localhost", "web{site=localhost}")],
    );
    check("mappings:\n- {match: a.*, action: drop}\n", &[("a.b", "{} dropped")]);
}

#[test]
fn observer_options_come_from_the_rule_then_the_defaults() {
    let observer = |text: &str| {
        let mapping = read(text).unwrap();
        mapping.find("test.a.b", Kind::Observer).unwrap().rule.observer.clone()
    };
    let summary = |quantiles: &[f64], seconds| Observer::Summary {
        quantiles: quantiles.into(),
        max_age: Duration::from_secs(seconds),
    };
    let histogram = |buckets: &[f64]| Observer::Histogram { buckets: buckets.into(), native: None };
    let rule = "- match: test.*.*\n  name: foo\n";
    let table = [
        ("", "", summary(&[0.5, 0.9, 0.99], 600)),
        ("", "  quantiles: [{quantile: 0.42, error: 0.04}]\n", summary(&[0.42], 600)),
        ("", "  timer_type: histogram\n", histogram(&DEFAULT_BUCKETS)),
        ("", "  observer_type: summary\n  timer_type: histogram\n", summary(&[0.5, 0.9, 0.99], 600)),
        (
            "",
            "  summary_options: {quantiles: [{quantile: 0.42}], max_age: 5m, age_buckets: 2, buf_cap: 1000}\n",
            summary(&[0.42], 300),
        ),
        (
            "summary_options: {max_age: 15m}",
            "  summary_options: {quantiles: [{quantile: 0.7}]}\n",
            summary(&[0.7], 900),
        ),
        (
            "quantiles: [{quantile: 0.9}], summary_options: {quantiles: [{quantile: 0.4}]}",
            "",
            summary(&[0.4], 600),
        ),
        ("observer_type: histogram", "", histogram(&DEFAULT_BUCKETS)),
        ("histogram_options: {buckets: []}", "  observer_type: histogram\n", histogram(&DEFAULT_BUCKETS)),
        (
            "buckets: [0.2, 2], histogram_options: {buckets: [0.1, 1]}",
            "  observer_type: histogram\n",
            histogram(&[0.1, 1.0]),
        ),
        (
            "histogram_options: {buckets: [0.2, 2]}",
            "  observer_type: histogram\n  histogram_options: {buckets: [0.1, 1, 10]}\n",
            histogram(&[0.1, 1.0, 10.0]),
        ),
        (
            "observer_type: histogram, histogram_options: {native_histogram_bucket_factor: 1.1, \
             native_histogram_max_buckets: 160}",
            "",
            Observer::Histogram {
                buckets: DEFAULT_BUCKETS.into(),
                native: Some(Native { factor: 1.1, max_buckets: 160 }),
            },
        ),
    ];
    for (defaults, more, wanted) in table {
        let text = format!("defaults: {{{defaults}}}\nmappings:\n{rule}{more}");
        assert_eq!(observer(&text), wanted, "{text}");
    }
}

#[test]
fn a_rule_can_have_ttl_scale_and_help() {
    let mapping = read(
        "defaults: {ttl: 1m2s}\nmappings:\n- {match: a.*, name: a1}\n- {match: b.*, name: b1, ttl: 5s, scale: 0.001, help: \
         Text., honor_labels: true}\n- {match: c.*, name: c1, ttl: 0}\n",
    )
    .unwrap();
    let rule = |name: &str| mapping.find(name, Kind::Counter).unwrap().rule;
    let seconds = |name: &str| rule(name).ttl.map(|ttl| ttl.as_secs());
    assert_eq!([seconds("a.x"), seconds("b.x"), seconds("c.x")], [Some(62), Some(5), Some(62)]);
    let b = rule("b.x");
    assert_eq!((b.scale, b.help.as_deref(), b.honor_labels), (Some(0.001), Some("Text."), true));
    assert_eq!(mapping.default_ttl(), Some(Duration::from_secs(62)));
}

#[test]
fn an_empty_file_has_no_rules() {
    for text in ["", "---\n", "mappings:\n", "defaults: {}\n"] {
        assert_eq!(read(text).unwrap().rules(), 0, "{text:?}");
    }
}

#[test]
fn errors_name_the_key() {
    for (rule, wanted) in [
        ("match: test.*.*\n  name: 0foo", "mappings[0].name: a metric name has"),
        ("match: test.*.*\n  name: 'a b'", "mappings[0].name: a metric name has"),
        ("match: test.*.*\n  name: 'a$b'", "mappings[0].name: a metric name has"),
        ("match: test.*.*\n  labels: {this: $1}", "mappings[0]: the metric name is missing"),
        ("name: foo", "mappings[0]: what to match is missing"),
        ("match: test.a*\n  name: foo", "mappings[0].match: a glob has components"),
        ("match: test..a\n  name: foo", "mappings[0].match: a glob has components"),
        ("match: 'test.(a)'\n  name: foo", "mappings[0].match: a glob has components"),
        ("match: test.--\n  name: foo", "mappings[0].match: a glob has components"),
        ("match: test.*.-a\n  name: foo", "mappings[0].match: a glob has components"),
        ("match: -test.a\n  name: foo", "mappings[0].match: a glob has components"),
        ("match: 1test.a\n  name: foo", "mappings[0].match: a glob has components"),
        ("match: '*\\.foo'\n  match_type: regex\n  name: foo", "mappings[0].match: not a regular expression"),
        ("match: test.*\n  name: foo\n  labels: {'a-b': x}", "mappings[0].labels.a-b: a label name has"),
        ("match: test.*\n  name: foo\n  labels: {a: x}", "mappings[0].labels.a: a label name has"),
        (
            "match: test.*\n  name: foo\n  quantiles: [{quantile: 0.4}]\n  summary_options: {quantiles: [{quantile: 0.4}]}",
            "mappings[0].quantiles: summary_options has quantiles",
        ),
        (
            "match: test.*\n  name: foo\n  observer_type: histogram\n  summary_options: {}",
            "mappings[0].summary_options: observer_type is histogram",
        ),
        (
            "match: test.*\n  name: foo\n  histogram_options: {buckets: [1]}",
            "mappings[0].histogram_options: observer_type is summary",
        ),
        ("match: test.*\n  name: foo\n  buckets: [2, 1]", "mappings[0].buckets: the bounds of buckets"),
        (
            "match: test.*\n  name: foo\n  quantiles: [{quantile: 50}]",
            "mappings[0].quantiles: 50 is not a quantile",
        ),
        ("match: test.*\n  name: foo\n  scale: .inf", "mappings[0].scale: the factor"),
    ] {
        let error = read(&format!("mappings:\n- {rule}\n")).unwrap_err();
        assert!(error.starts_with(wanted), "{rule}\n{error}");
    }
    for rule in [
        "match: test.*.*\n  observer_type: wrong\n  name: foo",
        "match: test.*.*\n  match_metric_type: wrong\n  name: foo",
        "match: test.*.*\n  action: wrong\n  name: foo",
        "match: *.test.*\n  name: foo",
        "match: test.*\n  name: foo\n  unknown: 1",
        "match: test.*\n  name: foo\n  ttl: 1d",
    ] {
        assert!(read(&format!("mappings:\n- {rule}\n")).is_err(), "{rule}");
    }
}
