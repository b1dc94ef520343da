//! Adds a push to a group: counters and histograms are summed, gauges follow a rule. Pure.

use crate::add_buckets;
use crate::add_histogram;
use crate::group::{Family, Member, Reading};
use crate::packed::Families;
use model::words::with_article;
use model::{Labels, MetricType};
use std::collections::HashMap;
use std::sync::Arc;

/// The header that turns on adding, like the URL parameter `add`.
pub const ADD_HEADER: &str = "narthex-add";

/// The prefix of a group's path below which every push is added. A client library with a base URL that ends in this
/// prefix adds all its pushes.
pub const PATH_PREFIX: &str = "/add";

/// The rule for a gauge that the group has already.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Gauges {
    /// The value that was pushed last.
    Last,
    Max,
    Min,
    Sum,
}

impl Gauges {
    /// Parses the rule. An empty text is [`Gauges::Last`].
    pub fn parse(text: &str) -> Result<Gauges, String> {
        match text {
            "" | "last" => Ok(Gauges::Last),
            "max" => Ok(Gauges::Max),
            "min" => Ok(Gauges::Min),
            "sum" => Ok(Gauges::Sum),
            other => Err(format!(
                "add={other:?} is no rule for gauges: last, max, min or sum (counters and histograms are always added)"
            )),
        }
    }

    fn apply(self, has: f64, pushed: f64) -> f64 {
        match self {
            Gauges::Last => pushed,
            Gauges::Max => has.max(pushed),
            Gauges::Min => has.min(pushed),
            Gauges::Sum => has + pushed,
        }
    }
}

/// Why a push can't be added.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum AddError {
    #[error(
        "metric {name:?} has no type, so narthex can't know how to add it: write `# TYPE {name} counter`"
    )]
    NoType { name: String },
    #[error("metric {name:?} is {}, which can't be added", with_article(kind))]
    Type { name: String, kind: &'static str },
    #[error(
        "metric {name:?} is {} in the group and {} in the push: delete the group, or replace it by PUT",
        with_article(has),
        with_article(pushed)
    )]
    OtherType { name: String, has: &'static str, pushed: &'static str },
    #[error(
        "metric {name:?}: the buckets of {series} are not those that the group has: delete the group, or replace it by PUT"
    )]
    Buckets { name: String, series: String },
    #[error("histogram {series} {reason}, so it can't be added")]
    Histogram { series: String, reason: String },
    #[error("series {series}: {value} can't be added to a total")]
    Value { series: String, value: String },
    #[error("series {series} has a timestamp: what is added is a total of many pushes and can't have one")]
    Timestamp { series: String },
    #[error("series {series}: {reason}")]
    Native { series: String, reason: &'static str },
}

/// The kind of a series in a family, which decides how it is added.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Part {
    /// Never negative.
    Count,
    /// The sum of a histogram or summary: may be negative.
    Sum,
    Gauge,
    /// A quantile or a constant: the last value is kept.
    Last,
}

/// Adds the families of a push to those of the group with the same names. `wall` is the time of the push in
/// milliseconds since 1970.
pub fn added(
    had: &Families,
    pushed: &[(String, Arc<Family>)],
    gauges: Gauges,
    wall: i64,
) -> Result<Vec<(String, Arc<Family>)>, AddError> {
    let add = |(name, family): &(String, Arc<Family>)| {
        let had = had.get(name).map(|kept| &*kept.family);
        Ok((name.clone(), Arc::new(add_family(name, had, family, gauges, wall)?)))
    };
    pushed.iter().map(add).collect()
}

