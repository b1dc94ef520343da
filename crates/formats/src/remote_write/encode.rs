//! Writes requests of either version, series by series.
//!
//! The message of a time series begins with its length, which is known only after its last point. So the encoder leaves
//! space for the length of a series with one float sample. The labels are moved only if the final length needs another
//! number of bytes.

use super::Protocol;
use super::interner::Interner;
use super::message::{self, Message};
use model::{Batch, Histogram, LabelsRef, Metadata, Point, Value, histogram, varint};
use std::ops::Range;

/// Data that a version of the protocol can't represent.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, thiserror::Error)]
pub enum Unsupported {
    /// A native histogram with custom bucket bounds, in 1.0.
    #[error("remote write 1.0 has no native histograms with custom buckets")]
    CustomBuckets,
}

/// The usual length of a float sample: tag, length, value and timestamp.
const SAMPLE_BYTES: usize = 18;

/// Writes the uncompressed body of a request.
///
/// Push a series, then its points in the order in which they are to be delivered:
///
/// ```
/// use formats::remote_write::{DecodeOptions, Encoder, Protocol, decode};
/// let labels = model::Labels::from_pairs([("__name__", "up"), ("job", "backup")]);
/// let mut encoder = Encoder::new(Protocol::V2);
/// encoder.push_series(labels.as_ref(), None);
/// encoder.push_float(1_700_000_000_000, 0, 1.0);
/// let body = encoder.finish().to_vec();
/// encoder.clear(); // and on with the next request, in the same memory
/// let decoded = decode(Protocol::V2, &body, &DecodeOptions::default()).unwrap();
/// assert_eq!(decoded.batch.labels(0), labels.as_ref());
/// ```
///
/// A receiver reads the floats of a time series first and then its histograms. To keep the order of both, a new time
/// series with the same labels begins where the kind of the points changes. A series without points is left out.
#[derive(Debug)]
pub struct Encoder {
    protocol: Protocol,
    /// Time series, and in 1.0 also metadata.
    out: Vec<u8>,
    symbols: Interner,
    /// The whole body of 2.0: symbols, and then time series.
    body: Vec<u8>,
    /// The current series.
    open: Option<Open>,
    /// `Metadata` of the current series (2.0).
    metadata: Vec<u8>,
    /// The label references of an exemplar.
    references: Vec<u32>,
}

/// The position of the current series' message.
#[derive(Debug, Clone)]
struct Open {
    /// The position of its tag.
    start: usize,
    /// The number of bytes that are reserved for its length.
    gap: usize,
    /// The labels with their tags.
    labels: Range<usize>,
    kind: Kind,
    points: usize,
}

/// The kind of points in a time series.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Kind {
    Exemplars,
    Floats,
    Histograms,
}

impl Encoder {
    pub fn new(protocol: Protocol) -> Self {
        Encoder {
            protocol,
            out: Vec::new(),
            symbols: Interner::new(),
            body: Vec::new(),
            open: None,
            metadata: Vec::new(),
            references: Vec::new(),
        }
    }

    pub fn is_empty(&self) -> bool {
        self.out.is_empty()
    }

    /// The size of the body if it were finished now. It can be wrong by the few bytes of a length.
    pub fn encoded_bytes(&self) -> usize {
        match self.protocol {
            Protocol::V1 => self.out.len(),
            Protocol::V2 => self.out.len() + self.metadata.len() + self.symbols.encoded().len(),
        }
    }

