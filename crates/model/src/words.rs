//! Numbers and nouns in sentences: `1 sample`, `2 samples`, `an untyped metric`.

/// Formats a number with commas: `180,204`.
pub fn number(number: u64) -> String {
    let digits = number.to_string();
    let mut text = String::with_capacity(digits.len() + digits.len() / 3);
    for (index, digit) in digits.chars().enumerate() {
        if index > 0 && (digits.len() - index).is_multiple_of(3) {
            text.push(',');
        }
        text.push(digit);
    }
    text
}

/// Formats a number with its noun: `1 sample`, `0 samples`, `1,000 pushes`. The plural of "series" is
/// "series".
pub fn counted(count: u64, singular: &str) -> String {
    let vowel_before_y = ["ay", "ey", "oy", "uy"].iter().any(|end| singular.ends_with(end));
    let (stem, ending) = match singular {
        _ if count == 1 || singular.ends_with("series") => (singular, ""),
        _ if ["s", "sh", "ch"].iter().any(|end| singular.ends_with(end)) => (singular, "es"),
        _ => match singular.strip_suffix('y').filter(|_| !vowel_before_y) {
            Some(stem) => (stem, "ies"),
            None => (singular, "s"),
        },
    };
    format!("{} {stem}{ending}", number(count))
}

/// Formats a number with its noun and a verb: `1 sample was`, `2 samples were`.
pub fn was(count: u64, singular: &str) -> String {
    format!("{} {}", counted(count, singular), if count == 1 { "was" } else { "were" })
}

/// Formats a number with its noun and a verb: `1 sample is`, `2 samples are`.
pub fn are(count: u64, singular: &str) -> String {
    format!("{} {}", counted(count, singular), if count == 1 { "is" } else { "are" })
}

/// Puts the indefinite article before a noun: `a gauge`, `an info`.
pub fn with_article(noun: &str) -> String {
    let vowel = noun.starts_with(['a', 'e', 'i', 'o', 'u', 'A', 'E', 'I', 'O', 'U']);
    format!("{} {noun}", if vowel { "an" } else { "a" })
}

/// Cuts a text to at most `bytes` bytes. A text that was cut ends with an ellipsis.
pub fn cut(mut text: String, bytes: usize) -> String {
    if text.len() > bytes {
        let most = bytes.saturating_sub('…'.len_utf8());
        let end = (0..=most).rev().find(|end| text.is_char_boundary(*end)).unwrap_or(0);
        text.truncate(end);
        text.push('…');
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_long_text_is_cut_at_a_character() {
        assert_eq!(cut("éé".into(), 4), "éé");
        assert_eq!(cut("ééé".into(), 5), "é…");
        assert_eq!(cut("abc".into(), 0), "…");
    }

    #[test]
    fn one_is_singular_and_other_numbers_are_plural() {
        let texts = [0, 1, 2].map(|count| counted(count, "sample"));
        assert_eq!(texts, ["0 samples", "1 sample", "2 samples"]);
        assert_eq!(
            (counted(2, "series"), counted(2, "time series")),
            ("2 series".into(), "2 time series".into())
        );
        assert_eq!(
            (was(1, "sample"), was(1000, "push")),
            ("1 sample was".into(), "1,000 pushes were".into())
        );
        assert_eq!((counted(2, "entry"), counted(2, "day")), ("2 entries".into(), "2 days".into()));
        assert_eq!((are(1, "stretch"), are(0, "address")), ("1 stretch is".into(), "0 addresses are".into()));
    }

    #[test]
    fn digits_are_in_groups_of_three() {
        for (value, text) in
            [(0, "0"), (999, "999"), (1000, "1,000"), (180_204, "180,204"), (1 << 30, "1,073,741,824")]
        {
            assert_eq!(number(value), text);
        }
    }

    #[test]
    fn the_article_fits_every_metric_type() {
        use crate::MetricType::*;
        let kinds = [Unknown, Counter, Gauge, Histogram, GaugeHistogram, Summary, Info, StateSet];
        let texts = kinds.map(|kind| with_article(kind.as_str()));
        let wanted = [
            "an unknown",
            "a counter",
            "a gauge",
            "a histogram",
            "a gaugehistogram",
            "a summary",
            "an info",
            "a stateset",
        ];
        assert_eq!(texts, wanted);
    }
}
