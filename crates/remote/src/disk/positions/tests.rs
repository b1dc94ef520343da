#![allow(clippy::unwrap_used, clippy::indexing_slicing, reason = "helper functions of tests")]
use super::layout::AREA_BYTES;
use super::*;
use proptest::prelude::*;
use wal::RealFilesystem;
use wal::fs::READ_TRIES;

const NEW: Position = Position { segment: 9, offset: 0, index: 0 };
const OLDEST: Position = Position { segment: 1, offset: 0, index: 0 };

fn lanes(number: u64) -> Lanes {
    std::array::from_fn(|lane| Position { segment: number, offset: lane as u64, index: 3 })
}

fn owner() -> Owner {
    Owner { name: None, url: "http://h/write".into(), variant: 5 }
}

/// Even numbers have a backlog.
fn settled(number: u64) -> Settled {
    let from = Position { segment: number + 1, offset: 0, index: 0 };
    let ahead = Ahead { from, lanes: lanes(number + 2) };
    Settled { lanes: lanes(number), ahead: Some(ahead).filter(|_| number.is_multiple_of(2)) }
}

fn open(path: &Path, fingerprint: u64) -> (PositionFile, Settled, Found) {
    PositionFile::open(&RealFilesystem, path, &owner(), fingerprint, NEW, OLDEST).unwrap()
}

#[test]
fn last_saved_positions_are_found() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("positions/a");
    let (mut file, found, kind) = open(&path, 7);
    assert_eq!((found, kind), ([NEW; LANES].into(), Found::New));
    for number in 10..15 {
        file.save(&settled(number)).unwrap();
        let (_, found, kind) = open(&path, 7);
        assert_eq!((found, kind), (settled(number), Found::Intact));
        let content = read(&RealFilesystem, &path).unwrap().unwrap();
        assert_eq!((&content.lanes, &content.owner), (&lanes(number).map(Some), &owner()));
        assert_eq!(content.lowest(), lanes(number)[0]);
    }
    assert_eq!(std::fs::metadata(&path).unwrap().len(), FILE_BYTES);
}

#[test]
fn changed_fingerprint_sends_all_lanes_back_to_the_lowest() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("a");
    open(&path, 7).0.save(&settled(10)).unwrap();
    let first = |segment| [Position { segment, offset: 0, index: 3 }; LANES];
    let mut lowest = settled(10);
    lowest.lanes = first(10);
    lowest.ahead.as_mut().unwrap().lanes = first(12);
    let (_, found, kind) = open(&path, 8);
    assert_eq!((found, kind), (lowest, Found::OtherFingerprint));
    let (_, found, kind) = open(&path, 8);
    assert_eq!((found, kind), (lowest, Found::Intact));
}

#[test]
fn count_of_samples_only_in_memory_survives_a_kill() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("a");
    let (mut file, ..) = open(&path, 7);
    assert_eq!(file.only_in_memory(), Kinds::default());
    let kinds = Kinds { samples: 7, histograms: 8, exemplars: 9 };
    file.write_only_in_memory(kinds).unwrap();
    // Saving positions does not change the count.
    file.save(&settled(10)).unwrap();
    for _ in 0..2 {
        let (file, found, _) = open(&path, 7);
        assert_eq!((file.only_in_memory(), found), (kinds, settled(10)));
    }
    // A change of the external labels replaces the file, but the earlier process's count is still read.
    assert_eq!(open(&path, 8).0.only_in_memory(), kinds);
    assert_eq!(open(&path, 8).0.only_in_memory(), Kinds::default());
}

#[test]
fn damaged_file_leads_to_the_oldest_position() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("a");
    for rubbish in [vec![], vec![0; 40_000], vec![0xff; 5000]] {
        std::fs::write(&path, rubbish).unwrap();
        assert!(read(&RealFilesystem, &path).unwrap().is_none());
        let (_, found, kind) = open(&path, 7);
        assert_eq!((found, kind), ([OLDEST; LANES].into(), Found::Damaged(LANES)));
        assert_eq!(open(&path, 7).2, Found::Intact);
    }
}

