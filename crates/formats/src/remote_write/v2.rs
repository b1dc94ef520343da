//! Decodes `io.prometheus.write.v2.Request` (2.0).

use super::decode::{Decoded, Decoder, LabelSpace};
use super::error::Outcome;
use super::fast::SLACK_BYTES;
use super::symbols::Symbols;
use super::{DecodeError, Protocol, points};
use crate::text::cut;
use crate::wire::{Reader, take_varint};
use hashbrown::HashMap;
use model::{Metadata, MetricType, Span};

pub(super) fn decode<'a>(decoder: Decoder<'a, '_>, body: &'a [u8]) -> Result<Decoded, DecodeError> {
    let symbols = Symbols::new(body, decoder.options.max_symbols);
    let mut request = Request {
        decoder,
        symbols,
        references: Vec::new(),
        space: MAX_LABEL_SPACE_BYTES,
        metric_name: 0,
        families: Families::default(),
    };
    match request.read(body) {
        Ok(()) => Ok(request.decoder.end(body)),
        Err(stop) => Err(stop.in_body(body)),
    }
}

/// The largest space for a label set on the fast path; a larger label set takes the slow path.
const MAX_LABEL_SPACE_BYTES: usize = 4096;

/// A request that is being decoded.
struct Request<'a, 'o> {
    decoder: Decoder<'a, 'o>,
    symbols: Symbols<'a>,
    /// The label references of one message.
    references: Vec<u64>,
    /// The size of the space for the next label set on the fast path.
    space: usize,
    /// The reference of the metric name of the label set before, if that took the fast path.
    metric_name: u64,
    families: Families<'a>,
}

/// The `Metadata` of a time series as on the wire.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Default)]
struct WireMetadata {
    kind: u64,
    help: u64,
    unit: u64,
}

