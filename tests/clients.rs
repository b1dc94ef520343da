//! Pushes to narthex with programs that push today: promtool, a Prometheus, a vmagent and the client libraries of four
//! languages. A real Prometheus behind narthex must then have the same samples as the client itself, or as a Prometheus
//! that the client reached without narthex.
#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::indexing_slicing,
    reason = "a panic is how a test reports"
)]

use std::collections::{BTreeMap, BTreeSet};
use std::path::Path;
use std::process::Command;
use support::prometheus::Options;
use support::query::RawSeries;
use support::target::ODD;
use support::{
    Client, Labels, Narthex, Prometheus, Pushgateway, SOON, Target, Vmagent, now_ms, wait_for, wait_until,
};

const PROGRAM: &str = env!("CARGO_BIN_EXE_narthex");

/// The stored points of a series: floats by their bits (the API loses none, except of a NaN), histograms as the API
/// returns them.
#[derive(Debug, Clone, PartialEq, Default)]
struct Points {
    floats: Vec<(i64, u64)>,
    histograms: Vec<(i64, String)>,
}

fn points(all: Vec<RawSeries>) -> BTreeMap<Labels, Points> {
    let points = |series: &RawSeries| Points {
        floats: series.samples.iter().map(|(time, value)| (*time, value.to_bits())).collect(),
        histograms: series.histograms.iter().map(|(time, json)| (*time, json.to_string())).collect(),
    };
    all.iter().map(|series| (series.labels.clone(), points(series))).collect()
}

/// Checks that `there` has exactly the series of `wanted`, and for each series exactly the points of `wanted` up to the
/// last of them. The client may have pushed more since then.
fn same(wanted: &BTreeMap<Labels, Points>, there: &BTreeMap<Labels, Points>) -> Result<(), String> {
    let names = |of: &BTreeMap<Labels, Points>| of.keys().cloned().collect::<BTreeSet<_>>();
    let (want, have) = (names(wanted), names(there));
    if want != have {
        let missing: Vec<_> = want.difference(&have).collect();
        let more: Vec<_> = have.difference(&want).collect();
        return Err(format!("series missing: {missing:?}; and too many: {more:?}"));
    }
    for (labels, wanted) in wanted {
        let last = |times: Option<i64>| times.unwrap_or(i64::MIN);
        let (float, histogram) = (
            last(wanted.floats.last().map(|point| point.0)),
            last(wanted.histograms.last().map(|point| point.0)),
        );
        let mut there = there[labels].clone();
        there.floats.retain(|point| point.0 <= float);
        there.histograms.retain(|point| point.0 <= histogram);
        if *wanted != there {
            return Err(format!("{labels:?}: wanted {wanted:?}, there is {there:?}"));
        }
    }
    Ok(())
}

/// Starts narthex without its own metrics, with `prometheus` as its destination.
fn in_front_of(prometheus: &Prometheus) -> Narthex {
    Narthex::start(PROGRAM, &["--to", prometheus.url(), "--collect", "none"])
}

fn run(mut command: Command) {
    let output = command.output().unwrap();
    let said = String::from_utf8_lossy(&output.stdout) + String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success(), "{command:?}: {}: {said}", output.status);
}

/// The configuration of a job that scrapes `address` twice a second, for Prometheus and vmagent.
fn scrape(job: &str, address: &str, more: &str) -> String {
    format!(
        "scrape_configs:\n- job_name: {job}\n  scrape_interval: 500ms\n  scrape_timeout: 500ms\n{more}  static_configs:\n  - targets: ['{address}']\n"
    )
}

