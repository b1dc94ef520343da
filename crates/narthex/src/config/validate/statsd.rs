//! `statsd`: its addresses, and how its lines become series.

use super::Faults;
use crate::config::inputs::{Input, Statsd as Section, TagStyle, Timers};
use formats::statsd::TagStyles;
use intake::Exposure;
use receive::statsd::{Statsd, UNIX_MODE};
use std::net::SocketAddr;
use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

/// The shortest and the longest interval. A query sees a sample for five minutes.
const INTERVALS: std::ops::RangeInclusive<Duration> = Duration::from_secs(1)..=Duration::from_secs(120);

/// The longest path of a socket, `sun_path` of unix(7) without its end.
const UNIX_PATH_BYTES: usize = 107;

/// The StatsD input. `None` if its addresses have a mistake.
pub(super) fn statsd(section: &Section, defaults: &Input, faults: &Faults<'_>) -> Option<Statsd> {
    let allow_from = section.allow_from.iter().map(|network| network.0).collect();
    let exposure = Exposure { allow_from, allow_unauthenticated: section.allow_unauthenticated };
    let address = |name: &str, given: Option<SocketAddr>| {
        let key = format!("statsd.{name}");
        if let Some(Err(exposed)) = given.map(|address| exposure.check("statsd", address)) {
            faults.add_about(&key, &[&key, "statsd.allow_from"], exposed.to_string());
        }
        given
    };
    let udp = address("listen_udp", section.listen_udp.map(|address| address.0));
    let tcp = address("listen_tcp", section.listen_tcp.map(|address| address.0));
    let unixgram = section.listen_unixgram.clone();
    if udp.is_none() && tcp.is_none() && unixgram.is_none() {
        let about = ["statsd", "statsd.listen_udp", "statsd.listen_tcp", "statsd.listen_unixgram"];
        let why =
            "there is nothing to listen on: add listen_udp: 127.0.0.1:8125, listen_tcp or listen_unixgram";
        faults.add_about("statsd", &about, why);
        return None;
    }
    if let Some(folder) = unixgram.as_deref().and_then(Path::parent)
        && !folder.as_os_str().is_empty()
        && !folder.is_dir()
    {
        let why = format!("there is no folder {}: create it, or choose another one", folder.display());
        faults.add("statsd.listen_unixgram", why);
    }
    if let Some(bytes) = unixgram.as_deref().map(|path| path.as_os_str().len())
        && bytes > UNIX_PATH_BYTES
    {
        let why = format!("the path has {bytes} bytes, and the system allows {UNIX_PATH_BYTES} for a socket");
        faults.add("statsd.listen_unixgram", why);
    }
    let mode = section.unix_socket_mode.as_deref().map(|text| u32::from_str_radix(text, 8));
    let unix_mode = match mode {
        None => UNIX_MODE,
        Some(Ok(mode)) if mode <= 0o777 => mode,
        Some(_) => {
            faults.add("statsd.unix_socket_mode", "a mode has three octal digits, such as \"0660\"");
            UNIX_MODE
        }
    };
    Some(Statsd {
        udp,
        tcp,
        unixgram,
        unix_mode,
        exposure,
        options: Arc::new(options(section, faults)),
        totals: totals::Settings { limits: limits(&section.input(), defaults), begin: begin(section) },
    })
}

fn options(section: &Section, faults: &Faults<'_>) -> statsd::Options {
    let mut options = statsd::Options { container_id: section.container_id, ..statsd::Options::default() };
    if let Some(interval) = section.interval {
        if !INTERVALS.contains(&interval) {
            faults.add("statsd.interval", "from 1s to 2m: queries look back five minutes only");
        }
        options.interval = interval;
    }
    if let Some(ttl) = section.ttl {
        options.ttl = (!ttl.is_zero()).then_some(ttl);
    }
    if let Some(styles) = &section.tag_styles {
        options.tags = TagStyles {
            dogstatsd: styles.contains(&TagStyle::Dogstatsd),
            influxdb: styles.contains(&TagStyle::Influxdb),
            librato: styles.contains(&TagStyle::Librato),
            signalfx: styles.contains(&TagStyle::Signalfx),
        };
    }
    let timers = match section.timers {
        None | Some(Timers::Classic) => statsd::Timers::Classic,
        Some(Timers::Native) => statsd::Timers::Native,
        Some(Timers::Both) => statsd::Timers::Both,
    };
    let bounds = section.buckets.as_deref().unwrap_or(&mapping::DEFAULT_BUCKETS);
    match statsd::Options::shape_of(timers, bounds) {
        Ok(shape) => options.shape = Arc::new(shape),
        Err(error) => faults.add("statsd.buckets", error.to_string()),
    }
    options
}

