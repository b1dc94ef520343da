//! Parses a file and finds all of its mistakes, although the YAML reader and the types stop at the first one.
//!
//! The text is parsed once into an `Outline`, which knows the place of each key. Then the types are
//! deserialised repeatedly: after each mistake, the key or entry that has it is left out
//! (`lenient::Remedies`). Before that, sections and entries that are not valid YAML are left out as a whole
//! (`syntax`).

mod lenient;
mod outline;
mod syntax;

use super::error::{ConfigError, Reporter, nearest};
use lenient::{Remedies, Stop};
pub(super) use outline::{Outline, Place};
use serde::de::DeserializeOwned;
use serde_saphyr::Error;

/// The most mistakes that are reported at once.
pub const MISTAKES_MAX: usize = 20;

/// The most times that the types are deserialised. A mistake can need a second remedy if the first one does
/// not suffice.
const READS_MAX: usize = 4 * MISTAKES_MAX;

/// The value that could be read, and the mistakes.
pub(super) struct Reading<T> {
    /// `None` if nothing could be read, or if there are too many mistakes.
    pub(super) value: Option<T>,
    pub(super) mistakes: Vec<ConfigError>,
    pub(super) places: Places,
}

/// The places of keys and values in a file, and the paths that have a mistake.
#[derive(Default)]
pub(super) struct Places {
    outline: Option<Outline>,
    remedies: Remedies,
    /// Paths with a mistake, or with something missing because of one.
    mistaken: Vec<String>,
}

impl Places {
    /// Returns true if the value at `path` differs from the file because of a mistake.
    pub(super) fn is_mistaken(&self, path: &str) -> bool {
        self.mistaken.iter().any(|mistake| is_within(mistake, path) || is_within(path, mistake))
    }

    /// Translates a path in the value into a path in the file.
    pub(super) fn path_in_file(&self, path: &str) -> String {
        self.remedies.path_in_file(path)
    }

    /// The line and column of the value at a path in the file.
    pub(super) fn value(&self, path: &str) -> Option<(usize, usize)> {
        self.outline.as_ref().and_then(|outline| outline.value_place(path))
    }

    /// The line and column of the key at a path in the file.
    pub(super) fn key(&self, path: &str) -> Option<(usize, usize)> {
        self.outline.as_ref().and_then(|outline| outline.key_place(path))
    }

    /// The path of the last value or key that begins at or before a line and column.
    pub(super) fn key_at(&self, place: Place) -> Option<String> {
        self.outline.as_ref().and_then(|outline| outline.path_at(place))
    }

    /// Returns true if the file has a value at `path`.
    pub(super) fn has(&self, path: &str) -> bool {
        self.outline.as_ref().is_some_and(|outline| outline.has(path))
    }
}

/// Returns true if `path` is `above` or below it.
fn is_within(path: &str, above: &str) -> bool {
    path.strip_prefix(above).is_some_and(|rest| rest.is_empty() || rest.starts_with(['.', '[']))
}

/// The path of the mapping or list that contains `path`.
fn parent(path: &str) -> Option<&str> {
    let end = if path.ends_with(']') { path.rfind('[') } else { path.rfind('.') };
    (!path.is_empty()).then(|| path.get(..end.unwrap_or(0)).unwrap_or_default())
}

fn join(path: &str, key: &str) -> String {
    if path.is_empty() { key.to_string() } else { format!("{path}.{key}") }
}

fn join_index(path: &str, index: usize) -> String {
    format!("{path}[{index}]")
}

