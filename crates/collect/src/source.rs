//! Reads files of `/proc` and `/sys`: small files, one buffer, limits.

use crate::error::CollectError;
use rustix::fs::{Mode, OFlags};
use std::fs::{self, File};
use std::io::Read;
use std::ops::ControlFlow;
use std::os::fd::OwnedFd;
use std::path::{Path, PathBuf};

/// The most bytes that are read of one file. `/proc/stat` of a machine with 4096 processors has about 600
/// KiB.
pub const MAX_FILE_BYTES: usize = 1 << 20;

/// The most devices, mounts, zones or sensors of one kind. Any more are left out with a warning.
pub const MAX_DEVICES: usize = 1000;

pub const MAX_CPUS: usize = 8192;

/// The largest sysfs attribute: a page.
const ATTRIBUTE_BYTES: usize = 4096;

/// The initial size of the buffer, enough for all files of a small machine.
const FIRST_BYTES: usize = 16 << 10;

/// An open directory in which files are looked up.
#[derive(Debug)]
pub(crate) struct Directory(OwnedFd);

/// The root from which files are read. All files share one buffer, so the content must be used before the
/// next read.
#[derive(Debug)]
pub(crate) struct Source {
    root: PathBuf,
    path: PathBuf,
    bytes: Vec<u8>,
    lossy: String,
    cut: bool,
}

impl Source {
    pub(crate) fn new(root: PathBuf) -> Self {
        Source { path: root.clone(), root, bytes: Vec::new(), lossy: String::new(), cut: false }
    }

    pub(crate) fn root(&self) -> &Path {
        &self.root
    }

    fn locate(&mut self, relative: &str) {
        self.path.clone_from(&self.root);
        self.path.push(relative);
    }

    /// The bytes of a file, at most [`MAX_FILE_BYTES`]. `relative` is the path from the root, without a
    /// leading slash.
    pub(crate) fn read_bytes(&mut self, relative: &str) -> Result<&[u8], CollectError> {
        self.locate(relative);
        let length = self.fill().map_err(|source| CollectError::read(&self.path, source))?;
        if length > MAX_FILE_BYTES {
            return Err(CollectError::TooLarge { path: self.path.clone(), limit: MAX_FILE_BYTES });
        }
        Ok(self.bytes.get(..length).unwrap_or_default())
    }

    /// Reads the file at `self.path` into the buffer. Stops one byte after the limit.
    fn fill(&mut self) -> std::io::Result<usize> {
        let mut file = File::open(&self.path)?;
        if self.bytes.is_empty() {
            self.bytes.resize(FIRST_BYTES, 0);
        }
        let mut length = 0;
        loop {
            if length == self.bytes.len() {
                if length > MAX_FILE_BYTES {
                    return Ok(length);
                }
                self.bytes.resize((length * 2).min(MAX_FILE_BYTES + 1), 0);
            }
            match file.read(self.bytes.get_mut(length..).unwrap_or_default()) {
                Ok(0) => return Ok(length),
                Ok(more) => length += more,
                Err(error) if error.kind() == std::io::ErrorKind::Interrupted => {}
                Err(error) => return Err(error),
            }
        }
    }

    /// The text of a file. Invalid UTF-8 becomes replacement characters.
    pub(crate) fn read(&mut self, relative: &str) -> Result<&str, CollectError> {
        let length = self.read_bytes(relative)?.len();
        Ok(self.text(length))
    }

    fn text(&mut self, length: usize) -> &str {
        let bytes = self.bytes.get(..length).unwrap_or_default();
        match std::str::from_utf8(bytes) {
            Ok(text) => text,
            Err(_) => {
                self.lossy = String::from_utf8_lossy(bytes).into_owned();
                &self.lossy
            }
        }
    }

    /// Calls `each` for every line of a file that may be larger than [`MAX_FILE_BYTES`], such as a table of
    /// sockets, until `each` breaks. Only a single line must be within the limit. Lines that are not UTF-8
    /// are left out.
    pub(crate) fn each_line(
        &mut self,
        relative: &str,
        mut each: impl FnMut(&str) -> ControlFlow<()>,
    ) -> Result<(), CollectError> {
        self.locate(relative);
        let lines = File::open(&self.path).and_then(|mut file| {
            let mut kept = 0;
            if self.bytes.is_empty() {
                self.bytes.resize(FIRST_BYTES, 0);
            }
            loop {
                if kept == self.bytes.len() {
                    if kept >= MAX_FILE_BYTES {
                        return Ok(false);
                    }
                    self.bytes.resize((kept * 2).min(MAX_FILE_BYTES), 0);
                }
                let more = match file.read(self.bytes.get_mut(kept..).unwrap_or_default()) {
                    Err(error) if error.kind() == std::io::ErrorKind::Interrupted => continue,
                    more => more?,
                };
                let filled = self.bytes.get(..kept + more).unwrap_or_default();
                // A last line without a newline is complete only at the end of the file.
                let whole = if more == 0 { filled.len() } else { past_last_newline(filled) };
                for line in filled.get(..whole).unwrap_or_default().split(|byte| *byte == b'\n') {
                    let Ok(line) = std::str::from_utf8(line) else { continue };
                    if !line.is_empty() && each(line).is_break() {
                        return Ok(true);
                    }
                }
                if more == 0 {
                    return Ok(true);
                }
                self.bytes.copy_within(whole..kept + more, 0);
                kept = kept + more - whole;
            }
        });
        match lines {
            Ok(true) => Ok(()),
            Ok(false) => Err(CollectError::TooLarge { path: self.path.clone(), limit: MAX_FILE_BYTES }),
            Err(source) => Err(CollectError::read(&self.path, source)),
        }
    }

