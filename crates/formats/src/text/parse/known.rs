//! Samples of known series: their labels are not parsed again.
//!
//! The name and the labels of a sample are its *head*. The last closing brace of the line is assumed to be the end of
//! the head. A wrong guess is harmless: such a text differs from every head that was parsed before, because the parser
//! stops at the first closing brace that ends the labels.

use super::{Format, Parser};
use crate::text::family::Member;
use crate::text::line::Cursor;

/// The variant for [`crate::Recognise`]: it depends on the label whose values are normalized as bounds.
fn variant(bound_label: Option<&[u8]>) -> u8 {
    match bound_label {
        None => 0,
        Some(b"le") => 1,
        Some(_) => 2,
    }
}

impl<'a, 'o: 'a> Parser<'a, 'o, '_> {
    /// Advances past the head of a sample if its series is known, and appends its labels to the batch.
    #[inline]
    pub(super) fn known_series(&mut self, cursor: &mut Cursor<'a>) -> Option<Member> {
        self.known.as_ref()?;
        let raw = head(cursor.rest(), self.options.format)?;
        let member = match self.families.is_empty() {
            true => Member::default(),
            false => self.families.find(&self.batch.metadata, name(raw)?),
        };
        let variant = variant(self.bound_label(member));
        let known = self.known.as_mut()?;
        if !known.find(raw, variant, &mut self.batch.bytes) {
            return None;
        }
        cursor.at += raw.len();
        Some(member)
    }

    /// Remembers the labels that were appended to the batch at `labels_start`.
    pub(super) fn learn(&mut self, raw: &[u8], member: Member, labels_start: usize) {
        let variant = variant(self.bound_label(member));
        if let Some(known) = &mut self.known {
            known.learn(raw, variant, self.batch.bytes.get(labels_start..).unwrap_or_default());
        }
    }
}

/// The head of a sample, if the line has one.
#[inline]
fn head(line: &[u8], format: Format) -> Option<&[u8]> {
    let sample = match format {
        Format::Text => line,
        // The labels of an exemplar also end with a closing brace.
        Format::OpenMetrics => line.get(..memchr::memrchr(b'#', line).unwrap_or(line.len()))?,
    };
    if let Some(brace) = memchr::memrchr(b'}', sample) {
        return sample.get(..=brace);
    }
    let end = memchr::memchr2(b' ', b'\t', sample)?;
    let (name, rest) = sample.split_at_checked(end)?;
    // Labels without a closing brace are an error, which the complete parser explains.
    (!rest.trim_ascii_start().starts_with(b"{")).then_some(name)
}

/// The metric name of a head, if it can be found without a complete parse.
#[inline]
fn name(head: &[u8]) -> Option<&[u8]> {
    match head.strip_prefix(b"{\"") {
        None => {
            let end = memchr::memchr3(b'{', b' ', b'\t', head).unwrap_or(head.len());
            head.get(..end).filter(|name| !name.is_empty())
        }
        Some(quoted) => {
            let end = memchr::memchr2(b'"', b'\\', quoted)?;
            // An equals sign after the quoted string would make it a label name.
            let is_name = matches!(quoted.get(end..end + 2)?, [b'"', b',' | b'}']);
            quoted.get(..end).filter(|_| is_name)
        }
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, reason = "helper functions of tests")]
    use crate::Recognise;
    use crate::text::{Format, ParseOptions, parse, parse_recognising};
    use std::collections::HashMap;

    /// Remembers every series.
    #[derive(Default)]
    struct All {
        known: HashMap<(Vec<u8>, u8), Vec<u8>>,
        found: usize,
        assigned: Vec<u32>,
    }

    impl Recognise for All {
        fn find(&mut self, raw: &[u8], variant: u8, out: &mut Vec<u8>) -> bool {
            let known = self.known.get(&(raw.to_vec(), variant));
            out.extend(known.into_iter().flatten());
            self.found += usize::from(known.is_some());
            known.is_some()
        }
        fn learn(&mut self, raw: &[u8], variant: u8, labels: &[u8]) {
            self.known.insert((raw.to_vec(), variant), labels.to_vec());
        }
        fn assign(&mut self, series: u32) {
            self.assigned.push(series);
        }
    }

    /// Heads of samples. The tests learn all of them first.
    const HEADS: [&str; 16] = [
        "a",
        "a{}",
        "a {}",
        r#"a{x="1"}"#,
        r#"a { x = "1" , }"#,
        r#"a{x="}"}"#,
        r##"a{x="#"}"##,
        r#"a{x="\"}"}"#,
        r#"h_bucket{le="1"}"#,
        r#"s{quantile="1"}"#,
        r#"{"a",x="1"}"#,
        r#"{"a" ,x="1"}"#,
        r#"{x="1","a"}"#,
        r#"{"x"="1","a"}"#,
        r#"{"h_bucket",le="1"}"#,
        r#"{"a\"b"}"#,
    ];
    const TYPES: [&str; 5] =
        ["", "# TYPE h histogram\n", "# TYPE s summary\n", "# TYPE a gauge\n", "# TYPE x gauge\n"];

    fn all_known() -> All {
        let mut all = All::default();
        for (head, kind) in HEADS.iter().flat_map(|head| TYPES.map(|kind| (head, kind))) {
            let text = format!("{kind}{head} 1\n");
            parse_recognising(text.as_bytes(), &ParseOptions::new(Format::Text, 0), &mut all).unwrap();
        }
        all
    }

    #[test]
    fn a_series_is_recognised_in_every_spelling() {
        let known = all_known().known;
        for head in HEADS {
            let mut all = All { known: known.clone(), ..All::default() };
            let text = format!("{head} 1\n{head}\t2\n");
            parse_recognising(text.as_bytes(), &ParseOptions::new(Format::Text, 0), &mut all).unwrap();

            assert_eq!((all.found, all.assigned), (2, vec![0, 1]), "{head}");
        }
    }

    #[test]
    fn lines_with_known_heads_are_parsed_the_same() {
        let known = all_known().known;
        let tails = [
            " 1",
            "1",
            "\t1",
            "",
            " x",
            " {",
            " {x=\"1",
            "{",
            "{x=\"1\"",
            " }",
            " 1 }",
            " 1 # {x=\"1\"} 2",
            " 1 # {} 2 3",
        ];
        for (head, tail) in HEADS.iter().flat_map(|head| tails.map(|tail| (head, tail))) {
            for (kind, format) in
                TYPES.iter().flat_map(|kind| [(kind, Format::Text), (kind, Format::OpenMetrics)])
            {
                let end = if format == Format::OpenMetrics { "# EOF\n" } else { "" };
                let text = format!("{kind}{head}{tail}\n{end}");
                let options = ParseOptions::new(format, 0);
                let mut all = All { known: known.clone(), ..All::default() };
                let found = parse_recognising(text.as_bytes(), &options, &mut all);
                assert_eq!(found, parse(text.as_bytes(), &options), "{text}");
            }
        }
    }
}
