//! Memory of large batches, used again.
//!
//! A request of thousands of series takes a good half a megabyte for its labels. The allocator gives that
//! back to the system and asks for it again, page by page, many times a second; keeping a few such buffers
//! spares the kernel from clearing them. Small ones are not worth keeping: the allocator does that itself.

use std::sync::{Mutex, PoisonError};

/// Smaller buffers are not kept.
pub const BYTES_MIN: usize = 128 << 10;
/// Larger ones neither.
pub const BYTES_MAX: usize = 2 << 20;
/// How many are kept: 8 MiB at most, and only where requests are that large.
pub const KEPT_MAX: usize = 4;

static KEPT: Mutex<Vec<Vec<u8>>> = Mutex::new(Vec::new());

/// An empty buffer for about so many bytes: one that was given back, if it has that room and not twice as
/// much (what it has counts against budgets), else a new one.
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

/// Gives a buffer back. Where enough are kept, the one that was kept for longest goes.
pub fn give(mut buffer: Vec<u8>) {
    if !(BYTES_MIN..=BYTES_MAX).contains(&buffer.capacity()) {
        return;
    }
    buffer.clear();
    let mut kept = KEPT.lock().unwrap_or_else(PoisonError::into_inner);
    let goes = if kept.len() < KEPT_MAX { None } else { Some(kept.remove(0)) };
    kept.push(buffer);
    drop(kept);
    // Freed without the lock.
    drop(goes);
}

#[cfg(test)]
mod tests {
    use super::*;

    /// One test, since all threads share the buffers.
    #[test]
    fn a_few_large_buffers_are_used_again() {
        let kept = || KEPT.lock().unwrap().len();
        let mut buffer = Vec::with_capacity(1 << 20);
        buffer.extend_from_slice(b"of another request");
        let address = buffer.as_ptr();
        give(buffer);
        assert_eq!(kept(), 1);
        // It would count twice as much as is needed, or has not enough.
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
