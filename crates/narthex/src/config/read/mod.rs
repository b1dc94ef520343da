//! Reads a file and finds all of its mistakes, although the YAML reader and the types stop at the first one.
//!
//! The text is parsed once into an `Outline`, which knows the place of each key. Then the types are read again and
//! again: after each mistake, the key or entry that has it is left out (`lenient::Remedies`). Text that is not YAML
//! is left out by whole sections and entries before that (`syntax`).

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

/// The most times that the types are read. A mistake can need a second remedy, where the first one does not suffice.
const READS_MAX: usize = 4 * MISTAKES_MAX;

/// What could be read, and what could not.
pub(super) struct Reading<T> {
    /// None where nothing could be read, or where there are too many mistakes.
    pub(super) value: Option<T>,
    pub(super) mistakes: Vec<ConfigError>,
    pub(super) places: Places,
}

/// Where things are in a file, and about what nothing can be said since a mistake is there.
#[derive(Default)]
pub(super) struct Places {
    outline: Option<Outline>,
    remedies: Remedies,
    /// Paths at which there is a mistake, or something is missing because of one.
    mistaken: Vec<String>,
}

impl Places {
    /// Whether the value that was read at `path` differs from the file because of a mistake.
    pub(super) fn is_mistaken(&self, path: &str) -> bool {
        self.mistaken.iter().any(|mistake| is_within(mistake, path) || is_within(path, mistake))
    }

    /// The path in the file of something in the value that was read.
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

    /// The path of what is at a line and column: of the value or key that begins there or, last, before it.
    pub(super) fn key_at(&self, place: Place) -> Option<String> {
        self.outline.as_ref().and_then(|outline| outline.path_at(place))
    }

    /// Whether the file has something at a path.
    pub(super) fn has(&self, path: &str) -> bool {
        self.outline.as_ref().is_some_and(|outline| outline.has(path))
    }
}

/// Whether `path` is `above` or something below it.
fn is_within(path: &str, above: &str) -> bool {
    path.strip_prefix(above).is_some_and(|rest| rest.is_empty() || rest.starts_with(['.', '[']))
}

/// The path of the mapping or list that something is in.
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

/// Reads the text with all of its mistakes.
pub(super) fn read_all<T: DeserializeOwned>(text: &str, reporter: &Reporter<'_>) -> Reading<T> {
    let readable = syntax::readable(text, reporter);
    let mut reading = Reading { value: None, mistakes: readable.mistakes, places: Places::default() };
    let Some(outline) = readable.outline else { return reading };
    for duplicate in outline.duplicates() {
        let key = duplicate.path.rsplit('.').next().unwrap_or_default();
        // The dash of an entry without the space behind it: that is the mistake.
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

/// The path of the key that an error of a whole mapping is about: its message begins with the key.
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
    /// Finds a remedy. Returns whether the error is a mistake of the user's, and not only the consequence of an
    /// earlier one; None where there is no remedy.
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
                // The key that was meant is not missing, and neither is one that is at the wrong depth.
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
        // Where a placeholder does not fit, nothing can be read of its mapping.
        let is_filled = |map: &str, keys: &[&str]| keys.iter().any(|key| join(map, key) == *path);
        let filled =
            self.remedies.filled.iter().find(|(map, keys)| is_filled(map, keys)).map(|(map, _)| map.clone());
        // A mapping that is wrong as a whole may be so because a part of it was left out.
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