/// Metadata by family, so that series of one family share an entry.
#[derive(Debug, Default)]
struct Families<'a> {
    by_name: HashMap<(&'a [u8], WireMetadata), u32>,
    /// The metadata of the last series: consecutive series are often of one metric.
    last: Option<(&'a [u8], WireMetadata, u32)>,
    /// Bytes of text in all entries. Series can refer to one long help text again and again, so the size of the body
    /// doesn't limit this.
    bytes: usize,
}

impl<'a> Request<'a, '_> {
    fn read(&mut self, body: &'a [u8]) -> Outcome {
        // Symbols may come after the series that refer to them, so they are read first.
        let (mut count, mut fields_of_v1) = (0, false);
        let mut fields = Reader::new(body);
        while let Some(field) = fields.next()? {
            match field.number {
                4 => self.symbols.push(field.bytes()?)?,
                5 => {
                    field.bytes()?;
                    count += 1;
                }
                other => {
                    fields_of_v1 |= matches!(other, 1 | 3);
                    self.decoder.decoded.exact = false;
                }
            }
        }
        if count == 0 && fields_of_v1 {
            return Err(DecodeError::OtherVersion { found: Protocol::V1, announced: Protocol::V2 }.into());
        }
        if count > 0 && self.symbols.get(0).is_none_or(|first| !first.is_empty()) {
            return Err(DecodeError::FirstSymbol.into());
        }
        self.decoder.reserve(count, 0);
        let mut fields = Reader::new(body);
        while let Some(field) = fields.next()? {
            if field.number == 5 {
                self.series(field.bytes()?)?;
                if self.decoder.decoded.batch.series.len() == 1 {
                    // The first series shows about how much memory all of them need.
                    let first = self.decoder.decoded.batch.bytes.len();
                    let all = (first + first / 8).saturating_mul(count);
                    self.decoder.reserve(0, all.saturating_add(MAX_LABEL_SPACE_BYTES));
                }
            }
        }
        Ok(())
    }

    fn series(&mut self, message: &'a [u8]) -> Outcome {
        self.decoder.begin_series()?;
        let (mut labels, mut rest) = match self.fast_labels(message) {
            Some((span, name, rest)) => (Some((span, name)), rest),
            None => (None, message),
        };
        // A sample usually comes next.
        if let [0x12, length, after @ ..] = rest
            && let Some((sample, after)) = after.split_at_checked(usize::from(*length))
            && *length < 0x80
        {
            let (value, timestamp, start) =
                points::sample(Protocol::V2, sample, &mut self.decoder.decoded.exact)?;
            self.decoder.float(timestamp, start, value)?;
            rest = after;
        }
        let mut metadata = WireMetadata::default();
        let mut fields = Reader::new(rest);
        while let Some(field) = fields.next()? {
            match field.number {
                1 => {
                    labels = None;
                    field.varints(|_| {})?;
                }
                2 => {
                    let (value, timestamp, start) =
                        points::sample(Protocol::V2, field.bytes()?, &mut self.decoder.decoded.exact)?;
                    self.decoder.float(timestamp, start, value)?;
                }
                3 => {
                    let limit = self.decoder.options.limits.buckets;
                    let timed = points::histogram(Protocol::V2, field.bytes()?, limit)?;
                    self.decoder.decoded.exact &= timed.exact;
                    self.decoder.histogram(timed.timestamp, timed.start_timestamp, timed.histogram)?;
                }
                4 => self.exemplar(field.bytes()?)?,
                5 => read_metadata(&mut metadata, field.bytes()?, &mut self.decoder.decoded.exact)?,
                _ => self.decoder.decoded.exact = false,
            }
        }
        self.check(metadata)?;
        if !self.decoder.had_points() {
            // Its references have to be valid nevertheless.
            self.collect_references(message)?;
            self.push_labels()?;
            self.decoder.labels.clear();
            let at = self.decoder.seen_series - 1;
            self.decoder.drop_series(|| format!("time series {at}: no sample, histogram or exemplar"));
            return Ok(());
        }
        let before = self.decoder.decoded.batch.series.len();
        if let Some((span, name)) = labels {
            self.decoder.end_series(span)?;
            return Ok(self.attach(before, Some(name), metadata)?);
        }
        self.collect_references(message)?;
        self.push_labels()?;
        let mut pairs = self.decoder.labels.pairs().iter();
        let name = pairs.find(|(name, _)| *name == b"__name__").map(|(_, value)| *value);
        self.decoder.end_slow()?;
        Ok(self.attach(before, name, metadata)?)
    }

    /// Reads label references at the front of a `TimeSeries` if they are packed into one field and refer to a sorted
    /// label set without anything unusual. Returns its place in the arena, the metric name, and the rest of the
    /// message.
    fn fast_labels(&mut self, message: &'a [u8]) -> Option<(Span, &'a [u8], &'a [u8])> {
        let mut input = message.strip_prefix(&[0x0a])?;
        let length = usize::try_from(take_varint(&mut input).ok()?).ok()?;
        let rest = input.get(length..)?;
        let start = self.decoder.decoded.batch.bytes.len();
        // The length of the label set is not known yet; it is usually about that of the last one.
        let space = self.decoder.reserve_space(self.space);
        let compares = space.last.pairs.should_compare();
        let write = if compares { write_labels::<true> } else { write_labels::<false> };
        let written = write(&self.symbols, space, &mut self.metric_name, input, length);
        let Some(span) = self.decoder.keep_space(start, written, input) else {
            self.space = MAX_LABEL_SPACE_BYTES;
            return None;
        };
        let written = span.len as usize;
        self.space = (written + written / 2 + SLACK_BYTES).min(MAX_LABEL_SPACE_BYTES);
        Some((span, self.symbols.get(self.metric_name)?, rest))
    }

    /// Collects the label references of a `TimeSeries` or an `Exemplar`; both have them as field 1.
    fn collect_references(&mut self, message: &'a [u8]) -> Outcome {
        self.references.clear();
        let most = 2 * self.decoder.options.limits.labels + 2;
        let mut count = 0;
        let mut out_of_range = None;
        let symbols = self.symbols.len() as u64;
        let mut fields = Reader::new(message);
        while let Some(field) = fields.next()? {
            if field.number != 1 {
                continue;
            }
            let references = &mut self.references;
            field.varints(|reference| {
                count += 1;
                if reference >= symbols {
                    out_of_range.get_or_insert(reference);
                }
                // One pair over the limit is enough to refuse the series; more would only use memory.
                if references.len() < most {
                    references.push(reference);
                }
            })?;
        }
        if let Some(reference) = out_of_range {
            return Err(self.out_of_range("label reference", reference).into());
        }
        if count % 2 != 0 {
            return Err(DecodeError::OddReferences { series: self.decoder.seen_series - 1, count }.into());
        }
        Ok(())
    }

    /// Passes the collected references to the builder, as text.
    fn push_labels(&mut self) -> Outcome {
        let symbol = |reference: u64| self.symbols.get(reference).unwrap_or_default();
        for pair in self.references.as_chunks::<2>().0 {
            let [name, value] = *pair;
            self.decoder.labels.push(symbol(name), symbol(value));
        }
        Ok(())
    }

    fn exemplar(&mut self, message: &'a [u8]) -> Outcome {
        let (mut value, mut timestamp) = (0.0, 0);
        let mut fields = Reader::new(message);
        while let Some(field) = fields.next()? {
            match field.number {
                2 => value = field.double()?,
                3 => timestamp = field.varint()? as i64,
                1 => {}
                _ => self.decoder.decoded.exact = false,
            }
        }
        self.collect_references(message)?;
        self.push_labels()?;
        Ok(self.decoder.exemplar(timestamp, value)?)
    }

    fn check(&self, metadata: WireMetadata) -> Result<(), DecodeError> {
        let symbols = self.symbols.len() as u64;
        if metadata.help >= symbols {
            return Err(self.out_of_range("help reference", metadata.help));
        }
        if metadata.unit >= symbols {
            return Err(self.out_of_range("unit reference", metadata.unit));
        }
        Ok(())
    }

    #[cold]
    fn out_of_range(&self, field: &'static str, reference: u64) -> DecodeError {
        let (series, symbols) = (self.decoder.seen_series - 1, self.symbols.len());
        DecodeError::SymbolReference { series, field, reference, symbols }
    }

    /// Sets the metadata of the series that was just added, if one was.
    #[inline]
    fn attach(
        &mut self,
        before: usize,
        name: Option<&'a [u8]>,
        metadata: WireMetadata,
    ) -> Result<(), DecodeError> {
        let batch = &self.decoder.decoded.batch;
        let (Some(name), true) = (name, metadata != WireMetadata::default() && batch.series.len() > before)
        else {
            return Ok(());
        };
        let number = match self.families.last {
            Some((last, same, number)) if last == name && same == metadata => number,
            _ => self.family(name, metadata)?,
        };
        if let Some(series) = self.decoder.decoded.batch.series.last_mut() {
            series.metadata = number;
        }
        Ok(())
    }

    fn family(&mut self, name: &'a [u8], metadata: WireMetadata) -> Result<u32, DecodeError> {
        let kind = MetricType::from_number(metadata.kind);
        let family = family_name(kind, name);
        let options = self.decoder.options;
        let list = &mut self.decoder.decoded.batch.metadata;
        let text = |reference| self.symbols.get(reference).unwrap_or_default();
        let bytes = &mut self.families.bytes;
        let exact = &mut self.decoder.decoded.exact;
        let number = *self.families.by_name.entry((family, metadata)).or_insert_with(|| {
            let entry = Metadata {
                family: cut(family, options.limits.name_bytes),
                kind,
                help: cut(text(metadata.help), options.limits.value_bytes),
                unit: cut(text(metadata.unit), options.limits.name_bytes),
            };
            *bytes += entry.family.len() + entry.help.len() + entry.unit.len();
            *exact &= entry.kind as u64 == metadata.kind
                && entry.help.as_bytes() == text(metadata.help)
                && entry.unit.as_bytes() == text(metadata.unit);
            list.push(entry);
            list.len() as u32 - 1
        });
        self.families.last = Some((name, metadata, number));
        if *bytes > options.max_label_bytes {
            return Err(DecodeError::TooMany { what: "bytes of metadata", limit: options.max_label_bytes });
        }
        Ok(number)
    }
}