/// The limits of totals. Those of `inputs` are the defaults for those of the section.
pub(super) fn limits(section: &Input, defaults: &Input) -> totals::Limits {
    let mut limits = totals::Limits::default();
    limits.series = section.max_series.or(defaults.max_series).unwrap_or(limits.series);
    limits.series_per_name =
        section.max_series_per_metric.or(defaults.max_series_per_metric).unwrap_or(limits.series_per_name);
    limits
}

fn begin(section: &Section) -> totals::Begin {
    match section.begin_with_zero.unwrap_or(true) {
        true => totals::Begin::WithZero,
        false => totals::Begin::WithFirstValue,
    }
}

#[cfg(test)]
mod tests {
    use super::UNIX_PATH_BYTES;
    use crate::config::parse;
    use std::path::Path;

    fn mistakes(section: &str) -> Vec<String> {
        let text = format!("statsd: {{{section}}}\n");
        match parse("n.yml", Path::new(""), &text, &|_| None) {
            Ok(_) => Vec::new(),
            Err(errors) => {
                errors.mistakes.iter().map(|one| format!("{}: {}", one.key, one.message)).collect()
            }
        }
    }

    #[test]
    fn mistakes_are_reported_at_their_keys() {
        for (section, wanted) in [
            ("", "statsd: there is nothing to listen on"),
            (
                "listen_udp: '0.0.0.0:8125'",
                "statsd.listen_udp: 0.0.0.0:8125 can be reached by other machines",
            ),
            ("listen_tcp: ':8125'", "statsd.listen_tcp: "),
            ("listen_udp: '8125', interval: 5m", "statsd.interval: from 1s to 2m"),
            ("listen_udp: '8125', buckets: [2, 1]", "statsd.buckets: bucket bound 1 follows 2"),
            ("listen_udp: '8125', timers: other", "statsd.timers: "),
            ("listen_udp: '8125', tag_styles: [other]", "statsd.tag_styles[0]: "),
            ("listen_unixgram: /nowhere/s", "statsd.listen_unixgram: there is no folder /nowhere"),
            ("listen_udp: '8125', unix_socket_mode: '9'", "statsd.unix_socket_mode: a mode has"),
            ("listen_udp: '8125', mapping_config: /nowhere", "statsd.mapping_config: /nowhere: No such file"),
            (
                "listen_udp: '8125', max_series: 0",
                "statsd.max_series: 0 would refuse everything: at least 1, or leave it out for the default",
            ),
        ] {
            let found = mistakes(section);
            assert!(found.len() == 1 && found[0].starts_with(wanted), "{section}: {found:?}");
        }
        let path = |bytes: usize| format!("listen_unixgram: /tmp/{}", "s".repeat(bytes - "/tmp/".len()));
        assert_eq!(mistakes(&path(UNIX_PATH_BYTES)), Vec::<String>::new());
        let found = mistakes(&path(UNIX_PATH_BYTES + 1));
        let wanted = "statsd.listen_unixgram: the path has 108 bytes, and the system allows 107 for a socket";
        assert_eq!(found, [wanted]);
        assert_eq!(mistakes("listen_udp: '127.0.0.1:8125', ttl: 0, timers: both"), Vec::<String>::new());
    }

    #[test]
    fn an_address_of_graphite_is_reported_as_in_use() {
        let text = "graphite: {listen: '127.0.0.1:2003'}\nstatsd: {listen_udp: '127.0.0.1:2003'}\n";
        let errors = parse("n.yml", Path::new(""), text, &|_| None).unwrap_err().to_string();
        let wanted = "statsd.listen_udp: UDP 127.0.0.1:2003 is the address of graphite.listen already";
        assert!(errors.contains(wanted), "{errors}");
    }
}
