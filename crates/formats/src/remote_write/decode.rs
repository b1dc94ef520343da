//! The parts of decoding that both versions share: options, and adding a series to the batch or leaving it out.

use super::common_pairs::Pairs;
use super::fast::{FastLabels, FastLimits};
use super::{DecodeError, Rejected};
use model::{
    Batch, HistogramError, LabelError, LabelsBuilder, LabelsRef, Limits, Point, Series, Span, Value,
};

/// The limits of one request.
#[derive(Debug, Clone)]
pub struct DecodeOptions {
    /// Limits on label sets and histograms. A series over one of them is left out.
    pub limits: Limits,
    /// The maximum of time series, and of metadata entries (1.0).
    pub max_series: usize,
    /// The maximum of samples, histograms and exemplars together.
    pub max_points: usize,
    /// The maximum of symbols (2.0).
    pub max_symbols: usize,
    /// The maximum of bytes in all label sets together. In 2.0 a few bytes can refer to long symbols again and again,
    /// so the size of the body doesn't limit this.
    pub max_label_bytes: usize,
}

impl Default for DecodeOptions {
    fn default() -> Self {
        DecodeOptions {
            limits: Limits::default(),
            max_series: 200_000,
            max_points: 1_000_000,
            max_symbols: 1_000_000,
            max_label_bytes: 128 << 20,
        }
    }
}

/// A decoded request.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct Decoded {
    /// The valid series. Metadata of 1.0 belongs to families, metadata of 2.0 to series.
    pub batch: Batch,
    pub rejected: Rejected,
    /// True if the body can be forwarded unchanged: it says exactly what the batch says, in about the form that
    /// [`super::Encoder`] writes. Nothing was left out, labels are sorted, no field is unknown, and there is no padding
    /// by unused symbols or repeated fields.
    pub exact: bool,
}

/// The reason why a point was left out although its series is valid. It is explained once the labels of the series are
/// known.
#[derive(Debug)]
enum Refusal {
    Histogram(HistogramError),
    ExemplarLabels(LabelError),
}

/// Lengths to restore when a series turns out to be invalid.
#[derive(Debug, Default, Clone, Copy)]
struct Marks {
    bytes: usize,
    points: usize,
    histograms: usize,
    exemplars: usize,
}

/// The label set before, if it took the fast path. Only in 2.0: in 1.0 reading a label costs no more than comparing it.
#[derive(Debug)]
pub(super) struct LastLabels<'a> {
    /// The note of a pair is the key of its name.
    pub(super) pairs: Pairs<u64>,
    /// The bytes from which it was read, and the bytes after them.
    pub(super) read: &'a [u8],
    /// The position of its first pair in the arena.
    start: usize,
    /// The index of the pair with the metric name.
    pub(super) name: usize,
}

impl LastLabels<'_> {
    fn new() -> Self {
        LastLabels { pairs: Pairs::new(), read: &[], start: 0, name: 0 }
    }
}

/// The space for one label set on the fast path, and the label set before.
#[derive(Debug)]
pub(super) struct LabelSpace<'r, 'a> {
    pub(super) labels: FastLabels<'r>,
    pub(super) last: &'r mut LastLabels<'a>,
    /// The pairs of the label set before in canonical bytes, and the bytes after them.
    pub(super) before: &'r [u8],
}

/// A batch that is being built.
#[derive(Debug)]
pub(super) struct Decoder<'a, 'o> {
    pub(super) options: &'o DecodeOptions,
    pub(super) decoded: Decoded,
    pub(super) labels: LabelsBuilder<'a>,
    fast: FastLimits,
    last: LastLabels<'a>,
    max_bytes: usize,
    /// The number of time series so far, including empty and invalid ones.
    pub(super) seen_series: usize,
    seen_points: usize,
    marks: Marks,
    /// Points of the current series that are not floats. At its end histograms are merged with the floats by time, and
    /// exemplars are appended.
    histograms: Vec<Point>,
    exemplars: Vec<Point>,
    refusal: Option<Refusal>,
}

