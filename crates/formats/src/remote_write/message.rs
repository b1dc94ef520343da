//! Writes the messages inside of a time series, and the metadata of 1.0, as protocol buffers. Lengths are added up
//! before anything is written. Fields with their default value are left out.

use super::Protocol;
use model::{BucketSpan, Counts, Histogram, LabelsRef, Metadata, varint};

/// The tag of a field with a length.
const fn tag(number: u8) -> u8 {
    number << 3 | 2
}

pub(super) const TIMESERIES_V1: u8 = tag(1);
pub(super) const TIMESERIES_V2: u8 = tag(5);
pub(super) const SERIES_LABELS: u8 = tag(1);
pub(super) const SERIES_METADATA_V2: u8 = tag(5);
pub(super) const EXEMPLAR_V1: u8 = tag(3);
pub(super) const EXEMPLAR_V2: u8 = tag(4);
pub(super) const EXEMPLAR_LABELS: u8 = tag(1);
const FAMILY_METADATA: u8 = tag(3);
const SAMPLES: u8 = tag(2);
const HISTOGRAMS_V1: u8 = tag(4);
const HISTOGRAMS_V2: u8 = tag(3);

/// A small message of numbers on the stack. It has space for the numbers at the beginning of a histogram, at most 46
/// bytes, and in front of them for a tag and a length.
#[derive(Debug)]
pub(super) struct Message {
    bytes: [u8; 64],
    end: usize,
}

/// A tag and a length below 128.
const HEADER_BYTES: usize = 2;

impl Message {
    #[inline]
    pub(super) fn new() -> Self {
        Message { bytes: [0; 64], end: HEADER_BYTES }
    }

    /// Adds an integer field. Signed integers are passed in two's complement, as on the wire.
    #[inline]
    pub(super) fn varint(self, number: u8, value: u64) -> Self {
        if value == 0 { self } else { self.one_of_varint(number, value) }
    }

    /// Adds a float field. Minus zero is not the default value.
    #[inline]
    pub(super) fn double(self, number: u8, value: f64) -> Self {
        if value.to_bits() == 0 { self } else { self.one_of_double(number, value) }
    }

    /// Adds an integer field of a `oneof`. It is written even if it is zero, because it shows which field of the
    /// `oneof` is set.
    #[inline]
    pub(super) fn one_of_varint(mut self, number: u8, value: u64) -> Self {
        if let Some([tag, target @ ..]) = self.bytes.get_mut(self.end..) {
            *tag = number << 3;
            self.end += 1 + write_varint(target, value);
        }
        self
    }

    /// Adds a float field of a `oneof`.
    #[inline]
    pub(super) fn one_of_double(mut self, number: u8, value: f64) -> Self {
        if let Some([tag, target @ ..]) = self.bytes.get_mut(self.end..)
            && let Some(target) = target.first_chunk_mut::<8>()
        {
            *tag = number << 3 | 1;
            *target = value.to_le_bytes();
            self.end += 9;
        }
        self
    }

    pub(super) fn len(&self) -> usize {
        self.end - HEADER_BYTES
    }

    /// Appends the fields.
    pub(super) fn append_to(&self, out: &mut Vec<u8>) {
        out.extend_from_slice(self.bytes.get(HEADER_BYTES..self.end).unwrap_or_default());
    }

    /// Appends the message as a field of another message.
    #[inline]
    pub(super) fn put(mut self, out: &mut Vec<u8>, tag: u8) {
        let length = self.len() as u8;
        let [first, second, ..] = &mut self.bytes;
        (*first, *second) = (tag, length);
        out.extend_from_slice(self.bytes.get(..self.end).unwrap_or_default());
    }
}

/// Writes a varint to the front of `target`, which must be long enough, and returns its length.
#[inline]
pub(super) fn write_varint(target: &mut [u8], value: u64) -> usize {
    if let [first, ..] = target
        && value < 0x80
    {
        *first = value as u8;
        return 1;
    }
    if let [first, second, ..] = target
        && value < 0x4000
    {
        (*first, *second) = (value as u8 | 0x80, (value >> 7) as u8);
        return 2;
    }
    let mut value = value;
    let mut length = 0;
    for byte in target {
        length += 1;
        if value < 0x80 {
            *byte = value as u8;
            break;
        }
        *byte = value as u8 | 0x80;
        value >>= 7;
    }
    length
}

/// The length of a field with this many bytes of content, including its tag of one byte.
#[inline]
pub(super) const fn field_len(length: usize) -> usize {
    1 + varint::len_u64(length as u64) + length
}

#[inline]
pub(super) fn put_header(out: &mut Vec<u8>, tag: u8, length: usize) {
    out.push(tag);
    varint::put_u64(out, length as u64);
}

/// The length of a `Label` without its tag and length.
#[inline]
fn label_len(name: &[u8], value: &[u8]) -> usize {
    field_len(name.len()) + field_len(value.len())
}

