//! The commands in the documents: narthex understands each of its own, cargo's name tests and packages that are
//! there, scripts exist, promtool understands the queries.

use crate::{code, documents, read};
use clap::error::ErrorKind;
use clap::{CommandFactory, Parser};
use narthex::cli::Cli;
use std::collections::BTreeSet;
use std::process::Command;
use support::peers::repository;

/// A command in a document, in words.
struct Said {
    /// Where, for whoever reads a failure.
    place: String,
    words: Vec<String>,
    /// Whether it stands in a block of its own, to be typed as it is, rather than in a sentence.
    block: bool,
}

/// Splits as a shell does, as far as the documents need it: quotes, and the end at a pipe, a redirection or a
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

/// Every command of `programs`: in blocks that are indented, and between backticks.
fn commands(programs: &[&str]) -> Vec<Said> {
    let mut said = Vec::new();
    for (path, text) in documents() {
        for (number, line) in text.lines().enumerate() {
            let place = format!("{path}:{}: {}", number + 1, line.trim());
            let mut add = |text: &str, block: bool| {
                // What stands apart at the end of a line explains it.
                let text = text.trim().split("   ").next().unwrap();
                let words = words(text);
                let is_program = |word: &str| programs.contains(&word.rsplit('/').next().unwrap());
                // In front of it may be times of cron, variables, `ExecStart=`; behind another program's name or
                // a flag it is an argument.
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
fn narthex_understands_each_of_its_commands() {
    let mut count = 0;
    for said in commands(&["narthex"]).iter().filter(|said| said.words.len() > 1) {
        let Err(error) = Cli::try_parse_from(&said.words) else {
            count += 1;
            continue;
        };
        // In a sentence a command may be named without all it needs, and with `TIME` for a time.
        let wrong = matches!(error.kind(), ErrorKind::UnknownArgument | ErrorKind::InvalidSubcommand);
        let help = matches!(error.kind(), ErrorKind::DisplayHelp | ErrorKind::DisplayVersion);
        assert!(help || !(wrong || said.block), "{}\n{error}", said.place);
    }
    assert!(count >= 20, "{count}");
}

#[test]
fn each_flag_of_run_has_a_row_and_each_row_a_flag() {
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
fn cargo_finds_what_it_is_told_to_run() {
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
fn promtool_understands_each_query_of_an_alert() {
    let Some(peers) = support::peers() else { return };
    let mut rules = "groups:\n- name: told\n  rules:\n".to_string();
    let mut count = 0;
    for (_, text) in documents() {
        let sections = text.split("\n## Alerts\n").skip(1).map(|rest| rest.split("\n## ").next().unwrap());
        for query in sections.flat_map(str::lines).filter(|line| line.starts_with("| `")).flat_map(code) {
            // What isn't one is a name.
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
