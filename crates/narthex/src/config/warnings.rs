//! Warnings about settings that are valid and probably not intended.

use super::env::{self, EnvError};
use super::file::File;
use super::known;
use super::read::Places;
use remote::config::Message;
use std::collections::BTreeSet;

/// Each warning is a sentence that begins with the file and the key. `text` is the text of the file.
pub(super) fn warnings(name: &str, text: &str, file: &File, places: &Places) -> Vec<String> {
    let mut warnings = Vec::new();
    for (key, why) in known::NOT_FOR_AN_AGENT {
        let given = match key {
            "rule_files" => file.rule_files.is_some(),
            "alerting" => file.alerting.is_some(),
            "storage" => file.storage.is_some(),
            "remote_read" => file.remote_read.is_some(),
            _ => false,
        };
        if given {
            warnings.push(format!("{name}: {key} has no effect: {why}"));
        }
    }
    for key in file.global.iter().flat_map(|global| global.idle()) {
        warnings.push(format!("{name}: global.{key} has no effect: narthex evaluates no rules"));
    }
    let defaults = ("inputs", file.inputs.clone().unwrap_or_default());
    let inputs = file.inputs().into_iter().map(|input| (input.section, input.settings));
    for (section, settings) in std::iter::once(defaults).chain(inputs) {
        for (index, rule) in settings.metric_relabel_configs.iter().flatten().enumerate() {
            if let Some(hint) = rule.hint() {
                let key = places.path_in_file(&format!("{section}.metric_relabel_configs[{index}]"));
                warnings.push(format!("{name}: {key}: {hint}"));
            }
        }
    }
    for (index, entry) in file.remote_write.iter().flatten().enumerate() {
        let mut warn = |key: &str, why: String| {
            let key = places.path_in_file(&format!("remote_write[{index}]{key}"));
            warnings.push(format!("{name}: {key}: {why}"));
        };
        for (rule, relabel) in entry.write_relabel_configs.iter().enumerate() {
            if let Some(hint) = relabel.hint() {
                warn(&format!(".write_relabel_configs[{rule}]"), hint.to_string());
            }
        }
        let has_custom_buckets = file.otlp.as_ref().is_some_and(|otlp| otlp.convert_histograms_to_nhcb);
        if has_custom_buckets && entry.protobuf_message == Some(Message::V1) {
            let why = "remote write 1.0 has no histograms with custom buckets, which otlp.convert_histograms_to_nhcb makes: \
                       this destination gets none of them; leave protobuf_message out";
            warn(".protobuf_message", why.into());
        }
        let queue = &entry.queue_config;
        let key = format!("remote_write[{index}].queue_config.min_shards");
        if queue.min_shards > queue.max_shards && places.has(&places.path_in_file(&key)) {
            let (min, max) = (queue.min_shards, queue.max_shards);
            let why =
                format!("{min} is more than max_shards, {max}: narthex never uses more than max_shards");
            warn(".queue_config.min_shards", why);
        }
        let urls = if entry.members.is_empty() { std::slice::from_ref(&entry.url) } else { &entry.members };
        for url in urls.iter().filter(|url| url.has_no_path()) {
            let (url, path) = (url.redacted(), http_client::url::DEFAULT_PATH);
            let why = format!(
                "the URL {url} has no path; receivers of remote write usually listen at {path}, so write {}{path}",
                url.trim_end_matches('/')
            );
            warn("", why);
        }
    }
    for key in variables(text, places) {
        let instead = instead_of_variable(&key);
        warnings.push(format!(
            "{name}: {key}: environment variables are not replaced in remote_write, so ${{...}} is used as it is; \
             {instead}"
        ));
    }
    warnings
}

/// The keys of destinations with `${NAME}` in their value. Relabelling rules are left out: `${NAME}` is a
/// group of the regular expression there.
fn variables(text: &str, places: &Places) -> BTreeSet<String> {
    let found = env::sections(text, |section| section == "remote_write", &|_| None);
    let variables = found.errors.into_iter().filter(|located| matches!(located.error, EnvError::Unset(_)));
    variables
        .filter_map(|located| places.key_at((located.line, located.column)))
        .filter(|key| !key.contains(".write_relabel_configs"))
        .collect()
}

/// The advice for a variable in a place where it is not expanded.
fn instead_of_variable(key: &str) -> String {
    let last = key.rsplit('.').next().unwrap_or_default();
    match last {
        "client_secret" if key.contains(".azuread.") => "write the value itself".into(),
        "username" | "password" | "credentials" | "bearer_token" | "client_secret" | "secret_key" => {
            format!("write {last}_file with the name of a file that has the value")
        }
        _ if key.contains(".http_headers.") => {
            "write `files` with the name of a file that has the value".into()
        }
        _ if key.contains(".headers.") => {
            format!(
                "write http_headers: {{{last}: {{files: [FILE]}}}} with the name of a file that has the value"
            )
        }
        _ => "write the value itself".into(),
    }
}

#[cfg(test)]
mod tests {
    use crate::config::parse;
    use std::path::Path;

    #[test]
    fn a_variable_in_a_destination_gets_a_warning_with_advice() {
        let text = "global: {external_labels: {site: '${SITE}'}}\nremote_write:\n  - url: http://h/x # ${COMMENT}\n    \
                    basic_auth: {username: '${USER}', password: \"x${PASSWORD}\"}\n    headers: {X-Tenant: '${TENANT}'}\n    \
                    http_headers: {X-Token: {values: ['${TOKEN}']}}\n    write_relabel_configs: [{regex: (?P<a>.*), \
                    source_labels: [b], target_label: c, replacement: '${a}-${1}'}]\n  - url: http://i/x\n    \
                    authorization:\n      credentials: ${TOKEN}${MORE}\n    name: ${NAME}\nlog: {max_size: '${SIZE}'}\n";
        let lookup = |name: &str| Some(if name == "SIZE" { "1GiB" } else { "harbour" }.to_string());
        let (_, warnings) = parse("n.yml", Path::new(""), text, &lookup).unwrap();
        let prefix = |key: &str| {
            format!(
                "n.yml: remote_write{key}: environment variables are not replaced in remote_write, so ${{...}} is used \
                 as it is; "
            )
        };
        let file = |key: &str| format!("write {key} with the name of a file that has the value");
        let wanted: Vec<String> = [
            ("[0].basic_auth.password", file("password_file")),
            ("[0].basic_auth.username", file("username_file")),
            ("[0].headers.X-Tenant", file("http_headers: {X-Tenant: {files: [FILE]}}")),
            ("[0].http_headers.X-Token.values[0]", file("`files`")),
            ("[1].authorization.credentials", file("credentials_file")),
            ("[1].name", "write the value itself".to_string()),
        ]
        .map(|(key, instead)| prefix(key) + &instead)
        .into();
        assert_eq!(warnings, wanted);
    }
}
