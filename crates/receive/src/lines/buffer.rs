//! Bytes as they arrive, cut into whole lines. Pure.

/// The longest line, in bytes without its end. Carbon has the same limit.
pub const LINE_BYTES_MAX: usize = 16 << 10;

/// Lines that were read and not taken yet. A line over the limit is left out, however its bytes arrive.
#[derive(Debug, Default)]
pub(super) struct Buffer {
    bytes: Vec<u8>,
    /// Where the last line begins, whose end has not arrived yet.
    last_line: usize,
    /// The last line is too long: the rest of it is left out, too.
    skips: bool,
    /// Lines that were too long since they were last asked for.
    too_long: u64,
}

impl Buffer {
    /// How much is held.
    pub(super) fn len(&self) -> usize {
        self.bytes.len()
    }

    /// Adds what was read.
    pub(super) fn push(&mut self, read: &[u8]) {
        for part in read.split_inclusive(|byte| *byte == b'\n') {
            match part.strip_suffix(b"\n") {
                Some(end_of_line) => {
                    self.push_part(end_of_line);
                    self.end_line();
                }
                None => self.push_part(part),
            }
        }
    }

    /// Ends the last line, as a line end would: a datagram needs none.
    pub(super) fn end_line(&mut self) {
        if !std::mem::take(&mut self.skips) {
            self.bytes.push(b'\n');
        }
        self.last_line = self.bytes.len();
    }

    /// Adds a part of one line.
    fn push_part(&mut self, part: &[u8]) {
        if self.skips {
            return;
        }
        if self.bytes.len() - self.last_line + part.len() > LINE_BYTES_MAX {
            self.bytes.truncate(self.last_line);
            self.too_long += 1;
            self.skips = true;
        } else {
            self.bytes.extend_from_slice(part);
        }
    }

    /// Takes the whole lines.
    pub(super) fn take_lines(&mut self) -> Vec<u8> {
        let rest = self.bytes.split_off(self.last_line);
        self.last_line = 0;
        std::mem::replace(&mut self.bytes, rest)
    }

    /// Takes all of it: at the end of a connection the last line needs no line end.
    pub(super) fn take_all(&mut self) -> Vec<u8> {
        self.last_line = 0;
        std::mem::take(&mut self.bytes)
    }

    /// How many lines were too long since the last call.
    pub(super) fn take_too_long(&mut self) -> u64 {
        std::mem::take(&mut self.too_long)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn taken(bytes: Vec<u8>) -> String {
        String::from_utf8_lossy(&bytes).into_owned()
    }

    #[test]
    fn a_line_that_is_not_whole_waits_for_its_rest() {
        let mut buffer = Buffer::default();
        buffer.push(b"a 1\nb 2\nc");
        assert_eq!(taken(buffer.take_lines()), "a 1\nb 2\n");
        buffer.push(b" 3");
        assert_eq!((taken(buffer.take_lines()), buffer.len()), (String::new(), 3));
        assert_eq!((taken(buffer.take_all()), buffer.len()), ("c 3".into(), 0));
    }

    #[test]
    fn a_line_over_the_limit_is_left_out_however_it_arrives() {
        let text = |bytes: usize| format!("a 1\n{}\nb 2\n", "x".repeat(bytes));
        for bytes in [LINE_BYTES_MAX + 1, 5 * LINE_BYTES_MAX] {
            let text = text(bytes);
            for piece in [1, 7, 4096, LINE_BYTES_MAX, LINE_BYTES_MAX + 1, 2 * LINE_BYTES_MAX, text.len()] {
                let mut buffer = Buffer::default();
                for read in text.as_bytes().chunks(piece) {
                    buffer.push(read);
                    assert!(buffer.len() <= LINE_BYTES_MAX + 8, "{bytes} in pieces of {piece}");
                }
                let (lines, too_long) = (taken(buffer.take_lines()), buffer.take_too_long());
                assert_eq!((lines.as_str(), too_long), ("a 1\nb 2\n", 1), "{bytes} in pieces of {piece}");
            }
        }
        let longest = text(LINE_BYTES_MAX);
        for piece in [1000, longest.len()] {
            let mut buffer = Buffer::default();
            longest.as_bytes().chunks(piece).for_each(|read| buffer.push(read));
            assert_eq!((taken(buffer.take_lines()), buffer.take_too_long()), (longest.clone(), 0));
        }
    }

    #[test]
    fn the_rest_of_a_line_that_is_too_long_is_skipped_after_taking() {
        let mut buffer = Buffer::default();
        buffer.push(format!("a 1\n{}", "x".repeat(LINE_BYTES_MAX + 1)).as_bytes());
        assert_eq!((taken(buffer.take_lines()), buffer.take_too_long()), ("a 1\n".into(), 1));
        buffer.push(b".tail 5\nb 2\n");
        assert_eq!((taken(buffer.take_lines()), buffer.take_too_long()), ("b 2\n".into(), 0));
    }

    #[test]
    fn a_datagram_ends_its_last_line() {
        let mut buffer = Buffer::default();
        for datagram in ["a 1", "b 2\n", &"x".repeat(LINE_BYTES_MAX + 1), "c 3"] {
            buffer.push(datagram.as_bytes());
            buffer.end_line();
        }
        assert_eq!((taken(buffer.take_lines()), buffer.take_too_long()), ("a 1\nb 2\n\nc 3\n".into(), 1));
    }
}
