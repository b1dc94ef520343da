//! Label sets in their only representation, the *canonical bytes*:
//!
//! ```text
//! ┌─────────┬──────────┬──────┬───────────┬───────┬─────
//! │ n       │ len name │ name │ len value │ value │ ...   n pairs, sorted by name (bytes), no name twice
//! │ uvarint │ uvarint  │      │ uvarint   │       │
//! └─────────┴──────────┴──────┴───────────┴───────┴─────
//! ```
//!
//! This is the encoding of label sets in the series records of Prometheus' log. A label with an empty value
//! counts as absent, so the canonical form contains none. Equal label sets have equal bytes, so they can be
//! compared and hashed without parsing.

use crate::limits::Limits;
use crate::varint;
use std::fmt;

/// The label with the metric's name.
pub const METRIC_NAME: &str = "__name__";

/// Why a label set is refused. Long names and values are shortened.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum LabelError {
    /// No label has a value.
    #[error("a series without labels")]
    Empty,
    /// There is no `__name__` label.
    #[error("a series without a metric name ({METRIC_NAME})")]
    NoMetricName,
    /// A label has no name.
    #[error("a label without a name (its value is {value:?})")]
    EmptyName {
        /// The label's value.
        value: String,
    },
    /// A name appears twice.
    #[error("label {name:?} is there twice")]
    Duplicate { name: String },
    /// A name does not match the pattern of the protocol.
    #[error("label name {name:?} is not of the form {pattern}")]
    Name {
        name: String,
        /// The pattern that names must match.
        pattern: &'static str,
    },
    /// A name or value is not UTF-8.
    #[error("{what} is not valid UTF-8: {text:?}")]
    Utf8 {
        /// `label name`, or `the value of label` and the name.
        what: String,
        /// The text, with replacement characters.
        text: String,
    },
    /// One of the [`Limits`] is exceeded.
    #[error("{what} is {is}, the limit is {limit}")]
    Limit {
        /// Description of what is too large.
        what: String,
        /// The actual size.
        is: usize,
        /// The allowed size.
        limit: usize,
    },
    /// The bytes are not a canonical label set, as in a damaged record.
    #[error("not a label set in canonical bytes")]
    Malformed,
}

/// A borrowed label set in canonical bytes.
///
/// The bytes must be canonical: they come from a [`LabelsBuilder`] or were checked by [`LabelsRef::parse`].
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct LabelsRef<'a>(&'a [u8]);

impl<'a> LabelsRef<'a> {
    pub const EMPTY: LabelsRef<'static> = LabelsRef(&[0]);

    /// Wraps bytes that are known to be canonical. With other bytes, [`LabelsRef::pairs`] only ends early.
    pub const fn trusted(bytes: &'a [u8]) -> Self {
        LabelsRef(bytes)
    }

    /// Reads a label set from the front of `input`. Its lengths are checked, its order is not.
    pub fn take(input: &mut &'a [u8]) -> Result<Self, LabelError> {
        let start = *input;
        let mut rest = start;
        let count = varint::take_u64(&mut rest).ok_or(LabelError::Malformed)?;
        for _ in 0..count {
            varint::take_bytes(&mut rest).ok_or(LabelError::Malformed)?;
            varint::take_bytes(&mut rest).ok_or(LabelError::Malformed)?;
        }
        let used = start.len() - rest.len();
        let (bytes, rest) = start.split_at_checked(used).ok_or(LabelError::Malformed)?;
        *input = rest;
        Ok(LabelsRef(bytes))
    }

    /// Checks that `bytes` are exactly one canonical label set: lengths and the order of names.
    pub fn parse(bytes: &'a [u8]) -> Result<Self, LabelError> {
        let mut rest = bytes;
        let labels = Self::take(&mut rest)?;
        let mut last: Option<&[u8]> = None;
        for (name, value) in labels.pairs() {
            if value.is_empty() || last.is_some_and(|last| last >= name) {
                return Err(LabelError::Malformed);
            }
            last = Some(name);
        }
        if rest.is_empty() { Ok(labels) } else { Err(LabelError::Malformed) }
    }

