//! Names outside the legacy pattern in a URL's path: `U__foo_2e_bar` is `foo.bar`. This is Prometheus' values escaping,
//! which the Pushgateway reads if `--push.enable-utf8-names` is set. Pure.

use std::borrow::Cow;
use std::fmt::Write;

const PREFIX: &str = "U__";
/// The maximum of hexadecimal digits in a code point.
const MAX_DIGITS: usize = 6;

/// The unescaped name. `None` for a name that is not escaped, or not correctly; such a name is used unchanged.
pub(crate) fn unescape(name: &str) -> Option<String> {
    let mut rest = name.strip_prefix(PREFIX)?;
    let mut out = String::with_capacity(rest.len());
    while let Some(first) = rest.chars().next() {
        if first != '_' {
            out.push(first);
            rest = rest.get(first.len_utf8()..)?;
            continue;
        }
        let (code, after) = rest.get(1..)?.split_once('_')?;
        match code {
            "" => out.push('_'),
            code if code.len() <= MAX_DIGITS && code.bytes().all(|byte| byte.is_ascii_hexdigit()) => {
                out.push(char::from_u32(u32::from_str_radix(code, 16).ok()?)?);
            }
            _ => return None,
        }
        rest = after;
    }
    Some(out)
}

/// The form of a name in a path: [`unescape`] returns the name again, or `None` if the form is the name itself.
pub(crate) fn escape(name: &str) -> Cow<'_, str> {
    if model::labels::is_legacy_label_name(name.as_bytes()) && unescape(name).is_none() {
        return Cow::Borrowed(name);
    }
    Cow::Owned(escape_values(name))
}

/// Escapes any name by Prometheus' scheme `values`. Different names stay different.
pub(crate) fn escape_values(name: &str) -> String {
    let mut out = String::from(PREFIX);
    for (at, character) in name.char_indices() {
        match character {
            '_' => out.push_str("__"),
            plain if plain.is_ascii_alphabetic() || plain.is_ascii_digit() && at > 0 => out.push(plain),
            other => drop(write!(out, "_{:x}_", u32::from(other))),
        }
    }
    out
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_are_unescaped_as_by_prometheus_common() {
        for (escaped, name) in [
            ("U__foo_2e_bar", Some("foo.bar")),
            ("U__a__b", Some("a_b")),
            ("U__a_1F600_", Some("a\u{1f600}")),
            ("U__", Some("")),
            ("foo_2e_bar", None),
            ("U__a_", None),
            ("U__a_2e", None),
            ("U__a_xyz_", None),
            ("U__a_1234567_", None),
            ("U__a_d800_", None),
        ] {
            assert_eq!(unescape(escaped).as_deref(), name, "{escaped}");
        }
        assert_eq!(escape("foo_bar"), "foo_bar");
        assert_eq!(escape("foo.bär_"), "U__foo_2e_b_e4_r__");
        assert_eq!(escape("U__a"), "U__U____a");
        assert_eq!(escape("1a"), "U___31_a");
    }
}
