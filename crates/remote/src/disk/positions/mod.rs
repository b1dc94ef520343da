//! Saved positions: up to where each lane of a destination is settled, on disk. `layout.rs` has the bytes of
//! the file.
//!
//! Positions are written with each answer ([`PositionFile::write`]), so that they survive a kill. They are
//! synced once in a while ([`PositionFile::begin_sync`]), so that they survive a power cut. After a kill, the
//! requests under way are sent again. After a power cut, everything settled since the last sync is sent
//! again.
//!
//! The fingerprint is a hash of everything that decides lanes and outgoing labels. If it has changed, the
//! positions of single lanes mean nothing any more, and all lanes go back to the lowest one: repeat, never
//! skip.
//!
//! The owner is the destination for which the positions were saved, so that it is recognised under another
//! name or URL: see [`crate::disk::claims`].

mod layout;
mod settled;

pub use self::settled::{Ahead, Settled};

use self::layout::{
    AREA_BYTES, FILE_BYTES, ONLY_IN_MEMORY, REMOVED_AT, SEQUENCE_MAX, SLOTS, header, newest_of, put_area,
    put_only_in_memory, read_header, read_lanes, read_only_in_memory, read_removed,
};
use crate::config::identity::Owner;
use crate::queue::lanes::LANES;
use model::Kinds;
use std::io;
use std::path::Path;
use std::sync::Arc;
use wal::fs::patiently;
use wal::small_file::{self, UNFINISHED, make_folder, with_ending};
use wal::{File, Filesystem, Position};

pub type Lanes = [Position; LANES];

/// The result of opening a file of positions.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Found {
    /// There was no file: the destination is new.
    New,
    /// The position of every lane was read.
    Intact,
    /// The fingerprint has changed: all lanes went back to the lowest position.
    OtherFingerprint,
    /// This many lanes could not be read and begin at the oldest position.
    Damaged(usize),
}

/// The content of a file of positions.
#[derive(Debug, Clone)]
pub struct Content {
    pub owner: Owner,
    /// When the owner was removed from the configuration, in milliseconds since 1970.
    pub removed_ms: Option<i64>,
    /// `None` for a lane that can't be read.
    pub lanes: [Option<Position>; LANES],
}

impl Content {
    /// Returns the lowest position. It is the beginning of the log if a lane can't be read.
    pub fn lowest(&self) -> Position {
        self.lanes.iter().map(|lane| lane.unwrap_or_default()).min().unwrap_or_default()
    }
}

/// Reads a file without opening it for writing. `None` if the file has no positions.
pub fn read(fs: &dyn Filesystem, path: &Path) -> io::Result<Option<Content>> {
    let bytes = read_bytes(fs, path)?;
    let lanes = read_lanes(&bytes).map(|lane| lane.map(|lane| lane.done));
    let removed_ms = read_removed(&bytes);
    Ok(read_header(&bytes).map(|(_, owner)| Content { owner, removed_ms, lanes }))
}

/// Returns the time that [`mark_removed`] wrote. This also works if the rest of the file is damaged.
pub fn removed_ms(fs: &dyn Filesystem, path: &Path) -> io::Result<Option<i64>> {
    Ok(read_removed(&read_bytes(fs, path)?))
}

/// Notes in the file that its owner was removed from the configuration. Written in place, so it needs no
/// space on disk.
pub fn mark_removed(fs: &dyn Filesystem, path: &Path, now_ms: i64) -> io::Result<()> {
    let mut mark = now_ms.to_le_bytes().to_vec();
    mark.extend_from_slice(&crc32c::crc32c(&mark).to_le_bytes());
    let file = fs.open(path, true)?;
    file.write_all_at(&mark, REMOVED_AT)?;
    file.sync_data()
}

/// Returns the bytes of the log after a position.
pub fn bytes_after(segments: &[wal::dir::Segment], position: Position) -> u64 {
    let after = segments.iter().map(|segment| match segment.number.cmp(&position.segment) {
        std::cmp::Ordering::Less => 0,
        std::cmp::Ordering::Equal => segment.bytes.saturating_sub(position.offset),
        std::cmp::Ordering::Greater => segment.bytes,
    });
    after.sum()
}