impl<'a, 'o> Decoder<'a, 'o> {
    pub(super) fn new(options: &'o DecodeOptions) -> Self {
        Decoder {
            options,
            decoded: Decoded { exact: true, ..Decoded::default() },
            labels: LabelsBuilder::new(),
            fast: FastLimits::new(&options.limits),
            last: LastLabels::new(),
            max_bytes: options.max_label_bytes.min(Batch::MAX_BYTES),
            seen_series: 0,
            seen_points: 0,
            marks: Marks::default(),
            histograms: Vec::new(),
            exemplars: Vec::new(),
            refusal: None,
        }
    }

    /// Reserves memory for this many series with one point each, and for `bytes` of labels.
    pub(super) fn reserve(&mut self, series: usize, bytes: usize) {
        let batch = &mut self.decoded.batch;
        batch.series.reserve_exact(series.min(self.options.max_series));
        batch.points.reserve_exact(series.min(self.options.max_points));
        let bytes = bytes.min(self.max_bytes);
        if bytes > batch.bytes.capacity() {
            let mut arena = model::arena::take(batch.bytes.len() + bytes);
            arena.extend_from_slice(&batch.bytes);
            batch.bytes = arena;
        }
    }

    #[inline]
    pub(super) fn begin_series(&mut self) -> Result<(), DecodeError> {
        self.seen_series += 1;
        if self.seen_series > self.options.max_series {
            return Err(DecodeError::TooMany { what: "time series", limit: self.options.max_series });
        }
        let batch = &self.decoded.batch;
        self.marks = Marks {
            bytes: batch.bytes.len(),
            points: batch.points.len(),
            histograms: batch.histograms.len(),
            exemplars: batch.exemplars.len(),
        };
        Ok(())
    }

    /// The index that the current series will have.
    #[inline]
    fn number(&self) -> u32 {
        self.decoded.batch.series.len() as u32
    }

    #[inline]
    fn count_point(&mut self) -> Result<(), DecodeError> {
        self.seen_points += 1;
        if self.seen_points > self.options.max_points {
            return Err(DecodeError::TooMany {
                what: "samples, histograms and exemplars",
                limit: self.options.max_points,
            });
        }
        Ok(())
    }

    #[inline]
    pub(super) fn float(&mut self, timestamp: i64, start: i64, value: f64) -> Result<(), DecodeError> {
        self.count_point()?;
        let point =
            Point { series: self.number(), timestamp, start_timestamp: start, value: Value::Float(value) };
        self.decoded.batch.points.push(point);
        Ok(())
    }

    pub(super) fn histogram(
        &mut self,
        timestamp: i64,
        start_timestamp: i64,
        histogram: Result<model::Histogram, HistogramError>,
    ) -> Result<(), DecodeError> {
        self.count_point()?;
        let limits = &self.options.limits;
        match histogram.and_then(|histogram| histogram.validate(limits).map(|()| histogram)) {
            Ok(histogram) => {
                let value = Value::Histogram(self.decoded.batch.histograms.len() as u32);
                self.decoded.batch.histograms.push(histogram);
                self.histograms.push(Point { series: self.number(), timestamp, start_timestamp, value });
            }
            Err(error) => {
                self.decoded.rejected.histograms += 1;
                self.refusal.get_or_insert(Refusal::Histogram(error));
            }
        }
        Ok(())
    }

