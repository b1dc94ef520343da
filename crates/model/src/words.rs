//! Numbers and nouns in sentences for people: `1 sample`, `2 samples`, `an untyped metric`.

/// A number with its noun: `1 sample`, `0 samples`. The word "series" is the same in both.
pub fn counted(count: u64, singular: &str) -> String {
    if count == 1 || singular.ends_with('s') {
        format!("{count} {singular}")
    } else {
        format!("{count} {singular}s")
    }
}

/// A noun with its indefinite article: `a gauge`, `an info`.
pub fn with_article(noun: &str) -> String {
    let vowel = noun.starts_with(['a', 'e', 'i', 'o', 'u', 'A', 'E', 'I', 'O', 'U']);
    format!("{} {noun}", if vowel { "an" } else { "a" })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn one_is_singular_and_other_numbers_are_plural() {
        let texts = [0, 1, 2].map(|count| counted(count, "sample"));
        assert_eq!(texts, ["0 samples", "1 sample", "2 samples"]);
        assert_eq!(counted(2, "series"), "2 series");
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
