//! From groups of targets to targets: labels by the rules of the job. Pure.

use crate::config::Group;
use crate::job::Job;
use model::{Labels, LabelsRef, duration};
use relabel::{Relabelled, Relabeller};
use std::collections::BTreeMap;
use std::fmt::Write;
use std::time::Duration;
use xxhash_rust::xxh3::xxh3_64;

/// Labels by name.
pub type LabelMap = BTreeMap<String, String>;

const ADDRESS: &str = "__address__";
const SCHEME: &str = "__scheme__";
const PATH: &str = "__metrics_path__";
const INTERVAL: &str = "__scrape_interval__";
const TIMEOUT: &str = "__scrape_timeout__";
const PARAM: &str = "__param_";
const META: &str = "__meta_";
const RESERVED: &str = "__";

/// A target to scrape.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Target {
    /// The labels of its samples.
    pub labels: Labels,
    pub url: String,
    pub interval: Duration,
    pub timeout: Duration,
    /// Its labels before relabelling.
    pub discovered: LabelMap,
    /// A hash of its labels after relabelling, those of the scraper included, and its URL. Targets with the same
    /// identity are the same target.
    pub identity: u64,
}

/// The outcome for one address.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Made {
    Target(Box<Target>),
    /// A rule dropped it.
    Dropped(LabelMap),
    /// It can't be scraped.
    Invalid {
        discovered: LabelMap,
        why: String,
    },
}

/// All targets of a group.
pub fn targets_of(group: &Group, job: &Job) -> Vec<Made> {
    let mut relabeller = Relabeller::new(job.relabel_configs.clone());
    let of_address = |address: &String| {
        let mut labels = group.labels.clone();
        labels.insert(ADDRESS.into(), address.clone());
        make(labels, job, &mut relabeller)
    };
    group.targets.iter().map(of_address).collect()
}

/// Makes a target of the labels that discovery found.
pub fn make(mut labels: LabelMap, job: &Job, relabeller: &mut Relabeller) -> Made {
    let mut default = |name: &str, value: &str| {
        let label = labels.entry(name.to_string()).or_default();
        if label.is_empty() {
            *label = value.to_string();
        }
    };
    default("job", &job.name);
    default(INTERVAL, &exact(job.interval));
    default(TIMEOUT, &exact(job.timeout));
    default(PATH, &job.metrics_path);
    default(SCHEME, job.scheme.as_str());
    for (name, values) in &job.params {
        if let Some(first) = values.first() {
            default(&format!("{PARAM}{name}"), first);
        }
    }
    let discovered = labels;
    let mut bytes = Vec::new();
    let before = Labels::from_pairs(discovered.iter().map(|(name, value)| (name.as_str(), value.as_str())));
    let mut labels = match relabeller.apply(before.as_ref(), &mut bytes) {
        Relabelled::Dropped => return Made::Dropped(discovered),
        Relabelled::Same => map(before.as_ref()),
        Relabelled::Changed => map(LabelsRef::trusted(&bytes)),
    };
    match finish(&mut labels, job) {
        Ok((url, interval, timeout)) => {
            let all = pairs(&labels);
            let identity = xxh3_64(&[Labels::from_pairs(all).as_ref().as_bytes(), url.as_bytes()].concat());
            let public = pairs(&labels).filter(|(name, _)| !name.starts_with(RESERVED));
            let labels = Labels::from_pairs(public);
            Made::Target(Box::new(Target { labels, url, interval, timeout, discovered, identity }))
        }
        Err(why) => Made::Invalid { discovered, why },
    }
}

fn pairs(labels: &LabelMap) -> impl Iterator<Item = (&str, &str)> {
    labels.iter().map(|(name, value)| (name.as_str(), value.as_str()))
}

fn map(labels: LabelsRef<'_>) -> LabelMap {
    labels.iter().map(|(name, value)| (name.into_owned(), value.into_owned())).collect()
}

