//! The mapping file of statsd_exporter: rules that turn dotted names into metric names and labels.
//!
//! [`File`] is the file's content. [`Mapping::new`] checks it and compiles its rules; each error names the
//! key that it is about. [`Mapping::find`] looks up a name. This crate does no I/O.
//!
//! The rules work as in statsd_exporter:
//!
//! - A glob matches whole components of a name. If several globs match, the first one in the file is used, or
//!   the most specific one with `glob_disable_ordering`. The globs are stored as a tree, so that a lookup
//!   does not depend on their number.
//! - Regular expressions use Go's syntax and are not anchored. They are tried in order, after all globs.
//! - `$1`, `${1}` and, for regular expressions, `${name}` refer to what was matched. `$1_a` is the group
//!   named `1_a`. It does not exist, so it is empty, as in Go.
//!
//! The reference is `prometheus/statsd_exporter: pkg/mapper`.

mod file;
mod glob;
mod observer;
mod template;
#[cfg(test)]
mod tests;

pub use file::{
    Action, Defaults, File, GoDuration, HistogramOptions, MatchType, MetricType, ObserverType, Quantile,
    Rule, SummaryOptions,
};
pub use observer::{BUCKETS_MAX, DEFAULT_BUCKETS, Native, Observer};

use glob::Globs;
use regex::Regex;
use std::collections::BTreeMap;
use std::time::Duration;
use template::Template;

/// The type of a sample, to which a rule can be restricted.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Kind {
    Counter,
    Gauge,
    Observer,
}

/// An error in the file.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Fault {
    /// The key that the error is about, such as `mappings[2].match`.
    pub key: String,
    pub message: String,
}

/// The checked and compiled rules of a file.
#[derive(Debug, Clone)]
pub struct Mapping {
    file: File,
    rules: Vec<Compiled>,
    globs: Globs,
    /// Indices of the rules with regular expressions.
    regexes: Vec<usize>,
    default_observer: Observer,
}

/// Mappings are equal if their files have equal contents.
impl PartialEq for Mapping {
    fn eq(&self, other: &Self) -> bool {
        self.file == other.file
    }
}

/// A compiled rule.
#[derive(Debug, Clone)]
pub struct Compiled {
    regex: Option<Regex>,
    kind: Option<Kind>,
    name: Template,
    labels: Vec<(String, Template)>,
    /// Matching samples are dropped.
    pub is_drop: bool,
    pub observer: Observer,
    /// How long a series lives after its last sample. `None` means the default of the input.
    pub ttl: Option<Duration>,
    pub help: Option<String>,
    /// Factor by which values are multiplied.
    pub scale: Option<f64>,
    /// If a tag and a label of the rule have the same name, the tag is used.
    pub honor_labels: bool,
}

/// A rule that matches a name, with the resulting metric name and labels.
#[derive(Debug, Clone)]
pub struct Found<'m> {
    pub rule: &'m Compiled,
    /// The metric name. Invalid characters are replaced by `_`. It may be empty.
    pub name: String,
    pub labels: Vec<(&'m str, String)>,
}

impl Mapping {
    pub fn new(file: File) -> Result<Self, Vec<Fault>> {
        let mut faults = Vec::new();
        let default_observer = observer::default(&file.defaults, &mut faults);
        let mut mapping = Mapping {
            globs: Globs::new(file.defaults.glob_disable_ordering.unwrap_or(false)),
            regexes: Vec::new(),
            rules: Vec::new(),
            default_observer,
            file: File::default(),
        };
        for (index, rule) in file.mappings.iter().flatten().enumerate() {
            mapping.add(index, rule, &file.defaults, &mut faults);
        }
        mapping.file = file;
        if faults.is_empty() { Ok(mapping) } else { Err(faults) }
    }

    /// Number of rules.
    pub fn rules(&self) -> usize {
        self.rules.len()
    }

    /// What observations become if no rule matches.
    pub fn default_observer(&self) -> &Observer {
        &self.default_observer
    }

    /// The lifetime of series if no rule matches, or `None` if the file has none.
    pub fn default_ttl(&self) -> Option<Duration> {
        self.file.defaults.ttl()
    }

