//! Checks of what is read from the disk at a start, which damage may have changed.
//!
//! Nearly everything there has a checksum, behind which a fuzzer doesn't come. So a first byte of the input
//! says whether checksums are put right before it is read.

use model::{Counts, LabelsRef};
use remote::config::identity::Owner;
use remote::disk::positions::PositionFile;
use remote::queue::lanes::LANES;
use std::path::Path;
use wal::page::{HEADER_BYTES, PAGE_BYTES};
use wal::record::{self, RecordType};
use wal::sim::SimFilesystem;
use wal::{Filesystem, Position, SegmentReader};

/// A whole segment of the log.
pub fn segment(bytes: &[u8]) {
    let Some((mend, bytes)) = bytes.split_first() else { return };
    let mut bytes = bytes.to_vec();
    if mend & 1 == 1 {
        bytes.chunks_mut(PAGE_BYTES).for_each(mend_page);
    }
    let fs = SimFilesystem::new(0);
    let dir = Path::new("/wal");
    fs.plant(&wal::dir::segment_path(dir, 0), &bytes);
    let read = |check: bool| {
        let mut reader = SegmentReader::open(&fs, dir, 0, 0).expect("it is there");
        let mut spans = Vec::new();
        while let Some(found) = reader.next().expect("memory does not fail") {
            assert!(found.start < found.end && found.bytes.len() <= wal::MAX_RECORD_BYTES);
            assert!(spans.last().is_none_or(|(_, end)| *end <= found.start), "{spans:?} {found:?}");
            spans.push((found.start, found.end));
            if check {
                record(found.bytes);
            }
        }
        // At most where the next page would begin.
        assert!(reader.offset() <= bytes.len().next_multiple_of(PAGE_BYTES) as u64);
        let damage = reader.damage();
        assert!(damage.len() <= SegmentReader::MAX_DAMAGE);
        spans
    };
    let spans = read(true);
    assert!(read(false) == spans);
    // A record is found from where it starts, too.
    for (start, end) in spans.iter().rev().take(4) {
        let mut reader = SegmentReader::open(&fs, dir, 0, *start).expect("it is there");
        let found = reader.next().expect("memory does not fail").map(|found| (found.start, found.end));
        assert!(found == Some((*start, *end)), "{found:?} from {start}");
    }
}

/// Sets the checksum of each fragment in a page to what it should be.
fn mend_page(page: &mut [u8]) {
    let mut at = 0;
    while let Some(header) = page.get(at..at + HEADER_BYTES) {
        if header[0] == 0 {
            break;
        }
        let length = usize::from(u16::from_be_bytes([header[1], header[2]]));
        let data = at + HEADER_BYTES;
        let Some(crc) = page.get(data..data + length).map(crc32c::crc32c) else { break };
        page[at + 3..data].copy_from_slice(&crc.to_be_bytes());
        at = data + length;
    }
}

/// One record of the log, by whatever decoder its type names. Each loop ends, since an entry takes a byte.
pub fn record(bytes: &[u8]) {
    let Some(kind) = RecordType::of(bytes) else { return };
    let most = bytes.len();
    let count = match kind {
        RecordType::Series => record::series(bytes).map(|all| {
            all.map_while(Result::ok).inspect(|(_, labels)| check_shape(*labels)).take(most + 1).count()
        }),
        RecordType::Samples | RecordType::SamplesWithStart => {
            record::samples(bytes).map(|all| all.map_while(Result::ok).take(most + 1).count())
        }
        RecordType::Tombstones => {
            record::tombstones(bytes).map(|all| all.map_while(Result::ok).take(most + 1).count())
        }
        RecordType::Exemplars => record::exemplars(bytes).map(|all| {
            all.map_while(Result::ok).inspect(|entry| check_shape(entry.labels)).take(most + 1).count()
        }),
        RecordType::Metadata => {
            record::metadata(bytes).map(|all| all.map_while(Result::ok).take(most + 1).count())
        }
        RecordType::MmapMarkers | RecordType::MinValidTime => return,
        _ => record::histograms(bytes).map(|all| {
            all.map_while(Result::ok)
                .inspect(|entry| {
                    let histogram = &entry.histogram;
                    let buckets = match &histogram.counts {
                        Counts::Integer { positive, negative, .. } => positive.len() + negative.len(),
                        Counts::Float { positive, negative, .. } => positive.len() + negative.len(),
                    };
                    assert!(buckets <= most, "{buckets} buckets of {most} bytes");
                })
                .take(most + 1)
                .count()
        }),
    };
    assert!(count.is_err() || count.is_ok_and(|count| count <= most));
}

/// All names and values are there. Their order is the writer's matter, and behind a checksum.
fn check_shape(labels: LabelsRef<'_>) {
    assert!(labels.pairs().count() == labels.len());
}

/// An entry of the journal of metadata.
pub fn metadata(bytes: &[u8]) {
    let Some(metadata) = storage::metadata::decode(bytes) else { return };
    let again = storage::metadata::decode(&storage::metadata::encode(&metadata));
    assert!(again.as_ref() == Some(&metadata));
}