#[test]
fn unreadable_file_is_retried_and_then_replaced() {
    use wal::sim::{Op, SimFilesystem};
    // Opens for the metadata of the folder and of the file come first, so they are skipped.
    for (op, before) in [(Op::Read, 0), (Op::Open, 2), (Op::Open, 1)] {
        let sim = SimFilesystem::new(1);
        let open = || {
            let (_, settled, found) =
                PositionFile::open(&sim, Path::new("/positions/a"), &owner(), 7, NEW, OLDEST).unwrap();
            (settled, found)
        };
        assert_eq!(open(), ([NEW; LANES].into(), Found::New));
        sim.fail(op, before, u64::from(READ_TRIES) - 1);
        assert_eq!(open(), ([NEW; LANES].into(), Found::Intact), "{op:?}");
        sim.fail(op, before, u64::from(READ_TRIES) * if before == 1 { 2 } else { 1 });
        assert_eq!(open(), ([OLDEST; LANES].into(), Found::Damaged(LANES)), "{op:?}");
        assert_eq!(open(), ([OLDEST; LANES].into(), Found::Intact), "{op:?}");
    }
}

#[test]
fn new_owner_takes_the_positions_over() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("a");
    open(&path, 7).0.save(&settled(10)).unwrap();
    let other = Owner { name: Some("é".repeat(300)), url: "x".repeat(900), variant: u64::MAX };
    for owner in [&other, &owner(), &other] {
        mark_removed(&RealFilesystem, &path, 99).unwrap();
        assert_eq!(read(&RealFilesystem, &path).unwrap().unwrap().removed_ms, Some(99));
        let opened = PositionFile::open(&RealFilesystem, &path, owner, 7, NEW, OLDEST).unwrap();
        assert_eq!((opened.1, opened.2), (settled(10), Found::Intact));
        let content = read(&RealFilesystem, &path).unwrap().unwrap();
        assert_eq!((&content.owner, content.removed_ms), (owner, None));
        assert_eq!(content.lanes, lanes(10).map(Some));
    }
}

#[test]
fn positions_written_without_a_sync_survive_a_kill() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("a");
    let (mut file, ..) = open(&path, 7);
    for number in 10..30 {
        file.write(&settled(number)).unwrap();
        if number % 3 == 0 {
            let sync = file.begin_sync();
            file.write(&settled(number + 100)).unwrap();
            assert_eq!(open_copy(&path), settled(number + 100));
            sync.wait().unwrap();
            // Every second sync fails.
            if number % 2 == 0 {
                file.end_sync(&sync);
            }
        }
        file.write(&settled(number)).unwrap();
        assert_eq!(open_copy(&path), settled(number));
    }
}

/// Returns what a start would find, without changing the file.
fn open_copy(path: &Path) -> Settled {
    let copy = path.with_extension("copy");
    std::fs::copy(path, &copy).unwrap();
    open(&copy, 7).1
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 64, ..ProptestConfig::default() })]

    #[test]
    fn torn_save_gives_each_lane_this_or_the_previous_position(
        cut in 0usize..=AREA_BYTES as usize, saves in 0u64..4, during_sync: bool) {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("a");
        let (mut file, ..) = open(&path, 7);
        for number in 0..=saves {
            file.save(&settled(10 + number)).unwrap();
        }
        let before = std::fs::read(&path).unwrap();
        // Positions are also written without a sync, before and during one. The durable area stays intact.
        file.write(&settled(20)).unwrap();
        let sync = during_sync.then(|| file.begin_sync());
        file.write(&settled(21)).unwrap();
        drop(sync);
        let after = std::fs::read(&path).unwrap();
        let mut torn = before.clone();
        let bytes = AREA_BYTES as usize;
        for start in SLOTS.map(|start| start as usize) {
            if before[start..start + bytes] != after[start..start + bytes] {
                torn[start..start + cut].copy_from_slice(&after[start..start + cut]);
                // The byte at which the write was torn is damaged.
                torn[start + cut.min(bytes - 1)] ^= 0x55;
            }
        }
        std::fs::write(&path, &torn).unwrap();
        let (_, found, kind) = open(&path, 7);
        prop_assert_eq!(kind, Found::Intact);
        for lane in 0..LANES {
            let may = [10 + saves, 20, 21].map(settled);
            prop_assert!(may.iter().any(|may| may.lanes[lane] == found.lanes[lane]), "{:?}", found.lanes[lane]);
            // Everything that counts as settled was settled in one of the writes.
            if let Some(ahead) = found.ahead {
                let by = |may: &Settled| {
                    let known = may.ahead.filter(|own| own.from == ahead.from);
                    let live = known.map_or(may.lanes[lane], |own| own.lanes[lane]);
                    ahead.lanes[lane] <= live.max(ahead.from)
                };
                prop_assert!(may.iter().any(by), "{:?}", ahead.lanes[lane]);
            }
        }
    }
}