    /// Adds an exemplar whose labels are in `self.labels`.
    pub(super) fn exemplar(&mut self, timestamp: i64, value: f64) -> Result<(), DecodeError> {
        self.decoded.exact &= self.labels.is_canonical();
        self.count_point()?;
        let batch = &mut self.decoded.batch;
        let start = batch.bytes.len();
        if let Err(error) = self.labels.finish(&self.options.limits, &mut batch.bytes) {
            self.decoded.rejected.exemplars += 1;
            self.refusal.get_or_insert(Refusal::ExemplarLabels(error));
            return Ok(());
        }
        let labels = batch.span_since(start);
        batch.exemplars.push(model::Exemplar { labels, value });
        let value = Value::Exemplar(batch.exemplars.len() as u32 - 1);
        let series = self.number();
        self.exemplars.push(Point { series, timestamp, start_timestamp: 0, value });
        self.check_bytes()
    }

    #[inline]
    fn check_bytes(&self) -> Result<(), DecodeError> {
        if self.decoded.batch.bytes.len() > self.max_bytes {
            return Err(DecodeError::TooMany { what: "bytes of labels", limit: self.max_bytes });
        }
        Ok(())
    }

    /// Returns true if the current series has valid points.
    #[inline]
    pub(super) fn has_points(&self) -> bool {
        self.decoded.batch.points.len() > self.marks.points
            || !self.histograms.is_empty()
            || !self.exemplars.is_empty()
    }

    /// Returns true if the current series has any points, including refused ones.
    #[inline]
    pub(super) fn had_points(&self) -> bool {
        self.refusal.is_some() || self.has_points()
    }

    /// Reserves space for a label set at the end of the arena. The caller must return it with [`Decoder::keep_space`].
    #[inline]
    pub(super) fn reserve_space(&mut self, bytes: usize) -> LabelSpace<'_, 'a> {
        let arena = &mut self.decoded.batch.bytes;
        let start = arena.len();
        arena.resize(start + bytes, 0);
        let (before, space) = arena.split_at_mut(start);
        let before = before.get(self.last.start..).unwrap_or_default();
        LabelSpace { labels: FastLabels::new(space, self.fast), last: &mut self.last, before }
    }

    /// Keeps the first `bytes` of the space that was reserved at `start`: a label set that was read from the front of
    /// `read`. Without `bytes` the whole space is released.
    #[inline]
    pub(super) fn keep_space(&mut self, start: usize, bytes: Option<usize>, read: &'a [u8]) -> Option<Span> {
        self.decoded.batch.bytes.truncate(start + bytes.unwrap_or(0));
        let Some(bytes) = bytes else {
            self.last.pairs.clear();
            return None;
        };
        (self.last.start, self.last.read) = (start + 1, read);
        Some(Span { start: start as u32, len: bytes as u32 })
    }

    /// Removes the labels of the current series from the arena.
    fn discard_labels(&mut self) {
        self.decoded.batch.bytes.truncate(self.marks.bytes);
        self.last.pairs.clear();
    }

    /// Ends the current series with the labels in `self.labels`.
    pub(super) fn end_slow(&mut self) -> Result<(), DecodeError> {
        self.decoded.exact &= self.labels.is_canonical();
        let batch = &mut self.decoded.batch;
        let start = batch.bytes.len();
        let result = self.labels.finish(&self.options.limits, &mut batch.bytes);
        let bytes = batch.bytes.get(start..).unwrap_or_default();
        let result = result.and_then(|()| match LabelsRef::trusted(bytes) {
            labels if labels.is_empty() => Err(LabelError::Empty),
            labels if labels.metric_name().is_none() => Err(LabelError::NoMetricName),
            _ => Ok(()),
        });
        match result {
            Ok(()) => self.end_series(self.decoded.batch.span_since(start)),
            Err(error) => {
                let at = self.seen_series - 1;
                let labels = LabelsRef::trusted(self.decoded.batch.bytes.get(start..).unwrap_or_default());
                let labels = if labels.is_empty() { String::new() } else { format!(" {labels}") };
                self.drop_series(|| format!("time series {at}{labels}: {error}"));
                Ok(())
            }
        }
    }

