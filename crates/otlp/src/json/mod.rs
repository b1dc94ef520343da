//! OTLP's JSON as OTLP's protocol buffers, so that there is one decoder. A JSON text is written as the message that it
//! stands for, while it is parsed: no tree is built.
//!
//! The rules are those of protocol buffers' JSON, with OTLP's exceptions: trace and span ids are in hexadecimal digits, and
//! enumerations are numbers. Unknown keys are skipped, and `null` is the same as absence.

mod schema;

use crate::value::NESTING_MAX;
use base64::Engine;
use base64::engine::general_purpose::{STANDARD, URL_SAFE};
use model::varint;
use schema::{Field, Kind, Message};
use serde::Deserialize;
use serde::de::{DeserializeSeed, Deserializer, Error, IgnoredAny, MapAccess, SeqAccess, Visitor};
use std::cell::RefCell;
use std::fmt;

/// How deeply messages may be nested. Those below are left out, where the value of an attribute is nested too deeply
/// already: a data point is 5 messages down, its exemplars one more, and each level of a map is 3.
const DEPTH_MAX: usize = 10 + 3 * (NESTING_MAX + 2);
/// How many times larger than the JSON its protocol buffers may be. Only lists of short numbers grow.
const GROWTH_MAX: usize = 2;
/// What they may have beyond that, in bytes.
const GROWTH_FREE: usize = 4096;
/// Prometheus' own NaN (`value.NormalNaN`), so that JSON and protocol buffers give the same bits.
const NAN: u64 = 0x7ff8_0000_0000_0001;
/// The length of a message is written in so many bytes, because it is known once the message has been written.
const LENGTH_BYTES: usize = 5;

/// Writes an `ExportMetricsServiceRequest` that is given as JSON as protocol buffers.
pub(crate) fn to_protobuf(json: &[u8]) -> Result<Vec<u8>, serde_json::Error> {
    let limit = json.len().saturating_mul(GROWTH_MAX).saturating_add(GROWTH_FREE);
    let out = RefCell::new(Out { bytes: Vec::new(), limit, depth: 0 });
    let mut reader = serde_json::Deserializer::from_slice(json);
    // Unknown keys are skipped without recursion, and messages have a limit of their own.
    reader.disable_recursion_limit();
    MessageSeed { message: &schema::REQUEST, out: &out }.deserialize(&mut reader)?;
    reader.end()?;
    Ok(out.into_inner().bytes)
}

struct Out {
    bytes: Vec<u8>,
    limit: usize,
    depth: usize,
}

impl Out {
    fn tag(&mut self, number: u32, wire_type: u32) {
        varint::put_u64(&mut self.bytes, u64::from(number << 3 | wire_type));
    }

    fn bytes(&mut self, number: u32, bytes: &[u8]) {
        self.tag(number, 2);
        varint::put_bytes(&mut self.bytes, bytes);
    }

    /// Begins a field with a length. Returns where the length has to be written.
    fn begin(&mut self, number: u32) -> usize {
        self.tag(number, 2);
        self.bytes.extend_from_slice(&[0x80, 0x80, 0x80, 0x80, 0]);
        self.bytes.len() - LENGTH_BYTES
    }

    fn end<E: Error>(&mut self, length_at: usize) -> Result<(), E> {
        let mut length = self.bytes.len() - length_at - LENGTH_BYTES;
        for byte in self.bytes.iter_mut().skip(length_at).take(LENGTH_BYTES) {
            *byte |= (length & 0x7f) as u8;
            length >>= 7;
        }
        self.check()
    }

    fn check<E: Error>(&self) -> Result<(), E> {
        match self.bytes.len() > self.limit {
            true => Err(E::custom(
                "the lists in it have too many short numbers: send protobuf, or fewer data points",
            )),
            false => Ok(()),
        }
    }
}

/// Reads an object as a message, without its length.
struct MessageSeed<'o> {
    message: &'static Message,
    out: &'o RefCell<Out>,
}

