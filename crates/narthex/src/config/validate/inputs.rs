//! `receive`: the inputs, and who is authorised to use them.

use super::Faults;
use super::file;
use crate::security::hosts::AllowedHost;
use crate::security::{Settings, tls, token_error};

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
            if let Err(error) = receive::auth::Auth::new(one, Vec::new()) {
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

/// Limits and the Pushgateway's interface.
pub(super) fn options(section: file::Receive, faults: &Faults<'_>) -> receive::Options {
    let mut options = receive::Options::default();
    options.intake.max_age = section.max_age;
    let given = section.pushgateway.unwrap_or_default();
    let gateway = &mut options.pushgateway;
    gateway.interval = given.interval.unwrap_or(gateway.interval);
    gateway.ttl = given.ttl.or(gateway.ttl);
    gateway.expose = given.expose.unwrap_or(gateway.expose);
    gateway.allow_timestamps = given.allow_timestamps.unwrap_or(gateway.allow_timestamps);
    gateway.enable_admin = given.enable_admin.unwrap_or(gateway.enable_admin);
    gateway.max_groups = given.max_groups.unwrap_or(gateway.max_groups);
    gateway.max_group_series = given.max_group_series.unwrap_or(gateway.max_group_series);
    gateway.max_series = given.max_series.unwrap_or(gateway.max_series);
    for error in options.errors() {
        faults.add_within("receive", &error.to_string());
    }
    options
}
