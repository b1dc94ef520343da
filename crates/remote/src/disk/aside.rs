//! Parked samples on disk: points on which the destination kept failing (408, 429, 5xx) while it accepted
//! others. They are kept here, so that their lanes go on, and retried now and then, also after a restart.
//!
//! An entry has the points that one answer parked, in a file of its own beside the dead letters,
//! `DATA/dead/<destination>.aside-<16 hex digits>`:
//!
//! ```text
//! byte 0   magic "narthexA", version u32, CRC32C u32 of all that follows
//! byte 16  when it was parked (i64, milliseconds since 1970),
//!          samples u32, histograms u32, exemplars u32, bytes of the receiver's words u32
//! byte 40  the receiver's words, then the points: a remote-write 2.0 message in snappy's block format
//! ```
//!
//! All numbers are little-endian. Labels are those with which the points are sent, so an entry needs no part
//! of the log, and does not pin it. An entry is written beside its final name, synced and renamed. It is
//! removed when all of it is settled. After a power cut a part of it may be sent once more.
//!
//! Limits: [`ENTRIES_MAX`] and [`BYTES_MAX`] per destination. Beyond them the oldest entry becomes dead
//! letters and counts as refused.

use crate::outgoing::Outgoing;
use formats::compress::{Compressor, Decompressor, Encoding};
use formats::remote_write::{DecodeOptions, Encoder, Protocol, decode};
use model::Kinds;
use model::{Batch, Limits, Point};
use std::collections::BTreeMap;
use std::io;
use std::path::{Path, PathBuf};
use wal::Filesystem;
use wal::fs::patiently;
use wal::small_file::{self, make_folder, with_ending};

pub const ENTRIES_MAX: usize = 1024;
/// Most bytes of all entries of a destination.
pub const BYTES_MAX: u64 = 16 << 20;
/// Most bytes of an entry before compression, when it is read. A request has about 4 MiB.
const PLAIN_MAX: usize = 64 << 20;

const MAGIC: &[u8; 8] = b"narthexA";
const VERSION: u32 = 1;
const HEADER_BYTES: usize = 40;

/// Points that are encoded for an entry.
#[derive(Debug)]
pub struct Gathered {
    encoder: Encoder,
    /// The chunk (by its address, which is stable while points are gathered) and series of the last point.
    last: Option<(usize, u32)>,
    kinds: Kinds,
    buffer: Vec<u8>,
}

impl Default for Gathered {
    fn default() -> Self {
        Gathered {
            encoder: Encoder::new(Protocol::V2),
            last: None,
            kinds: Kinds::default(),
            buffer: Vec::new(),
        }
    }
}

impl Gathered {
    /// Adds a point. The points of one series have to be added in their order.
    pub fn add(&mut self, outgoing: &Outgoing, point: &Point) {
        let batch = &outgoing.chunk().batch;
        let this = Some((std::ptr::from_ref(outgoing).addr(), point.series));
        if self.last != this {
            self.last = this;
            let series = batch.series.get(point.series as usize);
            let metadata = series.and_then(|series| batch.metadata.get(series.metadata as usize));
            self.encoder.push_series(outgoing.labels(point.series, &mut self.buffer), metadata);
        }
        let is_encoded = self.encoder.push_point(batch, point).is_ok();
        if model::invariant!(is_encoded, "remote write 2.0 can carry every kind of point") {
            self.kinds.count(&point.value);
        }
    }

    /// Returns the number of points.
    pub fn kinds(&self) -> Kinds {
        self.kinds
    }

