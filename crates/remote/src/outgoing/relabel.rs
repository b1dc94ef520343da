//! Relabelling: rules that rename, add, drop labels, or drop series, with Prometheus' keys and meanings.

use crate::outgoing::go_regex;
use md5::{Digest, Md5};
use model::{LabelsRef, varint};
use regex::Regex;
use serde::Deserialize;
use std::borrow::Cow;

/// What a rule does.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Deserialize)]
#[serde(try_from = "String")]
pub enum Action {
    /// Where the source matches, sets the target label to the replacement.
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
    /// Copies labels whose name matches to the name that the replacement makes.
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

    /// As it is written.
    fn name(self) -> String {
        format!("{self:?}").to_lowercase()
    }
}

impl TryFrom<String> for Action {
    type Error = RuleError;

    /// Upper and lower case are the same, as in Prometheus.
    fn try_from(text: String) -> Result<Self, RuleError> {
        let found = Action::ALL.into_iter().find(|action| action.name() == text.to_lowercase());
        found.ok_or(RuleError::Action { action: text })
    }
}

/// A rule as it is configured.
#[derive(Debug, Clone, PartialEq, Eq, Default, Deserialize)]
#[serde(deny_unknown_fields)]
struct Config {
    #[serde(default, deserialize_with = "list_or_null")]
    source_labels: Vec<String>,
    separator: Option<String>,
    target_label: Option<String>,
    regex: Option<String>,
    modulus: Option<u64>,
    replacement: Option<String>,
    #[serde(default)]
    action: Action,
}

fn list_or_null<'de, D: serde::Deserializer<'de>>(deserializer: D) -> Result<Vec<String>, D::Error> {
    Ok(Option::deserialize(deserializer)?.unwrap_or_default())
}

/// Prometheus' defaults.
const SEPARATOR: &str = ";";
const REPLACEMENT: &str = "$1";

/// Why a rule is refused.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum RuleError {
    /// The pattern.
    #[error("regex {pattern:?}: {reason}")]
    Regex {
        /// As configured.
        pattern: String,
        /// What is wrong with it.
        reason: String,
    },
    /// No action.
    #[error("unknown action {action:?}: one of {}", Action::ALL.map(Action::name).join(", "))]
    Action {
        /// As configured.
        action: String,
    },
    /// A source label without a name.
    #[error("a source label needs a name")]
    SourceLabel,
    /// A key that the action needs.
    #[error("action {action} needs {key}")]
    Missing {
        /// The action, as it is written.
        action: String,
        /// The key.
        key: &'static str,
    },
    /// A key that the action has no use for.
    #[error("action {action} has no use for {key}")]
    Useless {
        /// The action, as it is written.
        action: String,
        /// The key.
        key: &'static str,
    },
}

/// A rule, ready for use.
#[derive(Debug, Clone, Deserialize)]
#[serde(try_from = "Config")]
pub struct Rule {
    config: Config,
    regex: Regex,
    separator: String,
    target: String,
    replacement: String,
    modulus: u64,
}

impl PartialEq for Rule {
    fn eq(&self, other: &Self) -> bool {
        // The rest is made from it.
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
        let regex = go_regex::compile_anchored(pattern).map_err(|error| {
            let reason = error.to_string();
            let reason = reason.lines().last().unwrap_or_default().trim_start_matches("error: ").to_string();
            RuleError::Regex { pattern: pattern.to_string(), reason }
        })?;
        let target = config.target_label.clone().unwrap_or_default();
        if config.source_labels.iter().any(String::is_empty) {
            return Err(RuleError::SourceLabel);
        }
        // What has its default's value is taken for what is not there, as in Prometheus.
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
    /// A sentence about a rule that is valid and can't be meant.
    pub fn hint(&self) -> Option<&'static str> {
        if self.config.regex.is_some() {
            return None;
        }
        match self.config.action {
            Action::LabelDrop => Some(
                "action labeldrop without a regex removes all labels, so that nothing is sent: give the names to remove \
                 in regex",
            ),
            Action::LabelKeep => {
                Some("action labelkeep without a regex keeps all labels: give the names to keep in regex")
            }
            _ => None,
        }
    }
}

