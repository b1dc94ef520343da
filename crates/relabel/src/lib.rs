//! Relabelling: rules that rename, add and drop labels, or drop series. Keys and meanings are those of
//! Prometheus' `relabel_config`.
//!
//! [`AddedLabels`] are labels that every series gets unless it has them, such as `external_labels`.
//!
//! A [`Rule`] is deserialised from the configuration, which checks it and compiles its regular expression. A
//! [`Relabeller`] applies a list of rules to one series after another.

mod added;
mod apply;
pub mod go_regex;
mod rule;

pub use added::AddedLabels;
pub use apply::{Relabelled, Relabeller};
pub use rule::{Action, Rule, RuleError};

#[cfg(test)]
mod tests;
