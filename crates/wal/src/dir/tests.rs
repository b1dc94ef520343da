#![allow(clippy::unwrap_used, clippy::indexing_slicing)] // Helpers of tests.

use super::*;
use crate::sim::{Op, SimFilesystem};

const DIR: &str = "/wal";

fn with(numbers: std::ops::Range<u64>) -> SimFilesystem {
    let fs = SimFilesystem::new(1);
    for number in numbers {
        fs.plant(&segment_path(Path::new(DIR), number), &vec![1; number as usize * 10]);
    }
    fs
}

fn names(fs: &SimFilesystem) -> Vec<String> {
    let names = fs.read_dir(Path::new(DIR)).unwrap();
    names.iter().map(|name| name.to_str().unwrap().to_owned()).collect()
}

#[test]
fn only_files_named_like_segments_are_segments() {
    let fs = with(3..5);
    for name in ["123", "+0000006", "00000007.repair", "meta.json", "000000008", "123456789"] {
        fs.plant(&Path::new(DIR).join(name), b"x");
    }
    fs.create_dir_all(&Path::new(DIR).join("00000009")).unwrap();
    fs.plant(&Path::new(DIR).join("checkpoint.00000002/00000000"), &[0; 7]);
    fs.create_dir_all(&Path::new(DIR).join("checkpoint.00000001")).unwrap();
    fs.create_dir_all(&Path::new(DIR).join("checkpoint.00000003.tmp")).unwrap();
    fs.create_dir_all(&Path::new(DIR).join("checkpoint.000003")).unwrap();
    let listing = list(&fs, Path::new(DIR)).unwrap();
    let segments: Vec<_> = listing.segments.iter().map(|segment| (segment.number, segment.bytes)).collect();
    assert_eq!(segments, [(3, 30), (4, 40), (123_456_789, 1)]);
    let checkpoints: Vec<_> = listing.checkpoints.iter().map(|c| (c.number, c.bytes)).collect();
    assert_eq!(checkpoints, [(1, 0), (2, 7), (3, 0)]);
}

#[test]
fn truncation_renames_its_empty_checkpoint() {
    let fs = with(0..6);
    let path = Path::new(DIR);
    assert_eq!(truncate_below(&fs, path, 0).unwrap(), Truncated::default());
    assert_eq!(truncate_below(&fs, path, 2).unwrap(), Truncated { segments: 2, bytes: 10 });
    assert_eq!(names(&fs), ["00000002", "00000003", "00000004", "00000005", "checkpoint.00000001"]);
    assert_eq!(truncate_below(&fs, path, 5).unwrap(), Truncated { segments: 3, bytes: 90 });
    assert_eq!(names(&fs), ["00000005", "checkpoint.00000004"]);
    assert_eq!(truncate_below(&fs, path, 5).unwrap(), Truncated::default());
}

#[test]
fn a_checkpoint_with_series_stays() {
    let fs = with(3..6);
    fs.plant(&Path::new(DIR).join("checkpoint.00000002/00000000"), b"series");
    truncate_below(&fs, Path::new(DIR), 5).unwrap();
    assert_eq!(names(&fs), ["00000005", "checkpoint.00000002", "checkpoint.00000004"]);
    assert_eq!(fs.contents(&Path::new(DIR).join("checkpoint.00000002/00000000")).unwrap(), b"series");
}

#[test]
fn a_crash_during_truncation_leaves_no_gaps() {
    for seed in 0..40 {
        for operations in 0.. {
            let fs = SimFilesystem::new(seed);
            for number in 0..5 {
                fs.plant(&segment_path(Path::new(DIR), number), b"x");
            }
            truncate_below(&fs, Path::new(DIR), 1).unwrap();
            fs.die_after(operations);
            let finished = truncate_below(&fs, Path::new(DIR), 4).is_ok();
            fs.power_cut();
            let listing = list(&fs, Path::new(DIR)).unwrap();
            let first = listing.segments[0].number;
            let next = listing.checkpoints.last().unwrap().number + 1;
            assert!(first <= next, "the first segment is {first}, the checkpoint reaches up to {next}");
            assert!(listing.segments.windows(2).all(|pair| pair[0].number + 1 == pair[1].number));
            assert_eq!(listing.segments.last().unwrap().number, 4);
            if finished {
                assert_eq!(listing.segments.len(), 1);
                break;
            }
        }
    }
}

#[test]
fn a_closed_segment_is_cut_to_its_stored_end() {
    let fs = with(0..3);
    let closed = DurableEnd { segment: 2, offset: 8 };
    cut(&fs, Path::new(DIR), closed).unwrap();
    fs.power_cut();
    assert_eq!(fs.contents(&segment_path(Path::new(DIR), 2)).unwrap().len(), 8);
    let writes = fs.count(Op::SetLen);
    cut(&fs, Path::new(DIR), closed).unwrap();
    cut(&fs, Path::new(DIR), DurableEnd { segment: 9, offset: 8 }).unwrap();
    assert_eq!(fs.count(Op::SetLen), writes);
}

/// Returns the result of [`close_gaps`] for a log with these segments and checkpoints (number and size).
fn closed(segments: &[u64], checkpoints: &[(u64, usize)], below: u64) -> (Closed, Option<Range<u64>>) {
    let (fs, path) = (SimFilesystem::new(1), Path::new(DIR));
    fs.create_dir_all(path).unwrap();
    segments.iter().for_each(|&number| fs.plant(&segment_path(path, number), b"x"));
    for &(number, bytes) in checkpoints {
        let checkpoint = checkpoint_path(path, number);
        fs.create_dir_all(&checkpoint).unwrap();
        if bytes > 0 {
            fs.plant(&segment_path(&checkpoint, 0), &vec![1; bytes]);
        }
    }
    let closed = close_gaps(&fs, path, &list(&fs, path).unwrap(), below).unwrap();
    (closed, missing(&list(&fs, path).unwrap()).first().cloned())
}

#[test]
fn missing_segments_are_replaced_so_that_prometheus_starts() {
    let filled = |filled: &[u64], checkpoint| Closed { filled: filled.to_vec(), checkpoint };
    let whole = None;
    assert_eq!(closed(&[], &[], 9), (Closed::default(), whole.clone()));
    assert_eq!(closed(&[0, 1], &[], 1), (Closed::default(), whole.clone()));
    assert_eq!(closed(&[0, 3], &[], 3), (filled(&[1, 2], None), whole.clone()), "between two");
    assert_eq!(closed(&[2, 3], &[], 3), (filled(&[], Some(1)), whole.clone()), "in front");
    assert_eq!(
        closed(&[4, 6], &[(1, 0)], 6),
        (filled(&[5], Some(3)), whole.clone()),
        "behind an empty checkpoint"
    );
    assert_eq!(closed(&[4], &[(1, 9)], 4), (filled(&[2, 3], None), whole.clone()), "behind one with series");
    assert_eq!(
        closed(&[0, 4], &[(5, 9)], 4),
        (filled(&[1, 2, 3], None), whole.clone()),
        "below a checkpoint"
    );
    let far = 1_000_000;
    assert_eq!(
        closed(&[far], &[], far),
        (filled(&[], Some(far - 1)), whole),
        "a checkpoint spans any number"
    );
    assert_eq!(closed(&[0, far], &[], far), (Closed::default(), Some(1..far)), "too many are left alone");
}
