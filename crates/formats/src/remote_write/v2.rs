//! Decoding `io.prometheus.write.v2.Request` (2.0).

use super::decode::{Decoded, Decoder};
use super::symbols::{Symbols, Text};
use super::v1::Stop;
use super::{DecodeError, Protocol, points};
use crate::text::cut;
use crate::wire::{Reader, take_varint};
use hashbrown::HashMap;
use model::{Metadata, MetricType, Series};

pub(super) fn decode<'a>(decoder: Decoder<'a, '_>, body: &'a [u8]) -> Result<Decoded, DecodeError> {
    let symbols = Symbols::new(body, decoder.options.max_symbols);
    let mut request = Request { decoder, symbols, references: Vec::new(), families: Families::default() };
    match request.read(body) {
        Ok(()) => Ok(request.decoder.decoded),
        Err(stop) => Err(stop.in_body(body)),
    }
}

/// A request in the making.
struct Request<'a, 'o> {
    decoder: Decoder<'a, 'o>,
    symbols: Symbols<'a>,
    /// Label references of one message, collected.
    references: Vec<u64>,
    families: Families<'a>,
}

/// `Metadata` of a time series, as it is on the wire.
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
    /// What the last series had: series of one metric often follow each other.
    last: Option<(&'a [u8], WireMetadata, u32)>,
    /// Bytes of text in all entries. One long help text can be referred to again and again, so the size of
    /// the body doesn't bound this.
    bytes: usize,
}

impl<'a> Request<'a, '_> {
    fn read(&mut self, body: &'a [u8]) -> Result<(), Stop> {
        // Symbols may come after the series that need them, so they are collected first.
        let mut count = 0;
        let mut fields = Reader::new(body);
        while let Some(field) = fields.next()? {
            match field.number {
                4 => self.symbols.push(field.bytes()?)?,
                5 => {
                    field.bytes()?;
                    count += 1;
                }
                _ => {}
            }
        }
        if count > 0 && self.symbols.get(0).is_none_or(|first| first.len != 0) {
            return Err(DecodeError::FirstSymbol.into());
        }
        self.decoder.reserve(count, 0);
        let mut fields = Reader::new(body);
        while let Some(field) = fields.next()? {
            if field.number == 5 {
                self.series(field.bytes()?)?;
                if self.decoder.decoded.batch.series.len() == 1 {
                    // The first series tells about how much memory the others will need.
                    let first = self.decoder.decoded.batch.bytes.len();
                    self.decoder.reserve(0, first.saturating_mul(count));
                }
            }
        }
        Ok(())
    }

    fn series(&mut self, message: &'a [u8]) -> Result<(), Stop> {
        self.decoder.begin_series()?;
        let rest = self.fast_labels(message);
        let mut fast = rest.is_some();
        let mut metadata = WireMetadata::default();
        let mut fields = Reader::new(rest.unwrap_or(message));
        while let Some(field) = fields.next()? {
            match field.number {
                1 => {
                    fast = false;
                    field.varints(|_| {})?;
                }
                2 => {
                    let (value, timestamp, start) = points::sample(Protocol::V2, field.bytes()?)?;
                    self.decoder.float(timestamp, start, value)?;
                }
                3 => {
                    let limit = self.decoder.options.limits.buckets;
                    let timed = points::histogram(Protocol::V2, field.bytes()?, limit)?;
                    self.decoder.histogram(timed.timestamp, timed.start_timestamp, timed.histogram)?;
                }
                4 => self.exemplar(field.bytes()?)?,
                5 => read_metadata(&mut metadata, field.bytes()?)?,
                _ => {}
            }
        }
        self.check(metadata)?;
        if !self.decoder.had_points() {
            // Its references have to be right all the same.
            self.collect_references(message)?;
            self.push_labels()?;
            self.decoder.labels.clear();
            let at = self.decoder.seen_series - 1;
            self.decoder.drop_series(|| format!("time series {at}: no sample, histogram or exemplar"));
            return Ok(());
        }
        let before = self.decoder.decoded.batch.series.len();
        if fast && let Some(result) = self.decoder.end_fast(true, Series::NO_METADATA) {
            result?;
            return Ok(self.attach(before, self.decoder.fast.metric_name(), metadata)?);
        }
        self.collect_references(message)?;
        self.push_labels()?;
        let mut pairs = self.decoder.labels.pairs().iter();
        let name = pairs.find(|(name, _)| *name == b"__name__").map(|(_, value)| *value);
        self.decoder.end_slow(Series::NO_METADATA)?;
        Ok(self.attach(before, name, metadata)?)
    }

    /// Reads label references at the front of a `TimeSeries` if they are packed into one field, and lead
    /// to a sorted label set with nothing unusual. Returns what follows them.
    #[inline]
    fn fast_labels(&mut self, message: &'a [u8]) -> Option<&'a [u8]> {
        let fast = &mut self.decoder.fast;
        fast.begin();
        let mut input = message.strip_prefix(&[0x0a])?;
        let length = usize::try_from(take_varint(&mut input).ok()?).ok()?;
        let (mut packed, rest) = input.split_at_checked(length)?;
        while !packed.is_empty() {
            let name = self.symbols.get(take_varint(&mut packed).ok()?)?;
            let value = self.symbols.get(take_varint(&mut packed).ok()?)?;
            let utf8 = name.utf8 && value.utf8;
            if !utf8 || !fast.push(name.from, name.len, value.from, value.len) {
                return None;
            }
        }
        Some(rest)
    }

    /// Collects the label references of a `TimeSeries` or an `Exemplar` (both have them as field 1).
    fn collect_references(&mut self, message: &'a [u8]) -> Result<(), Stop> {
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
                // A pair over the limit is enough to be refused for it; more would only take memory.
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

    /// Gives the collected references to the builder, as text.
    fn push_labels(&mut self) -> Result<(), Stop> {
        let symbol = |reference: u64| self.symbols.get(reference).map(Text::bytes).unwrap_or_default();
        for pair in self.references.as_chunks::<2>().0 {
            let [name, value] = *pair;
            self.decoder.labels.push(symbol(name), symbol(value));
        }
        Ok(())
    }

    fn exemplar(&mut self, message: &'a [u8]) -> Result<(), Stop> {
        let (mut value, mut timestamp) = (0.0, 0);
        let mut fields = Reader::new(message);
        while let Some(field) = fields.next()? {
            match field.number {
                2 => value = field.double()?,
                3 => timestamp = field.varint()? as i64,
                _ => {}
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

    /// Gives the series that was just added, if it was, its metadata.
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
        let text = |reference| self.symbols.get(reference).map(Text::bytes).unwrap_or_default();
        let bytes = &mut self.families.bytes;
        let number = *self.families.by_name.entry((family, metadata)).or_insert_with(|| {
            let entry = Metadata {
                family: cut(family, options.limits.name_bytes),
                kind,
                help: cut(text(metadata.help), options.limits.value_bytes),
                unit: cut(text(metadata.unit), options.limits.name_bytes),
            };
            *bytes += entry.family.len() + entry.help.len() + entry.unit.len();
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

fn read_metadata(metadata: &mut WireMetadata, message: &[u8]) -> Result<(), Stop> {
    let mut fields = Reader::new(message);
    while let Some(field) = fields.next()? {
        match field.number {
            1 => metadata.kind = field.varint()?,
            3 => metadata.help = field.varint()?,
            4 => metadata.unit = field.varint()?,
            _ => {}
        }
    }
    Ok(())
}

/// The family that a series of a classic histogram or summary belongs to: its name without `_bucket`,
/// `_sum`, `_count`. For other types the name itself.
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
