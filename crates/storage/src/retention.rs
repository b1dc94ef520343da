//! Retention: which segments can be deleted, and which have to be when the budget is used up.
//!
//! A thread of its own runs a sweep when a pin moves to another segment, when a segment begins, and every few
//! seconds. Segments that all destinations have acknowledged are deleted. If the log exceeds its budget or
//! its maximum age, the oldest segment is deleted even if it is not delivered. Before that, the samples that
//! each destination has not read are counted as lost. Samples that a destination has read are still in its
//! memory and will be sent. The destination saves their number before the segment is deleted, so that they
//! can be counted as lost if the process is killed first.

use crate::ages::{self, Ages};
use crate::damage::{OPENING, Verdict};
use crate::options::WhenFull;
use crate::records;
use crate::shared::Shared;
use model::Kinds;
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::Duration;
use wal::record::{self, RecordType};
use wal::{Position, SegmentReader, WalError, dir};

/// How often to sweep when nothing else wakes the thread.
const IDLE: Duration = Duration::from_secs(10);
/// How long a deletion waits at most until all destinations have saved how many samples of the segment they
/// hold in memory.
const NOTE_WAIT: Duration = Duration::from_secs(2);

/// Runs the retention thread until the pins are closed.
pub(crate) fn run(shared: &Arc<Shared>) {
    // Ages are needed only if there is a maximum age.
    let ages = shared.options.max_age.map(|_| {
        let path = shared.options.dir.join(ages::FILE);
        Ages::open(shared.fs.clone(), path, shared.tail.end().segment, shared.clock.monotonic())
    });
    let mut janitor = Janitor { shared: shared.clone(), ages };
    loop {
        if let Err(error) = janitor.sweep() {
            shared.stats.truncations_failed.add(1);
            tracing::warn!(%error, "old segments could not be removed");
        }
        janitor.save_ages(false);
        shared.stats.sweeps.add(1);
        if !shared.pins.wait(IDLE) {
            janitor.save_ages(true);
            return;
        }
    }
}

struct Janitor {
    shared: Arc<Shared>,
    /// The ages of segments, if there is a maximum age.
    ages: Option<Ages>,
}

impl Janitor {
    fn sweep(&mut self) -> Result<(), WalError> {
        let shared = self.shared.clone();
        let current = shared.tail.end().segment;
        let wanted = shared.pins.lowest_segment().unwrap_or(current).min(current);
        self.truncate(wanted, false)?;

        let options = &shared.options;
        let mut segments = dir::segments(&*shared.fs, &shared.wal_dir)?;
        if let Some(ages) = &mut self.ages {
            ages.tick(shared.clock.monotonic());
            ages.forget_below(segments.first().map_or(current, |segment| segment.number));
            // Register every closed segment now, so that each gets its own closing time.
            for closed in segments.iter().filter(|segment| segment.number < current) {
                ages.of(closed.number);
            }
        }
        let mut total: u64 = segments.iter().map(|segment| segment.bytes).sum();
        segments.retain(|segment| segment.number < current);
        for segment in segments {
            let age = self.ages.as_mut().map(|ages| ages.of(segment.number));
            let too_old = options.max_age.zip(age).is_some_and(|(max, age)| age > max);
            let too_much = total > options.max_size && options.when_full == WhenFull::DropOldest;
            // Before all destinations have pinned what they need, losses could not be counted.
            if !too_old && !too_much || !shared.truncating.load(Ordering::Acquire) {
                break;
            }
            self.drop_segment(segment.number, too_old)?;
            total -= segment.bytes;
        }
        let refuse = options.when_full == WhenFull::Refuse && total >= options.max_size;
        if refuse != shared.over_budget.swap(refuse, Ordering::AcqRel) {
            shared.stats.budget_full.set(u64::from(refuse));
        }
        shared.stats.log_bytes.set(total);
        Ok(())
    }

    fn save_ages(&mut self, ending: bool) {
        let Some(ages) = &mut self.ages else { return };
        ages.tick(self.shared.clock.monotonic());
        if (ending || ages.is_due())
            && let Err(error) = ages.save()
        {
            tracing::warn!(%error, "how old segments are could not be saved");
        }
    }

    /// Deletes a segment that destinations may still need, after counting what each of them loses.
    fn drop_segment(&self, number: u64, too_old: bool) -> Result<(), WalError> {
        let why = if too_old { "older than log.max_age" } else { "the log's budget is used up" };
        let end = Position::start_of(number + 1);
        for (id, name, unread) in self.shared.pins.drop_unread(end) {
            let lost = self.count(number, unread)?;
            if lost.total() + lost.exemplars > 0 {
                tracing::warn!(
                    destination = name,
                    segment = number,
                    samples = lost.samples,
                    histograms = lost.histograms,
                    exemplars = lost.exemplars,
                    why,
                    "the oldest segment of the log is deleted with undelivered samples"
                );
            }
            self.shared.pins.drop_before(id, end, lost, too_old);
        }
        self.shared.pins.wait_until_noted(end, NOTE_WAIT);
        self.truncate(number + 1, true)
    }

    fn truncate(&self, below: u64, dropped: bool) -> Result<(), WalError> {
        let shared = &self.shared;
        // New readers skip the segment from here on. A reader that has the file open can still read it.
        shared.oldest.fetch_max(below, Ordering::AcqRel);
        let truncated = dir::truncate_below(&*shared.fs, &shared.wal_dir, below)?;
        let counter = if dropped { &shared.stats.segments_dropped } else { &shared.stats.segments_truncated };
        counter.add(truncated.segments);
        shared.damages.forget_below(below);
        shared.stats.oldest_segment.set(shared.oldest.load(Ordering::Acquire));
        Ok(())
    }

    /// Counts the points of a segment from `position` on.
    fn count(&self, number: u64, position: Position) -> Result<Kinds, WalError> {
        let shared = &self.shared;
        if position.segment > number {
            return Ok(Kinds::default());
        }
        let from = if position.segment == number { position } else { Position::start_of(number) };
        let mut reader = match SegmentReader::open(&*shared.fs, &shared.wal_dir, number, from.offset) {
            Err(WalError::NoSegment { .. }) => return Ok(Kinds::default()),
            Err(error) if shared.read_failed(number, OPENING, &error) == Verdict::GiveUp => {
                tracing::warn!(
                    segment = number, %error,
                    "the segment can't be read, so the samples that are lost with it can't be counted"
                );
                return Ok(Kinds::default());
            }
            opened => opened?,
        };
        if let Some(end) = shared.end_of(number) {
            reader.set_limit(end);
        }
        let mut lost = Kinds::default();
        while let Some(record) = reader.next_readable() {
            if !records::is_data(record.kind) {
                continue;
            }
            let skip = if record.start == from.offset { u64::from(from.index) } else { 0 };
            let points = count_points(record.kind, record.bytes).saturating_sub(skip);
            match record.kind {
                RecordType::Exemplars => lost.exemplars += points,
                kind if kind.is_histograms() => lost.histograms += points,
                _ => lost.samples += points,
            }
        }
        Ok(lost)
    }
}

fn count_points(kind: RecordType, bytes: &[u8]) -> u64 {
    let count = match kind {
        RecordType::Exemplars => record::exemplars(bytes).map(|entries| entries.flatten().count()),
        kind if kind.is_histograms() => record::histograms(bytes).map(|entries| entries.flatten().count()),
        _ => record::samples(bytes).map(|entries| entries.flatten().count()),
    };
    count.unwrap_or(0) as u64
}
