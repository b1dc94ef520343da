//! Cuts one line into its head (measurement and tags), its fields and its timestamp. What the head and the keys say is
//! looked at only for series that are not known: see `labels.rs`.

use crate::LineError;
use crate::labels;
use crate::value;

/// Most fields of one line.
pub const LINE_FIELDS_MAX: usize = 10_000;

/// A field that is a sample.
#[derive(Debug, Clone, Copy, PartialEq)]
pub(crate) struct Field<'t> {
    /// As it is written, with its escapes.
    pub(crate) key: &'t [u8],
    pub(crate) value: f64,
}

/// A line with a point.
#[derive(Debug, Clone, Copy, PartialEq)]
pub(crate) struct Point<'t> {
    /// The measurement and the tags, as they are written.
    pub(crate) head: &'t [u8],
    /// As it is written.
    pub(crate) timestamp: Option<i64>,
    /// Fields that are strings.
    pub(crate) strings: u64,
}

/// What a line came to.
#[derive(Debug)]
pub(crate) struct Scan<'t> {
    /// `None`: an empty line or a comment.
    pub(crate) point: Result<Option<Point<'t>>, LineError>,
    /// All of the line, or what was read of one that is invalid.
    pub(crate) line: &'t [u8],
    /// Where the next line begins.
    pub(crate) next: usize,
    /// How many line ends there were up to that place.
    pub(crate) line_ends: usize,
}

/// Scans the line that begins at `start`. The fields that are samples are put into `fields`, which is cleared before.
/// After a mistake the next line is the one after the line end that follows the mistake.
pub(crate) fn scan<'t>(
    text: &'t [u8],
    start: usize,
    multiline_strings: bool,
    fields: &mut Vec<Field<'t>>,
) -> Scan<'t> {
    fields.clear();
    let mut cursor = Cursor { text, at: start, end: start, next: start, line_ends: 0 };
    cursor.find_end();
    let point = cursor.line(multiline_strings, fields);
    let line = text.get(start..cursor.end).unwrap_or_default().trim_ascii_start();
    // What comes first in the line is told first.
    let point = point.map_err(|error| {
        let head = line.get(..unescaped(line, b' ').unwrap_or(line.len())).unwrap_or_default();
        labels::check_head(head).err().unwrap_or(error)
    });
    Scan { point, line, next: cursor.next, line_ends: cursor.line_ends }
}

/// A place in a line.
#[derive(Debug)]
struct Cursor<'t> {
    text: &'t [u8],
    at: usize,
    /// The end of the line, without its line end.
    end: usize,
    /// Where the next line begins.
    next: usize,
    line_ends: usize,
}

impl<'t> Cursor<'t> {
    /// Looks for the line end from where the cursor is.
    #[inline]
    fn find_end(&mut self) {
        let rest = self.text.get(self.at..).unwrap_or_default();
        let (len, next) = match memchr::memchr(b'\n', rest) {
            Some(len) => (len, len + 1),
            None => (rest.len(), rest.len()),
        };
        self.line_ends += next - len;
        self.next = self.at + next;
        let is_crlf = len > 0 && rest.get(len - 1) == Some(&b'\r');
        self.end = self.at + len - usize::from(is_crlf);
    }

