//! Fast path for label sets that need no repair: sorted, valid and of ordinary size. Nearly all label sets are.
//!
//! They are written straight into the batch's arena, in chunks of fixed size that the compiler turns into a few
//! register moves instead of calls to `memcpy`. Everything unusual ends the fast path, and [`model::LabelsBuilder`]
//! sorts, checks and explains.

use super::common_pairs::Run;
use model::Limits;

/// The [`key`] of `__name__`.
const METRIC_NAME_KEY: u64 = u64::from_be_bytes(*b"__name__");

/// The space must be this much longer than the label set, so that chunks can run over its end.
pub(super) const SLACK_BYTES: usize = 64;

/// The limits of the fast path.
#[derive(Debug, Clone, Copy)]
pub(super) struct FastLimits {
    pairs: usize,
    name_bytes: usize,
    value_bytes: usize,
    set_bytes: usize,
}

impl FastLimits {
    pub(super) fn new(limits: &Limits) -> Self {
        FastLimits {
            // One byte holds the length of a name, and the number of pairs.
            pairs: limits.labels.min(127),
            name_bytes: limits.name_bytes.min(127),
            // The value may be the metric name, which has the limit of names. Longer values take the slow path, which
            // distinguishes the two.
            value_bytes: limits.value_bytes.min(limits.name_bytes),
            set_bytes: limits.set_bytes,
        }
    }
}

/// A label set that is being written into its reserved space.
///
/// Names and values are passed in their form on the wire: their length of one or two bytes, and the text. So they are
/// copied unchanged. The slices may continue behind the text: the bytes there are copied too, and overwritten
/// afterwards.
#[derive(Debug)]
pub(super) struct FastLabels<'r> {
    space: &'r mut [u8],
    limits: FastLimits,
    end: usize,
    last_key: u64,
    /// The position of the last name in the space.
    last_name: usize,
}

impl<'r> FastLabels<'r> {
    #[inline(always)]
    pub(super) fn new(space: &'r mut [u8], limits: FastLimits) -> Self {
        // The first byte is the number of pairs.
        FastLabels { space, limits, end: 1, last_key: 0, last_name: 0 }
    }

    /// Adds pairs of the label set before. `before` has its bytes after the number of pairs, and the bytes behind it.
    /// `keys` are those of the first and of the last name. Pairs that are valid in one set are valid in another one, so
    /// only the order of the first name is checked. Returns `None` if the fast path must end.
    #[inline(always)]
    pub(super) fn push_run(&mut self, before: &[u8], run: &Run, keys: [u64; 2]) -> Option<()> {
        let from = before.get(run.written.start..)?;
        let [first, last] = keys;
        if !self.follows(first, from) {
            return None;
        }
        self.last_key = last;
        self.last_name = self.end + (run.last - run.written.start);
        let end = self.end;
        self.end += run.written.len();
        put(self.space, end, from, run.written.len()).then_some(())
    }

    /// Returns true if the order is right: this name comes after the last one.
    #[inline(always)]
    fn follows(&self, key: u64, name: &[u8]) -> bool {
        key > self.last_key || (key == self.last_key && follows(self.space, self.last_name, name))
    }

    /// Adds a name whose length is one byte. `key` is its [`key`]. Returns true if the name is `__name__`, or `None` if
    /// the fast path must end.
    #[inline(always)]
    pub(super) fn push_name(&mut self, key: u64, name: &[u8], len: usize) -> Option<bool> {
        // A length of zero wraps around and is over the limit too.
        if len.wrapping_sub(1) >= self.limits.name_bytes {
            return None;
        }
        if !self.follows(key, name) {
            return None;
        }
        self.last_key = key;
        self.last_name = self.end;
        let end = self.end;
        self.end += 1 + len;
        put(self.space, end, name, 1 + len).then_some(key == METRIC_NAME_KEY && len == 8)
    }

    /// Adds a value whose length is one byte. Returns false if the fast path must end.
    #[inline(always)]
    pub(super) fn push_value(&mut self, value: &[u8], len: usize) -> bool {
        if len.wrapping_sub(1) >= self.limits.value_bytes {
            return false;
        }
        let end = self.end;
        self.end += 1 + len;
        put(self.space, end, value, 1 + len)
    }

