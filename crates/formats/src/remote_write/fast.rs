//! The short way for label sets that need no repair: sorted, ASCII, of ordinary size. Nearly all are.
//!
//! They are written into a small scratch buffer in chunks of fixed size, which the compiler turns into a
//! few register moves instead of calls to `memcpy`, and from there into the batch in one go. Whatever is
//! out of the ordinary makes this give up, and [`model::LabelsBuilder`] sorts, checks and explains.

use model::Limits;

/// Larger label sets go the long way.
const SCRATCH_BYTES: usize = 4096;

/// The first eight bytes of a name as a number, whose order is that of the names.
const METRIC_NAME_KEY: u64 = u64::from_be_bytes(*b"__name__");

/// Writes canonical bytes of one label set after the other.
#[derive(Debug)]
pub(super) struct FastLabels<'a> {
    /// `bytes[0]` is the number of pairs, below 128.
    bytes: Box<[u8; SCRATCH_BYTES]>,
    end: usize,
    pairs: usize,
    /// The value of `__name__`; there can be none that is empty.
    metric_name: &'a [u8],
    /// Up to here every string is known to be UTF-8.
    checked: usize,
    last_key: u64,
    last_name: &'a [u8],
    max_pairs: usize,
    max_name: usize,
    max_value: usize,
    max_bytes: usize,
}

impl<'a> FastLabels<'a> {
    pub(super) fn new(limits: &Limits) -> Self {
        FastLabels {
            bytes: Box::new([0; SCRATCH_BYTES]),
            end: 1,
            pairs: 0,
            metric_name: &[],
            checked: 1,
            last_key: 0,
            last_name: &[],
            max_pairs: limits.labels.min(127),
            max_name: limits.name_bytes.min(127),
            max_value: limits.value_bytes,
            max_bytes: limits.set_bytes.min(SCRATCH_BYTES),
        }
    }

    #[inline]
    pub(super) fn begin(&mut self) {
        self.end = 1;
        self.pairs = 0;
        self.metric_name = &[];
        self.checked = 1;
        self.last_key = 0;
        self.last_name = &[];
    }

    /// Adds a pair. Both slices may go on after the string they begin with: what follows is only read to
    /// be overwritten again. Returns whether it could be done.
    #[inline(always)]
    pub(super) fn push(
        &mut self,
        name: &'a [u8],
        name_len: usize,
        value: &'a [u8],
        value_len: usize,
    ) -> bool {
        if name_len == 0 || name_len > self.max_name || value_len == 0 || value_len > self.max_value {
            return false;
        }
        let Some(key) = key(name, name_len) else { return false };
        if key <= self.last_key && !self.follows(key, name, name_len) {
            return false;
        }
        self.last_key = key;
        self.last_name = name.get(..name_len).unwrap_or_default();
        if key == METRIC_NAME_KEY && name_len == 8 {
            self.metric_name = value.get(..value_len).unwrap_or_default();
        }
        self.pairs += 1;
        self.put_len(name_len) && self.put(name, name_len) && self.put_value(value, value_len)
    }

    /// Names of more than eight bytes that share the first eight, and whatever is not in order.
    #[inline(never)]
    fn follows(&self, key: u64, name: &[u8], name_len: usize) -> bool {
        key == self.last_key && name.get(..name_len).is_some_and(|name| name > self.last_name)
    }

    #[inline(always)]
    fn put_value(&mut self, value: &[u8], len: usize) -> bool {
        if len < 128 {
            return self.put_len(len) && self.put(value, len);
        }
        // Its length is two bytes, of which one is not ASCII; so what is before it is checked now.
        let Some(text) = value.get(..len) else { return false };
        let before = self.bytes.get(self.checked..self.end).unwrap_or_default();
        if len >= 1 << 14 || !before.is_ascii() || std::str::from_utf8(text).is_err() {
            return false;
        }
        let Some(target) = self.bytes.get_mut(self.end..self.end + 2 + len) else { return false };
        if let [low, high, rest @ ..] = target {
            *low = (len as u8) | 0x80;
            *high = (len >> 7) as u8;
            rest.copy_from_slice(text);
        }
        self.end += 2 + len;
        self.checked = self.end;
        true
    }

    #[inline(always)]
    fn put_len(&mut self, len: usize) -> bool {
        let Some(byte) = self.bytes.get_mut(self.end) else { return false };
        *byte = len as u8;
        self.end += 1;
        true
    }

    /// Appends `len` bytes, fewer than 128, of the front of `from`.
    #[inline(always)]
    fn put(&mut self, from: &[u8], len: usize) -> bool {
        let rest = self.bytes.get_mut(self.end..).unwrap_or_default();
        self.end += len;
        if len <= 16 {
            if let (Some(to), Some(from)) = (rest.first_chunk_mut::<16>(), from.first_chunk::<16>()) {
                *to = *from;
                return true;
            }
        } else if len <= 32
            && let (Some(to), Some(from)) = (rest.first_chunk_mut::<32>(), from.first_chunk::<32>())
        {
            *to = *from;
            return true;
        }
        let (Some(to), Some(from)) = (rest.get_mut(..len), from.get(..len)) else { return false };
        to.copy_from_slice(from);
        true
    }

    /// The metric name, if there was one.
    pub(super) fn metric_name(&self) -> Option<&'a [u8]> {
        Some(self.metric_name).filter(|name| !name.is_empty())
    }

    /// The canonical bytes, unless they have to be looked at more closely: no metric name, not ASCII, or
    /// over a limit.
    #[inline]
    pub(super) fn finish(&mut self, known_utf8: bool) -> Option<&[u8]> {
        if self.metric_name.is_empty() || self.pairs > self.max_pairs || self.end > self.max_bytes {
            return None;
        }
        if !known_utf8 && !self.bytes.get(self.checked..self.end)?.is_ascii() {
            return None;
        }
        if let Some(count) = self.bytes.first_mut() {
            *count = self.pairs as u8;
        }
        self.bytes.get(..self.end)
    }
}

/// The first eight bytes of a name as a number, shorter ones filled up with zeros. `None` so close to the
/// end of the message that eight bytes can't be read.
#[inline(always)]
fn key(name: &[u8], len: usize) -> Option<u64> {
    let key = u64::from_be_bytes(*name.first_chunk::<8>()?);
    Some(if len >= 8 { key } else { key & !(u64::MAX >> (8 * len)) })
}
