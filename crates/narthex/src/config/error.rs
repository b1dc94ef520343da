//! Errors of a configuration, with all that a user needs to fix them: the file, line, column and key, the
//! line itself, and a correct form. They never contain a secret.

use super::hints;
use super::read::MISTAKES_MAX;
use http_client::url::without_password;
use std::fmt;

/// One mistake in a configuration.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ConfigError {
    /// The file, as the user named it.
    pub file: String,
    /// Line and column, counted from 1, if the mistake has a place.
    pub place: Option<(usize, usize)>,
    /// The path of the key: `remote_write[0].queue_config.capacity`. May be empty.
    pub key: String,
    pub message: String,
    /// How to fix it.
    pub hint: Option<String>,
    /// The text of the line, unless it may hold a secret.
    pub line: Option<String>,
}

/// All mistakes in a file.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ConfigErrors {
    /// The mistakes in the order of their lines; at most [`MISTAKES_MAX`].
    pub mistakes: Vec<ConfigError>,
    /// Sentences about values that are valid but probably not intended.
    pub warnings: Vec<String>,
    /// True if there are more mistakes.
    pub has_more: bool,
}

impl ConfigErrors {
    /// Sorts the mistakes, and removes those above the limit.
    pub fn new(mut mistakes: Vec<ConfigError>, warnings: Vec<String>) -> Self {
        mistakes.sort_by(|one, other| (&one.file, one.place).cmp(&(&other.file, other.place)));
        let has_more = mistakes.len() > MISTAKES_MAX;
        mistakes.truncate(MISTAKES_MAX);
        ConfigErrors { mistakes, warnings, has_more }
    }
}

impl std::error::Error for ConfigErrors {}

impl fmt::Display for ConfigErrors {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let mut lines: Vec<String> = self.mistakes.iter().map(ToString::to_string).collect();
        if self.has_more {
            lines.push(format!("there are more mistakes than these {MISTAKES_MAX}"));
        }
        lines.extend(self.warnings.iter().map(|warning| format!("warning: {warning}")));
        f.write_str(&lines.join("\n"))
    }
}

impl From<Box<ConfigError>> for ConfigErrors {
    fn from(error: Box<ConfigError>) -> Self {
        ConfigErrors::new(vec![*error], Vec::new())
    }
}

impl std::error::Error for ConfigError {}

impl fmt::Display for ConfigError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}", self.file)?;
        if let Some((line, column)) = self.place {
            write!(f, ":{line}:{column}")?;
        }
        if !self.key.is_empty() {
            write!(f, ": {}", self.key)?;
        }
        write!(f, ": {}", self.message)?;
        if let (Some(text), Some((line, column))) = (&self.line, self.place) {
            let number = line.to_string();
            let indent = " ".repeat(number.len());
            // Tabs are kept, so that the mark is below the character that it marks.
            let before: String =
                text.chars().take(column - 1).map(|c| if c == '\t' { '\t' } else { ' ' }).collect();
            write!(f, "\n  {number} | {text}\n  {indent} | {before}^")?;
        }
        if let Some(hint) = &self.hint {
            write!(f, "\n  {hint}")?;
        }
        Ok(())
    }
}

/// Makes errors about one file.
#[derive(Debug, Clone, Copy)]
pub struct Reporter<'a> {
    /// The file, as the user named it.
    pub file: &'a str,
    /// Its text as it is on disk.
    pub text: &'a str,
    /// Numbers of the lines (from 1) with expanded environment variables, whose values must not be shown.
    pub expanded: &'a [usize],
}

