#![allow(clippy::unwrap_used, clippy::indexing_slicing)] // Helpers of tests.

use super::*;
use crate::record::{SamplesBuilder, SeriesBuilder};
use crate::sim::{Op, SimFilesystem};
use crate::{Durability, Span, Writer, WriterOptions};
use model::Labels;
use std::sync::Arc;

const DIR: &str = "/wal";

/// A log of one segment with records of all sizes, some of which cross pages, and the span of each record.
struct Log {
    bytes: Vec<u8>,
    records: Vec<(Span, Vec<u8>)>,
}

fn series_record(number: u64) -> Vec<u8> {
    let mut builder = SeriesBuilder::new();
    for i in 0..=number % 3 {
        let job = format!("job {number}");
        let labels = Labels::from_pairs([("__name__", "requests_total"), ("job", job.as_str())]);
        builder.push(number * 3 + i, labels.as_ref());
    }
    builder.bytes().to_vec()
}

fn samples_record(count: u64) -> Vec<u8> {
    let mut builder = SamplesBuilder::new();
    let mut value = 1u64;
    for i in 0..count {
        // Random characters, which hardly compress, so that records keep their length.
        value = value.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        builder.push(value % 5000, 1_700_000_000_000 + i as i64, 0, f64::from_bits(value));
    }
    builder.bytes().to_vec()
}

fn log(compression: Compression) -> Log {
    let fs = SimFilesystem::new(1);
    let options = WriterOptions { compression, durability: Durability::Os };
    let (mut writer, _) = Writer::open(Arc::new(fs.clone()), Path::new(DIR), options, 0, None).unwrap();
    let mut records = Vec::new();
    let mut add = |writer: &mut Writer, record: Vec<u8>| {
        let span = writer.append(&record).unwrap();
        records.push((span, record));
        span.end
    };
    let page = PAGE_BYTES as u64;
    for i in 0..12 {
        add(&mut writer, series_record(i));
    }
    for count in [1, 40, 400, 7, 3500, 1] {
        add(&mut writer, samples_record(count));
    }
    // First fill the page so far that no header fits into the rest, then so far that exactly one fits.
    for left in [HEADER_BYTES as u64 - 3, HEADER_BYTES as u64] {
        while page - writer.segment_bytes() % page > 9000 {
            add(&mut writer, samples_record(400));
        }
        // A series record with one label, whose value has the required length.
        let room = page - writer.segment_bytes() % page - left - HEADER_BYTES as u64;
        let mut filler = vec![1, 0, 0, 0, 0, 0, 0, 0, 9, 1, 1, b'a'];
        let mut noise = 7u64;
        model::varint::put_u64(&mut filler, room - 14);
        assert_eq!(filler.len(), 14);
        filler.resize_with(room as usize, || {
            noise = noise.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(3);
            (noise >> 33) as u8
        });
        add(&mut writer, filler);
        add(&mut writer, samples_record(30));
    }
    for i in 100..105 {
        add(&mut writer, series_record(i));
    }
    writer.commit().unwrap();
    Log { bytes: fs.contents(&dir::segment_path(Path::new(DIR), 0)).unwrap(), records }
}

/// Reads a segment with these bytes. Returns its records and its damage.
fn read(fs: &SimFilesystem, bytes: &[u8]) -> (Vec<(Span, Vec<u8>)>, Vec<Damage>) {
    fs.plant(&dir::segment_path(Path::new(DIR), 0), bytes);
    let mut reader = SegmentReader::open(fs, Path::new(DIR), 0, 0).unwrap();
    let mut records = Vec::new();
    while let Some(record) = reader.next().unwrap() {
        records.push((Span { start: record.start, end: record.end }, record.bytes.to_vec()));
    }
    assert!(reader.next().unwrap().is_none());
    (records, reader.take_damage())
}

/// Offsets of the fragment headers.
fn headers(log: &Log) -> Vec<usize> {
    let mut headers = Vec::new();
    for page in (0..log.bytes.len()).step_by(PAGE_BYTES) {
        let mut place = page;
        while place + HEADER_BYTES <= (page + PAGE_BYTES).min(log.bytes.len()) && log.bytes[place] != 0 {
            headers.push(place);
            let length = u16::from_be_bytes([log.bytes[place + 1], log.bytes[place + 2]]);
            place += HEADER_BYTES + usize::from(length);
        }
    }
    headers
}

const ALL: [Compression; 3] = [Compression::None, Compression::Snappy, Compression::Zstd];

#[test]
fn an_undamaged_log_is_read_completely() {
    for compression in ALL {
        let log = log(compression);
        let (records, damage) = read(&SimFilesystem::new(0), &log.bytes);
        assert!(records == log.records && damage.is_empty(), "{damage:?}");
        assert!(log.bytes.len() > 3 * PAGE_BYTES && headers(&log).len() > log.records.len());
    }
}

