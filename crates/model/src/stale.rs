//! The staleness marker: the one NaN by which Prometheus is told that a series has ended.

/// The bits of the staleness marker (remote write 1.0 and 2.0, and Prometheus' `value.StaleNaN`).
pub const STALE_NAN: u64 = 0x7ff0_0000_0000_0002;

/// The staleness marker as a float. Compare by bits only, see [`is_stale`].
pub const fn stale_nan() -> f64 {
    f64::from_bits(STALE_NAN)
}

/// Whether `value` is the staleness marker (and not just any NaN).
pub const fn is_stale(value: f64) -> bool {
    value.to_bits() == STALE_NAN
}
