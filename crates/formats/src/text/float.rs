//! Floats in text, as Prometheus reads them (Go's `strconv.ParseFloat`).

/// Why a text is not a float.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum FloatError {
    #[error("not a number")]
    NotANumber,
    /// A number beyond the largest 64-bit float. Rust parses it as infinity; Go refuses it.
    #[error("beyond the largest 64-bit float, about 1.8e308: write +Inf or -Inf for infinity")]
    OutOfRange,
}

/// Parses a float.
pub fn float(text: &str) -> Result<f64, FloatError> {
    let value: f64 = text.parse().map_err(|_| FloatError::NotANumber)?;
    let unsigned = text.trim_start_matches(['+', '-']);
    let has_digits = unsigned.starts_with(|first: char| first.is_ascii_digit() || first == '.');
    if value.is_infinite() && has_digits {
        return Err(FloatError::OutOfRange);
    }
    if value.is_nan() && unsigned.len() < text.len() {
        return Err(FloatError::NotANumber);
    }
    Ok(value)
}

#[cfg(test)]
mod tests {
    use super::{FloatError, float};

    #[test]
    fn numbers_are_read_as_go_reads_them() {
        for text in ["1e400", "-1e400", "+1e400", ".5e400", "1.8e308"] {
            assert_eq!(float(text), Err(FloatError::OutOfRange), "{text}");
        }
        for text in ["+nan", "-NaN", "", "x", "1_000", "0x10", "0x1p4"] {
            assert_eq!(float(text), Err(FloatError::NotANumber), "{text}");
        }
        for (word, value) in [
            ("1e308", 1e308),
            ("1e-400", 0.0),
            (".5", 0.5),
            ("5.", 5.0),
            ("+3", 3.0),
            ("Inf", f64::INFINITY),
            ("+inf", f64::INFINITY),
            ("-Infinity", f64::NEG_INFINITY),
        ] {
            assert_eq!(float(word), Ok(value), "{word}");
        }
        assert!(float("nan").is_ok_and(f64::is_nan));
    }
}
