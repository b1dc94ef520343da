//! The format of log lines: logfmt as Prometheus writes it, or JSON.

use crate::record::{Record, Value};
use clap::ValueEnum;
use model::moment;
use std::fmt::Write;
use tracing::Level;

/// How lines look.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, ValueEnum)]
pub enum Format {
    /// `time=… level=INFO msg="…" key=value`
    #[default]
    Logfmt,
    /// `{"time":"…","level":"INFO","msg":"…","key":"value"}`
    Json,
}

/// The line of an event, with its line break. Module paths are included at levels debug and trace only.
pub fn line(record: &Record, format: Format, color: bool) -> String {
    let target = (record.level >= Level::DEBUG).then_some(record.target.as_str());
    let mut out = String::with_capacity(128 + record.message.len());
    let time = moment::show(record.time_ms);
    match format {
        Format::Logfmt => {
            let level = record.level.as_str();
            let _ = match color.then(|| ansi(record.level)) {
                Some(code) => write!(out, "time={time} level=\x1b[{code}m{level}\x1b[0m msg="),
                None => write!(out, "time={time} level={level} msg="),
            };
            quote(&mut out, &record.message);
            if let Some(target) = target {
                let _ = write!(out, " target={target}");
            }
            for (name, value) in &record.fields {
                let _ = write!(out, " {name}=");
                match value {
                    Value::Text(text) if needs_quotes(text) => quote(&mut out, text),
                    Value::Text(text) | Value::Plain(text) => out.push_str(text),
                }
            }
        }
        Format::Json => {
            let _ = write!(out, "{{\"time\":\"{time}\",\"level\":\"{}\",\"msg\":", record.level);
            quote(&mut out, &record.message);
            if let Some(target) = target {
                let _ = write!(out, ",\"target\":\"{target}\"");
            }
            for (name, value) in &record.fields {
                let _ = write!(out, ",\"{name}\":");
                match value {
                    Value::Text(text) => quote(&mut out, text),
                    Value::Plain(text) => out.push_str(text),
                }
            }
            out.push('}');
        }
    }
    out.push('\n');
    out
}

fn ansi(level: Level) -> u8 {
    match level {
        Level::ERROR => 31,
        Level::WARN => 33,
        Level::INFO => 32,
        _ => 34,
    }
}

/// Returns true if logfmt needs quotes around the text.
fn needs_quotes(text: &str) -> bool {
    text.is_empty() || text.contains(|c: char| c.is_whitespace() || c.is_control() || matches!(c, '"' | '='))
}

/// Appends the text as a JSON string. Control characters are escaped, so that the text of a receiver can
/// neither start a new line nor send commands to a terminal.
fn quote(out: &mut String, text: &str) {
    out.push('"');
    for c in text.chars() {
        let _ = match c {
            '"' | '\\' => write!(out, "\\{c}"),
            '\n' => write!(out, "\\n"),
            '\r' => write!(out, "\\r"),
            '\t' => write!(out, "\\t"),
            c if c.is_control() => write!(out, "\\u{:04x}", u32::from(c)),
            c => write!(out, "{c}"),
        };
    }
    out.push('"');
}

#[cfg(test)]
mod tests {
    use super::*;

    fn record(level: Level) -> Record {
        let mut record = Record::new(level, "waiting, \"again\"\n".into(), 1_700_000_000_000);
        record.target = "remote::worker".into();
        record.fields = vec![
            ("destination", Value::Text("a".into())),
            ("answer", Value::Text("500: a=b\u{1b}\u{9b}".into())),
            ("count", Value::Plain("3".into())),
            ("none", Value::Text(String::new())),
        ];
        record
    }

    #[test]
    fn logfmt_quotes_and_escapes() {
        let want = "time=2023-11-14T22:13:20.000Z level=WARN msg=\"waiting, \\\"again\\\"\\n\" \
                    destination=a answer=\"500: a=b\\u001b\\u009b\" count=3 none=\"\"\n";
        assert_eq!(line(&record(Level::WARN), Format::Logfmt, false), want);
        let colored = line(&record(Level::WARN), Format::Logfmt, true);
        assert!(colored.contains("level=\x1b[33mWARN\x1b[0m msg="), "{colored}");
    }

    #[test]
    fn json_lines_are_json_and_numbers_stay_numbers() {
        let text = line(&record(Level::ERROR), Format::Json, false);
        let value: serde_json::Value = serde_json::from_str(&text).unwrap();
        assert_eq!(value["level"], "ERROR");
        assert_eq!(value["msg"], "waiting, \"again\"\n");
        assert_eq!(value["answer"], "500: a=b\u{1b}\u{9b}");
        assert_eq!(value["count"], 3);
        assert_eq!(text.lines().count(), 1);
    }

    #[test]
    fn module_paths_are_shown_at_debug_only() {
        for format in [Format::Logfmt, Format::Json] {
            assert!(!line(&record(Level::INFO), format, false).contains("remote::worker"));
            assert!(line(&record(Level::DEBUG), format, false).contains("remote::worker"));
        }
    }
}
