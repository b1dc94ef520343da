//! Tests of verify, repair and stat with damaged logs and with logs of the real Prometheus.
#![allow(clippy::unwrap_used, clippy::indexing_slicing)] // Helpers of tests.

mod support;

use model::{Labels, LabelsRef};
use proptest::prelude::*;
use std::path::Path;
use std::sync::Arc;
use support::{census, fixture};
use wal::log::{LogSource, Progress};
use wal::opening::Opening;
use wal::record::{RecordType, SamplesBuilder, SeriesBuilder};
use wal::repair::repair;
use wal::sim::SimFilesystem;
use wal::stat::stat;
use wal::verify::{Missing, verify};
use wal::{Compression, DamageKind, DurableEnd, SegmentReader, Span, Writer, WriterOptions, dir};

const DIR: &str = "/wal";

/// A log of two segments with series and their samples in records of many sizes, and the spans of the
/// records.
fn log(compression: Compression) -> (SimFilesystem, Vec<Vec<Span>>) {
    let fs = SimFilesystem::new(1);
    let options = WriterOptions { compression, ..WriterOptions::default() };
    let (mut writer, _) = Writer::open(Arc::new(fs.clone()), Path::new(DIR), options, 0, None).unwrap();
    let mut spans = vec![Vec::new()];
    for number in 0..60u64 {
        if number == 40 {
            writer.begin_segment().unwrap();
            spans.push(Vec::new());
        }
        let mut series = SeriesBuilder::new();
        let text = format!("{number}");
        series.push(number, Labels::from_pairs([("__name__", "m"), ("n", &text)]).as_ref());
        let mut samples = SamplesBuilder::new();
        let count = if number % 10 == 7 { 4000 } else { 1 + number * number % 90 };
        for i in 0..count {
            samples.push(number, i as i64, 0, (i * 2_654_435_761 % 1_000_003) as f64 * 1.000_1);
        }
        let written = [writer.append(series.bytes()).unwrap(), writer.append(samples.bytes()).unwrap()];
        spans.last_mut().unwrap().extend(written);
        writer.commit().unwrap();
    }
    (fs, spans)
}

fn segment(number: u64) -> std::path::PathBuf {
    dir::segment_path(Path::new(DIR), number)
}

/// The records of a segment, with their first bytes.
fn records(fs: &SimFilesystem, number: u64) -> Vec<(u64, Vec<u8>)> {
    let mut reader = SegmentReader::open(fs, Path::new(DIR), number, 0).unwrap();
    let mut records = Vec::new();
    while let Some(record) = reader.next().unwrap() {
        records.push((record.start, record.bytes.to_vec()));
    }
    records
}

#[test]
fn verify_reports_file_offset_length_and_cause() {
    let (fs, spans) = log(Compression::Snappy);
    let clean = verify(&fs, Path::new(DIR), &mut |_| {}).unwrap();
    assert!(clean.is_clean() && clean.damaged_bytes() == 0);
    assert_eq!((clean.files.len(), clean.entries[&RecordType::Series]), (2, 60));
    let mut bytes = fs.contents(&segment(1)).unwrap();
    let hit = spans[1][4];
    bytes[hit.start as usize + 12] ^= 4;
    bytes.truncate(bytes.len() - 1);
    fs.plant(&segment(1), &bytes);
    fs.plant(&segment(4), b"");
    let mut steps = Vec::new();
    let report = verify(&fs, Path::new("/"), &mut |progress: Progress| steps.push(progress)).unwrap();
    let [changed, torn] = &report.damage[..] else { panic!("{:?}", report.damage) };
    assert_eq!((&changed.file, changed.offset, changed.bytes), (&segment(1), hit.start, hit.end - hit.start));
    assert!(matches!(changed.kind, DamageKind::Checksum { .. }));
    let last = spans[1].last().unwrap();
    assert_eq!(
        (torn.offset, torn.bytes, torn.kind),
        (last.start, last.end - 1 - last.start, DamageKind::Torn)
    );
    assert_eq!(report.missing, [Missing { dir: DIR.into(), numbers: 2..4 }]);
    // The damaged series record also costs the samples after it.
    assert_eq!(report.unknown_series, [(segment(1), 1 + 42 * 42 % 90)]);
    assert!(steps.is_sorted_by_key(|step| step.done) && steps.last().unwrap().done == steps[0].total);
    let line = changed.to_string();
    assert!(
        line.starts_with(&format!("/wal/00000001: {} bytes at {}: checksum is", changed.bytes, hit.start))
    );
}

