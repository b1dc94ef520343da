use super::*;
use std::collections::BTreeSet;

const DIR: &str = "/data/log";

fn with_file(seed: u64) -> (SimFilesystem, Box<dyn File>) {
    let fs = SimFilesystem::new(seed);
    fs.create_dir_all(Path::new(DIR)).unwrap();
    for dir in ["/", "/data"] {
        fs.sync_dir(Path::new(dir)).unwrap();
    }
    let file = fs.create_new(&Path::new(DIR).join("f")).unwrap();
    fs.sync_dir(Path::new(DIR)).unwrap();
    (fs, file)
}

fn contents(fs: &SimFilesystem) -> Vec<u8> {
    fs.contents(&Path::new(DIR).join("f")).unwrap()
}

#[test]
fn only_synced_data_is_sure_to_survive_a_power_cut() {
    let mut seen = BTreeSet::new();
    for seed in 0..400 {
        let (fs, file) = with_file(seed);
        file.write_all_at(b"safe", 0).unwrap();
        file.sync_data().unwrap();
        file.write_all_at(b"abc", 4).unwrap();
        assert_eq!(contents(&fs), b"safeabc");
        fs.power_cut();
        let left = contents(&fs);
        assert_eq!(left[..4], *b"safe");
        seen.insert(left[4..].to_vec());
        assert!(file.write_at(b"x", 0).is_err() && file.len().is_err(), "the file is no longer open");
    }
    for ending in [&b""[..], b"abc", b"ab", b"\0\0\0", b"a\0\0", b"\0\0c"] {
        assert!(seen.contains(ending), "{ending:?} is not among {seen:?}");
    }
}

#[test]
fn unsynced_names_are_lost_in_order() {
    let mut seen = BTreeSet::new();
    for seed in 0..100 {
        let (fs, _file) = with_file(seed);
        let dir = Path::new(DIR);
        fs.create_new(&dir.join("g")).unwrap();
        fs.rename(&dir.join("f"), &dir.join("h")).unwrap();
        fs.remove_file(&dir.join("g")).unwrap();
        fs.power_cut();
        seen.insert(fs.read_dir(dir).unwrap());
    }
    let names = |list: &[&str]| list.iter().map(OsString::from).collect::<Vec<_>>();
    assert_eq!(seen, BTreeSet::from([names(&["f"]), names(&["f", "g"]), names(&["g", "h"]), names(&["h"])]));
}

#[test]
fn after_a_failed_sync_a_later_sync_writes_nothing() {
    let mut lost = 0;
    for seed in 0..100 {
        let (fs, file) = with_file(seed);
        fs.fail(Op::Sync, 0, 1);
        file.write_all_at(b"abc", 0).unwrap();
        assert!(file.sync_data().is_err());
        assert_eq!(contents(&fs), b"abc", "reading still shows it");
        file.sync_data().unwrap();
        fs.power_cut();
        lost += usize::from(contents(&fs) != b"abc");
    }
    assert!((10..90).contains(&lost), "{lost} of 100 lost");
}

#[test]
fn a_full_disk_accepts_what_fits_and_truncation_frees_space() {
    let (fs, file) = with_file(1);
    fs.set_space(Some(5));
    assert_eq!(file.write_at(b"12345678", 0).unwrap(), 5);
    assert_eq!(file.write_at(b"678", 5).unwrap_err().kind(), io::ErrorKind::StorageFull);
    assert_eq!(file.write_at(b"abc", 0).unwrap(), 3, "overwriting needs no room");
    file.set_len(2).unwrap();
    assert_eq!(fs.available(Path::new("/")).unwrap(), 3);
    assert!(file.allocate(6).is_err());
    file.allocate(5).unwrap();
    assert_eq!(contents(&fs), b"ab\0\0\0");
    fs.remove_file(&Path::new(DIR).join("f")).unwrap();
    assert_eq!(fs.available(Path::new("/")).unwrap(), 5);
}

#[test]
fn transfers_are_short_and_a_stopped_machine_does_nothing() {
    let (fs, file) = with_file(2);
    fs.set_max_transfer(Some(1));
    file.write_all_at(b"hello", 0).unwrap();
    let mut buf = [0; 9];
    assert_eq!(file.read_full_at(&mut buf, 0).unwrap(), 5);
    assert!(fs.count(Op::Write) >= 5 && fs.count(Op::Read) >= 6);
    fs.die_after(1);
    file.sync_data().unwrap();
    assert!(file.sync_data().is_err() && fs.is_dead());
    assert!(fs.open(&Path::new(DIR).join("f"), false).is_err());
    fs.power_cut();
    assert_eq!(contents(&fs), b"hello");
}

#[test]
fn the_same_seed_gives_the_same_disk() {
    let run = |seed| {
        let (fs, file) = with_file(seed);
        for i in 0..20u8 {
            file.write_all_at(&[i; 33], u64::from(i) * 20).unwrap();
        }
        fs.power_cut();
        contents(&fs)
    };
    assert_eq!(run(7), run(7));
    assert_ne!(run(7), run(8));
}
