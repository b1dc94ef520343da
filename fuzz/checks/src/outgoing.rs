//! Checks of what a destination keeps on disk beside its positions.

use model::{Batch, Series};
use remote::disk::dead::{Content, Letter, Lines, Reason, Said};
use remote::members::rings::{FILE_BYTES_MAX, RINGS_MAX, Rings};
use std::path::Path;
use wal::sim::SimFilesystem;
use wal::{Filesystem, Position};

/// An entry of the side queue. Its checksum is put right where the first byte says so; by another bit of it
/// the points are not compressed yet.
pub fn aside(bytes: &[u8]) {
    let Some((mend, bytes)) = bytes.split_first() else { return };
    let mut bytes = bytes.to_vec();
    if mend & 2 == 2
        && let Some(words) = bytes.get(36..40)
    {
        let words = u32::from_le_bytes(words.try_into().expect("four bytes"));
        let plain = bytes.split_off(bytes.len().min((words as usize).saturating_add(40)));
        let mut compressor = formats::compress::Compressor::new();
        let body = compressor.encode(formats::compress::Encoding::Snappy, &plain).expect("it is small");
        bytes.extend_from_slice(body);
    }
    if mend & 1 == 1 && bytes.len() > 16 {
        let crc = crc32c::crc32c(&bytes[16..]);
        bytes[12..16].copy_from_slice(&crc.to_le_bytes());
    }
    let Some(entry) = remote::disk::aside::read(&bytes) else { return };
    crate::formats::check_whole(&entry.batch);
    assert!(entry.words.len() <= 3 * bytes.len(), "each wrong byte becomes a character of three");
    // What is counted at a start, from the heads alone, is what is counted when it is read.
    let fs = SimFilesystem::new(0);
    let files = remote::disk::aside::Files::new(Path::new("/dead"), "a");
    files.write(&fs, 7, &bytes).expect("memory does not fail");
    let shelf = files.list(&fs).expect("memory does not fail");
    assert!(shelf.bytes() == bytes.len() as u64 && shelf.points() == entry.kinds.total());
    assert!(files.load(&fs, 7).expect("memory does not fail") == bytes);
}

/// A line of dead letters: whatever it holds can be shown, and a sample comes back from being written anew.
pub fn letter(bytes: &[u8]) {
    let Some(letter) = Letter::read(bytes) else { return };
    let Content::Sample(sample) = letter.content else { return };
    let labels = sample.canonical_labels();
    let mut batch = Batch::new();
    let series = batch.add_series(labels.as_ref(), Series::NO_METADATA);
    batch.push_float(series, sample.timestamp, sample.float.unwrap_or(model::stale_nan()));
    let mut lines = Lines::default();
    let said = Said { time: 0, reason: Reason::Refused, answer: &letter.answer, part: sample.part };
    lines.sample(&said, labels.as_ref(), &batch, &batch.points[0]);
    let line = lines.as_bytes();
    assert!(line.iter().position(|byte| *byte == b'\n') == Some(line.len() - 1), "one line");
    let again = Letter::read(line).expect("it was just written");
    assert!(again.answer == letter.answer);
    let Content::Sample(again) = again.content else { panic!("{again:?}") };
    assert!(again.canonical_labels() == labels && again.timestamp == sample.timestamp);
    assert!(again.part == sample.part);
    let bits =
        |float: Option<f64>| float.map(|float| if float.is_nan() { f64::NAN } else { float }.to_bits());
    assert!(bits(again.float) == bits(sample.float), "{again:?}");
}

/// The rings of a sharded entry: what is read is bounded and in order, and is the same when written again.
pub fn rings(bytes: &[u8]) {
    let fs = SimFilesystem::new(0);
    let path = Path::new("/rings/a.json");
    fs.create_dir_all(Path::new("/rings")).expect("memory does not fail");
    fs.plant(path, bytes);
    let Ok(mut rings) = Rings::load(&fs, path) else { return };
    assert!(bytes.len() as u64 <= FILE_BYTES_MAX && (1..=RINGS_MAX).contains(&rings.all().len()));
    assert!(rings.all().is_sorted_by_key(|ring| ring.from));
    rings.save(&fs, path).expect("memory does not fail");
    assert!(Rings::load(&fs, path).expect("it was just written") == rings);
    for member in rings.all_members() {
        let (from, until) = rings.part(&member).expect("it is a member of some ring");
        assert!(until.is_none_or(|until| from <= until), "{from:?} to {until:?}");
        let share = rings.share(&member);
        assert!(share.at(from) > 0);
    }
    let end = Position::start_of(u64::MAX >> 1);
    let _ = rings.change(end, &["http://new/".to_string()], 1);
    rings.remove_delivered(end, |_| Some(end));
    assert!(!rings.is_empty());
    rings.restart_after(Position::default(), Position::default());
}
