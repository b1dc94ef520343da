//! The output and the effects of `verify` and `repair`.

use super::{typed, undelivered, wal, wal_ok, written};
use std::path::Path;

#[test]
fn damage_is_named_and_repaired_and_the_damaged_file_is_kept() {
    let folder = tempfile::tempdir().unwrap();
    let dir = folder.path().to_str().unwrap();
    written(folder.path(), 5000);
    let segment = folder.path().join("wal/00000000");
    let whole = std::fs::read(&segment).unwrap();
    let mut damaged = whole.clone();
    // In the second page.
    damaged[40_000] ^= 8;
    std::fs::write(&segment, &damaged).unwrap();

    let (code, text, error) = wal(&["verify", dir]);
    assert_eq!((code, &*error), (1, ""), "{text}");
    let line = text.lines().find(|line| line.contains("checksum is")).unwrap();
    let (file, rest) = line.split_once(": ").unwrap();
    assert_eq!(Path::new(file), segment);
    let numbers: Vec<usize> =
        rest.split(' ').filter_map(|word| word.trim_end_matches(':').parse().ok()).collect();
    let [bytes, offset] = numbers[..2] else { panic!("{rest}") };
    assert!((offset..offset + bytes).contains(&40_000), "{line}");
    assert!(text.contains(": damaged,"), "{text}");
    let stat = wal_ok(&["stat", dir]);
    let (_, command) = stat.split_once(": see ").unwrap();
    let (code, again, _) = typed(command.lines().next().unwrap());
    assert_eq!((code, &again), (1, &text), "{stat}");
    let behind =
        text.lines().find(|line| line.starts_with("Prometheus would delete what is behind")).unwrap();
    assert!(behind.ends_with("00000000 and every later segment"), "{text}");

    let text = wal_ok(&["repair", dir]);
    assert!(text.contains("the damaged file is kept as") && text.contains("00000000.damaged"), "{text}");
    assert_eq!(std::fs::read(segment.with_extension("damaged")).unwrap(), damaged);
    // The labels in the lost record can't be restored. The log is complete nevertheless.
    for words in ["of series whose labels are lost", "whole now", "Prometheus opens it"] {
        assert!(text.contains(words), "{words} in {text}");
    }
    let text = wal_ok(&["verify", dir]);
    for words in [
        ": whole,",
        "bytes were lost to damage and replaced by a repair",
        "of series whose labels are lost",
        "Prometheus opens it",
    ] {
        assert!(text.contains(words), "{words} in {text}");
    }
    assert!(!text.contains("checksum"), "{text}");
    assert!(wal_ok(&["repair", dir]).contains("nothing to repair"));
    // Files that narthex itself has quarantined are listed too.
    std::fs::create_dir(folder.path().join("damaged")).unwrap();
    std::fs::write(folder.path().join("damaged/000001-wal-00000000"), [0; 2048]).unwrap();
    let (_, text, _) = wal(&["verify", dir]);
    assert!(text.contains("1 file, 2.00 KiB\n  000001-wal-00000000: 2.00 KiB\n"), "{text}");
    // narthex continues with the repaired log.
    undelivered(folder.path()).process.kill();
}

#[test]
fn a_log_without_its_first_segment_is_damaged_until_repaired() {
    let folder = tempfile::tempdir().unwrap();
    let dir = folder.path().to_str().unwrap();
    // One segment for each start.
    (0..3).for_each(|_| written(folder.path(), 10));
    assert!(wal_ok(&["verify", dir]).contains("Prometheus opens it"));
    std::fs::remove_file(folder.path().join("wal/00000000")).unwrap();
    std::fs::write(folder.path().join("wal/9"), "").unwrap();

    let (code, text, _) = wal(&["verify", dir]);
    assert_eq!(code, 1, "{text}");
    for words in [
        "wal: segment 0 is missing",
        "wal/9: is not part of the log, but Prometheus takes it for segment 9",
        ": damaged,",
        "Prometheus does not start on it: segment ",
    ] {
        assert!(text.contains(words), "{words} in {text}");
    }
    // The displayed command works unchanged.
    let (_, command) = text.split_once("to repair it: ").unwrap();
    assert_eq!(command.trim_end(), format!("narthex wal repair {dir}"));
    let (code, text, error) = typed(command.trim_end());
    assert_eq!((code, &*error), (0, ""), "{text}");
    for words in ["made an empty checkpoint", "renamed to", "whole now", "Prometheus opens it"] {
        assert!(text.contains(words), "{words} in {text}");
    }
    assert!(folder.path().join("wal/misnamed-9").exists());
    wal_ok(&["verify", dir]);
    assert!(wal_ok(&["repair", dir]).contains("nothing to repair"));

    // A gap that is too wide for empty segments has another cause.
    std::fs::write(folder.path().join("wal/00100000"), "").unwrap();
    let (code, _, error) = wal(&["repair", dir]);
    assert!(code == 1 && error.contains("move the segments that do not belong to this log"), "{error}");
}

/// A slot of the state file, in the format that the crate `storage` documents.
fn state_slot(sequence: u64, segment: u64, end: u64) -> Vec<u8> {
    let mut slot = Vec::new();
    for number in [sequence, 1_000_000, segment + 1, segment, end] {
        slot.extend_from_slice(&number.to_le_bytes());
    }
    slot.extend_from_slice(&1u32.to_le_bytes());
    slot.extend_from_slice(&segment.to_le_bytes());
    slot.extend_from_slice(&end.to_le_bytes());
    slot.resize(4092, 0);
    // The checksum of a fragment covers its data, which is all that is needed here.
    let part = ::wal::page::FragmentType::Full;
    let crc = ::wal::page::Header::of(part, ::wal::Compression::None, &slot).crc;
    [&crc.to_le_bytes()[..], &slot].concat()
}

#[test]
fn bytes_after_the_stored_end_of_a_segment_are_no_damage() {
    let folder = tempfile::tempdir().unwrap();
    let dir = folder.path().to_str().unwrap();
    written(folder.path(), 100);
    let segment = folder.path().join("wal/00000000");
    let mut bytes = std::fs::read(&segment).unwrap();
    let end = bytes.len();
    bytes.extend_from_slice(b"what a failed sync left");
    std::fs::write(&segment, &bytes).unwrap();
    assert_eq!(wal(&["verify", dir]).0, 1);
    let slots = [state_slot(1000, 0, end as u64), state_slot(1001, 0, end as u64)].concat();
    std::fs::write(folder.path().join("state"), slots).unwrap();
    let text = wal_ok(&["verify", dir]);
    assert!(
        text.contains(&format!("ends at {end}, closed there by a failed sync; the 23 bytes behind")),
        "{text}"
    );
    let text = wal_ok(&["repair", dir]);
    assert!(text.contains("23 bytes were cut behind its end"), "{text}");
    assert_eq!(std::fs::read(&segment).unwrap().len(), end);
}
