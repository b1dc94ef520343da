//! Checks configuration files in the docs: each block of YAML is a valid file, each key is documented with its default,
//! and each key is in a block.

use crate::{documents, read};
use narthex::config::{Config, parse};
use remote::config::{MetadataConfig, QueueConfig, RemoteWrite};
use serde::de::DeserializeOwned;
use std::process::Command;

/// The contents of the blocks of this kind.
fn blocks_of(kind: &str, text: &str) -> Vec<String> {
    let fence = format!("\n```{kind}\n");
    let blocks = text.split(&fence).skip(1);
    blocks.map(|block| block.split("\n```").next().unwrap().to_string() + "\n").collect()
}

fn blocks(text: &str) -> Vec<String> {
    blocks_of("yaml", text)
}

/// A folder with the files that the blocks refer to.
fn folder() -> tempfile::TempDir {
    let folder = tempfile::tempdir().unwrap();
    std::fs::create_dir_all(folder.path().join("host/proc")).unwrap();
    std::fs::write(folder.path().join("host/proc/stat"), "").unwrap();
    let made = rcgen::generate_simple_self_signed(vec!["server.example".to_string()]).unwrap();
    for (names, content) in [
        (&["ca.pem", "client.pem", "server.pem", "clients-ca.pem"][..], made.cert.pem()),
        (&["client.key", "server.key"], made.signing_key.serialize_pem()),
        (&["mimir.password", "token", "shop.secret", "push-token"], "secret".to_string()),
    ] {
        names.iter().for_each(|name| std::fs::write(folder.path().join(name), &content).unwrap());
    }
    folder
}

fn file(text: &str) -> Config {
    // The docs shorten text that is not relevant for the reader.
    let text = text.replace("$2y$10$...", &bcrypt::hash("secret", 4).unwrap());
    let text = text.replace("/run/secrets/", "").replace("root: /host", "root: host");
    let lookup = |name: &str| (name == "SITE").then(|| "lyon".to_string());
    let (config, warnings) =
        parse("n.yml", folder().path(), &text, &lookup).unwrap_or_else(|error| panic!("{error}\n\n{text}"));
    assert_eq!(warnings, Vec::<String>::new(), "{text}");
    config
}

#[test]
fn each_block_of_yaml_is_a_valid_file() {
    let mut count = 0;
    for (_, text) in documents() {
        for block in blocks(&text) {
            file(&block);
            count += 1;
        }
    }
    assert!(count >= 7, "{count}");
}

#[test]
fn prometheus_accepts_the_blocks_for_its_own_file() {
    let Some(peers) = support::peers() else { return };
    let mut count = 0;
    for block in documents().iter().flat_map(|(_, text)| blocks_of("yaml prometheus.yml", text)) {
        let folder = tempfile::tempdir().unwrap();
        let file = folder.path().join("prometheus.yml");
        std::fs::write(&file, &block).unwrap();
        let output = Command::new(&peers.promtool).args(["check", "config"]).arg(&file).output().unwrap();
        assert!(output.status.success(), "{}\n{block}", String::from_utf8_lossy(&output.stderr));
        count += 1;
    }
    assert!(count > 0);
}

/// The keys that a section may have.
fn keys<T: DeserializeOwned>() -> Vec<String> {
    let Err(error) = serde_json::from_str::<T>("{\"\": 0}") else { panic!("it takes any key") };
    let error = error.to_string();
    let list = error.split("expected one of ").nth(1).unwrap().split(" at line").next().unwrap();
    list.split(", ").map(|key| key.trim_matches('`').to_string()).collect()
}

#[test]
fn each_key_of_a_destination_is_documented_and_used() {
    let document = read("docs/configuration.md");
    let shown = blocks(&document).concat() + &blocks(&read("docs/scale-out.md")).concat();
    let rows: String = document.lines().filter(|line| line.starts_with("| `")).collect();
    let own = keys::<RemoteWrite>();
    assert!(own.len() > 30 && own.iter().any(|key| key == "write_relabel_configs"), "{own:?}");
    let sections = ["queue_config", "metadata_config"];
    let absent = ["azuread", "google_iam"];
    let mut wanted: Vec<String> =
        own.iter().filter(|key| !sections.contains(&key.as_str())).cloned().collect();
    wanted.extend(keys::<QueueConfig>().iter().map(|key| format!("queue_config.{key}")));
    wanted.extend(keys::<MetadataConfig>().iter().map(|key| format!("metadata_config.{key}")));
    for key in wanted.iter().filter(|key| !absent.contains(&key.as_str())) {
        let last = key.rsplit('.').next().unwrap();
        let told = rows.contains(&format!("`{key}`")) || rows.contains(&format!("`, `{last}`"));
        assert!(told, "docs/configuration.md has no row for {key}");
        let line = |line: &str| line.trim_start_matches([' ', '-']).starts_with(&format!("{last}:"));
        assert!(shown.lines().any(line), "no block has {key}");
    }
}

#[test]
fn the_defaults_are_those_of_the_code() {
    let document = read("docs/configuration.md");
    let block = blocks(&document).into_iter().find(|block| block.contains("retry_on_http_429")).unwrap();
    let url = block.lines().find_map(|line| line.trim().strip_prefix("- url: ")).unwrap();
    let config = file(&block);
    let mut default = RemoteWrite::to(remote::Url::parse(url).unwrap());
    // An explicit deadline is the only difference from a missing one.
    default.queue_config.deadline_is_set = true;
    assert_eq!(config.destinations, [default]);
    // The table has the same defaults.
    let shown: Vec<(&str, &str)> = block.lines().filter_map(|line| line.trim().split_once(": ")).collect();
    for (key, value) in shown.into_iter().filter(|(key, _)| *key != "- url") {
        let value = if key == "sample_age_limit" { "0" } else { value };
        let row = document.lines().filter(|line| line.starts_with("| `")).find(|line| {
            let cell = line.split('|').nth(1).unwrap();
            cell.contains(&format!("`{key}`")) || cell.contains(&format!(".{key}`"))
        });
        let row = row.unwrap_or_else(|| panic!("no row for {key}"));
        let default = row.split('|').nth(2).unwrap();
        assert!(default.contains(&format!("`{value}`")), "{key} is {value}: {row}");
    }
}