/// Reads and removes what only discovery and the scraper use. Returns URL, interval and timeout.
fn finish(labels: &mut LabelMap, job: &Job) -> Result<(String, Duration, Duration), String> {
    let get = |name: &str| labels.get(name).map_or("", String::as_str);
    let address = get(ADDRESS).to_string();
    if address.is_empty() {
        return Err("no address: relabelling left __address__ empty".into());
    }
    if address.contains('/') {
        return Err(format!(
            "{address:?} is not an address: write HOST:PORT, and scheme and path as `scheme` and `metrics_path`"
        ));
    }
    let interval = time(INTERVAL, get(INTERVAL))?;
    let timeout = time(TIMEOUT, get(TIMEOUT))?;
    if timeout > interval {
        return Err(format!("{TIMEOUT} {timeout:?} is more than {INTERVAL} {interval:?}"));
    }
    let scheme = get(SCHEME);
    if !matches!(scheme, "http" | "https") {
        return Err(format!("{SCHEME} is {scheme:?}: it must be http or https"));
    }
    let url = url(scheme, &address, get(PATH), labels, job);
    labels.retain(|name, _| !name.starts_with(META));
    if labels.get("instance").is_none_or(String::is_empty) {
        labels.insert("instance".into(), address);
    }
    Ok((url, interval, timeout))
}

fn time(name: &str, text: &str) -> Result<Duration, String> {
    let time = duration::parse(text).map_err(|error| format!("{name}: {error}"))?;
    if time.is_zero() { Err(format!("{name} is 0: it must be longer")) } else { Ok(time) }
}

fn url(scheme: &str, address: &str, path: &str, labels: &LabelMap, job: &Job) -> String {
    let mut params = job.params.clone();
    for (name, value) in labels {
        let Some(name) = name.strip_prefix(PARAM) else { continue };
        let values = params.entry(name.to_string()).or_default();
        match values.first_mut() {
            Some(first) => first.clone_from(value),
            None => values.push(value.clone()),
        }
    }
    let mut url = format!("{scheme}://{address}");
    if !path.starts_with('/') {
        url.push('/');
    }
    push_path(&mut url, path);
    let pairs = params.iter().flat_map(|(name, values)| values.iter().map(move |value| (name, value)));
    let query = form_urlencoded::Serializer::new(String::new()).extend_pairs(pairs).finish();
    if !query.is_empty() {
        url.push('?');
        url.push_str(&query);
    }
    url
}

/// Appends a path, with the characters escaped that a path may not have.
fn push_path(url: &mut String, path: &str) {
    for byte in path.bytes() {
        if byte.is_ascii_alphanumeric() || b"-_.~/$&+,:;=@!*'()".contains(&byte) {
            url.push(char::from(byte));
        } else {
            // Writing to a string can't fail.
            let _ = write!(url, "%{byte:02X}");
        }
    }
}

