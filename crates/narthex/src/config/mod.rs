//! The configuration file: from YAML to the configuration that [`crate::run`] gets, with errors that say how
//! to fix mistakes.
//!
//! `global`, `remote_write` and `scrape_configs` are sections of Prometheus; `log`, `send`, `collect`, `inputs`, `receive`,
//! `graphite` and `statsd` are narthex' own. `docs/configuration.md` describes every key.
//!
//! Start at [`load`]. The sections as they are written are in [`mod@file`]. [`read`] parses them and finds
//! all mistakes of form, `validate` finds the mistakes in their values, and [`error`] makes messages of both.

pub mod env;
pub mod error;
mod failure;
pub mod file;
mod hints;
pub mod inputs;
mod known;
mod mapping_file;
#[cfg(test)]
mod mistakes_tests;
pub mod read;
pub use agent::config::{Collect, Config, INTERVAL, Log, default_max_size};
pub use model::size;
mod validate;
mod warnings;
pub mod web;

use error::{ConfigErrors, Reporter};
use file::File;
use size::Human;
use std::io::Read;
use std::path::Path;
use std::time::Duration;

/// The largest file that is read.
pub const FILE_BYTES_MAX: u64 = 4 << 20;
/// The shortest interval of collection.
pub const INTERVAL_MIN: Duration = Duration::from_secs(1);
/// The longest interval of collection: a query sees a sample for five minutes, so two collections fall into
/// that time.
pub const INTERVAL_MAX: Duration = Duration::from_secs(120);
/// The least memory for batches that wait for destinations.
pub const MAX_IN_MEMORY_MIN: usize = 1 << 20;
/// The sections of Prometheus. Environment variables are expanded in all other sections.
const PROMETHEUS_SECTIONS: [&str; 8] = [
    "global",
    "remote_write",
    "scrape_configs",
    "scrape_config_files",
    "rule_files",
    "alerting",
    "storage",
    "remote_read",
];

/// The path that means standard input.
const STDIN: &str = "-";

/// The name of a configuration file in messages.
pub fn shown(path: &Path) -> String {
    if path == Path::new(STDIN) { "standard input".into() } else { path.display().to_string() }
}

/// Reads a file, or standard input if the path is `-`. Returns the configuration and warnings, each a
/// sentence.
pub fn load(path: &Path, lookup: env::Lookup<'_>) -> Result<(Config, Vec<String>), ConfigErrors> {
    let (is_stdin, name) = (path == Path::new(STDIN), shown(path));
    let whole = |message| Reporter { file: &name, text: "", expanded: &[] }.whole(message);
    let unreadable = |error: std::io::Error| whole(format!("the configuration can't be read: {error}"));
    let from: Box<dyn Read> = if is_stdin {
        Box::new(std::io::stdin().lock())
    } else {
        Box::new(std::fs::File::open(path).map_err(unreadable)?)
    };
    let mut bytes = Vec::new();
    from.take(FILE_BYTES_MAX + 1).read_to_end(&mut bytes).map_err(unreadable)?;
    if bytes.len() as u64 > FILE_BYTES_MAX {
        return Err(whole(format!(
            "the configuration is larger than the limit of {}",
            Human(FILE_BYTES_MAX)
        ))
        .into());
    }
    // ASCII text in UTF-16 without a byte order mark is also valid UTF-8, with a NUL in each character.
    let text = match String::from_utf8(bytes) {
        Ok(text) if !text.contains('\0') => text,
        Ok(text) => return Err(whole(not_utf8(text.as_bytes())).into()),
        Err(error) => return Err(whole(not_utf8(error.as_bytes())).into()),
    };
    let folder = path.parent().unwrap_or(Path::new(""));
    parse(&name, folder, &text, lookup)
}

