//! Escapes names outside the legacy pattern (`[a-zA-Z_:][a-zA-Z0-9_:]*`) on a page to scrape, by Prometheus' escaping
//! schemes. A legacy name is the same in all of them. Prometheus before version 3 can't read a page with a quoted name,
//! so a page has quoted names only if the scraper accepts them. Pure.

use crate::escaped_names::escape_values;
use model::labels::{is_legacy_label_name, is_legacy_metric_name};
use std::borrow::Cow;
use std::collections::{HashMap, HashSet};

/// An escaping scheme.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum Escaping {
    /// `allow-utf-8`: names are unchanged, in quotes.
    AllowUtf8,
    /// `underscores`: each character outside the legacy pattern becomes `_`. The default, as in the Pushgateway.
    #[default]
    Underscores,
    /// `dots`: `.` becomes `_dot_`; `_` and each other character outside the pattern become `__`.
    Dots,
    /// `values`: `U__`, with each other character as its code point in hexadecimal.
    Values,
}

/// The kind of name. Only a metric name may have a colon.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum NameOf {
    Metric,
    Label,
}

impl NameOf {
    pub(crate) fn is_legacy(self, name: &str) -> bool {
        match self {
            NameOf::Metric => is_legacy_metric_name(name.as_bytes()),
            NameOf::Label => is_legacy_label_name(name.as_bytes()),
        }
    }

    fn allows(self, character: char, at: usize) -> bool {
        match character {
            ':' => self == NameOf::Metric,
            '0'..='9' => at > 0,
            other => other == '_' || other.is_ascii_alphabetic(),
        }
    }
}

impl Escaping {
    /// The scheme that an `Accept` header asks for. As in Prometheus' own libraries, the ranges are read in the order
    /// of their weight up to the first that accepts the text format, and the last `escaping` counts.
    pub fn from_accept(header: Option<&str>) -> Self {
        let mut ranges: Vec<(&str, f64)> = Vec::new();
        for range in header.unwrap_or_default().split(',') {
            let weight = parameter(range, "q").and_then(|weight| weight.parse().ok()).unwrap_or(1.0);
            ranges.push((range, weight));
        }
        ranges.sort_by(|(_, one), (_, other)| other.total_cmp(one));
        let mut scheme = Escaping::default();
        for (range, _) in ranges {
            match parameter(range, "escaping") {
                Some("allow-utf-8") => scheme = Escaping::AllowUtf8,
                Some("underscores") => scheme = Escaping::Underscores,
                Some("dots") => scheme = Escaping::Dots,
                Some("values") => scheme = Escaping::Values,
                _ => {}
            }
            let media = range.split(';').next().unwrap_or_default().trim();
            if media.eq_ignore_ascii_case("text/plain") {
                break;
            }
        }
        scheme
    }

    /// The `Content-Type` of a page in the text format with names in this scheme.
    pub fn content_type(self) -> &'static str {
        match self {
            Escaping::AllowUtf8 => "text/plain; version=1.0.0; charset=utf-8; escaping=allow-utf-8",
            _ => formats::text::CONTENT_TYPE,
        }
    }

    fn escape<'n>(self, name: &'n str, of: NameOf) -> Cow<'n, str> {
        // Prometheus' parser can't read a NUL in a name: one such name would break the scrape of all groups.
        if of.is_legacy(name) || self == Escaping::AllowUtf8 && !name.contains('\0') {
            return name.into();
        }
        let mut out = String::with_capacity(name.len());
        match self {
            Escaping::AllowUtf8 | Escaping::Values => return escape_values(name).into(),
            Escaping::Underscores => {
                for (at, character) in name.char_indices() {
                    out.push(if of.allows(character, at) { character } else { '_' });
                }
            }
            Escaping::Dots => {
                for (at, character) in name.char_indices() {
                    match character {
                        '.' => out.push_str("_dot_"),
                        '_' => out.push_str("__"),
                        plain if of.allows(plain, at) => out.push(plain),
                        _ => out.push_str("__"),
                    }
                }
            }
        }
        out.into()
    }

    /// The escaped forms of these names, for those that need one. If two names would become equal, the one that had to
    /// change is escaped by the scheme `values`, because a page with a label twice in one series can't be read.
    pub(crate) fn escape_all<'n>(
        self,
        names: impl Iterator<Item = &'n str> + Clone,
        of: NameOf,
    ) -> HashMap<&'n str, Cow<'n, str>> {
        let escaped = names.map(|name| (name, self.escape(name, of)));
        let mut changed = HashMap::new();
        if escaped.clone().all(|(name, escaped)| name == escaped) {
            return changed;
        }
        let unchanged = escaped.clone().filter(|(name, escaped)| name == escaped);
        let mut used: HashSet<Cow<'n, str>> = unchanged.map(|(_, escaped)| escaped).collect();
        for (name, mut escaped) in escaped.filter(|(name, escaped)| name != escaped) {
            if !used.insert(escaped.clone()) {
                escaped = escape_values(name).into();
            }
            changed.insert(name, escaped);
        }
        changed
    }
}

