//! Finds all mistakes of a file, and not only the one at which the YAML reader stops.
//!
//! The reader stops at the first value that does not fit. What stands there is then blanked out, with all that
//! is indented below it, and the rest is read again.

use super::error::{ConfigError, Reporter};
use serde::de::DeserializeOwned;

/// The most mistakes that are told at once.
pub const MISTAKES_MAX: usize = 20;

/// The most times that a file is read. Each mistake can leave an empty mapping above it, which is then read and
/// blanked out in its turn.
const READS_MAX: usize = 4 * MISTAKES_MAX;

/// What could be read, and what could not.
pub(super) struct Reading<T> {
    /// None where the text is no YAML.
    pub(super) value: Option<T>,
    pub(super) mistakes: Vec<ConfigError>,
}

impl<T> Reading<T> {
    /// Whether an error about `key` may be there only because something near it was blanked out.
    pub(super) fn is_near_mistake(&self, key: &str) -> bool {
        self.mistakes.iter().any(|mistake| entry(&mistake.key) == entry(key))
    }
}

/// The section, or the entry of a list, to which a key belongs.
fn entry(key: &str) -> &str {
    key.split('.').next().unwrap_or_default()
}

/// Reads the text, again and again without what was wrong.
pub(super) fn read_all<T: DeserializeOwned>(text: &str, reporter: &Reporter<'_>) -> Reading<T> {
    let mut reading = Reading { value: None, mistakes: Vec::new() };
    let mut text = text.to_string();
    for _ in 0..READS_MAX {
        let error = match super::read(&text, reporter) {
            Ok(value) => {
                reading.value = Some(value);
                return reading;
            }
            Err(error) => *error,
        };
        // Once something was blanked out, the text may be no YAML any more, and keys may be missing.
        let is_first = reading.mistakes.is_empty();
        if reading.mistakes.len() >= MISTAKES_MAX || error.is_syntax && !is_first {
            return reading;
        }
        let place = error.place.filter(|_| !error.is_syntax);
        let blanked = place.and_then(|(line, column)| blank(&text, line, column));
        // An error that is there only because of that is blanked out as well, but is no mistake of the user's.
        if is_first || !error.is_missing && !reading.follows(&error) {
            reading.mistakes.push(error);
        }
        match blanked {
            Some(next) if next != text => text = next,
            _ => return reading,
        }
    }
    reading
}

impl<T> Reading<T> {
    /// Whether an error is there only because something was blanked out: at the same place, or above it.
    fn follows(&self, error: &ConfigError) -> bool {
        self.mistakes.iter().any(|mistake| {
            mistake.place == error.place
                || mistake.key.strip_prefix(&error.key).is_some_and(|rest| rest.starts_with(['.', '[']))
        })
    }
}

/// What stands for the URL of an entry, which must have one.
const URL: &str = "url: http://blanked.invalid/x";

/// The text without the key or value that begins at `line` and `column`, and without what is indented below it.
/// The lines keep their numbers, and lists their entries.
fn blank(text: &str, line: usize, column: usize) -> Option<String> {
    let lines: Vec<&str> = text.split_inclusive('\n').collect();
    let mut at = line.checked_sub(1)?;
    let first = lines.get(at)?;
    // The key of a value may stand in a line above it.
    if !has_key(first) && indent(first) + 1 == column && !first.trim_start().starts_with('-') {
        at = (0..at).rev().find(|above| lines.get(*above).is_some_and(|line| has_key(line)))?;
    }
    let first = lines.get(at)?;
    let key = content(first);
    let below = |line: &&&str| line.trim().is_empty() || indent(line) > key;
    let end = at + 1 + lines.iter().skip(at + 1).take_while(below).count();
    let (before, rest) = first.split_at_checked(key)?;
    let filler = if rest.starts_with("url:") || rest.starts_with('{') && rest.contains("url:") {
        URL
    } else if before.contains('-') && !has_more(&lines, end, key) {
        "{}"
    } else {
        ""
    };
    let mut out = String::with_capacity(text.len() + URL.len());
    for (number, line) in lines.iter().enumerate() {
        if number == at {
            let kept = if filler.is_empty() { before.trim_end() } else { before };
            out.push_str(kept);
            out.push_str(filler);
        }
        out.push_str(if (at..end).contains(&number) { "\n" } else { line });
    }
    Some(out)
}

/// Whether the mapping whose keys begin at `column` goes on in line `at`.
fn has_more(lines: &[&str], at: usize, column: usize) -> bool {
    lines.get(at).is_some_and(|line| indent(line) == column && !line.trim_start().starts_with("- "))
}

fn indent(line: &str) -> usize {
    line.len() - line.trim_start_matches(' ').len()
}

/// Where the content of a line begins, behind dashes.
fn content(line: &str) -> usize {
    let mut rest = line.trim_start_matches(' ');
    while let Some(after) = rest.strip_prefix("- ") {
        rest = after.trim_start_matches(' ');
    }
    line.len() - rest.len()
}

/// Whether a line has a `key:`.
fn has_key(line: &str) -> bool {
    let rest = line.get(content(line)..).unwrap_or_default();
    rest.contains(':') && !rest.starts_with(['{', '[', '#', '-', ':'])
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_key_is_blanked_out_with_what_is_below_it() {
        let text = "a:\n  - b: 1\n    c:\n      d: 2\n  - e: 3\nf: 4\n";
        assert_eq!(blank(text, 3, 5).as_deref(), Some("a:\n  - b: 1\n\n\n  - e: 3\nf: 4\n"));
        assert_eq!(blank(text, 2, 5).as_deref(), Some("a:\n  -\n    c:\n      d: 2\n  - e: 3\nf: 4\n"));
        assert_eq!(blank(text, 5, 8).as_deref(), Some("a:\n  - b: 1\n    c:\n      d: 2\n  - {}\nf: 4\n"));
        let entry = blank("r:\n  - {url: x, y: 1}\n  - url: z\n", 2, 12);
        assert_eq!(entry, Some(format!("r:\n  - {URL}\n  - url: z\n")));
        assert_eq!(blank("a:\n  b\nc: 1\n", 2, 3).as_deref(), Some("\n\nc: 1\n"));
        assert_eq!(blank("a: 1\n", 9, 1), None);
    }
}
