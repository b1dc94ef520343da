//! A configuration file with mistakes, as the reason why a command fails.

use super::error::{ConfigError, ConfigErrors};
use command::Failure;
use command::failure::Line;
use logging::record::Value;
use tracing::Level;

impl From<ConfigErrors> for Failure {
    fn from(errors: ConfigErrors) -> Self {
        let text = errors.to_string();
        let warning = |message| Line { level: Level::WARN, message, fields: Vec::new() };
        let lines =
            errors.mistakes.into_iter().map(Line::from).chain(errors.warnings.into_iter().map(warning));
        Failure::mistakes(text, lines.collect())
    }
}

impl From<ConfigError> for Line {
    fn from(mistake: ConfigError) -> Self {
        let mut message = mistake.message;
        if let Some(hint) = mistake.hint {
            message = format!("{message}; {hint}");
        }
        let mut fields = vec![("file", Value::Text(mistake.file))];
        if let Some((line, column)) = mistake.place {
            fields.push(("line", Value::Plain(line.to_string())));
            fields.push(("column", Value::Plain(column.to_string())));
        }
        if !mistake.key.is_empty() {
            fields.push(("key", Value::Text(mistake.key)));
        }
        Line { level: Level::ERROR, message, fields }
    }
}
