//! Checks that the document lists the routes of a running narthex.

use crate::read;
use support::Narthex;

#[test]
fn the_document_has_all_routes_of_the_answer_to_an_unknown_path() {
    let narthex = Narthex::start(env!("CARGO_BIN_EXE_narthex"), &["--to", "http://127.0.0.1:9"]);
    let answer = narthex.get("/nowhere");
    assert_eq!(answer.status, 404);
    let listed: Vec<String> = answer
        .text()
        .lines()
        .filter_map(|line| {
            let columns: Vec<&str> = line.strip_prefix("  ")?.split("  ").map(str::trim).collect();
            let columns: Vec<&str> = columns.into_iter().filter(|column| !column.is_empty()).collect();
            let [methods, path, what] = columns[..] else { panic!("{line:?}") };
            Some(format!("| `{methods}` | `{path}` | {what} |"))
        })
        .collect();
    assert!(listed.len() > 10, "{}", answer.text());
    let text = read("docs/http.md");
    let told: Vec<&str> = text.lines().filter(|line| line.starts_with("| `")).collect();
    assert_eq!(told, listed);
}
