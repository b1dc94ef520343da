//! Reuse of the memory of large batches. The test has a program of its own, because all threads of a process
//! share the buffers that are kept.

use model::{Batch, arena};
use std::sync::Arc;
use std::time::Duration;
use storage::Chunk;
use wal::Position;

#[test]
fn the_label_memory_of_a_dropped_chunk_is_reused() {
    const BYTES: usize = 1 << 20;
    let place = Position { segment: 1, offset: 0, index: 0 };
    let mut batch = Batch::new();
    batch.bytes.reserve_exact(BYTES);
    let address = batch.bytes.as_ptr();
    let chunk = Arc::new(Chunk {
        batch,
        refs: Vec::new(),
        segment: 1,
        records: Vec::new(),
        start: place,
        end: place,
        arrived: Duration::ZERO,
    });
    let of_another_queue = Arc::clone(&chunk);
    drop(chunk);
    let meanwhile = arena::take(BYTES);
    assert_ne!(meanwhile.as_ptr(), address, "a queue still reads it");
    drop(of_another_queue);
    let again = arena::take(BYTES);
    assert_eq!(again.as_ptr(), address);
}