/// A parameter of a media range.
fn parameter<'r>(range: &'r str, name: &str) -> Option<&'r str> {
    let parameters = range.split(';').skip(1).filter_map(|parameter| parameter.split_once('='));
    let mut named = parameters.filter(|(key, _)| key.trim().eq_ignore_ascii_case(name));
    named.next().map(|(_, value)| value.trim().trim_matches('"'))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_scheme_follows_the_accept_header() {
        let prometheus_3 = "application/openmetrics-text;version=1.0.0;escaping=allow-utf-8;q=0.6,\
            application/openmetrics-text;version=0.0.1;q=0.5,text/plain;version=1.0.0;escaping=allow-utf-8;q=0.4,\
            text/plain;version=0.0.4;q=0.3,*/*;q=0.2";
        let prometheus_2 = "application/openmetrics-text;version=1.0.0,application/openmetrics-text;\
            version=0.0.1;q=0.75,text/plain;version=0.0.4;q=0.5,*/*;q=0.1";
        for (accept, scheme) in [
            (None, Escaping::Underscores),
            (Some(""), Escaping::Underscores),
            (Some("*/*"), Escaping::Underscores),
            (Some(prometheus_2), Escaping::Underscores),
            (Some(prometheus_3), Escaping::AllowUtf8),
            (Some("text/plain; version=1.0.0; escaping=\"allow-utf-8\""), Escaping::AllowUtf8),
            (Some("text/plain;escaping=dots"), Escaping::Dots),
            (Some("text/plain;escaping=values"), Escaping::Values),
            (Some("text/plain;escaping=rot13"), Escaping::Underscores),
            (Some("text/plain;escaping=dots;q=0.2, text/plain;q=0.9"), Escaping::Underscores),
        ] {
            assert_eq!(Escaping::from_accept(accept), scheme, "{accept:?}");
        }
    }

    #[test]
    fn names_are_escaped_by_the_schemes_of_prometheus() {
        use NameOf::{Label, Metric};
        for (name, of, [underscores, dots, values]) in [
            ("a_b", Label, ["a_b", "a_b", "a_b"]),
            ("a.b_c", Metric, ["a_b_c", "a_dot_b__c", "U__a_2e_b__c"]),
            ("1é", Metric, ["__", "____", "U___31__e9_"]),
            ("a:b", Metric, ["a:b", "a:b", "a:b"]),
            ("a:b", Label, ["a_b", "a__b", "U__a_3a_b"]),
            ("a\0", Label, ["a_", "a__", "U__a_0_"]),
        ] {
            assert_eq!(Escaping::Underscores.escape(name, of), underscores, "{name:?}");
            assert_eq!(Escaping::Dots.escape(name, of), dots, "{name:?}");
            assert_eq!(Escaping::Values.escape(name, of), values, "{name:?}");
        }
        assert_eq!(Escaping::AllowUtf8.escape("1é.\n", Label), "1é.\n");
        assert_eq!(Escaping::AllowUtf8.escape("a\0", Label), "U__a_0_");
    }

    #[test]
    fn different_names_stay_different() {
        let names = ["a.b", "a-b", "a_b", "c", "d.e", "d-e"];
        let escaped = Escaping::Underscores.escape_all(names.into_iter(), NameOf::Label);
        let escaped = names.map(|name| escaped.get(name).map_or(name, |escaped| escaped));
        assert_eq!(escaped, ["U__a_2e_b", "U__a_2d_b", "a_b", "c", "d_e", "U__d_2d_e"]);
    }
}
