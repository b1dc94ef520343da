//! Wrong values of flags for commands whose standard error is a log. They are reported as log lines, like
//! mistakes of a configuration file.
//!
//! Errors that clap finds by itself, such as an unknown flag, stay plain text with a hint at the usage: it is
//! not known which command was intended.

use clap::ValueEnum;
use clap::error::ErrorKind;
use command::Failure;
use logging::format::Format;

/// The commands whose standard error is a log.
const LOGGING: [&str; 3] = ["run", "demo", "sink"];

/// Turns an error of one of narthex' own value parsers into a failure for the log, and starts the log.
/// `words` are the arguments without the program's name.
pub(crate) fn failure(error: &clap::Error, words: &[String], variable: Option<&str>) -> Option<Failure> {
    let command = words.iter().find(|word| LOGGING.contains(&word.as_str()));
    if error.kind() != ErrorKind::ValueValidation || command.is_none() {
        return None;
    }
    let format = format(words).or_else(|| variable.and_then(of_name)).unwrap_or_default();
    // The value of `--log` itself may be wrong, so the default level is used.
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

/// The format that a flag sets.
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
    fn the_log_format_is_read_from_otherwise_wrong_arguments() {
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
    fn the_message_does_not_contain_the_usage() {
        let text = "error: invalid value 'foo' for '--listen <ADDR>': the port is missing\n\nFor more, try '--help'.\n";
        assert_eq!(sentence(text), "invalid value 'foo' for '--listen <ADDR>': the port is missing");
    }
}
