//! Checks the commands in the documents: narthex accepts its own commands, the tests and packages in cargo commands
//! exist, scripts exist, and promtool accepts the queries.

use crate::{code, documents, read};
use clap::error::ErrorKind;
use clap::{CommandFactory, Parser};
use narthex::cli::Cli;
use std::collections::BTreeSet;
use std::process::Command;
use support::peers::repository;

/// A command in a document, in words.
struct Said {
    /// The place, for the message of a failure.
    place: String,
    words: Vec<String>,
    /// It is in its own block, to be typed unchanged, and not in a sentence.
    block: bool,
}

/// Splits a line like a shell, as far as the documents need it: quotes, and the end at a pipe, a redirection or a
/// comment.
fn words(line: &str) -> Vec<String> {
    let mut words = Vec::new();
    let mut word: Option<String> = None;
    let mut quote = None;
    for c in line.chars() {
        match (quote, c) {
            (Some(open), c) if c == open => quote = None,
            (Some(_), c) => word.get_or_insert_default().push(c),
            (None, '\'' | '"') => {
                quote = Some(c);
                word.get_or_insert_default();
            }
            (None, '|' | '#' | '>') if word.is_none() => break,
            (None, c) if c.is_whitespace() => words.extend(word.take()),
            (None, c) => word.get_or_insert_default().push(c),
        }
    }
    words.extend(word);
    words
}

/// Every command of `programs` in indented blocks and between backticks.
fn commands(programs: &[&str]) -> Vec<Said> {
    let mut said = Vec::new();
    for (path, text) in documents() {
        for (number, line) in text.lines().enumerate() {
            let place = format!("{path}:{}: {}", number + 1, line.trim());
            let mut add = |text: &str, block: bool| {
                // Text after a wide gap at the end of a line explains the command.
                let text = text.trim().split("   ").next().unwrap();
                let words = words(text);
                let is_program = |word: &str| programs.contains(&word.rsplit('/').next().unwrap());
                // In front of a command may be the times of cron, variables, or `ExecStart=`. After the name of another
                // program or a flag it is an argument.
                let begin = words.iter().position(|word| is_program(word.trim_start_matches("ExecStart=")));
                let begin = begin.filter(|&begin| {
                    !words[..begin].iter().any(|word| word.starts_with('-') || word == "cargo")
                });
                // After a pipe it is another command.
                for part in text.split(" | ").skip(1).filter(|part| part.starts_with("narthex ")) {
                    said.push(Said { place: place.clone(), words: self::words(part), block });
                }
                let Some(begin) = begin else { return };
                let words = words[begin..].to_vec();
                said.push(Said { place: place.clone(), words, block });
            };
            if line.starts_with("    ") {
                add(line, true);
            } else {
                code(line).for_each(|span| add(span, false));
            }
        }
    }
    said
}

#[test]
fn narthex_accepts_each_documented_command() {
    let mut count = 0;
    for said in commands(&["narthex"]).iter().filter(|said| said.words.len() > 1) {
        let Err(error) = Cli::try_parse_from(&said.words) else {
            count += 1;
            continue;
        };
        // A command in a sentence may be incomplete, and may have `TIME` in place of a time.
        let wrong = matches!(error.kind(), ErrorKind::UnknownArgument | ErrorKind::InvalidSubcommand);
        let help = matches!(error.kind(), ErrorKind::DisplayHelp | ErrorKind::DisplayVersion);
        assert!(help || !(wrong || said.block), "{}\n{error}", said.place);
    }
    assert!(count >= 20, "{count}");
}

#[test]
fn each_flag_of_run_has_a_row_and_vice_versa() {
    let text = read("docs/configuration.md");
    let table = text.split("\n## Flags\n").nth(1).unwrap().split("\n## ").next().unwrap();
    let cells =
        table.lines().filter(|line| line.starts_with("| `")).map(|line| line.split('|').nth(1).unwrap());
    let told: BTreeSet<String> = cells
        .flat_map(code)
        .filter_map(|span| span.strip_prefix("--"))
        .map(|span| span.split(' ').next().unwrap().to_string())
        .collect();
    let mut command = Cli::command();
    command.build();
    let run = command.find_subcommand("run").unwrap();
    let flags: BTreeSet<String> =
        run.get_arguments().filter_map(|argument| argument.get_long()).map(String::from).collect();
    let flags: BTreeSet<String> = flags.into_iter().filter(|flag| flag != "help").collect();
    assert_eq!(told, flags);
}

#[test]
fn cargo_commands_name_existing_tests_and_packages() {
    let members: BTreeSet<String> = ["crates", "fuzz", "tests", "."]
        .iter()
        .flat_map(|folder| std::fs::read_dir(repository().join(folder)).unwrap())
        .filter_map(|entry| std::fs::read_to_string(entry.unwrap().path().join("Cargo.toml")).ok())
        .filter_map(|manifest| {
            let name = manifest.lines().find_map(|line| line.strip_prefix("name = "))?;
            Some(name.trim_matches('"').to_string())
        })
        .collect();
    let program = read("crates/narthex/Cargo.toml");
    let mut count = 0;
    for said in commands(&["cargo"]) {
        let words: Vec<&str> =
            said.words.iter().map(String::as_str).take_while(|word| *word != "--").collect();
        let mut package = None;
        for pair in words.windows(2) {
            match pair {
                ["-p", name] => {
                    assert!(members.contains(*name), "{}: no package {name}", said.place);
                    package = Some(*name);
                }
                ["--test", name] => {
                    let package = package.unwrap_or_else(|| panic!("{}: of which package?", said.place));
                    let there = match package {
                        "narthex" => program.contains(&format!("[[test]]\nname = \"{name}\"")),
                        other => repository().join(format!("crates/{other}/tests/{name}.rs")).exists(),
                    };
                    assert!(there, "{}: no test {name}", said.place);
                }
                _ => {}
            }
        }
        count += 1;
    }
    assert!(count >= 20, "{count}");
}

#[test]
fn promtool_accepts_each_documented_query() {
    let Some(peers) = support::peers() else { return };
    let mut rules = "groups:\n- name: told\n  rules:\n".to_string();
    let mut count = 0;
    for (_, text) in documents() {
        let sections = text.split("\n## Alerts\n").skip(1).map(|rest| rest.split("\n## ").next().unwrap());
        for query in sections.flat_map(str::lines).filter(|line| line.starts_with("| `")).flat_map(code) {
            // Code without these characters is a name.
            if query.contains([' ', '(', '{']) {
                rules +=
                    &format!("  - alert: A{count}\n    expr: {}\n", serde_json::to_string(query).unwrap());
                count += 1;
            }
        }
    }
    assert!(count >= 6, "{count}");
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("rules.yml");
    std::fs::write(&file, &rules).unwrap();
    let output = Command::new(&peers.promtool).args(["check", "rules"]).arg(&file).output().unwrap();
    let said = String::from_utf8_lossy(&output.stdout) + String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success(), "{said}\n{rules}");
}
