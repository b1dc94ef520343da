//! `receive` and `inputs`: the settings of the inputs, and who is authorised to use them.

use super::Faults;
use super::file;
use crate::config::inputs::{Input, InputSection, Source};
use http_server::security::hosts::AllowedHost;
use http_server::security::{Settings, tls, token_error};
use intake::InputSettings;
use model::Limits;
use model::words::number;
use relabel::AddedLabels;
use std::collections::BTreeMap;
use std::sync::Arc;

/// The users and tokens that are authorised. Their files are read here, so that mistakes in them are found
/// before narthex starts.
pub(super) fn security(section: &mut file::Receive, faults: &Faults<'_>) -> Settings {
    let mut settings = Settings { tls: section.tls.take(), ..Settings::default() };
    for error in settings.tls.iter().flat_map(tls::errors) {
        faults.add_within("receive.tls", &error.to_string());
    }
    if let Some(basic) = section.basic_auth.take() {
        if basic.users.is_empty() {
            let why =
                "there are no users, so no client would need credentials: leave basic_auth out for that";
            faults.add("receive.basic_auth", why);
        }
        for (user, hash) in &basic.users {
            let one = [(user.clone(), hash.reveal().to_string())].into();
            if let Err(error) = http_server::auth::Auth::new(one, Vec::new()) {
                faults.add(&format!("receive.basic_auth.users.{user}"), error.to_string());
            }
        }
        settings.users = basic.users;
    }
    if let Some(bearer) = section.bearer.take() {
        let why = match (&bearer.token, &bearer.token_file) {
            (Some(token), None) if token.reveal().is_empty() => Some("the token is empty"),
            (Some(_), None) | (None, Some(_)) => None,
            (Some(_), Some(_)) => Some("token and token_file exclude each other"),
            (None, None) => Some("give token_file, or token"),
        };
        if let Some(why) = why {
            faults.add("receive.bearer", why);
        } else if let Some(error) = bearer.token_file.as_deref().and_then(token_error) {
            faults.add_within("receive.bearer", &error.to_string());
        }
        (settings.token, settings.token_file) = (bearer.token, bearer.token_file);
    }
    for (index, host) in section.allowed_hosts.iter().enumerate() {
        let key = format!("receive.allowed_hosts[{index}]");
        match host.parse::<AllowedHost>() {
            Ok(host) => settings.allowed_hosts.push(host),
            Err(error) => faults.add(&key, error.to_string()),
        }
    }
    settings
}

/// The settings of each input, by its name.
pub(super) fn input_settings(
    inputs: Vec<InputSection>,
    defaults: &Input,
    faults: &Faults<'_>,
) -> BTreeMap<&'static str, Arc<InputSettings>> {
    settings("inputs", defaults.clone(), &Input::default(), faults);
    let own = |InputSection { name, section, source, settings: own }: InputSection| {
        // For the Pushgateway's interface, `pushgateway.max_series` replaces `inputs.max_series`: it counts
        // the series of all groups. narthex' own collection is limited only by its own section.
        let is_collected = source == Source::Collection;
        let max_series = defaults.max_series.filter(|_| name != receive::PUSHGATEWAY && !is_collected);
        let max_series_per_metric = defaults.max_series_per_metric.filter(|_| !is_collected);
        let defaults = Input { max_series, max_series_per_metric, ..defaults.clone() };
        (name, Arc::new(settings(section, own, &defaults, faults)))
    };
    inputs.into_iter().map(own).collect()
}

/// The limits, and the settings of the Pushgateway's interface.
pub(super) fn options(
    section: file::Receive,
    inputs: BTreeMap<&'static str, Arc<InputSettings>>,
    faults: &Faults<'_>,
) -> receive::Options {
    let mut options = receive::Options::default();
    options.intake.inputs = inputs;
    options.intake.max_age = section.max_age;
    let given = section.pushgateway.unwrap_or_default();
    let gateway = &mut options.pushgateway;
    gateway.expose = given.expose.unwrap_or(gateway.expose);
    gateway.allow_timestamps = given.allow_timestamps.unwrap_or(gateway.allow_timestamps);
    gateway.enable_admin = given.enable_admin.unwrap_or(gateway.enable_admin);
    let groups = &mut gateway.groups;
    groups.interval = given.interval.unwrap_or(groups.interval);
    groups.ttl = given.ttl.or(groups.ttl);
    groups.max_groups = given.max_groups.unwrap_or(groups.max_groups);
    groups.max_group_series = given.max_group_series.unwrap_or(groups.max_group_series);
    groups.max_series = given.max_series.unwrap_or(groups.max_series);
    for error in options.errors() {
        faults.add_within("receive", &error.to_string());
    }
    options
}

