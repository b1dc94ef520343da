//! Decoding `prometheus.WriteRequest` (1.0).

use super::decode::{Decoded, Decoder};
use super::{DecodeError, Protocol, points};
use crate::text::cut;
use crate::wire::{Fault, Reader};
use model::{Metadata, MetricType, Series};

/// A request, or what is wrong with a part of it.
type Outcome = Result<(), Stop>;

/// Damage found below the top, where the offset is not known yet.
pub(super) enum Stop {
    Fault(Fault),
    Error(DecodeError),
}

impl From<Fault> for Stop {
    fn from(fault: Fault) -> Self {
        Stop::Fault(fault)
    }
}

impl From<DecodeError> for Stop {
    fn from(error: DecodeError) -> Self {
        Stop::Error(error)
    }
}

impl Stop {
    #[cold]
    pub(super) fn in_body(self, body: &[u8]) -> DecodeError {
        match self {
            Stop::Fault(fault) => DecodeError::malformed(fault, body),
            Stop::Error(error) => error,
        }
    }
}

pub(super) fn decode<'a>(mut decoder: Decoder<'a, '_>, body: &'a [u8]) -> Result<Decoded, DecodeError> {
    match request(&mut decoder, body) {
        Ok(()) => Ok(decoder.decoded),
        Err(stop) => Err(stop.in_body(body)),
    }
}

fn request<'a>(decoder: &mut Decoder<'a, '_>, body: &'a [u8]) -> Outcome {
    // A look over the top level first: it costs little, and then memory is taken once and fits.
    let (mut count, mut bytes) = (0, 0);
    let mut fields = Reader::new(body);
    while let Some(field) = fields.next()? {
        if field.number == 1 {
            count += 1;
            bytes += field.bytes()?.len();
        }
    }
    decoder.reserve(count, bytes);

    let mut fields = Reader::new(body);
    while let Some(field) = fields.next()? {
        match field.number {
            1 => {
                let message = field.bytes()?;
                series(decoder, message)?;
            }
            3 => metadata(decoder, field.bytes()?)?,
            _ => {}
        }
    }
    Ok(())
}

fn series<'a>(decoder: &mut Decoder<'a, '_>, message: &'a [u8]) -> Outcome {
    decoder.begin_series()?;
    let rest = fast_labels(decoder, message);
    let mut fast = rest.is_some();
    let mut fields = Reader::new(rest.unwrap_or(message));
    while let Some(field) = fields.next()? {
        match field.number {
            1 => {
                // Labels that come after samples are legal: then all are read the long way.
                field.bytes()?;
                fast = false;
            }
            2 => {
                let (value, timestamp, start) = points::sample(Protocol::V1, field.bytes()?)?;
                decoder.float(timestamp, start, value)?;
            }
            3 => exemplar(decoder, field.bytes()?)?,
            4 => {
                let limit = decoder.options.limits.buckets;
                let timed = points::histogram(Protocol::V1, field.bytes()?, limit)?;
                decoder.histogram(timed.timestamp, timed.start_timestamp, timed.histogram)?;
            }
            _ => {}
        }
    }
    if fast && let Some(result) = decoder.end_fast(false, Series::NO_METADATA) {
        return Ok(result?);
    }
    let mut fields = Reader::new(message);
    while let Some(field) = fields.next()? {
        if field.number == 1 {
            label(decoder, field.bytes()?)?;
        }
    }
    if decoder.labels.is_empty() && !decoder.had_points() {
        return Ok(()); // A time series with nothing in it says nothing.
    }
    Ok(decoder.end_slow(Series::NO_METADATA)?)
}

/// Reads the labels at the front of a `TimeSeries` if each is a name, then a value, with nothing unusual.
/// Returns what follows them.
#[inline]
fn fast_labels<'a>(decoder: &mut Decoder<'a, '_>, message: &'a [u8]) -> Option<&'a [u8]> {
    let fast = &mut decoder.fast;
    fast.begin();
    let mut input = message;
    while let [0x0a, length, rest @ ..] = input {
        let (length, rest) = short_length(*length, rest)?;
        let [0x0a, name_len, name @ ..] = rest else { return None };
        let name_len = usize::from(*name_len);
        // A length of two bytes would be at least 128, over what the short way takes, so no check here.
        let [0x12, value_len, value @ ..] = name.get(name_len..)? else { return None };
        let (value_len, value) = short_length(*value_len, value)?;
        // What is left is the value and whatever comes after this label.
        let used = rest.len() - value.len() + value_len;
        if used != length || !fast.push(name, name_len, value, value_len) {
            return None;
        }
        input = value.get(value_len..)?;
    }
    Some(input)
}

/// A length of one or two bytes, of which the first is taken already.
#[inline(always)]
fn short_length(first: u8, rest: &[u8]) -> Option<(usize, &[u8])> {
    if first < 0x80 {
        return Some((usize::from(first), rest));
    }
    match rest {
        [second, rest @ ..] if *second < 0x80 => {
            Some((usize::from(first & 0x7f) | usize::from(*second) << 7, rest))
        }
        _ => None,
    }
}

fn label<'a>(decoder: &mut Decoder<'a, '_>, message: &'a [u8]) -> Result<(), Fault> {
    let (mut name, mut value): (&[u8], &[u8]) = (&[], &[]);
    let mut fields = Reader::new(message);
    while let Some(field) = fields.next()? {
        match field.number {
            1 => name = field.bytes()?,
            2 => value = field.bytes()?,
            _ => {}
        }
    }
    // One over the limit is enough to be refused for it; more would only take memory.
    if decoder.labels.len() <= decoder.options.limits.labels {
        decoder.labels.push(name, value);
    }
    Ok(())
}

fn exemplar<'a>(decoder: &mut Decoder<'a, '_>, message: &'a [u8]) -> Outcome {
    let (mut value, mut timestamp) = (0.0, 0);
    let mut fields = Reader::new(message);
    while let Some(field) = fields.next()? {
        match field.number {
            1 => label(decoder, field.bytes()?)?,
            2 => value = field.double()?,
            3 => timestamp = field.varint()? as i64,
            _ => {}
        }
    }
    Ok(decoder.exemplar(timestamp, value)?)
}

/// Metadata is help for people: what is too long is cut, and an entry without a usable family name is left
/// out.
fn metadata(decoder: &mut Decoder<'_, '_>, message: &[u8]) -> Outcome {
    let (mut kind, mut family, mut help, mut unit): (u64, &[u8], &[u8], &[u8]) = (0, &[], &[], &[]);
    let mut fields = Reader::new(message);
    while let Some(field) = fields.next()? {
        match field.number {
            1 => kind = field.varint()?,
            2 => family = field.bytes()?,
            4 => help = field.bytes()?,
            5 => unit = field.bytes()?,
            _ => {}
        }
    }
    let options = decoder.options;
    if family.is_empty() || family.len() > options.limits.name_bytes {
        return Ok(());
    }
    let Ok(family) = std::str::from_utf8(family) else { return Ok(()) };
    let list = &mut decoder.decoded.batch.metadata;
    if list.len() >= options.max_series {
        return Err(DecodeError::TooMany { what: "metadata entries", limit: options.max_series }.into());
    }
    list.push(Metadata {
        family: family.into(),
        kind: MetricType::from_number(kind),
        help: cut(help, options.limits.value_bytes),
        unit: cut(unit, options.limits.name_bytes),
    });
    Ok(())
}