#[test]
fn a_cut_log_returns_all_records_before_the_cut() {
    let log = log(Compression::Snappy);
    let fs = SimFilesystem::new(0);
    // Offsets of the end of each record's last fragment. The padding of the page may follow.
    let fragments: Vec<u64> = headers(&log).iter().map(|&header| fragment_end(&log, header)).collect();
    let ends: Vec<u64> = log.records.iter().map(|(span, _)| last_up_to(&fragments, span.end)).collect();
    for cut in 0..log.bytes.len() {
        let (records, damage) = read(&fs, &log.bytes[..cut]);
        let whole = ends.partition_point(|&end| end <= cut as u64);
        assert!(records == log.records[..whole], "cut at {cut}");
        let end = ends[..whole].last().copied().unwrap_or(0);
        match &damage[..] {
            [] => assert!(log.bytes[end as usize..cut].iter().all(|&byte| byte == 0), "cut at {cut}"),
            [damage] => {
                assert_eq!(damage.offset + damage.bytes, cut as u64);
                assert_eq!((damage.offset, damage.kind), (next_start(end), DamageKind::Torn));
            }
            more => panic!("cut at {cut}: {more:?}"),
        }
    }
}

/// Where the fragment with this header ends.
fn fragment_end(log: &Log, header: usize) -> u64 {
    let length = u16::from_be_bytes([log.bytes[header + 1], log.bytes[header + 2]]);
    (header + HEADER_BYTES) as u64 + u64::from(length)
}

fn last_up_to(sorted: &[u64], limit: u64) -> u64 {
    sorted[sorted.partition_point(|&value| value <= limit) - 1]
}

/// Checks the records that are read from a log in which the byte at `place` was changed.
fn check_changed(fs: &SimFilesystem, log: &Log, bytes: &[u8], place: usize) -> usize {
    let (records, damage) = read(fs, bytes);
    let page = (place / PAGE_BYTES * PAGE_BYTES) as u64;
    let outside = |span: &Span| span.end <= page || span.start >= page + PAGE_BYTES as u64;
    let mut read = records.iter().peekable();
    for (span, record) in &log.records {
        // Compare the ends: a record that lost an empty first fragment is read from its second fragment on.
        match read.next_if(|(found, _)| found.end == span.end) {
            Some((_, bytes)) => assert!(bytes == record, "byte {place} changed what is read"),
            None => assert!(!outside(span), "byte {place} cost the record at {}", span.start),
        }
    }
    assert!(read.next().is_none(), "byte {place} made up a record");
    assert!(!damage.is_empty(), "byte {place} went unnoticed");
    let seen = damage.iter().any(|damage| damage.offset <= (place + HEADER_BYTES) as u64);
    assert!(seen, "byte {place}, now {}: {damage:?}", bytes[place]);
    log.records.len() - records.len()
}

#[test]
fn a_changed_header_costs_at_most_its_page() {
    for compression in ALL {
        let log = log(compression);
        let fs = SimFilesystem::new(0);
        let mut bytes = log.bytes.clone();
        for header in headers(&log) {
            for place in header..header + HEADER_BYTES {
                let was = bytes[place];
                // All values of the type byte, which no checksum covers, and all single bits of the other
                // bytes.
                let others: Vec<u8> = match place == header && compression == Compression::None {
                    true => (0..=255).filter(|&value| value != was).collect(),
                    false => (0..8).map(|bit| was ^ (1 << bit)).collect(),
                };
                for value in others {
                    bytes[place] = value;
                    check_changed(&fs, &log, &bytes, place);
                }
                bytes[place] = was;
            }
        }
    }
}

#[test]
fn a_flipped_bit_in_a_record_costs_that_record() {
    let log = log(Compression::None);
    let fs = SimFilesystem::new(0);
    let headers = headers(&log);
    let mut bytes = log.bytes.clone();
    for place in 0..bytes.len() {
        let after = headers.partition_point(|&header| header <= place);
        let header = headers[after - 1];
        // Headers have their own test.
        if place < header + HEADER_BYTES {
            continue;
        }
        bytes[place] ^= 1 << (place % 8);
        let lost = check_changed(&fs, &log, &bytes, place);
        assert!(lost <= 1, "byte {place} cost {lost} records");
        bytes[place] = log.bytes[place];
    }
}

#[test]
fn an_unwritten_page_is_damage_and_other_pages_survive() {
    let log = log(Compression::Snappy);
    let fs = SimFilesystem::new(0);
    let pages = log.bytes.len() / PAGE_BYTES;
    assert!(pages >= 3);
    for page in 0..pages {
        let mut bytes = log.bytes.clone();
        bytes[page * PAGE_BYTES..(page + 1) * PAGE_BYTES].fill(0);
        let (records, damage) = read(&fs, &bytes);
        let touched = |span: &Span| {
            span.end > (page * PAGE_BYTES) as u64 && span.start < ((page + 1) * PAGE_BYTES) as u64
        };
        let survivors: Vec<_> = log.records.iter().filter(|(span, _)| !touched(span)).cloned().collect();
        assert!(records == survivors);
        assert_eq!(damage.len(), 1, "{damage:?}");
        assert!(damage[0].offset <= (page * PAGE_BYTES) as u64);
    }
}

