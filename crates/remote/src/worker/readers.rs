//! The readers of the log: one for each stream.

use super::unread::Passed;
use crate::delivery::{Kind, Stream};
use futures_util::future::select_all;
use std::sync::Arc;
use storage::{Chunk, Follower, ReadError, Storage};
use wal::Position;

pub(super) struct Readers {
    pub(super) storage: Storage,
    readers: Vec<Reader>,
}

pub(super) struct Reader {
    pub(super) stream: u64,
    pub(super) follower: Follower,
    /// The committed samples before the follower.
    pub(super) passed: Passed,
    /// The committed samples before the end of a backlog.
    pub(super) until: Option<Passed>,
}

/// A chunk that was read, or the error.
pub(super) struct Read {
    pub(super) stream: u64,
    pub(super) is_from_disk: bool,
    pub(super) chunk: Result<Arc<Chunk>, ReadError>,
}

impl Readers {
    pub(super) fn new(storage: Storage) -> Self {
        Readers { storage, readers: Vec::new() }
    }

    /// Adds readers for new streams, and removes those of streams that have ended.
    pub(super) fn update(&mut self, streams: &[Stream]) {
        self.readers.retain(|reader| streams.iter().any(|stream| stream.number == reader.stream));
        for stream in streams.iter().filter(|stream| stream.follows_log()) {
            if !self.readers.iter().any(|reader| reader.stream == stream.number) {
                let at = stream.queue.head();
                let (follower, passed) = (self.storage.follow(at), Passed::before(&self.storage, at));
                self.readers.push(Reader { stream: stream.number, follower, passed, until: None });
            }
            let until = stream.until.filter(|_| stream.kind == Kind::Backlog);
            let reader = self.readers.iter_mut().find(|reader| reader.stream == stream.number);
            if let (Some(reader), Some(until)) = (reader, until) {
                reader.until.get_or_insert_with(|| Passed::before(&self.storage, until));
            }
        }
    }

    /// Returns up to where each stream has been given the log.
    pub(super) fn positions(&self) -> impl Iterator<Item = (u64, Position)> + '_ {
        self.readers.iter().map(|reader| (reader.stream, reader.follower.position()))
    }

    pub(super) fn of(&self, stream: u64) -> Option<&Reader> {
        self.readers.iter().find(|reader| reader.stream == stream)
    }

    /// Reads the next chunk for one of the wanted streams. The future can be dropped at any moment without
    /// losing a chunk.
    pub(super) async fn next(&mut self, is_wanted: impl Fn(u64) -> bool) -> Read {
        let mut wanted: Vec<&mut Reader> =
            self.readers.iter_mut().filter(|reader| is_wanted(reader.stream)).collect();
        let (index, chunk) = match wanted.as_mut_slice() {
            [] => return std::future::pending().await,
            [one] => (0, one.follower.next().await),
            several => {
                let each = several.iter_mut().map(|reader| Box::pin(reader.follower.next()));
                let (chunk, index, _) = select_all(each).await;
                (index, chunk)
            }
        };
        let reader = wanted.swap_remove(index);
        let (stream, is_from_disk) = (reader.stream, reader.follower.is_behind());
        if let Ok(chunk) = &chunk {
            reader.passed.read(&self.storage, chunk);
        }
        // The other readers get their turn before this one.
        if let Some(at) = self.readers.iter().position(|reader| reader.stream == stream) {
            let reader = self.readers.remove(at);
            self.readers.push(reader);
        }
        Read { stream, is_from_disk, chunk }
    }

    /// Returns the position before which no stream has to read any more.
    pub(super) fn read_up_to(&self, streams: &[Stream]) -> Position {
        let reading =
            streams.iter().filter(|stream| stream.follows_log() && (stream.is_live() || !stream.is_read()));
        let at = reading.map(|stream| {
            self.of(stream.number).map_or(stream.queue.head(), |reader| reader.follower.position())
        });
        at.min().unwrap_or_default()
    }
}
