#![allow(clippy::unwrap_used, clippy::indexing_slicing)] // Helpers of tests.

use super::*;
use crate::fs::READ_TRIES;
use crate::page::PAGE_BYTES;
use crate::record::SeriesBuilder;
use crate::sim::{Op, SimFilesystem};
use crate::{Compression, Span, Writer, WriterOptions};
use model::Labels;
use std::sync::Arc;

const DIR: &str = "/data/wal";

fn open(fs: &SimFilesystem, at_least: u64, known_end: Option<DurableEnd>) -> (Writer, OpenReport) {
    let options = WriterOptions { compression: Compression::None, ..WriterOptions::default() };
    Writer::open(Arc::new(fs.clone()), Path::new(DIR), options, at_least, known_end).unwrap()
}

fn record(number: u64) -> Vec<u8> {
    let mut builder = SeriesBuilder::new();
    let text = format!("{number} ").repeat(30);
    builder.push(number, Labels::from_pairs([("a", text.as_str())]).as_ref());
    builder.bytes().to_vec()
}

fn numbers(fs: &SimFilesystem) -> Vec<u64> {
    dir::segments(fs, Path::new(DIR)).unwrap().iter().map(|segment| segment.number).collect()
}

/// A segment 0 with some records.
fn written() -> (SimFilesystem, Vec<Span>, Vec<u8>) {
    let fs = SimFilesystem::new(1);
    let (mut writer, _) = open(&fs, 0, None);
    let spans = (0..400).map(|number| writer.append(&record(number)).unwrap()).collect();
    writer.commit().unwrap();
    let bytes = fs.contents(&dir::segment_path(Path::new(DIR), 0)).unwrap();
    assert!(bytes.len() > PAGE_BYTES);
    (fs, spans, bytes)
}

fn plant(fs: &SimFilesystem, bytes: &[u8]) {
    fs.plant(&dir::segment_path(Path::new(DIR), 0), bytes);
}

#[test]
fn each_start_begins_a_segment_and_keeps_the_old_ones() {
    let fs = SimFilesystem::new(1);
    for number in 0..3 {
        let (mut writer, report) = open(&fs, 0, None);
        assert_eq!((report.segment, report.cut_bytes, report.damage.len()), (number, 0, 0));
        assert_eq!(report.records, number.min(1));
        writer.append(&record(1)).unwrap();
        writer.commit().unwrap();
    }
    assert_eq!(numbers(&fs), [0, 1, 2]);
}

#[test]
fn a_torn_end_is_cut_wherever_it_is_torn() {
    let (_, spans, bytes) = written();
    for cut in (0..bytes.len()).step_by(7) {
        let fs = SimFilesystem::new(cut as u64);
        plant(&fs, &bytes[..cut]);
        let (_, report) = open(&fs, 0, None);
        let whole = spans.partition_point(|span| span.end <= cut as u64);
        let end = spans[..whole].last().map_or(0, |span| span.end);
        assert_eq!(report.records, whole as u64);
        assert_eq!(report.end, Some(DurableEnd { segment: 0, offset: end }));
        assert_eq!(report.cut_bytes, cut as u64 - end);
        assert_eq!(report.damage.len(), usize::from(report.cut_bytes > 0));
        fs.power_cut();
        assert_eq!(fs.contents(&dir::segment_path(Path::new(DIR), 0)).unwrap(), bytes[..end as usize]);
    }
}