#[test]
fn verify_finds_records_whose_contents_are_malformed() {
    let (fs, _) = log(Compression::Snappy);
    let (mut writer, _) =
        Writer::open(Arc::new(fs.clone()), Path::new(DIR), WriterOptions::default(), 0, None).unwrap();
    let mut samples = SamplesBuilder::new();
    (0..3).for_each(|i| samples.push(1, i, 0, 0.5));
    let cut = &samples.bytes()[..samples.bytes().len() - 2];
    let span = writer.append(cut).unwrap();
    let unknown = writer.append(&[99, 1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11, 12]).unwrap();
    writer.commit().unwrap();
    let report = verify(&fs, Path::new(DIR), &mut |_| {}).unwrap();
    let kinds: Vec<_> = report.damage.iter().map(|damage| (damage.offset, damage.kind)).collect();
    let malformed = DamageKind::Record { kind: RecordType::Samples, entry: 2 };
    assert_eq!(kinds, [(span.start, malformed), (unknown.start, DamageKind::RecordType(99))]);
    let report = repair(&fs, Path::new(DIR), &mut |_| {}).unwrap();
    assert_eq!((report.repaired.len(), report.repaired[0].sacrificed_bytes), (1, 0));
    assert!(verify(&fs, Path::new(DIR), &mut |_| {}).unwrap().is_clean());
}

#[test]
fn repair_does_not_change_an_undamaged_log() {
    let (fs, _) = log(Compression::Zstd);
    let before = fs.contents(&segment(0));
    assert_eq!(repair(&fs, Path::new(DIR), &mut |_| {}).unwrap(), wal::repair::RepairReport::default());
    assert_eq!((fs.contents(&segment(0)), dir::segments(&fs, Path::new(DIR)).unwrap().len()), (before, 2));
}

#[test]
fn repair_keeps_the_damaged_file_and_all_other_offsets() {
    let (fs, spans) = log(Compression::Snappy);
    let mut damaged = fs.contents(&segment(0)).unwrap();
    let hit = spans[0][21];
    damaged[hit.start as usize + 30] ^= 1;
    for attempt in ["damaged", "damaged.1"] {
        fs.plant(&segment(0), &damaged);
        fs.plant(&segment(3), b"");
        let report = repair(&fs, Path::new(DIR), &mut |_| {}).unwrap();
        let [repaired] = &report.repaired[..] else { panic!("{report:?}") };
        assert_eq!(repaired.set_aside, segment(0).with_extension(attempt));
        assert_eq!(fs.contents(&repaired.set_aside).unwrap(), damaged);
        assert_eq!((repaired.damage.len(), repaired.damage[0].offset), (1, hit.start));
        let now = records(&fs, 0);
        let starts: Vec<u64> = now.iter().map(|record| record.0).collect();
        assert_eq!(starts, spans[0].iter().map(|span| span.start).collect::<Vec<_>>());
        assert_eq!(RecordType::of(&now[21].1), Some(RecordType::Tombstones));
        assert_eq!(report.verified.unwrap().server, Opening::Opens);
    }
    assert_eq!(dir::segments(&fs, Path::new(DIR)).unwrap().len(), 4, "the missing segment is there, empty");
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 300, ..ProptestConfig::default() })]

    #[test]
    fn any_damage_can_be_repaired_and_nothing_else_changes(
        hits in prop::collection::vec((any::<prop::sample::Index>(), 1usize..40_000, 0u8..4, any::<u8>()), 1..5),
        cut in prop::option::weighted(0.3, any::<prop::sample::Index>()),
        compression in prop::sample::select(vec![Compression::None, Compression::Snappy]),
    ) {
        let (fs, _) = log(compression);
        let mut bytes = fs.contents(&segment(0)).unwrap();
        for (place, length, how, byte) in hits {
            let from = place.index(bytes.len());
            // Mostly single bytes, sometimes a range of zeros or random bytes.
            let length = if how < 2 { 1 } else { length };
            for (index, target) in bytes.iter_mut().skip(from).take(length).enumerate() {
                *target = match how { 2 => 0, _ => target.wrapping_add(byte).wrapping_add(index as u8) };
            }
        }
        if let Some(cut) = cut {
            bytes.truncate(cut.index(bytes.len()));
        }
        fs.plant(&segment(0), &bytes);
        let before = records(&fs, 0);
        let report = repair(&fs, Path::new(DIR), &mut |_| {}).unwrap();
        let after = records(&fs, 0);
        let verified = verify(&fs, Path::new(DIR), &mut |_| {}).unwrap();
        prop_assert_eq!(&verified.damage, &vec![]);
        prop_assert_eq!((verified.agent, verified.server), (Opening::Opens, Opening::Opens));
        let kept = after.iter().filter(|record| before.contains(record)).count();
        let sacrificed = report.repaired.iter().any(|repaired| repaired.sacrificed_bytes > 0);
        prop_assert!(kept == before.len() || sacrificed);
        prop_assert!(after.iter().all(|record| before.contains(record) || record.1[0] == 3));
    }
}