    /// Returns the entry's bytes.
    pub fn finish(mut self, time_ms: i64, words: &str) -> Vec<u8> {
        let plain = self.encoder.finish();
        let mut compressor = Compressor::new();
        let body = compressor.encode(Encoding::Snappy, plain);
        // Snappy fails only above 4 GiB. The header would still count the points as lost.
        model::invariant!(body.is_ok(), "an entry of the side queue can be compressed", bytes = plain.len());
        let body = body.unwrap_or_default();
        let mut bytes = Vec::with_capacity(HEADER_BYTES + words.len() + body.len());
        bytes.extend_from_slice(MAGIC);
        bytes.extend_from_slice(&VERSION.to_le_bytes());
        bytes.extend_from_slice(&[0; 4]);
        bytes.extend_from_slice(&time_ms.to_le_bytes());
        for number in [self.kinds.samples, self.kinds.histograms, self.kinds.exemplars, words.len() as u64] {
            bytes.extend_from_slice(&(number as u32).to_le_bytes());
        }
        bytes.extend_from_slice(words.as_bytes());
        bytes.extend_from_slice(body);
        let crc = crc32c::crc32c(bytes.get(16..).unwrap_or_default());
        if let Some(slot) = bytes.get_mut(12..16) {
            slot.copy_from_slice(&crc.to_le_bytes());
        }
        bytes
    }
}

#[derive(Debug)]
pub struct Entry {
    /// The receiver's words.
    pub words: String,
    /// Number of parked points.
    pub kinds: Kinds,
    /// The points that could be read: all, unless their labels are invalid.
    pub batch: Batch,
}

/// Reads an entry. `None` if it is damaged.
pub fn read(bytes: &[u8]) -> Option<Entry> {
    let header = Header::read(bytes)?;
    if crc32c::crc32c(bytes.get(16..)?) != header.crc {
        return None;
    }
    let rest = bytes.get(HEADER_BYTES..)?;
    let (words, body) = rest.split_at_checked(header.words)?;
    let mut plain = Vec::new();
    Decompressor::new().decode(Encoding::Snappy, body, PLAIN_MAX, &mut plain).ok()?;
    let options = DecodeOptions { limits: Limits::MAX, ..DecodeOptions::default() };
    let batch = decode(Protocol::V2, &plain, &options).ok()?.batch;
    Some(Entry { words: String::from_utf8_lossy(words).into_owned(), kinds: header.kinds, batch })
}

struct Header {
    crc: u32,
    kinds: Kinds,
    words: usize,
}

impl Header {
    fn read(bytes: &[u8]) -> Option<Header> {
        let number = |at: usize| Some(u32::from_le_bytes(*bytes.get(at..)?.first_chunk()?));
        if bytes.get(..8)? != MAGIC || number(8)? != VERSION {
            return None;
        }
        let kinds = Kinds {
            samples: u64::from(number(24)?),
            histograms: u64::from(number(28)?),
            exemplars: u64::from(number(32)?),
        };
        Some(Header { crc: number(12)?, kinds, words: number(36)? as usize })
    }
}

/// The files of one destination's entries. The value has no state, so it may be copied.
#[derive(Debug, Clone)]
pub struct Files {
    folder: PathBuf,
    /// The beginning of the file names.
    prefix: String,
}

impl Files {
    /// The entries in `folder` of the destination whose files are called `file`.
    pub fn new(folder: &Path, file: &str) -> Self {
        Files { folder: folder.to_path_buf(), prefix: format!("{file}.aside-") }
    }

    fn path(&self, id: u64) -> PathBuf {
        self.folder.join(format!("{}{id:016x}", self.prefix))
    }

    pub fn write(&self, fs: &dyn Filesystem, id: u64, bytes: &[u8]) -> io::Result<()> {
        make_folder(fs, &self.folder)?;
        let unfinished = self.folder.join(format!("{}new", self.prefix));
        small_file::write(fs, &self.path(id), &unfinished, bytes)
    }

    /// Reads the bytes of an entry.
    pub fn load(&self, fs: &dyn Filesystem, id: u64) -> io::Result<Vec<u8>> {
        small_file::read(fs, &self.path(id), BYTES_MAX)?.ok_or_else(|| io::ErrorKind::NotFound.into())
    }

    pub fn remove(&self, fs: &dyn Filesystem, id: u64) -> io::Result<()> {
        fs.remove_file(&self.path(id))
    }

