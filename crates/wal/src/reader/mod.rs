//! The reader of one segment. It continues after damage, and never returns a record that was not written.
//!
//! The checksums cover the data of a fragment but not its type. A flipped bit in the type could make a part
//! of a record look like a complete record. So the reader also checks the layout: a first or middle fragment
//! fills its page, a middle or last one starts a page, and all fragments of a record have the same flags. If
//! the fragments of a record could be the result of a flipped type, its contents must also decode to their
//! last byte.
//!
//! After a damaged fragment, the reader continues at the next fragment if the damaged one's length leads to a
//! fragment with a correct checksum. Otherwise it continues at the next page. Later parts of a record whose
//! beginning is lost belong to the damage.

use crate::compression::{Compression, Decompressor};
use crate::error::{Damage, DamageKind, WalError};
use crate::fs::{File, Filesystem, Patience};
use crate::page::{FragmentType, HEADER_BYTES, Header, PAGE_BYTES, next_start};
use crate::record::{self, RecordType};
use crate::{MAX_RECORD_BYTES, dir};
use std::io;
use std::path::{Path, PathBuf};

/// A record in a segment.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct RawRecord<'a> {
    /// First byte of the record in the segment.
    pub start: u64,
    /// Where the next record can start.
    pub end: u64,
    pub kind: RecordType,
    /// The decompressed bytes, starting with the type byte.
    pub bytes: &'a [u8],
}

/// Reads the records of one segment in order. It holds one page and one record in memory.
#[derive(Debug)]
pub struct SegmentReader {
    file: Box<dyn File>,
    path: PathBuf,
    segment: u64,
    limit: u64,
    /// The current page: `page_start` is its offset in the file, `filled` the number of bytes in memory, and
    /// `place` the number of bytes consumed.
    page: Box<[u8]>,
    page_start: u64,
    filled: usize,
    place: usize,
    /// The record of which only the first fragments are read so far.
    partial: Option<Partial>,
    /// Data of that record, or of the last one.
    data: Vec<u8>,
    decompressed: Vec<u8>,
    decompressor: Decompressor,
    /// Start of a series of empty pages.
    empty_pages: Option<u64>,
    /// A record that was found, but the disk could not read the page that decides whether it is complete.
    undecided: Option<Found>,
    given_up: Option<u64>,
    damage: Vec<Damage>,
}

#[derive(Debug, Clone, Copy)]
struct Partial {
    start: u64,
    compression: Compression,
    /// True if the fragments could be the result of a flipped type.
    doubtful: bool,
}

/// A complete record.
#[derive(Debug, Clone, Copy)]
struct Found {
    start: u64,
    end: u64,
    compression: Compression,
    doubtful: bool,
    place: Place,
}

/// Where the stored bytes of a record are: in the page (from, to), or in `data`.
#[derive(Debug, Clone, Copy)]
enum Place {
    Page(usize, usize),
    Data,
}

/// A complete record, its decompressed length, and its type.
type Whole = (Found, usize, RecordType);

enum Step {
    Found(Found),
    Again,
    End,
}

impl SegmentReader {
    /// Largest number of separate damages that are kept. Later damage extends the last one.
    pub const MAX_DAMAGE: usize = 4096;

    /// Opens segment number `segment` of the log in `dir`. Reading starts at `from`, which is 0 or the start
    /// of a record.
    pub fn open(fs: &dyn Filesystem, dir: &Path, segment: u64, from: u64) -> Result<Self, WalError> {
        let path = dir::segment_path(dir, segment);
        let file = fs.open(&path, false).map_err(|source| match source.kind() {
            io::ErrorKind::NotFound => WalError::NoSegment { dir: dir.to_path_buf(), segment },
            _ => WalError::Io { what: "open", path: path.clone(), source },
        })?;
        Ok(Self::new(file, path, segment, from))
    }

