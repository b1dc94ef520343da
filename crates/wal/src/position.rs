//! Places in the log.

/// A boundary in the log: all before this point is done. It is the point number `index` of the data
/// record that starts at byte `offset` of segment `segment`. The order is that of the log.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Default)]
pub struct Position {
    /// Number of the segment.
    pub segment: u64,
    /// Byte in the segment where a record starts.
    pub offset: u64,
    /// Number of the point in that record, from 0.
    pub index: u32,
}

impl Position {
    /// The boundary before everything in `segment`.
    pub const fn start_of(segment: u64) -> Self {
        Position { segment, offset: 0, index: 0 }
    }

    /// The boundary before the record that starts at byte `offset` of `segment`.
    pub const fn record(segment: u64, offset: u64) -> Self {
        Position { segment, offset, index: 0 }
    }
}

/// How far the log is on disk: all before byte `offset` of `segment`. No reader goes beyond it.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Default)]
pub struct DurableEnd {
    /// Number of the segment.
    pub segment: u64,
    /// The first byte that is not durable; always where a record ends.
    pub offset: u64,
}

impl DurableEnd {
    /// The boundary after everything that is durable.
    pub const fn position(self) -> Position {
        Position { segment: self.segment, offset: self.offset, index: 0 }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn positions_are_ordered_as_the_log_is() {
        let at = |segment, offset, index| Position { segment, offset, index };
        let sorted = [at(0, 0, 0), at(0, 0, 7), at(0, 40, 0), at(1, 0, 0), at(1, 0, 1)];
        assert!(sorted.is_sorted() && sorted[3] == Position::start_of(1));
        assert!(DurableEnd { segment: 0, offset: 40 }.position() == sorted[2]);
    }
}
