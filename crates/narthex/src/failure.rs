//! Why the program ends with an error, and with which code.

use crate::config::error::ConfigErrors;
use crate::logging;
use crate::logging::record::Value;
use std::fmt;
use tracing::Level;

/// Exit code for what is wrong with flags or configuration.
pub const USAGE: u8 = 2;
/// Exit code for what went wrong while it started or ran.
pub const RUNNING: u8 = 1;

/// The reason, for a person, and the exit code.
#[derive(Debug)]
pub struct Failure {
    code: u8,
    reason: Reason,
}

#[derive(Debug)]
enum Reason {
    Text(String),
    Config(ConfigErrors),
}

impl Failure {
    /// Flags or configuration.
    pub fn usage(text: impl fmt::Display) -> Self {
        Failure { code: USAGE, reason: Reason::Text(text.to_string()) }
    }

    /// Something on the machine.
    pub fn running(text: impl fmt::Display) -> Self {
        Failure { code: RUNNING, reason: Reason::Text(text.to_string()) }
    }

    /// The exit code.
    pub fn code(&self) -> u8 {
        self.code
    }

    /// Writes the reason to the log: a line for each mistake of a configuration file.
    pub(crate) fn log(&self) {
        match &self.reason {
            Reason::Text(text) => logging::fatal(format_args!("{text}")),
            Reason::Config(_) => self.log_mistakes(),
        }
    }

    /// Writes a line to the log for each mistake of a configuration file.
    pub(crate) fn log_mistakes(&self) {
        let Reason::Config(errors) = &self.reason else { return };
        for mistake in &errors.mistakes {
            let hint = mistake.hint.iter().map(|hint| format!("; {hint}"));
            let message = mistake.message.clone() + &hint.collect::<String>();
            let mut fields = vec![("file", Value::Text(mistake.file.clone()))];
            if let Some((line, column)) = mistake.place {
                fields.push(("line", Value::Plain(line.to_string())));
                fields.push(("column", Value::Plain(column.to_string())));
            }
            if !mistake.key.is_empty() {
                fields.push(("key", Value::Text(mistake.key.clone())));
            }
            logging::write_now(Level::ERROR, message, fields);
        }
        for warning in &errors.warnings {
            logging::write_now(Level::WARN, warning.clone(), Vec::new());
        }
    }

    /// The reason in one line: of several mistakes the first.
    pub(crate) fn short(&self) -> String {
        let text = self.to_string();
        let first = text.lines().next().unwrap_or_default();
        match &self.reason {
            Reason::Config(errors) if errors.mistakes.len() > 1 => {
                let more = model::words::counted(errors.mistakes.len() as u64 - 1, "more mistake");
                format!("{first} (and {more})")
            }
            _ => first.to_string(),
        }
    }
}

impl From<ConfigErrors> for Failure {
    fn from(errors: ConfigErrors) -> Self {
        Failure { code: USAGE, reason: Reason::Config(errors) }
    }
}

impl fmt::Display for Failure {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match &self.reason {
            Reason::Text(text) => f.write_str(text),
            Reason::Config(errors) => errors.fmt(f),
        }
    }
}
