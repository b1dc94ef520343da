//! Checks that `docs/limits.md` has the numbers of the code.
#![allow(clippy::unwrap_used, clippy::indexing_slicing, reason = "a panic is how a test reports")]

use agent::status;
use command::flags;
use http_server::security;
use narthex::config;
use push::exec;
use receive::lines;
use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

/// A size as in the document: `32 MiB`. In bytes only if no larger unit is exact.
fn bytes(bytes: impl TryInto<u64>) -> String {
    let bytes: u64 = bytes.try_into().ok().unwrap();
    match bytes {
        _ if bytes.is_multiple_of(1 << 30) => format!("{} GiB", bytes >> 30),
        _ if bytes.is_multiple_of(1 << 20) => format!("{} MiB", bytes >> 20),
        _ if bytes.is_multiple_of(1 << 10) && bytes > 1024 => format!("{} KiB", bytes >> 10),
        _ => format!("{} bytes", count(bytes)),
    }
}

/// A number as in the document: `10,000`.
fn count(number: impl TryInto<u64>) -> String {
    let digits = TryInto::<u64>::try_into(number).ok().unwrap().to_string();
    let mut out = String::new();
    for (index, digit) in digits.chars().enumerate() {
        if index > 0 && (digits.len() - index).is_multiple_of(3) {
            out.push(',');
        }
        out.push(digit);
    }
    out
}

fn time(time: Duration) -> String {
    match time.as_secs() {
        seconds if seconds > 60 && seconds.is_multiple_of(60) => format!("{} min", seconds / 60),
        seconds => format!("{seconds} s"),
    }
}

/// The numbers in the document, by section and name of the limit.
fn documented() -> BTreeMap<(String, String), String> {
    let (mut section, mut found) = (String::new(), BTreeMap::new());
    for line in include_str!("../docs/limits.md").lines() {
        if let Some(title) = line.strip_prefix("## ") {
            section = title.to_string();
        }
        let cells: Vec<&str> = line.split('|').map(str::trim).collect();
        if cells.len() > 3 && cells[1] != "what" && !cells[1].starts_with("---") {
            let twice = found.insert((section.clone(), cells[1].to_string()), cells[2].to_string());
            assert_eq!(twice, None, "{section}: {} is there twice", cells[1]);
        }
    }
    found
}

