//! Sentences about what a configuration does, for `narthex run` and `narthex check`.

use crate::config::file::File;
use crate::config::inputs::{InputSection, Source};
use crate::config::size::Human;
use crate::config::{Collect, Config};
use http_client::Url;
use intake::InputSettings;
use model::duration::human;
use model::words::{counted, number};
use receive::otlp_input::deltas::{self, Senders};
use remote::RemoteWrite;
use std::time::Duration;

/// All sentences, in the order of the data flow: what is collected, what is received, where it is sent.
pub(crate) fn sentences(config: &Config, job: &str, instance: &str) -> Vec<String> {
    let mut out = collected(&config.collect, job, instance);
    out.extend(received(config));
    out.extend(config.destinations.iter().map(destination));
    out
}

fn collected(collect: &Collect, job: &str, instance: &str) -> Vec<String> {
    let mut out = Vec::new();
    let every = human(collect.interval);
    if collect.host.is_empty() && collect.is_host_configured {
        out.push("collecting nothing of this machine, as configured".into());
    } else if collect.host.is_empty() {
        out.push(
            "collecting nothing of this machine; add `collect:` to the configuration file, or --collect default, \
             to collect what node_exporter does"
                .into(),
        );
    } else {
        let what = if collect.host == collect::CollectorSet::default() {
            "node_exporter's defaults".to_string()
        } else {
            collect.host.to_string()
        };
        out.push(format!("collecting every {every}, as job {job} and instance {instance}: {what}"));
    }
    if collect.own {
        let own = agent::host::OWN_JOB;
        out.push(format!("narthex' own metrics every {every}, as job {own} and instance {instance}"));
    }
    out
}

/// The enabled inputs, then each section whose settings differ from the defaults.
fn received(config: &Config) -> Vec<String> {
    let options = &config.receive;
    let inputs = File::default().inputs();
    let over_http: Vec<&str> =
        inputs.iter().filter(|input| input.source == Source::Http).map(|input| input.name).collect();
    let mut out = vec![format!("inputs over HTTP: {}", over_http.join(", "))];
    for (key, address) in &config.security.more_addresses {
        out.push(format!("{key}: HTTP and gRPC at {address}, too"));
    }
    for job in &config.jobs {
        let targets: usize = job.static_configs.iter().map(|group| group.targets.len()).sum();
        let (every, mut targets) = (human(job.interval), counted(targets as u64, "target"));
        for (key, entries) in
            [("file_sd_configs", job.file_sd_configs.len()), ("http_sd_configs", job.http_sd_configs.len())]
        {
            if entries > 0 {
                targets.push_str(&format!(", and those of {key}"));
            }
        }
        out.push(format!("scraping job {} every {every}: {targets}", job.name));
    }
    for listener in config.listeners.iter().filter(|listener| !listener.endpoints().is_empty()) {
        let endpoints: Vec<String> = listener.endpoints().iter().map(ToString::to_string).collect();
        out.push(format!("input {}: {}", listener.name(), endpoints.join(", ")));
    }
    if let Some(age) = options.intake.max_age {
        out.push(format!("receive: samples older than {} are refused", human(age)));
    }
    for InputSection { name, section, source, .. } in inputs {
        let is_on = source != Source::Listener || config.listeners.iter().any(|one| one.name() == name);
        let Some(settings) = options.intake.inputs.get(name).filter(|_| is_on) else { continue };
        let mut parts = input_parts(settings);
        if name == receive::PUSHGATEWAY {
            parts.extend(pushgateway_parts(&options.pushgateway));
        }
        if name == receive::influx::NAME {
            parts.extend(influx_parts(&options.influx));
        }
        if name == receive::OTLP {
            parts.extend(otlp_parts(&options.otlp, &options.deltas));
        }
        if !parts.is_empty() {
            out.push(format!("{section}: {}", parts.join("; ")));
        }
    }
    out
}

fn input_parts(settings: &InputSettings) -> Vec<String> {
    let mut parts = Vec::new();
    let labels: Vec<String> = settings
        .labels
        .pairs()
        .map(|(name, value)| {
            format!("{}={:?}", String::from_utf8_lossy(name), String::from_utf8_lossy(value))
        })
        .collect();
    if !labels.is_empty() {
        parts.push(format!("adds {}", labels.join(", ")));
    }
    if !settings.metric_relabel_configs.is_empty() {
        let rules = counted(settings.metric_relabel_configs.len() as u64, "rule");
        parts.push(format!("{rules} in metric_relabel_configs"));
    }
    if let Some(most) = settings.max_series {
        parts.push(format!("at most {} active series", number(most as u64)));
    }
    if let Some(most) = settings.max_series_per_metric {
        parts.push(format!("at most {} active series of one metric name", number(most as u64)));
    }
    parts
}

