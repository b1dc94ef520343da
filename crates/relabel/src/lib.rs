//! Relabelling: rules that rename, add and drop labels, or drop series. The keys and their meanings are those
//! of Prometheus' `relabel_config`.
//!
//! [`AddedLabels`] are labels that are added to every series that does not have them, such as
//! `external_labels`.
//!
//! A [`Rule`] is deserialised from the configuration. This checks the rule and compiles its regular
//! expression. A [`Relabeller`] applies a list of rules to one series after another.

mod added;
mod apply;
pub mod go_regex;
mod rule;

pub use added::AddedLabels;
pub use apply::{Relabelled, Relabeller};
pub use rule::{Action, Rule, RuleError};

#[cfg(test)]
mod tests;
