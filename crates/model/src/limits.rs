//! Limits on the size of a series. All inputs apply them, so that nothing that is accepted is too large for
//! the log, the wire or a page.

/// Limits on a label set and on a histogram. A series that exceeds one is refused with the name of the limit.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Limits {
    /// Largest number of labels of a series, including `__name__`.
    pub labels: usize,
    /// Longest label name and metric name, in bytes.
    pub name_bytes: usize,
    /// Longest label value, in bytes.
    pub value_bytes: usize,
    /// Largest label set in its canonical encoding, in bytes.
    pub set_bytes: usize,
    /// Largest number of buckets of a native histogram: positive and negative buckets, and custom bounds,
    /// together.
    pub buckets: usize,
}

impl Limits {
    /// The largest configurable limits, so that lengths fit into the spans of a [`crate::Batch`].
    pub const MAX: Limits = Limits {
        labels: 1 << 12,
        name_bytes: 1 << 16,
        value_bytes: 1 << 20,
        set_bytes: 1 << 21,
        buckets: 1 << 16,
    };
}

impl Default for Limits {
    fn default() -> Self {
        Limits { labels: 128, name_bytes: 1024, value_bytes: 16 << 10, set_bytes: 64 << 10, buckets: 8192 }
    }
}
