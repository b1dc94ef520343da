//! Checks saved positions against the log. Either may be older than the other, if a backup was restored or a
//! folder was deleted. The rule is: repeat, never skip.

use crate::base::Base;
use crate::disk::positions::Settled;
use crate::stats::PositionsReset;
use std::collections::BTreeMap;
use wal::{Position, SegmentReader, WalError};

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Fault {
    /// The log ends before the position.
    BeyondEnd,
    /// No record begins at the position.
    Misplaced,
    /// The log has deleted that segment.
    Gone,
}

/// Moves positions that do not fit the log to where the log can be read from. Logs this and counts the lanes.
pub(crate) fn fit(settled: &mut Settled, base: &Base, name: &str, counts: &PositionsReset) {
    let (oldest, end) = (base.storage.oldest(), base.storage.end());
    // Most lanes have one of a few positions.
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
        // If one half does not fit this log, the other half is meaningless, too.
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

/// Returns where to begin instead, and why. `None` if the position fits the log.
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
        // The next segment is read. The reader reports the missing one.
        Err(WalError::NoSegment { .. }) => return None,
        Err(_) => return Some((Position::start_of(at.segment), Fault::Misplaced)),
    };
    if at.segment == end.segment {
        reader.set_limit(end.offset);
    }
    // Damage at the position can't be told from a position in the middle of a record.
    let right = reader.next().is_ok() && reader.damage().is_empty();
    (!right).then(|| (Position::start_of(at.segment), Fault::Misplaced))
}
