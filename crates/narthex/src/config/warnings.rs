//! What is valid in a file and probably not what its author meant.

use super::file::File;
use super::known;
use super::read::Places;

/// Each is a sentence that begins with the file and the key.
pub(super) fn warnings(name: &str, file: &File, places: &Places) -> Vec<String> {
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
        warnings.push(format!("{name}: global.{key} has no effect: narthex neither scrapes nor evaluates"));
    }
    let defaults = file.inputs.clone().unwrap_or_default();
    for (_, section, input) in [("", "inputs", defaults)].into_iter().chain(file.inputs()) {
        for (index, rule) in input.metric_relabel_configs.iter().flatten().enumerate() {
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
    warnings
}
