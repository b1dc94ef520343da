//! Splits one line into its head (measurement and tags), its fields and its timestamp. The contents of the head and of
//! the keys are parsed only for unknown series: see `labels.rs`.

use crate::LineError;
use crate::labels;
use crate::value;

/// The maximum of fields in one line.
pub const LINE_FIELDS_MAX: usize = 10_000;

/// A field that is a sample.
#[derive(Debug, Clone, Copy, PartialEq)]
pub(crate) struct Field<'t> {
    /// The text with its escapes.
    pub(crate) key: &'t [u8],
    pub(crate) value: f64,
}

/// A line with a point.
#[derive(Debug, Clone, Copy, PartialEq)]
pub(crate) struct Point<'t> {
    /// The text of the measurement and the tags.
    pub(crate) head: &'t [u8],
    /// In the unit of the text.
    pub(crate) timestamp: Option<i64>,
    /// Fields that are strings.
    pub(crate) strings: u64,
}

/// The result of scanning a line.
#[derive(Debug)]
pub(crate) struct Scan<'t> {
    /// `None`: an empty line or a comment.
    pub(crate) point: Result<Option<Point<'t>>, LineError>,
    /// The whole line, or the scanned part of an invalid one.
    pub(crate) line: &'t [u8],
    /// The start of the next line.
    pub(crate) next: usize,
    /// The number of line ends up to there.
    pub(crate) line_ends: usize,
}

/// Scans the line that begins at `start`. Clears `fields` and fills it with the fields that are samples. After an error
/// the next line begins after the line end that follows the error.
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
    // The error that comes first in the line is reported.
    let point = point.map_err(|error| {
        let head = line.get(..unescaped(line, b' ').unwrap_or(line.len())).unwrap_or_default();
        labels::check_head(head).err().unwrap_or(error)
    });
    Scan { point, line, next: cursor.next, line_ends: cursor.line_ends }
}

/// A position in a line.
#[derive(Debug)]
struct Cursor<'t> {
    text: &'t [u8],
    at: usize,
    /// The end of the line, without its line end.
    end: usize,
    /// The start of the next line.
    next: usize,
    line_ends: usize,
}

impl<'t> Cursor<'t> {
    /// Finds the line end from the cursor on.
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

    /// The rest of the line.
    #[inline]
    fn rest(&self) -> &'t [u8] {
        self.text.get(self.at..self.end).unwrap_or_default()
    }

    /// Consumes this many bytes.
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

    /// Consumes a string, which begins and ends with a quotation mark.
    fn string(&mut self, multiline: bool) -> Result<(), LineError> {
        let limit = if multiline { self.text.len() } else { self.end };
        let mut at = self.at + 1;
        loop {
            let rest = self.text.get(at..limit).unwrap_or_default();
            match memchr::memchr2(b'"', b'\\', rest).and_then(|found| Some((found, *rest.get(found)?))) {
                // The line is rejected, and reading continues with the next one.
                None => return Err(LineError::Quotes),
                Some((found, b'"')) => {
                    at += found + 1;
                    break;
                }
                // A backslash and the character after it.
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

/// Returns true if a key needs no unescaping and no further checks.
#[inline]
fn is_plain(key: &[u8]) -> bool {
    let is_plain = |byte: &u8| (b'!'..=b'~').contains(byte) && !matches!(byte, b',' | b'\\');
    // Without an early return, so that many bytes are compared at once.
    !key.is_empty() && key.iter().fold(true, |all, byte| all & is_plain(byte))
}

/// The position of the first `byte` without a backslash in front of it.
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
