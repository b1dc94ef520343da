#![allow(clippy::unwrap_used, clippy::indexing_slicing)] // Helpers of tests.

use super::*;
use crate::repair::repair;
use crate::sim::SimFilesystem;
use crate::verify::verify;
use crate::{Compression, Writer, WriterOptions, dir};
use model::Labels;
use proptest::prelude::*;
use std::sync::Arc;

const DIR: &str = "/wal";

/// A segment of three pages with series and their samples, in records of many sizes.
fn log(compression: Compression) -> (SimFilesystem, PathBuf) {
    let fs = SimFilesystem::new(1);
    let options = WriterOptions { compression, ..WriterOptions::default() };
    let (mut writer, _) = Writer::open(Arc::new(fs.clone()), Path::new(DIR), options, 0, None).unwrap();
    for number in 0..30u64 {
        let mut series = crate::record::SeriesBuilder::new();
        let text = format!("{number}");
        series.push(number, Labels::from_pairs([("__name__", "m"), ("n", &text)]).as_ref());
        let mut samples = crate::record::SamplesBuilder::new();
        let count = if number % 10 == 7 { 3000 } else { 1 + number * number % 90 };
        (0..count).for_each(|i| samples.push(number, i as i64, 0, (i * 2_654_435_761 % 1_000_003) as f64));
        writer.append(series.bytes()).unwrap();
        writer.append(samples.bytes()).unwrap();
        writer.commit().unwrap();
    }
    (fs, dir::segment_path(Path::new(DIR), 0))
}

fn stop(fs: &SimFilesystem, path: &Path, program: Program) -> Option<u64> {
    strict::first_stop(&*fs.open(path, false).unwrap(), program)
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 300, ..ProptestConfig::default() })]

    /// Only files with damage are read strictly, so nothing but damage may stop Prometheus.
    #[test]
    fn everything_that_stops_prometheus_is_repairable_damage(
        hits in prop::collection::vec((any::<prop::sample::Index>(), 1usize..40_000, 0u8..4, any::<u8>()), 0..4),
        cut in prop::option::weighted(0.3, any::<prop::sample::Index>()),
        compression in prop::sample::select(vec![Compression::None, Compression::Snappy, Compression::Zstd]),
    ) {
        let (fs, path) = log(compression);
        let mut bytes = fs.contents(&path).unwrap();
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
        fs.plant(&path, &bytes);
        let found = verify(&fs, Path::new(DIR), &mut |_| {}).unwrap();
        for (program, opening) in [(Program::Agent, &found.agent), (Program::Server, &found.server)] {
            let said = match stop(&fs, &path, program) {
                None => Opening::Opens,
                Some(offset) => Opening::Deletes { file: path.clone(), offset },
            };
            prop_assert_eq!(opening, &said);
        }
        let report = repair(&fs, Path::new(DIR), &mut |_| {}).unwrap();
        for program in [Program::Agent, Program::Server] {
            prop_assert_eq!(stop(&fs, &path, program), None);
        }
        prop_assert!(report.verified.is_none_or(|verified| verified.is_clean()));
    }
}

#[test]
fn prometheus_stops_after_the_last_record_before_the_damage() {
    let (fs, path) = log(Compression::None);
    let mut reader = crate::SegmentReader::open(&fs, Path::new(DIR), 0, 0).unwrap();
    let first = reader.next().unwrap().unwrap().end;
    let mut bytes = fs.contents(&path).unwrap();
    bytes[first as usize + 20] ^= 1;
    fs.plant(&path, &bytes);
    assert_eq!(stop(&fs, &path, Program::Server), Some(first));
}

#[test]
fn names_are_interpreted_as_in_prometheus() {
    let fs = SimFilesystem::new(1);
    let path = Path::new(DIR);
    for name in ["00000003", "4", "+5", "-6", "x", "00000007.damaged", "checkpoint.00000002", "checkpoint.x"]
    {
        fs.plant(&path.join(name), b"");
    }
    fs.create_dir_all(&path.join("00000008")).unwrap();
    let misnamed = misnamed(&fs, path).unwrap();
    let names: Vec<_> = misnamed.iter().map(|m| (m.path.to_str().unwrap(), m.taken_for.as_str())).collect();
    let expected = [
        ("/wal/-6", "segment -6"),
        ("/wal/4", "segment 4"),
        ("/wal/+5", "segment 5"),
        ("/wal/00000008", "segment 8"),
        ("/wal/checkpoint.00000002", "a checkpoint"),
        ("/wal/checkpoint.x", "a checkpoint"),
    ];
    assert_eq!(names, expected);
}

#[test]
fn two_segments_with_the_same_number_are_reported() {
    let fs = SimFilesystem::new(1);
    ["00000000", "0"].iter().for_each(|name| fs.plant(&Path::new(DIR).join(name), b""));
    let opening = opening(&fs, Path::new(DIR), [].iter(), Program::Server).unwrap();
    let Opening::Fails { reason, deletes: false } = opening else { panic!("{opening:?}") };
    assert_eq!(reason, "0 and 00000000 have the same number");
}
