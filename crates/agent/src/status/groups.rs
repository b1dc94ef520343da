//! `GET /api/v1/status/groups`: the pushed groups, failing ones first, up to a limit.

use groups::GroupStatus;
use serde::{Deserialize, Serialize};
use std::collections::BTreeMap;

/// The most groups in one answer.
pub const GROUPS_MAX: usize = 200;
/// The most characters of a search text that are used.
pub const SEARCH_MAX: usize = 256;

/// The query parameters.
#[derive(Debug, Default, Deserialize)]
#[serde(default)]
pub struct Ask {
    /// A part of a name or value of the group's labels. If it is empty, all groups are found.
    pub search: String,
}

#[derive(Debug, Serialize)]
pub struct Groups {
    now_ms: i64,
    /// The number of all groups.
    total: usize,
    /// The number of groups that were found; at most [`GROUPS_MAX`] of them are listed.
    found: usize,
    groups: Vec<Group>,
}

#[derive(Debug, Serialize)]
struct Group {
    labels: BTreeMap<String, String>,
    /// The path for a DELETE of the group.
    path: String,
    series: usize,
    /// The time of the last push that succeeded; 0 if none did.
    pushed_ms: i64,
    /// The time of the last push that was refused; 0 if none was.
    failed_ms: i64,
    /// Why the last refused push was refused.
    failure: String,
    /// True if the last push was refused.
    failing: bool,
    /// Warnings for the user about pushes that were accepted.
    warnings: Vec<String>,
    ttl_ms: Option<i64>,
    expires_ms: Option<i64>,
    expired_ms: Option<i64>,
}

impl Groups {
    /// The groups that `ask` searches for. Failing groups come first, then expired ones, then the others.
    /// Within each kind they are ordered by the time of the last success, oldest first.
    pub fn of(all: Vec<GroupStatus>, ask: &Ask, now_ms: i64) -> Groups {
        let total = all.len();
        let words: String = ask.search.chars().take(SEARCH_MAX).collect::<String>().to_lowercase();
        let wanted = |group: &GroupStatus| {
            let has = |text: &str| text.to_lowercase().contains(&words);
            words.is_empty() || group.labels.iter().any(|(name, value)| has(name) || has(value))
        };
        let mut groups: Vec<GroupStatus> = all.into_iter().filter(|group| wanted(group)).collect();
        let found = groups.len();
        groups.sort_by_key(|group| (!is_failing(group), group.expired_ms.is_none(), group.pushed_ms));
        groups.truncate(GROUPS_MAX);
        Groups { now_ms, total, found, groups: groups.into_iter().map(shown).collect() }
    }
}

fn is_failing(group: &GroupStatus) -> bool {
    group.failed_ms > group.pushed_ms
}

fn shown(group: GroupStatus) -> Group {
    Group {
        failing: is_failing(&group),
        labels: group.labels.into_iter().collect(),
        path: group.path,
        series: group.series,
        pushed_ms: group.pushed_ms,
        failed_ms: group.failed_ms,
        failure: group.failure,
        warnings: group.warnings,
        ttl_ms: group.ttl_ms,
        expires_ms: group.expires_ms,
        expired_ms: group.expired_ms,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn group(job: &str, pushed_ms: i64, failed_ms: i64) -> GroupStatus {
        GroupStatus {
            labels: vec![("job".into(), job.into())],
            path: format!("/metrics/job/{job}"),
            series: 1,
            pushed_ms,
            failed_ms,
            failure: String::new(),
            warnings: Vec::new(),
            ttl_ms: None,
            expires_ms: None,
            expired_ms: None,
        }
    }

    fn jobs(groups: &Groups) -> Vec<&str> {
        groups.groups.iter().map(|group| group.labels["job"].as_str()).collect()
    }

    #[test]
    fn failing_groups_come_first_then_the_oldest() {
        let expired = GroupStatus { expired_ms: Some(9), ..group("expired", 8, 0) };
        let all = vec![
            group("new", 30, 0),
            group("mended", 20, 10),
            group("old", 5, 0),
            expired,
            group("bad", 7, 9),
        ];
        let groups = Groups::of(all, &Ask::default(), 40);
        assert_eq!(jobs(&groups), ["bad", "expired", "old", "mended", "new"]);
        assert!(groups.groups[0].failing && !groups.groups[3].failing);
    }

    #[test]
    fn warnings_are_in_the_answer() {
        let warned = GroupStatus { warnings: vec!["metric m".into()], ..group("a", 1, 0) };
        let groups = Groups::of(vec![warned], &Ask::default(), 2);
        let json = serde_json::to_value(&groups).unwrap();
        assert_eq!(json["groups"][0]["warnings"], serde_json::json!(["metric m"]));
        assert_eq!(json["groups"][0]["failing"], false);
    }

    #[test]
    fn the_list_is_bounded_and_can_be_searched() {
        let all: Vec<_> = (0..GROUPS_MAX + 7).map(|n| group(&format!("Job{n}"), 1, 0)).collect();
        let groups = Groups::of(all.clone(), &Ask::default(), 2);
        assert_eq!((groups.total, groups.found, groups.groups.len()), (207, 207, 200));
        let groups = Groups::of(all, &Ask { search: "jOB20".into() }, 2);
        assert_eq!((groups.total, groups.found, groups.groups.len()), (207, 8, 8));
    }

    #[test]
    fn the_text_of_a_search_is_cut() {
        let all = || vec![group(&"a".repeat(SEARCH_MAX), 1, 0), group("b", 1, 0)];
        let found = |search: String| Groups::of(all(), &Ask { search }, 2).found;
        assert_eq!(found("a".repeat(SEARCH_MAX) + "b"), 1, "what is past the limit is not looked at");
        assert_eq!(found("a".repeat(SEARCH_MAX - 1) + "b"), 0);
    }
}