    pub(crate) fn new(file: Box<dyn File>, path: PathBuf, segment: u64, from: u64) -> Self {
        let place = (from % PAGE_BYTES as u64) as usize;
        SegmentReader {
            file,
            path,
            segment,
            limit: u64::MAX,
            page: vec![0; PAGE_BYTES].into(),
            page_start: from - place as u64,
            filled: place,
            place,
            partial: None,
            data: Vec::new(),
            decompressed: Vec::new(),
            decompressor: Decompressor::new(),
            empty_pages: None,
            undecided: None,
            given_up: None,
            damage: Vec::new(),
        }
    }

    /// Sets where reading ends: at the durable end of a segment that is still written, or at the end of a
    /// closed one. The limit must be the end of a record. It can be raised later, and reading continues.
    pub fn set_limit(&mut self, limit: u64) {
        self.limit = limit;
    }

    pub fn segment(&self) -> u64 {
        self.segment
    }

    /// The earliest byte at which the next record can start.
    pub fn offset(&self) -> u64 {
        next_start(self.page_start + self.place as u64)
    }

    /// The damage found so far, in order. Damages that touch each other are one.
    pub fn damage(&self) -> &[Damage] {
        &self.damage
    }

    /// Returns [`SegmentReader::damage`] and clears it.
    pub fn take_damage(&mut self) -> Vec<Damage> {
        std::mem::take(&mut self.damage)
    }

