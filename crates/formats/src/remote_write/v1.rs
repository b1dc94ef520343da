//! Decodes `prometheus.WriteRequest` (1.0).

use super::decode::{Decoded, Decoder};
use super::error::Outcome;
use super::fast::{self, FastLabels, SLACK_BYTES, is_ascii};
use super::{DecodeError, Protocol, points};
use crate::text::cut;
use crate::wire::{Fault, Reader};
use model::{LabelsRef, Metadata, MetricType, Span};

pub(super) fn decode<'a>(mut decoder: Decoder<'a, '_>, body: &'a [u8]) -> Result<Decoded, DecodeError> {
    match request(&mut decoder, body) {
        Ok(()) => Ok(decoder.end(body)),
        Err(stop) => Err(stop.in_body(body)),
    }
}

fn request<'a>(decoder: &mut Decoder<'a, '_>, body: &'a [u8]) -> Outcome {
    let mut fields = Reader::new(body);
    let (mut first, mut fields_of_v2) = (true, false);
    while let Some(field) = fields.next()? {
        match field.number {
            1 => {
                let message = field.bytes()?;
                if first {
                    // Series are about as long as the first one, and labels are never longer than on the wire.
                    let series = body.len() / message.len().max(1) + 1;
                    decoder.reserve(series, body.len() + SLACK_BYTES);
                    first = false;
                }
                series(decoder, message)?;
            }
            3 => metadata(decoder, field.bytes()?)?,
            other => {
                fields_of_v2 |= matches!(other, 4 | 5);
                decoder.decoded.exact = false;
            }
        }
    }
    // Without this check a body of 2.0 would be acknowledged although nothing of it was read.
    if first && fields_of_v2 {
        return Err(DecodeError::OtherVersion { found: Protocol::V2, announced: Protocol::V1 }.into());
    }
    Ok(())
}

fn series<'a>(decoder: &mut Decoder<'a, '_>, message: &'a [u8]) -> Outcome {
    decoder.begin_series()?;
    let (mut labels, mut rest) = match fast_labels(decoder, message) {
        Some((span, rest)) => (Some(span), rest),
        None => (None, message),
    };
    // Samples usually come next.
    while let [0x12, length, after @ ..] = rest
        && let Some((sample, after)) = after.split_at_checked(usize::from(*length))
        && *length < 0x80
    {
        let (value, timestamp, start) = points::sample(Protocol::V1, sample, &mut decoder.decoded.exact)?;
        decoder.float(timestamp, start, value)?;
        rest = after;
    }
    let mut fields = Reader::new(rest);
    while let Some(field) = fields.next()? {
        match field.number {
            1 => {
                // Labels after samples are legal. All labels are then read on the slow path.
                field.bytes()?;
                labels = None;
            }
            2 => {
                let (value, timestamp, start) =
                    points::sample(Protocol::V1, field.bytes()?, &mut decoder.decoded.exact)?;
                decoder.float(timestamp, start, value)?;
            }
            3 => exemplar(decoder, field.bytes()?)?,
            4 => {
                let limit = decoder.options.limits.buckets;
                let timed = points::histogram(Protocol::V1, field.bytes()?, limit)?;
                decoder.decoded.exact &= timed.exact;
                decoder.histogram(timed.timestamp, timed.start_timestamp, timed.histogram)?;
            }
            _ => decoder.decoded.exact = false,
        }
    }
    if let Some(labels) = labels {
        return Ok(decoder.end_series(labels)?);
    }
    let mut fields = Reader::new(message);
    while let Some(field) = fields.next()? {
        if field.number == 1 {
            label(decoder, field.bytes()?)?;
        }
    }
    if decoder.labels.is_empty() && !decoder.had_points() {
        decoder.decoded.exact = false;
        return Ok(()); // An empty time series has no data.
    }
    Ok(decoder.end_slow()?)
}

/// Reads the labels at the front of a `TimeSeries` if each is a name and then a value without anything unusual. Returns
/// their place in the arena, and the rest of the message.
fn fast_labels<'a>(decoder: &mut Decoder<'a, '_>, message: &'a [u8]) -> Option<(Span, &'a [u8])> {
    let start = decoder.decoded.batch.bytes.len();
    // A label needs fewer bytes in the arena than on the wire.
    let space = decoder.reserve_space(message.len() + SLACK_BYTES);
    let written = write_labels(space.labels, message).filter(|(len, rest)| {
        // Lengths below 128 are ASCII themselves, so in most messages one check of the labels on the wire is enough.
        // Those bytes are in the cache already.
        let wire = message.get(..message.len() - rest.len()).unwrap_or_default();
        is_ascii(wire) || space_is_utf8(decoder, start, *len)
    });
    let span = decoder.keep_space(start, written.map(|(len, _)| len), message)?;
    Some((span, written?.1))
}

#[inline(never)]
fn space_is_utf8(decoder: &Decoder<'_, '_>, start: usize, len: usize) -> bool {
    let is_utf8 = |text| std::str::from_utf8(text).is_ok();
    let labels = decoder.decoded.batch.bytes.get(start..start + len).map(LabelsRef::trusted);
    labels.is_some_and(|labels| labels.pairs().all(|(name, value)| is_utf8(name) && is_utf8(value)))
}

/// The next label is found by the length of this one, and not by parsing it, so that the processor can work on several
/// labels at a time.
#[inline(never)] // by itself its variables fit the registers
fn write_labels<'a>(mut labels: FastLabels<'_>, message: &'a [u8]) -> Option<(usize, &'a [u8])> {
    let (mut pairs, mut named) = (0, false);
    let mut input = message;
    while let [0x0a, length, rest @ ..] = input {
        let (length, rest) = short_length(*length, rest)?;
        input = rest.get(length..)?;
        let [0x0a, name @ ..] = rest else { return None };
        let [name_len, text @ ..] = name else { return None };
        // A length of two bytes would be at least 128, which is over the limit of the fast path, so there is no check
        // here.
        let name_len = usize::from(*name_len);
        named |= labels.push_name(fast::key(text, name_len)?, name, name_len)?;
        pairs += 1;
        let [0x12, value @ ..] = text.get(name_len..)? else { return None };
        let [value_len, text @ ..] = value else { return None };
        // The rest is the value and the labels after this one.
        let value_left = text.len().checked_sub(input.len())?;
        if value_left == usize::from(*value_len) && value_left < 128 {
            if !labels.push_value(value, value_left) {
                return None;
            }
        } else {
            let (value_len, text) = short_length(*value_len, text)?;
            if value_len + 1 != value_left || !labels.push_long_value(text.get(..value_len)?) {
                return None;
            }
        }
    }
    Some((labels.finish(pairs, named)?, input))
}

/// A length of one or two bytes. The first one is already consumed.
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
            _ => decoder.decoded.exact = false,
        }
    }
    // One label over the limit is enough to refuse the series; more would only use memory.
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
            _ => decoder.decoded.exact = false,
        }
    }
    Ok(decoder.exemplar(timestamp, value)?)
}

/// Metadata is help for people: long texts are cut, and an entry without a usable family name is left out.
fn metadata(decoder: &mut Decoder<'_, '_>, message: &[u8]) -> Outcome {
    // Metadata is sent to the destinations separately.
    decoder.decoded.exact = false;
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
