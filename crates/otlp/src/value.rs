//! Values of attributes as the text of a label, as `AsString` of the Collector's `pdata` has them.

use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use formats::wire::{Fault, Reader};
use std::collections::BTreeMap;

/// How deeply lists and maps within the value of an attribute may be nested.
pub const NESTING_MAX: usize = 32;

/// The most bytes of a list, a map or bytes as the value of an attribute, as they are in the request. Their text may be
/// several times larger.
pub const STRUCTURE_BYTES_MAX: usize = 64 << 10;

/// Why a value has no text.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum ValueError {
    /// The message is damaged.
    Fault(Fault),
    TooDeep,
    TooLarge,
}

impl From<Fault> for ValueError {
    fn from(fault: Fault) -> Self {
        ValueError::Fault(fault)
    }
}

/// A value, as far as it is read without looking into lists and maps.
#[derive(Debug, Clone, Copy, PartialEq)]
enum AnyValue<'a> {
    Empty,
    Text(&'a [u8]),
    Bool(bool),
    Integer(i64),
    Double(f64),
    Bytes(&'a [u8]),
    List(&'a [u8]),
    Map(&'a [u8]),
}

impl<'a> AnyValue<'a> {
    fn read(message: &'a [u8]) -> Result<Self, Fault> {
        let mut found = AnyValue::Empty;
        let mut fields = Reader::new(message);
        while let Some(field) = fields.next()? {
            found = match field.number {
                1 => AnyValue::Text(field.bytes()?),
                2 => AnyValue::Bool(field.varint()? != 0),
                3 => AnyValue::Integer(field.varint()? as i64),
                4 => AnyValue::Double(field.double()?),
                5 => AnyValue::List(field.bytes()?),
                6 => AnyValue::Map(field.bytes()?),
                7 => AnyValue::Bytes(field.bytes()?),
                _ => found,
            };
        }
        Ok(found)
    }
}

/// The text of a value: a part of the message, or written to `out`.
pub(crate) fn text<'a>(message: &'a [u8], out: &mut Vec<u8>) -> Result<Option<&'a [u8]>, ValueError> {
    match AnyValue::read(message)? {
        AnyValue::Text(text) => return Ok(Some(text)),
        AnyValue::Empty => return Ok(Some(&[])),
        AnyValue::Bool(value) => out.extend_from_slice(value.to_string().as_bytes()),
        AnyValue::Integer(value) => out.extend_from_slice(value.to_string().as_bytes()),
        AnyValue::Double(value) => out.extend_from_slice(double(value).as_bytes()),
        AnyValue::Bytes(_) | AnyValue::List(_) | AnyValue::Map(_) if message.len() > STRUCTURE_BYTES_MAX => {
            return Err(ValueError::TooLarge);
        }
        AnyValue::Bytes(bytes) => out.extend_from_slice(STANDARD.encode(bytes).as_bytes()),
        value @ (AnyValue::List(_) | AnyValue::Map(_)) => {
            let start = out.len();
            match json(value, out, NESTING_MAX) {
                Ok(true) => {}
                // JSON has no NaN and no infinity. There, the text is empty.
                Ok(false) => out.truncate(start),
                Err(error) => return Err(error),
            }
        }
    }
    Ok(None)
}

/// A name and the message of its value.
pub(crate) fn key_value(message: &[u8]) -> Result<(&[u8], &[u8]), Fault> {
    let (mut key, mut value): (&[u8], &[u8]) = (&[], &[]);
    let mut fields = Reader::new(message);
    while let Some(field) = fields.next()? {
        match field.number {
            1 => key = field.bytes()?,
            2 => value = field.bytes()?,
            _ => {}
        }
    }
    Ok((key, value))
}

/// Appends the JSON of a value as Go's `encoding/json` writes it. Returns false if the value has none.
fn json(value: AnyValue<'_>, out: &mut Vec<u8>, levels: usize) -> Result<bool, ValueError> {
    match value {
        AnyValue::Empty => out.extend_from_slice(b"null"),
        AnyValue::Text(text) => quoted(text, out),
        AnyValue::Bool(value) => out.extend_from_slice(value.to_string().as_bytes()),
        AnyValue::Integer(value) => out.extend_from_slice(value.to_string().as_bytes()),
        AnyValue::Double(value) if !value.is_finite() => return Ok(false),
        AnyValue::Double(value) => out.extend_from_slice(double(value).as_bytes()),
        AnyValue::Bytes(bytes) => quoted(STANDARD.encode(bytes).as_bytes(), out),
        AnyValue::List(list) => {
            let levels = levels.checked_sub(1).ok_or(ValueError::TooDeep)?;
            out.push(b'[');
            let mut is_first = true;
            let mut fields = Reader::new(list);
            while let Some(field) = fields.next()? {
                if field.number != 1 {
                    continue;
                }
                if !std::mem::replace(&mut is_first, false) {
                    out.push(b',');
                }
                if !json(AnyValue::read(field.bytes()?)?, out, levels)? {
                    return Ok(false);
                }
            }
            out.push(b']');
        }
        AnyValue::Map(map) => {
            let levels = levels.checked_sub(1).ok_or(ValueError::TooDeep)?;
            // Sorted by name, and of a repeated name the last counts.
            let mut entries = BTreeMap::new();
            let mut fields = Reader::new(map);
            while let Some(field) = fields.next()? {
                if field.number == 1 {
                    let (key, value) = key_value(field.bytes()?)?;
                    entries.insert(key, value);
                }
            }
            out.push(b'{');
            for (index, (key, value)) in entries.into_iter().enumerate() {
                if index > 0 {
                    out.push(b',');
                }
                quoted(key, out);
                out.push(b':');
                if !json(AnyValue::read(value)?, out, levels)? {
                    return Ok(false);
                }
            }
            out.push(b'}');
        }
    }
    Ok(true)
}

/// A string in quotes, with the escapes of Go's `encoding/json`.
fn quoted(text: &[u8], out: &mut Vec<u8>) {
    out.push(b'"');
    for c in String::from_utf8_lossy(text).chars() {
        let escape = match c {
            '"' => "\\\"",
            '\\' => "\\\\",
            '\n' => "\\n",
            '\r' => "\\r",
            '\t' => "\\t",
            '\u{8}' => "\\b",
            '\u{c}' => "\\f",
            '\u{2028}' => "\\u2028",
            '\u{2029}' => "\\u2029",
            c if c < ' ' => {
                out.extend_from_slice(format!("\\u{:04x}", c as u32).as_bytes());
                continue;
            }
            c => {
                out.extend_from_slice(c.encode_utf8(&mut [0; 4]).as_bytes());
                continue;
            }
        };
        out.extend_from_slice(escape.as_bytes());
    }
    out.push(b'"');
}

/// A float as JavaScript and JSON write it.
fn double(value: f64) -> String {
    if value.is_nan() {
        return "NaN".into();
    }
    if value.is_infinite() {
        return if value > 0.0 { "Infinity" } else { "-Infinity" }.into();
    }
    let size = value.abs();
    if size == 0.0 || (1e-6..1e21).contains(&size) {
        return value.to_string();
    }
    let text = format!("{value:e}");
    match text.split_once('e') {
        // Go writes the sign of a positive exponent.
        Some((mantissa, exponent)) if !exponent.starts_with('-') => format!("{mantissa}e+{exponent}"),
        _ => text,
    }
}

/// A float in its shortest decimal form without an exponent, as Prometheus writes bounds and quantiles.
pub(crate) fn decimal(value: f64) -> String {
    if value.is_infinite() {
        return if value > 0.0 { "+Inf" } else { "-Inf" }.into();
    }
    value.to_string()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn floats_are_written_as_by_javascript() {
        for (value, wanted) in [
            (0.0, "0"),
            (-0.0, "-0"),
            (1.0, "1"),
            (1.5, "1.5"),
            (1e-6, "0.000001"),
            (1e-7, "1e-7"),
            (1.5e-10, "1.5e-10"),
            (1e20, "100000000000000000000"),
            (1e21, "1e+21"),
            (-2.5e300, "-2.5e+300"),
            (f64::NAN, "NaN"),
            (f64::INFINITY, "Infinity"),
            (f64::NEG_INFINITY, "-Infinity"),
        ] {
            assert_eq!(double(value), wanted);
        }
        assert_eq!(decimal(1e21), "1000000000000000000000");
        assert_eq!((decimal(f64::INFINITY), decimal(10.0)), ("+Inf".into(), "10".into()));
    }

    #[test]
    fn a_list_over_the_limit_is_refused() {
        let list = |items: usize| {
            let mut message = vec![0x2a];
            model::varint::put_bytes(&mut message, &[0x0a, 0].repeat(items));
            let mut out = Vec::new();
            text(&message, &mut out).map(|_| out.len())
        };
        let most = (STRUCTURE_BYTES_MAX - 4) / 2;
        assert_eq!(list(most), Ok("null,".len() * most + 1));
        assert_eq!(list(most + 1), Err(ValueError::TooLarge));
    }

    #[test]
    fn a_value_that_is_nested_too_deeply_is_refused() {
        let mut message = vec![0x10, 1];
        for levels in 1..=NESTING_MAX + 1 {
            let mut list = vec![0x0a];
            model::varint::put_bytes(&mut list, &message);
            message = vec![0x2a];
            model::varint::put_bytes(&mut message, &list);
            let mut out = Vec::new();
            let is_fine = text(&message, &mut out).is_ok();
            assert_eq!(is_fine, levels <= NESTING_MAX, "{levels}");
            if is_fine {
                assert_eq!(out, format!("{}true{}", "[".repeat(levels), "]".repeat(levels)).as_bytes());
            }
        }
    }
}
