//! Text that is not valid YAML: finds the broken sections and entries of lists, so that the others can be
//! read.
//!
//! A parser stops at the first broken line, and that line is often not the one with the mistake: a quote that
//! is not closed breaks everything after it. So each top-level section is parsed alone, and in a broken
//! section each entry of a list.

use super::super::error::{ConfigError, Reporter};
use super::{Outline, join_index};
use serde_saphyr::Error;
use std::ops::Range;

/// The most sections of a broken file that are parsed alone. In a file with more, only the first mistake is
/// reported.
const SECTIONS_MAX: usize = 100;
/// The most entries of a broken section that are parsed alone. A section with more is left out as a whole.
const ENTRIES_MAX: usize = 1000;

/// The readable part of a file.
pub(super) struct Readable {
    /// The text without the broken parts. Lines keep their numbers and lists their entries.
    pub(super) text: String,
    /// `None` if nothing can be read.
    pub(super) outline: Option<Outline>,
    /// The errors about the broken parts.
    pub(super) mistakes: Vec<ConfigError>,
    /// The paths of the broken parts.
    pub(super) left_out: Vec<String>,
}

pub(super) fn readable(text: &str, reporter: &Reporter<'_>) -> Readable {
    let whole = match Outline::read(text) {
        Ok(outline) => {
            let text = text.to_string();
            return Readable { text, outline: Some(outline), mistakes: Vec::new(), left_out: Vec::new() };
        }
        Err(error) => error,
    };
    let lines: Vec<&str> = text.split_inclusive('\n').collect();
    let (mut mistakes, mut broken) = (Vec::new(), Vec::new());
    for section in sections(&lines).into_iter().take(SECTIONS_MAX) {
        for part in broken_parts(&lines, section) {
            mistakes.push(*reporter.yaml(&part.error, &part.path, None));
            broken.push(part);
        }
    }
    let text = without(&lines, &broken);
    match Outline::read(&text) {
        Ok(outline) if !broken.is_empty() => {
            let left_out = broken.into_iter().map(|part| part.path).collect();
            Readable { text, outline: Some(outline), mistakes, left_out }
        }
        _ => {
            let mistakes = vec![*reporter.yaml(&whole, "", None)];
            Readable { text, outline: None, mistakes, left_out: Vec::new() }
        }
    }
}

/// Lines that are not YAML.
struct Broken {
    path: String,
    lines: Range<usize>,
    /// The text that replaces them.
    filler: String,
    error: Error,
}

/// A top-level section: its key and its lines.
struct Section {
    key: String,
    lines: Range<usize>,
}

/// The top-level sections. Lines before the first key belong to no section.
fn sections(lines: &[&str]) -> Vec<Section> {
    let starts: Vec<(usize, String)> =
        lines.iter().enumerate().filter_map(|(at, line)| Some((at, section_key(line)?))).collect();
    let ends = starts.iter().skip(1).map(|(at, _)| *at).chain([lines.len()]);
    starts
        .iter()
        .zip(ends)
        .map(|((start, key), end)| Section { key: key.clone(), lines: *start..end })
        .collect()
}

/// The key of a line that begins a section.
fn section_key(line: &str) -> Option<String> {
    let (key, rest) = line.split_once(':')?;
    let key = key.trim_end().trim_matches(['"', '\'']);
    let is_key = !key.is_empty() && key.chars().all(|c| c.is_alphanumeric() || c == '_');
    let is_first = line.starts_with(|c: char| c.is_alphanumeric() || matches!(c, '_' | '"' | '\''));
    (is_key && is_first && (rest.is_empty() || rest.starts_with(char::is_whitespace)))
        .then(|| key.to_string())
}

/// The broken parts of a section: entries of its list if they explain all errors, else the whole section.
fn broken_parts(lines: &[&str], section: Section) -> Vec<Broken> {
    let Err(error) = Outline::read(&only(lines, std::slice::from_ref(&section.lines))) else {
        return Vec::new();
    };
    if matches!(error.without_snippet(), Error::UnknownAnchor { .. }) {
        // The anchor may be defined in another section.
        return Vec::new();
    }
    let header = section.lines.start..section.lines.start + 1;
    let mut broken = Vec::new();
    for (index, entry) in entries(lines, &section.lines).into_iter().take(ENTRIES_MAX).enumerate() {
        if let Err(error) = Outline::read(&only(lines, &[header.clone(), entry.clone()])) {
            let first = lines.get(entry.start).copied().unwrap_or_default();
            let filler = format!("{}-", " ".repeat(indent(first)));
            broken.push(Broken { path: join_index(&section.key, index), lines: entry, filler, error });
        }
    }
    let rest = without(lines, &broken);
    let rest: Vec<&str> = rest.split_inclusive('\n').collect();
    if !broken.is_empty() && Outline::read(&only(&rest, std::slice::from_ref(&section.lines))).is_ok() {
        return broken;
    }
    vec![Broken { path: section.key, lines: section.lines, filler: String::new(), error }]
}

/// The entries of a section that is a list.
fn entries(lines: &[&str], section: &Range<usize>) -> Vec<Range<usize>> {
    let inside = || (section.start + 1..section.end).filter_map(|at| Some((at, *lines.get(at)?)));
    let is_content = |line: &str| !line.trim().is_empty() && !line.trim_start().starts_with('#');
    let is_entry = |line: &str| line.trim_start().starts_with("- ") || line.trim() == "-";
    let Some((_, first)) = inside().find(|(_, line)| is_content(line)).filter(|(_, line)| is_entry(line))
    else {
        return Vec::new();
    };
    let column = indent(first);
    let starts: Vec<usize> =
        inside().filter(|(_, line)| is_entry(line) && indent(line) == column).map(|(at, _)| at).collect();
    let ends = starts.iter().skip(1).copied().chain([section.end]);
    starts.iter().zip(ends).map(|(start, end)| *start..end).collect()
}

fn indent(line: &str) -> usize {
    line.len() - line.trim_start_matches(' ').len()
}

/// The text with the given lines; all others are empty.
fn only(lines: &[&str], kept: &[Range<usize>]) -> String {
    let is_kept = |at: &usize| kept.iter().any(|range| range.contains(at));
    lines.iter().enumerate().map(|(at, line)| if is_kept(&at) { *line } else { "\n" }).collect()
}

/// The text with fillers in place of the broken lines.
fn without(lines: &[&str], broken: &[Broken]) -> String {
    let mut out = String::new();
    for (at, line) in lines.iter().enumerate() {
        match broken.iter().find(|part| part.lines.contains(&at)) {
            None => out.push_str(line),
            Some(part) => {
                if part.lines.start == at {
                    out.push_str(&part.filler);
                }
                out.push('\n');
            }
        }
    }
    out
}