    pub const fn as_bytes(self) -> &'a [u8] {
        self.0
    }

    /// Number of labels.
    pub fn len(self) -> usize {
        let mut input = self.0;
        varint::take_u64(&mut input).unwrap_or(0) as usize
    }

    pub fn is_empty(self) -> bool {
        self.len() == 0
    }

    /// The names and values in order, as bytes.
    pub fn pairs(self) -> Pairs<'a> {
        let mut input = self.0;
        let left = varint::take_u64(&mut input).unwrap_or(0);
        Pairs { input, left }
    }

    /// The names and values in order, as text. Bytes that are not UTF-8 become replacement characters.
    pub fn iter(self) -> impl Iterator<Item = (std::borrow::Cow<'a, str>, std::borrow::Cow<'a, str>)> {
        self.pairs().map(|(name, value)| (String::from_utf8_lossy(name), String::from_utf8_lossy(value)))
    }

    /// Returns the value of label `name`.
    pub fn get(self, name: &str) -> Option<&'a [u8]> {
        self.pairs().find(|(candidate, _)| *candidate == name.as_bytes()).map(|(_, value)| value)
    }

    /// Returns the metric's name, or `None`.
    pub fn metric_name(self) -> Option<&'a [u8]> {
        self.get(METRIC_NAME)
    }

    pub fn to_labels(self) -> Labels {
        Labels(self.0.into())
    }
}

/// Formats the set as in a query: `name{a="b"}`.
impl fmt::Display for LabelsRef<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if let Some(name) = self.metric_name() {
            f.write_str(&String::from_utf8_lossy(name))?;
        }
        let mut open = false;
        for (name, value) in self.iter().filter(|(name, _)| name != METRIC_NAME) {
            write!(f, "{}{name}={value:?}", if open { "," } else { "{" })?;
            open = true;
        }
        if open { f.write_str("}") } else { Ok(()) }
    }
}

impl fmt::Debug for LabelsRef<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, f)
    }
}

/// The iterator of [`LabelsRef::pairs`].
#[derive(Debug, Clone)]
pub struct Pairs<'a> {
    input: &'a [u8],
    left: u64,
}

impl<'a> Pairs<'a> {
    /// The canonical bytes of the remaining pairs, without their number.
    pub const fn as_bytes(&self) -> &'a [u8] {
        self.input
    }
}

impl<'a> Iterator for Pairs<'a> {
    type Item = (&'a [u8], &'a [u8]);

    #[inline]
    fn next(&mut self) -> Option<Self::Item> {
        self.left = self.left.checked_sub(1)?;
        Some((varint::take_bytes(&mut self.input)?, varint::take_bytes(&mut self.input)?))
    }
}

/// An owned label set in canonical bytes.
#[derive(Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Labels(Box<[u8]>);

impl Labels {
    /// Makes a label set of pairs in any order. Pairs with an empty value are left out, and the last value of
    /// a repeated name is used. For labels that narthex itself defines, not for input from outside.
    pub fn from_pairs<'a>(pairs: impl IntoIterator<Item = (&'a str, &'a str)>) -> Self {
        let mut by_name = std::collections::BTreeMap::new();
        for (name, value) in pairs {
            by_name.insert(name, value);
        }
        by_name.retain(|_, value| !value.is_empty());
        let mut bytes = Vec::with_capacity(64);
        varint::put_u64(&mut bytes, by_name.len() as u64);
        for (name, value) in by_name {
            varint::put_bytes(&mut bytes, name.as_bytes());
            varint::put_bytes(&mut bytes, value.as_bytes());
        }
        Labels(bytes.into())
    }

    pub fn as_ref(&self) -> LabelsRef<'_> {
        LabelsRef(&self.0)
    }
}

impl fmt::Debug for Labels {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(&self.as_ref(), f)
    }
}

