//! What observations become according to the file: a histogram or a summary.

use super::Fault;
use super::file::{Defaults, HistogramOptions, ObserverType, Quantile, Rule, SummaryOptions};
use std::time::Duration;

/// The default buckets of Prometheus' client libraries.
pub const DEFAULT_BUCKETS: [f64; 11] = [0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0];
/// Largest number of buckets of a histogram.
pub const BUCKETS_MAX: usize = 200;
/// The default quantiles of statsd_exporter.
const DEFAULT_QUANTILES: [f64; 3] = [0.5, 0.9, 0.99];
/// The default time for which observations count in quantiles, as in statsd_exporter.
const DEFAULT_MAX_AGE: Duration = Duration::from_secs(600);
/// Largest number of buckets of a native histogram if the file has only the factor.
const DEFAULT_NATIVE_BUCKETS: u32 = 256;

/// What observations become.
#[derive(Debug, Clone, PartialEq)]
pub enum Observer {
    Histogram {
        buckets: Vec<f64>,
        native: Option<Native>,
    },
    /// The sum, the count, and these quantiles of the observations in the last `max_age`.
    Summary {
        quantiles: Vec<f64>,
        max_age: Duration,
    },
}

/// Settings of a native histogram.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Native {
    /// Upper limit for the ratio of a bound to the previous one.
    pub factor: f64,
    pub max_buckets: u32,
}

/// Observer for names that no rule matches.
pub(crate) fn default(defaults: &Defaults, faults: &mut Vec<Fault>) -> Observer {
    check_options(
        "defaults",
        defaults.summary_options.as_ref(),
        defaults.histogram_options.as_ref(),
        (defaults.quantiles.as_ref(), defaults.buckets.as_ref()),
        faults,
    );
    of(defaults.observer_type.or(defaults.timer_type), &Rule::default(), defaults)
}

pub(crate) fn of_rule(index: usize, rule: &Rule, defaults: &Defaults, faults: &mut Vec<Fault>) -> Observer {
    let key = format!("mappings[{index}]");
    let (summary, histogram) = (rule.summary_options.as_ref(), rule.histogram_options.as_ref());
    check_options(&key, summary, histogram, (rule.quantiles.as_ref(), rule.buckets.as_ref()), faults);
    let given = rule.observer_type.or(rule.timer_type);
    let kind = given.or(defaults.observer_type).or(defaults.timer_type).unwrap_or_default();
    let mut add = |below: &str, message: &str| {
        faults.push(Fault { key: format!("{key}.{below}"), message: message.into() });
    };
    match kind {
        ObserverType::Histogram if summary.is_some() => {
            add("summary_options", "observer_type is histogram: leave these options out, or say summary");
        }
        ObserverType::Summary if histogram.is_some() => {
            add("histogram_options", "observer_type is summary: leave these options out, or say histogram");
        }
        _ => {}
    }
    let is_twice = |old: bool, new: bool| old && new;
    if is_twice(rule.quantiles.is_some(), summary.is_some_and(|options| options.quantiles.is_some())) {
        add("quantiles", "summary_options has quantiles, too: keep only those");
    }
    if is_twice(rule.buckets.is_some(), histogram.is_some_and(|options| options.buckets.is_some())) {
        add("buckets", "histogram_options has buckets, too: keep only those");
    }
    of(Some(kind), rule, defaults)
}

fn of(kind: Option<ObserverType>, rule: &Rule, defaults: &Defaults) -> Observer {
    match kind.unwrap_or_default() {
        ObserverType::Summary => {
            let own = rule.summary_options.clone().unwrap_or_default();
            let other = defaults.summary_options.clone().unwrap_or_default();
            let lists = [&rule.quantiles, &own.quantiles, &other.quantiles, &defaults.quantiles];
            let quantiles = lists.into_iter().flatten().find(|list| !list.is_empty());
            let quantiles = quantiles.map(|list| list.iter().map(|of: &Quantile| of.quantile).collect());
            let ages = [own.max_age, other.max_age];
            let max_age = ages.into_iter().flatten().map(|age| age.0).find(|age| !age.is_zero());
            Observer::Summary {
                quantiles: quantiles.unwrap_or_else(|| DEFAULT_QUANTILES.into()),
                max_age: max_age.unwrap_or(DEFAULT_MAX_AGE),
            }
        }
        ObserverType::Histogram => {
            let own = rule.histogram_options.clone().unwrap_or_default();
            let other = defaults.histogram_options.clone().unwrap_or_default();
            let lists = [&rule.buckets, &own.buckets, &other.buckets, &defaults.buckets];
            let buckets = lists.into_iter().flatten().find(|list| !list.is_empty()).cloned();
            // The bound infinity is implied.
            let buckets = buckets.map(|list| list.into_iter().filter(|bound| bound.is_finite()).collect());
            let factor = own.native_histogram_bucket_factor.or(other.native_histogram_bucket_factor);
            let most = own.native_histogram_max_buckets.or(other.native_histogram_max_buckets);
            let max_buckets = most.filter(|most| *most > 0).unwrap_or(DEFAULT_NATIVE_BUCKETS);
            let factor = factor.filter(|factor| *factor > 1.0);
            Observer::Histogram {
                buckets: buckets.unwrap_or_else(|| DEFAULT_BUCKETS.into()),
                native: factor.map(|factor| Native { factor, max_buckets }),
            }
        }
    }
}

/// Checks the numbers in the sections below `key`.
fn check_options(
    key: &str,
    summary: Option<&SummaryOptions>,
    histogram: Option<&HistogramOptions>,
    (old_quantiles, old_buckets): (Option<&Vec<Quantile>>, Option<&Vec<f64>>),
    faults: &mut Vec<Fault>,
) {
    let quantiles = [
        (old_quantiles, "quantiles"),
        (summary.and_then(|options| options.quantiles.as_ref()), "summary_options.quantiles"),
    ];
    for (list, below) in quantiles {
        let is_wrong = |of: &&Quantile| !(0.0..=1.0).contains(&of.quantile);
        if let Some(wrong) = list.into_iter().flatten().find(is_wrong) {
            let message = format!("{} is not a quantile: from 0 to 1", wrong.quantile);
            faults.push(Fault { key: format!("{key}.{below}"), message });
        }
    }
    let buckets = [
        (old_buckets, "buckets"),
        (histogram.and_then(|options| options.buckets.as_ref()), "histogram_options.buckets"),
    ];
    for (list, below) in buckets {
        let list = list.map(Vec::as_slice).unwrap_or_default();
        if list.len() > BUCKETS_MAX {
            let message = format!("{} buckets are too many: at most {BUCKETS_MAX}", list.len());
            faults.push(Fault { key: format!("{key}.{below}"), message });
        }
        if list.iter().any(|bound| bound.is_nan()) || !list.is_sorted_by(|one, next| one < next) {
            let message = "the bounds of buckets have to increase".to_string();
            faults.push(Fault { key: format!("{key}.{below}"), message });
        }
    }
}
