//! The rings of a sharded entry: which one holds from which position of the log, on disk.
//!
//! `DATA/rings/<entry>.json`, replaced as a whole (a new file, synced, renamed) with each change of members:
//!
//! ```json
//! {"version": 1, "rings": [
//!   {"from": [4, 0, 0], "replicas": 1, "members": ["http://a:9090/api/v1/write"]},
//!   {"from": [9, 37812, 0], "replicas": 1, "members": ["http://a:9090/api/v1/write", "http://b:9090/api/v1/write"]}
//! ]}
//! ```
//!
//! A ring holds from its position to that of the next one; what lies before the first is nobody's any more.
//! `from` is segment, byte and index, as in [`Position`]. The oldest ring is forgotten once all its members
//! are past the next one's position.
//!
//! An entry's first ring has one before it that gives everything to everybody: a member that was a
//! destination by itself before takes its positions along ([`crate::disk::claims`]), and what it had not delivered
//! by then was all its own. For all others the log begins with the first ring.

use crate::disk::{UNFINISHED, beside, make_folder, replace};
use crate::members::ring::{self, MEMBERS_MAX, Slots};
use crate::members::share::Share;
use serde_json::{Value, json};
use std::io;
use std::path::Path;
use wal::{Filesystem, Position};

/// Version of the file and of what [`crate::members::ring`] makes of it.
const VERSION: u64 = 1;
/// Most rings that are kept: changes of members that some member has not passed yet.
pub const RINGS_MAX: usize = 16;
/// Most bytes of the file: all rings with the longest URLs that are sensible.
pub const FILE_BYTES_MAX: u64 = 4 << 20;

/// A ring, and from where it holds.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Ring {
    /// From here on.
    pub from: Position,
    /// How many members own a series.
    pub replicas: usize,
    /// Who they are: URLs as they are shown, sorted.
    pub members: Vec<String>,
}

/// The rings that are still wanted, in the log's order.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Rings(Vec<Ring>);

/// Why a file of rings can't be used.
#[derive(Debug, thiserror::Error)]
pub enum RingsError {
    /// What the file system says.
    #[error(transparent)]
    Io(#[from] io::Error),
    /// It is not what narthex wrote.
    #[error("{0}; without the file the members begin with a new ring at the log's end")]
    Damaged(&'static str),
    /// Too many changes that some member is not past yet.
    #[error(
        "{RINGS_MAX} changes of members are not passed by all yet; who is behind is seen in the status, and \
         a member that is gone for good is given up by removing its file of positions while narthex is stopped"
    )]
    TooMany,
}

impl Rings {
    /// Reads the file; no rings where there is none.
    pub fn load(fs: &dyn Filesystem, path: &Path) -> Result<Self, RingsError> {
        let Some(metadata) = fs.metadata(path)? else { return Ok(Rings::default()) };
        if metadata.len > FILE_BYTES_MAX {
            return Err(RingsError::Damaged("it is too large"));
        }
        let mut bytes = vec![0; metadata.len as usize];
        let length = fs.open(path, false)?.read_full_at(&mut bytes, 0)?;
        bytes.truncate(length);
        Self::decode(&bytes)
    }

    /// Replaces the file, or removes it where there are no rings. Durable afterwards. Waits for the disk.
    pub fn save(&self, fs: &dyn Filesystem, path: &Path) -> io::Result<()> {
        let folder = path.parent().unwrap_or(Path::new("."));
        if self.is_empty() {
            if fs.metadata(path)?.is_some() {
                fs.remove_file(path)?;
                fs.sync_dir(folder)?;
            }
            return Ok(());
        }
        make_folder(fs, folder)?;
        replace(fs, path, &beside(path, UNFINISHED), |file| {
            file.write_all_at(&self.encode(), 0)?;
            file.sync_data()
        })
    }