impl fmt::Display for Labels {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(&self.as_ref(), f)
    }
}

/// Converts a label set from outside into canonical bytes: it collects pairs, then checks, sorts and writes
/// them. A builder can be used for many sets, so that no memory is allocated per series.
///
/// ```
/// use model::{LabelsBuilder, LabelsRef, Limits};
/// let mut builder = LabelsBuilder::new();
/// builder.push(b"job", b"backup");
/// builder.push(b"__name__", b"up");
/// let mut out = Vec::new();
/// builder.finish(&Limits::default(), &mut out).unwrap();
/// assert_eq!(LabelsRef::trusted(&out).to_string(), r#"up{job="backup"}"#);
/// ```
#[derive(Debug, Default)]
pub struct LabelsBuilder<'a> {
    pairs: Vec<(&'a [u8], &'a [u8])>,
    unsorted: bool,
    absent: bool,
}

impl<'a> LabelsBuilder<'a> {
    pub fn new() -> Self {
        Self::default()
    }

    /// An empty builder for strings that live elsewhere, with the memory of this one.
    pub fn recycle<'b>(self) -> LabelsBuilder<'b> {
        let mut pairs = self.pairs;
        pairs.clear();
        // Collecting what has the same layout happens in place.
        let pairs = pairs.into_iter().map(|_| (&[][..], &[][..])).collect();
        LabelsBuilder { pairs, unsorted: false, absent: false }
    }

    /// Adds a pair. A label with an empty value counts as absent.
    #[inline]
    pub fn push(&mut self, name: &'a [u8], value: &'a [u8]) {
        if value.is_empty() && !name.is_empty() {
            self.absent = true;
            return;
        }
        if let Some((last, _)) = self.pairs.last() {
            self.unsorted |= *last >= name;
        }
        self.pairs.push((name, value));
    }

    /// Number of pairs added so far.
    pub fn len(&self) -> usize {
        self.pairs.len()
    }

    /// Returns true if no pair was added.
    pub fn is_empty(&self) -> bool {
        self.pairs.is_empty()
    }

    /// Returns true if the pairs were added in the form in which they will be written: in order, and each
    /// with a value.
    pub fn is_canonical(&self) -> bool {
        !self.unsorted && !self.absent
    }

    /// The pairs so far, in the order in which they were added.
    pub fn pairs(&self) -> &[(&'a [u8], &'a [u8])] {
        &self.pairs
    }

    /// Removes the pairs and keeps the memory.
    #[inline]
    pub fn clear(&mut self) {
        self.pairs.clear();
        (self.unsorted, self.absent) = (false, false);
    }

    /// Appends the canonical bytes of the set to `out`. First it checks the rules that both protocol versions
    /// share (each name present, unique and UTF-8, each value UTF-8), and `limits`. A metric name is not
    /// required: see [`LabelsRef::metric_name`]. After an error `out` is unchanged. The builder is empty
    /// afterwards in any case.
    #[inline]
    pub fn finish(&mut self, limits: &Limits, out: &mut Vec<u8>) -> Result<(), LabelError> {
        let start = out.len();
        let result = self.write(limits, out, start);
        if result.is_err() {
            out.truncate(start);
        }
        self.clear();
        result
    }

