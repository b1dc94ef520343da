//! Writes a large log straight to the disk. A system may find such a log after a long outage; pushing it
//! would take too long.

use crate::Result;
use crate::workload::Plan;
use model::Labels;
use std::path::Path;
use std::sync::Arc;
use wal::record::{SamplesBuilder, SeriesBuilder};
use wal::{Durability, RealFilesystem, Writer, WriterOptions};

/// The number of samples in a record.
const PER_RECORD: u32 = 2000;
/// The largest segment of narthex at the default budget of 10 GiB.
const SEGMENT_BYTES_MAX: u64 = 1280 << 20;

/// Writes `bytes` of log into the folder `dir`. Like those of narthex, each segment stands alone: it has all
/// series of `plan`, and ten times as many bytes of samples. Returns the number of samples.
pub(crate) fn write(dir: &Path, plan: &Plan, bytes: u64) -> Result<u64> {
    let options = WriterOptions { durability: Durability::Os, ..WriterOptions::default() };
    let (mut writer, _) = Writer::open(Arc::new(RealFilesystem), dir, options, 0, None)?;
    let (series, mut written, mut samples, mut sweep) = (plan.workload.series, 0, 0, 0);
    loop {
        for first in (0..series).step_by(PER_RECORD as usize) {
            let mut record = SeriesBuilder::new();
            for id in first..(first + PER_RECORD).min(series) {
                let labels = plan.labels(id);
                let pairs = labels.iter().map(|(name, value)| (*name, value.as_str()));
                record.push(reference(id), Labels::from_pairs(pairs).as_ref());
            }
            writer.append(record.bytes())?;
            writer.commit()?;
        }
        let limit = (writer.segment_bytes() * 10).min(SEGMENT_BYTES_MAX);
        while writer.segment_bytes() < limit {
            for first in (0..series).step_by(PER_RECORD as usize) {
                let mut record = SamplesBuilder::new();
                for id in first..(first + PER_RECORD).min(series) {
                    record.push(reference(id), plan.timestamp(sweep), 0, plan.value(id, sweep));
                    samples += 1;
                }
                writer.append(record.bytes())?;
                writer.commit()?;
            }
            sweep += 1;
        }
        written += writer.segment_bytes();
        if written >= bytes {
            return Ok(samples);
        }
        writer.begin_segment()?;
    }
}

fn reference(id: u32) -> u64 {
    u64::from(id) + 1
}