impl<'de> DeserializeSeed<'de> for MessageSeed<'_> {
    type Value = ();

    fn deserialize<D: Deserializer<'de>>(self, deserializer: D) -> Result<(), D::Error> {
        deserializer.deserialize_any(self)
    }
}

impl<'de> Visitor<'de> for MessageSeed<'_> {
    type Value = ();

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "an object ({})", self.message.name)
    }

    fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<(), A::Error> {
        while let Some(field) = map.next_key_seed(KeySeed(self.message))? {
            match field {
                Some(field) => map.next_value_seed(FieldSeed { field, out: self.out })?,
                None => drop(map.next_value::<IgnoredAny>()?),
            }
        }
        Ok(())
    }
}

/// Finds the field for a key.
struct KeySeed(&'static Message);

impl<'de> DeserializeSeed<'de> for KeySeed {
    type Value = Option<&'static Field>;

    fn deserialize<D: Deserializer<'de>>(self, deserializer: D) -> Result<Self::Value, D::Error> {
        deserializer.deserialize_str(self)
    }
}

impl Visitor<'_> for KeySeed {
    type Value = Option<&'static Field>;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("a key")
    }

    fn visit_str<E: Error>(self, key: &str) -> Result<Self::Value, E> {
        Ok(self.0.fields.iter().find(|field| schema::is_key(field.key, key)))
    }
}

/// Reads the value of a field, which may be a list.
struct FieldSeed<'o> {
    field: &'static Field,
    out: &'o RefCell<Out>,
}

impl<'de> DeserializeSeed<'de> for FieldSeed<'_> {
    type Value = ();

    fn deserialize<D: Deserializer<'de>>(self, deserializer: D) -> Result<(), D::Error> {
        let FieldSeed { field, out } = self;
        if field.is_repeated {
            return deserializer.deserialize_any(ListVisitor { field, out });
        }
        match field.kind {
            Kind::Message(_) => deserializer.deserialize_option(ValueSeed { field, out }),
            _ => ValueSeed { field, out }.deserialize(deserializer),
        }
    }
}

struct ListVisitor<'o> {
    field: &'static Field,
    out: &'o RefCell<Out>,
}

impl<'de> Visitor<'de> for ListVisitor<'_> {
    type Value = ();

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "a list for {:?}", self.field.key)
    }

    fn visit_unit<E: Error>(self) -> Result<(), E> {
        Ok(())
    }

    fn visit_seq<A: SeqAccess<'de>>(self, mut list: A) -> Result<(), A::Error> {
        let ListVisitor { field, out } = self;
        while list.next_element_seed(ValueSeed { field, out })?.is_some() {}
        Ok(())
    }
}

/// Reads one value.
struct ValueSeed<'o> {
    field: &'static Field,
    out: &'o RefCell<Out>,
}

impl<'de> DeserializeSeed<'de> for ValueSeed<'_> {
    type Value = ();

    fn deserialize<D: Deserializer<'de>>(self, deserializer: D) -> Result<(), D::Error> {
        match self.field.kind {
            Kind::Message(message) => {
                let (length_at, depth) = {
                    let mut out = self.out.borrow_mut();
                    out.depth += 1;
                    (out.begin(self.field.number), out.depth)
                };
                match depth > DEPTH_MAX {
                    true => drop(IgnoredAny::deserialize(deserializer)?),
                    false => MessageSeed { message, out: self.out }.deserialize(deserializer)?,
                }
                let mut out = self.out.borrow_mut();
                out.depth -= 1;
                out.end(length_at)
            }
            _ => deserializer.deserialize_any(self),
        }
    }
}

