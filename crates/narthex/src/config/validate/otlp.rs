//! `otlp`: the settings for converting OTLP to series.

use super::Faults;
use super::statsd::limits;
use crate::config::inputs::{Accumulate, ExponentialHistograms, Input, Otlp, TranslationStrategy};
use otlp::{Promote, Settings, Strategy};
use receive::otlp_input::deltas::{self, Senders};
use scrape::config::Validation;
use std::collections::BTreeSet;
use std::net::SocketAddr;

/// The addresses in addition to that of `--listen`, each with its key.
pub(super) fn addresses(section: Option<&Otlp>, faults: &Faults<'_>) -> Vec<(&'static str, SocketAddr)> {
    let Some(section) = section else { return Vec::new() };
    let given = [("otlp.http_listen", section.http_listen), ("otlp.grpc_listen", section.grpc_listen)];
    let addresses: Vec<(&'static str, SocketAddr)> =
        given.into_iter().filter_map(|(key, given)| Some((key, given?.0))).collect();
    if let [(_, http), (key, grpc)] = addresses.as_slice()
        && http == grpc
        && http.port() != 0
    {
        let why = "it is the address of otlp.http_listen already, and each address takes both: leave one of them out";
        faults.add(key, why);
    }
    addresses
}

/// The settings, Prometheus' defaults where there is no section. The rules are those of Prometheus. `validation`: the
/// validation scheme for metric names.
pub(super) fn settings(
    section: Option<&Otlp>,
    validation: Option<Validation>,
    faults: &Faults<'_>,
) -> Settings {
    let default = Settings::default();
    let Some(section) = section else { return default };
    let all = section.promote_all_resource_attributes;
    if all && !section.promote_resource_attributes.is_empty() {
        let why = "promote_all_resource_attributes promotes all of them: leave one of the two out";
        faults.add("otlp.promote_resource_attributes", why);
    }
    if !all && !section.ignore_resource_attributes.is_empty() {
        let why = "it needs promote_all_resource_attributes: true; without that nothing has to be ignored";
        faults.add("otlp.ignore_resource_attributes", why);
    }
    if validation == Some(Validation::Legacy)
        && let Some(TranslationStrategy::NoUtf8EscapingWithSuffixes | TranslationStrategy::NoTranslation) =
            section.translation_strategy
    {
        let why = "names stay as they are, which global.metric_name_validation_scheme: legacy rules out: choose a strategy \
                   with escaping, or leave the validation scheme out";
        faults.add("otlp.translation_strategy", why);
    }
    let promoted = names("promote_resource_attributes", &section.promote_resource_attributes, faults);
    let ignored = names("ignore_resource_attributes", &section.ignore_resource_attributes, faults);
    Settings {
        promote: if all { Promote::AllBut(ignored) } else { Promote::Only(promoted) },
        translation_strategy: match section.translation_strategy {
            None => default.translation_strategy,
            Some(TranslationStrategy::UnderscoreEscapingWithSuffixes) => {
                Strategy::UnderscoreEscapingWithSuffixes
            }
            Some(TranslationStrategy::UnderscoreEscapingWithoutSuffixes) => {
                Strategy::UnderscoreEscapingWithoutSuffixes
            }
            Some(TranslationStrategy::NoUtf8EscapingWithSuffixes) => Strategy::NoUtf8EscapingWithSuffixes,
            Some(TranslationStrategy::NoTranslation) => Strategy::NoTranslation,
        },
        keep_identifying_resource_attributes: section.keep_identifying_resource_attributes,
        convert_histograms_to_nhcb: section.convert_histograms_to_nhcb,
        promote_scope_metadata: section.promote_scope_metadata,
        label_name_underscore_sanitization: section
            .label_name_underscore_sanitization
            .unwrap_or(default.label_name_underscore_sanitization),
        label_name_preserve_multiple_underscores: section
            .label_name_preserve_multiple_underscores
            .unwrap_or(default.label_name_preserve_multiple_underscores),
        exponential_histograms: match section.exponential_histograms {
            None => default.exponential_histograms,
            Some(ExponentialHistograms::Native) => otlp::ExponentialHistograms::Native,
            Some(ExponentialHistograms::Classic) => otlp::ExponentialHistograms::Classic,
        },
    }
}

/// How deltas are added up. The limits of `inputs` are the defaults for those of the section.
pub(super) fn deltas(section: Option<&Otlp>, defaults: &Input) -> deltas::Settings {
    let default = deltas::Settings::default();
    let own = section.map(Otlp::input).unwrap_or_default();
    deltas::Settings {
        senders: match section.and_then(|section| section.accumulate) {
            None => default.senders,
            Some(Accumulate::Single) => Senders::Single,
            Some(Accumulate::Many) => Senders::Many,
        },
        ttl: match section.and_then(|section| section.accumulate_ttl) {
            None => default.ttl,
            Some(ttl) => (!ttl.is_zero()).then_some(ttl),
        },
        limits: limits(&own, defaults),
    }
}

fn names(key: &str, given: &[String], faults: &Faults<'_>) -> BTreeSet<String> {
    let mut names = BTreeSet::new();
    for (index, name) in given.iter().enumerate() {
        let key = format!("otlp.{key}[{index}]");
        let name = name.trim();
        if name.is_empty() {
            faults.add(&key, "the name of a resource attribute is missing");
        } else if !names.insert(name.to_string()) {
            faults.add(&key, format!("{name:?} is there twice"));
        }
    }
    names
}

#[cfg(test)]
mod tests {
    use crate::config::parse;
    use otlp::{ExponentialHistograms, Promote, Settings, Strategy};
    use receive::otlp_input::deltas::{self, Senders};
    use std::path::Path;
    use std::time::Duration;

    fn settings(section: &str) -> Result<Settings, Vec<String>> {
        let text = format!("otlp: {section}\n");
        match parse("n.yml", Path::new(""), &text, &|_| None) {
            Ok((config, _)) => Ok(config.receive.otlp),
            Err(errors) => {
                Err(errors.mistakes.iter().map(|one| format!("{}: {}", one.key, one.message)).collect())
            }
        }
    }

    #[test]
    fn the_keys_of_prometheus_are_read() {
        assert_eq!(settings(""), Ok(Settings::default()));
        for (name, strategy) in Strategy::ALL {
            let found = settings(&format!("{{translation_strategy: {name}}}")).unwrap();
            assert_eq!(found.translation_strategy, strategy);
        }
        let found = settings(
            "{promote_all_resource_attributes: true, ignore_resource_attributes: [a, ' b '], \
             keep_identifying_resource_attributes: true, convert_histograms_to_nhcb: true, promote_scope_metadata: true, \
             label_name_underscore_sanitization: false, label_name_preserve_multiple_underscores: false, \
             exponential_histograms: classic}",
        );
        let wanted = Settings {
            promote: Promote::AllBut(["a", "b"].map(String::from).into()),
            translation_strategy: Strategy::default(),
            keep_identifying_resource_attributes: true,
            convert_histograms_to_nhcb: true,
            promote_scope_metadata: true,
            label_name_underscore_sanitization: false,
            label_name_preserve_multiple_underscores: false,
            exponential_histograms: ExponentialHistograms::Classic,
        };
        assert_eq!(found, Ok(wanted));
    }

    #[test]
    fn the_legacy_validation_scheme_needs_escaping_as_in_prometheus() {
        for (name, strategy) in Strategy::ALL {
            let is_escaping = name.starts_with("Underscore");
            for (scheme, is_fine) in [("legacy", is_escaping), ("utf8", true)] {
                let text = format!(
                    "global: {{metric_name_validation_scheme: {scheme}}}\notlp: {{translation_strategy: {name}}}\n"
                );
                let found = parse("n.yml", Path::new(""), &text, &|_| None);
                assert_eq!(found.is_ok(), is_fine, "{scheme} {strategy:?}");
            }
        }
    }

    #[test]
    fn deltas_have_one_sender_and_live_an_hour_unless_told_otherwise() {
        let settings = |text: &str| {
            let (config, _) = parse("n.yml", Path::new(""), text, &|_| None).unwrap();
            config.receive.deltas
        };
        let default = deltas::Settings::default();
        assert_eq!((default.senders, default.ttl), (Senders::Single, Some(Duration::from_secs(3600))));
        assert_eq!(settings("otlp: {}\n"), default);
        let found = settings("otlp: {accumulate: many, accumulate_ttl: 2h, max_series: 7}\n");
        assert_eq!((found.senders, found.ttl), (Senders::Many, Some(Duration::from_secs(7200))));
        assert_eq!(found.limits.series, 7);
        let found = settings("otlp: {accumulate_ttl: 0}\ninputs: {max_series_per_metric: 3}\n");
        assert_eq!((found.ttl, found.limits.series_per_name), (None, 3));
    }

    #[test]
    fn mistakes_are_reported_with_a_correction() {
        for (section, wanted) in [
            (
                "{promote_all_resource_attributes: true, promote_resource_attributes: [a]}",
                "otlp.promote_resource_attributes: promote_all_resource_attributes promotes all",
            ),
            ("{ignore_resource_attributes: [a]}", "otlp.ignore_resource_attributes: it needs promote_all"),
            ("{promote_resource_attributes: [a, '']}", "otlp.promote_resource_attributes[1]: the name of"),
            (
                "{promote_resource_attributes: [a, ' a']}",
                "otlp.promote_resource_attributes[1]: \"a\" is there twice",
            ),
            (
                "{http_listen: '127.0.0.1:4317', grpc_listen: '127.0.0.1:4317'}",
                "otlp.grpc_listen: it is the address of otlp.http_listen",
            ),
            ("{http_listen: 4318x}", "otlp.http_listen: "),
            ("{accumulate: several}", "otlp.accumulate: "),
            ("{translation_strategy: None}", "otlp.translation_strategy: "),
            ("{exponential_histograms: both}", "otlp.exponential_histograms: "),
        ] {
            let found = settings(section).unwrap_err();
            assert!(found.iter().any(|one| one.starts_with(wanted)), "{section}: {found:?}");
        }
    }
}