fn influx_parts(settings: &receive::influx::Settings) -> Vec<String> {
    use receive::influx::{Precision, ValueField};
    let mut parts = Vec::new();
    if settings.at_root {
        parts.push("also at InfluxDB's own paths, such as /write".to_string());
    }
    if settings.precision != Precision::default() {
        parts.push(format!("timestamps without a precision are read as {}", settings.precision));
    }
    if settings.value_field == ValueField::Suffix {
        parts.push("the field value keeps its name".to_string());
    }
    if let Some(label) = &settings.db_label {
        parts.push(format!("the database becomes the label {label}"));
    }
    parts
}

fn otlp_parts(settings: &otlp::Settings, deltas: &deltas::Settings) -> Vec<String> {
    let default = otlp::Settings::default();
    let mut parts = Vec::new();
    match &settings.promote {
        otlp::Promote::Only(names) if names.is_empty() => {}
        otlp::Promote::Only(names) => {
            parts.push(format!("{} become labels", counted(names.len() as u64, "resource attribute")));
        }
        otlp::Promote::AllBut(names) if names.is_empty() => {
            parts.push("all resource attributes become labels".into());
        }
        otlp::Promote::AllBut(names) => {
            parts.push(format!("all resource attributes but {} become labels", number(names.len() as u64)));
        }
    }
    if settings.translation_strategy != default.translation_strategy {
        let strategy = otlp::Strategy::ALL.iter().find(|(_, one)| *one == settings.translation_strategy);
        parts.extend(strategy.map(|(name, _)| format!("translation strategy {name}")));
    }
    if settings.exponential_histograms != default.exponential_histograms {
        parts.push("exponential histograms become classic ones".into());
    }
    for (is_other, what) in [
        (settings.convert_histograms_to_nhcb, "explicit histograms become native ones with custom buckets"),
        (settings.promote_scope_metadata, "scopes become labels"),
        (settings.keep_identifying_resource_attributes, "service.* are labels of target_info, too"),
        (!settings.label_name_underscore_sanitization, "label names may begin with one _"),
        (!settings.label_name_preserve_multiple_underscores, "several _ in a row become one in label names"),
        (deltas.senders == Senders::Many, "deltas of several senders are added up"),
    ] {
        if is_other {
            parts.push(what.into());
        }
    }
    if deltas.ttl != deltas::Settings::default().ttl {
        let lifetime =
            |ttl: Duration| format!("a series of deltas ends {} after its last data point", human(ttl));
        parts.push(deltas.ttl.map_or("series of deltas never end".to_string(), lifetime));
    }
    parts
}

fn pushgateway_parts(options: &receive::Pushgateway) -> Vec<String> {
    let default = receive::Pushgateway::default();
    let (groups, usual) = (&options.groups, &default.groups);
    let mut parts = Vec::new();
    if groups.interval != usual.interval {
        parts.push(format!("each group is sent every {}", human(groups.interval)));
    }
    if groups.ttl != usual.ttl {
        let lifetime = |ttl: Duration| format!("a group ends {} after its last push", human(ttl));
        parts.push(groups.ttl.map_or("groups never end by themselves".to_string(), lifetime));
    }
    for (most, usual, what) in [
        (groups.max_groups, usual.max_groups, "groups"),
        (groups.max_group_series, usual.max_group_series, "series in a group"),
        (groups.max_series, usual.max_series, "series in all groups"),
    ] {
        if most != usual {
            parts.push(format!("at most {} {what}", number(most as u64)));
        }
    }
    // All of these are off by default.
    for (is_on, words) in [
        (options.expose, "groups can be scraped at /metrics"),
        (options.allow_timestamps, "samples may have timestamps"),
        (options.enable_admin, "all groups can be wiped over HTTP"),
    ] {
        if is_on {
            parts.push(words.to_string());
        }
    }
    parts
}

