//! Units as words: `By/s` is `bytes` and `per_second`. Prometheus' rules (`otlptranslator`, `unit_namer.go`).

/// The words for a unit: its own, and those for what it is divided by, which begin with `per_`. Each is empty if there
/// is none. Characters are as in the unit.
pub(crate) fn words(unit: &str) -> (String, String) {
    let (main, per) = unit.split_once('/').unwrap_or((unit, ""));
    // What is in braces is an annotation, not a unit.
    let usable = |part: &str| !part.is_empty() && !part.contains(['{', '}']);
    let (main, per) = (main.trim(), per.trim());
    let main = if usable(main) { main_word(main).to_string() } else { String::new() };
    let per = if usable(per) { format!("per_{}", per_word(per)) } else { String::new() };
    (main, per)
}

/// The unit in metadata.
pub(crate) fn of_metadata(unit: &str) -> String {
    let (main, per) = words(unit);
    let (main, per) = (clean(&main), clean(&per));
    let joined = match (main.is_empty(), per.is_empty()) {
        (false, false) => format!("{main}_{per}"),
        (false, true) => main,
        (true, _) => per,
    };
    let text = joined.strip_prefix('_').unwrap_or(&joined);
    text.strip_suffix('_').unwrap_or(text).to_string()
}

/// A unit with only the characters that a metric name may have, without `_` at its start and without several in a row.
pub(crate) fn clean(unit: &str) -> String {
    let mut text = String::with_capacity(unit.len());
    for c in unit.chars() {
        if c.is_ascii_alphanumeric() || c == ':' {
            text.push(c);
        } else if !text.is_empty() && !text.ends_with('_') {
            text.push('_');
        }
    }
    text
}

fn main_word(unit: &str) -> &str {
    match unit {
        "d" => "days",
        "h" => "hours",
        "min" => "minutes",
        "s" => "seconds",
        "ms" => "milliseconds",
        "us" => "microseconds",
        "ns" => "nanoseconds",
        "By" => "bytes",
        "KiBy" => "kibibytes",
        "MiBy" => "mebibytes",
        "GiBy" => "gibibytes",
        "TiBy" => "tibibytes",
        "KBy" => "kilobytes",
        "MBy" => "megabytes",
        "GBy" => "gigabytes",
        "TBy" => "terabytes",
        "m" => "meters",
        "V" => "volts",
        "A" => "amperes",
        "J" => "joules",
        "W" => "watts",
        "g" => "grams",
        "Cel" => "celsius",
        "Hz" => "hertz",
        "1" => "",
        "%" => "percent",
        other => other,
    }
}

fn per_word(unit: &str) -> &str {
    match unit {
        "s" => "second",
        "m" => "minute",
        "h" => "hour",
        "d" => "day",
        "w" => "week",
        "mo" => "month",
        "y" => "year",
        other => other,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn units_become_words() {
        for (unit, main, per, metadata) in [
            ("s", "seconds", "", "seconds"),
            ("By/s", "bytes", "per_second", "bytes_per_second"),
            ("By/m", "bytes", "per_minute", "bytes_per_minute"),
            ("1", "", "", ""),
            ("{packets}", "", "", ""),
            ("{packets}/s", "", "per_second", "per_second"),
            ("%", "percent", "", "percent"),
            (" s ", "seconds", "", "seconds"),
            ("/", "", "", ""),
            ("By/", "bytes", "", "bytes"),
            ("a//b", "a", "per_/b", "a_per_b"),
            ("m2.K", "m2.K", "", "m2_K"),
            ("°C", "°C", "", "C"),
            ("__x__", "__x__", "", "x"),
        ] {
            assert_eq!(words(unit), (main.to_string(), per.to_string()), "{unit}");
            assert_eq!(of_metadata(unit), metadata, "{unit}");
        }
    }
}
