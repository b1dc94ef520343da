//! Sizes in bytes as text: `512MiB`, `10GiB`, `10%`.

use serde::de::{Deserialize, Deserializer, Error};
use std::fmt;

/// A size, absolute or relative to the file system.
#[derive(Debug, Clone, Copy, PartialEq)]
pub enum Size {
    Bytes(u64),
    /// Percentage of the file system: above 0, at most 100.
    Percent(f64),
}

/// The text is not a size.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{0}")]
pub struct SizeError(String);

/// The expected kind of text, for error messages.
struct Wanted {
    noun: &'static str,
    examples: &'static str,
    /// Whether a percentage of the file system is allowed.
    share: bool,
}

const SIZE: Wanted = Wanted { noun: "a size", examples: "10GiB, 512MiB or 10%", share: true };
const AMOUNT: Wanted = Wanted { noun: "an amount of bytes", examples: "512KiB or 32MiB", share: false };
const RATE: Wanted = Wanted { noun: "a number of bytes a second", examples: "100KiB or 10MiB", share: false };

/// Units and their powers of 1024. As in Prometheus, `MB` and `MiB` mean the same.
const UNITS: [(&str, u32); 14] = [
    ("", 0),
    ("B", 0),
    ("K", 1),
    ("KB", 1),
    ("KiB", 1),
    ("M", 2),
    ("MB", 2),
    ("MiB", 2),
    ("G", 3),
    ("GB", 3),
    ("GiB", 3),
    ("T", 4),
    ("TB", 4),
    ("TiB", 4),
];

impl Size {
    pub fn parse(text: &str) -> Result<Size, SizeError> {
        Size::parse_as(text, &SIZE)
    }

    fn parse_as(text: &str, wanted: &Wanted) -> Result<Size, SizeError> {
        let text = text.trim();
        let Wanted { noun, examples, .. } = wanted;
        let wrong = |why: &str| SizeError(format!("{text:?} is not {noun}: {why}, such as {examples}"));
        let digits = text.find(|c: char| !c.is_ascii_digit() && c != '.').unwrap_or(text.len());
        let (number, unit) = text.split_at(digits);
        let unit = unit.trim();
        if number.is_empty() {
            return Err(wrong("write a number and a unit"));
        }
        let value: f64 = number.parse().map_err(|_| wrong("write a number and a unit"))?;
        if unit == "%" && !wanted.share {
            return Err(wrong("a share is not possible here, so write a number and a unit"));
        }
        if unit == "%" {
            if value > 0.0 && value <= 100.0 {
                return Ok(Size::Percent(value));
            }
            return Err(wrong("a share is more than 0% and at most 100%"));
        }
        let Some((_, power)) = UNITS.iter().find(|(name, _)| name.eq_ignore_ascii_case(unit)) else {
            return Err(wrong(match wanted.share {
                true => "the units are B, KiB, MiB, GiB, TiB and %",
                false => "the units are B, KiB, MiB, GiB and TiB",
            }));
        };
        let bytes = value * 1024f64.powi(*power as i32);
        if bytes >= 1.0 && bytes < i64::MAX as f64 {
            Ok(Size::Bytes(bytes as u64))
        } else {
            Err(wrong("write an amount above zero that a disk could hold"))
        }
    }

    /// Returns the size in bytes on a file system of `total` bytes.
    pub fn of(self, total: u64) -> u64 {
        match self {
            Size::Bytes(bytes) => bytes,
            Size::Percent(percent) => (total as f64 * percent / 100.0) as u64,
        }
    }
}

impl<'de> Deserialize<'de> for Size {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let text = String::deserialize(deserializer)?;
        Size::parse(&text).map_err(D::Error::custom)
    }
}

/// Parses a number of bytes. A percentage is not allowed.
pub fn amount(text: &str) -> Result<u64, SizeError> {
    bytes(text, &AMOUNT)
}

/// Parses a rate in bytes per second.
pub fn rate(text: &str) -> Result<u64, SizeError> {
    bytes(text, &RATE)
}

fn bytes(text: &str, wanted: &Wanted) -> Result<u64, SizeError> {
    Ok(match Size::parse_as(text, wanted)? {
        Size::Bytes(bytes) => bytes,
        // Not reached: a percentage is an error unless `wanted` allows it.
        Size::Percent(_) => 0,
    })
}

/// [`amount`], for serde's `deserialize_with`.
pub fn deserialize_amount<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Option<u64>, D::Error> {
    let text = Option::<String>::deserialize(deserializer)?;
    text.map(|text| amount(&text).map_err(D::Error::custom)).transpose()
}

/// [`rate`], for serde's `deserialize_with`.
pub fn deserialize_rate<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Option<u64>, D::Error> {
    let text = Option::<String>::deserialize(deserializer)?;
    text.map(|text| rate(&text).map_err(D::Error::custom)).transpose()
}

/// Formats a number of bytes for people: three digits and a unit.
pub struct Human(pub u64);

impl fmt::Display for Human {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let mut value = self.0 as f64;
        let mut unit = "B";
        for next in ["KiB", "MiB", "GiB", "TiB"] {
            if value < 1000.0 {
                break;
            }
            value /= 1024.0;
            unit = next;
        }
        if unit == "B" || value >= 100.0 {
            write!(f, "{value:.0} {unit}")
        } else if value >= 10.0 {
            write!(f, "{value:.1} {unit}")
        } else {
            write!(f, "{value:.2} {unit}")
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn sizes_are_parsed() {
        assert_eq!(Size::parse("10GiB"), Ok(Size::Bytes(10 << 30)));
        assert_eq!(Size::parse("10GB"), Ok(Size::Bytes(10 << 30)));
        assert_eq!(Size::parse("1.5 mib"), Ok(Size::Bytes(3 << 19)));
        assert_eq!(Size::parse("4096"), Ok(Size::Bytes(4096)));
        assert_eq!(Size::parse("10%"), Ok(Size::Percent(10.0)));
        assert_eq!(Size::Percent(10.0).of(500), 50);
    }

    #[test]
    fn invalid_sizes_are_refused_with_valid_examples() {
        for text in ["", "GiB", "10 parsecs", "-1GiB", "0", "0%", "101%", "1e9", "99999999999TiB", "1.2.3M"] {
            let error = Size::parse(text).expect_err(text);
            assert!(error.to_string().ends_with("such as 10GiB, 512MiB or 10%"), "{error}");
        }
    }

    #[test]
    fn errors_of_amounts_and_rates_do_not_mention_percentages() {
        assert_eq!((amount("32MiB"), rate("100KiB")), (Ok(32 << 20), Ok(100 << 10)));
        for text in ["", "lots", "10%", "10 parsecs", "10MiB/s", "0"] {
            let (amount, rate) = (amount(text).unwrap_err().to_string(), rate(text).unwrap_err().to_string());
            assert!(amount.contains("is not an amount of bytes: "), "{amount}");
            assert!(amount.ends_with(", such as 512KiB or 32MiB"), "{amount}");
            assert!(rate.contains("is not a number of bytes a second: "), "{rate}");
            assert!(rate.ends_with(", such as 100KiB or 10MiB"), "{rate}");
            assert!(!rate.replace("\"10%\"", "").contains('%'), "{rate}");
        }
    }

    #[test]
    fn amounts_are_formatted_with_three_digits() {
        let show = |bytes| Human(bytes).to_string();
        assert_eq!(show(0), "0 B");
        assert_eq!(show(999), "999 B");
        assert_eq!(show(1536), "1.50 KiB");
        assert_eq!(show(10 << 30), "10.0 GiB");
        assert_eq!(show(500 << 20), "500 MiB");
    }
}
