//! Limits on what a series may be. They hold at every door, so that nothing that is accepted can be
//! too large for the log, the wire or a page.

/// What a label set may measure. Over any of these a series is refused, with the limit's name.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Limits {
    /// The most labels a series may have, `__name__` included.
    pub labels: usize,
    /// The longest label name and metric name, in bytes.
    pub name_bytes: usize,
    /// The longest label value, in bytes.
    pub value_bytes: usize,
    /// The most bytes of a whole label set in its canonical encoding.
    pub set_bytes: usize,
    /// The most buckets (positive and negative together) of a native histogram.
    pub buckets: usize,
}

impl Limits {
    /// What no limit may exceed, so that lengths fit the spans of a [`crate::Batch`].
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
