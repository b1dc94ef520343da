//! The status of a group for the page.

use crate::group::Group;
use crate::packed::Families;
use crate::path;
use model::MetricType;
use model::words::with_article;
use std::collections::BTreeMap;

/// The maximum of warnings about a group.
pub const WARNINGS_MAX: usize = 5;

#[derive(Debug, Clone, PartialEq)]
pub struct GroupStatus {
    /// The labels by name.
    pub labels: Vec<(String, String)>,
    /// The path for a DELETE of the group.
    pub path: String,
    /// The number of pushed series.
    pub series: usize,
    /// The time of the last successful push in milliseconds since 1970; 0 if there was none.
    pub pushed_ms: i64,
    /// The time of the last refused push in milliseconds since 1970; 0 if there was none.
    pub failed_ms: i64,
    /// The reason of that refusal.
    pub failure: String,
    /// Problems with accepted pushes that the user should know about, at most [`WARNINGS_MAX`] sentences.
    pub warnings: Vec<String>,
    /// The time to live in milliseconds.
    pub ttl_ms: Option<i64>,
    /// The time at which the group expires, in milliseconds since 1970.
    pub expires_ms: Option<i64>,
    /// The time at which the group expired, in milliseconds since 1970.
    pub expired_ms: Option<i64>,
}

pub(crate) fn status_of(group: &Group, mixed: &BTreeMap<String, Vec<MetricType>>) -> GroupStatus {
    let labels = group.key.as_ref();
    let families = if mixed.is_empty() { Families::new() } else { group.families.unpack() };
    let own = mixed.iter().filter_map(|(name, kinds)| Some((name, families.get(name)?, kinds)));
    let warnings = own.take(WARNINGS_MAX).map(|(name, kept, kinds)| {
        let own = kept.family.kind;
        let others = kinds.iter().filter(|kind| **kind != own);
        let others: Vec<String> = others.map(|kind| described(*kind)).collect();
        format!(
            "metric {name:?} is {} here and {} in other groups: it is sent without a type",
            described(own),
            others.join(" or ")
        )
    });
    let warnings = warnings.collect();
    GroupStatus {
        labels: labels.iter().map(|(name, value)| (name.into_owned(), value.into_owned())).collect(),
        path: path::to_path(labels),
        series: group.series(),
        pushed_ms: group.pushed,
        failed_ms: group.failed,
        failure: group.failure.clone(),
        warnings,
        ttl_ms: group.ttl,
        expires_ms: group.expires,
        expired_ms: group.expired,
    }
}

/// A type with its article, for a sentence: `a gauge`.
fn described(kind: MetricType) -> String {
    match kind {
        MetricType::Unknown => "untyped".into(),
        kind => with_article(kind.as_str()),
    }
}
