//! Checks that the files, links and headings that documents and comments name exist.

use crate::{code, documents, read};
use std::collections::BTreeSet;
use std::path::{Path, PathBuf};
use support::peers::repository;

/// The beginnings of names that are files of this repository.
const FOLDERS: &[&str] = &["crates/", "tests/", "docs/", "scripts/", "bench/", "fuzz/", "packaging/"];

/// All source files, with paths from the repository's root.
fn sources() -> Vec<PathBuf> {
    fn walk(folder: &Path, found: &mut Vec<PathBuf>) {
        for entry in std::fs::read_dir(folder).unwrap() {
            let path = entry.unwrap().path();
            match path.file_name().and_then(|name| name.to_str()) {
                Some("target" | ".git") | None => {}
                Some(_) if path.is_dir() => walk(&path, found),
                Some(name) if name.ends_with(".rs") => found.push(path),
                Some(_) => {}
            }
        }
    }
    let mut found = Vec::new();
    ["crates", "tests", "bench", "fuzz"]
        .iter()
        .for_each(|folder| walk(&repository().join(folder), &mut found));
    found
}

/// The words of a text that look like a file of this repository.
fn files(text: &str) -> impl Iterator<Item = &str> {
    // `=` is part of a word, so that a file after a variable, which may not exist yet, is ignored.
    let inside = |c: char| c.is_ascii_alphanumeric() || matches!(c, '_' | '.' | '/' | '-' | '=');
    text.split(move |c| !inside(c)).map(|word| word.trim_end_matches('.')).filter(|word| {
        let file = word.ends_with(".rs") && word.len() > 3;
        // `NAME` is a placeholder.
        (file || FOLDERS.iter().any(|folder| word.starts_with(folder))) && !word.contains("NAME")
    })
}

/// Returns true if a document or source file at `from` can refer to an existing file by `name`.
fn is_there(name: &str, from: &Path, sources: &[PathBuf]) -> bool {
    // In a crate, names may also start at its root.
    let exact = from.ancestors().chain([repository().as_path()]).any(|folder| folder.join(name).exists());
    // A part of the path is enough, as in `positions/settled.rs`.
    exact || name.ends_with(".rs") && sources.iter().any(|path| path.ends_with(name))
}

#[test]
fn each_file_in_a_document_exists() {
    let sources = sources();
    for (path, text) in documents() {
        let from = repository().join(&path);
        for name in text.lines().flat_map(code).flat_map(files) {
            assert!(is_there(name, from.parent().unwrap(), &sources), "{path}: there is no {name}");
        }
    }
}

#[test]
fn each_file_in_a_comment_exists() {
    let sources = sources();
    for path in &sources {
        let text = std::fs::read_to_string(path).unwrap();
        for line in text.lines().filter(|line| line.trim_start().starts_with("//")) {
            for name in code(line).flat_map(files) {
                let there = is_there(name, path.parent().unwrap(), &sources);
                assert!(there, "{}: there is no {name}", path.display());
            }
        }
    }
}

/// The anchor of a heading on the web page.
fn anchor(heading: &str) -> String {
    let kept = |c: &char| c.is_alphanumeric() || matches!(c, ' ' | '-' | '_');
    heading.to_lowercase().chars().filter(kept).map(|c| if c == ' ' { '-' } else { c }).collect()
}

#[test]
fn each_link_has_a_target() {
    let mut count = 0;
    for (path, text) in documents() {
        let from = repository().join(&path);
        for target in text.split("](").skip(1).map(|rest| rest.split(')').next().unwrap()) {
            if target.contains("://") {
                continue;
            }
            let (file, heading) = target.split_once('#').unwrap_or((target, ""));
            let file = if file.is_empty() { from.clone() } else { from.parent().unwrap().join(file) };
            assert!(file.exists(), "{path}: {target}");
            if !heading.is_empty() {
                let text = std::fs::read_to_string(&file).unwrap();
                let headings = text.lines().filter(|line| line.starts_with('#'));
                let mut anchors = headings.map(|line| anchor(line.trim_start_matches('#').trim()));
                assert!(anchors.any(|anchor| anchor == heading), "{path}: {target}");
            }
            count += 1;
        }
    }
    assert!(count >= 30, "{count}");
}

#[test]
fn each_document_is_linked_from_the_readme() {
    let readme = read("README.md");
    for (path, _) in documents().iter().filter(|(path, _)| path.starts_with("docs/")) {
        assert!(readme.contains(&format!("]({path})")), "README.md does not lead to {path}");
    }
}

#[test]
fn each_collector_has_a_row_and_each_row_a_collector() {
    let text = read("docs/host-metrics.md");
    let rows = |kind: &str| -> BTreeSet<String> {
        let end = format!("` | {kind} | ");
        let names = text.lines().filter_map(|line| line.strip_prefix("| `")?.split_once(&end));
        names.map(|(name, _)| name.to_string()).collect()
    };
    let set = |names: &str| -> BTreeSet<String> {
        let set: collect::CollectorSet = names.parse().unwrap();
        set.to_string().split(',').map(String::from).collect()
    };
    assert_eq!(rows("yes"), set("default"));
    assert_eq!(rows("yes").union(&rows("no")).cloned().collect::<BTreeSet<_>>(), set("all"));
}

#[test]
fn each_dependency_is_documented() {
    let manifest = read("Cargo.toml");
    let section = manifest.split("[workspace.dependencies]\n").nth(1).unwrap().split("\n[").next().unwrap();
    let told = read("docs/dependencies.md");
    let lines = section.lines().filter(|line| !line.starts_with('#') && !line.contains("path ="));
    for name in lines.filter_map(|line| line.split_once(" = ")).map(|(name, _)| name) {
        assert!(told.contains(&format!("`{name}`")), "docs/dependencies.md has no {name}");
    }
}

#[test]
fn each_crate_of_the_architecture_names_an_existing_file() {
    let text = read("ARCHITECTURE.md");
    let table = text.split("\n## Crates\n").nth(1).unwrap().split("\n## ").next().unwrap();
    let rows: Vec<&str> = table.lines().filter(|line| line.starts_with("| `")).collect();
    for row in &rows {
        let cells: Vec<&str> = row.split('|').collect();
        let folder = repository().join(code(cells[1]).next().unwrap());
        for file in code(cells[3]) {
            let there = folder.join(file).exists() || folder.join("src").join(file).exists();
            assert!(there, "{row}");
        }
    }
    let told = |name: &str| rows.iter().any(|row| row.starts_with(&format!("| `crates/{name}`")));
    for entry in std::fs::read_dir(repository().join("crates")).unwrap() {
        let name = entry.unwrap().file_name().into_string().unwrap();
        assert!(told(&name), "ARCHITECTURE.md has no crate {name}");
    }
}
