//! A group for the page.

use crate::group::Group;
use crate::packed::Families;
use crate::path;
use model::MetricType;
use model::words::with_article;
use std::collections::BTreeMap;

/// The most warnings about a group.
pub const WARNINGS_MAX: usize = 5;

/// A group, for a page.
#[derive(Debug, Clone, PartialEq)]
pub struct GroupStatus {
    /// Its labels, by name.
    pub labels: Vec<(String, String)>,
    /// The path that a DELETE of it is sent to.
    pub path: String,
    /// How many series were pushed.
    pub series: usize,
    /// When the last push succeeded, in milliseconds since 1970; 0 where none did.
    pub pushed_ms: i64,
    /// When the last push was refused, in milliseconds since 1970; 0 where none was.
    pub failed_ms: i64,
    /// Why it was.
    pub failure: String,
    /// What the user should know about it although it was accepted, at most [`WARNINGS_MAX`] sentences.
    pub warnings: Vec<String>,
    /// Its time to live, in milliseconds.
    pub ttl_ms: Option<i64>,
    /// When it expires, in milliseconds since 1970.
    pub expires_ms: Option<i64>,
    /// When it expired, in milliseconds since 1970.
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

/// A type in a sentence: `a gauge`.
fn described(kind: MetricType) -> String {
    match kind {
        MetricType::Unknown => "untyped".into(),
        kind => with_article(kind.as_str()),
    }
}
