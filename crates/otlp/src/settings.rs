//! How OTLP becomes series: the keys of Prometheus' section `otlp`, with Prometheus' defaults.

use std::collections::BTreeSet;

/// Settings of the translation.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Settings {
    /// Which resource attributes become labels of every series.
    pub promote: Promote,
    pub translation_strategy: Strategy,
    /// Whether `service.name`, `service.namespace` and `service.instance.id` are labels of `target_info` as well.
    pub keep_identifying_resource_attributes: bool,
    /// Whether explicit histograms become native histograms with custom buckets.
    pub convert_histograms_to_nhcb: bool,
    /// Whether name, version, schema URL and attributes of a scope become labels.
    pub promote_scope_metadata: bool,
    /// Whether a label name that begins with a single `_` gets `key` in front of it.
    pub label_name_underscore_sanitization: bool,
    /// Whether several `_` in a row are kept in a label name.
    pub label_name_preserve_multiple_underscores: bool,
    pub exponential_histograms: ExponentialHistograms,
}

impl Default for Settings {
    fn default() -> Self {
        Settings {
            promote: Promote::default(),
            translation_strategy: Strategy::default(),
            keep_identifying_resource_attributes: false,
            convert_histograms_to_nhcb: false,
            promote_scope_metadata: false,
            label_name_underscore_sanitization: true,
            label_name_preserve_multiple_underscores: true,
            exponential_histograms: ExponentialHistograms::default(),
        }
    }
}

/// Which resource attributes become labels of every series.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Promote {
    /// These.
    Only(BTreeSet<String>),
    /// All but these.
    AllBut(BTreeSet<String>),
}

impl Default for Promote {
    fn default() -> Self {
        Promote::Only(BTreeSet::new())
    }
}

impl Promote {
    pub(crate) fn includes(&self, attribute: &str) -> bool {
        match self {
            Promote::Only(names) => names.contains(attribute),
            Promote::AllBut(names) => !names.contains(attribute),
        }
    }
}

/// `translation_strategy`: how names of metrics and labels are made.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum Strategy {
    /// Characters that Prometheus' older rules do not allow become `_`; units and types become suffixes.
    #[default]
    UnderscoreEscapingWithSuffixes,
    /// The same without suffixes.
    UnderscoreEscapingWithoutSuffixes,
    /// Names stay as they are, and get suffixes.
    NoUtf8EscapingWithSuffixes,
    /// Names stay as they are.
    NoTranslation,
}

impl Strategy {
    /// All of them, by their names in the configuration.
    pub const ALL: [(&'static str, Strategy); 4] = [
        ("UnderscoreEscapingWithSuffixes", Strategy::UnderscoreEscapingWithSuffixes),
        ("UnderscoreEscapingWithoutSuffixes", Strategy::UnderscoreEscapingWithoutSuffixes),
        ("NoUTF8EscapingWithSuffixes", Strategy::NoUtf8EscapingWithSuffixes),
        ("NoTranslation", Strategy::NoTranslation),
    ];

    pub(crate) const fn escapes(self) -> bool {
        matches!(self, Self::UnderscoreEscapingWithSuffixes | Self::UnderscoreEscapingWithoutSuffixes)
    }

    pub(crate) const fn adds_suffixes(self) -> bool {
        matches!(self, Self::UnderscoreEscapingWithSuffixes | Self::NoUtf8EscapingWithSuffixes)
    }
}

/// What exponential histograms become.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum ExponentialHistograms {
    /// Native histograms.
    #[default]
    Native,
    /// Series of buckets, for receivers that do not take native histograms.
    Classic,
}
