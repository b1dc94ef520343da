//! A rule as configured, checked and compiled.

use crate::go_regex;
use regex::Regex;
use serde::Deserialize;

#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Deserialize)]
#[serde(try_from = "String")]
pub enum Action {
    /// If the source matches, sets the target label to the replacement.
    #[default]
    Replace,
    /// Drops series whose source does not match.
    Keep,
    /// Drops series whose source matches.
    Drop,
    /// Drops series whose source is not equal to the target label.
    KeepEqual,
    /// Drops series whose source is equal to the target label.
    DropEqual,
    /// Sets the target label to the source's hash modulo `modulus`.
    HashMod,
    /// Copies each label whose name matches to the name that the replacement gives.
    LabelMap,
    /// Drops labels whose name matches.
    LabelDrop,
    /// Drops labels whose name does not match.
    LabelKeep,
    /// Sets the target label to the source in lower case.
    Lowercase,
    /// Sets the target label to the source in upper case.
    Uppercase,
}

impl Action {
    const ALL: [Action; 11] = [
        Action::Replace,
        Action::Keep,
        Action::Drop,
        Action::KeepEqual,
        Action::DropEqual,
        Action::HashMod,
        Action::LabelMap,
        Action::LabelDrop,
        Action::LabelKeep,
        Action::Lowercase,
        Action::Uppercase,
    ];

    /// The action's name in the configuration.
    fn name(self) -> String {
        format!("{self:?}").to_lowercase()
    }
}

impl TryFrom<String> for Action {
    type Error = RuleError;

    /// Parses a name. Upper and lower case are equal, as in Prometheus.
    fn try_from(text: String) -> Result<Self, RuleError> {
        let found = Action::ALL.into_iter().find(|action| action.name() == text.to_lowercase());
        found.ok_or(RuleError::Action { action: text })
    }
}

/// A rule as it is written in the configuration.
#[derive(Debug, Clone, PartialEq, Eq, Default, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct Config {
    #[serde(default, deserialize_with = "list_or_null")]
    pub(crate) source_labels: Vec<String>,
    separator: Option<String>,
    target_label: Option<String>,
    #[serde(default, deserialize_with = "valid_pattern")]
    regex: Option<String>,
    modulus: Option<u64>,
    replacement: Option<String>,
    #[serde(default)]
    pub(crate) action: Action,
}

fn list_or_null<'de, D: serde::Deserializer<'de>>(deserializer: D) -> Result<Vec<String>, D::Error> {
    Ok(Option::deserialize(deserializer)?.unwrap_or_default())
}

/// Checks the pattern during deserialisation too, so that the error refers to this key and not to the whole
/// rule.
fn valid_pattern<'de, D: serde::Deserializer<'de>>(deserializer: D) -> Result<Option<String>, D::Error> {
    let pattern = Option::<String>::deserialize(deserializer)?;
    if let Some(pattern) = &pattern {
        compile(pattern).map_err(serde::de::Error::custom)?;
    }
    Ok(pattern)
}

fn compile(pattern: &str) -> Result<Regex, RuleError> {
    go_regex::compile_anchored(pattern).map_err(|error| {
        let reason = error.to_string();
        let reason = reason.lines().last().unwrap_or_default().trim_start_matches("error: ").to_string();
        RuleError::Regex { pattern: pattern.to_string(), reason }
    })
}

/// Prometheus' defaults.
const SEPARATOR: &str = ";";
const REPLACEMENT: &str = "$1";

/// Why a rule is refused.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum RuleError {
    /// The pattern is invalid.
    #[error("regex {pattern:?}: {reason}")]
    Regex {
        /// The pattern in the configuration.
        pattern: String,
        /// What is wrong with the pattern.
        reason: String,
    },
    /// The action is unknown.
    #[error("unknown action {action:?}: one of {}", Action::ALL.map(Action::name).join(", "))]
    Action {
        /// The action in the configuration.
        action: String,
    },
    /// The name of a source label is empty.
    #[error("a source label needs a name")]
    SourceLabel,
    /// The action requires a key that is missing.
    #[error("action {action} needs {key}")]
    Missing {
        /// The action's name in the configuration.
        action: String,
        key: &'static str,
    },
    /// The action does not use a key that is present.
    #[error("action {action} has no use for {key}")]
    Useless {
        /// The action's name in the configuration.
        action: String,
        key: &'static str,
    },
}

/// A checked rule with its compiled regular expression.
#[derive(Debug, Clone, Deserialize)]
#[serde(try_from = "Config")]
pub struct Rule {
    pub(crate) config: Config,
    pub(crate) regex: Regex,
    pub(crate) separator: String,
    pub(crate) target: String,
    pub(crate) replacement: String,
    pub(crate) modulus: u64,
}

impl PartialEq for Rule {
    fn eq(&self, other: &Self) -> bool {
        // The other fields are computed from `config`.
        self.config == other.config
    }
}

impl TryFrom<Config> for Rule {
    type Error = RuleError;

    fn try_from(config: Config) -> Result<Self, RuleError> {
        use Action::*;
        let action = config.action.name();
        let missing = |key| Err(RuleError::Missing { action: action.clone(), key });
        let useless = |key| Err(RuleError::Useless { action: action.clone(), key });
        let pattern = config.regex.as_deref().unwrap_or("(.*)");
        let regex = compile(pattern)?;
        let target = config.target_label.clone().unwrap_or_default();
        if config.source_labels.iter().any(String::is_empty) {
            return Err(RuleError::SourceLabel);
        }
        // As in Prometheus, these keys may be present if they have their default values.
        let replaces = config.replacement.as_deref().is_some_and(|replacement| replacement != REPLACEMENT);
        let separates = config.separator.as_deref().is_some_and(|separator| separator != SEPARATOR);
        let divides = config.modulus.unwrap_or(0) != 0;
        match config.action {
            Replace | HashMod | Lowercase | Uppercase | KeepEqual | DropEqual if target.is_empty() => {
                return missing("target_label");
            }
            HashMod if config.modulus.unwrap_or(0) == 0 => return missing("modulus"),
            LabelMap if config.replacement.as_deref() == Some("") => return missing("replacement"),
            KeepEqual | DropEqual if config.regex.is_some() => return useless("regex"),
            LabelDrop | LabelKeep if !config.source_labels.is_empty() => return useless("source_labels"),
            LabelDrop | LabelKeep if !target.is_empty() => return useless("target_label"),
            LabelDrop | LabelKeep | KeepEqual | DropEqual | Lowercase | Uppercase if replaces => {
                return useless("replacement");
            }
            LabelDrop | LabelKeep | KeepEqual | DropEqual if separates => return useless("separator"),
            LabelDrop | LabelKeep | KeepEqual | DropEqual if divides => return useless("modulus"),
            _ => {}
        }
        Ok(Rule {
            regex,
            separator: config.separator.clone().unwrap_or_else(|| SEPARATOR.into()),
            target,
            replacement: config.replacement.clone().unwrap_or_else(|| REPLACEMENT.into()),
            modulus: config.modulus.unwrap_or(1).max(1),
            config,
        })
    }
}

impl Rule {
    /// Returns a hint about a valid rule whose effect is certainly not intended.
    pub fn hint(&self) -> Option<&'static str> {
        if self.config.regex.is_some() {
            return None;
        }
        match self.config.action {
            Action::LabelDrop => Some(
                "action labeldrop without a regex removes all labels, so that no series is left: give the names to \
                 remove in regex",
            ),
            Action::LabelKeep => {
                Some("action labelkeep without a regex keeps all labels: give the names to keep in regex")
            }
            _ => None,
        }
    }
}
