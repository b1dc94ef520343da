//! Saved positions: how far each lane of a destination is done, on disk. `layout.rs` has the bytes of the file.
//!
//! Positions are written with each answer ([`PositionFile::write`]), which a kill cannot undo, and synced once
//! in a while ([`PositionFile::begin_sync`]), for power cuts. So a kill costs a repetition of what was under
//! way, and a power cut one of what was settled since the last sync.
//!
//! The fingerprint stands for what decides lanes and outgoing labels. Where it is another one, positions
//! of lanes mean nothing any more, and all lanes go back to the lowest: repeat, never skip.
//!
//! The owner is whom the positions were saved for, so that a destination is known again under another name
//! or URL: see [`crate::disk::claims`].

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

/// Positions of all lanes.
pub type Lanes = [Position; LANES];

/// What was found at a start.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Found {
    /// No file: the destination is new.
    New,
    /// Every lane's position.
    Intact,
    /// The fingerprint is another one: all lanes went back to the lowest position.
    OtherFingerprint,
    /// This many lanes could not be read and begin at the oldest position.
    Damaged(usize),
}

/// What a file of positions says.
#[derive(Debug, Clone)]
pub struct Content {
    /// Whose they are.
    pub owner: Owner,
    /// When the configuration stopped having the owner, in milliseconds since 1970.
    pub removed_ms: Option<i64>,
    /// Where each lane is; `None` for one that cannot be read.
    pub lanes: [Option<Position>; LANES],
}

impl Content {
    /// The lowest position; the beginning of the log where a lane cannot be read.
    pub fn lowest(&self) -> Position {
        self.lanes.iter().map(|lane| lane.unwrap_or_default()).min().unwrap_or_default()
    }
}

/// Reads a file without opening it for writing; nothing where it is none of positions.
pub fn read(fs: &dyn Filesystem, path: &Path) -> io::Result<Option<Content>> {
    let bytes = read_bytes(fs, path)?;
    let lanes = read_lanes(&bytes).map(|lane| lane.map(|lane| lane.done));
    let removed_ms = read_removed(&bytes);
    Ok(read_header(&bytes).map(|(_, owner)| Content { owner, removed_ms, lanes }))
}

/// What [`mark_removed`] noted, also in a file of which nothing else can be made out.
pub fn removed_ms(fs: &dyn Filesystem, path: &Path) -> io::Result<Option<i64>> {
    Ok(read_removed(&read_bytes(fs, path)?))
}

/// Notes in the file that the configuration has its owner no more. In place, so it needs no room on disk.
pub fn mark_removed(fs: &dyn Filesystem, path: &Path, now_ms: i64) -> io::Result<()> {
    let mut mark = now_ms.to_le_bytes().to_vec();
    mark.extend_from_slice(&crc32c::crc32c(&mark).to_le_bytes());
    let file = fs.open(path, true)?;
    file.write_all_at(&mark, REMOVED_AT)?;
    file.sync_data()
}

/// How many bytes of the log come after a position.
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

/// An open file of positions.
#[derive(Debug)]
pub struct PositionFile {
    file: Arc<dyn File>,
    sequence: u64,
    only_in_memory: Kinds,
    buffer: Vec<u8>,
    /// The area that is written to.
    open: usize,
    /// The area that was synced last.
    durable: usize,
}

/// A sync under way: see [`PositionFile::begin_sync`].
#[derive(Debug)]
pub struct Sync {
    file: Arc<dyn File>,
    area: usize,
}

impl Sync {
    /// Waits for the disk. [`PositionFile::end_sync`] has to be told of a success.
    pub fn wait(&self) -> io::Result<()> {
        self.file.sync_data()
    }
}

impl PositionFile {
    /// Opens the file, or makes it; from now on it is `owner`'s. `new` is where a new destination begins,
    /// `oldest` where damage leads to.
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

    /// The same; a damaged file is made anew after `keep` was called.
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
        // Where that can't be found out, it may be there.
        if matches!(patiently(|| fs.metadata(path)), Ok(None)) {
            let settled = [new; LANES].into();
            return Ok((Self::make(fs, path, &header, &settled)?, settled, Found::New));
        }
        let bytes = match read_bytes(fs, path) {
            // Made anew beside it, as one of rubbish is. What is not the disk's is for people to mend.
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
                // What is found may not be durable yet, and not be of one area: all goes into the oldest.
                let age = |area: &usize| newest_of(&bytes, *area);
                let open = (0..SLOTS.len()).min_by_key(age).unwrap_or(0);
                let durable = (0..SLOTS.len()).max_by_key(age).unwrap_or(1);
                let file: Arc<dyn File> = fs.open(path, true)?.into();
                // An earlier process may have written them and not synced them.
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
        // The new file says none.
        made.only_in_memory = only_in_memory;
        Ok((made, settled, found))
    }

    /// Empties an area whose sync has failed. Otherwise it would be the newest one at the next start, which would
    /// write to another one, although that may be the only one that is durable.
    fn empty(&self, area: usize) {
        let at = SLOTS.get(area).copied().unwrap_or(SLOTS[0]);
        if let Err(error) = self.file.write_all_at(&vec![0; AREA_BYTES as usize], at) {
            tracing::error!(%error, "positions that could not be saved can't be removed");
        }
    }

    /// Makes the file anew, beside the old one, and puts it in its place.
    fn make(fs: &dyn Filesystem, path: &Path, header: &[u8], settled: &Settled) -> io::Result<Self> {
        small_file::create(fs, path, &with_ending(path, UNFINISHED), |file| {
            file.allocate(FILE_BYTES)?;
            file.write_all_at(header, 0)?;
            let file = file.into();
            let only_in_memory = Kinds::default();
            let mut made =
                PositionFile { file, sequence: 0, only_in_memory, buffer: Vec::new(), open: 0, durable: 2 };
            // So that each lane has two intact slots from the beginning.
            made.save(settled)?;
            made.save(settled)?;
            Ok(made)
        })
    }

    /// How many samples were only in memory when this was last written, see [`PositionFile::write_only_in_memory`]:
    /// by an earlier process, until this one writes it.
    pub fn only_in_memory(&self) -> Kinds {
        self.only_in_memory
    }

    /// Writes how many undelivered samples are only in memory, because their segment was dropped: if the process is
    /// killed, the next one counts them as lost. Does not wait for the disk; the next sync makes it durable.
    pub fn write_only_in_memory(&mut self, kinds: Kinds) -> io::Result<()> {
        self.file.write_all_at(&put_only_in_memory(kinds), ONLY_IN_MEMORY)?;
        self.only_in_memory = kinds;
        Ok(())
    }

    /// Writes all positions. They outlive this process from now on, and a power cut once they are synced.
    /// Does not wait for the disk.
    pub fn write(&mut self, settled: &Settled) -> io::Result<()> {
        self.sequence = (self.sequence + 1).min(SEQUENCE_MAX);
        put_area(&mut self.buffer, self.sequence, settled);
        self.file.write_all_at(&self.buffer, SLOTS.get(self.open).copied().unwrap_or(SLOTS[0]))
    }

    /// Begins to make what was written durable; only one at a time. What is written meanwhile goes elsewhere,
    /// and is not part of it. The waiting may be done on another thread.
    pub fn begin_sync(&mut self) -> Sync {
        let area = self.open;
        // The third one. After a sync that failed that is the one it was for.
        self.open = (0..SLOTS.len()).find(|other| *other != area && *other != self.durable).unwrap_or(area);
        Sync { file: self.file.clone(), area }
    }

    /// A sync has succeeded.
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
