//! Label sets in their one representation, the *canonical bytes*:
//!
//! ```text
//! ┌─────────┬──────────┬──────┬───────────┬───────┬─────
//! │ n       │ len name │ name │ len value │ value │ ...   n pairs, sorted by name (bytes), no name twice
//! │ uvarint │ uvarint  │      │ uvarint   │       │
//! └─────────┴──────────┴──────┴───────────┴───────┴─────
//! ```
//!
//! It is what follows the reference in a series record of Prometheus' log. An empty value means that
//! the label is absent, so the canonical form has none. Equal label sets have equal bytes, so comparing
//! and hashing need no parsing.

use crate::limits::Limits;
use crate::varint;
use std::fmt;

/// The label that carries the metric's name.
pub const METRIC_NAME: &str = "__name__";

/// Why a label set is refused. Names and values in it are cut to a printable length.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum LabelError {
    /// No label has a value.
    #[error("a series without labels")]
    Empty,
    /// No `__name__`.
    #[error("a series without a metric name ({METRIC_NAME})")]
    NoMetricName,
    /// A label without a name.
    #[error("a label without a name (its value is {value:?})")]
    EmptyName {
        /// The value it has.
        value: String,
    },
    /// The same name twice.
    #[error("label {name:?} is there twice")]
    Duplicate {
        /// The name.
        name: String,
    },
    /// A name that the protocol's pattern does not allow.
    #[error("label name {name:?} is not of the form {pattern}")]
    Name {
        /// The name.
        name: String,
        /// What would be right.
        pattern: &'static str,
    },
    /// Bytes that are not UTF-8.
    #[error("{what} is not valid UTF-8: {text:?}")]
    Utf8 {
        /// `label name` or `value of label x`.
        what: String,
        /// The bytes, with replacement characters.
        text: String,
    },
    /// Over one of the [`Limits`].
    #[error("{what} is {is}, the limit is {limit}")]
    Limit {
        /// What is too large.
        what: String,
        /// How large it is.
        is: usize,
        /// How large it may be.
        limit: usize,
    },
    /// Bytes that are no canonical label set at all (a damaged record).
    #[error("not a label set in canonical bytes")]
    Malformed,
}

/// A borrowed label set in canonical bytes.
///
/// The bytes are trusted to be canonical: they come from a [`LabelsBuilder`] or passed
/// [`LabelsRef::parse`].
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct LabelsRef<'a>(&'a [u8]);

impl<'a> LabelsRef<'a> {
    /// The label set without labels.
    pub const EMPTY: LabelsRef<'static> = LabelsRef(&[0]);

    /// Takes bytes that are known to be canonical. Others make [`LabelsRef::pairs`] end early, nothing
    /// worse.
    pub const fn trusted(bytes: &'a [u8]) -> Self {
        LabelsRef(bytes)
    }

    /// Takes a label set from the front of `input`, checking its shape (lengths), not its order.
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

    /// Checks that `bytes` are one whole canonical label set: its shape, and that names increase.
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

    /// The canonical bytes.
    pub const fn as_bytes(self) -> &'a [u8] {
        self.0
    }

    /// How many labels there are.
    pub fn len(self) -> usize {
        let mut input = self.0;
        varint::take_u64(&mut input).unwrap_or(0) as usize
    }

    /// Whether there is no label.
    pub fn is_empty(self) -> bool {
        self.len() == 0
    }

    /// Names and values in order, as bytes.
    pub fn pairs(self) -> Pairs<'a> {
        let mut input = self.0;
        let left = varint::take_u64(&mut input).unwrap_or(0);
        Pairs { input, left }
    }

    /// Names and values in order, as text, with replacement characters where they are not UTF-8.
    pub fn iter(self) -> impl Iterator<Item = (std::borrow::Cow<'a, str>, std::borrow::Cow<'a, str>)> {
        self.pairs().map(|(name, value)| (String::from_utf8_lossy(name), String::from_utf8_lossy(value)))
    }

    /// The value of label `name`.
    pub fn get(self, name: &str) -> Option<&'a [u8]> {
        self.pairs().find(|(candidate, _)| *candidate == name.as_bytes()).map(|(_, value)| value)
    }

    /// The metric's name, or nothing.
    pub fn metric_name(self) -> Option<&'a [u8]> {
        self.get(METRIC_NAME)
    }

    /// An owned copy.
    pub fn to_labels(self) -> Labels {
        Labels(self.0.into())
    }
}