/// Small records around one that crosses two pages, cut at each byte.
#[test]
fn a_small_log_is_cut_at_each_byte() {
    for compression in [Compression::None, Compression::Snappy, Compression::Zstd] {
        let options = WriterOptions { compression, ..WriterOptions::default() };
        let open = |fs: &SimFilesystem| {
            Writer::open(Arc::new(fs.clone()), Path::new(DIR), options, 0, None).unwrap()
        };
        let fs = SimFilesystem::new(1);
        let (mut writer, _) = open(&fs);
        let mut rng = fastrand::Rng::with_seed(1);
        let large: String = std::iter::repeat_with(|| rng.char('!'..)).take(14_000).collect();
        let mut records: Vec<Vec<u8>> = (0..4).map(record).collect();
        let mut builder = SeriesBuilder::new();
        builder.push(9, Labels::from_pairs([("a", large.as_str())]).as_ref());
        records.insert(2, builder.bytes().to_vec());
        let spans: Vec<Span> = records.iter().map(|record| writer.append(record).unwrap()).collect();
        writer.commit().unwrap();
        let bytes = fs.contents(&dir::segment_path(Path::new(DIR), 0)).unwrap();
        assert!(bytes.len() > PAGE_BYTES, "{}", bytes.len());
        for cut in 0..=bytes.len() {
            let fs = SimFilesystem::new(1);
            plant(&fs, &bytes[..cut]);
            let (_, report) = open(&fs);
            let whole = spans.partition_point(|span| span.end <= cut as u64);
            let end = spans[..whole].last().map_or(0, |span| span.end);
            assert_eq!((report.records, report.cut_bytes), (whole as u64, cut as u64 - end), "{cut}");
            let mut reader = SegmentReader::open(&fs, Path::new(DIR), 0, 0).unwrap();
            for record in &records[..whole] {
                assert!(reader.next().unwrap().unwrap().bytes == record, "{cut}");
            }
            assert!(reader.next().unwrap().is_none() && reader.damage().is_empty(), "{cut}");
        }
    }
}

#[test]
fn only_records_after_the_known_end_are_read() {
    let (fs, spans, bytes) = written();
    let known = DurableEnd { segment: 0, offset: spans[399].start };
    plant(&fs, &[&bytes[..], b"\x01\x05torn"].concat());
    let reads = fs.count(Op::Read);
    let (_, report) = open(&fs, 0, Some(known));
    let reads = fs.count(Op::Read) - reads;
    assert!(reads <= 6, "{reads}");
    assert_eq!((report.records, report.scanned_from, report.cut_bytes), (1, known.offset, 6));
    assert_eq!(report.end, Some(DurableEnd { segment: 0, offset: bytes.len() as u64 }));
    // A known end in an older segment has no effect.
    let (_, report) = open(&fs, 0, Some(known));
    assert_eq!((report.segment, report.records, report.scanned_from), (2, 0, 0));
}

#[test]
fn a_wrong_known_end_loses_no_records() {
    let (fs, spans, bytes) = written();
    for offset in [3, spans[200].start + 9, spans[399].end - 1] {
        plant(&fs, &bytes);
        let (_, report) = open(&fs, 0, Some(DurableEnd { segment: 0, offset }));
        assert_eq!((report.records, report.scanned_from, report.cut_bytes), (400, 0, 0));
        fs.remove_file(&dir::segment_path(Path::new(DIR), report.segment)).unwrap();
    }
    // The file lost its end.
    plant(&fs, &bytes[..spans[99].end as usize]);
    let (_, report) = open(&fs, 0, Some(DurableEnd { segment: 0, offset: bytes.len() as u64 }));
    assert_eq!(report.records, 100);
    let lost = &report.damage[0];
    assert_eq!((lost.kind, lost.offset + lost.bytes), (DamageKind::Short, bytes.len() as u64));
}

#[test]
fn damage_before_complete_records_stays() {
    let (fs, spans, mut bytes) = written();
    bytes[spans[10].start as usize + 20] ^= 1;
    plant(&fs, &bytes);
    let (_, report) = open(&fs, 0, None);
    assert_eq!((report.records, report.cut_bytes), (399, 0));
    assert_eq!((report.damage[0].offset, report.damage.len()), (spans[10].start, 1));
}