fn destination(destination: &RemoteWrite) -> String {
    let members: Vec<String> = destination.members.iter().map(Url::redacted).collect();
    let rate = destination.queue_config.max_bytes_per_second.map(Human);
    match (members.as_slice(), destination.replicas.unwrap_or(1)) {
        ([], _) => {
            let rate = rate.map(|rate| format!(", at most {rate} a second")).unwrap_or_default();
            format!("pushing to {}{rate}", destination.url.redacted())
        }
        (some, replicas) => {
            let rate = rate.map(|rate| format!(", to each at most {rate} a second")).unwrap_or_default();
            format!("pushing each series to {replicas} of {} members: {}{rate}", some.len(), some.join(", "))
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::path::Path;

    fn of(text: &str) -> Vec<String> {
        let (config, _) = crate::config::parse("n.yml", Path::new(""), text, &|_| None).unwrap();
        sentences(&config, "node", "here")
    }

    #[test]
    fn inputs_are_named_and_only_settings_that_differ() {
        let default = of("remote_write: [{url: http://h/x}]\n");
        let inputs: Vec<&String> =
            default.iter().filter(|one| one.contains("input") || one.contains("receive")).collect();
        assert_eq!(inputs, ["inputs over HTTP: remote_write, import, pushgateway, influx, otlp"]);
        let said = of(
            "inputs: {labels: {site: boat}, max_series_per_metric: 1000}\ncollect: {labels: {}, max_series: 70000}\nreceive:\n  \
             max_age: 1h\n  import: {max_series: 50000, metric_relabel_configs: [{action: labeldrop, regex: a}]}\n  \
             pushgateway: {ttl: 1d, max_groups: 5, expose: true, interval: 30s}\ngraphite: {listen: \
             127.0.0.1:2003}\n",
        );
        for wanted in [
            "receive: samples older than 1 h are refused",
            "receive.remote_write: adds site=\"boat\"; at most 1,000 active series of one metric name",
            "receive.import: adds site=\"boat\"; 1 rule in metric_relabel_configs; at most 50,000 active series; at \
             most 1,000 active series of one metric name",
            "graphite: adds site=\"boat\"; at most 1,000 active series of one metric name",
            "collect: at most 70,000 active series",
        ] {
            assert!(said.iter().any(|one| one == wanted), "{wanted}\n{said:#?}");
        }
        assert!(
            said.iter().any(|one| one.starts_with("input graphite: ") && one.contains("127.0.0.1:2003")),
            "{said:#?}"
        );
        let pushgateway = said.iter().find(|one| one.starts_with("receive.pushgateway: ")).unwrap();
        assert!(
            pushgateway.contains("a group ends 1 d after its last push; at most 5 groups; groups can be"),
            "{pushgateway}"
        );
        assert!(!pushgateway.contains("every"), "{pushgateway}");
    }

    #[test]
    fn settings_of_otlp_are_described_where_they_differ() {
        let said = of(
            "otlp: {http_listen: '127.0.0.1:4318', accumulate: many, accumulate_ttl: 2h, convert_histograms_to_nhcb: true, \
             promote_scope_metadata: true, keep_identifying_resource_attributes: true, translation_strategy: NoTranslation, \
             label_name_underscore_sanitization: false, label_name_preserve_multiple_underscores: false}\n",
        );
        let said: Vec<&String> = said.iter().filter(|one| one.starts_with("otlp")).collect();
        let wanted = [
            "otlp.http_listen: HTTP and gRPC at 127.0.0.1:4318, too",
            "otlp: translation strategy NoTranslation; explicit histograms become native ones with custom buckets; scopes \
             become labels; service.* are labels of target_info, too; label names may begin with one _; several _ in a row \
             become one in label names; deltas of several senders are added up; a series of deltas ends 2 h after its \
             last data point",
        ];
        assert_eq!(said, wanted);
    }

    #[test]
    fn settings_of_influx_are_described_where_they_differ() {
        let of_influx =
            |text: &str| of(text).into_iter().filter(|one| one.contains("influx")).collect::<Vec<_>>();
        assert_eq!(of_influx("influx: {at_root: false, precision: ns}\n").len(), 1, "the list of inputs");
        let said = of_influx(
            "influx: {at_root: true, precision: auto, value_field: suffix, db_label: db, listen_udp: '127.0.0.1:8089'}\n",
        );
        let wanted = [
            "input influx_udp: UDP 127.0.0.1:8089",
            "influx: also at InfluxDB's own paths, such as /write; timestamps without a precision are read as their size \
             suggests; the field value keeps its name; the database becomes the label db",
        ];
        assert_eq!(said[1..], wanted);
    }

    #[test]
    fn an_input_with_sockets_is_described_only_if_enabled() {
        let labels = "inputs: {labels: {site: boat}}\n";
        let is_described = |text: &str| of(text).iter().any(|one| one.starts_with("graphite: "));
        assert!(!is_described(labels));
        assert!(is_described(&format!("{labels}graphite: {{listen: 2003}}\n")));
    }

    #[test]
    fn the_description_of_a_destination_names_its_limit() {
        let rate = "queue_config: {max_bytes_per_second: 100KiB}";
        let said = of(&format!(
            "remote_write:\n  - {{url: http://h/x, {rate}}}\n  - url: http://i/x\n  - {{members: [http://j/x, \
             http://k/x], name: n, shard_by: series, {rate}}}\n"
        ));
        let pushing: Vec<&String> = said.iter().filter(|one| one.starts_with("pushing")).collect();
        assert_eq!(
            pushing,
            [
                "pushing to http://h/x, at most 100 KiB a second",
                "pushing to http://i/x",
                "pushing each series to 1 of 2 members: http://j/x, http://k/x, to each at most 100 KiB a second",
            ]
        );
    }

    #[test]
    fn advice_to_collect_is_for_files_without_that_section() {
        let first = |text: &str| of(text).into_iter().next().unwrap();
        assert!(first("log: {}\n").contains("add `collect:`"));
        let none = first("collect: {host: {collectors: none}}\n");
        assert_eq!(none, "collecting nothing of this machine, as configured");
    }
}