/// The section, the name of the limit, and the number in the code.
fn by_the_code() -> Vec<(&'static str, &'static str, String)> {
    let series = model::Limits::default();
    let doors = receive::Options::default();
    let gateway = doors.pushgateway.groups.clone();
    let log = storage::Options::new("data");
    let window = sink::window::WindowLimits::DEFAULT;
    let named = |number: String, name: &str| format!("{number} (`{name}`)");
    let keyed = |number: usize, key: &str| format!("{} (`{key}`)", count(number));
    vec![
        ("The log", "committed batches kept in memory", bytes(log.tail_bytes)),
        ("The log", "batches that wait for the disk", bytes(log.waiting_bytes)),
        ("The log", "one group commit", bytes(log.group_bytes)),
        (
            "The log",
            "damaged stretches that one read distinguishes",
            named(count(wal::SegmentReader::MAX_DAMAGE), "MAX_DAMAGE"),
        ),
        (
            "The log",
            "missing segments that are replaced by empty files",
            named(count(wal::dir::MAX_FILLED), "MAX_FILLED"),
        ),
        (
            "The log",
            "encoded records that are not written yet",
            named(bytes(wal::Writer::MAX_PENDING_BYTES), "MAX_PENDING_BYTES"),
        ),
        ("The log", "series in the registry", count(log.max_series)),
        ("The log", "reserved for a full disk", bytes(log.reserve_bytes)),
        (
            "Scraping",
            "a page, uncompressed, and as it arrives",
            named(bytes(scrape::PAGE_BYTES_MAX), "PAGE_BYTES_MAX"),
        ),
        ("Scraping", "pages that are parsed at once", named(count(scrape::PARSES_MAX), "PARSES_MAX")),
        (
            "Scraping",
            "dropped targets of a job that are kept to be shown",
            named(count(scrape::DROPPED_MAX), "DROPPED_MAX"),
        ),
        (
            "Scraping",
            "files that match one path of `file_sd_configs`",
            named(count(scrape::discovery::FILES_MAX), "FILES_MAX"),
        ),
        (
            "Scraping",
            "a file of `file_sd_configs`, an answer to `http_sd_configs`",
            named(bytes(scrape::discovery::GROUPS_BYTES_MAX), "GROUPS_BYTES_MAX"),
        ),
        (
            "Scraping",
            "targets of one such file or answer",
            named(count(scrape::discovery::TARGETS_MAX), "TARGETS_MAX"),
        ),
        (
            "Scraping",
            "addresses and labels of all targets of one such file or answer",
            named(bytes(scrape::discovery::LABELS_BYTES_MAX), "LABELS_BYTES_MAX"),
        ),
        (
            "Scraping",
            "how long an answer to `http_sd_configs` may take",
            named(time(scrape::discovery::ANSWER_TIME_MAX), "ANSWER_TIME_MAX"),
        ),
        ("A series", "labels", count(series.labels)),
        ("A series", "a label's or metric's name", bytes(series.name_bytes)),
        ("A series", "a label's value", bytes(series.value_bytes)),
        ("A series", "a whole label set", bytes(series.set_bytes)),
        ("A series", "buckets of a native histogram", count(series.buckets)),
        (
            "A series",
            "metrics whose type, help and unit are remembered",
            count(storage::metadata::MAX_FAMILIES),
        ),
        ("A series", "a help text or unit", bytes(storage::metadata::MAX_TEXT_BYTES)),
        (
            "InfluxDB's line protocol",
            "memory of the samples of one request that are read before they are appended",
            named(bytes(receive::influx::PART_BYTES), "PART_BYTES"),
        ),
        (
            "InfluxDB's line protocol",
            "fields of one line",
            named(count(influx::LINE_FIELDS_MAX), "LINE_FIELDS_MAX"),
        ),
        (
            "InfluxDB's line protocol",
            "labels of all fields of one line together",
            named(bytes(influx::LINE_LABEL_BYTES_MAX), "LINE_LABEL_BYTES_MAX"),
        ),
        (
            "InfluxDB's line protocol",
            "rejected lines of one request that the answer describes",
            named(count(influx::FAULTS_MAX), "FAULTS_MAX"),
        ),
        (
            "InfluxDB's line protocol",
            "characters of a rejected line that the answer shows",
            named(count(influx::LINE_SHOWN_CHARS), "LINE_SHOWN_CHARS"),
        ),
        ("Graphite", "connections at a time", named(count(lines::CONNECTIONS_MAX), "CONNECTIONS_MAX")),
        ("Graphite", "a line, without its end", named(bytes(lines::LINE_BYTES_MAX), "LINE_BYTES_MAX")),
        (
            "Graphite",
            "how long lines wait for others before they are appended",
            format!("{} ms", lines::WAIT.as_millis()),
        ),
        ("Graphite", "lines of a connection before they are appended", bytes(lines::CONNECTION_BATCH_BYTES)),
        ("Graphite", "lines from datagrams before they are appended", bytes(lines::BATCH_BYTES)),
        (
            "Graphite",
            "batches of lines from datagrams that wait for the log",
            named(count(lines::BATCHES_MAX), "BATCHES_MAX"),
        ),
        (
            "Graphite",
            "the kernel's buffer for datagrams, as far as `net.core.rmem_max` allows",
            bytes(lines::BUFFER_BYTES),
        ),
        ("Graphite", "a connection whose client no longer answers", time(lines::KEEPALIVE_MAX)),
        ("StatsD", "a unix datagram", named(bytes(lines::DATAGRAM_BYTES), "DATAGRAM_BYTES")),
        ("StatsD", "series of the totals", count(totals::Limits::default().series)),
        ("StatsD", "series of one metric name", count(totals::Limits::default().series_per_name)),
        ("StatsD", "memory of the totals", bytes(totals::Limits::default().bytes)),
        (
            "StatsD",
            "memory of totals that are replaced after a change of buckets, until the next interval is written",
            bytes(totals::Limits::default().bytes),
        ),
        (
            "StatsD",
            "changes of the buckets of a series until the next interval is written",
            named(count(totals::TURNS_MAX), "TURNS_MAX"),
        ),
        ("StatsD", "memory of the keys of known series", named(bytes(statsd::KEYS_BYTES), "KEYS_BYTES")),
        ("StatsD", "sets with values in an interval", named(count(statsd::SETS_MAX), "SETS_MAX")),
        ("StatsD", "values of a set that are counted exactly", named(count(statsd::EXACT_MAX), "EXACT_MAX")),
        ("StatsD", "summaries", named(count(statsd::SUMMARIES_MAX), "SUMMARIES_MAX")),
        (
            "StatsD",
            "gauges with their own timestamp, in an interval",
            named(count(statsd::DIRECT_MAX), "DIRECT_MAX"),
        ),
        ("StatsD", "bounds of classic buckets", named(count(totals::BOUNDS_MAX), "BOUNDS_MAX")),
        ("StatsD", "a mapping file", bytes(narthex::config::FILE_BYTES_MAX as usize)),
        ("HTTP inputs", "connections at a time", count(http_server::CONNECTIONS_MAX)),
        ("HTTP inputs", "a request's head", bytes(http_server::HEAD_BYTES_MAX)),
        ("HTTP inputs", "the path of a push to a group", bytes(groups::path::PATH_BYTES)),
        ("HTTP inputs", "time for a head, and for an idle connection", time(http_server::HEAD_TIMEOUT)),
        (
            "HTTP inputs",
            "buffers for labels of large requests that are kept for reuse",
            format!(
                "{}, each of {} to {}",
                model::arena::KEPT_MAX,
                bytes(model::arena::BYTES_MIN as u64),
                bytes(model::arena::BYTES_MAX as u64)
            ),
        ),
        ("HTTP inputs", "a body as sent", bytes(doors.body_bytes)),
        ("HTTP inputs", "a body decompressed", bytes(doors.decoded_bytes)),
        (
            "HTTP inputs",
            "memory of all requests: their bodies, their decoded form, and the batches that wait for the log",
            bytes(doors.intake.memory_bytes),
        ),
        (
            "HTTP inputs",
            "memory that a body's announced length reserves once its first bytes have arrived",
            bytes(receive::body::ANNOUNCED_BYTES as u64),
        ),
        ("HTTP inputs", "requests at a time", count(doors.intake.requests)),
        (
            "HTTP inputs",
            "labels that an input's rules create for one request",
            named(bytes(intake::MADE_LABELS_BYTES as u64), "MADE_LABELS_BYTES"),
        ),
        (
            "HTTP inputs",
            "active series of an input with `max_series_per_metric` only",
            named(count(intake::series_limit::SERIES_MAX), "SERIES_MAX"),
        ),
        (
            "HTTP inputs",
            "metric names whose refused series are counted separately",
            format!("{} of each input (`REFUSED_METRICS_MAX`)", intake::REFUSED_METRICS_MAX),
        ),
        ("HTTP inputs", "time for a TLS handshake", time(http_server::HANDSHAKE_TIMEOUT)),
        ("HTTP inputs", "password checks that wait for their turn", count(http_server::auth::WAITING)),
        ("HTTP inputs", "logins that are remembered", count(http_server::auth::REMEMBERED)),
        ("HTTP inputs", "pause within a body", time(doors.body_pause)),
        ("HTTP inputs", "time for a whole body", time(doors.body_time)),
        ("HTTP inputs", "timestamps ahead of the clock", time(doors.intake.ahead)),
        ("HTTP inputs", "groups", keyed(gateway.max_groups, "receive.pushgateway.max_groups")),
        ("HTTP inputs", "series of a group", keyed(gateway.max_group_series, "max_group_series")),
        ("HTTP inputs", "series of all groups", keyed(gateway.max_series, "max_series")),
        (
            "HTTP inputs",
            "samples and exemplars of a push to a group",
            format!("{} times `max_group_series`", receive::pushgateway::READ_FACTOR),
        ),
        ("HTTP inputs", "warnings about a group", count(groups::WARNINGS_MAX)),
        ("HTTP inputs", "memory of all groups, counted without compression", bytes(gateway.max_bytes)),
        (
            "HTTP inputs",
            "memory of known series, of all inputs together; reserved as it is needed",
            named(bytes(intake::KNOWN_SERIES_BYTES), "KNOWN_SERIES_BYTES"),
        ),
        (
            "HTTP inputs",
            "labels of a known series, as stored",
            named(bytes(intake::KNOWN_SET_BYTES), "KNOWN_SET_BYTES"),
        ),
        (
            "HTTP inputs",
            "keys of pushes that were applied, of all groups together",
            format!(
                "{} (`KEYS_MAX`); each takes {} (`KEY_MEMORY_BYTES`) of the memory of all groups, and each group that \
                 has some {} (`KEYS_OF_GROUP_MEMORY_BYTES`)",
                count(groups::keys::KEYS_MAX),
                bytes(groups::keys::KEY_MEMORY_BYTES),
                groups::keys::KEYS_OF_GROUP_MEMORY_BYTES
            ),
        ),
        ("HTTP inputs", "an `Idempotency-Key`", named(bytes(groups::keys::KEY_BYTES_MAX), "KEY_BYTES_MAX")),
        (
            "HTTP inputs",
            "how long such a key is remembered",
            time(Duration::from_millis(groups::keys::KEY_AGE_MS.unsigned_abs())),
        ),
        ("HTTP inputs", "tombstones of deleted groups", count(groups::task::TOMBSTONES_MAX)),
        (
            "HTTP inputs",
            "the reason of a refusal that is kept with a group",
            bytes(groups::state::REASON_BYTES),
        ),
        ("HTTP inputs", "extra labels of an import", count(receive::import::EXTRA_LABELS)),
        ("HTTP inputs", "the text of an answer", bytes(receive::answer::TEXT_BYTES)),
        (
            "HTTP inputs",
            "requests at a time on a connection of HTTP/2",
            named(count(http_server::STREAMS_MAX as usize), "STREAMS_MAX"),
        ),
        (
            "HTTP inputs",
            "how long a connection of HTTP/2 may be without requests",
            named(time(http_server::IDLE_TIMEOUT), "IDLE_TIMEOUT"),
        ),
        (
            "OTLP",
            "attributes of a resource or a scope",
            named(count(otlp::RESOURCE_ATTRIBUTES_MAX), "RESOURCE_ATTRIBUTES_MAX"),
        ),
        ("OTLP", "exemplars of a data point", named(count(otlp::EXEMPLARS_MAX), "EXEMPLARS_MAX")),
        (
            "OTLP",
            "levels of lists and maps in the value of an attribute",
            named(count(otlp::NESTING_MAX), "NESTING_MAX"),
        ),
        (
            "OTLP",
            "a list, a map or bytes as the value of an attribute, as sent in protobuf",
            named(bytes(otlp::STRUCTURE_BYTES_MAX), "STRUCTURE_BYTES_MAX"),
        ),
        (
            "OTLP",
            "samples of `target_info` for one resource of a request",
            named(count(otlp::TARGET_INFO_SAMPLES_MAX), "TARGET_INFO_SAMPLES_MAX"),
        ),
        (
            "OTLP",
            "data points of a request, and samples that they become",
            format!("{} each", count(formats::remote_write::DecodeOptions::default().max_points)),
        ),
        (
            "OTLP",
            "labels of a request, all series together",
            bytes(formats::remote_write::DecodeOptions::default().max_label_bytes),
        ),
        (
            "OTLP",
            "series of the totals of deltas",
            format!("{}, `otlp.max_series`", count(totals::Limits::default().series)),
        ),
        (
            "OTLP",
            "such series of one metric name",
            format!("{}, `otlp.max_series_per_metric`", count(totals::Limits::default().series_per_name)),
        ),
        ("OTLP", "memory of the totals", bytes(totals::Limits::default().bytes)),
        (
            "OTLP",
            "requests with deltas that are remembered, so that a repetition is not added again",
            format!(
                "{} of the last {} min",
                named(count(totals::REQUESTS_MAX), "REQUESTS_MAX"),
                totals::REQUEST_AGE_MS / 60_000
            ),
        ),
        (
            "OTLP",
            "totals of a series that replace each other in requests that are committed together",
            named(count(totals::TURNS_MAX), "TURNS_MAX"),
        ),
        (
            "OTLP",
            "bounds of an explicit histogram with deltas",
            named(count(totals::BOUNDS_MAX), "BOUNDS_MAX"),
        ),
        (
            "OTLP",
            "buckets of an exponential histogram with deltas",
            named(count(totals::native::BUCKETS_MAX), "BUCKETS_MAX"),
        ),
        (
            "OTLP",
            "the message about data points that were left out",
            named(bytes(receive::otlp_input::MESSAGE_BYTES), "MESSAGE_BYTES"),
        ),
        (
            "HTTP inputs",
            "groups in one answer of `/api/v1/status/groups`, and so on the page",
            count(status::groups::GROUPS_MAX),
        ),
        ("HTTP inputs", "the text of such a search", format!("{} characters", status::groups::SEARCH_MAX)),
        (
            "A destination",
            "batches held in memory, of all destinations together; each has an equal share, and may hold one batch more",
            bytes(remote::config::MAX_IN_MEMORY),
        ),
        ("A destination", "an answer's body that is read", bytes(http_client::ANSWER_BYTES)),
        ("A destination", "redirects", count(http_client::REDIRECTS_MAX)),
        (
            "A destination",
            "bytes a request before compression",
            format!(
                "{} (`REQUEST_BYTES`); less for a receiver that answers 413",
                bytes(remote::batch::REQUEST_BYTES)
            ),
        ),
        (
            "A destination",
            "batches in memory, of any size",
            named(count(remote::queue::CHUNKS_MAX), "CHUNKS_MAX"),
        ),
        (
            "A destination",
            "memory for the results of relabelling",
            named(bytes(remote::outgoing::CACHE_BYTES), "CACHE_BYTES"),
        ),
        (
            "A destination",
            "streams of isolated lanes, whose samples fail or are refused",
            format!(
                "{} (`ISOLATED_MAX`); with as many, further such lanes delay the others of their shard",
                remote::ISOLATED_MAX
            ),
        ),
        (
            "A destination",
            "the pause that a `Retry-After` may ask for",
            named(time(remote::queue::backoff::RETRY_AFTER_MAX), "RETRY_AFTER_MAX"),
        ),
        (
            "A destination",
            "characters of an answer that are kept",
            named(count(http_client::WORDS_MAX), "WORDS_MAX"),
        ),
        (
            "A destination",
            "a token server's answer",
            named(bytes(http_client::auth::token::TOKEN_BYTES), "TOKEN_BYTES"),
        ),
        (
            "A destination",
            "a file with a secret, a certificate or a key",
            named(bytes(http_client::auth::FILE_BYTES), "FILE_BYTES"),
        ),
        (
            "A destination",
            "the age at which connections are replaced",
            named(time(http_client::connect::CONNECTIONS_AGE), "CONNECTIONS_AGE"),
        ),
        ("A destination", "members of an entry", count(remote::members::ring::MEMBERS_MAX)),
        (
            "A destination",
            "rings of an entry that some member has not passed yet",
            format!("{}; another change is an error", remote::members::rings::RINGS_MAX),
        ),
        ("A destination", "a file of rings", bytes(remote::members::rings::FILE_BYTES_MAX)),
        (
            "A destination",
            "dead letters on disk",
            format!("two files of {} for each destination", bytes(remote::disk::dead::FILE_BYTES)),
        ),
        (
            "A destination",
            "series in the dead letter of a large request if only the number of refused samples is known",
            bytes(remote::disk::dead::SERIES_BYTES),
        ),
        (
            "A destination",
            "dead letters that wait for the disk",
            format!("{} for each destination", bytes(remote::disk::dead::WAITING_BYTES)),
        ),
        (
            "A destination",
            "side queue: samples that a destination keeps failing on",
            format!(
                "{} entries (one for each answer) and {} for each destination",
                count(remote::disk::aside::ENTRIES_MAX),
                bytes(remote::disk::aside::BYTES_MAX)
            ),
        ),
        (
            "A destination",
            "position, dead letters and side queue of a destination that was removed",
            format!("{} days", remote::disk::claims::REMOVED_KEPT.as_secs() / 86_400),
        ),
        ("Collecting", "interval", format!("1 s to {}", time(config::INTERVAL_MAX))),
        ("The program", "configuration file", bytes(config::FILE_BYTES_MAX)),
        (
            "The program",
            "errors of a configuration file that are reported at once",
            format!("{}; the last line says if there are more", config::read::MISTAKES_MAX),
        ),
        (
            "The program",
            "reason of a refused reload in the status of systemd",
            format!("{} characters; the log has all of it", narthex::service_manager::STATUS_CHARS_MAX),
        ),
        (
            "The program",
            "a message or a value in a log line",
            format!("{}; the rest is cut off", bytes(logging::record::VALUE_BYTES_MAX)),
        ),
        (
            "The program",
            "kinds and destinations of log lines that are distinguished at a time",
            format!("{}; all others share one line a minute", logging::throttle::KEYS_MAX),
        ),
        ("The program", "file of `--to-file`", bytes(flags::TO_FILE_BYTES_MAX)),
        (
            "The program",
            "web configuration file, certificate, key, token",
            format!("{} each", bytes(security::FILE_BYTES_MAX)),
        ),
        ("The sink", "series", count(window.series)),
        ("The sink", "memory", bytes(window.bytes)),
        ("The sink", "requests at a time", count(sink::REQUESTS_AT_A_TIME_MAX)),
        ("The sink", "requests remembered for the page", count(sink::REQUESTS_REMEMBERED)),
        ("The sink", "series listed in one answer", count(sink::SERIES_LISTED_MAX)),
        ("The demo", "samples in flight that the ledger counts", count(demo::ledger::UNDER_WAY_MAX)),
        ("The demo", "series that the ledger counts", count(demo::ledger::SERIES_MAX)),
        ("Jobs: push and exec", "text on standard input", bytes(push::STDIN_BYTES_MAX)),
        (
            "Jobs: push and exec",
            "pushes that wait in the spool for a target",
            push::spool::ENTRIES_MAX.to_string(),
        ),
        ("Jobs: push and exec", "bytes that wait in the spool for a target", bytes(push::spool::BYTES_MAX)),
        (
            "Jobs: push and exec",
            "parked pushes of a target, which count among the waiting ones",
            named(count(push::spool::PARKED_MAX), "PARKED_MAX"),
        ),
        (
            "Jobs: push and exec",
            "the pause before a parked push is retried",
            named(time(push::spool::PARKED_RETRY), "PARKED_RETRY"),
        ),
        (
            "Jobs: push and exec",
            "deliveries that fail at the same push before later pushes are tried",
            named(push::courier::FAILURES_BEFORE_PROBE.to_string(), "FAILURES_BEFORE_PROBE"),
        ),
        (
            "Jobs: push and exec",
            "later pushes that are tried after a failing one",
            named(push::courier::PROBES_MAX.to_string(), "PROBES_MAX"),
        ),
        ("Jobs: push and exec", "a request", time(push::entry::REQUEST_TIMEOUT)),
        (
            "Jobs: push and exec",
            "a delivery, including the waiting pushes before it",
            time(push::courier::PATIENCE),
        ),
        ("Jobs: push and exec", "waiting for another process that sends", time(push::courier::TURN_PATIENCE)),
        (
            "Jobs: push and exec",
            "heartbeat of a running job",
            format!("every {}", time(exec::args::HEARTBEAT)),
        ),
        ("`narthex wal`", "references that `verify` remembers", count(wal::verify::MAX_REFERENCES)),
        ("`narthex wal`", "references whose metric `stat` remembers", count(wal::stat::MAX_REFERENCES)),
        ("`narthex wal`", "metrics that `stat` counts one by one", count(wal::stat::MAX_METRICS)),
    ]
}

#[test]
fn limits_in_docs_and_code_are_equal_and_all_inputs_are_covered() {
    let documented = documented();
    let mut wrong = Vec::new();
    let mut known = BTreeSet::new();
    for (section, what, number) in by_the_code() {
        let key = (section.to_string(), what.to_string());
        match documented.get(&key) {
            Some(there) if *there == number => {}
            there => wrong.push(format!("{section}: {what}: {number:?} in the code, {there:?} there")),
        }
        known.insert(key);
    }
    let checked = |section: &str| matches!(section, "A series" | "HTTP inputs" | "Graphite" | "StatsD");
    for key in documented.keys().filter(|key| checked(&key.0) && !known.contains(key)) {
        wrong.push(format!("{key:?} is not tied to the code: add it here"));
    }
    assert!(wrong.is_empty(), "{wrong:#?}");
}