    /// Reads the next complete record. Returns `None` at the limit. An error is an error of the disk. After
    /// an error, another call retries the read, and [`SegmentReader::skip_page`] gives up the page.
    #[allow(clippy::should_implement_trait)] // The record borrows from the reader.
    pub fn next(&mut self) -> Result<Option<RawRecord<'_>>, WalError> {
        let found = self.find()?;
        Ok(found.map(|whole| self.record(whole)))
    }

    /// Reads the next complete record. A page that the disk cannot read in the tries of [`Patience::AT_ONCE`]
    /// is given up. For readers that nothing waits for.
    pub fn next_readable(&mut self) -> Option<RawRecord<'_>> {
        self.next_with(Patience::AT_ONCE, |_| {})
    }

    /// Reads the next complete record. A page that the disk cannot read in the tries of `patience` is given
    /// up. `failed` is called before each retry.
    pub fn next_with(
        &mut self,
        patience: Patience,
        mut failed: impl FnMut(&WalError),
    ) -> Option<RawRecord<'_>> {
        let mut tries = 0;
        let found = loop {
            match self.find() {
                Ok(found) => break found,
                Err(error) => {
                    tries += 1;
                    if patience.is_last(tries) {
                        self.skip_page();
                        tries = 0;
                    } else {
                        failed(&error);
                        patience.pause_after(tries);
                    }
                }
            }
        };
        found.map(|whole| self.record(whole))
    }

    fn record(&self, (found, length, kind): Whole) -> RawRecord<'_> {
        RawRecord { start: found.start, end: found.end, kind, bytes: self.bytes(found, length) }
    }

    /// Finds the next complete record.
    fn find(&mut self) -> Result<Option<Whole>, WalError> {
        loop {
            let found = match self.undecided.take() {
                Some(found) => found,
                None => match self.step()? {
                    Step::Found(found) => found,
                    Step::Again => continue,
                    Step::End => return Ok(None),
                },
            };
            let Some(length) = self.decompress(found) else { continue };
            match self.accept(found, length) {
                Ok(Some(kind)) => return Ok(Some((found, length, kind))),
                Ok(None) => {}
                Err(error) => {
                    self.undecided = Some(found);
                    return Err(error);
                }
            }
        }
    }

    /// Where the page starts that the disk could not read. Valid after an error of [`SegmentReader::next`].
    pub fn unreadable_page(&self) -> u64 {
        self.undecided.map_or(self.page_start, |found| found.end)
    }

    /// Where the last page starts that was given up.
    pub fn given_up(&self) -> Option<u64> {
        self.given_up
    }

    /// Gives up the rest of the page that the disk cannot read.
    pub fn skip_page(&mut self) {
        if let Some(found) = &mut self.undecided {
            // The record may be complete, and the unreadable page cannot tell. So the record is accepted. The
            // page is read again, as the next one.
            found.doubtful = false;
            return;
        }
        self.given_up = Some(self.page_start);
        let from = self.page_start + self.place as u64;
        let to = (self.page_start + PAGE_BYTES as u64).min(self.limit);
        self.report(from, to, DamageKind::Unreadable);
        self.next_page();
    }

    /// The bytes of a record after decompression to `length` bytes.
    fn bytes(&self, found: Found, length: usize) -> &[u8] {
        let bytes = match (found.compression, found.place) {
            (Compression::None, Place::Page(from, to)) => self.page.get(from..to),
            (Compression::None, Place::Data) => self.data.get(..length),
            _ => self.decompressed.get(..length),
        };
        bytes.unwrap_or_default()
    }

    /// Decompresses a record if it is compressed. Returns its length.
    fn decompress(&mut self, found: Found) -> Option<usize> {
        let stored = match found.place {
            Place::Page(from, to) => self.page.get(from..to).unwrap_or_default(),
            Place::Data => &self.data,
        };
        if found.compression == Compression::None {
            return Some(stored.len());
        }
        let length = self.decompressor.decompress(stored, found.compression, &mut self.decompressed);
        if length.is_none() {
            self.report(found.start, found.end, DamageKind::Decompress);
        }
        length
    }

    /// Returns the type of a record, or `None` if the record must not be returned to the caller.
    fn accept(&mut self, found: Found, length: usize) -> Result<Option<RecordType>, WalError> {
        let bytes = self.bytes(found, length);
        // Prometheus can write a record without any bytes. It has no meaning.
        let Some(&first) = bytes.first() else { return Ok(None) };
        let damage = match RecordType::from_number(first) {
            None => DamageKind::RecordType(first),
            Some(_) if found.doubtful && record::check(bytes).is_err() => DamageKind::Fragments,
            Some(_) if found.doubtful && self.goes_on(found)? => DamageKind::Fragments,
            Some(kind) => return Ok(Some(kind)),
        };
        self.report(found.start, found.end, damage);
        Ok(None)
    }

    /// Returns true if the page after a record begins with a fragment that can only be a later part of the
    /// same record. Then the type of the record's last fragment is wrong, and the record only looks complete.
    /// Compressed records are not checked, because a part of one does not decompress.
    fn goes_on(&mut self, found: Found) -> Result<bool, WalError> {
        if found.compression != Compression::None || !found.end.is_multiple_of(PAGE_BYTES as u64) {
            return Ok(false);
        }
        let page = &mut self.decompressed; // Not in use: the record is not compressed.
        page.resize(page.len().max(PAGE_BYTES), 0);
        let length = self.limit.saturating_sub(found.end).min(PAGE_BYTES as u64) as usize;
        let Some(buf) = page.get_mut(..length) else { return Ok(false) };
        let length = self.file.read_full_at(buf, found.end).map_err(WalError::io("read", &self.path))?;
        let next = fragment_at(page.get(..length).unwrap_or_default());
        let later = |header: &Header| matches!(header.part, FragmentType::Middle | FragmentType::Last);
        Ok(next.is_some_and(|(header, data)| later(&header) && record::check(data).is_err()))
    }

    /// Reads one fragment, or handles one reason why there is none.
    fn step(&mut self) -> Result<Step, WalError> {
        let here = self.page_start + self.place as u64;
        if self.place >= PAGE_BYTES {
            self.next_page();
            return Ok(Step::Again);
        }
        if !self.has_fragment() {
            self.fill()?;
        }
        let rest = self.page.get(self.place..self.filled).unwrap_or_default();
        let page_ends = self.page_start + self.filled as u64;
        if rest.is_empty() {
            return Ok(self.at_end(here));
        }
        if PAGE_BYTES - self.place < HEADER_BYTES || rest.first() == Some(&0) {
            return Ok(self.padding(here));
        }
        let Some(header) = rest.first_chunk::<HEADER_BYTES>() else {
            return Ok(self.torn(here));
        };
        let header = match Header::parse(*header) {
            Ok(header) => header,
            Err(kind) => {
                self.report(here, page_ends, DamageKind::FragmentType(kind));
                self.place = PAGE_BYTES;
                return Ok(Step::Again);
            }
        };
        let from = self.place + HEADER_BYTES;
        let to = from + usize::from(header.length);
        if to > PAGE_BYTES {
            let (length, left) = (header.length, (PAGE_BYTES - from) as u32);
            self.report(here, page_ends, DamageKind::FragmentLength { length, left });
            self.place = PAGE_BYTES;
            return Ok(Step::Again);
        }
        let Some(data) = self.page.get(from..to.min(self.filled)).filter(|data| from + data.len() == to)
        else {
            return Ok(self.torn(here));
        };
        let is = crc32c::crc32c(data);
        if is != header.crc {
            let resume = if self.is_fragment(to) { to } else { PAGE_BYTES };
            let ends = self.page_start + resume.min(self.filled) as u64;
            self.report(here, ends, DamageKind::Checksum { is, should: header.crc });
            self.place = resume;
            return Ok(Step::Again);
        }
        if let Some(empty) = self.empty_pages.take() {
            self.report(empty, self.page_start, DamageKind::Zeros);
        }
        Ok(self.fragment(header, here, from, to))
    }

    /// Handles a fragment whose checksum is correct.
    fn fragment(&mut self, header: Header, here: u64, from: usize, to: usize) -> Step {
        let ends = self.page_start + to as u64;
        self.place = to;
        let begins = matches!(header.part, FragmentType::Full | FragmentType::First);
        let completes = matches!(header.part, FragmentType::Full | FragmentType::Last);
        // Only the type of a fragment that fills its page can be flipped without breaking the layout.
        let mut doubtful = completes && PAGE_BYTES - to < HEADER_BYTES;
        let fits = (completes || to == PAGE_BYTES) && (begins || from == HEADER_BYTES);
        let partial = self.partial.take();
        if !fits {
            self.report(partial.map_or(here, |partial| partial.start), ends, DamageKind::Fragments);
            return Step::Again;
        }
        let start = match (begins, partial) {
            (true, None) => here,
            (true, Some(lost)) => {
                self.report(lost.start, here, DamageKind::Fragments);
                doubtful = true;
                here
            }
            (false, Some(partial)) if partial.compression == header.compression => {
                doubtful |= partial.doubtful;
                partial.start
            }
            (false, lost) => {
                self.report(lost.map_or(here, |lost| lost.start), ends, DamageKind::Fragments);
                return Step::Again;
            }
        };
        let place = if header.part == FragmentType::Full {
            Place::Page(from, to)
        } else {
            if begins {
                self.data.clear();
                // Releases the memory of a large record.
                self.data.shrink_to(1 << 20);
            }
            if self.data.len() + (to - from) > MAX_RECORD_BYTES {
                self.report(start, ends, DamageKind::TooLarge);
                return Step::Again;
            }
            self.data.extend_from_slice(self.page.get(from..to).unwrap_or_default());
            Place::Data
        };
        let compression = header.compression;
        if completes {
            return Step::Found(Found { start, end: next_start(ends), compression, doubtful, place });
        }
        self.partial = Some(Partial { start, compression, doubtful });
        Step::Again
    }

    /// Returns true if the next fragment is in memory, so that nothing has to be read from the disk.
    fn has_fragment(&self) -> bool {
        let rest = self.page.get(self.place..self.filled).unwrap_or_default();
        match rest {
            [kind, l0, l1, ..] if *kind != 0 => {
                rest.len() >= HEADER_BYTES + usize::from(u16::from_be_bytes([*l0, *l1]))
            }
            _ => false,
        }
    }

    /// Reads the rest of the page, up to the limit.
    fn fill(&mut self) -> Result<(), WalError> {
        let want = self.limit.saturating_sub(self.page_start).min(PAGE_BYTES as u64) as usize;
        if self.filled < want {
            let buf = self.page.get_mut(self.filled..want).unwrap_or_default();
            let offset = self.page_start + self.filled as u64;
            self.filled += self.file.read_full_at(buf, offset).map_err(WalError::io("read", &self.path))?;
        }
        Ok(())
    }

    /// Handles the unused rest of a page: zeros up to the end of the page, or of the file.
    fn padding(&mut self, here: u64) -> Step {
        let rest = self.page.get(self.place..self.filled).unwrap_or_default();
        let clean = rest.iter().all(|&byte| byte == 0);
        let is_empty_page = self.place == 0;
        self.place = self.filled;
        let ends = self.page_start + self.filled as u64;
        if !clean {
            self.report(here, ends, DamageKind::Padding);
            self.place = PAGE_BYTES;
        } else if self.partial.is_some() && PAGE_BYTES - (here % PAGE_BYTES as u64) as usize >= HEADER_BYTES {
            self.report(here, ends, DamageKind::Zeros);
        } else if is_empty_page && self.filled == PAGE_BYTES && self.empty_pages.is_none() {
            self.empty_pages = Some(self.page_start);
        }
        Step::Again
    }

    /// Handles the limit, or the end of the file.
    fn at_end(&mut self, here: u64) -> Step {
        if let Some(partial) = self.partial.take() {
            self.report(partial.start, here, DamageKind::Torn);
        }
        // A writer may leave zeros at the end of a segment. A segment that is all zeros lost its contents.
        if self.empty_pages == Some(0) {
            self.empty_pages = None;
            self.report(0, here, DamageKind::Zeros);
        }
        if self.limit != u64::MAX && here < self.limit {
            self.report(here, self.limit, DamageKind::Short);
        }
        Step::End
    }

    /// Handles a fragment that extends beyond the limit or the end of the file.
    fn torn(&mut self, here: u64) -> Step {
        self.report(here, self.page_start + self.filled as u64, DamageKind::Torn);
        self.place = self.filled;
        Step::Again
    }

    fn next_page(&mut self) {
        self.page_start += PAGE_BYTES as u64;
        (self.filled, self.place) = (0, 0);
    }

    /// Returns true if a fragment with a correct checksum is at `place` of the page.
    fn is_fragment(&self, place: usize) -> bool {
        let rest = self.page.get(place..self.filled).unwrap_or_default();
        // The checksum of empty data is 0, as are many other bytes, so it proves nothing. A fragment without
        // data is real only where exactly a header fits: then it begins a record.
        fragment_at(rest).is_some_and(|(header, data)| {
            !data.is_empty() || (header.part == FragmentType::First && rest.len() == HEADER_BYTES)
        })
    }

    /// Records damage, and gives up the incomplete record.
    fn report(&mut self, from: u64, to: u64, kind: DamageKind) {
        let from = self.partial.take().map_or(from, |partial| partial.start.min(from));
        let to = to.min(self.limit.max(from));
        let full = self.damage.len() >= Self::MAX_DAMAGE;
        if let Some(last) = self.damage.last_mut()
            && (full || from <= last.offset + last.bytes)
        {
            let end = to.max(last.offset + last.bytes);
            last.offset = last.offset.min(from);
            last.bytes = end - last.offset;
        } else {
            let file = self.path.clone();
            self.damage.push(Damage { file, offset: from, bytes: to - from, kind });
        }
    }
}

/// Returns the fragment at the beginning of `bytes`, if its checksum is correct.
fn fragment_at(bytes: &[u8]) -> Option<(Header, &[u8])> {
    let (header, rest) = bytes.split_first_chunk()?;
    let header = Header::parse(*header).ok()?;
    let data = rest.get(..usize::from(header.length))?;
    (crc32c::crc32c(data) == header.crc).then_some((header, data))
}

#[cfg(test)]
mod tests;
