//! Reuses the memory of large batches.
//!
//! The labels of a request with thousands of series take more than half a megabyte. The allocator returns
//! such buffers to the operating system and requests them again, page by page, many times a second. Keeping a
//! few of them saves the kernel from clearing the pages. Small buffers are not kept, because the allocator
//! reuses them itself.

use std::sync::{Mutex, PoisonError};

/// Smaller buffers are not kept.
pub const BYTES_MIN: usize = 128 << 10;
/// Larger buffers are not kept.
pub const BYTES_MAX: usize = 2 << 20;
/// Largest number of buffers that are kept. They take at most 8 MiB, and only if requests are that large.
pub const KEPT_MAX: usize = 4;

static KEPT: Mutex<Vec<Vec<u8>>> = Mutex::new(Vec::new());

/// Returns an empty buffer for about `bytes` bytes. A kept buffer is used if it has at least that capacity
/// and less than twice as much, because the whole capacity counts against memory budgets. Otherwise the
/// buffer is new.
pub fn take(bytes: usize) -> Vec<u8> {
    if (BYTES_MIN..=BYTES_MAX).contains(&bytes) {
        let mut kept = KEPT.lock().unwrap_or_else(PoisonError::into_inner);
        let fits = |buffer: &Vec<u8>| (bytes..bytes * 2).contains(&buffer.capacity());
        if let Some(found) = kept.iter().position(fits) {
            return kept.swap_remove(found);
        }
    }
    Vec::with_capacity(bytes)
}

/// Keeps a buffer for reuse. If the limit is reached, the buffer that was kept longest is freed.
pub fn give(mut buffer: Vec<u8>) {
    if !(BYTES_MIN..=BYTES_MAX).contains(&buffer.capacity()) {
        return;
    }
    buffer.clear();
    let mut kept = KEPT.lock().unwrap_or_else(PoisonError::into_inner);
    let goes = if kept.len() < KEPT_MAX { None } else { Some(kept.remove(0)) };
    kept.push(buffer);
    drop(kept);
    // Free the buffer after the lock is released.
    drop(goes);
}

#[cfg(test)]
mod tests {
    use super::*;

    /// A single test, because all threads share the buffers.
    #[test]
    fn a_few_large_buffers_are_reused() {
        let kept = || KEPT.lock().unwrap().len();
        let mut buffer = Vec::with_capacity(1 << 20);
        buffer.extend_from_slice(b"of another request");
        let address = buffer.as_ptr();
        give(buffer);
        assert_eq!(kept(), 1);
        // The kept buffer is twice as large as needed, or too small.
        let others = [take(500 << 10), take((1 << 20) + 1)];
        assert!(others.iter().all(|other| other.as_ptr() != address));
        let again = take(700 << 10);
        assert_eq!((again.as_ptr(), again.len(), kept()), (address, 0, 0));
        for bytes in [BYTES_MIN - 1, BYTES_MAX + 1] {
            give(Vec::with_capacity(bytes));
            assert_eq!(kept(), 0);
        }
        for extra in 0..2 * KEPT_MAX {
            give(Vec::with_capacity(BYTES_MIN + extra));
        }
        assert_eq!(kept(), KEPT_MAX);
        let capacities: Vec<usize> = KEPT.lock().unwrap().iter().map(Vec::capacity).collect();
        assert!(capacities.iter().all(|&capacity| capacity >= BYTES_MIN + KEPT_MAX), "the newest stay");
    }
}
