//! `receive` and `inputs`: the inputs, and who is authorised to use them.

use super::Faults;
use super::file::{self, File};
use http_server::security::hosts::AllowedHost;
use http_server::security::{Settings, tls, token_error};
use intake::{Exposure, InputSettings};
use receive::graphite::Graphite;
use relabel::AddedLabels;
use std::collections::BTreeMap;
use std::net::SocketAddr;
use std::sync::Arc;

/// Who is authorised. The files are read as well, so that a mistake in them is found before narthex starts.
pub(super) fn security(section: &mut file::Receive, faults: &Faults<'_>) -> Settings {
    let mut settings = Settings { tls: section.tls.take(), ..Settings::default() };
    for error in settings.tls.iter().flat_map(tls::errors) {
        faults.add_within("receive.tls", &error.to_string());
    }
    if let Some(basic) = section.basic_auth.take() {
        if basic.users.is_empty() {
            let why = "there are no users, so nobody would be asked: leave basic_auth out for that";
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

/// The settings of each input, by its name; `inputs` are the defaults of those with their names and sections.
pub(super) fn input_settings(
    inputs: Vec<(&'static str, &'static str, file::Input)>,
    defaults: &file::Input,
    faults: &Faults<'_>,
) -> BTreeMap<&'static str, Arc<InputSettings>> {
    settings("inputs", defaults.clone(), &file::Input::default(), faults);
    let own = |(name, section, own): (&'static str, &'static str, file::Input)| {
        // `pushgateway.max_series`, which counts the series of all groups, takes the place of `inputs.max_series`. What
        // narthex collects itself is limited only where its own section says so.
        let is_collected = name == agent::host::INPUT;
        let max_series = defaults.max_series.filter(|_| name != receive::PUSHGATEWAY && !is_collected);
        let max_series_per_metric = defaults.max_series_per_metric.filter(|_| !is_collected);
        let defaults = file::Input { max_series, max_series_per_metric, ..defaults.clone() };
        (name, Arc::new(settings(section, own, &defaults, faults)))
    };
    inputs.into_iter().map(own).collect()
}

/// Inputs with sockets of their own.
pub(super) fn listeners(file: &File, faults: &Faults<'_>) -> Vec<Arc<dyn intake::Listener>> {
    let mut all: Vec<Arc<dyn intake::Listener>> = Vec::new();
    if let Some((listen, exposure)) = address(receive::graphite::NAME, file.graphite.as_ref(), faults) {
        all.push(Arc::new(Graphite { listen, exposure }));
    }
    all
}

/// The address of an input, and who may send to it. `None` without the section, and where something is wrong.
fn address(
    section: &'static str,
    given: Option<&file::Listener>,
    faults: &Faults<'_>,
) -> Option<(SocketAddr, Exposure)> {
    let given = given?;
    let key = format!("{section}.listen");
    let Some(file::ListenAddress(listen)) = given.listen else {
        faults.add_about(section, &[section, &key], "the address is missing: add listen: ADDRESS:PORT");
        return None;
    };
    let allow_from = given.allow_from.iter().map(|network| network.0).collect();
    let exposure = Exposure { allow_from, allow_unauthenticated: given.allow_unauthenticated };
    if let Err(exposed) = exposure.check(section, listen) {
        faults.add_about(&key, &[&key, &format!("{section}.allow_from")], exposed.to_string());
    }
    Some((listen, exposure))
}

/// Limits, and the Pushgateway's interface.
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

/// The settings of one input: its own keys, and the defaults for those that it does not have.
fn settings(section: &str, own: file::Input, defaults: &file::Input, faults: &Faults<'_>) -> InputSettings {
    for name in own.labels.iter().flat_map(|labels| labels.keys()) {
        if name.is_empty() || name.starts_with("__") {
            let why = "a label needs a name that does not begin with __";
            faults.add(&format!("{section}.labels.{name}"), why);
        }
    }
    for (key, limit) in [("max_series", own.max_series), ("max_series_per_metric", own.max_series_per_metric)]
    {
        if limit == Some(0) {
            let why = "0 would refuse everything: at least 1, or leave it out for no limit";
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
    }
}