    fn encode(&self) -> Vec<u8> {
        let ring = |ring: &Ring| {
            let Position { segment, offset, index } = ring.from;
            json!({ "from": [segment, offset, index], "replicas": ring.replicas, "members": ring.members })
        };
        let rings: Vec<Value> = self.0.iter().map(ring).collect();
        let mut text = json!({ "version": VERSION, "rings": rings }).to_string().into_bytes();
        text.push(b'\n');
        text
    }

    fn decode(bytes: &[u8]) -> Result<Self, RingsError> {
        let damaged = RingsError::Damaged;
        let file: Value = serde_json::from_slice(bytes).map_err(|_| damaged("it is not JSON"))?;
        if file.get("version").and_then(Value::as_u64) != Some(VERSION) {
            return Err(damaged("it is of another version"));
        }
        let rings = file.get("rings").and_then(Value::as_array).into_iter().flatten();
        let rings: Option<Vec<Ring>> = rings.map(read_ring).collect();
        let rings = rings.filter(|rings| rings.is_sorted_by_key(|ring| ring.from));
        match rings.filter(|rings| (1..=RINGS_MAX).contains(&rings.len())) {
            Some(rings) => Ok(Rings(rings)),
            None => Err(damaged("it does not hold rings as narthex writes them")),
        }
    }

    /// The rings, in the log's order.
    pub fn all(&self) -> &[Ring] {
        &self.0
    }

    /// Everyone who is a member of any ring, sorted.
    pub fn everyone(&self) -> Vec<String> {
        let mut everyone: Vec<String> = self.0.iter().flat_map(|ring| ring.members.clone()).collect();
        everyone.sort_unstable();
        everyone.dedup();
        everyone
    }

    /// Where this member's part of the log begins and, unless it is a member now, ends. `None` for who never
    /// was one.
    pub fn part(&self, member: &str) -> Option<(Position, Option<Position>)> {
        let is_in = |ring: &Ring| ring.members.iter().any(|other| other == member);
        let first = self.0.iter().find(|ring| is_in(ring))?;
        let after = self.0.iter().rposition(is_in).map_or(0, |last| last + 1);
        Some((first.from, self.0.get(after).map(|ring| ring.from)))
    }

    /// Whether the entry is new.
    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    /// Whether the last ring is of these members.
    pub fn are_now(&self, members: &[String], replicas: usize) -> bool {
        let Some(last) = self.0.last() else { return false };
        let known = members.iter().all(|member| last.members.contains(member));
        known && last.members.len() == members.len() && last.replicas == replicas
    }

    /// From `at` on, these are the members, each of which is named once. Nothing changes where they are already.
    pub fn change(&mut self, at: Position, members: &[String], replicas: usize) -> Result<(), RingsError> {
        if self.are_now(members, replicas) {
            return Ok(());
        }
        let is_new = self.is_empty();
        // Nothing was written since the last ring began, so it was never used.
        self.0.pop_if(|ring| ring.from >= at);
        if self.are_now(members, replicas) {
            return Ok(());
        }
        let mut members = members.to_vec();
        members.sort_unstable();
        if self.0.len() >= RINGS_MAX {
            return Err(RingsError::TooMany);
        }
        if is_new && at > Position::default() {
            let everybody =
                Ring { from: Position::default(), replicas: members.len(), members: members.clone() };
            self.0.push(everybody);
        }
        self.0.push(Ring { from: at, replicas, members });
        Ok(())
    }

    /// Forgets the rings that nobody needs any more. `reached` tells how far a member is; `None` for who
    /// wants nothing. Before `oldest` there is no log.
    pub fn forget(&mut self, oldest: Position, reached: impl Fn(&str) -> Option<Position>) {
        while let [first, next, ..] = self.0.as_slice() {
            let past = |member: &String| reached(member).is_none_or(|position| position >= next.from);
            if oldest < next.from && !first.members.iter().all(past) {
                break;
            }
            self.0.remove(0);
        }
    }

    /// For a log that ends before the last ring begins, which therefore is another log than the rings were
    /// for: all of it, from `oldest` on, is the last ring's.
    pub fn begin_anew_after(&mut self, oldest: Position, end: Position) {
        if self.0.last().is_some_and(|last| last.from > end) {
            let last = self.0.split_off(self.0.len().saturating_sub(1));
            self.0 = last.into_iter().map(|ring| Ring { from: oldest, ..ring }).collect();
        }
    }

