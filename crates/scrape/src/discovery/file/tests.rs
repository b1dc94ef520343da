#![allow(clippy::unwrap_used, reason = "a panic is how a test reports")]
use super::*;
use std::fs::{create_dir, remove_dir, remove_file, rename, write};
use std::os::unix::fs::symlink;

struct World {
    folder: tempfile::TempDir,
    patterns: Vec<PathBuf>,
    files: Files,
}

impl World {
    fn new(patterns: &[&str]) -> World {
        let folder = tempfile::tempdir().unwrap();
        let patterns = patterns.iter().map(|name| folder.path().join(name)).collect();
        World { folder, patterns, files: Files::default() }
    }

    fn at(&self, name: &str) -> PathBuf {
        self.folder.path().join(name)
    }

    fn write(&self, name: &str, text: &str) {
        write(self.at(name), text).unwrap();
    }

    /// What has changed: each file with its first target, `gone`, or why it can't be used.
    fn changes(&mut self, all: bool) -> Vec<(String, String)> {
        let changes = self.files.look(&self.patterns, all);
        let show = |(path, change): Change| {
            let name = path.strip_prefix(self.folder.path()).unwrap().display().to_string();
            let target = match change {
                Ok(groups) => groups.first().map_or("gone".into(), |group| group.targets.concat()),
                Err(why) => format!("error: {why}"),
            };
            (name, target)
        };
        changes.into_iter().map(show).collect()
    }

    #[track_caller]
    fn expect(&mut self, wanted: &[(&str, &str)]) {
        let found = self.changes(false);
        let as_wanted = found.len() == wanted.len()
            && found
                .iter()
                .zip(wanted)
                .all(|(found, wanted)| found.0 == wanted.0 && found.1.starts_with(wanted.1));
        assert!(as_wanted, "{found:?} is not {wanted:?}");
    }
}

fn json(target: &str) -> String {
    format!(r#"[{{"targets": ["{target}"], "labels": {{"x": "1"}}}}]"#)
}

#[test]
fn files_are_read_only_when_they_have_changed() {
    let mut world = World::new(&["*.json", "one.yml"]);
    world.expect(&[]);
    world.write("a.json", &json("a:1"));
    world.write("one.yml", "- targets: ['b:1']\n");
    world.write("other.yml", "not read");
    world.expect(&[("a.json", "a:1"), ("one.yml", "b:1")]);
    world.expect(&[]);
    assert_eq!(world.changes(true).len(), 2);
    world.expect(&[]);
}

#[test]
fn files_are_read_after_a_rename_and_after_a_write_in_place() {
    let mut world = World::new(&["*.json", "one.yml"]);
    world.write("a.json", &json("a:1"));
    world.write("one.yml", "- targets: ['b:1']\n");
    world.expect(&[("a.json", "a:1"), ("one.yml", "b:1")]);
    // The new file has the size and the time of the old one.
    world.write("new", &json("a:2"));
    let time = std::fs::metadata(world.at("a.json")).unwrap().modified().unwrap();
    File::options().write(true).open(world.at("new")).unwrap().set_modified(time).unwrap();
    rename(world.at("new"), world.at("a.json")).unwrap();
    world.write("one.yml", "- targets: ['b:22']\n");
    world.expect(&[("a.json", "a:2"), ("one.yml", "b:22")]);
    // A link to another file.
    world.write("1.data", &json("c:1"));
    world.write("2.data", &json("c:2"));
    symlink("1.data", world.at("link.json")).unwrap();
    world.expect(&[("link.json", "c:1")]);
    symlink("2.data", world.at("new")).unwrap();
    rename(world.at("new"), world.at("link.json")).unwrap();
    world.expect(&[("link.json", "c:2")]);
}

#[test]
fn invalid_content_is_reported_once_and_changes_no_targets() {
    let mut world = World::new(&["*.json", "*.yml"]);
    world.write("a.json", &json("a:1"));
    world.write("b.yml", "- targets: ['b:1']\n");
    world.expect(&[("a.json", "a:1"), ("b.yml", "b:1")]);
    world.write("a.json", "[{");
    write(world.at("b.yml"), [0xff, 0xfe]).unwrap();
    world.expect(&[("a.json", "error: "), ("b.yml", "error: ")]);
    // So is a file that is being written in place.
    world.write("b.yml", "");
    world.expect(&[("b.yml", "error: ")]);
    world.expect(&[]);
    // Too large, by one byte.
    let file = File::create(world.at("a.json")).unwrap();
    file.set_len(GROUPS_BYTES_MAX + 1).unwrap();
    let found = world.changes(false);
    assert_eq!(found.len(), 1);
    assert!(found.iter().all(|(_, why)| why.ends_with("a.json: larger than the limit of 16777216 bytes")));
    world.write("a.json", &json("a:3"));
    world.expect(&[("a.json", "a:3")]);
}

#[test]
fn targets_go_with_their_file() {
    let mut world = World::new(&["*.json", "one.yml"]);
    world.write("a.json", &json("a:1"));
    world.write("one.yml", "- targets: ['b:1']\n");
    world.expect(&[("a.json", "a:1"), ("one.yml", "b:1")]);
    remove_file(world.at("one.yml")).unwrap();
    world.expect(&[("one.yml", "gone")]);
    remove_file(world.at("a.json")).unwrap();
    world.expect(&[("a.json", "gone")]);
    world.expect(&[]);
    world.write("a.json", &json("a:1"));
    world.expect(&[("a.json", "a:1")]);
}

#[test]
fn a_file_that_can_not_be_looked_at_keeps_its_targets() {
    let mut world = World::new(&["link.json"]);
    world.write("a", &json("a:1"));
    symlink("a", world.at("link.json")).unwrap();
    world.expect(&[("link.json", "a:1")]);
    // A link to itself can't be followed.
    symlink("link.json", world.at("new")).unwrap();
    rename(world.at("new"), world.at("link.json")).unwrap();
    world.expect(&[("link.json", "error: ")]);
    world.expect(&[]);
    // It has changed although nothing was seen of it.
    symlink("a", world.at("new")).unwrap();
    rename(world.at("new"), world.at("link.json")).unwrap();
    world.expect(&[("link.json", "a:1")]);
    remove_file(world.at("link.json")).unwrap();
    create_dir(world.at("link.json")).unwrap();
    world.expect(&[("link.json", "error: ")]);
    remove_dir(world.at("link.json")).unwrap();
    world.expect(&[("link.json", "gone")]);
}

#[test]
fn too_many_files_keep_the_targets_of_those_that_are_known() {
    let mut world = World::new(&["*.json"]);
    world.write("0.json", &json("a:1"));
    world.expect(&[("0.json", "a:1")]);
    for number in 1..=FILES_MAX {
        world.write(&format!("{number}.json"), "");
    }
    world.expect(&[("*.json", "error: ")]);
    world.expect(&[]);
    world.write("0.json", &json("a:22"));
    world.expect(&[("0.json", "a:22")]);
}

#[test]
fn groups_are_labelled_with_the_path_of_their_file() {
    let mut world = World::new(&["a.json"]);
    world.write("a.json", &json("a:1"));
    let changes = world.files.look(&world.patterns, false);
    let labels = changes.first().unwrap().1.as_ref().unwrap().first().unwrap().labels.clone();
    let path = world.at("a.json").display().to_string();
    assert_eq!(labels, [("__meta_filepath".into(), path), ("x".into(), "1".into())].into());
}
