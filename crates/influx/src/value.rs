//! Parses the values of fields, except strings.

use crate::LineError;

/// Numbers with at most this many digits are exact as a float, and so are all intermediate sums.
const EXACT_DIGITS_MAX: usize = 15;

/// Parses a number or a boolean. A boolean is 1 or 0.
#[inline]
pub(crate) fn number(token: &[u8]) -> Result<f64, LineError> {
    let unsuffixed = token.strip_suffix(b"i").unwrap_or(token);
    if unsuffixed.len() <= EXACT_DIGITS_MAX && !unsuffixed.is_empty() {
        let digits = unsuffixed.iter().try_fold(0u64, |number, byte| {
            byte.is_ascii_digit().then(|| number * 10 + u64::from(byte - b'0'))
        });
        if let Some(number) = digits {
            return Ok(number as f64);
        }
    }
    other(token).ok_or_else(|| match token {
        [b't' | b'T' | b'f' | b'F', ..] => LineError::Boolean(shown(token)),
        [b'-' | b'0'..=b'9' | b'.', ..] => LineError::Number(shown(token)),
        _ => LineError::Value(shown(token)),
    })
}

fn other(token: &[u8]) -> Option<f64> {
    let text = std::str::from_utf8(token).ok()?;
    match text {
        "t" | "T" | "true" | "True" | "TRUE" => return Some(1.0),
        "f" | "F" | "false" | "False" | "FALSE" => return Some(0.0),
        _ => {}
    }
    if !text.starts_with(|first: char| first.is_ascii_digit() || matches!(first, '-' | '.')) {
        return None;
    }
    if let Some(integer) = text.strip_suffix('i') {
        return integer.parse::<i64>().ok().map(|integer| integer as f64);
    }
    if let Some(integer) = text.strip_suffix('u') {
        return integer.parse::<u64>().ok().map(|integer| integer as f64);
    }
    // Rust also parses words such as `-inf`.
    let is_number = text.bytes().all(|byte| matches!(byte, b'0'..=b'9' | b'.' | b'e' | b'E' | b'+' | b'-'));
    let float = text.parse::<f64>().ok()?;
    (is_number && float.is_finite()).then_some(float)
}

#[cold]
fn shown(token: &[u8]) -> String {
    String::from_utf8_lossy(token).chars().take(40).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn numbers_and_booleans_are_parsed_as_by_influxdb() {
        for (token, value) in [
            ("1", 1.0),
            ("1.", 1.0),
            (".5", 0.5),
            ("-.5", -0.5),
            ("-1.5e3", -1500.0),
            ("1.0e-4", 0.0001),
            ("1E+2", 100.0),
            ("007", 7.0),
            ("999999999999999", 999_999_999_999_999.0),
            ("9999999999999999", 1e16),
            ("12i", 12.0),
            ("-0i", 0.0),
            ("9223372036854775807i", 9.223_372_036_854_776e18),
            ("-9223372036854775808i", -9.223_372_036_854_776e18),
            ("12u", 12.0),
            ("18446744073709551615u", 1.844_674_407_370_955_2e19),
            ("1e-400", 0.0),
            ("t", 1.0),
            ("True", 1.0),
            ("FALSE", 0.0),
        ] {
            assert_eq!(number(token.as_bytes()).map(f64::to_bits), Ok(f64::to_bits(value)), "{token}");
        }
    }

    #[test]
    fn invalid_values_are_refused() {
        for token in [
            "",
            "-",
            ".",
            "i",
            "u",
            "+1",
            "1a",
            "2a.0",
            "1.1.1",
            "1e",
            "1.0i",
            "1e3i",
            "9i10",
            "-1u",
            "9223372036854775808i",
            "18446744073709551616u",
            "1e400",
            "-1e400",
            "nan",
            "NaN",
            "inf",
            "-inf",
            "-Infinity",
            "0x10",
            "1_000",
            "tr",
            "tRUE",
            "yes",
            "1\u{e9}",
        ] {
            assert!(number(token.as_bytes()).is_err(), "{token}");
        }
    }
}