    /// Finds the rule for a name.
    pub fn find<'m>(&'m self, name: &str, kind: Kind) -> Option<Found<'m>> {
        if let Some((rule, captures)) = self.globs.find(name, kind) {
            let captured = |group: &str| {
                let number: usize = group.parse().ok()?;
                captures.get(number.checked_sub(1)?).copied()
            };
            return self.rules.get(rule).map(|rule| rule.found(&captured));
        }
        let regexes = self.regexes.iter().filter_map(|index| self.rules.get(*index));
        for rule in regexes.filter(|rule| rule.kind.is_none_or(|wanted| wanted == kind)) {
            let Some(captures) = rule.regex.as_ref().and_then(|regex| regex.captures(name)) else { continue };
            let captured = |group: &str| {
                let captured = match group.parse() {
                    Ok(number) => captures.get(number),
                    Err(_) => captures.name(group),
                };
                captured.map(|captured| captured.as_str())
            };
            return Some(rule.found(&captured));
        }
        None
    }

    fn add(&mut self, index: usize, rule: &Rule, defaults: &Defaults, faults: &mut Vec<Fault>) {
        let mut add = |key: &str, message: String| {
            faults.push(Fault { key: format!("mappings[{index}]{key}"), message });
        };
        let action = rule.action.unwrap_or_default();
        for label in rule.labels.iter().flat_map(BTreeMap::keys).filter(|label| !is_label_name(label)) {
            let why = "a label name has letters, digits and _, at least two characters, and no digit first";
            add(&format!(".labels.{label}"), why.into());
        }
        match &rule.name {
            None if action == Action::Map => add("", "the metric name is missing: add name: NAME".into()),
            Some(name) if !is_metric_name(name) => {
                let why = "a metric name has letters, digits, _ and $1 or ${1}, and no digit first";
                add(".name", why.into());
            }
            _ => {}
        }
        let kind = rule.match_metric_type.map(MetricType::kind);
        let mut regex = None;
        match (rule.match_type.or(defaults.match_type).unwrap_or_default(), &rule.pattern) {
            (_, None) => add("", "what to match is missing: add match: PATTERN".into()),
            (MatchType::Glob, Some(pattern)) if glob::is_valid(pattern) => {
                self.globs.add(pattern, kind, index);
            }
            (MatchType::Glob, Some(_)) => {
                let why = "a glob has components of letters, digits, _ and - (not - first, and no digit first in the \
                           first one), or a whole *, separated by dots; for anything else add match_type: regex";
                add(".match", why.into());
            }
            (MatchType::Regex, Some(pattern)) => match relabel::go_regex::compile(pattern) {
                Ok(compiled) => {
                    self.regexes.push(index);
                    regex = Some(compiled);
                }
                Err(error) => add(".match", format!("not a regular expression: {error}")),
            },
        }
        if rule.scale.is_some_and(|scale| !scale.is_finite()) {
            add(".scale", "the factor has to be a finite number".into());
        }
        let observer = observer::of_rule(index, rule, defaults, faults);
        self.rules.push(Compiled {
            regex,
            kind,
            name: Template::new(rule.name.as_deref().unwrap_or_default()),
            labels: rule
                .labels
                .iter()
                .flatten()
                .map(|(label, value)| (label.clone(), Template::new(value)))
                .collect(),
            is_drop: action == Action::Drop,
            observer,
            ttl: rule.ttl.map(|ttl| ttl.0).filter(|ttl| !ttl.is_zero()).or(defaults.ttl()),
            help: rule.help.clone().filter(|help| !help.is_empty()),
            scale: rule.scale,
            honor_labels: rule.honor_labels.unwrap_or(false),
        });
    }
}

impl Compiled {
    fn found<'m, 'c>(&'m self, captured: &dyn Fn(&str) -> Option<&'c str>) -> Found<'m> {
        let mut name = String::new();
        formats::statsd::escape(&self.name.expand(captured), &mut name);
        let labels = self.labels.iter().map(|(label, value)| (label.as_str(), value.expand(captured)));
        Found { rule: self, name, labels: labels.collect() }
    }
}

fn is_label_name(name: &str) -> bool {
    let is_allowed = |c: char| c.is_ascii_alphanumeric() || c == '_';
    name.len() >= 2 && name.chars().all(is_allowed) && !name.starts_with(|c: char| c.is_ascii_digit())
}

/// Returns true if all characters are valid in a metric name. References by number are valid too.
fn is_metric_name(name: &str) -> bool {
    let mut rest = name;
    let mut is_first = true;
    while let Some(c) = rest.chars().next() {
        if let Some(reference) = rest.strip_prefix('$') {
            let (reference, is_braced) = match reference.strip_prefix('{') {
                Some(inside) => (inside, true),
                None => (reference, false),
            };
            let after = reference.trim_start_matches(|c: char| c.is_ascii_digit());
            if after.len() == reference.len() {
                return false;
            }
            let Some(after) = (if is_braced { after.strip_prefix('}') } else { Some(after) }) else {
                return false;
            };
            rest = after;
        } else {
            if !(c.is_ascii_alphabetic() || c == '_' || (c.is_ascii_digit() && !is_first)) {
                return false;
            }
            rest = rest.get(1..).unwrap_or_default();
        }
        is_first = false;
    }
    !name.is_empty()
}
