//! Names of labels. Prometheus' rules (`otlptranslator`, `label_namer.go` and `strconv.go`).

use crate::settings::Settings;

/// Why an attribute can't be a label.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub(crate) enum LabelNameError {
    #[error("an attribute without a name")]
    Empty,
    #[error("the attribute name {0:?} has nothing but underscores once it is a label name")]
    OnlyUnderscores(String),
}

/// Appends the label name for an attribute to `out`, which is for strategies that escape names.
pub(crate) fn escape(attribute: &str, settings: &Settings, out: &mut Vec<u8>) -> Result<(), LabelNameError> {
    if attribute.is_empty() {
        return Err(LabelNameError::Empty);
    }
    let start = out.len();
    if attribute.starts_with(|first: char| first.is_ascii_digit()) {
        out.extend_from_slice(b"key_");
    }
    let name_at = out.len();
    if settings.label_name_preserve_multiple_underscores {
        replace(attribute, out);
    } else {
        let reserved = attribute.strip_prefix("__").and_then(|rest| rest.strip_suffix("__"));
        match reserved {
            Some(name) => {
                out.extend_from_slice(b"__");
                collapse(name, out);
                out.extend_from_slice(b"__");
            }
            None => collapse(attribute, out),
        }
    }
    let name = out.get(name_at..).unwrap_or_default();
    if settings.label_name_underscore_sanitization && name.starts_with(b"_") && !name.starts_with(b"__") {
        out.splice(name_at..name_at, *b"key");
    }
    match out.get(start..).unwrap_or_default().iter().all(|byte| *byte == b'_') {
        true => Err(LabelNameError::OnlyUnderscores(attribute.chars().take(64).collect())),
        false => Ok(()),
    }
}

/// Whether the label name is the attribute's name, so that nothing has to be written.
pub(crate) fn is_unchanged(attribute: &str) -> bool {
    let bytes = attribute.as_bytes();
    let letter = |byte: &u8| byte.is_ascii_alphabetic();
    bytes.first().is_some_and(letter)
        && !attribute.contains("__")
        && bytes.iter().all(|byte| byte.is_ascii_alphanumeric() || *byte == b'_')
}

fn replace(name: &str, out: &mut Vec<u8>) {
    out.extend(name.chars().map(|c| if c.is_ascii_alphanumeric() { c as u8 } else { b'_' }));
}

fn collapse(name: &str, out: &mut Vec<u8>) {
    let mut after_underscore = false;
    for c in name.chars() {
        let is_valid = c.is_ascii_alphanumeric();
        if is_valid || !after_underscore {
            out.push(if is_valid { c as u8 } else { b'_' });
        }
        after_underscore = !is_valid;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn name(attribute: &str, sanitizes: bool, preserves: bool) -> Result<String, LabelNameError> {
        let settings = Settings {
            label_name_underscore_sanitization: sanitizes,
            label_name_preserve_multiple_underscores: preserves,
            ..Settings::default()
        };
        let mut out = b"before".to_vec();
        escape(attribute, &settings, &mut out)?;
        let name = String::from_utf8_lossy(&out[6..]).into_owned();
        if is_unchanged(attribute) {
            assert_eq!(name, attribute);
        }
        Ok(name)
    }

    /// Facts from the tests of `prometheus/otlptranslator` 1.0.0 (`label_namer_test.go`), checked against it by
    /// `tests/prometheus.rs`.
    #[test]
    fn names_are_those_of_prometheus() {
        for (attribute, sanitizes, preserves, wanted) in [
            ("http.method", true, true, "http_method"),
            ("label:with:colons", true, true, "label_with_colons"),
            ("LabelWithCapitalLetters", true, true, "LabelWithCapitalLetters"),
            ("label!with&special$chars)", true, true, "label_with_special_chars_"),
            ("label_with_foreign_characters_字符", true, true, "label_with_foreign_characters___"),
            ("label_with_foreign_characters_字符", true, false, "label_with_foreign_characters_"),
            ("label.with__two", true, true, "label_with__two"),
            ("label.with__two", true, false, "label_with_two"),
            ("123label", true, true, "key_123label"),
            ("_label", true, true, "key_label"),
            ("_label", false, true, "_label"),
            ("__label", true, true, "__label"),
            ("__label", true, false, "key_label"),
            ("__label__", true, false, "__label__"),
            ("__a..b__", true, false, "__a_b__"),
            ("!label", true, true, "key_label"),
            ("_", true, true, "key_"),
        ] {
            assert_eq!(name(attribute, sanitizes, preserves).as_deref(), Ok(wanted), "{attribute}");
        }
    }

    #[test]
    fn a_name_of_nothing_is_refused() {
        assert_eq!(name("", true, true), Err(LabelNameError::Empty));
        for attribute in ["_", "..", "ü"] {
            assert!(
                matches!(name(attribute, false, true), Err(LabelNameError::OnlyUnderscores(_))),
                "{attribute}"
            );
        }
    }
}
