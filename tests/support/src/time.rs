//! The clock of the tests.

/// The current time in milliseconds since 1970.
pub fn now_ms() -> i64 {
    std::time::UNIX_EPOCH.elapsed().unwrap().as_millis() as i64
}