fn read_bytes(fs: &dyn Filesystem, path: &Path) -> io::Result<Vec<u8>> {
    small_file::read(fs, path, FILE_BYTES)?.ok_or_else(|| io::ErrorKind::NotFound.into())
}

#[derive(Debug)]
pub struct PositionFile {
    file: Arc<dyn File>,
    sequence: u64,
    only_in_memory: Kinds,
    buffer: Vec<u8>,
    /// The area for the next write.
    open: usize,
    /// The area that was synced last.
    durable: usize,
}

/// A sync under way, see [`PositionFile::begin_sync`].
#[derive(Debug)]
pub struct Sync {
    file: Arc<dyn File>,
    area: usize,
}

impl Sync {
    /// Blocks on the disk. After a success [`PositionFile::end_sync`] has to be called.
    pub fn wait(&self) -> io::Result<()> {
        self.file.sync_data()
    }
}

impl PositionFile {
    /// Opens or creates the file, and sets its owner. A new destination begins at `new`. Damaged lanes begin
    /// at `oldest`.
    pub fn open(
        fs: &dyn Filesystem,
        path: &Path,
        owner: &Owner,
        fingerprint: u64,
        new: Position,
        oldest: Position,
    ) -> io::Result<(PositionFile, Settled, Found)> {
        Self::open_keeping(fs, path, owner, fingerprint, new, oldest, || {})
    }

    /// The same. Before a damaged file is replaced, `keep` is called.
    pub fn open_keeping(
        fs: &dyn Filesystem,
        path: &Path,
        owner: &Owner,
        fingerprint: u64,
        new: Position,
        oldest: Position,
        keep: impl FnOnce(),
    ) -> io::Result<(PositionFile, Settled, Found)> {
        if let Some(dir) = path.parent() {
            make_folder(fs, dir)?;
        }
        let header = header(owner, fingerprint);
        // After an error the file may exist.
        if matches!(patiently(|| fs.metadata(path)), Ok(None)) {
            let settled = [new; LANES].into();
            return Ok((Self::make(fs, path, &header, &settled)?, settled, Found::New));
        }
        let bytes = match read_bytes(fs, path) {
            // A file that can't be read is replaced, like a damaged one. An error that is not the disk's is
            // for people to fix.
            Err(error) if !storage::is_elsewhere(&error) => {
                tracing::warn!(path = %path.display(), %error, "saved positions can't be read");
                Vec::new()
            }
            read => read?,
        };
        let lanes = read_lanes(&bytes);
        let mut settled = Settled::of(&lanes, oldest);
        let sequence = lanes.iter().flatten().map(|lane| lane.sequence).max().unwrap_or(0);
        let damaged = lanes.iter().filter(|lane| lane.is_none()).count();
        let before = read_header(&bytes);
        let only_in_memory = before.as_ref().and(read_only_in_memory(&bytes)).unwrap_or_default();
        let same = before.as_ref().is_some_and(|(_, before)| before == owner);
        let found = match before {
            Some((before, _)) if before == fingerprint && damaged == 0 => Found::Intact,
            Some((before, _)) if before == fingerprint => Found::Damaged(damaged),
            Some(_) if damaged == 0 => Found::OtherFingerprint,
            _ => Found::Damaged(LANES),
        };
        if matches!(found, Found::Damaged(_)) {
            keep();
        }
        match found {
            Found::Intact if same && read_removed(&bytes).is_none() => {
                // The slots that were read may not be durable, and may be of several areas. So all positions
                // are written to the oldest area.
                let age = |area: &usize| newest_of(&bytes, *area);
                let open = (0..SLOTS.len()).min_by_key(age).unwrap_or(0);
                let durable = (0..SLOTS.len()).max_by_key(age).unwrap_or(1);
                let file: Arc<dyn File> = fs.open(path, true)?.into();
                // An earlier process may have written the positions without syncing them.
                file.sync_data()?;
                let mut opened =
                    PositionFile { file, sequence, only_in_memory, buffer: Vec::new(), open, durable };
                opened.save(&settled).inspect_err(|_| opened.empty(open))?;
                return Ok((opened, settled, found));
            }
            Found::Damaged(LANES) => settled = [oldest; LANES].into(),
            Found::OtherFingerprint => settled = settled.lowest(),
            Found::Intact | Found::Damaged(_) | Found::New => {}
        }
        let mut made = Self::make(fs, path, &header, &settled)?;
        // The new file has no number.
        made.only_in_memory = only_in_memory;
        Ok((made, settled, found))
    }

