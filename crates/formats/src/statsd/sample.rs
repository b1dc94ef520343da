//! Reads the part of a line after the name: values, a type, and sections.

use super::{Kind, Reason};

/// One or more values of one type, with their sections.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Sample<'a> {
    pub kind: Kind,
    /// The values as they were sent.
    values: &'a str,
    /// The number of events that each value stands for: 1 divided by the sample rate.
    pub weight: f64,
    /// The sample rate could not be read, so the weight is 1.
    pub has_invalid_rate: bool,
    /// The tags after `|#`, as they were sent.
    pub tags: &'a str,
    /// The container after `|c:`.
    pub container: Option<&'a str>,
    /// The time after `|T`, in seconds since 1970.
    pub timestamp_s: Option<i64>,
}

/// A value.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Number {
    pub value: f64,
    /// It begins with a sign. For a gauge this means a change.
    pub has_sign: bool,
}

impl<'a> Sample<'a> {
    /// The values of all types but sets. Empty ones between others are skipped.
    pub fn numbers(&self) -> impl Iterator<Item = Result<Number, Reason>> + 'a {
        let is_single = !self.values.contains(':');
        self.values.split(':').filter(move |value| is_single || !value.is_empty()).map(number)
    }

    /// The value of a set, which may contain colons.
    pub fn set_value(&self) -> &'a str {
        self.values
    }
}

fn number(text: &str) -> Result<Number, Reason> {
    let value: f64 = text.parse().map_err(|_| Reason::MalformedValue)?;
    match value.is_finite() {
        true => Ok(Number { value, has_sign: text.starts_with(['+', '-']) }),
        false => Err(Reason::MalformedValue),
    }
}

/// The samples of a line.
#[derive(Debug, Clone)]
pub struct Samples<'a> {
    rest: Option<&'a str>,
}

impl<'a> Samples<'a> {
    pub(super) fn new(rest: &'a str) -> Self {
        Samples { rest: Some(rest) }
    }
}

impl<'a> Iterator for Samples<'a> {
    type Item = Result<Sample<'a>, Reason>;

    fn next(&mut self) -> Option<Self::Item> {
        let rest = self.rest.take()?;
        let Some((values, rest)) = rest.split_once('|') else { return Some(Err(Reason::NotEnoughParts)) };
        let (word, mut rest) = cut(rest, true);
        let mut sample = Sample {
            kind: Kind::Counter,
            values,
            weight: 1.0,
            has_invalid_rate: false,
            tags: "",
            container: None,
            timestamp_s: None,
        };
        let mut refused = match Kind::of(word) {
            Some(kind) => {
                sample.kind = kind;
                None
            }
            None => Some(Reason::IllegalType),
        };
        while let Rest::Section(text) = rest {
            let (section, after) = cut(text, text.starts_with('@'));
            rest = after;
            if let Err(reason) = sample.read_section(section) {
                refused.get_or_insert(reason);
            }
        }
        if let Rest::Sample(text) = rest {
            self.rest = Some(text);
        }
        if refused.is_none() && sample.kind != Kind::Set && values.bytes().all(|byte| byte == b':') {
            refused = Some(Reason::MalformedValue);
        }
        Some(refused.map_or(Ok(sample), Err))
    }
}

/// The text after a type or a section.
enum Rest<'a> {
    Nothing,
    /// After a `|`.
    Section(&'a str),
    /// After a `:`.
    Sample(&'a str),
}

/// Cuts at the first `|`, or at the first `:` if a colon ends the sample.
fn cut(text: &str, colon_ends: bool) -> (&str, Rest<'_>) {
    let end = match colon_ends {
        true => memchr::memchr2(b'|', b':', text.as_bytes()),
        false => memchr::memchr(b'|', text.as_bytes()),
    };
    let Some((section, rest)) = end.and_then(|end| text.split_at_checked(end)) else {
        return (text, Rest::Nothing);
    };
    match (rest.strip_prefix('|'), rest.strip_prefix(':')) {
        (Some(rest), _) => (section, Rest::Section(rest)),
        (_, Some(rest)) => (section, Rest::Sample(rest)),
        _ => (section, Rest::Nothing),
    }
}

impl<'a> Sample<'a> {
    fn read_section(&mut self, section: &'a str) -> Result<(), Reason> {
        if section.is_empty() {
            return Err(Reason::MalformedComponent);
        }
        if let Some(rate) = section.strip_prefix('@') {
            match rate.parse::<f64>() {
                Ok(rate) if rate > 0.0 && rate <= 1.0 && (1.0 / rate).is_finite() => self.weight = 1.0 / rate,
                // Clients send it for "no sampling".
                Ok(0.0) => {}
                _ => self.has_invalid_rate = true,
            }
        } else if let Some(tags) = section.strip_prefix('#') {
            self.tags = tags;
        } else if let Some(container) = section.strip_prefix("c:").filter(|id| !id.is_empty()) {
            self.container = Some(container);
        } else if section == "c" || section == "c:" {
            return Err(Reason::MalformedContainer);
        } else if let Some(time) = section.strip_prefix('T') {
            let time = time.parse().ok().filter(|time| *time > 0);
            self.timestamp_s = Some(time.ok_or(Reason::MalformedTimestamp)?);
        }
        Ok(())
    }
}
