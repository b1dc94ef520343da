//! Applies rules to the labels of a series.

use crate::rule::{Action, Rule};
use md5::{Digest, Md5};
use model::{LabelsRef, varint};
use std::borrow::Cow;

/// Result of applying the rules to a series.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Relabelled {
    /// The labels did not change.
    Same,
    /// The labels changed. The new ones were appended to the buffer.
    Changed,
    /// The series has to be dropped.
    Dropped,
}

/// Applies rules to one series after another. It reuses its buffers.
#[derive(Debug, Default)]
pub struct Relabeller {
    rules: Vec<Rule>,
    labels: Vec<(String, String)>,
    source: String,
}

impl Relabeller {
    pub fn new(rules: Vec<Rule>) -> Self {
        Relabeller { rules, ..Relabeller::default() }
    }

    pub fn is_empty(&self) -> bool {
        self.rules.is_empty()
    }

    /// Returns a text that is equal only for equal rules. It is part of a destination's identity.
    pub fn description(&self) -> String {
        self.rules.iter().map(|rule| format!("{:?};", rule.config)).collect()
    }

    /// Applies the rules to a series. If the labels change, their canonical bytes are appended to `out`.
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

/// Sets a label, or removes it if the value is empty. Returns true if that changed the labels. A label with an
/// empty name is ignored.
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