/// What rules make of a series.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Relabelled {
    /// The same labels.
    Same,
    /// Other labels: they were written to the buffer.
    Changed,
    /// It is dropped.
    Dropped,
}

/// Applies rules. Keeps its buffers.
#[derive(Debug, Default)]
pub struct Relabeller {
    rules: Vec<Rule>,
    labels: Vec<(String, String)>,
    source: String,
}

impl Relabeller {
    /// Rules in their order.
    pub fn new(rules: Vec<Rule>) -> Self {
        Relabeller { rules, ..Relabeller::default() }
    }

    /// Whether there is nothing to do.
    pub fn is_empty(&self) -> bool {
        self.rules.is_empty()
    }

    /// Text that differs where the rules differ.
    pub fn description(&self) -> String {
        self.rules.iter().map(|rule| format!("{:?};", rule.config)).collect()
    }

    /// Applies the rules to a series; where its labels change, appends their canonical bytes to `out`.
    pub fn apply(&mut self, labels: LabelsRef<'_>, out: &mut Vec<u8>) -> Relabelled {
        self.labels.clear();
        self.labels.extend(labels.iter().map(|(name, value)| (name.into_owned(), value.into_owned())));
        let mut changed = false;
        for index in 0..self.rules.len() {
            match self.step(index) {
                Relabelled::Same => {}
                Relabelled::Changed => changed = true,
                Relabelled::Dropped => return Relabelled::Dropped,
            }
        }
        if !changed {
            return Relabelled::Same;
        }
        if self.labels.is_empty() {
            return Relabelled::Dropped;
        }
        self.labels.sort_unstable();
        varint::put_u64(out, self.labels.len() as u64);
        for (name, value) in &self.labels {
            varint::put_bytes(out, name.as_bytes());
            varint::put_bytes(out, value.as_bytes());
        }
        Relabelled::Changed
    }

    fn step(&mut self, index: usize) -> Relabelled {
        let Some(rule) = self.rules.get(index) else { return Relabelled::Same };
        self.source.clear();
        for (number, name) in rule.config.source_labels.iter().enumerate() {
            if number > 0 {
                self.source.push_str(&rule.separator);
            }
            self.source.push_str(get(&self.labels, name));
        }
        let keep = |kept: bool| if kept { Relabelled::Same } else { Relabelled::Dropped };
        let (name, value): (Cow<'_, str>, String) = match rule.config.action {
            Action::Keep => return keep(rule.regex.is_match(&self.source)),
            Action::Drop => return keep(!rule.regex.is_match(&self.source)),
            Action::KeepEqual => return keep(get(&self.labels, &rule.target) == self.source),
            Action::DropEqual => return keep(get(&self.labels, &rule.target) != self.source),
            Action::LabelDrop | Action::LabelKeep => {
                let before = self.labels.len();
                let drops = rule.config.action == Action::LabelDrop;
                self.labels.retain(|(name, _)| rule.regex.is_match(name) != drops);
                return if self.labels.len() == before { Relabelled::Same } else { Relabelled::Changed };
            }
            Action::LabelMap => {
                let mut mapped = Vec::new();
                for (name, value) in &self.labels {
                    if let Some(captures) = rule.regex.captures(name) {
                        let mut to = String::new();
                        captures.expand(&rule.replacement, &mut to);
                        mapped.push((to, value.clone()));
                    }
                }
                let mut changed = Relabelled::Same;
                for (name, value) in mapped {
                    if set(&mut self.labels, &name, value) {
                        changed = Relabelled::Changed;
                    }
                }
                return changed;
            }
            Action::Replace => {
                let Some(captures) = rule.regex.captures(&self.source) else { return Relabelled::Same };
                let mut value = String::new();
                captures.expand(&rule.replacement, &mut value);
                if rule.target.contains('$') {
                    let mut name = String::new();
                    captures.expand(&rule.target, &mut name);
                    (name.into(), value)
                } else {
                    (rule.target.as_str().into(), value)
                }
            }
            Action::HashMod => {
                let hash = Md5::digest(self.source.as_bytes());
                let last = hash.last_chunk::<8>().copied().unwrap_or_default();
                (rule.target.as_str().into(), (u64::from_be_bytes(last) % rule.modulus).to_string())
            }
            Action::Lowercase => (rule.target.as_str().into(), self.source.to_lowercase()),
            Action::Uppercase => (rule.target.as_str().into(), self.source.to_uppercase()),
        };
        if set(&mut self.labels, &name, value) { Relabelled::Changed } else { Relabelled::Same }
    }
}

