use super::*;
use wal::RealFilesystem;
use xxhash_rust::xxh3::xxh3_64 as series_hash;

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
fn file_is_read_back_and_replaced_as_a_whole() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("rings/cluster.json");
    assert_eq!(Rings::load(&RealFilesystem, &path).unwrap(), Rings::default());
    let mut rings = some();
    rings.save(&RealFilesystem, &path).unwrap();
    assert_eq!(Rings::load(&RealFilesystem, &path).unwrap(), rings);
    let from = Position { segment: 11, offset: 32_768, index: 7 };
    rings.change(from, &names("abcd"), 3).unwrap();
    std::fs::write(with_ending(&path, UNFINISHED), "left by a kill").unwrap();
    rings.save(&RealFilesystem, &path).unwrap();
    assert_eq!(Rings::load(&RealFilesystem, &path).unwrap(), rings);
    assert!(!with_ending(&path, UNFINISHED).exists());
}

#[test]
fn disk_failure_or_power_cut_leaves_the_old_or_the_new_file() {
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
        // The files of the failed save do not prevent the next one.
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
        // A failed reload does this.
        old.save(&fs, path).unwrap();
        fs.power_cut();
        assert_eq!(Rings::load(&fs, path).unwrap(), old, "{op:?}");
    }
}

#[test]
fn foreign_files_are_rejected() {
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
fn unchanged_members_add_no_ring() {
    let mut rings = some();
    rings.change(at(12), &names("cb"), 1).unwrap();
    assert_eq!(rings, some());
    rings.change(at(12), &names("cb"), 2).unwrap();
    assert_eq!(rings.all().len(), 4);
    // Nothing was written since, so the ring before was never used.
    rings.change(at(12), &names("abc"), 2).unwrap();
    assert_eq!(rings.all().last().map(|ring| ring.members.len()), Some(3));
    assert_eq!(rings.all().len(), 4);
    rings.change(at(12), &names("bc"), 1).unwrap();
    assert_eq!(rings, some(), "and back again");
}

#[test]
fn before_the_first_ring_every_member_owns_everything() {
    let mut rings = Rings::default();
    rings.change(at(5), &names("abc"), 1).unwrap();
    let shares: Vec<Share> = names("abc").iter().map(|name| rings.share(name)).collect();
    let owners = |position: u64, hash: u64| {
        shares.iter().filter(|share| share.holds(share.at(at(position)), hash)).count()
    };
    assert!((0..100u64).all(|hash| owners(4, hash << 54) == 3 && owners(5, hash << 54) == 1));
    rings.remove_delivered(at(0), |_| Some(at(5)));
    assert_eq!(rings.all().len(), 1);
    // Then no member owns anything there, also not a new one.
    assert!((0..100u64).all(|hash| !rings.share("http://a/").holds(0, hash << 54)));
    rings.change(at(5), &names("d"), 1).unwrap();
    assert_eq!(rings.all().iter().map(|ring| ring.from.segment).collect::<Vec<_>>(), [5]);
}

#[test]
fn number_of_kept_changes_is_bounded() {
    let mut rings = Rings::default();
    for change in 0..RINGS_MAX as u64 {
        rings.change(at(change), &names(if change % 2 == 0 { "a" } else { "b" }), 1).unwrap();
    }
    let before = rings.clone();
    assert!(matches!(rings.change(at(99), &names("ab"), 1), Err(RingsError::TooMany)));
    assert_eq!(rings, before);
}

#[test]
fn part_lasts_from_the_first_ring_to_the_members_removal() {
    let rings = some();
    assert_eq!(rings.part("http://a/"), Some((at(0), Some(at(9)))));
    assert_eq!(rings.part("http://b/"), Some((at(5), None)));
    assert_eq!(rings.part("http://c/"), Some((at(9), None)));
    assert_eq!(rings.part("http://d/"), None);
    assert_eq!(rings.all_members(), names("abc"));
    // The member is back. It owns nothing in between.
    let mut rings = rings;
    rings.change(at(12), &names("abc"), 1).unwrap();
    assert_eq!(rings.part("http://a/"), Some((at(0), None)));
    let share = rings.share("http://a/");
    assert!((0..100u64).all(|hash| !share.holds(3, hash << 54)));
}

#[test]
fn rings_passed_by_all_members_are_removed() {
    let reached = |a: u64, b: u64| {
        move |member: &str| match member {
            "http://a/" => (a > 0).then(|| at(a)),
            _ => Some(at(b)),
        }
    };
    let after = |oldest: u64, reached: &dyn Fn(&str) -> Option<Position>| {
        let mut rings = some();
        rings.remove_delivered(at(oldest), reached);
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
fn last_ring_is_in_force_for_all_of_a_new_log() {
    let mut rings = some();
    rings.restart_after(at(1), at(9));
    assert_eq!(rings, some());
    rings.restart_after(at(1), at(3));
    assert_eq!((rings.all().len(), rings.all()[0].from), (1, at(1)));
    assert_eq!(rings.all_members(), names("bc"));
}

#[test]
fn each_series_has_its_number_of_owners_at_every_position() {
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
fn rings_between_two_positions_are_found() {
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