    /// What is this member's, along the log.
    pub fn share(&self, member: &str) -> Share {
        self.shares(&[member]).pop().unwrap_or_default()
    }

    /// What is each of these members', along the log. A ring's slots are worked out once for all of them.
    pub fn shares(&self, members: &[&str]) -> Vec<Share> {
        let mut shares = vec![Share::default(); members.len()];
        for ring in &self.0 {
            let slots = ring::slots(&ring.members, ring.replicas);
            for (member, share) in members.iter().zip(&mut shares) {
                let index = ring.members.iter().position(|other| other == member);
                let own = index.and_then(|index| slots.get(index).cloned());
                share.push(ring.from, own.unwrap_or_else(Slots::none));
            }
        }
        shares
    }
}

fn read_ring(ring: &Value) -> Option<Ring> {
    let [segment, offset, index] = ring.get("from")?.as_array()?.as_slice() else { return None };
    let index = u32::try_from(index.as_u64()?).ok()?;
    let from = Position { segment: segment.as_u64()?, offset: offset.as_u64()?, index };
    let members = ring.get("members")?.as_array()?.iter().map(|member| Some(member.as_str()?.to_string()));
    let members: Vec<String> = members.collect::<Option<_>>()?;
    let replicas = usize::try_from(ring.get("replicas")?.as_u64()?).ok()?;
    let sound = (1..=MEMBERS_MAX).contains(&members.len()) && (1..=members.len()).contains(&replicas);
    (sound && members.is_sorted()).then_some(Ring { from, replicas, members })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::queue::lanes::series_hash;
    use wal::RealFilesystem;

    fn at(segment: u64) -> Position {
        Position::start_of(segment)
    }

    fn names(names: &str) -> Vec<String> {
        names.chars().map(|name| format!("http://{name}/")).collect()
    }

    /// a from 0, a and b from 5, b and c from 9.
    fn some() -> Rings {
        let mut rings = Rings::default();
        for (from, members) in [(0, "a"), (5, "ba"), (9, "bc")] {
            rings.change(at(from), &names(members), 1).unwrap();
        }
        rings
    }

    #[test]
    fn a_file_is_read_as_it_was_written_and_replaced_as_a_whole() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("rings/cluster.json");
        assert_eq!(Rings::load(&RealFilesystem, &path).unwrap(), Rings::default());
        let mut rings = some();
        rings.save(&RealFilesystem, &path).unwrap();
        assert_eq!(Rings::load(&RealFilesystem, &path).unwrap(), rings);
        let from = Position { segment: 11, offset: 32_768, index: 7 };
        rings.change(from, &names("abcd"), 3).unwrap();
        std::fs::write(beside(&path, UNFINISHED), "left by a kill").unwrap();
        rings.save(&RealFilesystem, &path).unwrap();
        assert_eq!(Rings::load(&RealFilesystem, &path).unwrap(), rings);
        assert!(!beside(&path, UNFINISHED).exists());
    }

    #[test]
    fn whenever_the_disk_fails_or_power_is_cut_the_file_is_the_old_or_the_new_one() {
        use wal::sim::{Op, SimFilesystem};
        let path = Path::new("/data/rings/cluster.json");
        let old = some();
        let mut new = some();
        new.change(at(12), &names("abcd"), 2).unwrap();
        let with_old = |seed: u64| {
            let fs = SimFilesystem::new(seed);
            fs.create_dir_all(Path::new("/data/rings")).unwrap();
            fs.sync_dir(Path::new("/data")).unwrap();
            fs.sync_dir(Path::new("/")).unwrap();
            old.save(&fs, path).unwrap();
            fs
        };
        let mut steps = 0;
        for die_after in 0.. {
            let fs = with_old(die_after);
            fs.die_after(die_after);
            let saved = new.save(&fs, path).is_ok();
            let died = fs.is_dead();
            fs.power_cut();
            let there = Rings::load(&fs, path).unwrap();
            assert!(there == new || !saved && there == old, "{die_after}: {there:?}");
            // What it left does not stand in the way.
            new.save(&fs, path).unwrap();
            fs.power_cut();
            assert_eq!(Rings::load(&fs, path).unwrap(), new, "{die_after}");
            steps = die_after;
            if !died {
                break;
            }
        }
        assert!(steps > 4, "{steps}");
        for op in [Op::Create, Op::Write, Op::Sync, Op::Rename, Op::SyncDir] {
            let fs = with_old(7);
            fs.fail(op, 0, 1);
            new.save(&fs, path).unwrap_err();
            let there = Rings::load(&fs, path).unwrap();
            assert!(there == old || there == new, "{op:?}: {there:?}");
            // As a failed reload does.
            old.save(&fs, path).unwrap();
            fs.power_cut();
            assert_eq!(Rings::load(&fs, path).unwrap(), old, "{op:?}");
        }
    }

    #[test]
    fn what_narthex_did_not_write_is_refused() {
        let whole = String::from_utf8(some().encode()).unwrap();
        for (from, to) in [
            ("{", ""),
            ("\"version\":1", "\"version\":2"),
            ("[0,0,0]", "[7,0,0]"),
            ("[0,0,0]", "[0,0]"),
            ("[0,0,0]", "[0,0,-1]"),
            ("\"replicas\":1", "\"replicas\":0"),
            ("\"replicas\":1", "\"replicas\":3"),
            ("\"http://a/\"", ""),
            ("[\"http://a/\",\"http://b/\"]", "[\"http://b/\",\"http://a/\"]"),
            ("\"rings\"", "\"ring\""),
        ] {
            assert!(whole.contains(from), "{from} in {whole}");
            let changed = whole.replacen(from, to, 1);
            assert!(matches!(Rings::decode(changed.as_bytes()), Err(RingsError::Damaged(_))), "{changed}");
        }
        let many = format!(
            "{{\"version\":1,\"rings\":[{}]}}",
            vec!["{\"from\":[1,0,0],\"replicas\":1,\"members\":[\"a\"]}"; RINGS_MAX + 1].join(",")
        );
        assert!(matches!(Rings::decode(many.as_bytes()), Err(RingsError::Damaged(_))));
    }

    #[test]
    fn a_change_is_one_only_where_something_changes() {
        let mut rings = some();
        rings.change(at(12), &names("cb"), 1).unwrap();
        assert_eq!(rings, some());
        rings.change(at(12), &names("cb"), 2).unwrap();
        assert_eq!(rings.all().len(), 4);
        // Nothing was written since: the ring before was never used.
        rings.change(at(12), &names("abc"), 2).unwrap();
        assert_eq!(rings.all().last().map(|ring| ring.members.len()), Some(3));
        assert_eq!(rings.all().len(), 4);
        rings.change(at(12), &names("bc"), 1).unwrap();
        assert_eq!(rings, some(), "and back again");
    }

    #[test]
    fn before_the_first_ring_everything_is_everybodys() {
        let mut rings = Rings::default();
        rings.change(at(5), &names("abc"), 1).unwrap();
        let shares: Vec<Share> = names("abc").iter().map(|name| rings.share(name)).collect();
        let owners = |position: u64, hash: u64| {
            shares.iter().filter(|share| share.holds(share.at(at(position)), hash)).count()
        };
        assert!((0..100u64).all(|hash| owners(4, hash << 54) == 3 && owners(5, hash << 54) == 1));
        rings.forget(at(0), |_| Some(at(5)));
        assert_eq!(rings.all().len(), 1);
        // Then nothing is left there for anybody, whoever may come.
        assert!((0..100u64).all(|hash| !rings.share("http://a/").holds(0, hash << 54)));
        rings.change(at(5), &names("d"), 1).unwrap();
        assert_eq!(rings.all().iter().map(|ring| ring.from.segment).collect::<Vec<_>>(), [5]);
    }

    #[test]
    fn changes_that_are_not_passed_are_bounded() {
        let mut rings = Rings::default();
        for change in 0..RINGS_MAX as u64 {
            rings.change(at(change), &names(if change % 2 == 0 { "a" } else { "b" }), 1).unwrap();
        }
        let before = rings.clone();
        assert!(matches!(rings.change(at(99), &names("ab"), 1), Err(RingsError::TooMany)));
        assert_eq!(rings, before);
    }

    #[test]
    fn a_members_part_goes_from_its_first_ring_to_where_it_is_none_any_more() {
        let rings = some();
        assert_eq!(rings.part("http://a/"), Some((at(0), Some(at(9)))));
        assert_eq!(rings.part("http://b/"), Some((at(5), None)));
        assert_eq!(rings.part("http://c/"), Some((at(9), None)));
        assert_eq!(rings.part("http://d/"), None);
        assert_eq!(rings.everyone(), names("abc"));
        // Back again: in between nothing is its own.
        let mut rings = rings;
        rings.change(at(12), &names("abc"), 1).unwrap();
        assert_eq!(rings.part("http://a/"), Some((at(0), None)));
        let share = rings.share("http://a/");
        assert!((0..100u64).all(|hash| !share.holds(3, hash << 54)));
    }

    #[test]
    fn rings_that_all_have_passed_are_forgotten() {
        let reached = |a: u64, b: u64| {
            move |member: &str| match member {
                "http://a/" => (a > 0).then(|| at(a)),
                _ => Some(at(b)),
            }
        };
        let after = |oldest: u64, reached: &dyn Fn(&str) -> Option<Position>| {
            let mut rings = some();
            rings.forget(at(oldest), reached);
            rings.all().iter().map(|ring| ring.from.segment).collect::<Vec<_>>()
        };
        assert_eq!(after(0, &reached(4, 20)), [0, 5, 9], "a is behind");
        assert_eq!(after(0, &reached(5, 20)), [5, 9]);
        assert_eq!(after(0, &reached(9, 8)), [5, 9], "b is behind");
        assert_eq!(after(0, &reached(9, 9)), [9]);
        assert_eq!(after(0, &reached(0, 9)), [9], "a is served no more");
        assert_eq!(after(6, &reached(1, 1)), [5, 9], "the log before is gone");
        assert_eq!(after(30, &reached(1, 1)), [9]);
    }

    #[test]
    fn a_log_that_was_taken_away_is_all_the_last_rings() {
        let mut rings = some();
        rings.begin_anew_after(at(1), at(9));
        assert_eq!(rings, some());
        rings.begin_anew_after(at(1), at(3));
        assert_eq!((rings.all().len(), rings.all()[0].from), (1, at(1)));
        assert_eq!(rings.everyone(), names("bc"));
    }

    #[test]
    fn each_series_has_its_owners_at_every_position() {
        let rings = some();
        let shares: Vec<Share> = ["a", "b", "c"].map(|name| rings.share(&names(name)[0])).into();
        for segment in [0, 1, 4, 5, 8, 9, 100] {
            let ring = shares[0].at(at(segment));
            for number in 0..1000u32 {
                let hash = series_hash(&number.to_le_bytes());
                let owners = shares.iter().filter(|share| share.holds(ring, hash)).count();
                assert_eq!(owners, 1, "series {number} at {segment}");
            }
        }
    }

    #[test]
    fn a_chunk_knows_which_rings_it_lies_in() {
        let share = Rings(some().0.split_off(1)).share("http://a/");
        for (start, end, rings) in [
            (0, 1, 0..=0),
            (0, 5, 0..=0),
            (4, 6, 0..=1),
            (5, 9, 1..=1),
            (0, 99, 0..=2),
            (9, 9, 2..=2),
            (5, 5, 1..=1),
        ] {
            assert_eq!(share.between(at(start), at(end)), rings, "{start} to {end}");
        }
    }
}
