//! Names of metrics. Prometheus' rules (`otlptranslator`, `metric_namer.go`).

use crate::settings::Strategy;
use crate::unit;

/// What a metric is, as far as its name depends on it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum NameKind {
    /// A sum that only grows.
    Counter,
    Gauge,
    Other,
}

/// Why a metric has no name in Prometheus.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("nothing is left of the metric name")]
pub(crate) struct NoName;

/// The name of a metric in Prometheus.
pub(crate) fn metric_name(
    name: &str,
    unit: &str,
    kind: NameKind,
    strategy: Strategy,
) -> Result<String, NoName> {
    let built = match (strategy.escapes(), strategy.adds_suffixes()) {
        (true, true) => with_suffixes(name, unit, kind),
        (true, false) => without_suffixes(name),
        (false, true) => unescaped_with_suffixes(name, unit, kind),
        (false, false) => name.to_string(),
    };
    let only_underscores = strategy.escapes() && built != name && built.bytes().all(|byte| byte == b'_');
    if built.is_empty() || only_underscores { Err(NoName) } else { Ok(built) }
}

fn is_valid(c: char) -> bool {
    c.is_ascii_alphanumeric() || c == ':'
}

fn with_suffixes(name: &str, unit: &str, kind: NameKind) -> String {
    let mut tokens: Vec<&str> = name.split(|c| !is_valid(c)).filter(|token| !token.is_empty()).collect();
    let (main, per) = unit::words(unit);
    let (main, per) = (unit::clean(&main), unit::clean(&per));
    let mut main = if tokens.contains(&main.as_str()) { "" } else { &main };
    let per = if per == "per_" { "" } else { per.strip_suffix('_').unwrap_or(&per) };
    let per = if tokens.contains(&per) { "" } else { per };
    if !per.is_empty() {
        main = main.strip_suffix('_').unwrap_or(main);
    }
    tokens.extend([main, per].into_iter().filter(|word| !word.is_empty()));
    let last = match kind {
        NameKind::Counter => Some("total"),
        NameKind::Gauge if unit == "1" => Some("ratio"),
        _ => None,
    };
    if let Some(last) = last {
        tokens.retain(|token| *token != last);
        tokens.push(last);
    }
    not_a_digit_first(tokens.join("_"))
}

fn without_suffixes(name: &str) -> String {
    let parts = name.split(|c| !is_valid(c) && c != '_').filter(|part| !part.is_empty());
    not_a_digit_first(parts.collect::<Vec<_>>().join("_"))
}

fn not_a_digit_first(name: String) -> String {
    if name.starts_with(|first: char| first.is_ascii_digit()) { format!("_{name}") } else { name }
}

/// Suffixes are appended in the order unit, `per_...`, `total`, `ratio`. Those that the name ends with are taken from its
/// end first.
fn unescaped_with_suffixes(name: &str, unit: &str, kind: NameKind) -> String {
    let (main, per) = unit::words(unit);
    let total = if kind == NameKind::Counter { "total" } else { "" };
    let ratio = if unit == "1" && kind == NameKind::Gauge { "ratio" } else { "" };
    let mut name = name;
    for suffix in [ratio, total, &per] {
        name = without_suffix(name, suffix);
    }
    let main = if name.ends_with(&main) { "" } else { &main };
    let mut name = name.to_string();
    for suffix in [main, &per, total, ratio].into_iter().filter(|suffix| !suffix.is_empty()) {
        name.push('_');
        name.push_str(suffix);
    }
    name
}

