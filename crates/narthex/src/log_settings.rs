//! The level and the format of the log, from flags or environment variables. A mistake is reported with the
//! flag or variable that it is in.

use crate::cli::Cli;
use crate::left_out;
use clap::builder::Resettable;
use clap::parser::ValueSource;
use clap::{ArgMatches, CommandFactory, FromArgMatches, ValueEnum};
use command::Failure;
use logging::format::Format;

/// The variable for `--log`.
const LEVEL_VARIABLE: &str = "NARTHEX_LOG";
/// The variable for `--log-format`.
const FORMAT_VARIABLE: &str = "NARTHEX_LOG_FORMAT";

/// The settings of the log that are not in [`Cli`].
#[derive(Debug)]
pub(crate) struct LogSettings {
    /// The flag or the variable that sets the level, for messages.
    level_from: &'static str,
    /// The value of [`FORMAT_VARIABLE`] if it is not a format and no flag sets one.
    wrong_format: Option<String>,
}

pub(crate) fn format_variable() -> Option<String> {
    std::env::var(FORMAT_VARIABLE).ok()
}

pub(crate) fn parse() -> Result<(Cli, LogSettings), clap::Error> {
    // clap would report a wrong variable as a mistake in the flag, and would end even `narthex exec`.
    let wrong = format_variable().filter(|format| Format::from_str(format, false).is_err());
    let mut command = Cli::command();
    if wrong.is_some() {
        command = command.mut_arg("log_format", |argument| argument.env(Resettable::Reset));
    }
    let matches = command.try_get_matches().map_err(left_out::explain)?;
    let cli = Cli::from_arg_matches(&matches)?;
    let is_level_by_variable = source(&matches, "log") == Some(ValueSource::EnvVariable);
    let is_format_by_flag = source(&matches, "log_format") == Some(ValueSource::CommandLine);
    let settings = LogSettings {
        level_from: if is_level_by_variable { LEVEL_VARIABLE } else { "--log" },
        wrong_format: wrong.filter(|_| !is_format_by_flag),
    };
    Ok((cli, settings))
}

/// The source of the value of a global argument. clap copies the argument to the innermost subcommand.
fn source(matches: &ArgMatches, argument: &str) -> Option<ValueSource> {
    let mut at = matches;
    while let Some((_, inner)) = at.subcommand() {
        at = inner;
    }
    at.value_source(argument)
}

impl LogSettings {
    pub(crate) fn start(&self, cli: &Cli) -> Result<(), Failure> {
        let level = cli.log.as_deref().unwrap_or_else(|| cli.default_level());
        let from = self.level_from;
        let started = logging::start(level, cli.log_format)
            .map_err(|error| Failure::usage(format!("{from} {level:?}: {error}")));
        if let Some(format) = &self.wrong_format {
            let formats: Vec<String> = Format::value_variants()
                .iter()
                .filter_map(|format| Some(format.to_possible_value()?.get_name().to_string()))
                .collect();
            return Err(Failure::usage(format!(
                "{FORMAT_VARIABLE} {format:?}: there is no such log format; the formats are {}",
                formats.join(" and ")
            )));
        }
        started
    }
}