    /// Renames an entry that can't be read.
    pub fn set_out_of_the_way(&self, fs: &dyn Filesystem, id: u64) -> io::Result<()> {
        let path = self.path(id);
        fs.rename(&path, &with_ending(&path, ".damaged"))
    }

    /// Lists the entries.
    pub fn list(&self, fs: &dyn Filesystem) -> io::Result<Shelf> {
        let mut shelf = Shelf::default();
        if patiently(|| fs.metadata(&self.folder))?.is_none() {
            return Ok(shelf);
        }
        for name in patiently(|| fs.read_dir(&self.folder))? {
            let name = name.to_string_lossy();
            let Some(digits) = name.strip_prefix(&self.prefix) else { continue };
            let digits = digits.strip_suffix(".damaged").unwrap_or(digits);
            let Ok(id) = u64::from_str_radix(digits, 16) else { continue };
            // Numbers are never used again, so that no file is overwritten.
            shelf.next = shelf.next.max(id.saturating_add(1));
            if name.ends_with(".damaged") {
                continue;
            }
            let look = || {
                let file = fs.open(&self.path(id), false)?;
                let mut header = [0; HEADER_BYTES];
                file.read_full_at(&mut header, 0)?;
                let kinds = Header::read(&header).map(|header| header.kinds).unwrap_or_default();
                Ok((file.len()?, kinds))
            };
            // An entry that can't be read now is tried again in its turn.
            let (bytes, kinds) = patiently(look).unwrap_or_else(|error| {
                let path = self.path(id);
                tracing::warn!(path = %path.display(), %error, "an entry of the side queue can't be read");
                (0, Kinds::default())
            });
            shelf.put(id, bytes, kinds);
        }
        Ok(shelf)
    }

    /// Lists the entries. After an error the list is empty, and the entries on disk wait for the next start.
    pub fn list_or_leave(&self, fs: &dyn Filesystem, now_ms: i64) -> Shelf {
        self.list(fs).unwrap_or_else(|error| {
            tracing::error!(
                folder = %self.folder.display(), %error,
                "what was put aside can't be listed: it stays where it is until the next start"
            );
            // Numbers that no entry on disk has: theirs count up from 0, or from an earlier time.
            Shelf { next: now_ms.unsigned_abs(), ..Shelf::default() }
        })
    }
}

/// The index of the entries, without their points.
#[derive(Debug, Default)]
pub struct Shelf {
    entries: BTreeMap<u64, (u64, Kinds)>,
    bytes: u64,
    next: u64,
}

impl Shelf {
    /// Adds an entry. Returns its number.
    pub fn add(&mut self, bytes: u64, kinds: Kinds) -> u64 {
        let id = self.next;
        self.next += 1;
        self.put(id, bytes, kinds);
        id
    }

    fn put(&mut self, id: u64, bytes: u64, kinds: Kinds) {
        self.entries.insert(id, (bytes, kinds));
        self.bytes += bytes;
    }

    pub fn remove(&mut self, id: u64) {
        if let Some((bytes, _)) = self.entries.remove(&id) {
            self.bytes -= bytes;
        }
    }

    /// Returns the oldest entry except `keep`, if the entries are over a limit.
    pub fn one_too_many(&self, keep: Option<u64>) -> Option<u64> {
        let too_many = self.entries.len() > ENTRIES_MAX || self.bytes > BYTES_MAX;
        self.entries.keys().copied().find(|id| too_many && Some(*id) != keep)
    }

    /// Returns the first entry with this number or a higher one.
    pub fn next_from(&self, id: u64) -> Option<u64> {
        self.entries.range(id..).next().map(|(id, _)| *id)
    }

    pub fn is_empty(&self) -> bool {
        self.entries.is_empty()
    }

    pub fn bytes(&self) -> u64 {
        self.bytes
    }

    /// Returns the number of points of all entries, as counted when they were parked.
    pub fn points(&self) -> u64 {
        self.entries.values().map(|(_, kinds)| kinds.total()).sum()
    }
}

#[cfg(test)]
mod tests;
