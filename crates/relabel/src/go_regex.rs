//! Translates Go's regular expressions, in which rules are written, for the `regex` crate.
//!
//! Both are dialects of RE2 and run in linear time. They differ in a few places, which are rewritten:
//! `\d \s \w \b` are ASCII in Go; `\Q...\E` quotes; a brace that is not a repetition is literal; inside
//! brackets `[`, `&&`, `--` and `~~` are literal; `\101` and `\0` are octal escapes.

use regex::Regex;

/// Compiles a pattern like Prometheus: it must match the whole text, and `.` matches newlines.
pub fn compile_anchored(pattern: &str) -> Result<Regex, regex::Error> {
    Regex::new(&format!("^(?s:{})$", translate(pattern)))
}

/// Compiles a pattern like Go: it may match any part of the text, and `.` does not match a newline.
pub fn compile(pattern: &str) -> Result<Regex, regex::Error> {
    Regex::new(&translate(pattern))
}

/// Reads an octal escape of up to three digits; `text` starts after the backslash. Returns the character's
/// code and the rest of the text. A single digit other than 0 would be a backreference, which RE2 does not
/// support.
fn octal(text: &str) -> Option<(u32, &str)> {
    let digits = text.bytes().take(3).take_while(|byte| (b'0'..=b'7').contains(byte)).count();
    let (octal, rest) = text.split_at_checked(digits)?;
    if digits == 1 && octal != "0" {
        return None;
    }
    u32::from_str_radix(octal, 8).ok().map(|code| (code, rest))
}

fn translate(pattern: &str) -> String {
    let mut out = String::with_capacity(pattern.len() + 16);
    let mut rest = pattern;
    let mut in_class = false;
    let mut class_start = 0;
    while let Some(c) = rest.chars().next() {
        let tail = rest.get(c.len_utf8()..).unwrap_or_default();
        match c {
            '\\' => {
                let escaped = tail.chars().next();
                let after = tail.get(escaped.map_or(0, char::len_utf8)..).unwrap_or_default();
                rest = after;
                match escaped {
                    Some('Q') if !in_class => {
                        let (quoted, after) = after.split_once("\\E").unwrap_or((after, ""));
                        out.push_str(&regex::escape(quoted));
                        rest = after;
                    }
                    Some('d') => out.push_str(if in_class { "0-9" } else { "[0-9]" }),
                    Some('w') => out.push_str(if in_class { "0-9A-Za-z_" } else { "[0-9A-Za-z_]" }),
                    Some('s') => {
                        out.push_str(if in_class { "\\t\\n\\f\\r\\x20" } else { "[\\t\\n\\f\\r\\x20]" })
                    }
                    Some('D') => out.push_str("[^0-9]"),
                    Some('W') => out.push_str("[^0-9A-Za-z_]"),
                    Some('S') => out.push_str("[^\\t\\n\\f\\r\\x20]"),
                    Some('b') if !in_class => out.push_str("(?-u:\\b)"),
                    Some(class @ ('p' | 'P' | 'x')) if after.starts_with('{') => {
                        let (name, after) =
                            after.split_at(after.find('}').map_or(after.len(), |end| end + 1));
                        out.extend(['\\', class]);
                        out.push_str(name);
                        rest = after;
                    }
                    Some('0'..='7') => match octal(tail) {
                        Some((code, after)) => {
                            out.push_str(&format!("\\x{{{code:x}}}"));
                            rest = after;
                        }
                        // Copied unchanged, so that the compiler refuses it.
                        None => out.extend(['\\', escaped.unwrap_or_default()]),
                    },
                    Some(other) => out.extend(['\\', other]),
                    None => out.push('\\'),
                }
                continue;
            }
            '[' if in_class => match tail.strip_prefix(':').and_then(|name| name.split_once(":]")) {
                Some((name, after)) if name.chars().all(|c| c.is_ascii_alphabetic() || c == '^') => {
                    out.push_str(&format!("[:{name}:]"));
                    rest = after;
                    continue;
                }
                _ => out.push_str("\\["),
            },
            '[' => {
                in_class = true;
                out.push('[');
                rest = tail;
                if let Some(after) = rest.strip_prefix('^') {
                    out.push('^');
                    rest = after;
                }
                class_start = out.len();
                continue;
            }
            ']' if in_class && out.len() > class_start => {
                in_class = false;
                out.push(']');
            }
            ']' if in_class => out.push_str("\\]"),
            '&' | '~' if in_class => out.extend(['\\', c]),
            '-' if in_class && tail.starts_with('-') => out.push_str("\\-"),
            '{' if !in_class => match tail.split_once('}').filter(|(inside, _)| is_repetition(inside)) {
                Some((inside, after)) => {
                    out.push_str(&format!("{{{inside}}}"));
                    rest = after;
                    continue;
                }
                None => out.push_str("\\{"),
            },
            '}' if !in_class => out.push_str("\\}"),
            _ => out.push(c),
        }
        rest = tail;
    }
    out
}

/// Returns true if the text between braces is a repetition: `3`, `3,` or `3,5`.
fn is_repetition(inside: &str) -> bool {
    let (least, most) = inside.split_once(',').unwrap_or((inside, ""));
    let digits = |text: &str| text.bytes().all(|byte| byte.is_ascii_digit());
    !least.is_empty() && digits(least) && digits(most)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn patterns_match_as_in_go() {
        // pattern, text, matches
        let table = [
            ("a|b", "b", true),
            ("a|b", "ab", false),
            (".*", "two\nlines", true),
            ("", "", true),
            (r"\d+", "12", true),
            (r"\d+", "١٢", false),
            (r"\w+", "é", false),
            (r"[\w-]+", "a-b_1", true),
            (r"[^\d]+", "ab", true),
            (r"[\D]+", "ab", true),
            (r"[\s]", " ", true),
            (r"\S+", "a", true),
            (r"a\b.*", "a b", true),
            (r"\Qa.b\E.", "a.bc", true),
            (r"\Qa.b", "a.b", true),
            ("{", "{", true),
            ("a{b}", "a{b}", true),
            ("a{,2}", "a{,2}", true),
            ("a{2}", "aa", true),
            ("a{2,}", "aaaa", true),
            ("a{1,2}b", "aab", true),
            (r"\x{61}", "a", true),
            (r"\p{Greek}+", "αβ", true),
            ("[[]", "[", true),
            ("[]a]+", "a]", true),
            ("[^]a]+", "bc", true),
            ("[a&&b]+", "a&b", true),
            ("[[:alpha:]]+", "abc", true),
            ("[a~~]+", "~a", true),
            ("(?i)ABC", "abc", true),
            ("(?P<x>a)b", "ab", true),
            (r"\101\x42", "AB", true),
            (r"[\060-\062]+", "012", true),
            (r"a\0b", "a\0b", true),
            (r"\1018", "A8", true),
        ];
        for (pattern, text, right) in table {
            let regex = compile_anchored(pattern).unwrap_or_else(|error| panic!("{pattern}: {error}"));
            assert_eq!(regex.is_match(text), right, "{pattern} on {text:?}");
        }
        for pattern in ["(", "[b-a]", "*"] {
            assert!(compile_anchored(pattern).is_err(), "{pattern}");
        }
    }
}