impl ValueSeed<'_> {
    fn wrong<E: Error>(&self, given: &dyn fmt::Display) -> E {
        E::custom(format_args!("{:?} is not {}: {given}", self.field.key, self.field.kind.noun()))
    }

    /// A whole number within the range of the field.
    fn integer<E: Error>(self, value: i128) -> Result<(), E> {
        let (unsigned, signed) = (u64::try_from(value).ok(), i64::try_from(value).ok());
        let fits = match self.field.kind {
            Kind::Fixed64 | Kind::Uint64 => unsigned,
            Kind::Sfixed64 | Kind::Int64 => signed.map(|value| value as u64),
            Kind::Uint32 => u32::try_from(value).ok().map(u64::from),
            Kind::Sint32 => i32::try_from(value).ok().map(|value| varint::zigzag(i64::from(value))),
            Kind::Temporality => i32::try_from(value).ok().map(|value| i64::from(value) as u64),
            Kind::Double => return self.double(value as f64),
            _ => None,
        };
        let Some(bits) = fits else { return Err(self.wrong(&value)) };
        let mut out = self.out.borrow_mut();
        if matches!(self.field.kind, Kind::Fixed64 | Kind::Sfixed64) {
            out.tag(self.field.number, 1);
            out.bytes.extend_from_slice(&bits.to_le_bytes());
        } else {
            out.tag(self.field.number, 0);
            varint::put_u64(&mut out.bytes, bits);
        }
        out.check()
    }

    fn double<E: Error>(self, value: f64) -> Result<(), E> {
        if !matches!(self.field.kind, Kind::Double) {
            // As protocol buffers have it: 1.0 and 1e3 are whole numbers.
            let is_whole = value.fract() == 0.0 && value.abs() < 1e20;
            return if is_whole { self.integer(value as i128) } else { Err(self.wrong(&value)) };
        }
        let mut out = self.out.borrow_mut();
        out.tag(self.field.number, 1);
        out.bytes.extend_from_slice(&value.to_le_bytes());
        out.check()
    }
}

impl<'de> Visitor<'de> for ValueSeed<'_> {
    type Value = ();

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} for {:?}", self.field.kind.noun(), self.field.key)
    }

    fn visit_unit<E: Error>(self) -> Result<(), E> {
        Ok(())
    }

    fn visit_none<E: Error>(self) -> Result<(), E> {
        Ok(())
    }

    fn visit_some<D: Deserializer<'de>>(self, deserializer: D) -> Result<(), D::Error> {
        self.deserialize(deserializer)
    }

    fn visit_bool<E: Error>(self, value: bool) -> Result<(), E> {
        if !matches!(self.field.kind, Kind::Bool) {
            return Err(self.wrong(&value));
        }
        let mut out = self.out.borrow_mut();
        out.tag(self.field.number, 0);
        out.bytes.push(u8::from(value));
        Ok(())
    }

    fn visit_u64<E: Error>(self, value: u64) -> Result<(), E> {
        self.integer(i128::from(value))
    }

    fn visit_i64<E: Error>(self, value: i64) -> Result<(), E> {
        self.integer(i128::from(value))
    }

    fn visit_f64<E: Error>(self, value: f64) -> Result<(), E> {
        self.double(value)
    }

    fn visit_str<E: Error>(self, text: &str) -> Result<(), E> {
        let short = || format!("{:?}", text.chars().take(64).collect::<String>());
        match self.field.kind {
            Kind::Text => self.out.borrow_mut().bytes(self.field.number, text.as_bytes()),
            Kind::Base64 => match STANDARD.decode(text).or_else(|_| URL_SAFE.decode(text)) {
                Ok(bytes) => self.out.borrow_mut().bytes(self.field.number, &bytes),
                Err(_) => return Err(self.wrong(&short())),
            },
            Kind::Hex => match hex(text) {
                Some(bytes) => self.out.borrow_mut().bytes(self.field.number, &bytes),
                None => return Err(self.wrong(&short())),
            },
            Kind::Double => {
                let value = match text {
                    "NaN" => Some(f64::from_bits(NAN)),
                    "Infinity" => Some(f64::INFINITY),
                    "-Infinity" => Some(f64::NEG_INFINITY),
                    _ => formats::text::float(text).ok(),
                };
                return match value {
                    Some(value) => self.double(value),
                    None => Err(self.wrong(&short())),
                };
            }
            Kind::Temporality if schema::temporality(text).is_some() => {
                return self.integer(i128::from(schema::temporality(text).unwrap_or(0)));
            }
            _ => {
                return match text.parse::<i128>() {
                    Ok(value) => self.integer(value),
                    Err(_) => Err(self.wrong(&short())),
                };
            }
        }
        self.out.borrow().check()
    }
}

