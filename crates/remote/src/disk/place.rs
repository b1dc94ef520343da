//! Saved positions against the log that is there: both may be older than the other, where a backup was
//! restored or a folder taken away. Repeat, never skip.

use crate::base::Base;
use crate::disk::positions::Settled;
use crate::stats::PositionsReset;
use std::collections::BTreeMap;
use wal::{Position, SegmentReader, WalError};

/// What is wrong with a position.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Fault {
    /// The log ends before it.
    BeyondEnd,
    /// No record begins there.
    Misplaced,
    /// That part of the log is gone.
    Gone,
}

/// Moves positions that are none of this log to where the log can be read from, says so and counts the lanes.
pub(crate) fn fit(settled: &mut Settled, base: &Base, name: &str, counts: &PositionsReset) {
    let (oldest, end) = (base.storage.oldest(), base.storage.end());
    // Most lanes stand at the same few positions.
    let mut known: BTreeMap<Position, Option<(Position, Fault)>> = BTreeMap::new();
    let [mut beyond, mut misplaced, mut gone] = [0; 3];
    let Settled { lanes, ahead } = settled;
    for lane in lanes {
        let found = *known.entry(*lane).or_insert_with(|| check(*lane, base, oldest, end));
        let Some((right, fault)) = found else { continue };
        *lane = right;
        match fault {
            Fault::BeyondEnd => beyond += 1,
            Fault::Misplaced => misplaced += 1,
            Fault::Gone => gone += 1,
        }
    }
    let mut right = beyond + misplaced == 0;
    for live in ahead.iter_mut().flat_map(|ahead| &mut ahead.lanes) {
        match *known.entry(*live).or_insert_with(|| check(*live, base, oldest, end)) {
            None => {}
            Some((oldest, Fault::Gone)) => *live = oldest,
            Some(_) => right = false,
        }
    }
    if !right {
        // Where one half is none of this log, the other says nothing either.
        *ahead = None;
    }
    counts.beyond_end.add(beyond);
    counts.misplaced.add(misplaced);
    counts.gone.add(gone);
    if beyond > 0 {
        tracing::warn!(
            destination = name,
            lanes = beyond,
            ?end,
            "saved positions lie beyond the end of the log, which was taken away or is an older one: all that \
             it holds is sent"
        );
    }
    if misplaced > 0 {
        tracing::warn!(
            destination = name,
            lanes = misplaced,
            "saved positions are not where a record of the log begins: its segment is sent from the beginning"
        );
    }
    if gone > 0 {
        tracing::warn!(
            destination = name,
            lanes = gone,
            ?oldest,
            "saved positions lie before the oldest segment of the log: what was between is gone"
        );
    }
}

/// Where to begin instead, and why; nothing where the position is one of this log.
fn check(at: Position, base: &Base, oldest: Position, end: Position) -> Option<(Position, Fault)> {
    if at > end {
        return Some((oldest, Fault::BeyondEnd));
    }
    if at < oldest {
        return Some((oldest, Fault::Gone));
    }
    if at.offset == 0 || at == end {
        return None;
    }
    let wal_dir = base.data_dir.join("wal");
    let mut reader = match SegmentReader::open(&*base.fs, &wal_dir, at.segment, at.offset) {
        Ok(reader) => reader,
        // The next one that is there is read; who reads says that it is missing.
        Err(WalError::NoSegment { .. }) => return None,
        Err(_) => return Some((Position::start_of(at.segment), Fault::Misplaced)),
    };
    if at.segment == end.segment {
        reader.set_limit(end.offset);
    }
    // What is damaged there can't be told from what is no beginning.
    let right = reader.next().is_ok() && reader.damage().is_empty();
    (!right).then(|| (Position::start_of(at.segment), Fault::Misplaced))
}