    #[inline]
    fn write(&mut self, limits: &Limits, out: &mut Vec<u8>, start: usize) -> Result<(), LabelError> {
        if self.unsorted {
            self.pairs.sort_by_key(|(name, _)| *name);
            for (pair, next) in self.pairs.iter().zip(self.pairs.iter().skip(1)) {
                if pair.0 == next.0 {
                    return Err(LabelError::Duplicate { name: shorten(pair.0) });
                }
            }
        }
        if self.pairs.len() > limits.labels {
            let is = self.pairs.len();
            return Err(LabelError::Limit { what: "the number of labels".into(), is, limit: limits.labels });
        }
        varint::put_u64(out, self.pairs.len() as u64);
        for &(name, value) in &self.pairs {
            if name.is_empty() || name.len() > limits.name_bytes || value.len() > longest_value(name, limits)
            {
                return Err(Self::explain(name, value, limits));
            }
            varint::put_bytes(out, name);
            varint::put_bytes(out, value);
        }
        let written = out.get(start..).unwrap_or_default();
        if written.len() > limits.set_bytes {
            let (is, limit) = (written.len(), limits.set_bytes);
            return Err(LabelError::Limit { what: "the label set's size in bytes".into(), is, limit });
        }
        // Hot path: lengths below 128 are ASCII bytes too, so for most sets one check of all bytes suffices.
        // Otherwise each string is checked separately.
        if !written.is_ascii() {
            for &(name, value) in &self.pairs {
                if std::str::from_utf8(name).is_err() {
                    return Err(LabelError::Utf8 { what: "label name".into(), text: shorten(name) });
                }
                if std::str::from_utf8(value).is_err() {
                    let what = format!("the value of label {:?}", shorten(name));
                    return Err(LabelError::Utf8 { what, text: shorten(value) });
                }
            }
        }
        Ok(())
    }

    #[cold]
    fn explain(name: &[u8], value: &[u8], limits: &Limits) -> LabelError {
        if name.is_empty() {
            LabelError::EmptyName { value: shorten(value) }
        } else if name.len() > limits.name_bytes {
            let what = format!("the length of label name {:?}", shorten(name));
            LabelError::Limit { what, is: name.len(), limit: limits.name_bytes }
        } else if name == METRIC_NAME.as_bytes() && value.len() > limits.name_bytes {
            let what = format!("the length of the metric name {:?}", shorten(value));
            LabelError::Limit { what, is: value.len(), limit: limits.name_bytes }
        } else {
            let what = format!("the length of the value of label {:?}", shorten(name));
            LabelError::Limit { what, is: value.len(), limit: limits.value_bytes }
        }
    }
}

/// The longest value, in bytes, that this label may have.
#[inline]
fn longest_value(name: &[u8], limits: &Limits) -> usize {
    if name == METRIC_NAME.as_bytes() {
        limits.name_bytes.min(limits.value_bytes)
    } else {
        limits.value_bytes
    }
}

/// Returns at most 64 characters of `bytes`, for an error message.
fn shorten(bytes: &[u8]) -> String {
    let text = String::from_utf8_lossy(bytes.get(..bytes.len().min(256)).unwrap_or_default());
    let mut short: String = text.chars().take(64).collect();
    if short.len() < bytes.len() && text.chars().count() > 64 {
        short.push('…');
    }
    short
}

/// Returns true if `name` matches `[a-zA-Z_][a-zA-Z0-9_]*`, which remote write 1.0 requires of label names.
pub fn is_legacy_label_name(name: &[u8]) -> bool {
    name.first().is_some_and(|first| !first.is_ascii_digit())
        && name.iter().all(|byte| byte.is_ascii_alphanumeric() || *byte == b'_')
}