    /// Begins a series; its points follow. `metadata` is written in 2.0 only: 1.0 has no metadata of series, see
    /// [`Encoder::push_metadata`]. Its family is not written, because 2.0 derives it from the metric name.
    pub fn push_series(&mut self, labels: LabelsRef<'_>, metadata: Option<&Metadata>) {
        self.close();
        match self.protocol {
            Protocol::V1 => {
                // Exact if all labels are shorter than 128 bytes; otherwise slightly too low.
                let length = labels.as_bytes().len() + labels.len() * message::SHORT_LABEL_BYTES;
                Self::begin(&mut self.out, &mut self.open, message::TIMESERIES_V1, length);
                message::put_labels(&mut self.out, message::SERIES_LABELS, labels);
            }
            Protocol::V2 => {
                let references = self.symbols.intern_labels(labels);
                let length = message::references_len(references);
                let field = message::references_field_len(length);
                Self::begin(&mut self.out, &mut self.open, message::TIMESERIES_V2, field);
                message::put_references(&mut self.out, references, length);
                self.put_metadata_v2(metadata);
            }
        }
        if let Some(open) = &mut self.open {
            open.labels.end = self.out.len();
        }
    }

    fn put_metadata_v2(&mut self, metadata: Option<&Metadata>) {
        self.metadata.clear();
        let Some(metadata) = metadata else { return };
        let help = self.symbols.intern(metadata.help.as_bytes());
        let unit = self.symbols.intern(metadata.unit.as_bytes());
        if help == 0 && unit == 0 && metadata.kind as u8 == 0 {
            return;
        }
        let fields =
            Message::new().varint(1, metadata.kind as u64).varint(3, help.into()).varint(4, unit.into());
        fields.put(&mut self.metadata, message::SERIES_METADATA_V2);
    }

    /// Begins the message of a time series that has about this many bytes of labels.
    fn begin(out: &mut Vec<u8>, open: &mut Option<Open>, tag: u8, labels: usize) {
        let start = out.len();
        let gap = varint::len_u64((labels + SAMPLE_BYTES) as u64);
        out.extend_from_slice([tag, 0, 0, 0, 0, 0].get(..1 + gap).unwrap_or_default());
        let labels = start + 1 + gap..start + 1 + gap;
        *open = Some(Open { start, gap, labels, kind: Kind::Exemplars, points: 0 });
    }

    /// Ends the current series.
    fn close(&mut self) {
        let Some(open) = self.open.take() else { return };
        if open.points == 0 {
            self.out.truncate(open.start);
            return;
        }
        self.out.extend_from_slice(&self.metadata);
        let body = open.start + 1 + open.gap;
        let length = self.out.len() - body;
        let need = varint::len_u64(length as u64);
        if need > open.gap {
            let more = need - open.gap;
            let end = self.out.len();
            self.out.resize(end + more, 0);
            self.out.copy_within(body..end, body + more);
        } else if need < open.gap {
            let less = open.gap - need;
            self.out.copy_within(body.., body - less);
            self.out.truncate(self.out.len() - less);
        }
        let at = open.start + 1;
        if let Some(target) = self.out.get_mut(at..at + need) {
            message::write_varint(target, length as u64);
        }
    }

    /// Prepares the current series for a point of this kind. Begins a new time series if a point of this kind can't
    /// follow the ones before.
    fn expect(&mut self, kind: Kind) -> bool {
        let Some(open) = &mut self.open else {
            debug_assert!(false, "a point before any series");
            return false;
        };
        if kind != Kind::Exemplars && open.kind != kind {
            if open.kind != Kind::Exemplars {
                self.split();
            }
            if let Some(open) = &mut self.open {
                open.kind = kind;
            }
        }
        if let Some(open) = &mut self.open {
            open.points += 1;
        }
        true
    }

    /// Ends the current series and begins another one with the same labels and metadata.
    #[cold]
    fn split(&mut self) {
        let Some(open) = &self.open else { return };
        let labels = self.out.get(open.labels.clone()).unwrap_or_default().to_vec();
        let tag = match self.protocol {
            Protocol::V1 => message::TIMESERIES_V1,
            Protocol::V2 => message::TIMESERIES_V2,
        };
        self.close();
        Self::begin(&mut self.out, &mut self.open, tag, labels.len());
        self.out.extend_from_slice(&labels);
        if let Some(open) = &mut self.open {
            open.labels.end = self.out.len();
        }
    }

