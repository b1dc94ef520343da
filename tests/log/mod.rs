//! Reads the content of a log, for tests that compare it with the received samples.

use std::collections::BTreeMap;
use std::path::Path;
use wal::record::{self, RecordType};
use wal::{RealFilesystem, SegmentReader, dir};

/// Label sets, and for each the bits of its float values by time.
pub(crate) type Samples = BTreeMap<support::query::Labels, BTreeMap<i64, u64>>;

/// The number of series that a real agent finds in the log: one for each reference. A series that was pushed before and
/// after a restart has two, which is legal.
#[allow(dead_code, reason = "not every test that reads logs counts series")]
pub(crate) fn references(wal: &Path) -> usize {
    let mut references = std::collections::BTreeSet::new();
    for segment in dir::segments(&RealFilesystem, wal).unwrap() {
        let mut reader = SegmentReader::open(&RealFilesystem, wal, segment.number, 0).unwrap();
        while let Some(raw) = reader.next().unwrap() {
            if raw.kind == RecordType::Series {
                references.extend(record::series(raw.bytes).unwrap().map(|entry| entry.unwrap().0));
            }
        }
    }
    references.len()
}

#[allow(dead_code, reason = "not every test that reads logs looks at samples")]
/// All float samples in the segments of a log, complete records only.
pub(crate) fn samples(wal: &Path) -> Samples {
    let mut all = Samples::new();
    for (labels, values) in by_segment(wal).into_iter().flatten() {
        all.entry(labels).or_default().extend(values);
    }
    all
}

#[allow(dead_code, reason = "not every test that reads logs looks at samples")]
/// The float samples of each segment, complete records only.
pub(crate) fn by_segment(wal: &Path) -> Vec<Samples> {
    let mut segments = Vec::new();
    for segment in dir::segments(&RealFilesystem, wal).unwrap() {
        let Ok(mut reader) = SegmentReader::open(&RealFilesystem, wal, segment.number, 0) else { continue };
        let (mut labels, mut samples) = (BTreeMap::new(), Samples::new());
        while let Some(raw) = reader.next().unwrap() {
            match raw.kind {
                RecordType::Series => {
                    for entry in record::series(raw.bytes).unwrap() {
                        let (reference, set) = entry.unwrap();
                        let set = set.iter().map(|(name, value)| (name.into(), value.into())).collect();
                        labels.insert(reference, set);
                    }
                }
                RecordType::Samples => {
                    for entry in record::samples(raw.bytes).unwrap() {
                        let entry = entry.unwrap();
                        let set: &support::query::Labels = &labels[&entry.reference];
                        let series = samples.entry(set.clone()).or_default();
                        series.insert(entry.timestamp, entry.value.to_bits());
                    }
                }
                _ => {}
            }
        }
        segments.push(samples);
    }
    segments
}
