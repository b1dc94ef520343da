//! Writes groups as a page to scrape, as the Pushgateway does. Pure.
//!
//! Series without an `instance` have an empty one on the page, so that a scrape with `honor_labels: true` does not set
//! it to the scraped address.

use crate::escaping::{Escaping, NameOf};
use crate::group::{Family, Group, Kept, Member, Reading};
use crate::packed::Families;
use formats::text::type_word;
use model::labels::METRIC_NAME;
use model::{Counts, Labels, MetricType};
use std::collections::BTreeMap;
use std::fmt::Write;
use std::sync::Arc;

/// The text format of all groups. Families with the same name are merged.
pub fn exposition(groups: &[Arc<Group>], escaping: Escaping) -> String {
    let times: Vec<Vec<(&'static str, Family)>> = groups.iter().map(|group| push_times(group)).collect();
    let mut families: BTreeMap<&str, Vec<&Family>> = BTreeMap::new();
    for (name, family) in times.iter().flatten() {
        families.entry(name).or_default().push(family);
    }
    let unpacked: Vec<Families> = groups.iter().map(|group| group.families.unpack()).collect();
    for (name, kept) in unpacked.iter().flatten() {
        families.entry(name).or_default().push(&kept.family);
    }
    let escaped = escaping.escape_all(families.keys().copied(), NameOf::Metric);
    let mut out = String::new();
    for (name, families) in families {
        let shown = escaped.get(name).map_or(name, |shown| shown);
        let quoted = if NameOf::Metric.is_legacy(shown) { shown.into() } else { quote(shown) };
        // Help texts may differ; the first one is written.
        if let Some(family) = families.iter().find(|family| !family.help.is_empty()) {
            let help = family.help.replace('\\', "\\\\").replace('\n', "\\n");
            let _ = writeln!(out, "# HELP {quoted} {help}");
        }
        if let Some(family) = families.first() {
            // A name can have only one TYPE in a text.
            let one = families.iter().all(|other| other.kind == family.kind);
            let _ = writeln!(out, "# TYPE {quoted} {}", if one { type_word(family.kind) } else { "untyped" });
        }
        for family in families {
            for member in &family.members {
                let series = member.labels.as_ref().metric_name().unwrap_or_default();
                let suffix = series.strip_prefix(name.as_bytes()).unwrap_or_default();
                let series = format!("{shown}{}", String::from_utf8_lossy(suffix));
                put_member(&mut out, &series, family.kind, member, escaping);
            }
        }
    }
    out
}

/// The push times of a group as families.
pub fn push_times(group: &Group) -> Vec<(&'static str, Family)> {
    let family = |(name, help, value): (&'static str, &str, f64)| {
        let labels = group.time_labels(name);
        let members =
            vec![Member { labels, reading: Reading::Float(value), start: 0, time: 0, exemplars: Vec::new() }];
        (name, Family { kind: MetricType::Gauge, help: help.into(), unit: String::new(), members })
    };
    group.push_times().map(family).into()
}

/// All families of a group, including its push times, with the time of their push.
pub fn all_families(group: &Group) -> Vec<(String, Kept)> {
    let pushed = [group.pushed, group.failed];
    let times = push_times(group).into_iter().zip(pushed);
    let times =
        times.map(|((name, family), at)| (name.to_string(), Kept { family: Arc::new(family), pushed: at }));
    times.chain(group.families.unpack()).collect()
}

fn put_member(out: &mut String, name: &str, kind: MetricType, member: &Member, escaping: Escaping) {
    let labels = shown_labels(&member.labels, kind);
    let escaped = escaping.escape_all(labels.keys().map(String::as_str), NameOf::Label);
    let labels: Vec<(&str, &str)> = labels
        .iter()
        .map(|(label, value)| {
            (escaped.get(label.as_str()).map_or(label.as_str(), |shown| shown), value.as_str())
        })
        .collect();
    match &member.reading {
        Reading::Float(value) => put_sample(out, name, &labels, *value),
        // The text format has no native histograms, so only the count, the sum and the `+Inf` bucket are written.
        Reading::Histogram(histogram) => {
            let count = match &histogram.counts {
                Counts::Integer { count, .. } => *count as f64,
                Counts::Float { count, .. } => *count,
            };
            let infinite = [&labels[..], &[("le", "+Inf")]].concat();
            put_sample(out, &format!("{name}_bucket"), &infinite, count);
            put_sample(out, &format!("{name}_sum"), &labels, histogram.sum);
            put_sample(out, &format!("{name}_count"), &labels, count);
        }
    }
}

fn put_sample(out: &mut String, name: &str, labels: &[(&str, &str)], value: f64) {
    let legacy = NameOf::Metric.is_legacy(name);
    out.push_str(if legacy { name } else { "" });
    out.push('{');
    if !legacy {
        out.push_str(&quote(name));
        out.push(',');
    }
    for (index, (name, value)) in labels.iter().enumerate() {
        let name = if NameOf::Label.is_legacy(name) { (*name).into() } else { quote(name) };
        let _ = write!(out, "{}{name}={}", if index == 0 { "" } else { "," }, quote(value));
    }
    let _ = writeln!(out, "}} {}", number(value));
}

/// The labels of a series as the Pushgateway shows them: without the metric name, always with an `instance`, and with
/// the bounds of histograms and summaries as Go prints floats. Sent samples have the bounds as Prometheus writes them.
pub fn shown_labels(labels: &Labels, kind: MetricType) -> BTreeMap<String, String> {
    let pairs = labels.as_ref().iter().filter(|(name, _)| name != METRIC_NAME);
    let mut shown: BTreeMap<String, String> =
        pairs.map(|(name, value)| (name.into_owned(), value.into_owned())).collect();
    shown.entry("instance".into()).or_default();
    let bound = match kind {
        MetricType::Histogram => "le",
        MetricType::Summary => "quantile",
        _ => return shown,
    };
    if let Some(text) = shown.get_mut(bound)
        && let Ok(bound) = formats::text::float(text)
    {
        *text = number(bound);
    }
    shown
}

/// A float as Go prints it: the shortest digits, with an exponent if that is below -4 or above 5.
pub fn number(value: f64) -> String {
    if value.is_nan() {
        return "NaN".into();
    }
    if value.is_infinite() {
        return if value > 0.0 { "+Inf".into() } else { "-Inf".into() };
    }
    let text = format!("{value:e}");
    let (digits, exponent) = text.split_once('e').unwrap_or((&text, "0"));
    let exponent: i32 = exponent.parse().unwrap_or(0);
    if value == 0.0 || (-4..6).contains(&exponent) {
        return format!("{value}");
    }
    format!("{digits}e{}{:02}", if exponent < 0 { '-' } else { '+' }, exponent.abs())
}

fn quote(text: &str) -> String {
    format!("\"{}\"", text.replace('\\', "\\\\").replace('"', "\\\"").replace('\n', "\\n"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn numbers_are_written_as_by_go() {
        for (value, text) in [
            (0.0, "0"),
            (1.5, "1.5"),
            (123456.0, "123456"),
            (1234567.0, "1.234567e+06"),
            (1e21, "1e+21"),
            (0.0001, "0.0001"),
            (0.00001, "1e-05"),
            (-2.5e-7, "-2.5e-07"),
            (1.6488571168761053e9, "1.6488571168761053e+09"),
            (f64::NEG_INFINITY, "-Inf"),
        ] {
            assert_eq!(number(value), text);
        }
    }
}