    /// What is left of the line.
    #[inline]
    fn rest(&self) -> &'t [u8] {
        self.text.get(self.at..self.end).unwrap_or_default()
    }

    /// Takes so many bytes.
    #[inline]
    fn take(&mut self, bytes: usize) -> &'t [u8] {
        let taken = self.text.get(self.at..self.at + bytes).unwrap_or_default();
        self.at += bytes;
        taken
    }

    #[inline]
    fn skip_spaces(&mut self) {
        self.at += self.rest().iter().take_while(|byte| **byte == b' ').count();
    }

    fn line(
        &mut self,
        multiline_strings: bool,
        fields: &mut Vec<Field<'t>>,
    ) -> Result<Option<Point<'t>>, LineError> {
        self.at += self.rest().iter().take_while(|byte| matches!(byte, b' ' | b'\t')).count();
        if self.rest().starts_with(b"#") || self.rest().iter().all(|byte| *byte == b'\r') {
            return Ok(None);
        }
        let Some(len) = unescaped(self.rest(), b' ') else { return Err(LineError::Fields) };
        let head = self.take(len);
        self.skip_spaces();
        if self.rest().is_empty() {
            return Err(LineError::Fields);
        }
        let mut strings = 0;
        loop {
            let Some(len) = unescaped(self.rest(), b'=') else { return Err(LineError::FieldFormat) };
            let key = self.take(len);
            self.at += 1;
            if !is_plain(key) {
                labels::check_key(key)?;
            }
            match self.rest() {
                [] | [b',' | b' ', ..] => return Err(LineError::FieldValue),
                [b'"', ..] => {
                    self.string(multiline_strings)?;
                    strings += 1;
                }
                rest => {
                    let len = memchr::memchr2(b',', b' ', rest).unwrap_or(rest.len());
                    let value = value::number(self.take(len))?;
                    if fields.len() >= LINE_FIELDS_MAX {
                        return Err(LineError::TooManyFields(LINE_FIELDS_MAX));
                    }
                    fields.push(Field { key, value });
                }
            }
            match self.rest() {
                [b',', ..] => self.at += 1,
                [b' ', ..] => break,
                [] => return Ok(Some(Point { head, timestamp: None, strings })),
                _ => return Err(LineError::FieldFormat),
            }
        }
        Ok(Some(Point { head, timestamp: self.timestamp()?, strings }))
    }

    /// Takes a string, which begins and ends with a quote.
    fn string(&mut self, multiline: bool) -> Result<(), LineError> {
        let limit = if multiline { self.text.len() } else { self.end };
        let mut at = self.at + 1;
        loop {
            let rest = self.text.get(at..limit).unwrap_or_default();
            match memchr::memchr2(b'"', b'\\', rest).and_then(|found| Some((found, *rest.get(found)?))) {
                // The line is rejected, and reading goes on with the next one.
                None => return Err(LineError::Quotes),
                Some((found, b'"')) => {
                    at += found + 1;
                    break;
                }
                // A backslash and what follows it.
                Some((found, _)) => at += found + 2,
            }
        }
        if at > self.end {
            // The line end that was found before is part of the string.
            let string = self.text.get(self.at..at).unwrap_or_default();
            self.at = at;
            self.line_ends = self.line_ends.saturating_sub(1) + memchr::memchr_iter(b'\n', string).count();
            self.find_end();
        }
        self.at = at;
        Ok(())
    }

    fn timestamp(&mut self) -> Result<Option<i64>, LineError> {
        let token = self.rest().trim_ascii();
        if token.is_empty() {
            return Ok(None);
        }
        let wrong = || LineError::Timestamp(String::from_utf8_lossy(token).chars().take(40).collect());
        let digits = token.strip_prefix(b"-").unwrap_or(token);
        if digits.is_empty() || !digits.iter().all(u8::is_ascii_digit) {
            return Err(wrong());
        }
        let text = std::str::from_utf8(token).map_err(|_| wrong())?;
        text.parse().map(Some).map_err(|_| wrong())
    }
}

/// Whether there is nothing in a key that has to be looked at closely.
#[inline]
fn is_plain(key: &[u8]) -> bool {
    let is_plain = |byte: &u8| (b'!'..=b'~').contains(byte) && !matches!(byte, b',' | b'\\');
    // Without an early end, so that many bytes are compared at once.
    !key.is_empty() && key.iter().fold(true, |all, byte| all & is_plain(byte))
}

/// Where `byte` is for the first time without a backslash before it.
#[inline]
pub(crate) fn unescaped(text: &[u8], byte: u8) -> Option<usize> {
    let mut from = 0;
    loop {
        let found = from + memchr::memchr(byte, text.get(from..)?)?;
        if found == 0 || text.get(found - 1) != Some(&b'\\') {
            return Some(found);
        }
        from = found + 1;
    }
}
