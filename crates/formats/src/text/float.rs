//! Floats in text, as Go's `strconv.ParseFloat` and so Prometheus reads them.

/// The float that a word says. None for what is no number, and for a number that a 64-bit float can't hold,
/// which Rust's own parser reads as infinity and Go's refuses.
pub(super) fn float(word: &str) -> Option<f64> {
    let value: f64 = word.parse().ok()?;
    let unsigned = word.trim_start_matches(['+', '-']);
    let has_digits = unsigned.starts_with(|first: char| first.is_ascii_digit() || first == '.');
    let overflows = value.is_infinite() && has_digits;
    let signed_nan = value.is_nan() && unsigned.len() < word.len();
    (!overflows && !signed_nan).then_some(value)
}

#[cfg(test)]
mod tests {
    use super::float;

    #[test]
    fn numbers_are_read_as_go_reads_them() {
        for word in ["1e400", "-1e400", "1.8e308", "+nan", "-NaN", "", "x", "1_000", "0x10", "0x1p4"] {
            assert_eq!(float(word), None, "{word}");
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
            assert_eq!(float(word), Some(value), "{word}");
        }
        assert!(float("nan").is_some_and(f64::is_nan));
    }
}