#[test]
fn zeros_at_the_end_are_not_damage() {
    let mut log = log(Compression::Snappy);
    for zeros in [1, 6, 7, 8, PAGE_BYTES, 5 * PAGE_BYTES + 3] {
        let mut bytes = log.bytes.clone();
        bytes.resize(bytes.len() + zeros, 0);
        let (records, damage) = read(&SimFilesystem::new(0), &bytes);
        assert_eq!((records.len(), damage), (log.records.len(), vec![]), "{zeros} zeros");
    }
    // Zeros before a record are damage.
    let end = log.bytes.len().next_multiple_of(PAGE_BYTES);
    log.bytes.resize(end + PAGE_BYTES, 0);
    let again = log.bytes[..PAGE_BYTES].to_vec();
    log.bytes.extend_from_slice(&again);
    let (_, damage) = read(&SimFilesystem::new(0), &log.bytes);
    let zeros = &damage[0];
    assert_eq!((zeros.offset, zeros.bytes, zeros.kind), (end as u64, PAGE_BYTES as u64, DamageKind::Zeros));
}

#[test]
fn reading_stops_at_the_limit_until_it_is_raised() {
    let log = log(Compression::Snappy);
    let fs = SimFilesystem::new(0);
    fs.plant(&dir::segment_path(Path::new(DIR), 0), &log.bytes);
    let mut reader = SegmentReader::open(&fs, Path::new(DIR), 0, 0).unwrap();
    reader.set_limit(0);
    assert_eq!(reader.next().unwrap(), None);
    for (span, bytes) in &log.records {
        reader.set_limit(span.end);
        let record = reader.next().unwrap().unwrap();
        assert_eq!((record.start, record.bytes), (span.start, &bytes[..]));
        assert_eq!(reader.next().unwrap(), None);
        assert_eq!(reader.offset(), span.end);
    }
    assert_eq!(reader.damage(), []);
    reader.set_limit(log.bytes.len() as u64 + 100);
    assert_eq!(reader.next().unwrap(), None);
    assert_eq!((reader.damage()[0].bytes, reader.damage()[0].kind), (100, DamageKind::Short));
}

#[test]
fn reading_can_start_at_every_record() {
    let log = log(Compression::Zstd);
    let fs = SimFilesystem::new(0);
    fs.plant(&dir::segment_path(Path::new(DIR), 0), &log.bytes);
    for (number, (span, _)) in log.records.iter().enumerate() {
        let mut reader = SegmentReader::open(&fs, Path::new(DIR), 0, span.start).unwrap();
        for (_, bytes) in &log.records[number..] {
            assert_eq!(reader.next().unwrap().unwrap().bytes, bytes);
        }
        assert_eq!(reader.next().unwrap(), None);
        assert_eq!(reader.damage(), []);
    }
}

#[test]
fn an_unreadable_page_can_be_retried_or_given_up() {
    let log = log(Compression::Snappy);
    let fs = SimFilesystem::new(0);
    fs.plant(&dir::segment_path(Path::new(DIR), 0), &log.bytes);
    let mut reader = SegmentReader::open(&fs, Path::new(DIR), 0, 0).unwrap();
    fs.fail(Op::Read, 0, 1);
    assert!(matches!(reader.next(), Err(WalError::Io { what: "read", .. })));
    assert_eq!(reader.next().unwrap().unwrap().bytes, log.records[0].1, "tried again");
    let mut reader = SegmentReader::open(&fs, Path::new(DIR), 0, 0).unwrap();
    fs.fail(Op::Read, 1, 1);
    let mut read = 0;
    loop {
        match reader.next() {
            Ok(Some(_)) => read += 1,
            Ok(None) => break,
            Err(_) => reader.skip_page(),
        }
    }
    let page = PAGE_BYTES as u64;
    let touched = log.records.iter().filter(|(span, _)| span.end > page && span.start < 2 * page).count();
    assert_eq!(read, log.records.len() - touched);
    assert_eq!((reader.damage().len(), reader.damage()[0].kind), (1, DamageKind::Unreadable));
}

#[test]
fn a_missing_segment_is_reported() {
    let fs = SimFilesystem::new(0);
    fs.create_dir_all(Path::new(DIR)).unwrap();
    let error = SegmentReader::open(&fs, Path::new(DIR), 7, 0).unwrap_err();
    assert!(matches!(error, WalError::NoSegment { segment: 7, .. }));
}

#[test]
fn reads_of_single_bytes_give_the_same_records() {
    let log = log(Compression::Snappy);
    let fs = SimFilesystem::new(3);
    fs.set_max_transfer(Some(1));
    let (records, damage) = read(&fs, &log.bytes);
    assert!(records == log.records && damage.is_empty(), "{damage:?}");
}