/// The settings of one input: its own keys, with defaults for those that it does not set.
fn settings(section: &str, own: Input, defaults: &Input, faults: &Faults<'_>) -> InputSettings {
    let limits = Limits::default();
    for (name, value) in own.labels.iter().flatten() {
        let key = format!("{section}.labels.{name}");
        if name.is_empty() || name.starts_with("__") {
            faults.add_at_key(&key, "a label needs a name that does not begin with __");
        } else if name.len() > limits.name_bytes {
            let most = number(limits.name_bytes as u64);
            faults.add_at_key(&key, format!("the name of a label may have at most {most} bytes"));
        }
        if value.len() > limits.value_bytes {
            let most = number(limits.value_bytes as u64);
            faults.add(&key, format!("the value of a label may have at most {most} bytes"));
        }
    }
    for (key, limit) in [("max_series", own.max_series), ("max_series_per_metric", own.max_series_per_metric)]
    {
        if limit == Some(0) {
            // StatsD has limits of its own where none are set.
            let without = if section == "statsd" { "the default" } else { "no limit" };
            let why = format!("0 would refuse everything: at least 1, or leave it out for {without}");
            faults.add(&format!("{section}.{key}"), why);
        }
    }
    let labels = own.labels.or_else(|| defaults.labels.clone()).unwrap_or_default();
    let rules = own.metric_relabel_configs.or_else(|| defaults.metric_relabel_configs.clone());
    InputSettings {
        labels: AddedLabels::new(&labels.into_iter().collect::<Vec<_>>()),
        metric_relabel_configs: rules.unwrap_or_default(),
        max_series: own.max_series.or(defaults.max_series),
        max_series_per_metric: own.max_series_per_metric.or(defaults.max_series_per_metric),
        mapping: None,
    }
}

#[cfg(test)]
mod tests {
    use crate::config::parse;
    use std::path::Path;

    /// Each mistake as `LINE:COLUMN: KEY: MESSAGE`.
    fn mistakes(text: &str) -> Vec<String> {
        let errors = parse("n.yml", Path::new(""), text, &|_| None).unwrap_err();
        let shown = errors.mistakes.iter().map(|one| {
            let (line, column) = one.place.unwrap_or_default();
            format!("{line}:{column}: {}: {}", one.key, one.message)
        });
        shown.collect()
    }

    #[test]
    fn labels_that_no_input_may_set_are_reported_with_all_other_mistakes() {
        let found = mistakes(
            "inputs: {labels: {__name__: up, site: '${NOT_SET}'}, max_series: 0}\ngraphite: {listen: '${NOT_SET}', \
             labels: {__tmp: '${NOT_SET}'}}\nlog: {max_size: lots}\n",
        );
        let wanted = [
            "1:19: inputs.labels.__name__: a label needs a name that does not begin with __",
            "1:40: inputs.labels.site: environment variable NOT_SET is not set",
            "1:66: inputs.max_series: 0 would refuse everything: at least 1, or leave it out for no limit",
            "2:21: graphite.listen: environment variable NOT_SET is not set",
            "2:43: graphite.labels.__tmp: a label needs a name that does not begin with __",
            "2:51: graphite.labels.__tmp: environment variable NOT_SET is not set",
        ];
        let place = |text: &str| text.splitn(3, ':').nth(2).map(str::to_string);
        let without_column = |all: &[&str]| all.iter().map(|one| place(one)).collect::<Vec<_>>();
        let found: Vec<&str> = found.iter().map(String::as_str).collect();
        assert_eq!(without_column(&found[..6]), without_column(&wanted), "{found:#?}");
        assert!(found[6].contains("log.max_size: \"lots\" is not a size"), "{found:#?}");
        assert_eq!(found.len(), 7);
    }

    #[test]
    fn labels_over_a_limit_are_mistakes() {
        // YAML has a limit of 1,024 characters for a key.
        let (name, value) = ("ü".repeat(513), "v".repeat((16 << 10) + 1));
        let found = mistakes(&format!("receive: {{import: {{labels: {{{name}: a, b: {value}}}}}}}\n"));
        assert_eq!(found.len(), 2, "{found:?}");
        assert!(found[0].ends_with("the name of a label may have at most 1,024 bytes"), "{}", found[0]);
        assert!(
            found[1].ends_with("labels.b: the value of a label may have at most 16,384 bytes"),
            "{}",
            found[1]
        );
    }
}