    /// Empties an area whose sync has failed. Otherwise it would be the newest one at the next start. That
    /// start would write to another area, which may be the only durable one.
    fn empty(&self, area: usize) {
        let at = SLOTS.get(area).copied().unwrap_or(SLOTS[0]);
        if let Err(error) = self.file.write_all_at(&vec![0; AREA_BYTES as usize], at) {
            tracing::error!(%error, "positions that could not be saved can't be removed");
        }
    }

    /// Makes a new file beside the old one, and replaces the old one.
    fn make(fs: &dyn Filesystem, path: &Path, header: &[u8], settled: &Settled) -> io::Result<Self> {
        small_file::create(fs, path, &with_ending(path, UNFINISHED), |file| {
            file.allocate(FILE_BYTES)?;
            file.write_all_at(header, 0)?;
            let file = file.into();
            let only_in_memory = Kinds::default();
            let mut made =
                PositionFile { file, sequence: 0, only_in_memory, buffer: Vec::new(), open: 0, durable: 2 };
            // Twice, so that each lane has two intact slots from the beginning.
            made.save(settled)?;
            made.save(settled)?;
            Ok(made)
        })
    }

    /// Returns how many samples were only in memory when this was last written, see
    /// [`PositionFile::write_only_in_memory`]. Until this process writes it, the number is that of an earlier
    /// process.
    pub fn only_in_memory(&self) -> Kinds {
        self.only_in_memory
    }

    /// Writes how many undelivered samples are only in memory, because their segment was dropped. If the
    /// process is killed, the next one counts them as lost. Does not wait for the disk; the next sync makes
    /// it durable.
    pub fn write_only_in_memory(&mut self, kinds: Kinds) -> io::Result<()> {
        self.file.write_all_at(&put_only_in_memory(kinds), ONLY_IN_MEMORY)?;
        self.only_in_memory = kinds;
        Ok(())
    }

    /// Writes all positions. They survive a kill from now on, and a power cut once they are synced. Does not
    /// wait for the disk.
    pub fn write(&mut self, settled: &Settled) -> io::Result<()> {
        self.sequence = (self.sequence + 1).min(SEQUENCE_MAX);
        put_area(&mut self.buffer, self.sequence, settled);
        self.file.write_all_at(&self.buffer, SLOTS.get(self.open).copied().unwrap_or(SLOTS[0]))
    }

    /// Begins to make the written positions durable. Only one sync may be under way. Later writes go to
    /// another area and are not part of it. Another thread may wait for it.
    pub fn begin_sync(&mut self) -> Sync {
        let area = self.open;
        // The third area. After a failed sync that is the area of that sync.
        self.open = (0..SLOTS.len()).find(|other| *other != area && *other != self.durable).unwrap_or(area);
        Sync { file: self.file.clone(), area }
    }

    /// Notes that a sync has succeeded.
    pub fn end_sync(&mut self, done: &Sync) {
        self.durable = done.area;
    }

    /// Writes all positions and makes them durable. Waits for the disk.
    pub fn save(&mut self, settled: &Settled) -> io::Result<()> {
        self.write(settled)?;
        let sync = self.begin_sync();
        sync.wait()?;
        self.end_sync(&sync);
        Ok(())
    }
}

#[cfg(test)]
mod tests;
