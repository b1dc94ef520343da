//! Hot path: samples in the form in which programs write them, `name{a="b",c="d"}` without blanks and escapes and with
//! sorted labels. Their labels are converted to canonical bytes in one pass. All other samples go through the complete
//! parser, which also explains errors.

use model::{Limits, labels};

/// Lengths below this take one byte.
const SHORT: usize = 128;

/// The name and the labels of a sample: how many bytes of the line they have.
pub(super) struct Head {
    pub(super) name: usize,
    pub(super) all: usize,
}

/// Appends the canonical labels of the sample at the front of `line` to `out` if the sample is plain. Otherwise `out`
/// is unchanged.
pub(super) fn put_plain_labels(line: &[u8], limits: &Limits, out: &mut Vec<u8>) -> Option<Head> {
    let start = out.len();
    let head = put(line, limits, out, start);
    if head.is_none() {
        out.truncate(start);
    }
    head
}

fn put(line: &[u8], limits: &Limits, out: &mut Vec<u8>, start: usize) -> Option<Head> {
    let [name_max, value_max, pairs_max] =
        [limits.name_bytes, limits.value_bytes, limits.labels].map(|limit| limit.min(SHORT - 1));
    let (name, rest) = word(line, |byte| byte == b':')?;
    if name.len() > name_max.min(value_max) {
        return None;
    }
    let mut rest = rest.strip_prefix(b"{")?;
    // The number of labels, which is set at the end.
    out.push(0);
    let mut last = labels::METRIC_NAME.as_bytes();
    put_short(out, last);
    put_short(out, name);
    let mut pairs = 1;
    let after = loop {
        let (label, after) = word(rest, |_| false)?;
        let after = after.strip_prefix(b"=\"")?;
        let (value, after) = after.split_at_checked(memchr::memchr2(b'"', b'\\', after)?)?;
        pairs += 1;
        let fits = label.len() <= name_max && (1..=value_max).contains(&value.len()) && pairs <= pairs_max;
        if !fits || label <= last {
            return None;
        }
        last = label;
        put_short(out, label);
        put_short(out, value);
        match after {
            [b'"', b',', after @ ..] => rest = after,
            [b'"', b'}', after @ ..] => break after,
            _ => return None,
        }
    };
    let written = out.get_mut(start..)?;
    // Only the complete parser checks that strings are UTF-8.
    if written.len() > limits.set_bytes || !written.is_ascii() {
        return None;
    }
    *written.first_mut()? = pairs as u8;
    Some(Head { name: name.len(), all: line.len() - after.len() })
}

/// Splits off the word at the front: letters, digits, underscores, and bytes that `also` accepts.
#[inline]
fn word(text: &[u8], also: impl Fn(u8) -> bool) -> Option<(&[u8], &[u8])> {
    let accepts = |byte: u8| byte.is_ascii_alphanumeric() || byte == b'_' || also(byte);
    let end = text.iter().position(|byte| !accepts(*byte))?;
    let (word, rest) = text.split_at_checked(end)?;
    (word.first().is_some_and(|first| !first.is_ascii_digit())).then_some((word, rest))
}

#[inline]
fn put_short(out: &mut Vec<u8>, text: &[u8]) {
    out.push(text.len() as u8);
    out.extend_from_slice(text);
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::text::{Format, ParseOptions, parse};
    use proptest::prelude::*;

    proptest! {
        /// A blank before the first label makes a line other than plain and does not change its meaning.
        #[test]
        fn plain_samples_are_parsed_like_all_others(
            name in "[a-c:_1]{1,3}", labels in prop::collection::vec(("[A-Za-c_1]{0,3}", "[a-b\"é]{0,3}|[a]{126,129}"), 0..4),
            small in any::<bool>(), tail in prop::sample::select(vec![" 1", "1", " 1 5", "", " x", "} 1"]),
        ) {
            let list: Vec<_> = labels.iter().map(|(label, value)| format!("{label}=\"{value}\"")).collect();
            let small_limits = Limits { labels: 3, name_bytes: 2, value_bytes: 2, set_bytes: 30, ..Limits::default() };
            let limits = if small { small_limits } else { Limits::default() };
            let options = ParseOptions { limits, ..ParseOptions::new(Format::Text, 7) };
            let [plain, other] = ["", " "].map(|blank| {
                let text = format!("{name}{{{blank}{}}}{tail}\n", list.join(","));
                parse(text.as_bytes(), &options).map(|parsed| (parsed.batch, parsed.rejected.series)).ok()
            });
            prop_assert_eq!(plain, other);
        }
    }

    #[test]
    fn the_usual_line_is_plain() {
        let mut out = Vec::new();
        let line = br#"up{instance="a:1",job="b"} 1"#;
        let head = put_plain_labels(line, &Limits::default(), &mut out);
        assert_eq!(head.map(|head| (head.name, head.all)), Some((2, 26)));
        assert_eq!(model::LabelsRef::trusted(&out).to_string(), r#"up{instance="a:1",job="b"}"#);
    }
}
