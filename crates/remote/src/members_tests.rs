//! What becomes of an entry with members at a start, by its files.

#![allow(clippy::unwrap_used, clippy::indexing_slicing, reason = "helper functions of tests")]
use super::*;
use crate::positions::PositionFile;
use wal::RealFilesystem;

fn entry(json: &str) -> RemoteWrite {
    serde_json::from_str(json).unwrap()
}

/// An entry called `c` with members a, b, ... as `names` says.
fn of(names: &str) -> RemoteWrite {
    let members: Vec<String> = names.chars().map(|name| format!("\"http://{name}/\"")).collect();
    entry(&format!(r#"{{"name": "c", "members": [{}], "shard_by": "series"}}"#, members.join(",")))
}

fn at(segment: u64) -> Position {
    Position::start_of(segment)
}

struct Folder(tempfile::TempDir);

impl Folder {
    fn new() -> Self {
        Folder(tempfile::tempdir().unwrap())
    }

    /// What a start makes of the entry, with its files written, when the log ends at this segment.
    fn start(&self, entry: &RemoteWrite, end: u64) -> Vec<(String, Part)> {
        let divided =
            divide(&RealFilesystem, self.0.path(), std::slice::from_ref(entry), at(1), at(end)).unwrap();
        for destination in &divided.destinations {
            let (path, identity) = self.path(destination);
            let begin = destination.part.as_ref().unwrap().begin;
            PositionFile::open(&RealFilesystem, &path, identity.owner(), 0, begin, at(1)).unwrap();
        }
        divided.save(&RealFilesystem).unwrap();
        let named = |destination: RemoteWrite| (destination.url.to_string(), destination.part.unwrap());
        divided.destinations.into_iter().map(named).collect()
    }

    fn path(&self, destination: &RemoteWrite) -> (PathBuf, Identity) {
        let identity = Identity::of(destination);
        (claims::folder(self.0.path()).join(identity.file()), identity)
    }

    /// This member has delivered everything before this segment.
    fn reaches(&self, name: char, segment: u64) {
        let (path, identity) = self.path(&destinations(&of(&name.to_string()))[0]);
        std::fs::remove_file(&path).unwrap();
        PositionFile::open(&RealFilesystem, &path, identity.owner(), 0, at(segment), at(1)).unwrap();
    }
}

fn ends(parts: &[(String, Part)]) -> Vec<(&str, u64, Option<u64>)> {
    let end = |part: &Part| part.end.map(|end| end.segment);
    parts.iter().map(|(url, part)| (url.as_str(), part.begin.segment, end(part))).collect()
}

/// How many members own each of some series at this position.
fn owners(parts: &[(String, Part)], position: u64) -> std::collections::BTreeSet<usize> {
    let holds = |part: &Part, hash: u64| part.share.holds(part.share.at(at(position)), hash);
    (0..1000u64).map(|series| parts.iter().filter(|(_, part)| holds(part, series << 54)).count()).collect()
}

#[test]
fn a_new_entry_begins_where_any_new_destination_would() {
    let folder = Folder::new();
    let parts = folder.start(&of("ab"), 7);
    assert_eq!(ends(&parts), [("http://a/", 7, None), ("http://b/", 7, None)]);
    assert_eq!(owners(&parts, 7), [1].into());
    let mut oldest = of("ab");
    oldest.start_at = StartAt::Oldest;
    assert_eq!(ends(&Folder::new().start(&oldest, 7)), [("http://a/", 1, None), ("http://b/", 1, None)]);
}

#[test]
fn a_member_that_joins_begins_at_the_change_and_one_that_leaves_ends_there() {
    let folder = Folder::new();
    folder.start(&of("ab"), 7);
    let parts = folder.start(&of("cb"), 20);
    assert_eq!(ends(&parts), [("http://c/", 20, None), ("http://b/", 7, None), ("http://a/", 7, Some(20))]);
    assert_eq!((owners(&parts, 19), owners(&parts, 20)), ([1].into(), [1].into()));
    // As long as it has not got there, it is served; b, which stays, holds nothing up.
    folder.reaches('a', 19);
    assert_eq!(folder.start(&of("bc"), 30), {
        let mut sorted = parts.clone();
        sorted.swap(0, 1);
        sorted
    });
    folder.reaches('a', 20);
    assert_eq!(ends(&folder.start(&of("bc"), 31)), [("http://b/", 7, None), ("http://c/", 20, None)]);
}

#[test]
fn a_member_that_comes_back_goes_on_and_owns_nothing_of_what_was_between() {
    let folder = Folder::new();
    folder.start(&of("ab"), 7);
    folder.start(&of("b"), 20);
    let parts = folder.start(&of("ab"), 30);
    assert_eq!(ends(&parts), [("http://a/", 7, None), ("http://b/", 7, None)]);
    for position in [7, 19, 20, 29, 30, 40] {
        assert_eq!(owners(&parts, position), [1].into(), "{position}");
    }
    let a = &parts[0].1.share;
    assert!((0..1000u64).all(|series| !a.holds(a.at(at(25)), series << 54)));
}

#[test]
fn a_member_that_leaves_is_given_up_with_its_positions() {
    let folder = Folder::new();
    folder.start(&of("ab"), 7);
    folder.start(&of("b"), 20);
    std::fs::remove_file(folder.path(&destinations(&of("a"))[0]).0).unwrap();
    assert_eq!(ends(&folder.start(&of("b"), 30)), [("http://b/", 7, None)]);
}

#[test]
fn a_kill_between_positions_and_rings_leaves_no_gap() {
    let folder = Folder::new();
    folder.start(&of("ab"), 7);
    // The new one has its positions, the ring is not there yet.
    let divided = divide(&RealFilesystem, folder.0.path(), &[of("abc")], at(1), at(20)).unwrap();
    let new =
        divided.destinations.iter().find(|destination| destination.url.redacted() == "http://c/").unwrap();
    let (path, identity) = folder.path(new);
    PositionFile::open(&RealFilesystem, &path, identity.owner(), 0, at(20), at(1)).unwrap();
    let parts = folder.start(&of("abc"), 25);
    for position in [19, 20, 24, 25] {
        assert_eq!(owners(&parts, position), [1].into(), "{position}");
    }
}

#[test]
fn looking_changes_nothing_and_says_the_same_again() {
    let folder = Folder::new();
    let parts = folder.start(&of("ab"), 7);
    folder.reaches('a', 30);
    folder.reaches('b', 30);
    let divided = divide(&RealFilesystem, folder.0.path(), &[of("ba")], at(1), at(40)).unwrap();
    assert!(divided.changed.is_empty());
    let again: Vec<Part> =
        divided.destinations.into_iter().filter_map(|destination| destination.part).collect();
    assert_eq!(again, [parts[1].1.clone(), parts[0].1.clone()]);
}

#[test]
fn an_entry_is_checked() {
    let wrong = |json: &str| check(&entry(json)).unwrap_err();
    for (json, key, why) in [
        ("{}", "", "the key \"url\" is missing"),
        (r#"{"members": [], "shard_by": "series"}"#, "", "the key \"url\" is missing"),
        (r#"{"url": "http://a/", "shard_by": "series"}"#, "shard_by", "no members"),
        (r#"{"url": "http://a/", "replicas": 2}"#, "replicas", "no members"),
        (r#"{"url": "http://a/", "members": ["http://b/"]}"#, "url", "either"),
        (r#"{"name": "c", "members": ["http://b/"]}"#, "members", "shard_by: series"),
        (r#"{"members": ["http://b/"], "shard_by": "series"}"#, "members", "needs a name"),
        (r#"{"name": "c", "members": ["http://me:x@b/"], "shard_by": "series"}"#, "members[0]", "basic_auth"),
        (r#"{"name": "c", "members": ["http://b/?x=1"], "shard_by": "series"}"#, "members[0]", "query"),
        (
            r#"{"name": "c", "members": ["http://b/", "http://b/"], "shard_by": "series"}"#,
            "members[1]",
            "already",
        ),
        (
            r#"{"name": "c", "members": ["http://b/"], "shard_by": "series", "replicas": 2}"#,
            "replicas",
            "from 1",
        ),
        (
            r#"{"name": "c", "members": ["http://b/"], "shard_by": "series", "replicas": 0}"#,
            "replicas",
            "from 1",
        ),
    ] {
        let error = wrong(json);
        assert_eq!(error.key, key, "{json}: {error}");
        assert!(error.why.contains(why), "{json}: {error}");
    }
    let many: String = (0..MEMBERS_MAX + 1).map(|number| format!("\"http://h{number}/\",")).collect();
    let json =
        format!(r#"{{"name": "c", "members": [{}], "shard_by": "series"}}"#, many.trim_end_matches(','));
    assert!(wrong(&json).why.contains("at most 64"));
    assert_eq!(check(&of("abc")), Ok(()));
    assert_eq!(check(&entry(r#"{"url": "http://a/"}"#)), Ok(()));
}

#[test]
fn each_member_has_all_of_the_entrys_options() {
    let json = r#"{"name": "c", "members": ["http://a/", "http://b/"], "shard_by": "series",
        "headers": {"X-Scope-OrgID": "7"}, "queue_config": {"capacity": 7}}"#;
    let members = destinations(&entry(json));
    assert_eq!(members.len(), 2);
    for (member, url) in members.iter().zip(["http://a/", "http://b/"]) {
        assert_eq!((member.url.redacted(), member.queue_config.capacity), (url.to_string(), 7));
        assert_eq!(member.name.as_deref(), Some(&*format!("c/{url}")));
        assert_eq!(member.headers.len(), 1);
    }
    let plain = entry(r#"{"url": "http://a/"}"#);
    assert_eq!(destinations(&plain), [plain]);
}