impl Reporter<'_> {
    /// An error about the file as a whole.
    pub fn whole(&self, message: impl Into<String>) -> Box<ConfigError> {
        Box::new(ConfigError {
            file: self.file.into(),
            place: None,
            key: String::new(),
            message: message.into(),
            hint: None,
            line: None,
        })
    }

    /// An error about the value of `key`.
    pub fn at(
        &self,
        place: Option<(usize, usize)>,
        key: &str,
        message: impl Into<String>,
    ) -> Box<ConfigError> {
        let line = place.and_then(|(line, _)| self.shown(line, key));
        Box::new(ConfigError { place, key: key.into(), line, ..*self.whole(message) })
    }

    /// An error of the YAML reader, or of the types that it deserialises, at `path`. Without a `place` the
    /// error is reported where the reader stopped.
    pub fn yaml(
        &self,
        error: &serde_saphyr::Error,
        path: &str,
        place: Option<(usize, usize)>,
    ) -> Box<ConfigError> {
        use serde_saphyr::Error as E;
        let stopped = || error.location().map(|l| (l.line() as usize, l.column().max(1) as usize));
        let place = place.or_else(|| stopped().filter(|place| place.0 > 0));
        let hidden = place.is_some_and(|(line, _)| self.is_hidden(line, path));
        let mut hint = None;
        let mut syntax = false;
        let message = match error.without_snippet() {
            E::SerdeUnknownField { field, expected, .. } => match super::known::absent(path) {
                Some(why) => why.to_string(),
                None => {
                    hint = Some(right_key(field, expected));
                    if nearest(field, expected).is_none() {
                        let other = hints::other_section(field, path);
                        hint = hints::dash_in_key(field, path).or(other).or(hint);
                    }
                    format!("unknown key {field:?}")
                }
            },
            E::SerdeMissingField { field, .. } => format!("the key {field:?} is missing"),
            E::SerdeUnknownVariant { variant, expected, .. } => {
                hint = Some(format!("what can stand here: {}", expected.join(", ")));
                if hidden {
                    "not a value that can stand here".into()
                } else {
                    format!("{variant:?} is not a value that can stand here")
                }
            }
            E::SerdeInvalidType { expected, .. } | E::SerdeInvalidValue { expected, .. } => {
                format!("expected {expected}")
            }
            E::InvalidScalar { ty, .. } => format!("expected {}", words(ty)),
            E::Unexpected { expected, .. } => {
                hint = place.and_then(|place| match *expected {
                    "sequence start" => hints::missing_list(self.text, place, path, hidden),
                    "mapping start" => hints::bare_url(self.text, place)
                        .or_else(|| hints::list_without_key(self.text, place, path)),
                    _ => None,
                });
                format!("expected {}", words(expected))
            }
            E::NullIntoString { .. } => "there is no value".into(),
            E::Message { .. } if hidden => {
                "this value is not what belongs here (it is not shown, since it may be secret)".into()
            }
            E::Message { msg, .. } => without_password(msg),
            other => {
                syntax = true;
                hint = place.and_then(|(line, _)| hints::broken_line(self.text, line));
                let text = other.to_string();
                // The reader appends the place, which is already at the beginning of the message.
                let text = text.split(" at line ").next().unwrap_or_default();
                format!("not valid YAML: {}", without_password(text))
            }
        };
        if !syntax && hint.is_none() {
            hint = place.and_then(|place| hints::continued_value(self.text, place));
        }
        let line = place.and_then(|(line, _)| {
            // After broken quotes any line may be part of a secret.
            let end = match error.without_snippet() {
                // The value of an unknown key may be a secret.
                E::SerdeUnknownField { field, .. } => place.map(|(_, column)| column + field.chars().count()),
                _ => None,
            };
            if syntax && self.text.lines().take(line).any(secret_in) {
                None
            } else {
                self.shown(line, path).map(|text| cut(text, end))
            }
        });
        let key = path.to_string();
        let whole = *self.whole("");
        Box::new(ConfigError { place, key, message, hint, line, ..whole })
    }

    /// The line to show for an error about `key`.
    fn shown(&self, line: usize, key: &str) -> Option<String> {
        let text = self.text.lines().nth(line.checked_sub(1)?)?;
        if secret_in(text) || secret_key(key) {
            return None;
        }
        Some(without_password(text.trim_end()))
    }

    fn is_hidden(&self, line: usize, key: &str) -> bool {
        self.expanded.contains(&line)
            || secret_key(key)
            || self.text.lines().nth(line.saturating_sub(1)).is_some_and(secret_in)
    }
}

/// Words of keys whose values are secrets.
const SECRET_WORDS: [&str; 10] =
    ["passw", "credentials", "secret", "token", "bearer", "auth", "sigv4", "azuread", "_key", "headers"];

/// Returns true if the value of this key, or of one above it, is a secret. Names of files are not secret.
fn secret_key(path: &str) -> bool {
    path.split('.').any(|key| {
        let key = key.split('[').next().unwrap_or_default().to_ascii_lowercase();
        !key.ends_with("_file") && (key == "key" || SECRET_WORDS.iter().any(|word| key.contains(word)))
    })
}