/// Greater than the index of any pair of a label set.
const NO_PAIR: usize = usize::MAX;

/// Returns the number of bytes written. `references` begins with the packed references, `length` bytes of them.
/// `metric_name` is the reference of the metric name: of the label set before, and afterwards of this one.
#[inline(never)] // by itself its variables fit the registers
fn write_labels<const COMPARE: bool>(
    symbols: &Symbols<'_>,
    space: LabelSpace<'_, '_>,
    metric_name: &mut u64,
    references: &[u8],
    length: usize,
) -> Option<usize> {
    let LabelSpace { mut labels, last, before } = space;
    let mut comparison = last.pairs.compare(last.read);
    let mut name_at = if COMPARE { last.name } else { NO_PAIR };
    let mut pairs = 0;
    let mut packed = references.get(..length)?;
    loop {
        // `from` also has the bytes behind the references, because full chunks are compared faster.
        if COMPARE
            && let from = references.get(length - packed.len()..)?
            && let Some(run) = comparison.run(from, packed.len())
        {
            pairs = run.pairs.end;
            let keys = [comparison.note(run.pairs.start), comparison.note(run.pairs.end - 1)];
            labels.push_run(before, &run, keys)?;
            packed = packed.get(run.read..)?;
        }
        if packed.is_empty() {
            break;
        }
        let (left, written) = (packed.len(), labels.len());
        let name = take_varint(&mut packed).ok()?;
        let value = take_varint(&mut packed).ok()?;
        let (key, is_metric_name) = symbols.push_pair(&mut labels, name, value)?;
        if is_metric_name {
            name_at = pairs;
            *metric_name = value;
        } else if name_at == pairs {
            name_at = NO_PAIR;
        }
        pairs += 1;
        if COMPARE && !comparison.push(left - packed.len(), labels.len() - written, key) {
            return None;
        }
    }
    let len = labels.finish(pairs, name_at < pairs)?;
    last.name = name_at;
    if COMPARE {
        comparison.finish();
    }
    Some(len)
}

fn read_metadata(metadata: &mut WireMetadata, message: &[u8], exact: &mut bool) -> Outcome {
    let mut fields = Reader::new(message);
    while let Some(field) = fields.next()? {
        match field.number {
            1 => metadata.kind = field.varint()?,
            3 => metadata.help = field.varint()?,
            4 => metadata.unit = field.varint()?,
            _ => *exact = false,
        }
    }
    Ok(())
}

/// The family of a series. For a classic histogram or summary it is the name without `_bucket`, `_sum` or `_count`. For
/// other types it is the name itself.
fn family_name(kind: MetricType, name: &[u8]) -> &[u8] {
    let suffixes: &[&[u8]] = match kind {
        MetricType::Histogram => &[b"_bucket", b"_sum", b"_count"],
        MetricType::GaugeHistogram => &[b"_bucket", b"_gsum", b"_gcount", b"_sum", b"_count"],
        MetricType::Summary => &[b"_sum", b"_count"],
        _ => &[],
    };
    let family = suffixes.iter().find_map(|suffix| name.strip_suffix(*suffix));
    family.filter(|family| !family.is_empty()).unwrap_or(name)
}
