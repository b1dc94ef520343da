//! Hints for mistakes of form: a key at the wrong depth, a list without dashes, a line out of its column.

use super::file;
use serde::de::DeserializeOwned;

/// The sections whose keys are known here, by their types: so that nothing has to be listed twice.
fn sections() -> [(&'static str, Vec<String>); 10] {
    [
        ("remote_write", keys::<remote::config::RemoteWrite>()),
        ("queue_config", keys::<remote::config::QueueConfig>()),
        ("metadata_config", keys::<remote::config::MetadataConfig>()),
        ("global", vec!["external_labels".into()]),
        ("log", keys::<file::Log>()),
        ("send", keys::<file::Send>()),
        ("collect", keys::<file::Collect>()),
        ("collect.host", keys::<file::Host>()),
        ("receive", keys::<file::Receive>()),
        ("receive.pushgateway", keys::<file::Pushgateway>()),
    ]
}

/// The keys of a type, from what it says to one that it does not have.
fn keys<T: DeserializeOwned>() -> Vec<String> {
    use serde::de::Error;
    #[derive(Debug)]
    struct Expected(Vec<String>);
    impl std::fmt::Display for Expected {
        fn fmt(&self, _: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
            Ok(())
        }
    }
    impl std::error::Error for Expected {}
    impl Error for Expected {
        fn custom<D: std::fmt::Display>(_: D) -> Self {
            Expected(Vec::new())
        }
        fn unknown_field(_: &str, expected: &'static [&'static str]) -> Self {
            Expected(expected.iter().map(|key| (*key).to_string()).collect())
        }
    }
    let unknown = [("", "")].into_iter();
    let reader = serde::de::value::MapDeserializer::<_, Expected>::new(unknown);
    T::deserialize(reader).err().map(|Expected(keys)| keys).unwrap_or_default()
}

/// Where an unknown key would be known.
pub(super) fn other_section(key: &str) -> Option<String> {
    let found: Vec<&str> = sections()
        .iter()
        .filter(|(_, keys)| keys.iter().any(|known| known == key))
        .map(|(name, _)| *name)
        .collect();
    match found.as_slice() {
        [] => None,
        some => Some(format!("{key:?} is a key of `{}`: is it at the right depth?", some.join("` and of `"))),
    }
}

/// For a value that should be a list and is a mapping.
pub(super) fn missing_dash(text: &str, line: usize) -> Option<String> {
    let first = text.lines().nth(line.checked_sub(1)?)?.trim();
    let is_key = first.contains(": ") || first.ends_with(':');
    let is_mapping = is_key && !first.starts_with(['-', '[', '{']);
    is_mapping.then(|| {
        format!(
            "put a dash before the first key of each entry: `- {}`",
            super::error::without_password(first)
        )
    })
}

/// For a line that begins in a column in which no line of its section does.
pub(super) fn wrong_column(text: &str, line: usize) -> Option<String> {
    let mut open: Vec<usize> = Vec::new();
    let mut may_open = true;
    for (number, content) in text.lines().enumerate().take(line) {
        let trimmed = content.trim_start_matches(' ');
        if trimmed.trim().is_empty() || trimmed.starts_with('#') {
            continue;
        }
        let mut column = content.len() - trimmed.len();
        let deeper = open.last().is_none_or(|last| column > *last);
        while open.last().is_some_and(|last| *last > column) {
            open.pop();
        }
        let is_known = open.last() == Some(&column);
        if number + 1 == line && !is_known && !(deeper && may_open) {
            let columns: Vec<String> = open.iter().map(|column| (column + 1).to_string()).collect();
            let columns = if columns.is_empty() { "1".to_string() } else { columns.join(" or ") };
            return Some(format!(
                "check the indentation: this line begins in column {}, the lines around it in column {columns}",
                column + 1
            ));
        }
        if !is_known {
            open.push(column);
        }
        let mut rest = trimmed;
        while let Some(after) = rest.strip_prefix("- ") {
            let inner = after.trim_start_matches(' ');
            column += rest.len() - inner.len();
            open.push(column);
            rest = inner;
        }
        may_open = rest.trim_end().ends_with([':', '-', '|', '>', '{', '[', ',']);
    }
    None
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_keys_of_all_sections_are_known() {
        for (name, keys) in sections() {
            assert!(!keys.is_empty(), "{name}");
        }
        assert!(other_section("max_shards").is_some_and(|hint| hint.contains("`queue_config`")));
        assert_eq!(other_section("nonsense"), None);
    }

    #[test]
    fn a_line_out_of_its_column_is_found() {
        let text = "a:\n  - b: 1\n   c: 2\nd:\n    e: 1\n  f: 2\n";
        assert!(
            wrong_column(text, 3).is_some_and(|hint| hint.contains("column 4")),
            "{:?}",
            wrong_column(text, 3)
        );
        assert!(wrong_column(text, 6).is_some());
        for line in [1, 2, 4, 5] {
            assert_eq!(wrong_column(text, line), None, "{line}");
        }
        assert!(wrong_column("a: 1\n  b: 2\n", 2).is_some());
    }
}
