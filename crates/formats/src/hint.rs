//! Guesses from its first bytes why a body can't be parsed: it is compressed, in UTF-16, or has DOS line ends. Used
//! only after parsing failed.

use std::fmt;

/// The encoding that was recognised. Its text says how to send the body instead.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Hint {
    /// Compressed with this `Content-Encoding`.
    Compressed(&'static str),
    /// A byte-order mark in front of UTF-8.
    ByteOrderMark,
    /// UTF-16, with or without a byte-order mark.
    Utf16,
    /// A line that ends with a carriage return.
    DosLineEnd,
}

impl fmt::Display for Hint {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Compressed(encoding) => {
                write!(
                    f,
                    "the body is compressed with {encoding}: send the header Content-Encoding: {encoding}"
                )
            }
            Self::ByteOrderMark => {
                f.write_str("the text begins with a byte-order mark (EF BB BF): save it as UTF-8 without one")
            }
            Self::Utf16 => f.write_str("the text is in UTF-16: send it in UTF-8, without a byte-order mark"),
            Self::DosLineEnd => f.write_str(
                "the line ends with a carriage return (DOS line ends): end lines with a line feed alone, \\n",
            ),
        }
    }
}

/// The compression of a body, recognised by its first bytes.
pub fn compressed(body: &[u8]) -> Option<Hint> {
    let found =
        [(&b"\x1f\x8b"[..], "gzip"), (b"\x28\xb5\x2f\xfd", "zstd"), (b"\xff\x06\x00\x00sNaPpY", "snappy")]
            .into_iter()
            .find(|(magic, _)| body.starts_with(magic));
    found.map(|(_, encoding)| Hint::Compressed(encoding))
}

/// The encoding of a text in which `line` can't be parsed.
pub(crate) fn of_text(text: &[u8], line: &[u8]) -> Option<Hint> {
    let utf16 = match text {
        [0xff, 0xfe, ..] | [0xfe, 0xff, ..] => true,
        [first, second, ..] => (*first == 0) != (*second == 0),
        _ => false,
    };
    match compressed(text) {
        Some(hint) => Some(hint),
        None if utf16 => Some(Hint::Utf16),
        None if text.starts_with(b"\xef\xbb\xbf") => Some(Hint::ByteOrderMark),
        None if ends_with_return(line) => Some(Hint::DosLineEnd),
        None => None,
    }
}

fn ends_with_return(line: &[u8]) -> bool {
    line.strip_suffix(b"\n").unwrap_or(line).ends_with(b"\r")
}
