//! Numbers and times in sentences.

use crate::config::duration::human;
use std::time::Duration;

/// A number with commas: `180,204`.
pub(super) fn number(number: u64) -> String {
    let digits = number.to_string();
    let mut out = String::with_capacity(digits.len() + digits.len() / 3);
    for (index, digit) in digits.chars().enumerate() {
        if index > 0 && (digits.len() - index).is_multiple_of(3) {
            out.push(',');
        }
        out.push(digit);
    }
    out
}

/// A number with its noun: `1 sample`, `2 samples`.
pub(super) fn count(of: u64, noun: &str) -> String {
    format!("{} {noun}{}", number(of), ending(of, noun))
}

const fn ending(of: u64, noun: &str) -> &'static str {
    match (of, noun.as_bytes()) {
        (1, _) => "",
        (_, [.., b's' | b'c', b'h']) => "es",
        _ => "s",
    }
}

/// The same with the verb: `1 sample was`, `2 samples were`.
pub(super) fn was(of: u64, noun: &str) -> String {
    format!("{} {}", count(of, noun), if of == 1 { "was" } else { "were" })
}

/// The same with the verb in the present: `1 sample is`, `2 samples are`.
pub(super) fn are(of: u64, noun: &str) -> String {
    format!("{} {}", count(of, noun), if of == 1 { "is" } else { "are" })
}

/// Milliseconds for a person, to the second.
pub(super) fn span(ms: i64) -> String {
    let seconds = u64::try_from(ms / 1000).unwrap_or(0);
    if seconds == 0 { "less than a second".into() } else { human(Duration::from_secs(seconds)) }
}

/// Whether an answer by which a destination denies access is about who asks. Another one, such as 404 or 405, shows
/// that the URL is wrong. The answer begins with its status.
pub(super) fn is_about_authorization(answer: &str) -> bool {
    ["401", "403", "407"].iter().any(|status| answer.starts_with(status))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn numbers_have_commas_and_nouns_have_their_form() {
        for (value, text) in
            [(0, "0"), (999, "999"), (1000, "1,000"), (180_204, "180,204"), (1 << 30, "1,073,741,824")]
        {
            assert_eq!(number(value), text);
        }
        assert_eq!((was(1, "sample").as_str(), was(2, "push").as_str()), ("1 sample was", "2 pushes were"));
        assert_eq!((span(168_000), span(3)), ("2 min 48 s".into(), "less than a second".into()));
    }
}