/// Returns true if `name` matches `[a-zA-Z_:][a-zA-Z0-9_:]*`, which remote write 1.0 requires of metric
/// names.
pub fn is_legacy_metric_name(name: &[u8]) -> bool {
    name.first().is_some_and(|first| !first.is_ascii_digit())
        && name.iter().all(|byte| byte.is_ascii_alphanumeric() || matches!(byte, b'_' | b':'))
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn build(pairs: &[(&[u8], &[u8])]) -> Result<String, LabelError> {
        let mut builder = LabelsBuilder::new();
        for (name, value) in pairs {
            builder.push(name, value);
        }
        let mut out = vec![0xee];
        let result = builder.finish(&Limits::default(), &mut out);
        match result {
            Ok(()) => {
                let labels = LabelsRef::parse(&out[1..]).expect("canonical");
                Ok(labels.to_string())
            }
            Err(error) => {
                assert_eq!(out, [0xee], "on an error nothing is written");
                Err(error)
            }
        }
    }

    #[test]
    fn unsorted_labels_are_sorted_and_empty_values_left_out() {
        let set = build(&[(b"z", b"1"), (b"__name__", b"up"), (b"gone", b""), (b"a", "é".as_bytes())]);
        assert_eq!(set.unwrap(), r#"up{a="é",z="1"}"#);
    }

    #[test]
    fn each_fault_has_its_own_error() {
        assert_eq!(
            build(&[(b"a", b"1"), (b"b", b"2"), (b"a", b"3")]),
            Err(LabelError::Duplicate { name: "a".into() })
        );
        assert_eq!(build(&[(b"", b"1")]), Err(LabelError::EmptyName { value: "1".into() }));
        assert!(matches!(build(&[(b"a", b"\xff")]), Err(LabelError::Utf8 { .. })));
        let long = [b'x'; 2000];
        assert!(matches!(build(&[(&long, b"1")]), Err(LabelError::Limit { is: 2000, limit: 1024, .. })));
        let names: Vec<String> = (0..129).map(|i| format!("l{i}")).collect();
        let many: Vec<(&[u8], &[u8])> = names.iter().map(|name| (name.as_bytes(), &b"1"[..])).collect();
        assert!(matches!(build(&many), Err(LabelError::Limit { is: 129, limit: 128, .. })));
    }

    #[test]
    fn characters_split_across_strings_are_not_utf8() {
        // Each string is checked separately: together these bytes would be valid UTF-8.
        assert!(matches!(build(&[(b"a", b"\xc3"), (b"b", b"\xa9")]), Err(LabelError::Utf8 { .. })));
    }

    #[test]
    fn the_whole_set_has_its_own_limit() {
        let limits = Limits::default();
        let build = |bytes: usize| {
            // Each value is within its own limit.
            let values: Vec<String> = (0..5).map(|_| "x".repeat(bytes / 5)).collect();
            let names = ["a", "b", "c", "d", "e"];
            let mut builder = LabelsBuilder::new();
            for (name, value) in names.iter().zip(&values) {
                builder.push(name.as_bytes(), value.as_bytes());
            }
            builder.finish(&limits, &mut Vec::new())
        };
        assert_eq!(build(limits.set_bytes - 100), Ok(()));
        let refused = build(limits.set_bytes + 5);
        assert!(matches!(refused, Err(LabelError::Limit { is: 65_537.., limit: 65_536, .. })), "{refused:?}");
    }

    #[test]
    fn legacy_name_patterns_are_checked() {
        assert!(is_legacy_label_name(b"_a1") && !is_legacy_label_name(b"1a") && !is_legacy_label_name(b""));
        assert!(!is_legacy_label_name(b"a:b") && is_legacy_metric_name(b"a:b"));
    }

    proptest! {
        #[test]
        fn any_bytes_parse_or_are_refused(bytes: Vec<u8>) {
            if let Ok(labels) = LabelsRef::parse(&bytes) {
                prop_assert_eq!(labels.pairs().count(), labels.len());
            }
            prop_assert!(LabelsRef::trusted(&bytes).pairs().count() <= bytes.len());
        }

        #[test]
        fn equal_sets_have_equal_bytes(mut pairs in prop::collection::btree_map("[a-z]{1,5}", "[a-z]{1,5}", 1..8)
            .prop_map(|map| map.into_iter().collect::<Vec<_>>()), rotate in 0usize..8) {
            let sorted = Labels::from_pairs(pairs.iter().map(|(n, v)| (n.as_str(), v.as_str())));
            let by = rotate % pairs.len();
            pairs.rotate_left(by);
            let mut builder = LabelsBuilder::new();
            for (name, value) in &pairs {
                builder.push(name.as_bytes(), value.as_bytes());
            }
            let mut out = Vec::new();
            builder.finish(&Limits::default(), &mut out).unwrap();
            prop_assert_eq!(LabelsRef::parse(&out).unwrap(), sorted.as_ref());
        }
    }
}