#[test]
fn stat_counts_records_entries_and_bytes() {
    let fs = fixture("server-snappy");
    let report = stat(&fs, Path::new("/"), 2, &mut |_| {}).unwrap();
    assert_eq!((report.floats(), report.histograms(), report.exemplars()), (243, 36, 18));
    assert_eq!((report.references, report.series, report.metrics, report.other), (49, 49, 6, 0));
    let top: Vec<_> = report.top.iter().map(|m| (m.name.as_str(), m.references, m.samples)).collect();
    assert_eq!(top, [("requests_total", 40, 240), ("latency", 4, 24)]);
    let (from, to) = report.time_range.unwrap();
    assert_eq!(to - from, 100_000);
    assert_eq!(report.rate(), Some(2.79));
    assert_eq!((report.bytes, report.files.len(), report.damage.len()), (32_768 + 2380, 2, 0));
    assert!((report.bytes_per_sample().unwrap() - 35_148.0 / 297.0).abs() < 1e-9);
}

#[test]
fn a_log_without_labels_is_counted() {
    let fs = SimFilesystem::new(1);
    let (mut writer, _) =
        Writer::open(Arc::new(fs.clone()), Path::new(DIR), WriterOptions::default(), 0, None).unwrap();
    let mut samples = SamplesBuilder::new();
    (0..5).for_each(|i| samples.push(i, 100, 0, 1.0));
    writer.append(samples.bytes()).unwrap();
    let mut series = SeriesBuilder::new();
    series.push(9, LabelsRef::EMPTY);
    writer.append(series.bytes()).unwrap();
    writer.commit().unwrap();
    let report = stat(&fs, Path::new(DIR), 9, &mut |_| {}).unwrap();
    assert_eq!((report.floats(), report.other, report.series, report.rate()), (5, 5, 1, None));
}

#[test]
fn tools_report_where_a_log_was_expected() {
    let fs = SimFilesystem::new(1);
    fs.plant(Path::new("/data/meta.json"), b"{}");
    let error = verify(&fs, Path::new("/data"), &mut |_| {}).unwrap_err().to_string();
    assert_eq!(error, "no segments in /data: a log is a folder with files named 00000000, 00000001, ...");
    assert!(stat(&fs, Path::new("/nowhere"), 1, &mut |_| {}).is_err());
}

#[test]
fn a_damaged_prometheus_log_loses_only_the_damaged_records() {
    let fs = fixture("server-none");
    let path = Path::new("/wal/00000000");
    let mut bytes = fs.contents(path).unwrap();
    let (whole, ..) = census(&fs, Path::new("/"));
    // In the middle of the series record: all samples of this segment lose their labels.
    bytes[300] ^= 1;
    fs.plant(path, &bytes);
    let (rest, _, damage) = census(&fs, Path::new("/"));
    assert_eq!(damage.len(), 1);
    assert_eq!(rest.sample_count(), whole.sample_count());
    assert!(rest.count(RecordType::Series) < whole.count(RecordType::Series) && !rest.unknown.is_empty());
    let report = repair(&fs, Path::new("/"), &mut |_| {}).unwrap();
    let verified = report.verified.unwrap();
    assert_eq!((verified.is_clean(), &verified.server), (true, &Opening::Opens));
}

#[test]
fn bytes_after_a_closed_segments_end_are_ignored() {
    let (fs, spans) = log(Compression::Snappy);
    let last = *spans[1].last().unwrap();
    let ends = [DurableEnd { segment: 1, offset: spans[1][5].end }];
    let source = LogSource { dir: Path::new(DIR), ends: &ends };
    // A failed sync left complete records after the end, and random bytes after those.
    let mut bytes = fs.contents(&segment(1)).unwrap();
    bytes.extend_from_slice(b"rubbish");
    fs.plant(&segment(1), &bytes);
    assert!(!verify(&fs, Path::new(DIR), &mut |_| {}).unwrap().is_clean());
    let report = verify(&fs, source, &mut |_| {}).unwrap();
    assert!(report.is_clean(), "{report:?}");
    assert_eq!((report.entries[&RecordType::Series], report.files[1].end), (43, Some(ends[0].offset)));
    assert_eq!(stat(&fs, source, 1, &mut |_| {}).unwrap().references, 43);
    let repaired = repair(&fs, source, &mut |_| {}).unwrap().repaired;
    assert_eq!((repaired.len(), repaired[0].cut_bytes), (1, last.end + 7 - ends[0].offset));
    assert_eq!(fs.contents(&repaired[0].set_aside).unwrap(), bytes);
    assert_eq!(fs.contents(&segment(1)).unwrap(), bytes[..ends[0].offset as usize]);
    assert_eq!(repair(&fs, source, &mut |_| {}).unwrap().repaired, []);
}
