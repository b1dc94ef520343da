//! Parses `--log`: a level, and levels for parts of the program.

use tracing_subscriber::filter::{LevelFilter, Targets};

/// The levels, from few lines to many.
const LEVELS: [(&str, LevelFilter); 6] = [
    ("off", LevelFilter::OFF),
    ("error", LevelFilter::ERROR),
    ("warn", LevelFilter::WARN),
    ("info", LevelFilter::INFO),
    ("debug", LevelFilter::DEBUG),
    ("trace", LevelFilter::TRACE),
];

/// A mistake in `--log`.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum FilterError {
    #[error("there is no log level {0:?}; the levels are off, error, warn, info, debug and trace{hint}", hint = hint(.0))]
    Level(String),
    #[error("{0:?} names no part; write LEVEL, or LEVEL,PART=LEVEL such as warn,remote=debug")]
    Part(String),
}

fn hint(level: &str) -> &'static str {
    if level.eq_ignore_ascii_case("warning") { "; did you mean \"warn\"?" } else { "" }
}

/// Parses `LEVEL`, `PART=LEVEL`, or several of them separated by commas.
pub fn parse(text: &str) -> Result<Targets, FilterError> {
    let mut targets = Targets::new();
    for directive in text.split(',').map(str::trim) {
        match directive.split_once('=') {
            None => targets = targets.with_default(level(directive)?),
            Some((part, name)) => {
                let is_name = |c: char| c.is_ascii_alphanumeric() || c == '_' || c == ':';
                if part.is_empty() || !part.chars().all(is_name) {
                    return Err(FilterError::Part(directive.into()));
                }
                targets = targets.with_target(part, level(name)?);
            }
        }
    }
    Ok(targets)
}

fn level(name: &str) -> Result<LevelFilter, FilterError> {
    let found = LEVELS.iter().find(|(level, _)| level.eq_ignore_ascii_case(name));
    found.map(|(_, level)| *level).ok_or_else(|| FilterError::Level(name.into()))
}

#[cfg(test)]
mod tests {
    use super::*;
    use tracing::Level;

    #[test]
    fn levels_apply_to_all_or_to_a_part() {
        let filter = parse("warn,remote=debug").unwrap();
        assert!(filter.would_enable("storage::committer", &Level::WARN));
        assert!(!filter.would_enable("storage::committer", &Level::INFO));
        assert!(filter.would_enable("remote::worker", &Level::DEBUG));
        assert!(!filter.would_enable("remote::worker", &Level::TRACE));
        assert!(parse("INFO").unwrap().would_enable("x", &Level::INFO));
        assert!(!parse("off").unwrap().would_enable("x", &Level::ERROR));
    }

    #[test]
    fn an_unknown_level_is_an_error_that_names_the_levels() {
        for text in ["warning", "verbose", "", "remote", "warn,remote=loud", "3"] {
            let error = parse(text).expect_err(text).to_string();
            assert!(error.contains("off, error, warn, info, debug and trace"), "{error}");
        }
        assert!(parse("warning").unwrap_err().to_string().ends_with("did you mean \"warn\"?"));
        assert_eq!(parse("=warn"), Err(FilterError::Part("=warn".into())));
        assert_eq!(parse("a b=warn"), Err(FilterError::Part("a b=warn".into())));
    }
}
