//! Hints for mistakes of form: a key at the wrong depth, a list without dashes, a line with the wrong
//! indentation.

use super::read::Place;
use super::{file, inputs};
use http_client::url::without_password;
use serde::de::DeserializeOwned;

/// The sections and their keys. The keys come from the types, so that they are not listed a second time.
fn sections() -> Vec<(&'static str, Vec<String>)> {
    vec![
        ("remote_write", keys::<remote::config::RemoteWrite>()),
        ("queue_config", keys::<remote::config::QueueConfig>()),
        ("metadata_config", keys::<remote::config::MetadataConfig>()),
        ("write_relabel_configs", keys::<relabel::Rule>()),
        ("basic_auth", keys::<http_client::auth::BasicAuth>()),
        ("authorization", keys::<http_client::auth::Authorization>()),
        ("tls_config", keys::<http_client::tls::TlsConfig>()),
        ("oauth2", keys::<http_client::auth::oauth2::OAuth2>()),
        ("sigv4", keys::<http_client::auth::sigv4::SigV4>()),
        ("azuread", keys::<http_client::auth::azuread::AzureAd>()),
        ("azuread.managed_identity", keys::<http_client::auth::azuread::ManagedIdentity>()),
        ("azuread.oauth", keys::<http_client::auth::azuread::OAuth>()),
        ("azuread.workload_identity", keys::<http_client::auth::azuread::WorkloadIdentity>()),
        ("google_iam", keys::<http_client::auth::google_iam::GoogleIam>()),
        ("scrape_configs", keys_of_jobs()),
        ("global", vec!["external_labels".into()]),
        ("log", keys::<file::Log>()),
        ("send", keys::<file::Send>()),
        ("collect", keys::<inputs::Collect>()),
        ("collect.host", keys::<inputs::Host>()),
        ("inputs", keys::<inputs::Input>()),
        ("graphite", keys::<inputs::Listener>()),
        ("statsd", keys::<inputs::Statsd>()),
        ("influx", keys::<inputs::Influx>()),
        ("otlp", keys::<inputs::Otlp>()),
        ("receive", keys::<file::Receive>()),
        ("receive.remote_write", keys::<inputs::Input>()),
        ("receive.import", keys::<inputs::Input>()),
        ("receive.pushgateway", keys::<inputs::Pushgateway>()),
    ]
}

/// The keys of a job that a destination does not have.
fn keys_of_jobs() -> Vec<String> {
    let others = keys::<remote::config::RemoteWrite>();
    keys::<scrape::config::ScrapeConfig>().into_iter().filter(|key| !others.contains(key)).collect()
}

/// The keys of a type, taken from its error about a key that it does not have.
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

