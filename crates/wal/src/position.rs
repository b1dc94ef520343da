//! Positions in the log.

/// A boundary between points of the log: it is before the point number `index` of the data record at byte
/// `offset` of segment `segment`. A position that is delivered means that everything before it is delivered.
/// Positions are ordered like the log.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Default)]
pub struct Position {
    pub segment: u64,
    /// Byte in the segment at which a record starts.
    pub offset: u64,
    /// Number of the point in that record, from 0.
    pub index: u32,
}

impl Position {
    /// The position before everything in `segment`.
    pub const fn start_of(segment: u64) -> Self {
        Position { segment, offset: 0, index: 0 }
    }

    /// The position before the record that starts at byte `offset` of `segment`.
    pub const fn record(segment: u64, offset: u64) -> Self {
        Position { segment, offset, index: 0 }
    }
}

/// The durable part of the log: everything before byte `offset` of `segment`. No reader reads past it.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Default)]
pub struct DurableEnd {
    pub segment: u64,
    /// The first byte that is not durable. A record always ends there.
    pub offset: u64,
}

impl DurableEnd {
    /// The position after everything that is durable.
    pub const fn position(self) -> Position {
        Position { segment: self.segment, offset: self.offset, index: 0 }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn positions_are_ordered_like_the_log() {
        let at = |segment, offset, index| Position { segment, offset, index };
        let sorted = [at(0, 0, 0), at(0, 0, 7), at(0, 40, 0), at(1, 0, 0), at(1, 0, 1)];
        assert!(sorted.is_sorted() && sorted[3] == Position::start_of(1));
        assert!(DurableEnd { segment: 0, offset: 40 }.position() == sorted[2]);
    }
}
