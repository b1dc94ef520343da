//! The bytes of a connection, cut into whole lines. Pure.

/// The longest line of a connection, in bytes. Carbon has the same limit.
pub const LINE_BYTES_MAX: usize = 16 << 10;

/// What was read and not taken yet.
#[derive(Debug, Default)]
pub(super) struct Buffer {
    bytes: Vec<u8>,
    /// How many of them were there before the last read.
    before: usize,
    /// The rest of a line that was too long: it is left out up to its end.
    skips: bool,
    /// Lines that were too long since they were last asked for.
    too_long: u64,
}

impl Buffer {
    /// Where to read to.
    pub(super) fn bytes_mut(&mut self, room: usize) -> &mut Vec<u8> {
        self.bytes.reserve(room);
        self.before = self.bytes.len();
        &mut self.bytes
    }

    /// How much is held.
    pub(super) fn len(&self) -> usize {
        self.bytes.len()
    }

    /// To be called after each read.
    pub(super) fn note_read(&mut self) {
        if self.skips {
            let new = self.bytes.get(self.before..).unwrap_or_default();
            let end = new.iter().position(|byte| *byte == b'\n');
            let rest = end.map_or(self.bytes.len(), |end| self.before + end + 1);
            self.bytes.drain(self.before..rest);
            self.skips = end.is_none();
        }
        let whole = self.whole();
        if self.bytes.len() - whole > LINE_BYTES_MAX {
            self.bytes.truncate(whole);
            self.too_long += 1;
            self.skips = true;
        }
    }

    fn whole(&self) -> usize {
        self.bytes.iter().rposition(|byte| *byte == b'\n').map_or(0, |last| last + 1)
    }

    /// Takes the whole lines.
    pub(super) fn take_lines(&mut self) -> Vec<u8> {
        let rest = self.bytes.split_off(self.whole());
        std::mem::replace(&mut self.bytes, rest)
    }

    /// Takes all of it: at the end of a connection the last line needs no line end.
    pub(super) fn take_all(&mut self) -> Vec<u8> {
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

    fn read(buffer: &mut Buffer, text: &str) {
        buffer.bytes_mut(0).extend_from_slice(text.as_bytes());
        buffer.note_read();
    }

    fn taken(bytes: Vec<u8>) -> String {
        String::from_utf8_lossy(&bytes).into_owned()
    }

    #[test]
    fn a_line_that_is_not_whole_waits_for_its_rest() {
        let mut buffer = Buffer::default();
        read(&mut buffer, "a 1\nb 2\nc");
        assert_eq!(taken(buffer.take_lines()), "a 1\nb 2\n");
        read(&mut buffer, " 3");
        assert_eq!((taken(buffer.take_lines()), buffer.len()), (String::new(), 3));
        assert_eq!((taken(buffer.take_all()), buffer.len()), ("c 3".into(), 0));
    }

    #[test]
    fn a_line_that_is_too_long_is_left_out_up_to_its_end_however_it_arrives() {
        let mut buffer = Buffer::default();
        read(&mut buffer, "a 1\n");
        for _ in 0..20 {
            read(&mut buffer, &"x".repeat(LINE_BYTES_MAX / 3));
        }
        assert!(buffer.len() <= LINE_BYTES_MAX + LINE_BYTES_MAX / 3);
        read(&mut buffer, ".tail 5\nb 2\n");
        assert_eq!((taken(buffer.take_lines()), buffer.take_too_long()), ("a 1\nb 2\n".into(), 1));
        read(&mut buffer, "c 3\n");
        assert_eq!((taken(buffer.take_lines()), buffer.take_too_long()), ("c 3\n".into(), 0));
    }
}
