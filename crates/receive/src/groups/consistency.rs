//! Whether what is pushed fits with itself and with the other groups. Pure.
//!
//! The rules are those by which the Pushgateway refuses a push that could not be scraped afterwards
//! (client_golang's checks when it gathers): a name has one type over all groups, a series belongs to one
//! group and is there once, and no name meets the `_count`, `_sum` or `_bucket` of a summary or histogram.
//! A help text may differ.

use super::group::{Family, Group};
use super::state::State;
use model::{Labels, MetricType};
use std::collections::{HashMap, HashSet};
use std::sync::Arc;

/// Why a push is inconsistent.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum Inconsistency {
    /// Another group has another type for this name.
    #[error("metric family {name:?} is a {pushed} here and a {there} in another group: a name has one type")]
    Type {
        /// The name.
        name: String,
        /// What was pushed.
        pushed: &'static str,
        /// What is there.
        there: &'static str,
    },
    /// A name is a part of a summary or histogram.
    #[error("metric family {name:?} collides with {base:?}, a {kind}, which has a series of that name")]
    Suffix {
        /// The name.
        name: String,
        /// The summary or histogram.
        base: String,
        /// Its type.
        kind: &'static str,
    },
    /// A series is there twice.
    #[error("series {series} was pushed twice")]
    Twice {
        /// The series.
        series: String,
    },
    /// A series belongs to another group.
    #[error("series {series} is already there in the group {group}")]
    Elsewhere {
        /// The series.
        series: String,
        /// The group that has it.
        group: String,
    },
}

/// Checks a push of `families` to `group`, all of which it replaces, or those of the same name only.
pub fn check(
    state: &State,
    group: Option<&Group>,
    replace: bool,
    families: &[(String, Arc<Family>)],
) -> Result<(), Inconsistency> {
    let pushed: HashMap<&str, MetricType> =
        families.iter().map(|(name, family)| (name.as_str(), family.kind)).collect();
    // What a name will be once the push is done, apart from the push.
    let other = |name: &str| {
        let stays = !replace && !pushed.contains_key(name);
        state.kind_elsewhere(name, group, stays)
    };
    let after = |name: &str| pushed.get(name).copied().or_else(|| other(name));
    let mut seen: HashSet<&Labels> = HashSet::new();
    for (name, family) in families {
        if let Some(there) = other(name)
            && there != family.kind
        {
            let (pushed, there) = (family.kind.as_str(), there.as_str());
            return Err(Inconsistency::Type { name: name.clone(), pushed, there });
        }
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
    after: impl Fn(&str) -> Option<MetricType>,
) -> Result<(), Inconsistency> {
    let collides = |name: &str, base: &str, kind: MetricType| {
        Err(Inconsistency::Suffix { name: name.into(), base: base.into(), kind: kind.as_str() })
    };
    for suffix in ["_count", "_sum", "_bucket"] {
        if let Some(base) = name.strip_suffix(suffix)
            && let Some(of) = after(base)
            && has_suffix(of, suffix)
        {
            return collides(name, base, of);
        }
        if has_suffix(kind, suffix) {
            let other = format!("{name}{suffix}");
            if after(&other).is_some() {
                return collides(&other, name, kind);
            }
        }
    }
    Ok(())
}

/// Whether a family of this type has series whose name ends so.
fn has_suffix(kind: MetricType, suffix: &str) -> bool {
    match kind {
        MetricType::Histogram => true,
        MetricType::Summary => suffix != "_bucket",
        _ => false,
    }
}
