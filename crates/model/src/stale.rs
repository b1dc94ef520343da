//! The staleness marker: the NaN that tells Prometheus that a series has ended.

/// The bits of the staleness marker (remote write 1.0 and 2.0, and Prometheus' `value.StaleNaN`).
pub const STALE_NAN: u64 = 0x7ff0_0000_0000_0002;

/// The staleness marker as a float. Compare it by its bits, see [`is_stale`].
pub const fn stale_nan() -> f64 {
    f64::from_bits(STALE_NAN)
}

/// Returns true if `value` is the staleness marker. Other NaNs are not.
pub const fn is_stale(value: f64) -> bool {
    value.to_bits() == STALE_NAN
}