/// The section in which an unknown key at `path` is valid.
pub(super) fn other_section(key: &str, path: &str) -> Option<String> {
    let is_of_inputs = keys::<inputs::Input>().iter().any(|known| known == key);
    if is_of_inputs && path.strip_suffix(key) == Some("receive.") {
        return Some(format!(
            "{key:?} is a key of `inputs`, for all inputs, and of each single one, such as `receive.import`: write it \
             there"
        ));
    }
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

/// The hint for an unknown key that begins with a dash: to YAML, `-url` is one word.
pub(super) fn dash_in_key(key: &str, path: &str) -> Option<String> {
    let bare = key.strip_prefix('-').filter(|rest| rest.starts_with(char::is_alphabetic))?;
    let hint = format!("put a space after the dash: `- {bare}: ...`");
    let sections: Vec<&str> = sections()
        .iter()
        .filter(|(_, keys)| keys.iter().any(|known| known == bare))
        .map(|(name, _)| *name)
        .collect();
    let is_elsewhere = path == key && !sections.is_empty();
    Some(if is_elsewhere { format!("{hint}, below `{}:`", sections.join(":` or `")) } else { hint })
}

/// The hint for a value of `key` that should be a list, at a line and column. `is_secret` values are not
/// shown.
pub(super) fn missing_list(text: &str, place: Place, key: &str, is_secret: bool) -> Option<String> {
    let first = from_place(text, place)?;
    let url = if key == "remote_write" { bare_url(text, place) } else { None };
    if let Some(hint) = url.or_else(|| dash_without_space(first)) {
        return Some(hint);
    }
    if let Some(value) = single_value(first) {
        let value = if is_secret { "...".into() } else { without_password(value) };
        let key = key.rsplit('.').next().unwrap_or_default();
        return Some(format!("write a list, also of one value: `{key}: [{value}]`"));
    }
    if first.starts_with('{') {
        // The text within the brackets may be secret.
        let key = key.rsplit('.').next().unwrap_or_default();
        return Some(format!(
            "write a list, also of one entry: `{key}: [{{...}}]`, or each entry behind a dash"
        ));
    }
    let is_key = first.contains(": ") || first.ends_with(':');
    let is_mapping = is_key && !first.starts_with(['-', '[', '{']);
    is_mapping
        .then(|| format!("put a dash before the first key of each entry: `- {}`", without_password(first)))
}

/// The single value at the start of `text`, in quotes or plain; `None` if it is a key with a value.
fn single_value(text: &str) -> Option<&str> {
    let first = text.chars().next()?;
    if matches!(first, '"' | '\'') {
        let end = text.get(1..)?.find(first)?;
        return text.get(..end + 2);
    }
    if matches!(first, '[' | '{' | '&' | '*' | '|' | '>' | '-' | '#') {
        return None;
    }
    let text = text.split(" #").next()?.trim_end();
    // Within brackets, the text after a comma belongs to the next key.
    let is_within_brackets = text.matches('}').count() > text.matches('{').count();
    let value = if is_within_brackets { text.split([',', '}']).next()?.trim_end() } else { text };
    let is_key = value.contains(": ") || value.ends_with(':');
    (!is_key).then_some(value)
}

/// The hint for a list at a place where the file should begin with keys.
pub(super) fn list_without_key(text: &str, place: Place, path: &str) -> Option<String> {
    let is_list = path.is_empty() && from_place(text, place)?.starts_with("- ");
    is_list.then(|| "write the key of the list above it, such as `remote_write:`".to_string())
}

/// The hint for a URL in place of an entry of `remote_write`.
pub(super) fn bare_url(text: &str, place: Place) -> Option<String> {
    let first = from_place(text, place)?;
    let is_url = first.starts_with("http://") || first.starts_with("https://");
    is_url.then(|| format!("write each URL as an entry of the list: `- url: {}`", without_password(first)))
}

/// The hint for a line that begins with a dash and a key, such as `-url: x`: to YAML, the dash is part of the
/// key.
fn dash_without_space(line: &str) -> Option<String> {
    let key =
        line.strip_prefix('-').filter(|rest| rest.starts_with(char::is_alphabetic) && rest.contains(':'))?;
    Some(format!("put a space after the dash: `- {}`", without_password(key)))
}

/// The hint for a value that is wrong because the lines below it have more indentation than its key: YAML
/// reads them as part of the value.
pub(super) fn continued_value(text: &str, (line, _): Place) -> Option<String> {
    let mut lines = text.lines().enumerate().skip(line.checked_sub(1)?);
    let (_, first) = lines.next()?;
    let column = content(first);
    let value = first.get(column..)?.split_once(": ")?.1.trim();
    let (number, next) = lines.find(|(_, line)| !line.trim().is_empty())?;
    let is_plain = !value.is_empty() && !value.starts_with(['"', '\'', '|', '>', '[', '{', '#', '&', '*']);
    let continues = is_plain && indent(next) > column && !next.trim_start().starts_with('#');
    continues.then(|| {
        format!(
            "line {} is indented more than this key, so it is read as part of the value; the next key belongs in \
             column {}",
            number + 1,
            column + 1
        )
    })
}

/// The text from a line and column to the end of that line.
fn from_place(text: &str, (line, column): Place) -> Option<&str> {
    let line = text.lines().nth(line.checked_sub(1)?)?;
    let start = line.char_indices().nth(column.checked_sub(1)?).map(|(at, _)| at)?;
    line.get(start..).map(str::trim_end)
}

fn indent(line: &str) -> usize {
    line.len() - line.trim_start_matches(' ').len()
}

/// The column at which the content of a line begins, after any dashes.
fn content(line: &str) -> usize {
    let mut rest = line.trim_start_matches(' ');
    while let Some(after) = rest.strip_prefix("- ") {
        rest = after.trim_start_matches(' ');
    }
    line.len() - rest.len()
}

/// The hint for text that is not YAML at a line.
pub(super) fn broken_line(text: &str, line: usize) -> Option<String> {
    let lines: Vec<&str> = text.lines().take(line).map(str::trim).filter(|line| !line.is_empty()).collect();
    // The mistake may be in the line above.
    let dash = lines.iter().rev().take(2).find_map(|line| dash_without_space(line));
    dash.or_else(|| tab(text, line))
        .or_else(|| column_of_dash(text, line))
        .or_else(|| wrong_column(text, line))
}

/// The hint for a line that is indented with a tab. The reader may stop in the line before it.
fn tab(text: &str, line: usize) -> Option<String> {
    let near = text.lines().enumerate().skip(line.checked_sub(1)?).take(2);
    let has_tab = |line: &str| {
        let key = line.trim_start();
        !key.is_empty() && line.strip_suffix(key).is_some_and(|before| before.contains('\t'))
    };
    let (number, _) = near.into_iter().find(|(_, line)| has_tab(line))?;
    Some(format!("line {} is indented with a tab: YAML allows only spaces there", number + 1))
}

/// The hint for a key with the indentation of the dashes of the list above it.
fn column_of_dash(text: &str, line: usize) -> Option<String> {
    let lines: Vec<&str> = text.lines().take(line).collect();
    let (key, above) = lines.split_last()?;
    let column = indent(key);
    if key.trim().is_empty() || key.trim_start().starts_with('-') {
        return None;
    }
    let is_content = |line: &&&str| !line.trim().is_empty() && !line.trim_start().starts_with('#');
    let entry = above.iter().rev().filter(is_content).find(|line| indent(line) <= column)?;
    let is_entry = indent(entry) == column && entry.trim_start().starts_with("- ");
    is_entry.then(|| {
        format!(
            "this key begins in the column of the dash above it; a key of the same entry begins in column {}",
            content(entry) + 1
        )
    })
}

/// The hint for a line whose indentation no other line of its section has.
fn wrong_column(text: &str, line: usize) -> Option<String> {
    let mut open: Vec<usize> = Vec::new();
    let mut may_open = true;
    for (number, content) in text.lines().enumerate().take(line) {
        let trimmed = content.trim_start_matches(' ');
        if trimmed.trim().is_empty() || trimmed.starts_with('#') {
            continue;
        }
        let mut column = content.len() - trimmed.len();
        let deeper = open.last().is_none_or(|last| column > *last);
        let key_column = open.last().map_or(1, |last| last + 1);
        while open.last().is_some_and(|last| *last > column) {
            open.pop();
        }
        let is_known = open.last() == Some(&column);
        if number + 1 == line && !is_known && !(deeper && may_open) {
            if deeper {
                return Some(format!(
                    "check the indentation: this line begins in column {} and so continues the value above it; the \
                     next key belongs in column {key_column}",
                    column + 1
                ));
            }
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
        let hint = other_section("max_shards", "remote_write[0].max_shards");
        assert!(hint.is_some_and(|hint| hint.contains("`queue_config`")));
        assert_eq!(other_section("nonsense", "nonsense"), None);
        for (key, section) in [
            ("username", "`basic_auth`"),
            ("credentials", "`authorization`"),
            ("ca_file", "`tls_config`"),
            ("action", "`write_relabel_configs`"),
            ("token_url", "`oauth2`"),
            ("role_arn", "`sigv4`"),
        ] {
            let hint = other_section(key, &format!("remote_write[0].{key}")).unwrap_or_default();
            assert!(hint.contains(section), "{key}: {hint}");
        }
    }

    #[test]
    fn a_line_with_wrong_indentation_is_found() {
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
        let deeper = wrong_column("a:\n  - b: 1\n      c: 2\n", 3).unwrap();
        assert!(deeper.ends_with("the next key belongs in column 5"), "{deeper}");
    }

    #[test]
    fn lines_that_continue_a_value_are_found() {
        let hint = continued_value("a:\n  - b: x\n\n      c\nd: 1\n", (2, 8));
        assert!(hint.is_some_and(|hint| hint.starts_with("line 4 is") && hint.ends_with("column 5")));
        for text in ["a: x\nb: y\n", "a: |\n  x\n", "a:\n  b: x\n", "a: x\n  # y\n", "a: x\n"] {
            assert_eq!(continued_value(text, (1, 4)), None, "{text}");
        }
    }
}