    /// Adds a float sample. The start timestamp (0 means none) is written in 2.0 only.
    #[inline]
    pub fn push_float(&mut self, timestamp: i64, start_timestamp: i64, value: f64) {
        if self.expect(Kind::Floats) {
            message::put_sample(&mut self.out, self.protocol, timestamp, start_timestamp, value);
        }
    }

    /// Adds a native histogram. The start timestamp (0 means none) is written in 2.0 only.
    pub fn push_histogram(
        &mut self,
        timestamp: i64,
        start_timestamp: i64,
        histogram: &Histogram,
    ) -> Result<(), Unsupported> {
        if self.protocol == Protocol::V1 && histogram.schema == histogram::CUSTOM_BUCKETS_SCHEMA {
            return Err(Unsupported::CustomBuckets);
        }
        if self.expect(Kind::Histograms) {
            message::put_histogram(&mut self.out, self.protocol, timestamp, start_timestamp, histogram);
        }
        Ok(())
    }

    pub fn push_exemplar(&mut self, timestamp: i64, labels: LabelsRef<'_>, value: f64) {
        if !self.expect(Kind::Exemplars) {
            return;
        }
        let fields = Message::new().double(2, value).varint(3, timestamp as u64);
        match self.protocol {
            Protocol::V1 => {
                let length = message::labels_len(labels) + fields.len();
                message::put_header(&mut self.out, message::EXEMPLAR_V1, length);
                message::put_labels(&mut self.out, message::EXEMPLAR_LABELS, labels);
            }
            Protocol::V2 => {
                self.references.clear();
                for text in labels.pairs().flat_map(|(name, value)| [name, value]) {
                    self.references.push(self.symbols.intern(text));
                }
                let references = message::references_len(&self.references);
                let length = message::references_field_len(references) + fields.len();
                message::put_header(&mut self.out, message::EXEMPLAR_V2, length);
                message::put_references(&mut self.out, &self.references, references);
            }
        }
        fields.append_to(&mut self.out);
    }

    /// Adds a point of `batch` to the current series. A point that refers to nothing in the batch is left out.
    pub fn push_point(&mut self, batch: &Batch, point: &Point) -> Result<(), Unsupported> {
        match point.value {
            Value::Float(value) => self.push_float(point.timestamp, point.start_timestamp, value),
            Value::Histogram(index) => {
                if let Some(histogram) = batch.histograms.get(index as usize) {
                    return self.push_histogram(point.timestamp, point.start_timestamp, histogram);
                }
            }
            Value::Exemplar(index) => {
                if let Some(exemplar) = batch.exemplars.get(index as usize) {
                    let labels = LabelsRef::trusted(batch.slice(exemplar.labels));
                    self.push_exemplar(point.timestamp, labels, exemplar.value);
                }
            }
        }
        Ok(())
    }

    /// Adds the metadata of a whole family. In 1.0 only: 2.0 has it with each series.
    pub fn push_metadata(&mut self, metadata: &Metadata) {
        if self.protocol == Protocol::V1 {
            self.close();
            message::put_family_metadata(&mut self.out, metadata);
        }
    }

    /// Ends the last series and returns the body. Call [`Encoder::clear`] before the next request.
    pub fn finish(&mut self) -> &[u8] {
        self.close();
        match self.protocol {
            Protocol::V1 => &self.out,
            Protocol::V2 => {
                self.body.clear();
                if !self.out.is_empty() {
                    self.body.reserve(self.symbols.encoded().len() + self.out.len());
                    self.body.extend_from_slice(self.symbols.encoded());
                    self.body.extend_from_slice(&self.out);
                }
                &self.body
            }
        }
    }

    /// Removes the content but keeps the memory.
    pub fn clear(&mut self) {
        self.out.clear();
        self.symbols.clear();
        self.body.clear();
        self.open = None;
        self.metadata.clear();
        self.references.clear();
    }
}