/// The length of the output of [`put_labels`].
#[inline]
pub(super) fn labels_len(labels: LabelsRef<'_>) -> usize {
    labels.pairs().map(|(name, value)| field_len(label_len(name, value))).sum()
}

/// Appends a `Label` for each pair.
#[inline]
pub(super) fn put_labels(out: &mut Vec<u8>, field: u8, labels: LabelsRef<'_>) {
    let start = out.len();
    let canonical = labels.as_bytes();
    let pairs = canonical.first().copied().unwrap_or_default();
    out.resize(start + canonical.len() + usize::from(pairs) * SHORT_LABEL_BYTES + SLACK_BYTES, 0);
    let space = out.get_mut(start..).unwrap_or_default();
    match put_short_labels(space, field, canonical) {
        Some(length) => out.truncate(start + length),
        None => {
            out.truncate(start);
            put_any_labels(out, field, labels);
        }
    }
}

fn put_any_labels(out: &mut Vec<u8>, field: u8, labels: LabelsRef<'_>) {
    for (name, value) in labels.pairs() {
        put_header(out, field, label_len(name, value));
        out.push(tag(1));
        varint::put_bytes(out, name);
        out.push(tag(2));
        varint::put_bytes(out, value);
    }
}

/// The number of bytes that a `Label` below 128 bytes needs on the wire in addition to its canonical bytes: three tags
/// and its length.
pub(super) const SHORT_LABEL_BYTES: usize = 4;

/// The space must be this much longer than the labels, so that chunks can run over its end.
const SLACK_BYTES: usize = 64;

/// Fast path for labels of less than 128 bytes, as nearly all are: their lengths are one byte, so a name or value is
/// copied together with its length. Returns the number of bytes written.
#[inline(never)] // by itself its variables fit the registers
fn put_short_labels(space: &mut [u8], field: u8, canonical: &[u8]) -> Option<usize> {
    let (pairs, mut rest) = canonical.split_first()?;
    if *pairs >= 128 {
        // The number of labels needs two bytes.
        return None;
    }
    let mut end = 0;
    for _ in 0..*pairs {
        let name = rest;
        let name_len = 1 + usize::from(*name.first()?);
        let value = name.get(name_len..)?;
        let value_len = 1 + usize::from(*value.first()?);
        rest = value.get(value_len..)?;
        let length = name_len + value_len + 2;
        if length >= 128 {
            return None;
        }
        let [field_tag, label_len, name_tag, target @ ..] = space.get_mut(end..)? else { return None };
        (*field_tag, *label_len, *name_tag) = (field, length as u8, tag(1));
        copy_short(target, name, name_len)?;
        let [value_tag, target @ ..] = target.get_mut(name_len..)? else { return None };
        *value_tag = tag(2);
        copy_short(target, value, value_len)?;
        end += 2 + length;
    }
    rest.is_empty().then_some(end)
}

/// Copies `len` bytes and the bytes behind them up to the size of the chunk.
#[inline(always)]
fn copy_short(to: &mut [u8], from: &[u8], len: usize) -> Option<()> {
    if len <= 32 {
        if let (Some(to), Some(from)) = (to.first_chunk_mut::<32>(), from.first_chunk::<32>()) {
            *to = *from;
            return Some(());
        }
    } else if len <= 64
        && let (Some(to), Some(from)) = (to.first_chunk_mut::<64>(), from.first_chunk::<64>())
    {
        *to = *from;
        return Some(());
    }
    to.get_mut(..len)?.copy_from_slice(from.get(..len)?);
    Some(())
}

/// Appends label references as a packed field 1. `length` is their [`references_len`].
#[inline]
pub(super) fn put_references(out: &mut Vec<u8>, references: &[u32], length: usize) {
    if references.is_empty() {
        return;
    }
    put_header(out, tag(1), length);
    let start = out.len();
    out.resize(start + length, 0);
    let mut space = out.get_mut(start..).unwrap_or_default();
    for reference in references {
        let used = write_varint(space, u64::from(*reference));
        space = space.get_mut(used..).unwrap_or_default();
    }
}

/// The length of references, without the tag and length of their field.
#[inline]
pub(super) fn references_len(references: &[u32]) -> usize {
    // Most need one or two bytes.
    let length = |reference: u32| match reference {
        0..0x4000 => 1 + usize::from(reference >= 0x80),
        _ => varint::len_u64(u64::from(reference)),
    };
    references.iter().map(|reference| length(*reference)).sum()
}

/// The length of the output of [`put_references`].
#[inline]
pub(super) const fn references_field_len(length: usize) -> usize {
    if length == 0 { 0 } else { field_len(length) }
}

#[inline]
pub(super) fn put_sample(out: &mut Vec<u8>, protocol: Protocol, timestamp: i64, start: i64, value: f64) {
    let start = if protocol == Protocol::V2 { start } else { 0 };
    let fields = Message::new().double(1, value).varint(2, timestamp as u64).varint(3, start as u64);
    fields.put(out, SAMPLES);
}

