//! The metrics that every Prometheus client library has for its process.

use super::{counter, gauge};
use model::{Family, MetricType};
use supervisor::Task;

/// Adds the counters of internal errors that narthex has noticed.
pub(super) fn mistakes(out: &mut Vec<Family>) {
    let mut restarts = Family::new(
        "narthex_task_restarts_total",
        "Number of times that a task was restarted after a panic.",
        MetricType::Counter,
    );
    for (Task { kind, name }, count) in supervisor::restarts() {
        let labels = [("task", kind), ("name", name.as_str())];
        restarts.push(if name.is_empty() { &labels[..1] } else { &labels }, count as f64);
    }
    out.push(restarts);
    out.push(counter(
        "narthex_broken_invariants_total",
        "Number of bugs in narthex that it detected. It refused the affected data.",
        model::invariant::broken(),
    ));
}

/// Adds the values from `/proc/self`; values that can't be read are left out.
pub(super) fn families(out: &mut Vec<Family>) {
    if let Some(stat) = std::fs::read_to_string("/proc/self/stat").ok().and_then(|text| parse_stat(&text)) {
        let ticks = rustix::param::clock_ticks_per_second().max(1) as f64;
        let help = "Total user and system CPU time spent in seconds.";
        let seconds = stat.cpu_ticks as f64 / ticks;
        out.push(Family::single("process_cpu_seconds_total", help, MetricType::Counter, seconds));
        let resident = stat.resident_pages as f64 * rustix::param::page_size() as f64;
        out.push(gauge("process_resident_memory_bytes", "Resident memory size in bytes.", resident));
        out.push(gauge(
            "process_virtual_memory_bytes",
            "Virtual memory size in bytes.",
            stat.virtual_bytes as f64,
        ));
        out.push(gauge("process_threads", "Number of OS threads in the process.", stat.threads as f64));
        if let Some(boot) = boot_time() {
            let help = "Start time of the process since unix epoch in seconds.";
            out.push(gauge("process_start_time_seconds", help, boot + stat.start_ticks as f64 / ticks));
        }
    }
    if let Ok(entries) = std::fs::read_dir("/proc/self/fd") {
        // One of the descriptors belongs to this listing of the folder.
        let open = entries.count().saturating_sub(1);
        out.push(gauge("process_open_fds", "Number of open file descriptors.", open as f64));
    }
    if let Some(limit) = rustix::process::getrlimit(rustix::process::Resource::Nofile).current {
        out.push(gauge("process_max_fds", "Maximum number of open file descriptors.", limit as f64));
    }
    if let Some(written) = written_bytes() {
        out.push(counter(
            "narthex_process_written_bytes_total",
            "Bytes that this process had written to disk.",
            written,
        ));
    }
}

/// The resident memory in bytes now; 0 if it can't be read.
pub fn resident_bytes() -> u64 {
    let stat = std::fs::read_to_string("/proc/self/stat").ok().and_then(|text| parse_stat(&text));
    stat.map_or(0, |stat| stat.resident_pages * rustix::param::page_size() as u64)
}

struct Stat {
    cpu_ticks: u64,
    threads: u64,
    start_ticks: u64,
    virtual_bytes: u64,
    resident_pages: u64,
}

/// Reads the fields of `/proc/self/stat` (proc_pid_stat(5)). The second field is the program's name in
/// parentheses and may contain anything. So the fields are counted from the last parenthesis; field 3 comes
/// after it.
fn parse_stat(text: &str) -> Option<Stat> {
    let fields: Vec<&str> = text.get(text.rfind(')')? + 1..)?.split_whitespace().collect();
    let field = |number: usize| fields.get(number - 3).and_then(|field| field.parse::<u64>().ok());
    Some(Stat {
        cpu_ticks: field(14)? + field(15)?,
        threads: field(20)?,
        start_ticks: field(22)?,
        virtual_bytes: field(23)?,
        resident_pages: field(24)?,
    })
}

/// When the machine was started, in seconds since 1970.
fn boot_time() -> Option<f64> {
    let stat = std::fs::read_to_string("/proc/stat").ok()?;
    stat.lines().find_map(|line| line.strip_prefix("btime "))?.trim().parse().ok()
}

fn written_bytes() -> Option<u64> {
    let io = std::fs::read_to_string("/proc/self/io").ok()?;
    io.lines().find_map(|line| line.strip_prefix("write_bytes: "))?.trim().parse().ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_name_with_brackets_and_spaces_does_not_confuse() {
        let text =
            "7 (a) b) S 1 7 7 0 -1 4194560 100 0 0 0 12 34 0 0 20 0 3 0 555 1000 20 18446744073709551615";
        let stat = parse_stat(text).unwrap();
        assert_eq!((stat.cpu_ticks, stat.threads, stat.start_ticks), (46, 3, 555));
        assert_eq!((stat.virtual_bytes, stat.resident_pages), (1000, 20));
    }

    #[test]
    fn this_process_can_be_read() {
        let mut out = Vec::new();
        families(&mut out);
        for name in [
            "process_cpu_seconds_total",
            "process_resident_memory_bytes",
            "process_open_fds",
            "process_start_time_seconds",
        ] {
            let family = out.iter().find(|family| family.name == name).expect(name);
            assert!(family.metrics[0].value >= 0.0);
        }
        assert!(resident_bytes() > 100_000);
    }
}
