//! Parses answers of Prometheus' query API, which VictoriaMetrics also has, and metrics pages.

use crate::http::{Response, encode, get};
use serde_json::Value as Json;
use std::collections::BTreeMap;

/// A label set, including `__name__`.
pub type Labels = BTreeMap<String, String>;

/// The value of one series in the answer to an instant query.
#[derive(Debug, Clone, PartialEq)]
pub struct Sample {
    pub labels: Labels,
    pub value: f64,
}

/// The stored samples of one series: milliseconds since 1970, and the value.
#[derive(Debug, Clone, PartialEq)]
pub struct RawSeries {
    pub labels: Labels,
    pub samples: Vec<(i64, f64)>,
    /// Native histograms as the API returns them.
    pub histograms: Vec<(i64, Json)>,
}

/// Labels from pairs.
pub fn labels<'a>(pairs: impl IntoIterator<Item = (&'a str, &'a str)>) -> Labels {
    pairs.into_iter().map(|(name, value)| (name.to_string(), value.to_string())).collect()
}

/// An instant query at the current time or at `time` (milliseconds since 1970). Native histograms are left
/// out.
#[track_caller]
pub(crate) fn instant(base: &str, promql: &str, time: Option<i64>) -> Vec<Sample> {
    let at = time.map_or(String::new(), |time| format!("&time={}", seconds(time)));
    let result = result(get(&format!("{base}/api/v1/query?query={}{at}", encode(promql))), promql);
    let sample = |series: &Json| {
        let value = series.get("value")?;
        Some(Sample { labels: labels_of(series), value: number(&value[1]) })
    };
    result.iter().filter_map(sample).collect()
}

/// A range query from `from` to `to` in steps of `step` (all in milliseconds): the value at each step.
#[track_caller]
pub(crate) fn range(base: &str, promql: &str, from: i64, to: i64, step: i64) -> Vec<RawSeries> {
    let url = format!(
        "{base}/api/v1/query_range?query={}&start={}&end={}&step={}",
        encode(promql),
        seconds(from),
        seconds(to),
        seconds(step)
    );
    result(get(&url), promql).iter().map(raw_series).collect()
}

/// The stored samples of all series that match `selector`, in the `window` (`1h`) before now or before
/// `time`. The API leaves out staleness markers.
#[track_caller]
pub(crate) fn raw(base: &str, selector: &str, window: &str, time: Option<i64>) -> Vec<RawSeries> {
    let at = time.map_or(String::new(), |time| format!("&time={}", seconds(time)));
    let query = format!("{selector}[{window}]");
    let url = format!("{base}/api/v1/query?query={}{at}", encode(&query));
    result(get(&url), &query).iter().map(raw_series).collect()
}

/// The value of a metric on a metrics page: `name`, or `name{label="value"}` as it is written on the page.
pub(crate) fn metric(base: &str, series: &str) -> Option<f64> {
    let page = get(&format!("{base}/metrics")).ok()?.text();
    metric_in(&page, series)
}

/// The value of a metric in the text of a metrics page. A bare name stands for the first series of that name.
pub fn metric_in(page: &str, series: &str) -> Option<f64> {
    page.lines().filter(|line| !line.starts_with('#')).find_map(|line| {
        let rest = line.strip_prefix(series)?;
        match rest.bytes().next()? {
            b' ' => number_text(rest.split_whitespace().next()?),
            b'{' => number_text(rest.rsplit("} ").next()?.split_whitespace().next()?),
            _ => None,
        }
    })
}

#[track_caller]
fn result(answer: Result<Response, String>, query: &str) -> Vec<Json> {
    let answer = answer.unwrap_or_else(|error| panic!("query {query}: {error}"));
    let json = answer.json();
    assert_eq!(json["status"], "success", "query {query}: {json}");
    match &json["data"]["result"] {
        Json::Array(series) => series.clone(),
        other => panic!("query {query}: no list of series but {other}"),
    }
}

fn raw_series(series: &Json) -> RawSeries {
    let pairs = |key: &str| series[key].as_array().cloned().unwrap_or_default();
    RawSeries {
        labels: labels_of(series),
        samples: pairs("values").iter().map(|pair| (milliseconds(&pair[0]), number(&pair[1]))).collect(),
        histograms: pairs("histograms")
            .iter()
            .map(|pair| (milliseconds(&pair[0]), pair[1].clone()))
            .collect(),
    }
}

fn labels_of(series: &Json) -> Labels {
    labels_from(&series["metric"])
}

pub(crate) fn labels_from(metric: &Json) -> Labels {
    let pairs = metric.as_object().expect("a series has an object `metric`");
    pairs.iter().map(|(name, value)| (name.clone(), value.as_str().unwrap_or_default().into())).collect()
}

/// A value in any of these notations: text (Prometheus' API), a number, or null for NaN (VictoriaMetrics'
/// export).
pub(crate) fn number(value: &Json) -> f64 {
    match value {
        Json::String(text) => number_text(text).unwrap_or_else(|| panic!("no number: {text:?}")),
        Json::Null => f64::NAN,
        other => other.as_f64().unwrap_or_else(|| panic!("no number: {other}")),
    }
}

fn number_text(text: &str) -> Option<f64> {
    // Rust parses "NaN", "+Inf" and "-Inf" in the spelling of Prometheus.
    text.parse().ok()
}

fn milliseconds(seconds: &Json) -> i64 {
    (seconds.as_f64().unwrap_or_else(|| panic!("no time: {seconds}")) * 1000.0).round() as i64
}

fn seconds(milliseconds: i64) -> String {
    format!("{}.{:03}", milliseconds.div_euclid(1000), milliseconds.rem_euclid(1000))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_metrics_page_is_read_by_name_or_by_series() {
        let page =
            "# TYPE a counter\na_total 1\na 2.5\nb{x=\"1\"} 3\nb{x=\"2 } \"} +Inf\nc 7 1700000000000\n";
        assert_eq!(metric_in(page, "a"), Some(2.5));
        assert_eq!(metric_in(page, "b"), Some(3.0));
        assert_eq!(metric_in(page, "b{x=\"2 } \"}"), Some(f64::INFINITY));
        assert_eq!(metric_in(page, "c"), Some(7.0));
        assert_eq!(metric_in(page, "d"), None);
    }

    #[test]
    fn times_keep_their_milliseconds() {
        assert_eq!(seconds(1_700_000_000_007), "1700000000.007");
        assert_eq!(milliseconds(&serde_json::json!(1_700_000_000.007)), 1_700_000_000_007);
    }
}