/// Returns true if a line of YAML may contain a secret.
fn secret_in(line: &str) -> bool {
    line.split(|c: char| !c.is_ascii_alphanumeric() && c != '_').any(secret_key)
}

/// The line up to column `end`, if the place to cut is known.
fn cut(text: String, end: Option<usize>) -> String {
    let Some(end) = end else { return text };
    let kept: String = text.chars().take(end).collect();
    if kept.len() < text.trim_end().len() { format!("{kept} …") } else { text }
}

/// A description for users of a type that the YAML reader names.
fn words(ty: &str) -> &str {
    match ty {
        "boolean" => "true or false",
        "u8" | "u16" | "u32" | "u64" | "usize" => "a whole number, not below zero",
        "i8" | "i16" | "i32" | "i64" | "isize" => "a whole number",
        "f32" | "f64" => "a number",
        "sequence start" => "a list",
        "mapping start" => "keys with values",
        "string scalar" => "a single value",
        other => other,
    }
}

/// The hint about an unknown key: the key that was probably intended, or the list of valid keys.
fn right_key(field: &str, expected: &[&str]) -> String {
    match nearest(field, expected) {
        Some(key) => format!("did you mean {key:?}?"),
        _ if expected.is_empty() => "no key can stand here".into(),
        _ => format!("the keys here are: {}", expected.join(", ")),
    }
}

/// The known key that differs from `field` by a typing error.
pub(super) fn nearest<'a>(field: &str, expected: &[&'a str]) -> Option<&'a str> {
    let near = expected.iter().map(|key| (distance(field, key), *key)).min();
    near.filter(|(distance, _)| *distance <= 1 + field.len() / 4).map(|(_, key)| key)
}

/// The number of edits that turn `a` into `b`: inserted, deleted, changed or swapped letters.
fn distance(a: &str, b: &str) -> usize {
    let (a, b): (Vec<char>, Vec<char>) = (a.chars().collect(), b.chars().collect());
    let width = b.len() + 1;
    let mut rows: Vec<usize> = vec![0; width * (a.len() + 1)];
    let at = |rows: &[usize], i: usize, j: usize| rows.get(i * width + j).copied().unwrap_or(usize::MAX / 2);
    for i in 0..=a.len() {
        for j in 0..=b.len() {
            let value = if i == 0 || j == 0 {
                i + j
            } else {
                let same = a.get(i - 1) == b.get(j - 1);
                let mut best = (at(&rows, i - 1, j) + 1).min(at(&rows, i, j - 1) + 1);
                best = best.min(at(&rows, i - 1, j - 1) + usize::from(!same));
                if i > 1 && j > 1 && a.get(i - 1) == b.get(j - 2) && a.get(i - 2) == b.get(j - 1) {
                    best = best.min(at(&rows, i - 2, j - 2) + 1);
                }
                best
            };
            if let Some(slot) = rows.get_mut(i * width + j) {
                *slot = value;
            }
        }
    }
    at(&rows, a.len(), b.len())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_line_is_shown_with_a_mark_below_the_mistake() {
        let reporter = Reporter { file: "n.yml", text: "log:\n  max_size: lots\n", expanded: &[] };
        let error = reporter.at(Some((2, 13)), "log.max_size", "not a size");
        assert_eq!(
            error.to_string(),
            "n.yml:2:13: log.max_size: not a size\n  2 |   max_size: lots\n    |             ^"
        );
    }

    #[test]
    fn a_line_that_may_hold_a_secret_is_not_shown() {
        let text = "a:\n  basic_auth: {username: u, password: hunter2, x: 1}\n  password_file: f\n";
        let reporter = Reporter { file: "n.yml", text, expanded: &[] };
        assert_eq!(reporter.at(Some((2, 3)), "a.basic_auth.x", "wrong").line, None);
        assert!(reporter.at(Some((3, 3)), "a.password_file", "wrong").line.is_some());
    }

    #[test]
    fn a_mistyped_key_is_recognised() {
        assert_eq!(right_key("capcity", &["min_shards", "capacity"]), "did you mean \"capacity\"?");
        assert_eq!(right_key("zzz", &["one", "two"]), "the keys here are: one, two");
    }
}