/// The name without a suffix and the character before it, if something is left then.
fn without_suffix<'n>(name: &'n str, suffix: &str) -> &'n str {
    let rest = name.strip_suffix(suffix).filter(|rest| rest.len() > 1 && !suffix.is_empty());
    let mut before = rest.unwrap_or_default().chars();
    match (rest, before.next_back()) {
        (Some(_), Some(_)) => before.as_str(),
        _ => name,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use NameKind::{Counter, Gauge, Other};
    use Strategy::{
        NoTranslation, NoUtf8EscapingWithSuffixes, UnderscoreEscapingWithSuffixes,
        UnderscoreEscapingWithoutSuffixes,
    };

    /// Facts from the tests of `prometheus/otlptranslator` 1.0.0 (`metric_namer_test.go`), checked against it by
    /// `tests/prometheus.rs`.
    #[test]
    fn names_are_those_of_prometheus() {
        for (strategy, name, unit, kind, wanted) in [
            (UnderscoreEscapingWithSuffixes, "system.io", "By", Counter, "system_io_bytes_total"),
            (UnderscoreEscapingWithSuffixes, "system.io.bytes", "By", Counter, "system_io_bytes_total"),
            (UnderscoreEscapingWithSuffixes, "total.bytes", "By", Counter, "bytes_total"),
            (
                UnderscoreEscapingWithSuffixes,
                "http.server.duration",
                "s",
                Other,
                "http_server_duration_seconds",
            ),
            (UnderscoreEscapingWithSuffixes, "a__b--c", "", Gauge, "a_b_c"),
            (UnderscoreEscapingWithSuffixes, "_a", "", Gauge, "a"),
            (UnderscoreEscapingWithSuffixes, "load", "1", Gauge, "load_ratio"),
            (UnderscoreEscapingWithSuffixes, "ratio.of", "1", Gauge, "of_ratio"),
            (UnderscoreEscapingWithSuffixes, "load", "1", Counter, "load_total"),
            (UnderscoreEscapingWithSuffixes, "5xx", "", Gauge, "_5xx"),
            (UnderscoreEscapingWithSuffixes, "net.rate", "By/s", Gauge, "net_rate_bytes_per_second"),
            (UnderscoreEscapingWithSuffixes, "rps", "{requests}/s", Gauge, "rps_per_second"),
            (UnderscoreEscapingWithoutSuffixes, "system.io", "By", Counter, "system_io"),
            (UnderscoreEscapingWithoutSuffixes, "a__b..c", "", Gauge, "a__b_c"),
            (UnderscoreEscapingWithoutSuffixes, "5xx", "", Gauge, "_5xx"),
            (UnderscoreEscapingWithoutSuffixes, "___", "", Gauge, "___"),
            (NoUtf8EscapingWithSuffixes, "system.io", "By", Counter, "system.io_bytes_total"),
            (NoUtf8EscapingWithSuffixes, "system.io_total", "By", Counter, "system.io_bytes_total"),
            (NoUtf8EscapingWithSuffixes, "system.io.total", "By", Counter, "system.io_bytes_total"),
            (NoUtf8EscapingWithSuffixes, "io_bytes", "By", Gauge, "io_bytes"),
            (NoUtf8EscapingWithSuffixes, "total", "", Counter, "total_total"),
            (NoUtf8EscapingWithSuffixes, "x.ratio", "1", Gauge, "x_ratio"),
            (NoUtf8EscapingWithSuffixes, "rate_per_second", "By/s", Gauge, "rate_bytes_per_second"),
            (NoTranslation, "system.io", "By", Counter, "system.io"),
        ] {
            let built = metric_name(name, unit, kind, strategy);
            assert_eq!(built.as_deref(), Ok(wanted), "{name} {unit} {kind:?} {strategy:?}");
        }
    }

    #[test]
    fn a_name_of_nothing_is_refused() {
        for (strategy, name) in [
            (UnderscoreEscapingWithSuffixes, ""),
            (UnderscoreEscapingWithSuffixes, "___"),
            (UnderscoreEscapingWithoutSuffixes, "..."),
            (NoTranslation, ""),
        ] {
            assert_eq!(metric_name(name, "", Other, strategy), Err(NoName), "{name} {strategy:?}");
        }
        assert_eq!(metric_name("", "", Counter, UnderscoreEscapingWithSuffixes).as_deref(), Ok("total"));
    }
}
