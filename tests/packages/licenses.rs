//! The licences of narthex and of the code that is linked into it are in the packages.

use crate::{file, packages, root};
use std::collections::BTreeSet;
use std::path::{Path, PathBuf};
use std::process::Command;
use support::peers::repository;

/// The file with the licences of third-party code.
const OTHERS: &str = "THIRD-PARTY-LICENSES";

fn read(path: &str) -> String {
    std::fs::read_to_string(repository().join(path)).unwrap_or_else(|error| panic!("{path}: {error}"))
}

/// The third-party crates in the release build for this machine, as `NAME VERSION`.
fn crates_of_the_release() -> BTreeSet<String> {
    let cargo = std::env::var_os("CARGO").unwrap_or_else(|| "cargo".into());
    let arguments =
        ["tree", "--locked", "--offline", "--package", "narthex", "--edges", "normal", "--prefix"];
    let output = Command::new(cargo)
        .args(arguments)
        .args(["none", "--no-dedupe", "--format", "{p}"])
        .current_dir(repository())
        .output()
        .unwrap();
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    let lines = String::from_utf8(output.stdout).unwrap();
    // Crates of this repository are listed with their path.
    let others = lines.lines().filter(|line| !line.contains("(/"));
    others.map(|line| line.trim_end_matches(" (proc-macro)").replacen(" v", " ", 1)).collect()
}

/// The crates in the file of licences, as `NAME VERSION`.
fn crates_in_the_file() -> BTreeSet<String> {
    let text = read(OTHERS);
    let mut named = BTreeSet::new();
    for list in text.split("\nCrates:\n").skip(1) {
        named.extend(list.lines().map_while(|line| line.strip_prefix("    ")).map(String::from));
    }
    named
}

#[test]
fn each_crate_of_the_release_is_in_the_file_of_licences() {
    let (linked, named) = (crates_of_the_release(), crates_in_the_file());
    assert!(linked.len() > 100, "{linked:?}");
    let missing: Vec<&String> = linked.difference(&named).collect();
    assert!(missing.is_empty(), "{OTHERS} lacks {missing:?}: run scripts/licenses");
}

#[test]
fn the_file_of_licences_names_only_crates_of_the_lock_file() {
    let lock = read("Cargo.lock");
    for one in crates_in_the_file() {
        let (name, version) = one.split_once(' ').unwrap();
        let entry = format!("name = \"{name}\"\nversion = \"{version}\"\n");
        assert!(lock.contains(&entry), "Cargo.lock has no {one} any more: run scripts/licenses");
    }
}

#[test]
fn the_file_of_licences_has_the_libraries_outside_of_crates() {
    let text = read(OTHERS);
    for part in ["The Rust standard library", "GNU LESSER GENERAL PUBLIC LICENSE", "Upstream-Name: musl"] {
        assert!(text.contains(part), "{part}");
    }
}

#[test]
fn licences_are_beside_the_static_program_and_in_the_container() {
    for name in ["LICENSE", OTHERS] {
        assert!(std::fs::read_to_string(packages().join(name)).unwrap() == read(name), "{name} differs");
    }
    let text = read("packaging/container/Containerfile");
    let copied: Vec<&str> = text
        .lines()
        .filter(|line| line.starts_with("COPY ") && !line.contains("--from"))
        .flat_map(|line| line.split_whitespace().skip(1))
        .filter(|word| !word.starts_with(['-', '/']))
        .collect();
    assert!(copied.contains(&"LICENSE") && copied.contains(&OTHERS), "{copied:?}");
    for name in copied {
        let name = name.replace("${VERSION}", env!("CARGO_PKG_VERSION"));
        let name = name.replace("${ARCH}", std::env::consts::ARCH);
        assert!(packages().join(&name).exists(), "scripts/package wrote no {name}");
    }
}

/// All documents below a folder.
fn documents(folder: &Path) -> Vec<PathBuf> {
    let mut found = Vec::new();
    for entry in std::fs::read_dir(folder).unwrap() {
        let path = entry.unwrap().path();
        if path.is_dir() {
            found.extend(documents(&path));
        } else if path.extension().is_some_and(|ending| ending == "md") {
            found.push(path);
        }
    }
    found
}

#[test]
fn documents_of_the_package_link_to_files_that_it_has() {
    let deb = file(packages(), "narthex_", ".deb");
    let folder = tempfile::tempdir().unwrap();
    let inside = folder.path().to_str().unwrap();
    root::run("dpkg-deb", &["--extract", deb.to_str().unwrap(), inside]);
    let doc = folder.path().join("usr/share/doc/narthex");
    for name in ["LICENSE", OTHERS] {
        assert!(std::fs::read_to_string(doc.join(name)).unwrap() == read(name), "{name} differs");
    }
    let mut links = 0;
    for document in documents(&doc) {
        let text = std::fs::read_to_string(&document).unwrap();
        for target in text.split("](").skip(1).filter_map(|rest| rest.split([')', '#']).next()) {
            let is_file = !target.is_empty() && !target.contains("://") && !target.starts_with("mailto:");
            if is_file {
                let path = document.parent().unwrap().join(target);
                assert!(path.exists(), "{} links to {target}", document.display());
                links += 1;
            }
        }
    }
    assert!(links > 20, "{links}");
}
