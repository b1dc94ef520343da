#![allow(clippy::unwrap_used, reason = "helper functions of tests")]
use super::*;
use crate::outgoing::Rules;
use model::{BucketSpan, Counts, Histogram, Labels, ResetHint, Series};
use std::sync::Arc;
use std::time::Duration;
use storage::Chunk;
use wal::Position;
use wal::sim::{Op, SimFilesystem};

pub(super) fn outgoing() -> Outgoing {
    let mut batch = Batch::new();
    let a = batch.add_series(Labels::from_pairs([("__name__", "a")]).as_ref(), Series::NO_METADATA);
    let b = batch.add_series(Labels::from_pairs([("__name__", "b")]).as_ref(), Series::NO_METADATA);
    batch.push_float(a, 1, 0.5);
    batch.push_float(b, 1, f64::NAN);
    batch.push_float(a, 2, 1.5);
    add_histogram_and_exemplar(&mut batch, b, a);
    let (start, end) = (Position::default(), Position::start_of(1));
    let (refs, arrived) = (vec![1, 2], Duration::ZERO);
    let chunk = Chunk { batch, refs, segment: 0, records: vec![], start, end, arrived };
    Outgoing::new(Arc::new(chunk), &mut Rules::default())
}

fn add_histogram_and_exemplar(batch: &mut Batch, one: u32, other: u32) {
    let histogram = Histogram {
        reset_hint: ResetHint::Gauge,
        schema: 3,
        zero_threshold: 0.5,
        sum: 9.0,
        positive_spans: vec![BucketSpan { offset: -1, length: 2 }],
        negative_spans: vec![],
        counts: Counts::Integer { count: 4, zero: 1, positive: vec![2, -1], negative: vec![] },
        custom_values: vec![],
    };
    batch.push_histogram(one, 7, 3, histogram);
    let start = batch.bytes.len();
    batch.bytes.extend_from_slice(Labels::from_pairs([("trace_id", "x")]).as_ref().as_bytes());
    batch.push_exemplar(other, 8, start, 2.0);
}

fn entry() -> Vec<u8> {
    let outgoing = outgoing();
    let mut gathered = Gathered::default();
    for point in &outgoing.chunk().batch.points {
        gathered.add(&outgoing, point);
    }
    assert_eq!(gathered.kinds(), Kinds { samples: 3, histograms: 1, exemplars: 1 });
    gathered.finish(77, "500: it hurts")
}

#[test]
fn unlistable_folder_is_left_alone_and_nothing_is_overwritten() {
    use wal::sim::{Op, SimFilesystem};
    let (sim, folder) = (SimFilesystem::new(1), Path::new("/data/dead"));
    let files = Files::new(folder, "a");
    for id in 0..3 {
        files.write(&sim, id, b"words").unwrap();
    }
    let tries = u64::from(wal::fs::READ_TRIES);
    // The first open is for the folder's metadata, so it is skipped.
    sim.fail(Op::Open, 1, tries - 1);
    assert_eq!(files.list_or_leave(&sim, 5000).next, 3);
    sim.fail(Op::Open, 1, tries);
    let mut shelf = files.list_or_leave(&sim, 5000);
    assert!(shelf.is_empty());
    let id = shelf.add(5, Kinds::default());
    files.write(&sim, id, b"later").unwrap();
    assert_eq!(files.load(&sim, 0).unwrap(), b"words");
    // An entry whose header can't be read is listed all the same.
    sim.fail(Op::Read, 0, tries);
    let shelf = files.list_or_leave(&sim, 6000);
    assert_eq!((shelf.entries.len(), shelf.bytes, shelf.next), (4, 15, id + 1));
}

#[test]
fn entry_keeps_all_kinds_of_points_in_order() {
    let read = read(&entry()).unwrap();
    assert_eq!((read.words.as_str(), read.kinds.total()), ("500: it hurts", 5));
    let batch = &read.batch;
    let of = |name: &str| {
        let wanted = |point: &&Point| batch.labels(point.series).to_string() == name;
        batch.points.iter().filter(wanted).map(|point| point.timestamp).collect::<Vec<_>>()
    };
    assert_eq!((of("a"), of("b")), (vec![1, 2, 8], vec![1, 7]));
    assert_eq!(batch.histograms, outgoing().chunk().batch.histograms);
    assert_eq!(batch.exemplars.len(), 1);
}

#[test]
fn damaged_entry_reads_as_none() {
    let bytes = entry();
    for at in 0..bytes.len() {
        let mut damaged = bytes.clone();
        damaged[at] ^= 1;
        assert!(read(&damaged).is_none(), "a flipped bit at {at}");
        assert!(read(&bytes[..at]).is_none(), "cut at {at}");
    }
}

#[test]
fn entry_reported_as_written_survives_a_power_cut() {
    let files = Files::new(Path::new("/data/dead"), "a-1");
    for operations in 0..20 {
        let fs = SimFilesystem::new(operations);
        fs.create_dir_all(Path::new("/data")).unwrap();
        fs.sync_dir(Path::new("/")).unwrap();
        fs.die_after(operations);
        let written = files.write(&fs, 0, &entry()).is_ok();
        fs.power_cut();
        let shelf = files.list(&fs).unwrap();
        assert!(!shelf.is_empty() || !written, "gone after {operations}");
        if let Some(id) = shelf.next_from(0) {
            assert!(read(&files.load(&fs, id).unwrap()).is_some(), "torn after {operations}");
            assert_eq!((shelf.points(), shelf.next), (5, 1));
        }
        files.write(&fs, 9, &entry()).unwrap();
        assert_eq!(files.list(&fs).unwrap().next, 10);
    }
}

#[test]
fn failed_write_does_not_block_the_next_entry() {
    let files = Files::new(Path::new("/dead"), "a-1");
    let fs = SimFilesystem::new(1);
    for op in [Op::Create, Op::Write, Op::Sync, Op::Rename] {
        fs.fail(op, 0, 1);
        assert!(files.write(&fs, 3, &entry()).is_err(), "{op:?}");
        fs.heal();
    }
    files.write(&fs, 3, &entry()).unwrap();
    files.set_out_of_the_way(&fs, 3).unwrap();
    let shelf = files.list(&fs).unwrap();
    assert!(shelf.is_empty() && shelf.next == 4, "its number is not used again");
}

#[test]
fn entries_and_bytes_are_limited() {
    let mut shelf = Shelf::default();
    for _ in 0..ENTRIES_MAX {
        shelf.add(1, Kinds::default());
        assert_eq!(shelf.one_too_many(None), None);
    }
    shelf.add(1, Kinds::default());
    assert_eq!((shelf.one_too_many(None), shelf.one_too_many(Some(0))), (Some(0), Some(1)));
    shelf.remove(0);
    assert_eq!(shelf.one_too_many(None), None);
    shelf.add(BYTES_MAX, Kinds::default());
    while let Some(id) = shelf.one_too_many(None) {
        shelf.remove(id);
    }
    assert_eq!(shelf.bytes(), BYTES_MAX);
}
