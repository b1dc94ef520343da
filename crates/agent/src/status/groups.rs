//! `GET /api/v1/status/groups`: the groups that were pushed, those in trouble first, a bounded number.

use groups::GroupStatus;
use serde::{Deserialize, Serialize};
use std::collections::BTreeMap;

/// The most groups of one answer.
pub const GROUPS_MAX: usize = 200;
/// The longest text that is searched for, in characters.
pub const SEARCH_MAX: usize = 256;

/// What is asked for.
#[derive(Debug, Default, Deserialize)]
#[serde(default)]
pub struct Ask {
    /// A part of a name or value of the group's labels; all where it is empty.
    pub search: String,
}

/// The answer.
#[derive(Debug, Serialize)]
pub struct Groups {
    now_ms: i64,
    /// All that there are.
    total: usize,
    /// Those that were searched for; of them [`GROUPS_MAX`] are listed.
    found: usize,
    groups: Vec<Group>,
}

/// One group.
#[derive(Debug, Serialize)]
struct Group {
    labels: BTreeMap<String, String>,
    /// Where a DELETE of it goes.
    path: String,
    series: usize,
    /// The last push that succeeded; 0 where none did.
    pushed_ms: i64,
    /// The last push that was refused; 0 where none was.
    failed_ms: i64,
    /// Why it was.
    failure: String,
    /// Whether that was after the last success.
    failing: bool,
    /// What the user should know although pushes are accepted.
    warnings: Vec<String>,
    ttl_ms: Option<i64>,
    expires_ms: Option<i64>,
    expired_ms: Option<i64>,
}

impl Groups {
    /// Of all groups those that `ask` is for: failing ones first, then expired ones, then the others, each by
    /// the age of the last success, oldest first.
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
    fn those_in_trouble_come_first_and_then_the_oldest() {
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