/// `name{a="b"}`, as in a query.
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
    /// The canonical bytes of those that are still to come, without their number.
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
    /// A label set of these pairs, in any order. For what the program itself names, not for input from
    /// outside: pairs with an empty value are left out, and of a repeated name the last counts.
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

    /// Borrows it.
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

/// Puts a label set from outside into canonical bytes: collects pairs, then checks, sorts and writes
/// them. One builder serves many sets, so that nothing is allocated per series.
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
    /// An empty builder.
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

    /// Adds a pair. An empty value means that the label is absent.
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

    /// How many pairs there are so far.
    pub fn len(&self) -> usize {
        self.pairs.len()
    }

    /// Whether there is no pair so far.
    pub fn is_empty(&self) -> bool {
        self.pairs.is_empty()
    }

    /// Whether the pairs came as they will be written: in order, and each with a value.
    pub fn is_canonical(&self) -> bool {
        !self.unsorted && !self.absent
    }

    /// The pairs so far, in the order in which they came.
    pub fn pairs(&self) -> &[(&'a [u8], &'a [u8])] {
        &self.pairs
    }

    /// Forgets the pairs, keeps the memory.
    #[inline]
    pub fn clear(&mut self) {
        self.pairs.clear();
        (self.unsorted, self.absent) = (false, false);
    }

    /// Checks the set against the rules that both protocol versions share (each name there, once, UTF-8;
    /// values UTF-8) and `limits`, and appends its canonical bytes to `out`. The metric name is not asked
    /// for: see [`LabelsRef::metric_name`]. On an error `out` is as it was. The builder is empty afterwards
    /// either way.
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
        // Lengths below 128 are ASCII themselves, so in most sets one check over all of it is enough;
        // otherwise each string is checked by itself.
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

/// The most bytes that the value of this label may have.
#[inline]
fn longest_value(name: &[u8], limits: &Limits) -> usize {
    if name == METRIC_NAME.as_bytes() {
        limits.name_bytes.min(limits.value_bytes)
    } else {
        limits.value_bytes
    }
}

/// Text for an error: at most 64 characters of `bytes`.
fn shorten(bytes: &[u8]) -> String {
    let text = String::from_utf8_lossy(bytes.get(..bytes.len().min(256)).unwrap_or_default());
    let mut short: String = text.chars().take(64).collect();
    if short.len() < bytes.len() && text.chars().count() > 64 {
        short.push('…');
    }
    short
}

/// Whether `name` is `[a-zA-Z_][a-zA-Z0-9_]*`, which remote write 1.0 asks of label names.
pub fn is_legacy_label_name(name: &[u8]) -> bool {
    name.first().is_some_and(|first| !first.is_ascii_digit())
        && name.iter().all(|byte| byte.is_ascii_alphanumeric() || *byte == b'_')
}

/// Whether `name` is `[a-zA-Z_:][a-zA-Z0-9_:]*`, which remote write 1.0 asks of metric names.
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
                assert_eq!(out, [0xee], "on an error nothing is left behind");
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
    fn faults_are_named() {
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
    fn text_split_between_a_name_and_a_value_is_not_utf8() {
        // Each string is checked by itself, not the run of bytes.
        assert!(matches!(build(&[(b"a", b"\xc3"), (b"b", b"\xa9")]), Err(LabelError::Utf8 { .. })));
    }

    #[test]
    fn a_whole_set_has_a_limit_of_its_own() {
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
    fn legacy_names() {
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