#[test]
fn promtool_pushes_the_same_through_narthex_as_directly() {
    let Some(peers) = support::peers() else { return };
    let prometheus = Prometheus::start(&peers, Options::receiver());
    let direct = Prometheus::start(&peers, Options::receiver());
    let narthex = in_front_of(&prometheus);
    let folder = tempfile::tempdir().unwrap();
    let time = now_ms() - 5000;
    let mut text = String::from("# TYPE odd gauge\n# HELP odd Values.\n");
    for (what, value) in ODD {
        let what = what.replace('\\', "\\\\").replace('"', "\\\"");
        text.push_str(&format!("odd{{what=\"{what}\"}} {value} {time}\n"));
    }
    text.push_str(&format!("# TYPE steps histogram\nsteps_bucket{{le=\"0.5\"}} 1 {time}\nsteps_bucket{{le=\"+Inf\"}} 3 {time}\nsteps_sum 4.25 {time}\nsteps_count 3 {time}\n"));
    text.push_str(&format!("# TYPE took summary\ntook{{quantile=\"0.9\"}} 0.3 {time}\ntook_sum 1e100 {time}\ntook_count 9 {time}\n"));
    text.push_str(&format!("# TYPE done_total counter\ndone_total 7 {time}\n"));
    let file = folder.path().join("metrics.txt");
    std::fs::write(&file, &text).unwrap();
    for url in [direct.write_url(), narthex.write_url()] {
        let mut promtool = Command::new(&peers.promtool);
        promtool.args(["push", "metrics", "--label=job=pushed", "--label=site=zürich", &url]).arg(&file);
        run(promtool);
    }
    let selector = r#"{job="pushed"}"#;
    let wanted = points(direct.raw(selector, "10m"));
    assert_eq!(wanted.len(), ODD.len() + 4 + 3 + 1);
    for (what, value) in ODD {
        let labels = support::query::labels([
            ("__name__", "odd"),
            ("job", "pushed"),
            ("site", "zürich"),
            ("what", what),
        ]);
        assert_eq!(wanted[&labels].floats, [(time, value.to_bits())], "{what}");
    }
    wait_for("the same through narthex", SOON, || same(&wanted, &points(prometheus.raw(selector, "10m"))));
}

/// The exemplars of a job, each as text with its series, labels, value and time.
fn exemplars(prometheus: &Prometheus, job: &str) -> BTreeSet<String> {
    let now = now_ms() / 1000;
    let query = support::http::encode(&format!("{{job=\"{job}\"}}"));
    let (from, to) = (now - 3600, now + 60);
    let path = format!("/api/v1/query_exemplars?query={query}&start={from}&end={to}");
    let json = support::http::get(&(prometheus.url().to_string() + &path)).unwrap().expect_success().json();
    let of_series = |series: &serde_json::Value| {
        let labels = series["seriesLabels"].to_string();
        let all = series["exemplars"].as_array().unwrap().iter().map(move |one| format!("{labels} {one}"));
        all.collect::<Vec<_>>()
    };
    json["data"].as_array().unwrap().iter().flat_map(of_series).collect()
}

/// A Prometheus scrapes floats, classic and native histograms and exemplars, and writes them to narthex.
#[test]
fn a_prometheus_writes_all_its_samples_through_narthex() {
    let Some(peers) = support::peers() else { return };
    // Histograms with custom buckets exist in 2.0 only.
    for (message, custom) in [("prometheus.WriteRequest", false), ("io.prometheus.write.v2.Request", true)] {
        let target = Target::start();
        let prometheus = Prometheus::start(&peers, Options::receiver());
        let narthex = in_front_of(&prometheus);
        let more = format!(
            "  always_scrape_classic_histograms: true\n  convert_classic_histograms_to_nhcb: {custom}\n"
        );
        let config = format!(
            "{}remote_write:\n- url: {}\n  protobuf_message: {message}\n  send_exemplars: true\n  send_native_histograms: true\n  queue_config:\n    batch_send_deadline: 100ms\n",
            scrape("target", &target.address(), &more),
            narthex.write_url(),
        );
        let scraper = Prometheus::start(
            &peers,
            Options {
                config,
                arguments: vec!["--enable-feature=native-histograms,exemplar-storage".into()],
                ..Options::default()
            },
        );
        let selector = r#"{job="target"}"#;
        wait_until("eight scrapes", SOON * 2, || target.scrapes() >= 8);
        let wanted = points(scraper.raw(selector, "10m"));
        let wanted_exemplars = exemplars(&scraper, "target");

        // Checks that the tested kinds of points exist.
        let histograms = |name: &str| {
            let found = wanted.iter().filter(|(labels, _)| labels["__name__"] == name);
            found.map(|(_, points)| points.histograms.len()).sum::<usize>()
        };
        assert!(histograms("native") >= 5, "{wanted:?}");
        assert_eq!(histograms("classic") > 0, custom);
        assert!(wanted.keys().any(|labels| labels["__name__"] == "classic_bucket"));
        assert!(wanted_exemplars.len() >= 15, "{wanted_exemplars:?}");
        assert!(wanted_exemplars.iter().any(|one| one.contains("\"native\"")), "{wanted_exemplars:?}");
        let odd = |(labels, points): (&Labels, &Points)| {
            let what = ODD.iter().find(|(what, _)| labels.get("what").is_some_and(|there| there == what))?;
            Some(points.floats.iter().all(|(_, bits)| *bits == what.1.to_bits()))
        };
        assert_eq!(wanted.iter().filter_map(odd).collect::<Vec<_>>(), [true; ODD.len()]);

        wait_for(&format!("the same through narthex by {message}"), SOON, || {
            same(&wanted, &points(prometheus.raw(selector, "10m")))
        });
        wait_for("the exemplars", SOON, || {
            let there = exemplars(&prometheus, "target");
            let missing: Vec<_> = wanted_exemplars.difference(&there).collect();
            if missing.is_empty() { Ok(()) } else { Err(format!("{missing:?} of {there:?}")) }
        });
        for counter in ["samples", "histograms", "exemplars"] {
            for end in ["failed", "dropped"] {
                let name = format!("prometheus_remote_storage_{counter}_{end}_total");
                assert_eq!(scraper.metric(&name).unwrap_or(0.0), 0.0, "{name}");
            }
        }
    }
}

