//! Reads a segment as strictly as Prometheus: up to the first invalid byte.
//!
//! [`crate::SegmentReader`] differs in two ways. It continues after damage, and it checks more. Prometheus
//! does not notice a page of zeros, a fragment that crosses a page, or zeros that are missing at the end of a
//! file.

use super::Program;
use crate::MAX_RECORD_BYTES;
use crate::compression::{Compression, Decompressor};
use crate::fs::File;
use crate::page::{HEADER_BYTES, PAGE_BYTES};
use crate::record::{self, RecordType};

const FULL: u8 = 1;
const FIRST: u8 = 2;
const MIDDLE: u8 = 3;
const LAST: u8 = 4;

/// Returns where `program` stops reading the segment, or `None` if it reads all of it.
pub(crate) fn first_stop(file: &dyn File, program: Program) -> Option<u64> {
    let length = file.len().ok()?;
    let (data, decompressed, decompressor) = (Vec::new(), Vec::new(), Decompressor::new());
    let mut reader = Reader { file, length, at: 0, kind: 0, data, decompressed, decompressor };
    let mut read_up_to = 0;
    loop {
        match reader.record(program) {
            Ok(true) => read_up_to = reader.at.min(length),
            Ok(false) => return None,
            Err(Stop) => return Some(read_up_to),
        }
    }
}

/// Prometheus found what it calls a corruption.
struct Stop;

struct Reader<'a> {
    file: &'a dyn File,
    length: u64,
    at: u64,
    /// The type of the last fragment; 0 for the unused rest of a page.
    kind: u8,
    data: Vec<u8>,
    decompressed: Vec<u8>,
    decompressor: Decompressor,
}

impl Reader<'_> {
    /// Reads a record and, if `program` does, decodes it. Returns false at the end of the file.
    fn record(&mut self, program: Program) -> Result<bool, Stop> {
        self.data.clear();
        let (mut fragments, mut too_large) = (0u64, false);
        loop {
            let mut header = [0; HEADER_BYTES];
            if self.read(header.get_mut(..1).unwrap_or_default())? == 0 {
                return self.end();
            }
            let [flags, ..] = header;
            self.kind = flags & 7;
            if self.kind == 0 {
                self.padding()?;
                continue;
            }
            if self.read_or_end(header.get_mut(1..).unwrap_or_default())? {
                return self.end();
            }
            let [_, l0, l1, c0, c1, c2, c3] = header;
            let length = usize::from(u16::from_be_bytes([l0, l1]));
            if length > PAGE_BYTES - HEADER_BYTES {
                return Err(Stop);
            }
            let mut part = vec![0; length];
            if self.read_or_end(&mut part)? {
                return self.end();
            }
            let begins = matches!(self.kind, FULL | FIRST);
            let in_order = self.kind <= LAST && begins == (fragments == 0);
            if crc32c::crc32c(&part) != u32::from_be_bytes([c0, c1, c2, c3]) || !in_order {
                return Err(Stop);
            }
            // Prometheus has no such limit, so it continues.
            too_large |= self.data.len() + part.len() > MAX_RECORD_BYTES;
            if !too_large {
                self.data.append(&mut part);
            }
            if matches!(self.kind, FULL | LAST) {
                if !too_large {
                    self.contents(flags, program)?;
                }
                return Ok(true);
            }
            fragments += 1;
        }
    }

    /// Handles the end of the file. A record that is incomplete there is torn.
    fn end(&self) -> Result<bool, Stop> {
        if matches!(self.kind, FIRST | MIDDLE) { Err(Stop) } else { Ok(false) }
    }

    /// Reads the rest of a page after a byte 0. All of its bytes must be 0.
    fn padding(&mut self) -> Result<(), Stop> {
        let page = PAGE_BYTES as u64;
        let mut rest = vec![0; ((page - self.at % page) % page) as usize];
        self.read(&mut rest)?;
        if rest.iter().all(|&byte| byte == 0) { Ok(()) } else { Err(Stop) }
    }

    fn contents(&mut self, flags: u8, program: Program) -> Result<(), Stop> {
        let compression = match flags {
            flags if flags & 8 != 0 => Compression::Snappy,
            flags if flags & 16 != 0 => Compression::Zstd,
            _ => Compression::None,
        };
        let record = match compression {
            Compression::None => self.data.as_slice(),
            _ => {
                let out = &mut self.decompressed;
                let length = self.decompressor.decompress(&self.data, compression, out).ok_or(Stop)?;
                out.get(..length).unwrap_or_default()
            }
        };
        let kind = RecordType::of(record);
        let malformed = kind.is_some_and(|kind| program.decodes(kind)) && record::check(record).is_err();
        if malformed || program.refuses(kind) { Err(Stop) } else { Ok(()) }
    }

    /// Fills `buf`. Returns true if the file ends before the first byte, and `Stop` if it ends after that.
    fn read_or_end(&mut self, buf: &mut [u8]) -> Result<bool, Stop> {
        match self.read(buf)? {
            count if count == buf.len() => Ok(false),
            0 => Ok(true),
            _ => Err(Stop),
        }
    }

    /// Reads as many bytes as the file has. Like Prometheus, it adds zeros if the last page is incomplete.
    fn read(&mut self, buf: &mut [u8]) -> Result<usize, Stop> {
        let left = self.length.next_multiple_of(PAGE_BYTES as u64) - self.at;
        let count = (buf.len() as u64).min(left) as usize;
        let buf = buf.get_mut(..count).unwrap_or_default();
        let there = self.file.read_full_at(buf, self.at).map_err(|_| Stop)?;
        buf.get_mut(there..).unwrap_or_default().fill(0);
        self.at += count as u64;
        Ok(count)
    }
}
