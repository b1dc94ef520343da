//! Checks the predictions of `wal verify` against the real agent and the real server: Prometheus opens a damaged log,
//! deletes a part of it, or does not start. After `wal repair` both open it and change nothing.
#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::indexing_slicing,
    reason = "a panic is how a test reports"
)]

use model::Labels;
use std::collections::BTreeMap;
use std::fs;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use support::folder::copy;
use support::prometheus::Options;
use support::{Peers, Prometheus};
use wal::opening::Opening;
use wal::page::{FragmentType, Header, PAGE_BYTES};
use wal::record::{SamplesBuilder, SeriesBuilder};
use wal::repair::repair;
use wal::verify::{VerifyReport, verify};
use wal::{Compression, RealFilesystem, Writer, WriterOptions, dir};

const SERIES: u64 = 300;
const SEGMENTS: u64 = 4;

/// The reaction of a program to a log.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Does {
    Opens,
    /// It starts after deleting files.
    Deletes,
    /// It does not start, and changes nothing.
    Fails,
    /// It does not start, and has deleted files.
    FailsAndDeletes,
}
use Does::{Deletes, Fails, FailsAndDeletes, Opens};

impl Does {
    fn says(opening: &Opening) -> Does {
        match opening {
            Opening::Opens => Opens,
            Opening::Deletes { .. } => Deletes,
            Opening::Fails { deletes: false, .. } => Fails,
            Opening::Fails { deletes: true, .. } => FailsAndDeletes,
        }
    }
}