fn add_family(
    name: &str,
    had: Option<&Family>,
    pushed: &Family,
    gauges: Gauges,
    wall: i64,
) -> Result<Family, AddError> {
    match pushed.kind {
        MetricType::Unknown => return Err(AddError::NoType { name: name.into() }),
        MetricType::GaugeHistogram => {
            return Err(AddError::Type { name: name.into(), kind: pushed.kind.as_str() });
        }
        _ => {}
    }
    if let Some(has) = had.map(|had| had.kind).filter(|has| *has != pushed.kind) {
        let (has, pushed) = (has.as_str(), pushed.kind.as_str());
        return Err(AddError::OtherType { name: name.into(), has, pushed });
    }
    let known = had;
    let had = known.map(|known| known.members.as_slice()).unwrap_or_default();
    if pushed.kind == MetricType::Histogram {
        add_buckets::check(name, had, &pushed.members)?;
    }
    let mut members: Vec<Member> = had.to_vec();
    let places: HashMap<&Labels, usize> =
        had.iter().enumerate().map(|(place, member)| (&member.labels, place)).collect();
    for member in &pushed.members {
        if member.time != 0 {
            return Err(AddError::Timestamp { series: member.labels.to_string() });
        }
        let part = part(pushed.kind, &member.labels);
        check(part, member)?;
        let has = places.get(&member.labels).and_then(|place| members.get_mut(*place));
        let is_total = matches!(part, Part::Count | Part::Sum);
        match has {
            Some(has) => {
                has.reading = add(part, has, member, gauges)?;
                has.exemplars = member.exemplars.clone();
            }
            None => {
                // The total begins with the first push. The start time in the push is that of the program, so it is
                // ignored.
                let start = if is_total { wall.saturating_sub(1) } else { 0 };
                members.push(Member { start, ..member.clone() });
            }
        }
    }
    let text = |of: fn(&Family) -> &String| {
        let pushed = Some(of(pushed)).filter(|text| !text.is_empty());
        pushed.or(known.map(of)).cloned().unwrap_or_default()
    };
    let (help, unit) = (text(|family| &family.help), text(|family| &family.unit));
    Ok(Family { kind: pushed.kind, help, unit, members })
}

fn part(kind: MetricType, labels: &Labels) -> Part {
    let name = labels.as_ref().metric_name().unwrap_or_default();
    match kind {
        MetricType::Counter => Part::Count,
        MetricType::Histogram | MetricType::Summary if name.ends_with(b"_sum") => Part::Sum,
        MetricType::Histogram => Part::Count,
        MetricType::Summary if name.ends_with(b"_count") => Part::Count,
        MetricType::Gauge => Part::Gauge,
        _ => Part::Last,
    }
}

fn check(part: Part, member: &Member) -> Result<(), AddError> {
    let Reading::Float(value) = member.reading else { return Ok(()) };
    let is_wrong = match part {
        Part::Count => !value.is_finite() || value < 0.0,
        Part::Sum => !value.is_finite(),
        Part::Gauge | Part::Last => false,
    };
    match is_wrong {
        true => Err(AddError::Value { series: member.labels.to_string(), value: value.to_string() }),
        false => Ok(()),
    }
}

