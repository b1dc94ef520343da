//! Scraping: narthex and a real Prometheus agent scrape the same exporters, and both write what they have scraped; and
//! what a reload does to targets.
#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::indexing_slicing,
    reason = "a panic is how a test reports"
)]

use std::collections::BTreeMap;
use std::fmt::Write;
use std::path::Path;
use std::sync::Mutex;
use std::time::Duration;
use support::narthex::{QUIET, config};
use support::prometheus::Options;
use support::receiver::Answer;
use support::{FakeReceiver, Labels, Narthex, Prometheus, SOON, wait_for};

const PROGRAM: &str = env!("CARGO_BIN_EXE_narthex");
const TEXT: &str = "text/plain; version=0.0.4";
const OPEN_METRICS: &str = "application/openmetrics-text; version=1.0.0; charset=utf-8";
/// Scrapes that are compared.
const SCRAPES: usize = 8;

fn page(content_type: &str, text: &str) -> Answer {
    Answer::status(200).header("Content-Type", content_type).body(text)
}

/// An exporter, the settings of its job, and its page by the number of the scrape, from 0.
struct Scenario {
    name: &'static str,
    settings: &'static str,
    page: fn(usize) -> Answer,
}

const SCENARIOS: &[Scenario] = &[
    Scenario {
        name: "changing",
        settings: "",
        page: |scrape| {
            let mut text =
                format!("# HELP a What.\n# TYPE a counter\na {scrape}\nc{{x=\"1\",job=\"own\"}} 1\n");
            if scrape % 3 != 1 {
                let _ = writeln!(text, "comes{{and=\"goes\"}} {scrape}");
            }
            let _ = writeln!(text, "new{{n=\"{scrape}\"}} NaN\ninf +Inf");
            page(TEXT, &text)
        },
    },
    Scenario {
        name: "failing",
        settings: "",
        page: |scrape| match scrape {
            2 => Answer::status(500).body("no"),
            3 => page(TEXT, "a 1\nb 2\n}\n"),
            5 => page(TEXT, "a 1\na{b=\"1\" 2\n"),
            _ => page(TEXT, "a 1\nb 2\n"),
        },
    },
    Scenario {
        name: "slow",
        settings: "scrape_timeout: 100ms",
        page: |scrape| {
            let answer = page(TEXT, "a 1\n");
            if scrape == 2 { answer.delay(Duration::from_millis(200)) } else { answer }
        },
    },
    Scenario {
        name: "honored",
        settings: "honor_labels: true",
        page: |_| page(TEXT, "a{job=\"own\",instance=\"one\"} 1\nb 2\nc{x=\"\"} 3\n"),
    },
    Scenario {
        name: "renamed",
        settings: "static_labels",
        page: |_| page(TEXT, "a{site=\"1\",exported_site=\"2\",job=\"3\"} 1\n"),
    },
    Scenario {
        name: "relabelled",
        settings: "metric_relabel_configs: [{source_labels: [__name__], regex: 'noise.*', action: drop}, \
                   {regex: id, action: labeldrop}, {source_labels: [x], target_label: __name__, regex: 'to_(.*)'}]",
        page: |_| page(TEXT, "noise_a 1\na{id=\"1\"} 1\na{id=\"2\"} 1\nb{x=\"to_c\"} 2\n"),
    },
    Scenario {
        name: "limited",
        settings: "sample_limit: 2, extra_scrape_metrics: true",
        page: |scrape| page(TEXT, if scrape < 4 { "a 1\nb 2\n" } else { "a 1\nb 2\nc 3\n" }),
    },
    Scenario {
        name: "long",
        settings: "label_value_length_limit: 30",
        page: |scrape| {
            let value = "v".repeat(if scrape == 3 { 31 } else { 30 });
            page(TEXT, &format!("a{{l=\"{value}\"}} 1\n"))
        },
    },
    Scenario {
        name: "large",
        settings: "body_size_limit: 100B",
        page: |scrape| page(TEXT, &format!("a 1\n#{}\n", "x".repeat(if scrape == 3 { 100 } else { 10 }))),
    },
    Scenario {
        name: "openmetrics",
        settings: "",
        page: |scrape| {
            let end = if scrape == 4 { "" } else { "# EOF\n" };
            page(
                OPEN_METRICS,
                &format!(
                    "# TYPE a counter\na_total {scrape} # {{t=\"x\"}} 1\na_created 1600000000\n# TYPE h histogram\n\
                     h_bucket{{le=\"1\"}} 1\nh_bucket{{le=\"+Inf\"}} 2\nh_sum 3\nh_count 2\n{end}"
                ),
            )
        },
    },
    Scenario {
        name: "fallback",
        settings: "fallback_scrape_protocol: PrometheusText0.0.4",
        page: |_| page("text/html", "a 1\n"),
    },
    Scenario {
        name: "summaries",
        settings: "",
        page: |_| {
            page(TEXT, "# TYPE s summary\ns{quantile=\"1\"} 2\ns{quantile=\"0.50\"} 1\ns_sum 3\ns_count 2\n")
        },
    },
    Scenario { name: "empty", settings: "", page: |_| page(TEXT, "") },
    Scenario { name: "many", settings: "target_limit: 1, two_targets", page: |_| page(TEXT, "a 1\n") },
];