    /// Ends the current series, whose valid labels are in the arena.
    #[inline]
    pub(super) fn end_series(&mut self, labels: Span) -> Result<(), DecodeError> {
        if self.refusal.is_some() {
            self.explain_refusal(labels);
        }
        if !self.has_points() {
            self.decoded.exact = false;
            self.discard_labels();
            return Ok(());
        }
        let batch = &mut self.decoded.batch;
        batch.series.push(Series { labels, metadata: Series::NO_METADATA });
        if !self.histograms.is_empty() {
            // The encoder would write floats and histograms of one series as two series, in order of time.
            self.decoded.exact &= batch.points.len() == self.marks.points;
            merge(&mut batch.points, self.marks.points, &self.histograms);
            self.histograms.clear();
        }
        if !self.exemplars.is_empty() {
            batch.points.append(&mut self.exemplars);
        }
        self.check_bytes()
    }

    pub(super) fn end(mut self, body: &[u8]) -> Decoded {
        let Decoded { batch, rejected, exact, .. } = &mut self.decoded;
        *exact &= rejected.is_empty() && body.len() <= PADDING * wire_bytes(batch);
        self.decoded
    }

    /// Leaves out the current series with all its points.
    #[cold]
    pub(super) fn drop_series(&mut self, reason: impl FnOnce() -> String) {
        let batch = &mut self.decoded.batch;
        let rejected = &mut self.decoded.rejected;
        rejected.series += 1;
        rejected.samples += (batch.points.len() - self.marks.points) as u64;
        rejected.histograms += self.histograms.len() as u64;
        rejected.exemplars += self.exemplars.len() as u64;
        rejected.explain(reason);
        batch.points.truncate(self.marks.points);
        batch.histograms.truncate(self.marks.histograms);
        batch.exemplars.truncate(self.marks.exemplars);
        self.histograms.clear();
        self.exemplars.clear();
        self.refusal = None;
        self.discard_labels();
    }

    #[cold]
    fn explain_refusal(&mut self, labels: Span) {
        let Some(refusal) = self.refusal.take() else { return };
        let labels = LabelsRef::trusted(self.decoded.batch.slice(labels));
        let at = self.seen_series - 1;
        self.decoded.rejected.explain(|| match refusal {
            Refusal::Histogram(error) => format!("time series {at} {labels}: {error}"),
            Refusal::ExemplarLabels(error) => format!("time series {at} {labels}: exemplar: {error}"),
        });
    }
}

/// How many times longer than necessary an exact body may be.
const PADDING: usize = 2;

/// An approximate upper bound of the bytes that this batch needs in either version.
fn wire_bytes(batch: &Batch) -> usize {
    // Tags, lengths and timestamps. A label needs a few more bytes than in the arena.
    const OVERHEAD: usize = 48;
    let Batch { bytes, series, points, histograms, metadata, .. } = batch;
    let histograms = histograms.iter().map(|histogram| OVERHEAD + 2 * histogram.heap_bytes());
    let metadata = metadata.iter().map(|entry| OVERHEAD + entry.help.len() + entry.unit.len());
    OVERHEAD
        + bytes.len() * 5 / 4
        + OVERHEAD * (series.len() + points.len())
        + histograms.sum::<usize>()
        + metadata.sum::<usize>()
}

/// Merges `others` into the points from `start` on, by timestamp. Each of the two keeps its own order. For equal
/// timestamps the point of `points` comes first.
#[cold]
fn merge(points: &mut Vec<Point>, start: usize, others: &[Point]) {
    let floats = points.split_off(start.min(points.len()));
    let (mut floats, mut others) = (floats.iter().peekable(), others.iter().peekable());
    loop {
        let next = match (floats.peek(), others.peek()) {
            (Some(float), Some(other)) if float.timestamp <= other.timestamp => floats.next(),
            (_, Some(_)) => others.next(),
            (Some(_), None) => floats.next(),
            (None, None) => return,
        };
        points.extend(next);
    }
}