fn add(part: Part, has: &Member, pushed: &Member, gauges: Gauges) -> Result<Reading, AddError> {
    let series = || pushed.labels.to_string();
    Ok(match (&has.reading, &pushed.reading) {
        (Reading::Float(has), Reading::Float(pushed)) => {
            let value = match part {
                Part::Count | Part::Sum => has + pushed,
                Part::Gauge => gauges.apply(*has, *pushed),
                Part::Last => *pushed,
            };
            if matches!(part, Part::Count | Part::Sum) && !value.is_finite() {
                return Err(AddError::Value { series: series(), value: pushed.to_string() });
            }
            Reading::Float(value)
        }
        (Reading::Histogram(has), Reading::Histogram(pushed)) => {
            let sum = add_histogram::add(has, pushed);
            let sum = sum.map_err(|reason| AddError::Native { series: series(), reason })?;
            Reading::Histogram(Box::new(sum))
        }
        _ => {
            let reason = "the group has a float and the push a native histogram, or the other way round";
            return Err(AddError::Native { series: series(), reason });
        }
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::group::Kept;

    fn member(labels: &[(&str, &str)], value: f64) -> Member {
        let labels = Labels::from_pairs(labels.iter().copied());
        Member { labels, reading: Reading::Float(value), start: 0, time: 0, exemplars: vec![] }
    }

    fn family(kind: MetricType, members: Vec<Member>) -> Vec<(String, Arc<Family>)> {
        vec![("m".into(), Arc::new(Family { kind, members, ..Family::default() }))]
    }

    fn kept(families: Vec<(String, Arc<Family>)>) -> Families {
        families.into_iter().map(|(name, family)| (name, Kept { family, pushed: 1 })).collect()
    }

    fn values(families: &[(String, Arc<Family>)]) -> Vec<(String, f64)> {
        let members = families.iter().flat_map(|(_, family)| &family.members);
        let value = |member: &Member| match member.reading {
            Reading::Float(value) => (member.labels.to_string(), value),
            Reading::Histogram(_) => panic!("a float"),
        };
        members.map(value).collect()
    }

    #[test]
    fn counters_are_added_and_others_are_kept() {
        let one = member(&[("__name__", "m"), ("x", "1")], 3.0);
        let two = member(&[("__name__", "m"), ("x", "2")], 5.0);
        let first =
            added(&Families::new(), &family(MetricType::Counter, vec![one]), Gauges::Last, 100).unwrap();
        assert_eq!(first[0].1.members[0].start, 99);
        let had = kept(first);
        let one = member(&[("__name__", "m"), ("x", "1")], 4.0);
        let sum = added(&had, &family(MetricType::Counter, vec![two, one]), Gauges::Last, 200).unwrap();
        assert_eq!(values(&sum), [(r#"m{x="1"}"#.into(), 7.0), (r#"m{x="2"}"#.into(), 5.0)]);
        let starts: Vec<i64> = sum[0].1.members.iter().map(|member| member.start).collect();
        assert_eq!(starts, [99, 199], "a total begins with its first push");
    }

    #[test]
    fn gauges_follow_the_rule() {
        let had = kept(family(MetricType::Gauge, vec![member(&[("__name__", "m")], 3.0)]));
        let pushed = family(MetricType::Gauge, vec![member(&[("__name__", "m")], 2.0)]);
        let results = ["", "last", "max", "min", "sum"]
            .map(|rule| values(&added(&had, &pushed, Gauges::parse(rule).unwrap(), 1).unwrap())[0].1);
        assert_eq!(results, [2.0, 2.0, 3.0, 2.0, 5.0]);
        assert!(Gauges::parse("mean").unwrap_err().contains("last, max, min or sum"));
    }

    #[test]
    fn histograms_and_summaries_are_added_except_quantiles() {
        let histogram = |values: [f64; 4]| {
            let labels: [&[(&str, &str)]; 4] = [
                &[("__name__", "m_bucket"), ("le", "1")],
                &[("__name__", "m_bucket"), ("le", "+Inf")],
                &[("__name__", "m_sum")],
                &[("__name__", "m_count")],
            ];
            let members = labels.iter().zip(values).map(|(labels, value)| member(labels, value));
            family(MetricType::Histogram, members.collect())
        };
        let sum =
            added(&kept(histogram([1.0, 2.0, -3.0, 2.0])), &histogram([4.0, 5.0, -1.0, 5.0]), Gauges::Max, 1);
        let sum: Vec<f64> = values(&sum.unwrap()).into_iter().map(|(_, value)| value).collect();
        assert_eq!(sum, [5.0, 7.0, -4.0, 7.0]);
        let mut other = histogram([0.0; 4]);
        Arc::make_mut(&mut other[0].1).members[0] = member(&[("__name__", "m_bucket"), ("le", "2")], 0.0);
        let error = added(&kept(histogram([1.0; 4])), &other, Gauges::Max, 1).unwrap_err();
        assert!(error.to_string().contains("buckets of m are not those"), "{error}");
        let summary = |quantile, count| {
            let members = vec![
                member(&[("__name__", "m"), ("quantile", "0.5")], quantile),
                member(&[("__name__", "m_count")], count),
            ];
            family(MetricType::Summary, members)
        };
        let sum = added(&kept(summary(7.0, 2.0)), &summary(5.0, 3.0), Gauges::Sum, 1).unwrap();
        assert_eq!(values(&sum).into_iter().map(|(_, value)| value).collect::<Vec<_>>(), [5.0, 5.0]);
    }

    #[test]
    fn refusals_of_additions_name_the_remedy() {
        let m = |value| vec![member(&[("__name__", "m")], value)];
        let error = |had: Families, pushed: Vec<(String, Arc<Family>)>| {
            added(&had, &pushed, Gauges::Last, 1).unwrap_err().to_string()
        };
        let none = Families::new;
        assert!(error(none(), family(MetricType::Unknown, m(1.0))).contains("write `# TYPE m counter`"));
        assert!(error(none(), family(MetricType::Counter, m(-1.0))).contains("m: -1 can't be added"));
        assert!(error(none(), family(MetricType::Counter, m(f64::NAN))).contains("NaN"));
        assert!(error(none(), family(MetricType::GaugeHistogram, m(1.0))).contains("can't be added"));
        let had = kept(family(MetricType::Gauge, m(1.0)));
        assert!(
            error(had, family(MetricType::Counter, m(1.0))).contains("is a gauge in the group and a counter")
        );
        let had = kept(family(MetricType::Counter, m(f64::MAX)));
        assert!(error(had, family(MetricType::Counter, m(f64::MAX))).contains("can't be added"));
        let mut timed = m(1.0);
        timed[0].time = 5;
        assert!(error(none(), family(MetricType::Counter, timed)).contains("timestamp"));
    }
}
