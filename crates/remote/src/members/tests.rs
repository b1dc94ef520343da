//! Which destinations an entry with members has at a start, depending on its files.

#![allow(clippy::unwrap_used, clippy::indexing_slicing, reason = "helper functions of tests")]
use super::*;
use crate::disk::positions::PositionFile;
use crate::queue::lanes::series_hash;
use proptest::prelude::*;
use wal::RealFilesystem;

fn entry(json: &str) -> RemoteWrite {
    serde_json::from_str(json).unwrap()
}

/// Returns an entry called `c` with one member per letter of `names`.
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

    /// Returns the members after a start at which the log ends at this segment. Writes the entry's files.
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

    /// Notes that this member has delivered everything before this segment.
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

/// Returns the numbers of members that own one of the test series at this position.
fn owners(parts: &[(String, Part)], position: u64) -> std::collections::BTreeSet<usize> {
    let holds = |part: &Part, hash: u64| part.share.holds(part.share.at(at(position)), hash);
    (0..1000u64).map(|series| parts.iter().filter(|(_, part)| holds(part, series << 54)).count()).collect()
}

#[test]
fn new_entry_begins_where_any_new_destination_begins() {
    let folder = Folder::new();
    let parts = folder.start(&of("ab"), 7);
    assert_eq!(ends(&parts), [("http://a/", 7, None), ("http://b/", 7, None)]);
    assert_eq!(owners(&parts, 7), [1].into());
    let mut oldest = of("ab");
    oldest.start_at = StartAt::Oldest;
    assert_eq!(ends(&Folder::new().start(&oldest, 7)), [("http://a/", 1, None), ("http://b/", 1, None)]);
}