/// A vmagent writes scraped samples to narthex by its own protocol, and to a Prometheus by that of Prometheus.
#[test]
fn a_vmagent_writes_the_same_through_narthex_as_directly() {
    let Some(peers) = support::peers() else { return };
    let target = Target::start();
    let prometheus = Prometheus::start(&peers, Options::receiver());
    let direct = Prometheus::start(&peers, Options::receiver());
    let narthex = in_front_of(&prometheus);
    let folder = tempfile::tempdir().unwrap();
    let config = folder.path().join("scrape.yml");
    std::fs::write(&config, scrape("target", &target.address(), "")).unwrap();
    let vmagent = Vmagent::start(
        &peers,
        &narthex.write_url(),
        None,
        &[
            &format!("-remoteWrite.url={}", direct.write_url()),
            &format!("-promscrape.config={}", config.display()),
            "-remoteWrite.forcePromProto=false,true",
            "-remoteWrite.flushInterval=200ms",
            "-loggerLevel=INFO",
        ],
    );
    let selector = r#"{job="target"}"#;
    let complete = || {
        let there = points(direct.raw(selector, "10m"));
        there.values().any(|points| points.floats.len() >= 8).then_some(there)
    };
    let wanted = wait_for("eight scrapes", SOON * 2, || complete().ok_or(vmagent.process.tail()));
    for (what, value) in ODD {
        let found: Vec<_> =
            wanted.iter().filter(|(labels, _)| labels.get("what") == Some(&what.into())).collect();
        assert_eq!(found.len(), 1, "{what}: {found:?}");
        assert!(found[0].1.floats.iter().all(|(_, bits)| *bits == value.to_bits()), "{found:?}");
    }
    wait_for("the same through narthex", SOON, || same(&wanted, &points(prometheus.raw(selector, "10m"))));
    // It uses zstd until a receiver refuses it.
    let downgraded = vmagent.process.lines().into_iter().find(|line| line.contains("owngrad"));
    assert_eq!(downgraded, None);
}

/// The values of a job as a query returns them now, by their bits, except for the time of the push.
fn pushed(prometheus: &Prometheus, job: &str) -> BTreeMap<Labels, u64> {
    let all = prometheus.query(&format!("{{job=\"{job}\"}}"));
    let bits = |sample: &support::Sample| match &*sample.labels["__name__"] {
        "push_time_seconds" => {
            let age = now_ms() as f64 / 1000.0 - sample.value;
            assert!((-1.0..120.0).contains(&age), "{sample:?}");
            0
        }
        _ => sample.value.to_bits(),
    };
    all.iter().map(|sample| (sample.labels.clone(), bits(sample))).collect()
}