    /// The text of a file with one value, without white space around it. A single read suffices, because
    /// sysfs returns a whole attribute at once.
    pub(crate) fn value(&mut self, relative: &str) -> Result<&str, CollectError> {
        self.locate(relative);
        if self.bytes.is_empty() {
            self.bytes.resize(FIRST_BYTES, 0);
        }
        let read = File::open(&self.path)
            .and_then(|mut file| file.read(self.bytes.get_mut(..ATTRIBUTE_BYTES).unwrap_or_default()));
        match read {
            Ok(length) => Ok(self.text(length).trim_ascii()),
            Err(source) => Err(CollectError::read(&self.path, source)),
        }
    }

    /// Opens a directory of which several files are to be read. Looking each file up in it takes half the
    /// time of looking it up from the root.
    pub(crate) fn directory(&mut self, relative: &str) -> Option<Directory> {
        self.locate(relative);
        let flags = OFlags::PATH | OFlags::DIRECTORY | OFlags::CLOEXEC;
        rustix::fs::open(&self.path, flags, Mode::empty()).ok().map(Directory)
    }

    /// The value of a file in `directory`, as from [`Self::value`]; `None` if it can't be read.
    pub(crate) fn value_in(&mut self, directory: &Directory, file: &str) -> Option<&str> {
        let flags = OFlags::RDONLY | OFlags::CLOEXEC;
        let file = rustix::fs::openat(&directory.0, file, flags, Mode::empty()).ok()?;
        if self.bytes.is_empty() {
            self.bytes.resize(FIRST_BYTES, 0);
        }
        let length = rustix::io::read(&file, self.bytes.get_mut(..ATTRIBUTE_BYTES)?).ok()?;
        Some(self.text(length).trim_ascii())
    }

    /// The number in a file: decimal, or hexadecimal with `0x`.
    pub(crate) fn number(&mut self, relative: &str) -> Result<f64, CollectError> {
        let text = self.value(relative)?;
        parse_number(text).ok_or_else(|| CollectError::malformed(relative, "a number", text))
    }

    /// The number in a file. Returns `None` if the file can't be read or has something else.
    pub(crate) fn number_if_any(&mut self, relative: &str) -> Option<f64> {
        parse_number(self.value(relative).ok()?)
    }

    /// The value in a file as an owned text. Returns `None` if the file can't be read or is empty.
    pub(crate) fn text_if_any(&mut self, relative: &str) -> Option<String> {
        self.value(relative).ok().filter(|text| !text.is_empty()).map(str::to_owned)
    }

    /// The names in a directory for which `wanted` returns true, sorted, at most [`MAX_DEVICES`].
    pub(crate) fn list(
        &mut self,
        relative: &str,
        wanted: impl Fn(&str) -> bool,
    ) -> Result<Vec<String>, CollectError> {
        self.list_limited(relative, MAX_DEVICES, wanted)
    }

    pub(crate) fn list_limited(
        &mut self,
        relative: &str,
        limit: usize,
        wanted: impl Fn(&str) -> bool,
    ) -> Result<Vec<String>, CollectError> {
        self.locate(relative);
        let entries = fs::read_dir(&self.path).map_err(|source| CollectError::read(&self.path, source))?;
        let mut names = Vec::new();
        for entry in entries.flatten() {
            let Ok(name) = entry.file_name().into_string() else { continue };
            if !wanted(&name) {
                continue;
            }
            if names.len() == limit {
                self.cut = true;
                break;
            }
            names.push(name);
        }
        names.sort_unstable();
        Ok(names)
    }

    pub(crate) fn is_directory(&mut self, relative: &str) -> bool {
        self.locate(relative);
        self.path.is_dir()
    }

    /// Notes that a limit left something out.
    pub(crate) fn note_cut(&mut self) {
        self.cut = true;
    }