/// The jobs of a scraper, with pages below its own path.
fn jobs(exporter: &FakeReceiver, scraper: &str, interval: &str) -> String {
    let address = exporter.url().replace("http://", "");
    let mut text = "scrape_configs:\n".to_string();
    for Scenario { name, settings, .. } in SCENARIOS {
        let labels = if settings.contains("static_labels") { ", labels: {site: s}" } else { "" };
        let more = if settings.contains("two_targets") { ", 'localhost:1'" } else { "" };
        let settings = settings.replace("static_labels", "").replace(", two_targets", "");
        let timeout = if settings.contains("scrape_timeout") { "" } else { "scrape_timeout: 280ms, " };
        let comma = if settings.is_empty() { "" } else { ", " };
        let _ = writeln!(
            text,
            "- {{job_name: {name}, metrics_path: /{scraper}/{name}, scrape_interval: {interval}, {timeout}{settings}{comma}\
             static_configs: [{{targets: ['{address}'{more}]{labels}}}]}}"
        );
    }
    text
}

/// Starts exporters: each scraper gets the pages of each scenario from the first one on.
fn exporters() -> FakeReceiver {
    let exporter = FakeReceiver::start();
    let counts: Mutex<BTreeMap<String, usize>> = Mutex::default();
    exporter.answer(move |request| {
        let mut counts = counts.lock().unwrap();
        let scrape = counts.entry(request.path.clone()).or_default();
        let name = request.path.rsplit('/').next().unwrap();
        let answer = match SCENARIOS.iter().find(|scenario| scenario.name == name) {
            Some(scenario) => (scenario.page)(*scrape),
            None => Answer::status(404),
        };
        *scrape += 1;
        answer
    });
    exporter
}

