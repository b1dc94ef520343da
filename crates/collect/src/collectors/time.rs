//! `time`: the wall clock, its time zone and its clock sources.

use super::{Context, Outcome};
use crate::error::CollectError;
use crate::out::{Def, Out, gauge};
use crate::source::Source;

const SECONDS: Def = gauge("node_time_seconds", "System time in seconds since epoch (1970).");
const ZONE: Def = gauge("node_time_zone_offset_seconds", "System time zone offset in seconds.");
const AVAILABLE: Def = gauge(
    "node_time_clocksource_available_info",
    "Available clocksources read from '/sys/devices/system/clocksource'.",
);
const CURRENT: Def = gauge(
    "node_time_clocksource_current_info",
    "Current clocksource read from '/sys/devices/system/clocksource'.",
);

const CLOCK_SOURCES: &str = "sys/devices/system/clocksource";

pub(super) fn collect(context: &mut Context<'_>, out: &mut Out) -> Outcome {
    out.single(SECONDS, context.now_ms as f64 / 1000.0);
    let zone = zone(context.source, context.now_ms.div_euclid(1000));
    let slot = out.open(ZONE);
    out.push(slot, &[("time_zone", &zone.name)], f64::from(zone.offset));
    clock_sources(context.source, out)
}

struct Zone {
    name: String,
    /// Seconds east of UTC.
    offset: i32,
}

/// The system's time zone at a time, from `/etc/localtime`. Without that file it is UTC, as in other
/// programs.
fn zone(source: &mut Source, seconds: i64) -> Zone {
    let utc = || Zone { name: "UTC".to_owned(), offset: 0 };
    let Ok(bytes) = source.read_bytes("etc/localtime") else { return utc() };
    let Ok(zone) = tz::TimeZone::from_tz_data(bytes) else { return utc() };
    match zone.find_local_time_type(seconds) {
        Ok(kind) => Zone { name: kind.time_zone_designation().to_owned(), offset: kind.ut_offset() },
        Err(_) => utc(),
    }
}

fn clock_sources(source: &mut Source, out: &mut Out) -> Outcome {
    let devices = source.list(CLOCK_SOURCES, |name| name.starts_with("clocksource"))?;
    let available = out.open(AVAILABLE);
    let current = out.open(CURRENT);
    for directory in devices {
        let device = directory.trim_start_matches("clocksource");
        let path = format!("{CLOCK_SOURCES}/{directory}");
        for name in source.value(&format!("{path}/available_clocksource"))?.split_ascii_whitespace() {
            out.push(available, &[("device", device), ("clocksource", name)], 1.0);
        }
        let now = source.value(&format!("{path}/current_clocksource"))?;
        if now.is_empty() {
            return Err(CollectError::malformed(path, "a clock source", now));
        }
        out.push(current, &[("device", device), ("clocksource", now)], 1.0);
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::fs;

    /// An `/etc/localtime` with a single offset that never changes (RFC 8536, version 1).
    fn zone_file(offset: i32, name: &str) -> Vec<u8> {
        let mut bytes = b"TZif".to_vec();
        bytes.extend([0; 16]);
        for count in [0, 0, 0, 0, 1, name.len() as u32 + 1] {
            bytes.extend(count.to_be_bytes());
        }
        bytes.extend(offset.to_be_bytes());
        bytes.extend([0, 0]);
        bytes.extend(name.as_bytes());
        bytes.push(0);
        bytes
    }

    #[test]
    fn the_zone_is_that_of_the_root() {
        let root = tempfile::tempdir().unwrap();
        let mut source = Source::new(root.path().to_path_buf());
        assert_eq!(zone(&mut source, 1_793_600_000).name, "UTC");

        fs::create_dir(root.path().join("etc")).unwrap();
        fs::write(root.path().join("etc/localtime"), zone_file(20_700, "NPT")).unwrap();
        let nepal = zone(&mut source, 1_793_600_000);
        assert_eq!((&*nepal.name, nepal.offset), ("NPT", 20_700));

        fs::write(root.path().join("etc/localtime"), b"TZif is not all").unwrap();
        assert_eq!(zone(&mut source, 1_793_600_000).offset, 0);
    }
}