    /// Returns true if a limit left something out after the last call.
    pub(crate) fn take_cut(&mut self) -> bool {
        std::mem::take(&mut self.cut)
    }
}

fn past_last_newline(bytes: &[u8]) -> usize {
    bytes.iter().rposition(|byte| *byte == b'\n').map_or(0, |at| at + 1)
}

/// Parses a number as the kernel writes it: decimal, with a sign or a fraction, or hexadecimal with `0x`.
pub(crate) fn parse_number(text: &str) -> Option<f64> {
    if let Some(digits) = text.strip_prefix("0x") {
        return u64::from_str_radix(digits, 16).ok().map(|number| number as f64);
    }
    // Some texts that Rust parses as a float ("inf", "nan") are not valid here.
    if !text.bytes().all(|byte| byte.is_ascii_digit() || matches!(byte, b'-' | b'+' | b'.' | b'e' | b'E')) {
        return None;
    }
    text.parse().ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn source_with(name: &str, bytes: &[u8]) -> (tempfile::TempDir, Source) {
        let dir = tempfile::tempdir().unwrap();
        fs::write(dir.path().join(name), bytes).unwrap();
        let source = Source::new(dir.path().to_path_buf());
        (dir, source)
    }

    #[test]
    fn a_file_of_the_limit_is_read_and_one_byte_more_refused() {
        let (dir, mut source) = source_with("f", &vec![b'x'; MAX_FILE_BYTES]);
        assert_eq!(source.read("f").unwrap().len(), MAX_FILE_BYTES);
        fs::write(dir.path().join("f"), vec![b'x'; MAX_FILE_BYTES + 1]).unwrap();
        assert!(matches!(source.read("f"), Err(CollectError::TooLarge { limit: MAX_FILE_BYTES, .. })));
    }

    #[test]
    fn each_line_reads_files_larger_than_the_limit() {
        let lines: Vec<String> = (0..200_000).map(|number| format!("line {number}")).collect();
        let (_dir, mut source) = source_with("f", lines.join("\n").as_bytes());
        assert!(matches!(source.read("f"), Err(CollectError::TooLarge { .. })));
        let mut seen = Vec::new();
        source
            .each_line("f", |line| {
                seen.push(line.to_owned());
                ControlFlow::Continue(())
            })
            .unwrap();
        assert!(seen == lines);

        let mut count = 0;
        source
            .each_line("f", |_| {
                count += 1;
                if count == 5 { ControlFlow::Break(()) } else { ControlFlow::Continue(()) }
            })
            .unwrap();
        assert_eq!(count, 5);
    }

    #[test]
    fn a_line_beyond_the_limit_is_refused() {
        let (_dir, mut source) = source_with("f", &vec![b'x'; MAX_FILE_BYTES + 1]);
        let result = source.each_line("f", |_| ControlFlow::Continue(()));
        assert!(matches!(result, Err(CollectError::TooLarge { .. })), "{result:?}");
    }

    #[test]
    fn invalid_utf8_is_replaced() {
        let (_dir, mut source) = source_with("f", b"a\xffb\n");
        assert_eq!(source.value("f").unwrap(), "a\u{fffd}b");
        assert_eq!(source.read_bytes("f").unwrap(), b"a\xffb\n");
    }

    #[test]
    fn a_shorter_file_after_a_longer_one_has_nothing_of_it() {
        let (dir, mut source) = source_with("long", &[b'x'; 50_000]);
        fs::write(dir.path().join("short"), b"7\n").unwrap();
        source.read("long").unwrap();
        assert_eq!(source.read("short").unwrap(), "7\n");
        assert_eq!(source.number("short").unwrap(), 7.0);
    }

    #[test]
    fn a_directory_is_truncated_at_the_limit_and_that_is_noted() {
        let dir = tempfile::tempdir().unwrap();
        for index in 0..12 {
            fs::write(dir.path().join(format!("d{index}")), b"").unwrap();
        }
        let mut source = Source::new(dir.path().to_path_buf());
        assert_eq!(source.list_limited("", 12, |_| true).unwrap().len(), 12);
        assert!(!source.take_cut());
        assert_eq!(source.list_limited("", 11, |_| true).unwrap().len(), 11);
        assert!(source.take_cut() && !source.take_cut());
        assert_eq!(source.list("", |name| name.ends_with('0')).unwrap(), ["d0", "d10"]);
    }

    #[test]
    fn numbers_are_parsed_as_the_kernel_writes_them() {
        assert_eq!(parse_number("-1"), Some(-1.0));
        assert_eq!(parse_number("0x1003"), Some(4099.0));
        assert_eq!(parse_number("0.25"), Some(0.25));
        for text in ["", "inf", "nan", "N/A", "0x", "-"] {
            assert_eq!(parse_number(text), None, "{text}");
        }
    }
}
