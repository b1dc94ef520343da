//! Wrong values of flags, where standard error is a log: they are log lines, as mistakes of a configuration file are.
//!
//! What clap finds by itself, such as an unknown flag, stays plain text with a hint at the usage: then it is not known
//! what was meant to run.

use clap::ValueEnum;
use clap::error::ErrorKind;
use command::Failure;
use logging::format::Format;

/// The commands whose standard error is a log.
const LOGGING: [&str; 3] = ["run", "demo", "sink"];

/// The error of one of our own parsers of values as a failure for the log, which is started for it. `words` are the
/// arguments without the program.
pub(crate) fn failure(error: &clap::Error, words: &[String], variable: Option<&str>) -> Option<Failure> {
    let command = words.iter().find(|word| LOGGING.contains(&word.as_str()));
    if error.kind() != ErrorKind::ValueValidation || command.is_none() {
        return None;
    }
    let format = format(words).or_else(|| variable.and_then(of_name)).unwrap_or_default();
    // The level that was asked for may be what is wrong.
    let _ = logging::start("info", format);
    Some(Failure::usage(sentence(&error.to_string())))
}

/// `invalid value 'x' for '--listen <ADDR>': ...`, without the hint at the usage.
fn sentence(text: &str) -> String {
    let first = text.split("\n\n").next().unwrap_or_default();
    let lines: Vec<&str> = first.lines().map(str::trim).collect();
    let line = lines.join(" ");
    line.strip_prefix("error: ").map(str::to_string).unwrap_or(line)
}

/// The format that a flag asks for.
fn format(words: &[String]) -> Option<Format> {
    let flags = ["--log-format", "--log.format"];
    let value = |(index, word): (usize, &String)| {
        if flags.contains(&word.as_str()) {
            return words.get(index + 1).cloned();
        }
        flags.iter().find_map(|flag| Some(word.strip_prefix(flag)?.strip_prefix('=')?.to_string()))
    };
    words.iter().enumerate().filter_map(value).next_back().and_then(|name| of_name(&name))
}

fn of_name(name: &str) -> Option<Format> {
    Format::from_str(name, false).ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_format_is_read_from_arguments_that_are_wrong_elsewhere() {
        for (words, want) in [
            ("run --listen foo", None),
            ("run --log-format json --listen foo", Some(Format::Json)),
            ("--log.format=json run --listen foo", Some(Format::Json)),
            ("run --log-format json --log-format=logfmt", Some(Format::Logfmt)),
            ("run --log-format", None),
            ("run --log-format xml", None),
        ] {
            let words: Vec<String> = words.split(' ').map(str::to_string).collect();
            assert_eq!(format(&words), want, "{words:?}");
        }
    }

    #[test]
    fn the_sentence_has_no_hint_at_the_usage() {
        let text = "error: invalid value 'foo' for '--listen <ADDR>': the port is missing\n\nFor more, try '--help'.\n";
        assert_eq!(sentence(text), "invalid value 'foo' for '--listen <ADDR>': the port is missing");
    }
}