#[test]
fn an_unreadable_end_is_not_cut() {
    let (fs, spans, mut bytes) = written();
    fs.fail(Op::Read, 1, 1);
    assert_eq!(open(&fs, 0, None).1.damage, [], "tried again");
    // The disk fails for longer, at an end that is torn: the unreadable part could be complete.
    let (fs, ..) = written();
    bytes.truncate(bytes.len() - 5);
    plant(&fs, &bytes);
    let pages = bytes.len().div_ceil(PAGE_BYTES) as u64;
    fs.fail(Op::Read, pages - 1, u64::from(READ_TRIES));
    let (_, report) = open(&fs, 0, None);
    assert_eq!(report.cut_bytes, 0);
    assert!(report.damage.iter().any(|damage| damage.kind == DamageKind::Unreadable));
    assert!(report.records < spans.len() as u64);
    assert_eq!(fs.contents(&dir::segment_path(Path::new(DIR), 0)).unwrap(), bytes);
}

#[test]
fn torn_bytes_are_copied_if_possible_and_then_cut() {
    let aside = Aside::new("/data/damaged".into(), 1 << 20);
    for full in [false, true] {
        let (fs, spans, mut bytes) = written();
        bytes.truncate(bytes.len() - 5);
        plant(&fs, &bytes);
        if full {
            fs.set_space(Some(0));
        }
        let options = WriterOptions::default();
        let (_, report) =
            Writer::open_keeping(Arc::new(fs.clone()), Path::new(DIR), options, 0, None, Some(&aside))
                .unwrap();
        let end = spans[spans.len() - 2].end;
        assert_eq!(report.cut_bytes, bytes.len() as u64 - end);
        match report.cut_kept.unwrap() {
            Ok(path) => assert_eq!(fs.contents(&path).unwrap(), bytes[end as usize..]),
            Err(_) => assert!(full),
        }
    }
}

#[test]
fn segment_numbers_are_never_reused_and_have_no_gaps() {
    let fs = SimFilesystem::new(1);
    assert_eq!(open(&fs, 5, None).1.segment, 5);
    let names = |fs: &SimFilesystem| fs.read_dir(Path::new(DIR)).unwrap();
    assert_eq!(names(&fs), ["00000005", "checkpoint.00000004"]);
    let (_, report) = open(&fs, 8, None);
    assert_eq!((report.segment, report.filled), (8, vec![6, 7]));
    let (_, report) = open(&fs, 0, Some(DurableEnd { segment: 10, offset: 99 }));
    assert_eq!((report.segment, report.filled), (11, vec![9, 10]));
    fs.remove_file(&dir::segment_path(Path::new(DIR), 7)).unwrap();
    let (_, report) = open(&fs, 0, None);
    assert_eq!((report.segment, report.filled), (12, vec![7]));
    assert_eq!(numbers(&fs), [5, 6, 7, 8, 9, 10, 11, 12]);
    // A gap this large has another cause.
    let far = 13 + dir::MAX_FILLED;
    let (_, report) = open(&fs, far + 1, None);
    assert_eq!((report.segment, report.filled), (far + 1, vec![]));
    // Without segments, a checkpoint shows which numbers were used.
    for number in numbers(&fs) {
        fs.remove_file(&dir::segment_path(Path::new(DIR), number)).unwrap();
    }
    fs.create_dir_all(&Path::new(DIR).join("checkpoint.00009999")).unwrap();
    assert_eq!(open(&fs, 0, None).1.segment, 10_000);
}

#[test]
fn a_log_without_its_first_segment_still_opens_in_prometheus() {
    let fs = SimFilesystem::new(1);
    (0..3).for_each(|_| drop(open(&fs, 0, None)));
    fs.remove_file(&dir::segment_path(Path::new(DIR), 0)).unwrap();
    let report = open(&fs, 0, None).1;
    assert_eq!((report.segment, report.filled), (3, vec![]));
    let verified = crate::verify::verify(&fs, Path::new(DIR), &mut |_| {}).unwrap();
    assert_eq!((verified.is_clean(), verified.server), (true, crate::opening::Opening::Opens));
}