/// A duration as Prometheus writes it in labels, such as `1m30s`.
pub fn exact(duration: Duration) -> String {
    let mut ms = duration.as_millis();
    if ms == 0 {
        return "0s".into();
    }
    let mut text = String::new();
    // Units that a duration is a multiple of are used only for it as a whole, as in Go's `model.Duration`.
    for (unit, length, whole_only) in [
        ("y", 31_536_000_000, true),
        ("w", 604_800_000, true),
        ("d", 86_400_000, false),
        ("h", 3_600_000, false),
        ("m", 60_000, false),
        ("s", 1000, false),
        ("ms", 1, false),
    ] {
        if whole_only && !ms.is_multiple_of(length) || ms < length {
            continue;
        }
        let _ = write!(text, "{}{unit}", ms / length);
        ms %= length;
    }
    text
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, reason = "helper functions of tests")]
    use super::*;
    use crate::job::tests::job;

    fn one(labels: serde_json::Value, more: serde_json::Value) -> Made {
        let job = job(more);
        let mut relabeller = Relabeller::new(job.relabel_configs.clone());
        make(serde_json::from_value(labels).unwrap(), &job, &mut relabeller)
    }

    /// Labels and URL of a target, or why there is none.
    fn shown(made: Made) -> (String, String) {
        match made {
            Made::Target(target) => (target.labels.to_string(), target.url),
            Made::Dropped(_) => ("dropped".into(), String::new()),
            Made::Invalid { why, .. } => ("invalid".into(), why),
        }
    }

    #[test]
    fn targets_get_labels_as_in_prometheus() {
        let json = |text: &str| serde_json::from_str::<serde_json::Value>(text).unwrap();
        for (labels, more, wanted, url) in [
            (
                r#"{"__address__": "1.2.3.4:1000", "custom": "value"}"#,
                "{}",
                r#"{custom="value",instance="1.2.3.4:1000",job="j"}"#,
                "http://1.2.3.4:1000/metrics",
            ),
            // The target's own labels win over the settings of the job.
            (
                r#"{"__address__": "1.2.3.4", "__scheme__": "https", "__metrics_path__": "/custom", "job": "own-job",
                    "__scrape_interval__": "2s", "__scrape_timeout__": "1s"}"#,
                "{}",
                r#"{instance="1.2.3.4",job="own-job"}"#,
                "https://1.2.3.4/custom",
            ),
            (
                r#"{"__address__": "a:1", "instance": "own", "__meta_x": "1", "__tmp": "2"}"#,
                "{}",
                r#"{instance="own",job="j"}"#,
                "http://a:1/metrics",
            ),
            // Parameters: the first value can be changed by a label.
            (
                r#"{"__address__": "a:1"}"#,
                r#"{"params": {"x": ["1", "2"], "b c": ["é"]}, "metrics_path": "p q",
                    "relabel_configs": [{"target_label": "__param_x", "replacement": "9"},
                                        {"source_labels": ["__param_x"], "target_label": "x"},
                                        {"target_label": "__param_new", "replacement": "n"}]}"#,
                r#"{instance="a:1",job="j",x="9"}"#,
                "http://a:1/p%20q?b+c=%C3%A9&new=n&x=9&x=2",
            ),
            (
                r#"{"__address__": "a:1"}"#,
                r#"{"relabel_configs": [{"source_labels": ["__address__"], "regex": "a:1", "action": "drop"}]}"#,
                "dropped",
                "",
            ),
            (r#"{"job": "x"}"#, "{}", "invalid", "no address: relabelling left __address__ empty"),
            (
                r#"{"__address__": "a:1", "__scrape_interval__": "0s"}"#,
                "{}",
                "invalid",
                "__scrape_interval__ is 0: it must be longer",
            ),
            (
                r#"{"__address__": "a:1", "__scrape_interval__": "1s", "__scrape_timeout__": "2s"}"#,
                "{}",
                "invalid",
                "__scrape_timeout__ 2s is more than __scrape_interval__ 1s",
            ),
            (
                r#"{"__address__": "a:1", "__scheme__": "ftp"}"#,
                "{}",
                "invalid",
                r#"__scheme__ is "ftp": it must be http or https"#,
            ),
        ] {
            assert_eq!(shown(one(json(labels), json(more))), (wanted.into(), url.into()), "{labels} {more}");
        }
    }

    #[test]
    fn an_identity_depends_on_labels_and_url_without_meta_labels() {
        let identity = |labels: serde_json::Value| match one(labels, serde_json::json!({})) {
            Made::Target(target) => target.identity,
            other => panic!("{other:?}"),
        };
        let first = identity(serde_json::json!({"__address__": "a:1"}));
        assert_eq!(first, identity(serde_json::json!({"__address__": "a:1", "__meta_x": "1"})));
        for other in [
            serde_json::json!({"__address__": "a:2"}),
            serde_json::json!({"__address__": "a:1", "x": "1"}),
            serde_json::json!({"__address__": "a:1", "__metrics_path__": "/x"}),
        ] {
            assert_ne!(first, identity(other));
        }
    }

    #[test]
    fn durations_are_written_as_in_labels_of_prometheus() {
        for (ms, text) in [
            (15_000, "15s"),
            (60_000, "1m"),
            (90_000, "1m30s"),
            (1_500, "1s500ms"),
            (86_400_000, "1d"),
            (604_800_000, "1w"),
            (604_801_000, "7d1s"),
        ] {
            let duration = Duration::from_millis(ms);
            assert_eq!(exact(duration), text);
            assert_eq!(model::duration::parse(text), Ok(duration));
        }
    }
}