    /// Adds a value whose length is two bytes; `value` does not contain the length. Returns false if the fast path must
    /// end.
    #[inline(always)]
    pub(super) fn push_long_value(&mut self, value: &[u8]) -> bool {
        let len = value.len();
        let end = self.end;
        self.end += 2 + len;
        len <= self.limits.value_bytes && put_long(self.space, end, value)
    }

    /// The length so far.
    #[inline(always)]
    pub(super) fn len(&self) -> usize {
        self.end
    }

    /// Ends the label set and returns its length in canonical bytes. Returns `None` if the slow path has to check it:
    /// it is over a limit, or has no metric name.
    #[inline(always)]
    pub(super) fn finish(self, pairs: usize, named: bool) -> Option<usize> {
        let FastLabels { space, limits, end: len, .. } = self;
        if !named || pairs > limits.pairs || len > limits.set_bytes {
            return None;
        }
        *space.first_mut()? = pairs as u8;
        Some(len)
    }
}

/// Compares a name with the one at `last` in the space if both begin with the same eight bytes. Returns true if it
/// comes after that.
#[inline(never)]
fn follows(space: &[u8], last: usize, name: &[u8]) -> bool {
    fn text(name: &[u8]) -> Option<&[u8]> {
        let (len, text) = name.split_first()?;
        text.get(..usize::from(*len))
    }
    let last = space.get(last..).and_then(text);
    last.is_some_and(|last| text(name).is_some_and(|name| name > last))
}

/// Copies the first `len` bytes of `from`.
#[inline(always)]
fn put(space: &mut [u8], end: usize, from: &[u8], len: usize) -> bool {
    let Some(rest) = space.get_mut(end..) else { return false };
    if len <= 32 {
        if copy::<32>(rest, from) {
            return true;
        }
    } else if len <= 64 && copy::<64>(rest, from) {
        return true;
    }
    put_exact(rest, from, len)
}

#[inline(never)]
fn put_exact(to: &mut [u8], from: &[u8], len: usize) -> bool {
    let (Some(to), Some(from)) = (to.get_mut(..len), from.get(..len)) else { return false };
    to.copy_from_slice(from);
    true
}

#[inline(never)]
fn put_long(space: &mut [u8], end: usize, value: &[u8]) -> bool {
    let len = value.len();
    if !(128..1 << 14).contains(&len) {
        return false;
    }
    let Some([low, high, rest @ ..]) = space.get_mut(end..end + 2 + len) else { return false };
    *low = (len as u8) | 0x80;
    *high = (len >> 7) as u8;
    rest.copy_from_slice(value);
    true
}

/// Copies `N` bytes if both slices have that many.
#[inline(always)]
fn copy<const N: usize>(to: &mut [u8], from: &[u8]) -> bool {
    match (to.first_chunk_mut::<N>(), from.first_chunk::<N>()) {
        (Some(to), Some(from)) => {
            *to = *from;
            true
        }
        _ => false,
    }
}

/// The first eight bytes of a name as a number, padded with zeros, so that keys have the order of names. The slice
/// begins with the text and may continue behind it. Returns `None` if fewer than eight bytes are left in the message.
#[inline(always)]
pub(super) fn key(name: &[u8], len: usize) -> Option<u64> {
    let key = u64::from_be_bytes(*name.first_chunk::<8>()?);
    Some(if len >= 8 { key } else { key & !(u64::MAX >> (8 * len)) })
}

/// Returns true if all `bytes` are ASCII. The last bytes are checked in a group that overlaps the one before, instead
/// of one by one.
#[inline]
pub(super) fn is_ascii(bytes: &[u8]) -> bool {
    const HIGH: u64 = 0x8080_8080_8080_8080;
    let Some(last) = bytes.last_chunk::<32>() else { return bytes.is_ascii() };
    let any = |group: &[u8; 32]| {
        group.as_chunks::<8>().0.iter().fold(0, |any, word| any | u64::from_ne_bytes(*word))
    };
    let groups = bytes.as_chunks::<32>().0;
    groups.iter().fold(any(last), |found, group| found | any(group)) & HIGH == 0
}