const SLOT_BYTES: usize = 28;
/// A slot with two positions.
const WIDE_BYTES: usize = 64;
/// Where the slots begin in a file of positions.
const SLOTS: usize = 4096;
const AREA_BYTES: usize = LANES * (SLOT_BYTES + 4 + WIDE_BYTES);
/// In a slot's number: it counts only with a wide one of the same number.
const HAS_WIDE: u64 = 1 << 63;

/// A file of positions: each lane's is that of its slot with the highest number.
///
/// The input is slots, each as an area, a lane and what stands in it; the areas after the first three are those of
/// wide slots, both of whose positions are this one, and one beyond these leaves the checksum wrong. Number 0 is none.
pub fn positions(bytes: &[u8]) {
    let fs = SimFilesystem::new(0);
    let path = Path::new("/positions/file");
    let owner = Owner { name: None, url: "http://x".into(), variant: 1 };
    let beginning = Position::default();
    PositionFile::open(&fs, path, &owner, 7, beginning, beginning).expect("memory does not fail");
    let mut file = fs.contents(path).expect("it was made");
    file[SLOTS..].fill(0);
    let mut slots = vec![[None; 6]; LANES];
    for slot in bytes.chunks_exact(2 + SLOT_BYTES) {
        let (area, lane) = (usize::from(slot[0]), usize::from(slot[1]) % LANES);
        let (kind, content) = (area % 6, &slot[2..]);
        let in_area =
            if kind < 3 { lane * (SLOT_BYTES + 4) } else { LANES * (SLOT_BYTES + 4) + lane * WIDE_BYTES };
        let start = SLOTS + kind % 3 * AREA_BYTES + in_area;
        let mut content = content.to_vec();
        if kind >= 3 {
            content.extend_from_slice(&slot[10..]);
        }
        let crc = crc32c::crc32c_append(crc32c::crc32c(&(lane as u32).to_le_bytes()), &content);
        content.extend_from_slice(&if area < 6 { crc } else { !crc }.to_le_bytes());
        file[start..start + content.len()].copy_from_slice(&content);
        let number = |at: usize| u64::from_le_bytes(slot[at..at + 8].try_into().expect("eight bytes"));
        let index = u32::from_le_bytes(slot[26..30].try_into().expect("four bytes"));
        let position = Position { segment: number(10), offset: number(18), index };
        slots[lane][kind] = (area < 6 && number(2) > 0).then_some((number(2), position));
    }
    fs.plant(path, &file);
    let read =
        remote::disk::positions::read(&fs, path).expect("memory does not fail").expect("a file of positions");
    for (lane, found) in read.lanes.iter().enumerate() {
        let (narrow, wide) = slots[lane].split_at(3);
        let whole = |narrow: &Option<(u64, Position)>, wide: &Option<(u64, Position)>| {
            let (number, position) = (*narrow)?;
            let is_whole = number & HAS_WIDE == 0 || wide.is_some_and(|(other, _)| other == number);
            is_whole.then_some((number & !HAS_WIDE, position))
        };
        let there = || narrow.iter().zip(wide).filter_map(|(narrow, wide)| whole(narrow, wide));
        let newest = there().map(|(sequence, _)| sequence).max();
        let right = there().any(|(sequence, position)| Some(sequence) == newest && Some(position) == *found);
        assert!(right || (newest.is_none() && found.is_none()), "lane {lane}: {found:?}");
    }
    // Bytes put over it, whatever is there, and the end cut off: it is read, or is no file of positions.
    file[..bytes.len().min(SLOTS)].iter_mut().zip(bytes).for_each(|(there, byte)| *there ^= byte);
    fs.plant(path, &file);
    remote::disk::positions::read(&fs, path).expect("memory does not fail");
    let end = bytes.first().map_or(0, |byte| usize::from(*byte) * 120).min(file.len());
    fs.plant(path, &file[..end]);
    remote::disk::positions::read(&fs, path).expect("memory does not fail");
    PositionFile::open(&fs, path, &owner, 7, beginning, beginning).expect("memory does not fail");
}

/// The state file: two slots, with their checksums put right where the first byte says so.
pub fn state(bytes: &[u8]) {
    const SLOT: usize = 4096;
    let Some((mend, bytes)) = bytes.split_first() else { return };
    let mut file = vec![0u8; 2 * SLOT];
    let halves = bytes.split_at(bytes.len() / 2);
    for (slot, bytes) in file.chunks_mut(SLOT).zip([halves.0, halves.1]) {
        let length = bytes.len().min(SLOT);
        slot[..length].copy_from_slice(&bytes[..length]);
        if mend & 1 == 1 {
            let crc = crc32c::crc32c(&slot[4..]);
            slot[..4].copy_from_slice(&crc.to_le_bytes());
        }
    }
    let fs = SimFilesystem::new(0);
    let dir = Path::new("/data");
    fs.create_dir_all(dir).expect("memory does not fail");
    fs.plant(&dir.join("state"), &file);
    let read = storage::read_state(&fs, dir).expect("memory does not fail");
    assert!(read.is_none_or(|state| state.closed.len() * 16 <= SLOT));
}
