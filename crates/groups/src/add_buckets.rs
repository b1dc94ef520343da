//! Checks that the classic histograms of a push can be added to those of a group. Pure.

use crate::add::AddError;
use crate::group::{Member, Reading};
use model::Labels;
use model::labels::METRIC_NAME;
use std::collections::{BTreeMap, BTreeSet};

/// A classic histogram.
#[derive(Debug, Default)]
struct Classic {
    /// Counts by the text of their bounds.
    buckets: BTreeMap<String, f64>,
    count: Option<f64>,
    is_native: bool,
}

/// Checks that each classic histogram of a push is consistent and has the same buckets as in the group. Other buckets
/// can't be added, because the number of observations below a bound that only one of the two has is unknown.
pub(crate) fn check(name: &str, had: &[Member], pushed: &[Member]) -> Result<(), AddError> {
    let had = histograms(name, had);
    for (series, pushed) in histograms(name, pushed) {
        if let Err(reason) = pushed.check() {
            return Err(AddError::Histogram { series: series.to_string(), reason });
        }
        if had.get(&series).is_some_and(|had| !had.buckets.is_empty() && had.bounds() != pushed.bounds()) {
            return Err(AddError::Buckets { name: name.into(), series: series.to_string() });
        }
    }
    Ok(())
}

/// The histograms of a family, by their labels without `le`.
fn histograms(name: &str, members: &[Member]) -> BTreeMap<Labels, Classic> {
    let mut histograms: BTreeMap<Labels, Classic> = BTreeMap::new();
    for member in members {
        let labels = member.labels.as_ref();
        let metric = labels.metric_name().and_then(|metric| metric.strip_prefix(name.as_bytes()));
        let le = labels.get("le").filter(|_| metric == Some(b"_bucket"));
        let pairs: Vec<_> = labels.iter().filter(|(label, _)| label != "le" || le.is_none()).collect();
        let pairs = pairs.iter().map(|(label, value)| match label.as_ref() {
            METRIC_NAME => (METRIC_NAME, name),
            label => (label, value.as_ref()),
        });
        let histogram = histograms.entry(Labels::from_pairs(pairs)).or_default();
        match (&member.reading, metric, le) {
            (Reading::Histogram(_), ..) => histogram.is_native = true,
            (Reading::Float(count), Some(b"_bucket"), Some(le)) => {
                histogram.buckets.insert(String::from_utf8_lossy(le).into_owned(), *count);
            }
            (Reading::Float(count), Some(b"_count"), _) => histogram.count = Some(*count),
            (Reading::Float(_), ..) => {}
        }
    }
    histograms
}

impl Classic {
    fn bounds(&self) -> BTreeSet<&str> {
        self.buckets.keys().map(String::as_str).collect()
    }

    fn check(&self) -> Result<(), String> {
        if self.buckets.is_empty() {
            return if self.is_native { Ok(()) } else { Err("has no buckets".into()) };
        }
        let mut buckets = Vec::new();
        for (le, count) in &self.buckets {
            match le.parse::<f64>() {
                Ok(bound) if !bound.is_nan() => buckets.push((bound, le, *count)),
                _ => return Err(format!("has a bucket whose bound le={le:?} is not a number")),
            }
        }
        buckets.sort_by(|one, other| one.0.total_cmp(&other.0));
        for ((_, le, count), (_, next_le, next)) in buckets.iter().zip(buckets.iter().skip(1)) {
            if count > next {
                return Err(format!(
                    "has {count} observations up to le={le:?} and only {next} up to {next_le:?}"
                ));
            }
        }
        match (buckets.last(), self.count) {
            (Some((bound, _, all)), Some(count)) if *bound == f64::INFINITY && *all != count => {
                Err(format!("has {all} observations in its buckets, and its count is {count}"))
            }
            (Some((bound, ..)), _) if *bound != f64::INFINITY => Err("has no bucket le=\"+Inf\"".into()),
            _ => Ok(()),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn histogram(buckets: &[(&str, f64)], count: Option<f64>) -> Vec<Member> {
        let member = |labels: &[(&str, &str)], value| Member {
            labels: Labels::from_pairs(labels.iter().copied()),
            reading: Reading::Float(value),
            start: 0,
            time: 0,
            exemplars: vec![],
        };
        let count = count.map(|count| member(&[(METRIC_NAME, "m_count"), ("x", "1")], count));
        let bucket =
            |(le, count): &(&str, f64)| member(&[(METRIC_NAME, "m_bucket"), ("le", le), ("x", "1")], *count);
        buckets.iter().map(bucket).chain(count).collect()
    }

    #[test]
    fn inconsistent_histograms_are_refused_with_the_reason() {
        type Case<'c> = (&'c [(&'c str, f64)], Option<f64>, &'c str);
        let cases: [Case<'_>; 8] = [
            (&[("1", 2.0), ("10", 2.0), ("+Inf", 3.0)], Some(3.0), ""),
            (&[("+Inf", 0.0)], None, ""),
            // The order of the numbers differs from that of their texts.
            (&[("9", 1.0), ("10", 2.0), ("-3", 0.0), ("+Inf", 2.0)], Some(2.0), ""),
            (&[], Some(3.0), "has no buckets"),
            (&[("1", 2.0)], Some(2.0), "has no bucket le=\"+Inf\""),
            (
                &[("1", 3.0), ("2", 2.0), ("+Inf", 3.0)],
                Some(3.0),
                "has 3 observations up to le=\"1\" and only 2",
            ),
            (
                &[("1", 2.0), ("+Inf", 3.0)],
                Some(4.0),
                "has 3 observations in its buckets, and its count is 4",
            ),
            (&[("one", 2.0), ("+Inf", 3.0)], Some(3.0), "bound le=\"one\" is not a number"),
        ];
        for (buckets, count, reason) in cases {
            let refused = check("m", &[], &histogram(buckets, count)).map_err(|error| error.to_string());
            match reason {
                "" => assert_eq!(refused, Ok(()), "{buckets:?}"),
                reason => {
                    let told = refused.unwrap_err();
                    assert!(told.starts_with("histogram m{x=\"1\"} has") && told.contains(reason), "{told}");
                }
            }
        }
    }
}