/// A kind of damage: a name, a function that damages the log in a folder, and the reactions of an agent and of a
/// server.
type Damage = (&'static str, fn(&Path), Does, Does);

const DAMAGE: &[Damage] = &[
    ("nothing", |_| {}, Opens, Opens),
    // Segments that are missing.
    ("first segment", |wal| remove(wal, 0), Fails, Fails),
    ("first two segments", |wal| (0..2).for_each(|number| remove(wal, number)), Fails, Fails),
    ("a segment in between", |wal| remove(wal, 1), Fails, Fails),
    ("last segment", |wal| remove(wal, 3), Opens, Opens),
    ("truncated", |wal| truncate(wal, 2), Opens, Opens),
    ("truncated, then the first segment", |wal| (truncate(wal, 1), remove(wal, 1)).0, Fails, Fails),
    ("truncated, then a segment in between", |wal| (truncate(wal, 1), remove(wal, 2)).0, Fails, Fails),
    ("segments that a checkpoint stands for", |wal| (checkpoint(wal, 2), remove(wal, 1)).0, Fails, Fails),
    (
        "the segment behind a checkpoint",
        |wal| (checkpoint(wal, 0), remove(wal, 0), remove(wal, 1)).0,
        Fails,
        Fails,
    ),
    (
        "no segment but a checkpoint",
        |wal| (checkpoint(wal, 3), (0..4).for_each(|n| remove(wal, n))).0,
        Opens,
        Opens,
    ),
    // Empty segments.
    ("empty first segment", |wal| write(wal, 0, b""), Opens, Opens),
    ("empty segment in between", |wal| write(wal, 1, b""), Opens, Opens),
    ("all empty", |wal| (0..4).for_each(|number| write(wal, number, b"")), Opens, Opens),
    // Names.
    ("short name", |wal| fs::write(wal.join("4"), b"").unwrap(), Fails, Fails),
    ("short name far away", |wal| fs::write(wal.join("7"), b"").unwrap(), Fails, Fails),
    ("short name of a segment", |wal| fs::rename(wal.join("00000002"), wal.join("2")).unwrap(), Fails, Fails),
    ("name with a plus", |wal| fs::write(wal.join("+4"), b"").unwrap(), Fails, Fails),
    (
        "long name of a segment that is there",
        |wal| fs::write(wal.join("000000003"), b"").unwrap(),
        Fails,
        Fails,
    ),
    ("other names", |wal| fs::write(wal.join("00000001.damaged"), b"x").unwrap(), Opens, Opens),
    ("empty folder", |wal| fs::create_dir(wal.join("00000004")).unwrap(), Deletes, Deletes),
    ("empty folder in between", |wal| folder_for_segment(wal, 1), Deletes, Deletes),
    ("folder with a file", |wal| folder_with_a_file(wal), FailsAndDeletes, FailsAndDeletes),
    ("file called like a checkpoint", |wal| fs::write(wal.join("checkpoint.x"), b"").unwrap(), Fails, Fails),
    // Checkpoints.
    ("checkpoint", |wal| checkpoint(wal, 1), Opens, Opens),
    ("short name of a checkpoint", short_checkpoint, Opens, Opens),
    ("damaged checkpoint", |wal| damaged_checkpoint(wal), FailsAndDeletes, FailsAndDeletes),
    (
        "damaged checkpoint and segment 0",
        |wal| (checkpoint(wal, 2), flip_in_checkpoint(wal)).0,
        Deletes,
        Deletes,
    ),
    ("a file of the checkpoint", checkpoint_with_gap, Fails, Fails),
    // Bytes.
    ("flipped byte in the first segment", |wal| flip(wal, 0, 100), Deletes, Deletes),
    ("flipped byte in between", |wal| flip(wal, 2, 100), Deletes, Deletes),
    ("flipped byte in the last segment", |wal| flip(wal, 3, 100), Deletes, Deletes),
    (
        "flipped byte in front of the checkpoint",
        |wal| (checkpoint(wal, 2), flip(wal, 1, 100)).0,
        Opens,
        Opens,
    ),
    ("fragment type", |wal| change(wal, 1, |bytes| bytes[0] = 7), Deletes, Deletes),
    ("fragment length", |wal| change(wal, 1, |bytes| bytes[1] = 0xff), Deletes, Deletes),
    (
        "end of a record without its beginning",
        |wal| put(wal, 1, &fragment(FragmentType::Last, b"x")),
        Deletes,
        Deletes,
    ),
    (
        "beginning of a record without its end",
        |wal| put(wal, 1, &fragment(FragmentType::First, b"x")),
        Deletes,
        Deletes,
    ),
    ("torn", |wal| change(wal, 3, |bytes| bytes.truncate(bytes.len() - 9)), Deletes, Deletes),
    (
        "torn where zeros are missing",
        |wal| change(wal, 3, |bytes| bytes.truncate(bytes.len() - 3)),
        Opens,
        Opens,
    ),
    ("torn at the end of a page", |wal| change(wal, 1, |bytes| bytes.truncate(PAGE_BYTES)), Deletes, Deletes),
    ("zeros at the end", |wal| change(wal, 3, |bytes| bytes.resize(bytes.len() + 100_000, 0)), Opens, Opens),
    ("a page of zeros between records", zero_page, Opens, Opens),
    ("bytes in the padding", |wal| change(wal, 3, |bytes| bytes.extend(b"\0\0\0x")), Deletes, Deletes),
    ("half a sample", |wal| put(wal, 1, &record(&samples(1)[..20])), Deletes, Deletes),
    ("unknown record type", |wal| put(wal, 1, &record(&[99; 10])), Deletes, Opens),
];

/// Complete records that an agent refuses nevertheless; a repair does not change them.
const RECORDS: &[(&str, &[u8])] = &[
    ("markers of a server", &[5]),
    ("metadata", b"\x06\x01\x01\x02\x04TYPE\0\x04HELP\x01h"),
    ("start of a checkpoint", &[14, 0, 0, 0, 0, 0, 0, 0, 1]),
];

fn segment(wal: &Path, number: u64) -> PathBuf {
    dir::segment_path(wal, number)
}

fn remove(wal: &Path, number: u64) {
    fs::remove_file(segment(wal, number)).unwrap();
}

fn write(wal: &Path, number: u64, bytes: &[u8]) {
    fs::write(segment(wal, number), bytes).unwrap();
}

fn truncate(wal: &Path, below: u64) {
    dir::truncate_below(&RealFilesystem, wal, below).unwrap();
}

fn change(wal: &Path, number: u64, change: impl Fn(&mut Vec<u8>)) {
    let mut bytes = fs::read(segment(wal, number)).unwrap();
    change(&mut bytes);
    write(wal, number, &bytes);
}

fn flip(wal: &Path, number: u64, at: usize) {
    change(wal, number, |bytes| bytes[at] ^= 0x55);
}

/// Writes bytes in front of a segment that is small enough not to cross a page otherwise.
fn put(wal: &Path, number: u64, bytes: &[u8]) {
    write(wal, number, &[bytes, &record(&series(0..5)), &record(&samples(5))].concat());
}

fn fragment(part: FragmentType, data: &[u8]) -> Vec<u8> {
    [&Header::of(part, Compression::None, data).to_bytes()[..], data].concat()
}

fn record(data: &[u8]) -> Vec<u8> {
    fragment(FragmentType::Full, data)
}

fn series(references: std::ops::Range<u64>) -> Vec<u8> {
    let mut series = SeriesBuilder::new();
    for reference in references {
        let text = format!("{reference}");
        series.push(reference, Labels::from_pairs([("__name__", "opened"), ("id", &text)]).as_ref());
    }
    series.bytes().to_vec()
}

/// One sample of each series. Its last bytes are zeros.
fn samples(count: u64) -> Vec<u8> {
    let mut samples = SamplesBuilder::new();
    let now = support::now_ms();
    (0..count).for_each(|reference| samples.push(reference, now, 0, 1.5));
    samples.bytes().to_vec()
}

fn zero_page(wal: &Path) {
    let mut bytes = record(&series(0..5));
    bytes.resize(2 * PAGE_BYTES, 0);
    bytes.extend(record(&samples(5)));
    write(wal, 1, &bytes);
}

fn folder_for_segment(wal: &Path, number: u64) {
    remove(wal, number);
    fs::create_dir(segment(wal, number)).unwrap();
}

fn folder_with_a_file(wal: &Path) {
    fs::create_dir(wal.join("00000004")).unwrap();
    fs::write(wal.join("00000004/x"), b"").unwrap();
}

/// A checkpoint with all series.
fn checkpoint(wal: &Path, number: u64) {
    let checkpoint = wal.join(format!("checkpoint.{number:08}"));
    fs::create_dir(&checkpoint).unwrap();
    write(&checkpoint, 0, &record(&series(0..SERIES)));
}

fn short_checkpoint(wal: &Path) {
    checkpoint(wal, 1);
    fs::rename(wal.join("checkpoint.00000001"), wal.join("checkpoint.000001")).unwrap();
    (0..2).for_each(|number| remove(wal, number));
}

fn flip_in_checkpoint(wal: &Path) {
    flip(&wal.join("checkpoint.00000002"), 0, 100);
}

fn damaged_checkpoint(wal: &Path) {
    checkpoint(wal, 2);
    flip_in_checkpoint(wal);
    (0..3).for_each(|number| remove(wal, number));
}

fn checkpoint_with_gap(wal: &Path) {
    checkpoint(wal, 1);
    write(&wal.join("checkpoint.00000001"), 2, &record(&series(0..SERIES)));
}

/// A complete log: in each segment all series, a record that crosses a page, and samples.
fn whole_log(wal: &Path) {
    let options = WriterOptions { compression: Compression::None, ..WriterOptions::default() };
    let (mut writer, _) = Writer::open(Arc::new(RealFilesystem), wal, options, 0, None).unwrap();
    for number in 0..SEGMENTS {
        if number > 0 {
            writer.begin_segment().unwrap();
        }
        for record in [series(0..SERIES), samples(SERIES), samples(4000), samples(SERIES)] {
            writer.append(&record).unwrap();
        }
        writer.commit().unwrap();
    }
}

/// All files of a log with their content; `None` for a folder.
fn contents(wal: &Path) -> BTreeMap<PathBuf, Option<Vec<u8>>> {
    let mut all = BTreeMap::new();
    let mut folders = vec![wal.to_path_buf()];
    while let Some(folder) = folders.pop() {
        for entry in fs::read_dir(&folder).unwrap() {
            let path = entry.unwrap().path();
            if path.is_dir() {
                folders.push(path.clone());
            }
            all.insert(path.clone(), fs::read(path).ok());
        }
    }
    all
}

/// The observed reaction of a real program.
struct Observed {
    does: Does,
    /// The missing or changed files, below the log's folder, sorted.
    changed: Vec<PathBuf>,
    /// Its error message.
    message: String,
}

/// Starts the real program on a copy of the log.
fn observe(peers: &Peers, wal: &Path, agent: bool) -> Observed {
    let folder = tempfile::tempdir().unwrap();
    let data = folder.path().join("data");
    let copied = data.join("wal");
    copy(wal, &copied);
    let before = contents(&copied);
    let options = if agent {
        Options::agent("http://127.0.0.1:1/api/v1/write", "prometheus.WriteRequest")
    } else {
        Options::default()
    };
    let started = Prometheus::try_start(peers, Options { data: Some(data), ..options });
    let after = contents(&copied);
    let changed = before.iter().filter(|(path, bytes)| after.get(*path) != Some(bytes));
    let changed: Vec<_> =
        changed.map(|(path, _)| path.strip_prefix(&copied).unwrap().to_path_buf()).collect();
    let (does, message) = match (started, changed.is_empty()) {
        (Ok(prometheus), true) => (Opens, prometheus.process.tail()),
        (Ok(prometheus), false) => (Deletes, prometheus.process.tail()),
        (Err(message), true) => (Fails, message),
        (Err(message), false) => (FailsAndDeletes, message),
    };
    Observed { does, changed, message }
}

fn check(wal: &Path) -> VerifyReport {
    verify(&RealFilesystem, wal, &mut |_| {}).unwrap()
}

/// Compares the predictions of `verify` with the expected reactions and with the real programs.
fn compare(peers: &Peers, wal: &Path, expected: [Does; 2], what: &str) {
    let report = check(wal);
    let said = [&report.agent, &report.server].map(Does::says);
    assert_eq!(said, expected, "{what}: verify's verdict for agent and server: {report:?}");
    for (index, agent) in [(0, true), (1, false)] {
        let observed = observe(peers, wal, agent);
        assert_eq!(observed.does, said[index], "{what}, agent: {agent}: {}", observed.message);
        let opening = if agent { &report.agent } else { &report.server };
        if let Opening::Deletes { file, .. } = opening
            && file.parent() == Some(wal)
        {
            let first = wal.join(&observed.changed[0]);
            assert_eq!(first, *file, "{what}, agent: {agent}: {:?}", observed.changed);
        }
    }
}

fn try_damage(peers: &Peers, (name, damage, agent, server): &Damage) {
    let folder = tempfile::tempdir().unwrap();
    let wal = folder.path().join("wal");
    whole_log(&wal);
    damage(&wal);
    compare(peers, &wal, [*agent, *server], name);
    let before = check(&wal);
    let report = repair(&RealFilesystem, &*wal, &mut |_| {}).unwrap();
    assert_eq!(
        report.verified.is_none(),
        before.is_clean(),
        "{name}: what is clean is not changed: {report:?}"
    );
    if !matches!(agent, Opens) {
        assert!(!before.is_clean(), "{name}: {before:?}");
    }
    let after = check(&wal);
    assert!(after.is_clean(), "{name}, repaired: {after:?}");
    compare(peers, &wal, [Opens, Opens], &format!("{name}, repaired"));
}

/// Calls `each` with every item, a few at a time.
fn in_parallel<T: Sync>(items: &[T], each: impl Fn(&T) + Sync) {
    const THREADS: usize = 4;
    let next = AtomicUsize::new(0);
    std::thread::scope(|scope| {
        for _ in 0..THREADS {
            scope.spawn(|| {
                while let Some(item) = items.get(next.fetch_add(1, Ordering::Relaxed)) {
                    each(item);
                }
            });
        }
    });
}

#[test]
fn verify_predicts_what_prometheus_does_and_repair_makes_it_start() {
    let Some(peers) = support::peers() else { return };
    in_parallel(DAMAGE, |damage| try_damage(&peers, damage));
}

#[test]
fn verify_predicts_at_which_records_an_agent_stops() {
    let Some(peers) = support::peers() else { return };
    in_parallel(RECORDS, |(name, bytes)| {
        let folder = tempfile::tempdir().unwrap();
        let wal = folder.path().join("wal");
        whole_log(&wal);
        put(&wal, 1, &record(bytes));
        compare(&peers, &wal, [Deletes, Opens], name);
        assert!(check(&wal).is_clean(), "{name}: it is not damaged");
    });
}