#[test]
fn joining_member_begins_and_leaving_member_ends_at_the_change() {
    let folder = Folder::new();
    folder.start(&of("ab"), 7);
    let parts = folder.start(&of("cb"), 20);
    assert_eq!(ends(&parts), [("http://c/", 20, None), ("http://b/", 7, None), ("http://a/", 7, Some(20))]);
    assert_eq!((owners(&parts, 19), owners(&parts, 20)), ([1].into(), [1].into()));
    // A leaving member is served until it has reached the change. Member b, which stays, does not affect
    // that.
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
fn returning_member_continues_and_owns_nothing_in_between() {
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
fn leaving_member_without_positions_is_not_served() {
    let folder = Folder::new();
    folder.start(&of("ab"), 7);
    folder.start(&of("b"), 20);
    std::fs::remove_file(folder.path(&destinations(&of("a"))[0]).0).unwrap();
    assert_eq!(ends(&folder.start(&of("b"), 30)), [("http://b/", 7, None)]);
}

#[test]
fn kill_between_positions_and_rings_leaves_no_gap() {
    let folder = Folder::new();
    folder.start(&of("ab"), 7);
    // The new member has its positions, but the ring is not written yet.
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
fn divide_changes_nothing_and_repeats_its_result() {
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
fn invalid_entries_are_rejected() {
    let wrong = |json: &str| {
        let mut errors = errors(&entry(json));
        assert_eq!(errors.len(), 1, "{json}: {errors:?}");
        errors.remove(0)
    };
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
    assert_eq!(errors(&of("abc")), []);
    assert_eq!(errors(&entry(r#"{"url": "http://a/"}"#)), []);
    let all = errors(&entry(r#"{"members": ["http://b/?x=1", "http://c/?x=1"], "replicas": 3}"#));
    let keys: Vec<&str> = all.iter().map(|error| error.key.as_str()).collect();
    assert_eq!(keys, ["members", "members", "members[0]", "members[1]", "replicas"]);
}

#[test]
fn each_member_has_all_options_of_its_entry() {
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

/// An event in the history of an entry.
#[derive(Debug, Clone)]
enum Event {
    /// Samples are appended.
    Append(u64),
    /// The entry gets these members (one bit each), with so many replicas. If `killed` is set, narthex is
    /// killed after the members' positions are written and before the ring is.
    Change {
        members: u8,
        replicas: usize,
        killed: bool,
    },
    /// One of the served members delivers a part of its samples.
    Deliver {
        member: usize,
        count: u64,
    },
    Restart,
}

fn events() -> impl Strategy<Value = Vec<Event>> {
    let event = prop_oneof![
        3 => (1..4u64).prop_map(Event::Append),
        3 => (1..32u8, 1..4usize, any::<bool>())
            .prop_map(|(members, replicas, killed)| Event::Change { members, replicas, killed }),
        6 => (0..6usize, 1..9u64).prop_map(|(member, count)| Event::Deliver { member, count }),
        1 => Just(Event::Restart),
    ];
    proptest::collection::vec(event, 1..40)
}

fn with_members(members: u8, replicas: usize) -> RemoteWrite {
    let names: String =
        (0..5u8).filter(|bit| members >> bit & 1 == 1).map(|bit| (b'a' + bit) as char).collect();
    let mut entry = of(&names);
    entry.replicas = Some(replicas.min(names.len()));
    entry
}

/// The history of an entry: which member delivered which series of which part of the log.
struct History {
    folder: Folder,
    entry: RemoteWrite,
    end: u64,
    /// The served members, each with its part of the log and its progress.
    served: Vec<(String, Part, PathBuf, u64)>,
    delivered: std::collections::BTreeMap<(u64, u64), Vec<String>>,
    /// For each part of the log, how many members should receive each series.
    replicas: Vec<usize>,
}

const SERIES: u64 = 24;

impl History {
    fn start(&mut self, killed: bool) {
        let entries = std::slice::from_ref(&self.entry);
        let divided = match divide(&RealFilesystem, self.folder.0.path(), entries, at(1), at(self.end)) {
            Err(RingsFailed { source: RingsError::TooMany, .. }) => return,
            other => other.unwrap(),
        };
        self.served.clear();
        for destination in &divided.destinations {
            let (path, identity) = self.folder.path(destination);
            let part = destination.part.clone().unwrap();
            let (_, settled, _) =
                PositionFile::open(&RealFilesystem, &path, identity.owner(), 0, part.begin, at(1)).unwrap();
            self.served.push((destination.url.to_string(), part, path, settled.lanes[0].segment));
        }
        if killed {
            self.served.clear();
            return;
        }
        divided.save(&RealFilesystem).unwrap();
    }

    fn deliver(&mut self, member: usize, count: u64) {
        let count_of = self.served.len();
        if count_of == 0 {
            return;
        }
        let (url, part, path, position) = &mut self.served[member % count_of];
        let until = part.end.map_or(self.end, |end| end.segment).min(*position + count);
        for place in *position..until {
            let ring = part.share.at(at(place));
            for series in
                (0..SERIES).filter(|series| part.share.holds(ring, series_hash(&series.to_le_bytes())))
            {
                let owners = self.delivered.entry((place, series)).or_default();
                assert!(!owners.contains(url), "delivered twice");
                owners.push(url.clone());
            }
        }
        *position = until.max(*position);
        let owner = positions::read(&RealFilesystem, path).unwrap().unwrap().owner;
        let (mut file, ..) =
            PositionFile::open(&RealFilesystem, path, &owner, 0, at(*position), at(1)).unwrap();
        file.write(&[at(*position); crate::queue::lanes::LANES].into()).unwrap();
    }
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 48, ..ProptestConfig::default() })]

    /// With any changes and kills, each sample is delivered once by as many members as `replicas` was when it
    /// was appended.
    #[test]
    fn each_sample_goes_to_the_configured_number_of_members(events in events()) {
        let mut history = History {
            folder: Folder::new(),
            entry: with_members(7, 2),
            end: 5,
            served: Vec::new(),
            delivered: Default::default(),
            replicas: vec![2; 5],
        };
        history.start(false);
        for event in events {
            match event {
                Event::Append(count) => {
                    history.end += count;
                    let replicas = history.entry.replicas.unwrap();
                    history.replicas.resize(history.end as usize, replicas);
                }
                Event::Change { members, replicas, killed } => {
                    let before = history.entry.clone();
                    history.entry = with_members(members, replicas);
                    let served = history.served.len();
                    history.start(killed);
                    if killed {
                        // The old members are restored, as if the change had never been requested.
                        history.entry = before;
                        history.start(false);
                    } else if served > 0 && divide_fails(&history) {
                        history.entry = before;
                    }
                }
                Event::Deliver { member, count } => history.deliver(member, count),
                Event::Restart => history.start(false),
            }
        }
        history.start(false);
        for member in 0..history.served.len() {
            history.deliver(member, u64::MAX / 2);
        }
        for place in 5..history.end {
            for series in 0..SERIES {
                let owners = history.delivered.get(&(place, series)).map_or(0, Vec::len);
                prop_assert_eq!(owners, history.replicas[place as usize], "series {} at {}", series, place);
            }
        }
    }
}

/// Returns true if there were too many changes, so that the requested one was rejected.
fn divide_fails(history: &History) -> bool {
    let entries = std::slice::from_ref(&history.entry);
    divide(&RealFilesystem, history.folder.0.path(), entries, at(1), at(history.end)).is_err()
}

#[test]
fn rings_are_deleted_with_the_last_positions_of_their_members() {
    let dir = tempfile::tempdir().unwrap();
    let mut rings = Rings::default();
    rings.change(Position::start_of(5), &["http://a/w".into(), "http://b/w".into()], 1).unwrap();
    let path = |entry: &str| {
        let name = format!("{}.json", Identity::of_name(entry).file());
        dir.path().join("rings").join(name)
    };
    let there = || ["one", "two/three"].map(|entry| path(entry).exists());
    tidy(&RealFilesystem, dir.path(), &[]).unwrap();
    for entry in ["one", "two/three"] {
        rings.save(&RealFilesystem, &path(entry)).unwrap();
    }
    tidy(&RealFilesystem, dir.path(), &["one/http://b/w", "two/three/http://a/w", "http://a/w"]).unwrap();
    assert_eq!(there(), [true, true]);
    let long = "x".repeat(2000);
    tidy(&RealFilesystem, dir.path(), &[Identity::of_name(&long).owner().shown()]).unwrap();
    assert_eq!(there(), [true, true], "a name that was cut may be of any");
    tidy(&RealFilesystem, dir.path(), &["one/http://c/w", "two/three/http://a/w"]).unwrap();
    assert_eq!(there(), [false, true]);
    std::fs::write(path("one"), "rubbish").unwrap();
    tidy(&RealFilesystem, dir.path(), &["one", "http://a/w"]).unwrap();
    assert_eq!(there(), [true, false], "what is damaged is somebody's to look at");
}
