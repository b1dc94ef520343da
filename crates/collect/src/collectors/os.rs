//! `os`: the distribution, from `os-release`.

use super::{Context, Outcome};
use crate::error::CollectError;
use crate::out::{Def, Out, gauge};

const INFO: Def = gauge(
    "node_os_info",
    "A metric with a constant '1' value labeled by build_id, id, id_like, image_id, image_version, \
     name, pretty_name, variant, variant_id, version, version_codename, version_id.",
);
const VERSION: Def = gauge("node_os_version", "Metric containing the major.minor part of the OS version.");
const SUPPORT_END: Def = gauge(
    "node_os_support_end_timestamp_seconds",
    "Metric containing the end-of-life date timestamp of the OS.",
);

/// Keys of the file in lower case, which are also the labels.
const LABELS: [&str; 12] = [
    "build_id",
    "id",
    "id_like",
    "image_id",
    "image_version",
    "name",
    "pretty_name",
    "variant",
    "variant_id",
    "version",
    "version_codename",
    "version_id",
];

pub(super) fn collect(context: &mut Context<'_>, out: &mut Out) -> Outcome {
    let mut read = context.source.read("etc/os-release").map(str::to_owned);
    if read.is_err() {
        read = context.source.read("usr/lib/os-release").map(str::to_owned);
    }
    let text =
        read.map_err(
            |error| {
                if error.is_missing() { CollectError::NoData("no os-release file") } else { error }
            },
        )?;
    let value = |key: &str| -> String {
        let line = text.lines().rev().find_map(|line| {
            let (name, value) = line.trim().split_once('=')?;
            name.eq_ignore_ascii_case(key).then_some(value)
        });
        line.map(unquote).unwrap_or_default()
    };
    let values: Vec<String> = LABELS.iter().map(|label| value(label)).collect();
    let labels: Vec<(&'static str, &str)> =
        LABELS.iter().copied().zip(values.iter().map(String::as_str)).collect();
    let slot = out.open(INFO);
    out.push(slot, &labels, 1.0);
    if let Some(version) = major_minor(&value("version_id")) {
        let slot = out.open(VERSION);
        let (id, id_like, name) = (value("id"), value("id_like"), value("name"));
        out.push(slot, &[("id", &id), ("id_like", &id_like), ("name", &name)], version);
    }
    if let Some(days) = days_since_1970(&value("support_end")) {
        out.single(SUPPORT_END, days as f64 * 86_400.0);
    }
    Ok(())
}

/// Unquotes a value like a shell: without quotes, and without the backslash before `"`, `$`, `` ` `` and `\`.
fn unquote(value: &str) -> String {
    let value = value.trim();
    if let Some(inside) = value.strip_prefix('\'').and_then(|value| value.strip_suffix('\'')) {
        return inside.to_owned();
    }
    let inside = value.strip_prefix('"').and_then(|value| value.strip_suffix('"')).unwrap_or(value);
    let mut unquoted = String::with_capacity(inside.len());
    let mut chars = inside.chars().peekable();
    while let Some(c) = chars.next() {
        match (c, chars.peek()) {
            ('\\', Some(&next)) if matches!(next, '"' | '$' | '`' | '\\') => {
                unquoted.push(next);
                chars.next();
            }
            _ => unquoted.push(c),
        }
    }
    unquoted
}

/// The first two numbers of a version: `24.04.1` is 24.04.
fn major_minor(version: &str) -> Option<f64> {
    let end = version.find(|c: char| !c.is_ascii_digit() && c != '.').unwrap_or(version.len());
    let mut parts = version.get(..end)?.split('.');
    let major = parts.next().filter(|part| !part.is_empty())?;
    match parts.next().filter(|part| !part.is_empty()) {
        Some(minor) => format!("{major}.{minor}").parse().ok(),
        None => major.parse().ok(),
    }
}

/// The days from 1970-01-01 to a date like `2027-05-14`.
fn days_since_1970(date: &str) -> Option<i64> {
    let mut parts = date.split('-').map(|part| part.parse::<i64>().ok());
    let (year, month, day) = (parts.next()??, parts.next()??, parts.next()??);
    if !(1970..10_000).contains(&year) || !(1..=12).contains(&month) || !(1..=31).contains(&day) {
        return None;
    }
    // If years begin in March, the leap day is the last day of a year and changes no other month.
    let (year, month) = if month > 2 { (year, month - 3) } else { (year - 1, month + 9) };
    let days = 365 * year + year / 4 - year / 100 + year / 400 + (153 * month + 2) / 5 + day - 1;
    Some(days - 719_468)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn values_are_unquoted_as_in_a_shell() {
        assert_eq!(unquote("debian"), "debian");
        assert_eq!(unquote(r#""Debian GNU/Linux 12 (bookworm)""#), "Debian GNU/Linux 12 (bookworm)");
        assert_eq!(unquote(r"'as $is'"), "as $is");
        assert_eq!(unquote(r#""a \"b\" \$c \n""#), r#"a "b" $c \n"#);
    }

    #[test]
    fn versions_keep_major_and_minor() {
        assert_eq!(major_minor("12"), Some(12.0));
        assert_eq!(major_minor("24.04"), Some(24.04));
        assert_eq!(major_minor("3.20.1"), Some(3.20));
        assert_eq!(major_minor("rolling"), None);
        assert_eq!(major_minor(""), None);
    }

    #[test]
    fn dates_are_days() {
        assert_eq!(days_since_1970("1970-01-01"), Some(0));
        assert_eq!(days_since_1970("2000-02-29"), Some(11_016));
        assert_eq!(days_since_1970("2027-05-14"), Some(20_952));
        for date in ["", "soon", "2027-13-01", "2027-05"] {
            assert_eq!(days_since_1970(date), None, "{date}");
        }
    }
}