/// The library pushes to narthex and to the Pushgateway, which a Prometheus scrapes. After each step both Prometheus
/// servers have the same.
///
/// Each trace of `traces` arrives with an exemplar. The Pushgateway exposes no exemplars, so there is no comparison for
/// them.
fn library_pushes_as_to_the_pushgateway(
    client: Client,
    program: &str,
    job: &str,
    known: &[(&str, f64)],
    traces: &[&str],
) {
    let Some(peers) = support::peers() else { return };
    let program = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../tests/clients").join(program);
    if client.script(&program).is_none() {
        return;
    }
    let gateway = Pushgateway::start(&peers, &[]);
    let address = gateway.url().trim_start_matches("http://");
    let config = scrape("pushgateway", address, "  honor_labels: true\n");
    let scraping = Prometheus::start(&peers, Options { config, ..Options::default() });
    let prometheus = Prometheus::start(&peers, Options::receiver());
    let narthex = in_front_of(&prometheus);
    let act = |action: &str| {
        let mut command = client.script(&program).unwrap();
        command.args([action, gateway.url(), narthex.url()]);
        run(command);
    };
    let compare = |what: &str, complete: &dyn Fn(&BTreeMap<Labels, u64>) -> bool| {
        let wanted = wait_for(&format!("{what} in the Prometheus that scrapes"), SOON, || {
            let there = pushed(&scraping, job);
            if complete(&there) { Ok(there) } else { Err(format!("{there:?}")) }
        });
        wait_for(&format!("{what} through narthex"), SOON, || {
            let there = pushed(&prometheus, job);
            let differs = |labels: &&Labels| there.get(*labels) != wanted.get(*labels);
            let all: BTreeSet<&Labels> = wanted.keys().chain(there.keys()).filter(differs).collect();
            let shown = all.iter().map(|labels| (labels, there.get(*labels), wanted.get(*labels)));
            let shown: Vec<_> = shown.collect();
            if shown.is_empty() {
                Ok(wanted.clone())
            } else {
                Err(format!("series, actual, expected: {shown:?}"))
            }
        })
    };
    let has = |all: &BTreeMap<Labels, u64>, name: &str| all.keys().any(|labels| labels["__name__"] == name);

    act("push");
    let first = compare("the push", &|there| has(there, "stays"));
    assert!(first.keys().all(|labels| labels["path"].ends_with("backup") && labels["zone"] == "ünï"));
    for (name, value) in known {
        let bits: Vec<_> =
            first.iter().filter(|(labels, _)| labels["__name__"] == *name).map(|(_, bits)| *bits).collect();
        assert!(bits.contains(&value.to_bits()), "{name} {value}: {first:?}");
    }

    wait_for("the exemplars", SOON, || {
        let there = exemplars(&prometheus, job);
        let missing =
            |trace: &&&str| !there.iter().any(|one| one.contains(&format!("\"trace_id\":\"{trace}\"")));
        let missing: Vec<_> = traces.iter().filter(missing).collect();
        if missing.is_empty() { Ok(()) } else { Err(format!("{missing:?} of {there:?}")) }
    });

    // This replaces all series of the one family in it; the others are kept.
    act("pushadd");
    let is_new = |labels: &Labels| labels.get("what").is_some_and(|what| what == "new");
    let second = compare("what was added", &|there| there.keys().any(is_new));
    assert_eq!(second.keys().filter(|labels| labels["__name__"] == "odd").count(), 1, "{second:?}");
    assert!(has(&second, "stays"));

    act("delete");
    compare("the deletion", &BTreeMap::is_empty);
}

#[test]
fn pythons_library_pushes_to_narthex_as_to_the_pushgateway() {
    let known = [
        ("requests_total", 3.5),
        ("requests_total", 1e308),
        ("odd", 1.0 / 3.0),
        ("odd", 5e-324),
        ("sizes_sum", 102.15),
        ("took_seconds_count", 2.0),
        ("version_info", 1.0),
        ("state", 0.0),
    ];
    library_pushes_as_to_the_pushgateway(Client::Python, "push.py", "python", &known, &[]);
}

#[test]
fn javascripts_library_pushes_to_narthex_as_to_the_pushgateway() {
    library_pushes_as_to_the_pushgateway(Client::JavaScript, "push.js", "javascript", &KNOWN, &[]);
}

const KNOWN: [(&str, f64); 6] = [
    ("requests_total", 3.5),
    ("requests_total", 1e308),
    ("odd", 1.0 / 3.0),
    ("odd", 5e-324),
    ("sizes_sum", 102.15),
    ("took_seconds_count", 2.0),
];

#[test]
fn gos_library_pushes_to_narthex_as_to_the_pushgateway() {
    let traces = ["go-counter", "go-histogram"];
    library_pushes_as_to_the_pushgateway(Client::Go, "push.go", "go", &KNOWN, &traces);
}

#[test]
fn javas_library_pushes_to_narthex_as_to_the_pushgateway() {
    let traces = ["java-counter", "java-histogram"];
    library_pushes_as_to_the_pushgateway(Client::Java, "Push.java", "java", &KNOWN, &traces);
}