fn get<'a>(labels: &'a [(String, String)], name: &str) -> &'a str {
    labels.iter().find(|(other, _)| other == name).map_or("", |(_, value)| value)
}

/// Sets a label, or removes it where the value is empty; whether that changed anything. A label without a
/// name is not set.
fn set(labels: &mut Vec<(String, String)>, name: &str, value: String) -> bool {
    let found = labels.iter().position(|(other, _)| other == name);
    match found {
        Some(index) if value.is_empty() => {
            labels.remove(index);
            true
        }
        Some(index) => match labels.get_mut(index) {
            Some((_, old)) if *old != value => {
                *old = value;
                true
            }
            _ => false,
        },
        None if value.is_empty() || name.is_empty() => false,
        None => {
            labels.push((name.to_string(), value));
            true
        }
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, clippy::indexing_slicing, reason = "helper functions of tests")]
    use super::*;
    use model::Labels;

    fn rules(json: &str) -> Result<Vec<Rule>, String> {
        serde_json::from_str(json).map_err(|error| error.to_string())
    }

    fn apply(json: &str, labels: &[(&str, &str)]) -> String {
        let labels = Labels::from_pairs(labels.iter().copied());
        let mut out = Vec::new();
        match Relabeller::new(rules(json).unwrap()).apply(labels.as_ref(), &mut out) {
            Relabelled::Same => {
                assert!(out.is_empty());
                labels.to_string()
            }
            Relabelled::Changed => LabelsRef::parse(&out).unwrap().to_string(),
            Relabelled::Dropped => "dropped".into(),
        }
    }

    #[test]
    fn each_action_does_what_it_does_in_prometheus() {
        let abc = &[("a", "foo"), ("b", "bar"), ("c", "baz")];
        let table = [
            (
                r#"[{"source_labels": ["a"], "regex": "f(.*)", "target_label": "d", "replacement": "ch${1}-ch${1}"}]"#,
                r#"{a="foo",b="bar",c="baz",d="choo-choo"}"#,
            ),
            (
                r#"[{"source_labels": ["a", "b"], "regex": "f(.*);(.*)r", "target_label": "a", "replacement": "b${1}${2}m"},
                 {"source_labels": ["c", "a"], "regex": "(b).*b(.*)ba(.*)", "target_label": "d", "replacement": "$1$2$2$3"}]"#,
                r#"{a="boobam",b="bar",c="baz",d="boooom"}"#,
            ),
            (r#"[{"source_labels": ["a"], "regex": ".*o.*", "action": "drop"}]"#, "dropped"),
            (r#"[{"source_labels": ["a"], "regex": "o", "action": "drop"}]"#, r#"{a="foo",b="bar",c="baz"}"#),
            (r#"[{"source_labels": ["a"], "regex": "no-match", "action": "keep"}]"#, "dropped"),
            (
                r#"[{"source_labels": ["a"], "regex": "fo+", "action": "keep"}]"#,
                r#"{a="foo",b="bar",c="baz"}"#,
            ),
            (
                r#"[{"source_labels": ["a"], "target_label": "b", "regex": "x", "replacement": "y"}]"#,
                r#"{a="foo",b="bar",c="baz"}"#,
            ),
            (r#"[{"source_labels": ["a"], "target_label": "b", "replacement": ""}]"#, r#"{a="foo",c="baz"}"#),
            (r#"[{"target_label": "n", "replacement": "1"}]"#, r#"{a="foo",b="bar",c="baz",n="1"}"#),
            (
                r#"[{"source_labels": ["a"], "regex": "(f).*", "target_label": "${1}x"}]"#,
                r#"{a="foo",b="bar",c="baz",fx="f"}"#,
            ),
            (
                r#"[{"source_labels": ["c"], "target_label": "d", "action": "hashmod", "modulus": 1000}]"#,
                r#"{a="foo",b="bar",c="baz",d="976"}"#,
            ),
            (
                r#"[{"regex": "(b)", "replacement": "b_${1}", "action": "labelmap"}]"#,
                r#"{a="foo",b="bar",b_b="bar",c="baz"}"#,
            ),
            (r#"[{"regex": "[ab]", "action": "labeldrop"}]"#, r#"{c="baz"}"#),
            (r#"[{"regex": "[ab]", "action": "labelkeep"}]"#, r#"{a="foo",b="bar"}"#),
            (r#"[{"regex": ".*", "action": "labeldrop"}]"#, "dropped"),
            (
                r#"[{"source_labels": ["a"], "target_label": "u", "action": "uppercase"}]"#,
                r#"{a="foo",b="bar",c="baz",u="FOO"}"#,
            ),
            (
                r#"[{"source_labels": ["a"], "target_label": "a", "action": "lowercase"}]"#,
                r#"{a="foo",b="bar",c="baz"}"#,
            ),
            (r#"[{"source_labels": ["a"], "target_label": "b", "action": "keepequal"}]"#, "dropped"),
            (
                r#"[{"source_labels": ["a"], "target_label": "a", "action": "keepequal"}]"#,
                r#"{a="foo",b="bar",c="baz"}"#,
            ),
            (r#"[{"source_labels": ["a"], "target_label": "a", "action": "dropequal"}]"#, "dropped"),
            (
                r#"[{"source_labels": ["a", "b"], "separator": "", "target_label": "j"}]"#,
                r#"{a="foo",b="bar",c="baz",j="foobar"}"#,
            ),
        ];
        for (rules, right) in table {
            assert_eq!(apply(rules, abc), right, "{rules}");
        }
    }

    #[test]
    fn rules_that_make_no_sense_are_refused() {
        for (rule, words) in [
            (r#"[{"action": "replace"}]"#, "action replace needs target_label"),
            (r#"[{"action": "hashmod", "target_label": "a"}]"#, "action hashmod needs modulus"),
            (
                r#"[{"action": "labeldrop", "source_labels": ["a"]}]"#,
                "action labeldrop has no use for source_labels",
            ),
            (r#"[{"target_label": "a", "regex": "("}]"#, "regex \"(\": "),
            (r#"[{"action": "explode"}]"#, "unknown action \"explode\": one of replace, keep, drop,"),
            (r#"[{"action": "keep", "source_labels": [""]}]"#, "a source label needs a name"),
            (r#"[{"action": "labelmap", "replacement": ""}]"#, "action labelmap needs replacement"),
            (r#"[{"colour": "red"}]"#, "unknown field `colour`"),
        ] {
            let error = rules(rule).unwrap_err();
            assert!(error.contains(words), "{error}");
        }
    }
    #[test]
    fn actions_are_case_insensitive() {
        let labels = &[("a", "Foo")];
        assert_eq!(
            apply(r#"[{"action": "Drop", "source_labels": ["a"], "regex": "Foo"}]"#, labels),
            "dropped"
        );
        let upper = r#"[{"action": "UpperCase", "source_labels": ["a"], "target_label": "a"}]"#;
        assert_eq!(apply(upper, labels), r#"{a="FOO"}"#);
        assert_eq!(
            Relabeller::new(rules(r#"[{"action": "DROP"}]"#).unwrap()).description(),
            Relabeller::new(rules(r#"[{"action": "drop"}]"#).unwrap()).description(),
            "positions are kept for it"
        );
    }

    #[test]
    fn a_rule_that_cannot_be_meant_has_a_hint() {
        for (rule, words) in [
            (r#"[{"action": "LabelDrop"}]"#, Some("removes all labels")),
            (r#"[{"action": "labelkeep"}]"#, Some("keeps all labels")),
            (r#"[{"action": "labeldrop", "regex": ".*"}]"#, None),
            (r#"[{"action": "labelmap"}]"#, None),
            (r#"[{"action": "keep"}]"#, None),
        ] {
            let hint = rules(rule).unwrap()[0].hint();
            assert_eq!(hint.is_some(), words.is_some(), "{rule}");
            assert!(hint.unwrap_or_default().contains(words.unwrap_or_default()), "{rule}: {hint:?}");
        }
    }
}