fn hex(text: &str) -> Option<Vec<u8>> {
    let (pairs, rest) = text.as_bytes().as_chunks::<2>();
    let digit = |byte: u8| char::from(byte).to_digit(16).map(|digit| digit as u8);
    let byte = |pair: &[u8; 2]| Some(digit(pair[0])? << 4 | digit(pair[1])?);
    if rest.is_empty() { pairs.iter().map(byte).collect() } else { None }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn numbers_may_be_strings_and_doubles_may_be_words() {
        let same = [
            (
                r#"{"timeUnixNano":"1700000000000000001","asInt":"-3"}"#,
                r#"{"timeUnixNano":1700000000000000001,"asInt":-3}"#,
            ),
            (r#"{"asDouble":"NaN"}"#, r#"{"as_double":"NaN"}"#),
            (r#"{"asDouble":"1.5","flags":1.0}"#, r#"{"flags":null,"asDouble":1.5,"flags":"1"}"#),
        ];
        let point = |text: &str| {
            to_protobuf(format!(r#"{{"resourceMetrics":[{{"scopeMetrics":[{{"metrics":[{{"gauge":{{"dataPoints":[{text}]}}}}]}}]}}]}}"#).as_bytes())
        };
        for (one, other) in same {
            assert_eq!(point(one).unwrap().len(), point(other).unwrap().len(), "{one}");
        }
        for (wrong, why) in [
            (r#"{"asInt":1.5}"#, "\"asInt\" is not a whole number: 1.5"),
            (r#"{"asInt":"9223372036854775808"}"#, "\"asInt\" is not a whole number: 9223372036854775808"),
            (r#"{"timeUnixNano":-1}"#, "\"timeUnixNano\" is not a whole number: -1"),
            (r#"{"asDouble":"x"}"#, "\"asDouble\" is not a number: \"x\""),
            (r#"{"attributes":{}}"#, "expected a list for \"attributes\""),
            (r#"{"exemplars":[{"traceId":"xyz"}]}"#, "\"traceId\" is not hexadecimal digits: \"xyz\""),
            (r#"[]"#, "expected an object (NumberDataPoint)"),
        ] {
            let error = point(wrong).unwrap_err().to_string();
            assert!(error.contains(why) && error.contains("line 1 column"), "{error}");
        }
    }

    #[test]
    fn unknown_keys_and_nulls_are_skipped() {
        let json =
            br#"{"x":[{"y":1}],"resourceMetrics":[{"resource":null,"scopeMetrics":null,"schemaUrl":null}]}"#;
        assert_eq!(to_protobuf(json).unwrap(), [0x0a, 0x80, 0x80, 0x80, 0x80, 0]);
        assert!(to_protobuf(b"{}").unwrap().is_empty());
        assert!(to_protobuf(b"{} x").is_err() && to_protobuf(b"").is_err() && to_protobuf(b"[]").is_err());
    }

    #[test]
    fn what_grows_too_much_is_refused() {
        let zeros = vec!["0"; 20_000].join(",");
        let json = format!(
            r#"{{"resourceMetrics":[{{"scopeMetrics":[{{"metrics":[{{"histogram":{{"dataPoints":[{{"bucketCounts":[{zeros}]}}]}}}}]}}]}}]}}"#
        );
        let error = to_protobuf(json.as_bytes()).unwrap_err().to_string();
        assert!(error.contains("too many short numbers"), "{error}");
    }
}
