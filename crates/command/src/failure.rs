//! Why the program ends with an error, and its exit code.

use logging::record::Value;
use std::fmt;
use tracing::Level;

/// Exit code for mistakes in flags or configuration.
pub const USAGE: u8 = 2;
/// Exit code for errors during the start or later.
pub const RUNNING: u8 = 1;

/// The reason, as text for a user, and the exit code.
#[derive(Debug)]
pub struct Failure {
    code: u8,
    text: String,
    /// The log lines about it. If there are none, [`Failure::text`] is logged.
    lines: Vec<Line>,
}

/// A line of the log.
#[derive(Debug)]
pub struct Line {
    /// `ERROR` for a mistake, `WARN` for a warning.
    pub level: Level,
    pub message: String,
    /// The place of the mistake.
    pub fields: Vec<(&'static str, Value)>,
}

impl Failure {
    /// A mistake in flags or configuration.
    pub fn usage(text: impl fmt::Display) -> Self {
        Failure { code: USAGE, text: text.to_string(), lines: Vec::new() }
    }

    /// An error during the start or later.
    pub fn running(text: impl fmt::Display) -> Self {
        Failure { code: RUNNING, text: text.to_string(), lines: Vec::new() }
    }

    /// A configuration file with mistakes. `text` names all of them, the first one first. The log gets
    /// `lines` instead, with one line for each mistake.
    pub fn mistakes(text: impl fmt::Display, lines: Vec<Line>) -> Self {
        Failure { code: USAGE, text: text.to_string(), lines }
    }

    pub fn code(&self) -> u8 {
        self.code
    }

    /// Logs the reason: one line for each mistake of a configuration file.
    pub fn log(&self) {
        if self.lines.is_empty() {
            logging::fatal(format_args!("{}", self.text));
        }
        self.log_mistakes();
    }

    /// Logs one line for each mistake of a configuration file.
    pub fn log_mistakes(&self) {
        for Line { level, message, fields } in &self.lines {
            logging::write_now(*level, message.clone(), fields.clone());
        }
    }

    /// The reason in one line. Of several mistakes it is the first.
    pub fn short(&self) -> String {
        let first = self.text.lines().next().unwrap_or_default();
        let mistakes = self.lines.iter().filter(|line| line.level == Level::ERROR).count();
        if mistakes > 1 {
            let more = model::words::counted(mistakes as u64 - 1, "more mistake");
            return format!("{first} (and {more})");
        }
        first.to_string()
    }
}

impl fmt::Display for Failure {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.text)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn line(level: Level) -> Line {
        Line { level, message: "wrong".into(), fields: Vec::new() }
    }

    #[test]
    fn the_short_reason_counts_mistakes_and_not_warnings() {
        let of = |levels: &[Level]| {
            let lines = levels.iter().map(|level| line(*level)).collect();
            Failure::mistakes("a.yml:1: wrong\na.yml:2: wrong", lines).short()
        };
        assert_eq!(of(&[Level::ERROR, Level::WARN]), "a.yml:1: wrong");
        assert_eq!(of(&[Level::ERROR, Level::ERROR, Level::WARN]), "a.yml:1: wrong (and 1 more mistake)");
        assert_eq!(Failure::running("disk full\nat all").short(), "disk full");
    }

    #[test]
    fn the_exit_code_tells_usage_from_running() {
        assert_eq!((Failure::usage("x").code(), Failure::running("x").code()), (2, 1));
        assert_eq!(Failure::mistakes("x", vec![line(Level::ERROR)]).code(), 2);
    }
}
