//! Checks that a push is consistent with itself and with the other groups. Pure.
//!
//! The rules are those by which the Pushgateway refuses a push that could not be scraped afterwards (client_golang's
//! checks when it gathers). A series belongs to one group and occurs once. No name is the `_count`, `_sum` or `_bucket`
//! of a summary or histogram. Unlike in the Pushgateway, groups may give a name different types and help texts, as
//! targets of a scrape may. Otherwise, after an upgrade that changes a type, pushes of new instances would be refused
//! until the groups of the old instances are deleted.

use super::group::{Family, Group};
use super::state::State;
use model::words::with_article;
use model::{Labels, MetricType};
use std::collections::{HashMap, HashSet};
use std::sync::Arc;

/// Why a push is inconsistent.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum Inconsistency {
    /// The name is a part of a summary or histogram.
    #[error(
        "metric family {name:?} collides with {base:?}, {}, which has a series of that name",
        with_article(kind)
    )]
    Suffix {
        name: String,
        /// The summary or histogram.
        base: String,
        kind: &'static str,
    },
    /// A series occurs twice.
    #[error("series {series} was pushed twice")]
    Twice { series: String },
    /// A series belongs to another group.
    #[error("series {series} is already there in the group {group}")]
    Elsewhere {
        series: String,
        /// The group that has the series.
        group: String,
    },
}

/// Checks a push of `families` to `group`. It replaces the whole group with `replace`, and otherwise families of the
/// same name.
pub fn check(
    state: &State,
    group: Option<&Group>,
    replace: bool,
    families: &[(String, Arc<Family>)],
) -> Result<(), Inconsistency> {
    let pushed: HashMap<&str, MetricType> =
        families.iter().map(|(name, family)| (name.as_str(), family.kind)).collect();
    let had = group.map(|group| group.families.unpack()).unwrap_or_default();
    // The types of a name after the push.
    let after = |name: &str| {
        let stays = !replace && !pushed.contains_key(name);
        let own = had.get(name).filter(|_| !stays).map(|kept| kept.family.kind);
        let mut kinds = state.kinds_elsewhere(name, own);
        kinds.extend(pushed.get(name));
        kinds
    };
    let mut seen: HashSet<&Labels> = HashSet::new();
    for (name, family) in families {
        check_suffixes(name, family.kind, after)?;
        for member in &family.members {
            if !seen.insert(&member.labels) {
                return Err(Inconsistency::Twice { series: member.labels.to_string() });
            }
            if let Some(owner) = state.owner_other_than(&member.labels, group.map(|group| group.id)) {
                let series = member.labels.to_string();
                return Err(Inconsistency::Elsewhere { series, group: owner.key.to_string() });
            }
        }
    }
    Ok(())
}

fn check_suffixes(
    name: &str,
    kind: MetricType,
    after: impl Fn(&str) -> Vec<MetricType>,
) -> Result<(), Inconsistency> {
    let collides = |name: &str, base: &str, kind: MetricType| {
        Err(Inconsistency::Suffix { name: name.into(), base: base.into(), kind: kind.as_str() })
    };
    for suffix in ["_count", "_sum", "_bucket", "_gcount", "_gsum"] {
        if let Some(base) = name.strip_suffix(suffix)
            && let Some(of) = after(base).into_iter().find(|of| has_suffix(*of, suffix))
        {
            return collides(name, base, of);
        }
        if has_suffix(kind, suffix) {
            let other = format!("{name}{suffix}");
            if !after(&other).is_empty() {
                return collides(&other, name, kind);
            }
        }
    }
    Ok(())
}

/// Returns true if a family of this type has series whose name ends with this suffix.
fn has_suffix(kind: MetricType, suffix: &str) -> bool {
    match kind {
        MetricType::Histogram => matches!(suffix, "_bucket" | "_sum" | "_count"),
        MetricType::Summary => matches!(suffix, "_sum" | "_count"),
        // `_gsum` and `_gcount` in OpenMetrics, `_sum` and `_count` in protobuf.
        MetricType::GaugeHistogram => true,
        _ => false,
    }
}