/// What was written of the first scrapes of a job: values by series and number of the scrape.
fn scraped(receiver: &FakeReceiver, job: &str) -> Option<BTreeMap<(Labels, usize), String>> {
    let arrivals = receiver.arrivals();
    let is_of = |labels: &Labels, name: &str| {
        labels.get("__name__").is_some_and(|own| own == name)
            && labels.get("job").is_some_and(|own| own == job)
    };
    let ups: Vec<&Vec<(i64, f64)>> =
        arrivals.iter().filter(|(labels, _)| is_of(labels, "up")).map(|(_, samples)| samples).collect();
    let mut times: Vec<i64> = ups.first()?.iter().map(|(timestamp, _)| *timestamp).collect();
    times.sort_unstable();
    times.dedup();
    // One more, so that all of the last one has arrived.
    if times.len() <= SCRAPES {
        return None;
    }
    let mut all = BTreeMap::new();
    for (labels, samples) in &arrivals {
        let is_job = labels.get("job").is_some_and(|own| own == job)
            || labels.get("exported_job").is_some_and(|own| own == job)
            || job == "honored" && labels.get("job").is_some_and(|own| own == "own");
        // The second target of a job has other times.
        let is_second = labels.get("instance").is_some_and(|own| own == "localhost:1");
        if !is_job || is_second || labels["__name__"].starts_with("scrape_duration") {
            continue;
        }
        for (timestamp, value) in samples {
            let Ok(scrape) = times.binary_search(timestamp) else {
                all.insert((labels.clone(), usize::MAX), format!("{timestamp} is no scrape"));
                continue;
            };
            if scrape < SCRAPES {
                let value = if model::is_stale(*value) { "stale".into() } else { value.to_string() };
                all.insert((labels.clone(), scrape), value);
            }
        }
    }
    Some(all)
}

/// Whether a difference is meant. A page that is broken or over a limit ends all series of the scrape before, also
/// those that stand before the mistake; and no samples of it count.
fn is_meant(name: &str, series: &str, own: Option<&String>, other: Option<&String>) -> bool {
    let fails_late = ["failing", "limited", "openmetrics", "long"].contains(&name);
    let is_ended = own.is_some_and(|own| own == "stale") && other.is_none();
    let is_count = series.starts_with("scrape_samples_") && own.is_some_and(|own| own == "0");
    fails_late && (is_ended || is_count)
}

/// The lines in which both differ.
fn difference(
    name: &str,
    narthex: &BTreeMap<(Labels, usize), String>,
    prometheus: &BTreeMap<(Labels, usize), String>,
) -> String {
    let mut text = String::new();
    let keys: std::collections::BTreeSet<_> = narthex.keys().chain(prometheus.keys()).collect();
    for key in keys {
        let (own, other) = (narthex.get(key), prometheus.get(key));
        if own != other && !is_meant(name, &key.0["__name__"], own, other) {
            let _ = writeln!(text, "{key:?}: {own:?}, and in Prometheus {other:?}");
        }
    }
    text
}

#[test]
fn narthex_writes_what_a_prometheus_agent_writes() {
    let Some(peers) = support::peers() else { return };
    let exporter = exporters();
    let (of_narthex, of_prometheus) = (FakeReceiver::start(), FakeReceiver::start());
    let folder = tempfile::tempdir().unwrap();
    let own_jobs = jobs(&exporter, "narthex", "300ms");
    let text = format!("remote_write: [{{url: '{}'}}]\n{QUIET}{own_jobs}", of_narthex.write_url());
    let path = config(folder.path(), &text);
    let narthex = Narthex::start_in(PROGRAM, "run", &folder.path().join("data"), &["--config", &path]);
    let their_jobs =
        jobs(&exporter, "prometheus", "300ms").replace("extra_scrape_metrics: true", "honor_labels: false");
    let config = format!(
        "remote_write:\n- url: {}\n  queue_config: {{batch_send_deadline: 100ms}}\n{their_jobs}",
        of_prometheus.write_url()
    );
    let arguments = vec!["--enable-feature=extra-scrape-metrics".to_string()];
    let prometheus =
        Prometheus::start(&peers, Options { agent: true, config, arguments, ..Options::default() });
    let mut wrong = String::new();
    for Scenario { name, .. } in SCENARIOS {
        let both = wait_for(&format!("{SCRAPES} scrapes of {name}"), SOON * 3, || {
            match (scraped(&of_narthex, name), scraped(&of_prometheus, name)) {
                (Some(own), Some(other)) => Ok((own, other)),
                (own, other) => Err(format!(
                    "narthex {}, Prometheus {}{}{}",
                    own.is_some(),
                    other.is_some(),
                    narthex.process.tail(),
                    prometheus.process.tail()
                )),
            }
        });
        let (own, mut other) = both;
        if *name != "limited" {
            // The agent adds them to all jobs: it has no setting of a job for them.
            let extra = ["scrape_timeout_seconds", "scrape_sample_limit", "scrape_body_size_bytes"];
            other.retain(|(labels, _), _| !extra.contains(&labels["__name__"].as_str()));
        }
        let found = difference(name, &own, &other);
        if !found.is_empty() {
            let _ = writeln!(wrong, "{name}:\n{found}");
        }
    }
    assert!(wrong.is_empty(), "{wrong}");
}

