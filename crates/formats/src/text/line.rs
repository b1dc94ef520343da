//! Splits a line into names, quoted strings and numbers.

use super::fault::Fault;

/// A string of a line, either unchanged or unescaped into the parser's scratch memory.
#[derive(Debug, Clone, Copy)]
pub(super) enum Piece<'a> {
    Plain(&'a [u8]),
    /// Start and end in the scratch memory.
    Unescaped(usize, usize),
}

impl<'a> Piece<'a> {
    pub(super) fn bytes(self, scratch: &'a [u8]) -> &'a [u8] {
        match self {
            Self::Plain(bytes) => bytes,
            Self::Unescaped(from, to) => scratch.get(from..to).unwrap_or_default(),
        }
    }
}

/// A position in a line.
#[derive(Debug, Clone, Copy)]
pub(super) struct Cursor<'a> {
    line: &'a [u8],
    /// The number of bytes that were consumed.
    pub(super) at: usize,
}

impl<'a> Cursor<'a> {
    pub(super) fn new(line: &'a [u8]) -> Self {
        Cursor { line, at: 0 }
    }

    pub(super) fn line(&self) -> &'a [u8] {
        self.line
    }

    pub(super) fn rest(&self) -> &'a [u8] {
        self.line.get(self.at..).unwrap_or_default()
    }

    /// The bytes that were consumed since `start`, an earlier position in the same line.
    pub(super) fn since(&self, start: Cursor<'a>) -> &'a [u8] {
        self.line.get(start.at..self.at).unwrap_or_default()
    }

    #[inline]
    pub(super) fn peek(&self) -> Option<u8> {
        self.line.get(self.at).copied()
    }

    pub(super) fn at_end(&self) -> bool {
        self.at >= self.line.len()
    }

    /// Skips spaces and tabs.
    #[inline]
    pub(super) fn blanks(&mut self) {
        while matches!(self.peek(), Some(b' ' | b'\t')) {
            self.at += 1;
        }
    }

    /// Consumes `byte` if it is next. Returns true if it was.
    #[inline]
    pub(super) fn take(&mut self, byte: u8) -> bool {
        let there = self.peek() == Some(byte);
        self.at += usize::from(there);
        there
    }

    #[inline]
    fn take_while(&mut self, accept: impl Fn(u8) -> bool) -> &'a [u8] {
        let rest = self.rest();
        let length = rest.iter().position(|byte| !accept(*byte)).unwrap_or(rest.len());
        self.at += length;
        rest.get(..length).unwrap_or_default()
    }

    /// Consumes everything up to a blank.
    pub(super) fn word(&mut self) -> &'a [u8] {
        self.take_while(|byte| !matches!(byte, b' ' | b'\t'))
    }

    /// Consumes a metric name of the legacy pattern. Returns an empty slice if there is none.
    #[inline]
    pub(super) fn metric_name(&mut self) -> &'a [u8] {
        if self.peek().is_some_and(|byte| byte.is_ascii_digit()) {
            return &[];
        }
        self.take_while(|byte| byte.is_ascii_alphanumeric() || matches!(byte, b'_' | b':'))
    }

    /// Consumes a label name of the legacy pattern. Returns an empty slice if there is none.
    #[inline]
    pub(super) fn label_name(&mut self) -> &'a [u8] {
        if self.peek().is_some_and(|byte| byte.is_ascii_digit()) {
            return &[];
        }
        self.take_while(|byte| byte.is_ascii_alphanumeric() || byte == b'_')
    }

    /// Consumes a string in quotes, and unescapes `\\`, `\"` and `\n`. Any other backslash is kept, as in Prometheus.
    #[inline]
    pub(super) fn quoted(&mut self, scratch: &mut Vec<u8>) -> Result<Piece<'a>, Fault> {
        let open = self.at;
        if !self.take(b'"') {
            return Err(self.expected("a string in quotes"));
        }
        let rest = self.rest();
        let Some(end) = memchr::memchr2(b'"', b'\\', rest) else {
            self.at = open;
            return Err(self.expected("a closing quote for this string on the same line"));
        };
        if rest.get(end) == Some(&b'"') {
            self.at += end + 1;
            return Ok(Piece::Plain(rest.get(..end).unwrap_or_default()));
        }
        let from = scratch.len();
        loop {
            match self.peek() {
                Some(b'"') => {
                    self.at += 1;
                    return Ok(Piece::Unescaped(from, scratch.len()));
                }
                Some(b'\\') => self.escape(scratch, true),
                Some(byte) => {
                    scratch.push(byte);
                    self.at += 1;
                }
                None => {
                    self.at = open;
                    return Err(self.expected("a closing quote for this string on the same line"));
                }
            }
        }
    }

    /// Consumes a backslash and the character that it escapes.
    fn escape(&mut self, scratch: &mut Vec<u8>, quotes: bool) {
        let next = self.line.get(self.at + 1).copied();
        match next {
            Some(b'\\') => scratch.push(b'\\'),
            Some(b'n') => scratch.push(b'\n'),
            Some(b'"') if quotes => scratch.push(b'"'),
            _ => {
                scratch.push(b'\\');
                self.at += 1;
                return;
            }
        }
        self.at += 2;
    }

    /// Consumes the rest of a HELP line and unescapes it.
    pub(super) fn help(&mut self, quotes: bool) -> Vec<u8> {
        let mut text = Vec::new();
        while let Some(byte) = self.peek() {
            if byte == b'\\' {
                self.escape(&mut text, quotes);
            } else {
                text.push(byte);
                self.at += 1;
            }
        }
        text
    }

    /// The error that something else was expected at this position.
    #[cold]
    pub(super) fn expected(&self, what: &'static str) -> Fault {
        let found: String =
            String::from_utf8_lossy(self.rest().get(..128).unwrap_or(self.rest())).chars().take(32).collect();
        let found = if found.is_empty() { "the end of the line".into() } else { format!("{found:?}") };
        Fault::Expected { what, found }
    }
}