/// A `MetricMetadata` of 1.0, with its tag.
pub(super) fn put_family_metadata(out: &mut Vec<u8>, metadata: &Metadata) {
    let kind = Message::new().varint(1, metadata.kind as u64);
    let texts = [(2, &metadata.family), (4, &metadata.help), (5, &metadata.unit)];
    let texts = texts.into_iter().filter(|(_, text)| !text.is_empty());
    let length = kind.len() + texts.clone().map(|(_, text)| field_len(text.len())).sum::<usize>();
    put_header(out, FAMILY_METADATA, length);
    kind.append_to(out);
    for (number, text) in texts {
        out.push(tag(number));
        varint::put_bytes(out, text.as_bytes());
    }
}

/// The lists of one side of a histogram with the numbers of their fields.
struct Side<'a> {
    spans: (u8, &'a [BucketSpan]),
    deltas: (u8, &'a [i64]),
    counts: (u8, &'a [f64]),
}

impl Side<'_> {
    fn span(span: &BucketSpan) -> Message {
        let offset = varint::zigzag(i64::from(span.offset)) as u32;
        Message::new().varint(1, u64::from(offset)).varint(2, u64::from(span.length))
    }

    fn deltas_len(&self) -> usize {
        self.deltas.1.iter().map(|delta| varint::len_u64(varint::zigzag(*delta))).sum()
    }

    fn len(&self) -> usize {
        let spans: usize = self.spans.1.iter().map(|span| field_len(Self::span(span).len())).sum();
        let deltas = if self.deltas.1.is_empty() { 0 } else { field_len(self.deltas_len()) };
        spans + deltas + doubles_len(self.counts.1)
    }

    fn put(&self, out: &mut Vec<u8>) {
        for span in self.spans.1 {
            Self::span(span).put(out, tag(self.spans.0));
        }
        if !self.deltas.1.is_empty() {
            put_header(out, tag(self.deltas.0), self.deltas_len());
            for delta in self.deltas.1 {
                varint::put_i64(out, *delta);
            }
        }
        put_doubles(out, self.counts.0, self.counts.1);
    }
}

fn doubles_len(values: &[f64]) -> usize {
    if values.is_empty() { 0 } else { doubles_header_len(values) + 8 * values.len() }
}

/// `custom_values` is the only list whose field number is 16 or above, so its tag has two bytes.
fn doubles_header_len(values: &[f64]) -> usize {
    1 + varint::len_u64(8 * values.len() as u64)
}

fn put_doubles(out: &mut Vec<u8>, number: u8, values: &[f64]) {
    if values.is_empty() {
        return;
    }
    varint::put_u64(out, u64::from(number) << 3 | 2);
    varint::put_u64(out, 8 * values.len() as u64);
    for value in values {
        out.extend_from_slice(&value.to_le_bytes());
    }
}

pub(super) fn put_histogram(
    out: &mut Vec<u8>,
    protocol: Protocol,
    timestamp: i64,
    start: i64,
    histogram: &Histogram,
) {
    let no_deltas: &[i64] = &[];
    let no_counts: &[f64] = &[];
    let (positive, negative, head) = match &histogram.counts {
        Counts::Integer { count, zero, positive, negative } => {
            let head = Message::new().one_of_varint(1, *count).one_of_varint(6, *zero);
            ((&**positive, no_counts), (&**negative, no_counts), head)
        }
        Counts::Float { count, zero, positive, negative } => {
            let head = Message::new().one_of_double(2, *count).one_of_double(7, *zero);
            ((no_deltas, &**positive), (no_deltas, &**negative), head)
        }
    };
    let schema = varint::zigzag(i64::from(histogram.schema)) as u32;
    let head = head.double(3, histogram.sum).varint(4, u64::from(schema)).double(5, histogram.zero_threshold);
    let negative =
        Side { spans: (8, &histogram.negative_spans), deltas: (9, negative.0), counts: (10, negative.1) };
    let positive =
        Side { spans: (11, &histogram.positive_spans), deltas: (12, positive.0), counts: (13, positive.1) };
    let tail = Message::new().varint(14, histogram.reset_hint as u64).varint(15, timestamp as u64);
    let custom = &histogram.custom_values;
    let custom_len = if custom.is_empty() { 0 } else { 1 + doubles_len(custom) };
    let start = if protocol == Protocol::V2 { start as u64 } else { 0 };
    let start_len = if start == 0 { 0 } else { 2 + varint::len_u64(start) };
    let length = head.len() + negative.len() + positive.len() + tail.len() + custom_len + start_len;
    let field = if protocol == Protocol::V1 { HISTOGRAMS_V1 } else { HISTOGRAMS_V2 };
    put_header(out, field, length);
    head.append_to(out);
    negative.put(out);
    positive.put(out);
    tail.append_to(out);
    put_doubles(out, 16, custom);
    if start != 0 {
        varint::put_u64(out, 17 << 3);
        varint::put_u64(out, start);
    }
}