/// The samples of a series of narthex' so far.
fn samples(receiver: &FakeReceiver, name: &str, job: &str) -> Vec<(i64, f64)> {
    let arrivals = receiver.arrivals();
    let found = arrivals
        .iter()
        .find(|(labels, _)| labels["__name__"] == name && labels.get("job").is_some_and(|own| own == job));
    found.map(|(_, samples)| samples.clone()).unwrap_or_default()
}

fn write(folder: &Path, receiver: &FakeReceiver, jobs: &str) -> String {
    config(folder, &format!("remote_write: [{{url: '{}'}}]\n{QUIET}{jobs}", receiver.write_url()))
}

#[test]
fn a_reload_ends_what_is_gone_and_nothing_else() {
    let exporter = FakeReceiver::start();
    exporter.answer(|_| page(TEXT, "a 1\nb 1\n"));
    let receiver = FakeReceiver::start();
    let folder = tempfile::tempdir().unwrap();
    let address = exporter.url().replace("http://", "");
    let job = |name: &str, more: &str| {
        format!(
            "- {{job_name: {name}, scrape_interval: 100ms, {more} static_configs: [{{targets: ['{address}']}}]}}\n"
        )
    };
    let all = format!("scrape_configs:\n{}{}{}", job("stays", ""), job("changes", ""), job("goes", ""));
    let path = write(folder.path(), &receiver, &all);
    let narthex = Narthex::start_in(PROGRAM, "run", &folder.path().join("data"), &["--config", &path]);
    let has = |name: &str, job: &str, wanted: fn(&[(i64, f64)]) -> bool| {
        wait_for(&format!("{name} of {job}"), SOON, || {
            let samples = samples(&receiver, name, job);
            if wanted(&samples) { Ok(()) } else { Err(format!("{samples:?}{}", narthex.process.tail())) }
        });
    };
    for job in ["stays", "changes", "goes"] {
        has("b", job, |samples| samples.len() >= 3);
    }
    let rule = "metric_relabel_configs: [{source_labels: [__name__], regex: b, action: drop}],";
    write(
        folder.path(),
        &receiver,
        &format!("scrape_configs:\n{}{}", job("stays", ""), job("changes", rule)),
    );
    narthex.reload();
    let ends = |samples: &[(i64, f64)]| samples.last().is_some_and(|(_, value)| model::is_stale(*value));
    has("b", "changes", ends);
    for name in ["a", "b", "up", "scrape_samples_scraped"] {
        has(name, "goes", ends);
    }
    // Series that continue have no marker.
    let markers = |name: &str, job: &str| {
        samples(&receiver, name, job).iter().filter(|(_, value)| model::is_stale(*value)).count()
    };
    for (name, job) in [("a", "stays"), ("b", "stays"), ("up", "stays"), ("a", "changes"), ("up", "changes")]
    {
        assert_eq!(markers(name, job), 0, "{name} {job}");
    }
    for (name, job) in [("b", "changes"), ("a", "goes"), ("up", "goes")] {
        assert_eq!(markers(name, job), 1, "{name} {job}");
    }
    // A stop leaves no markers, either.
    drop(narthex);
    assert_eq!(markers("a", "stays"), 0);
}