/// The message about a file that is not text in UTF-8.
fn not_utf8(bytes: &[u8]) -> String {
    let is_utf16 = bytes.starts_with(&[0xFF, 0xFE]) || bytes.starts_with(&[0xFE, 0xFF]) || bytes.contains(&0);
    if is_utf16 {
        "the configuration is UTF-16: save it as UTF-8 (`iconv -f UTF-16 -t UTF-8`)".into()
    } else {
        let valid = bytes.utf8_chunks().next().map_or(0, |chunk| chunk.valid().len());
        let line = bytes.iter().take(valid).filter(|byte| **byte == b'\n').count() + 1;
        format!("the configuration is not UTF-8, first in line {line}: save it as UTF-8")
    }
}

/// Parses the text of a file. `name` is its name in errors; relative paths in the file are relative to
/// `folder`.
pub fn parse(
    name: &str,
    folder: &Path,
    text: &str,
    lookup: env::Lookup<'_>,
) -> Result<(Config, Vec<String>), ConfigErrors> {
    let expanded = env::sections(text, |name| !PROMETHEUS_SECTIONS.contains(&name), lookup);
    let reporter = Reporter { file: name, text, expanded: &expanded.changed };
    let mut reading = read::read_all::<File>(&expanded.text, &reporter);
    let mut mistakes = std::mem::take(&mut reading.mistakes);
    let (mut config, mut warnings) = (Config::default(), Vec::new());
    if let Some(mut file) = reading.value.take() {
        file.resolve_paths(folder);
        warnings = warnings::warnings(name, text, &file, &reading.places);
        let faults = validate::Faults::new(&reporter, &reading.places);
        config = validate::validate(file, lookup, &faults);
        mistakes.extend(faults.found());
    }
    if let Some(place) = tab_before_first_key(text) {
        let message = "a tab stands before the key: YAML allows only spaces there";
        mistakes.push(*reporter.at(Some(place), "", message));
    }
    for located in &expanded.errors {
        let key = reading.places.key_at((located.line, located.column_in_text)).unwrap_or_default();
        // Other errors about a value whose variable could not be expanded are consequences, and are removed.
        let value = reading.places.value(&key);
        mistakes.retain(|mistake| mistake.key != key || mistake.place != value);
        mistakes.push(*reporter.at(Some((located.line, located.column)), &key, located.error.to_string()));
    }
    if mistakes.is_empty() {
        return Ok((config, warnings));
    }
    Err(ConfigErrors::new(mistakes, warnings))
}

/// The place of the first key if a tab is before it in its line. The YAML reader accepts a tab there, but
/// not elsewhere in the indentation. Prometheus' reader does not accept it.
fn tab_before_first_key(text: &str) -> Option<(usize, usize)> {
    let is_content = |line: &str| !line.trim().is_empty() && !line.trim_start().starts_with(['#', '{']);
    let (number, first) = text.lines().enumerate().find(|(_, line)| is_content(line))?;
    let key = first.trim_start();
    let before = first.strip_suffix(key).unwrap_or_default();
    before.contains('\t').then(|| (number + 1, before.chars().count() + 1))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_file_in_another_encoding_is_reported_with_advice() {
        let folder = tempfile::tempdir().unwrap();
        let file = folder.path().join("n.yml");
        let error_of = |bytes: &[u8]| {
            std::fs::write(&file, bytes).unwrap();
            load(&file, &|_| None).map(|_| ()).map_err(|errors| errors.to_string())
        };
        let utf16 = |mark: &[u8], to_bytes: fn(u16) -> [u8; 2]| {
            let text: Vec<u8> = "log: {}\n".encode_utf16().flat_map(to_bytes).collect();
            [mark, &text].concat()
        };
        for bytes in [
            utf16(&[0xFF, 0xFE], u16::to_le_bytes),
            utf16(&[0xFE, 0xFF], u16::to_be_bytes),
            utf16(&[], u16::to_le_bytes),
        ] {
            let error = error_of(&bytes).unwrap_err();
            assert!(error.contains("the configuration is UTF-16: save it as UTF-8"), "{error}");
        }
        let error = error_of(b"log: {}\n# M\xFCnchen\n").unwrap_err();
        assert!(
            error.contains("the configuration is not UTF-8, first in line 2: save it as UTF-8"),
            "{error}"
        );
        assert_eq!(error_of("\u{feff}log: {}\n".as_bytes()), Ok(()));
    }
}