/// Parses the text and finds all of its mistakes.
pub(super) fn read_all<T: DeserializeOwned>(text: &str, reporter: &Reporter<'_>) -> Reading<T> {
    let readable = syntax::readable(text, reporter);
    let mut reading = Reading { value: None, mistakes: readable.mistakes, places: Places::default() };
    let Some(outline) = readable.outline else { return reading };
    for duplicate in outline.duplicates() {
        let key = duplicate.path.rsplit('.').next().unwrap_or_default();
        // A key that begins with a dash lacks the space after it. That is the mistake, and not the duplicate.
        if !key.starts_with('-') {
            let message = format!("the key is here twice; the first one is in line {}", duplicate.first_line);
            reading.mistakes.push(*reporter.at(duplicate.place, &duplicate.path, message));
        }
    }
    reading.places.remedies.skipped.extend(readable.left_out.iter().cloned());
    reading.places.mistaken = readable.left_out;
    for _ in 0..READS_MAX {
        match lenient::read(&readable.text, &reading.places.remedies) {
            Ok(value) => {
                reading.value = Some(value);
                break;
            }
            Err(stop) => {
                let remedied = reading.places.remedy(&stop, &outline);
                if remedied != Some(false) {
                    let path = exact_path(&stop, &outline);
                    let place =
                        if stop.at_key { outline.key_place(&path) } else { outline.value_place(&path) };
                    reading.mistakes.push(*reporter.yaml(&stop.error, &path, place));
                }
                if remedied.is_none() || reading.mistakes.len() > MISTAKES_MAX {
                    break;
                }
            }
        }
    }
    reading.places.outline = Some(outline);
    reading
}

/// The exact path of a key, for an error about a whole mapping whose message begins with the key.
fn exact_path(stop: &Stop, outline: &Outline) -> String {
    let path = &stop.path;
    if let Error::Message { msg, .. } = stop.error.without_snippet() {
        let key = msg.split([' ', ':']).next().unwrap_or_default();
        let exact = join(path, key);
        if !key.is_empty() && outline.has(&exact) {
            return exact;
        }
    }
    path.clone()
}

impl Places {
    /// Finds a remedy for an error. Returns true if the error is a mistake of the user's, and false if it
    /// follows from an earlier one. Returns `None` if there is no remedy.
    fn remedy(&mut self, stop: &Stop, outline: &Outline) -> Option<bool> {
        let (path, error) = (&stop.path, stop.error.without_snippet());
        if path.is_empty() {
            return None;
        }
        match error {
            Error::SerdeMissingField { field, .. } => {
                let missing = join(path, field);
                let is_new = !self.is_mistaken(&missing);
                self.remedies.filled.entry(path.clone()).or_default().push(field);
                self.mistaken.push(missing);
                return Some(is_new);
            }
            Error::SerdeUnknownField { field, expected, .. } => {
                // The intended key is not missing, and neither is a key that is at the wrong depth.
                let mut meant = Vec::new();
                let mut at = parent(path);
                meant.extend(at.zip(nearest(field, expected)).map(|(mapping, key)| join(mapping, key)));
                while let Some(above) = at.and_then(parent) {
                    meant.push(join(above, field));
                    at = Some(above);
                }
                self.mistaken.extend(meant.into_iter().filter(|key| !outline.has(key)));
            }
            Error::Unexpected { expected: "sequence start", .. }
                if outline.is_entry_without_dash(path) && self.remedies.lists.insert(path.clone()) =>
            {
                return Some(true);
            }
            _ => {}
        }
        // If a placeholder has the wrong type, the whole mapping is left out.
        let is_filled = |map: &str, keys: &[&str]| keys.iter().any(|key| join(map, key) == *path);
        let filled =
            self.remedies.filled.iter().find(|(map, keys)| is_filled(map, keys)).map(|(map, _)| map.clone());
        // An error about a whole mapping may be caused by a part of it that was left out.
        let is_whole = matches!(error, Error::Message { .. });
        let is_consequence = is_whole && self.mistaken.iter().any(|mistake| is_within(mistake, path));
        let is_new = filled.is_none() && !is_consequence;
        let wrong = filled.unwrap_or_else(|| path.clone());
        if wrong.is_empty() || !self.remedies.skipped.insert(wrong.clone()) {
            return None;
        }
        self.mistaken.push(wrong);
        Some(is_new)
    }
}
