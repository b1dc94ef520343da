//! Makes the metric name and the labels of a field.
//!
//! A backslash in a measurement, tag or key escapes a separator. Before any other character it is an ordinary
//! backslash, and the backslash itself can't be escaped.

use crate::scan::unescaped;
use crate::{LineError, Options, ValueField};
use model::LabelsBuilder;
use model::labels::METRIC_NAME;
use std::borrow::Cow;

/// The measurement whose fields are already metric names.
const PROMETHEUS: &str = "prometheus";
/// The field whose name has no meaning.
const VALUE: &str = "value";

/// The parts of a line's head.
struct Head<'h> {
    measurement: &'h str,
    tags: Vec<(&'h str, &'h str)>,
}

pub(crate) fn put(
    head: &[u8],
    key: &[u8],
    options: &Options<'_>,
    out: &mut Vec<u8>,
) -> Result<(), LineError> {
    let Head { measurement, tags } = cut(head)?;
    let key = check_key(key)?;
    let name = metric_name(&unescape(measurement, ", "), &unescape(key, ",= "), options.value_field);
    let mut labels: Vec<(String, Cow<'_, str>)> = Vec::with_capacity(tags.len() + 1);
    for (number, (key, value)) in tags.iter().enumerate() {
        // If a tag occurs twice, the last one counts. A tag can't replace the metric name.
        let is_repeated = tags.iter().skip(number + 1).any(|(other, _)| other == key);
        if !is_repeated && !value.is_empty() && *key != METRIC_NAME {
            labels.push((label_name(&unescape(key, ",= ")), unescape(value, ",= ")));
        }
    }
    // Two tags may result in the same label: then it has both values, as with OTLP.
    labels.sort_by(|one, other| one.0.cmp(&other.0));
    labels.dedup_by(|later, earlier| {
        let is_same = later.0 == earlier.0;
        if is_same {
            earlier.1.to_mut().push(';');
            earlier.1.to_mut().push_str(&later.1);
        }
        is_same
    });
    let mut builder = LabelsBuilder::new();
    builder.push(METRIC_NAME.as_bytes(), name.as_bytes());
    if let Some((label, value)) = options.label
        && !labels.iter().any(|(name, _)| name == label)
    {
        builder.push(label.as_bytes(), value.as_bytes());
    }
    for (name, value) in &labels {
        builder.push(name.as_bytes(), value.as_bytes());
    }
    builder.finish(&options.limits, out)?;
    Ok(())
}

/// Checks the head of an invalid line, because the error may be there.
pub(crate) fn check_head(head: &[u8]) -> Result<(), LineError> {
    cut(head).map(drop)
}

fn cut(head: &[u8]) -> Result<Head<'_>, LineError> {
    let mut parts = Parts { rest: Some(checked(head)?) };
    let measurement = parts.next().unwrap_or_default();
    if measurement.is_empty() {
        return Err(LineError::Measurement);
    }
    let tag = |part: &'_ str| -> Result<(usize, usize), LineError> {
        let Some(equals) = unescaped(part.as_bytes(), b'=') else {
            return Err(if part.is_empty() { LineError::TagKey } else { LineError::TagValue });
        };
        if equals == 0 {
            return Err(LineError::TagKey);
        }
        if unescaped(part.as_bytes().get(equals + 1..).unwrap_or_default(), b'=').is_some() {
            return Err(LineError::TagFormat);
        }
        Ok((equals, equals + 1))
    };
    let tags = parts.map(|part| {
        let (key, value) = tag(part)?;
        Ok((part.get(..key).unwrap_or_default(), part.get(value..).unwrap_or_default()))
    });
    Ok(Head { measurement, tags: tags.collect::<Result<_, LineError>>()? })
}

/// The parts of a head between commas.
struct Parts<'h> {
    rest: Option<&'h str>,
}

impl<'h> Iterator for Parts<'h> {
    type Item = &'h str;

    fn next(&mut self) -> Option<&'h str> {
        let rest = self.rest.take()?;
        let Some(comma) = unescaped(rest.as_bytes(), b',') else { return Some(rest) };
        self.rest = rest.get(comma + 1..);
        rest.get(..comma)
    }
}

pub(crate) fn check_key(key: &[u8]) -> Result<&str, LineError> {
    if key.is_empty() {
        return Err(LineError::FieldKey);
    }
    if unescaped(key, b',').is_some() || unescaped(key, b' ').is_some() {
        return Err(LineError::FieldFormat);
    }
    checked(key)
}

fn checked(text: &[u8]) -> Result<&str, LineError> {
    let text = std::str::from_utf8(text).map_err(|_| LineError::Encoding)?;
    if text.bytes().any(|byte| byte.is_ascii_control()) {
        return Err(LineError::Control);
    }
    Ok(text)
}

/// Removes the backslashes in front of these characters.
fn unescape<'t>(text: &'t str, escapable: &str) -> Cow<'t, str> {
    if !text.contains('\\') {
        return Cow::Borrowed(text);
    }
    let mut out = String::with_capacity(text.len());
    let mut chars = text.chars().peekable();
    while let Some(next) = chars.next() {
        match chars.peek() {
            Some(escaped) if next == '\\' && escapable.contains(*escaped) => out.extend(chars.next()),
            _ => out.push(next),
        }
    }
    Cow::Owned(out)
}

fn metric_name(measurement: &str, key: &str, value_field: ValueField) -> String {
    let mut name = String::with_capacity(measurement.len() + 1 + key.len());
    let is_name = |c: char| c.is_ascii_alphanumeric() || matches!(c, '_' | ':');
    if measurement == PROMETHEUS {
        sanitize(key, is_name, &mut name);
        return name;
    }
    sanitize(measurement, is_name, &mut name);
    if key != VALUE || value_field == ValueField::Suffix {
        name.push('_');
        name.extend(key.chars().map(|c| if is_name(c) { c } else { '_' }));
    }
    name
}

fn label_name(key: &str) -> String {
    let mut name = String::with_capacity(key.len());
    sanitize(key, |c| c.is_ascii_alphanumeric() || c == '_', &mut name);
    name
}

/// Appends a name with only allowed characters. It does not begin with a digit.
fn sanitize(text: &str, is_allowed: impl Fn(char) -> bool, out: &mut String) {
    if text.starts_with(|first: char| first.is_ascii_digit()) {
        out.push('_');
    }
    out.extend(text.chars().map(|c| if is_allowed(c) { c } else { '_' }));
}
