//! Helpers of the tests: a machine made of files, and a writer and a parser of the text format.
#![allow(
    dead_code,
    unreachable_pub,
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::indexing_slicing,
    reason = "test helpers, of which each test uses some; a panic is how they report"
)]

use model::{Family, MetricType};
use std::collections::{BTreeMap, HashMap};
use std::fmt::Write as _;
use std::fs;
use std::path::{Path, PathBuf};

/// The path of a fixture.
pub fn fixture(name: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/fixtures").join(name)
}

/// Unpacks `fixtures/machine.txt`, which describes its own format.
pub fn machine() -> tempfile::TempDir {
    let root = tempfile::tempdir().unwrap();
    for (name, content) in sections(&fs::read_to_string(fixture("machine.txt")).unwrap()) {
        let (path, target) = match name.split_once(" -> ") {
            Some((path, target)) => (path, Some(target)),
            None => (name.as_str(), None),
        };
        let place = root.path().join(path);
        if path.ends_with('/') {
            fs::create_dir_all(place).unwrap();
            continue;
        }
        fs::create_dir_all(place.parent().unwrap()).unwrap();
        match target {
            Some(target) => std::os::unix::fs::symlink(target, place).unwrap(),
            None => fs::write(place, content).unwrap(),
        }
    }
    root
}

/// The sections `== NAME` of a text, each with its content.
pub fn sections(text: &str) -> Vec<(String, String)> {
    let mut sections: Vec<(String, String)> = Vec::new();
    for line in text.lines() {
        if let Some(name) = line.strip_prefix("== ") {
            sections.push((name.to_owned(), String::new()));
        } else if let Some((_, content)) = sections.last_mut() {
            content.push_str(line);
            content.push('\n');
        }
    }
    sections
}

/// Families in the text format. Names and labels are sorted, so that equal metrics give equal texts.
pub fn render(families: &[Family]) -> String {
    let mut families: Vec<&Family> = families.iter().collect();
    families.sort_by(|a, b| a.name.cmp(&b.name));
    let mut text = String::new();
    for family in families {
        let kind = match family.kind {
            MetricType::Unknown => "untyped",
            kind => kind.as_str(),
        };
        writeln!(text, "# HELP {} {}", family.name, family.help).unwrap();
        writeln!(text, "# TYPE {} {kind}", family.name).unwrap();
        let mut lines: Vec<String> = family
            .metrics
            .iter()
            .map(|metric| {
                let mut labels: Vec<String> = metric
                    .labels
                    .iter()
                    .map(|(name, value)| format!("{name}=\"{}\"", escape(value)))
                    .collect();
                labels.sort();
                let labels =
                    if labels.is_empty() { String::new() } else { format!("{{{}}}", labels.join(",")) };
                format!("{}{}{labels} {}", family.name, metric.suffix, metric.value)
            })
            .collect();
        lines.sort();
        for line in lines {
            text.push_str(&line);
            text.push('\n');
        }
    }
    text
}

fn escape(value: &str) -> String {
    value.replace('\\', "\\\\").replace('"', "\\\"").replace('\n', "\\n")
}

/// The content of a page in the text format.
#[derive(Debug, Default)]
pub struct Page {
    /// Help text and type by family.
    pub families: HashMap<String, (String, String)>,
    /// Values by name and labels, written `name{a="1",b="2"}` with sorted labels.
    pub samples: BTreeMap<String, f64>,
}

/// Parses a page. It supports what `render` and node_exporter write, not the whole format.
pub fn parse(text: &str) -> Page {
    let mut page = Page::default();
    for line in text.lines() {
        if let Some(rest) = line.strip_prefix("# HELP ") {
            let (name, help) = rest.split_once(' ').unwrap_or((rest, ""));
            page.families.entry(name.to_owned()).or_default().0 = help.to_owned();
        } else if let Some(rest) = line.strip_prefix("# TYPE ") {
            let (name, kind) = rest.split_once(' ').unwrap();
            page.families.entry(name.to_owned()).or_default().1 = kind.to_owned();
        } else if !line.is_empty() {
            let (series, value) = line.rsplit_once(' ').unwrap();
            let series = match series.split_once('{') {
                Some((name, labels)) => {
                    let mut labels = split_labels(labels.strip_suffix('}').unwrap());
                    labels.sort();
                    format!("{name}{{{}}}", labels.join(","))
                }
                None => series.to_owned(),
            };
            let before = page.samples.insert(series.clone(), value.parse().unwrap());
            assert_eq!(before, None, "{series} stands there twice");
        }
    }
    page
}

/// Splits `a="1",b="x,\"y"` at the commas outside quotes.
fn split_labels(text: &str) -> Vec<String> {
    let mut labels = vec![String::new()];
    let (mut quoted, mut escaped) = (false, false);
    for c in text.chars() {
        match c {
            ',' if !quoted => {
                labels.push(String::new());
                continue;
            }
            '"' if !escaped => quoted = !quoted,
            _ => {}
        }
        escaped = c == '\\' && !escaped;
        labels.last_mut().unwrap().push(c);
    }
    labels
}
