//! The metrics of a job, for each of its pushes. No I/O.
//!
//! A push by POST replaces only the families that it names. So the time of the last success is kept after a
//! failed run, and a heartbeat changes only its own families.

use super::tree::Cpu;
use model::{Family, MetricType};
use std::time::Duration;

/// How a job ended.
#[derive(Debug, Clone, PartialEq)]
pub(super) struct Ended {
    /// Milliseconds since 1970.
    pub(super) at: i64,
    pub(super) took: Duration,
    /// The exit code; 128 + N where signal N ended it.
    pub(super) code: u8,
    pub(super) cpu: Option<Cpu>,
    pub(super) peak_memory_bytes: Option<u64>,
}

/// The metrics of a job that starts at `at`, in milliseconds since 1970.
pub(super) fn start(at: i64) -> Vec<Family> {
    vec![last_start(at), running(true), heartbeat(at)]
}

/// The metrics of a heartbeat.
pub(super) fn beat(at: i64) -> Vec<Family> {
    vec![running(true), heartbeat(at)]
}

/// The metrics of a job that has ended. They repeat its start, in case that push was lost.
pub(super) fn end(started: i64, ended: &Ended) -> Vec<Family> {
    let mut families = vec![
        last_start(started),
        gauge(
            "narthex_job_last_completion_timestamp_seconds",
            "When the job last ended, well or not, in seconds since 1970.",
            seconds(ended.at),
        ),
        gauge(
            "narthex_job_last_duration_seconds",
            "How long the job's last run took.",
            ended.took.as_secs_f64(),
        ),
        gauge(
            "narthex_job_last_exit_code",
            "The exit code of the job's last run; 128 + N where signal N ended it.",
            f64::from(ended.code),
        ),
        running(false),
    ];
    if ended.code == 0 {
        families.push(gauge(
            "narthex_job_last_success_timestamp_seconds",
            "When the job last ended with exit code 0, in seconds since 1970.",
            seconds(ended.at),
        ));
    }
    if let Some(cpu) = ended.cpu {
        let help = "Processor time of the job's last run, with all its descendants that were waited for.";
        let mut family = Family::new("narthex_job_last_cpu_seconds", help, MetricType::Gauge);
        family.push(&[("mode", "user")], cpu.user);
        family.push(&[("mode", "system")], cpu.system);
        families.push(family);
    }
    if let Some(bytes) = ended.peak_memory_bytes {
        families.push(gauge(
            "narthex_job_last_peak_memory_bytes",
            "The most memory that the job and its descendants had at one time in its last run.",
            bytes as f64,
        ));
    }
    families
}

fn last_start(at: i64) -> Family {
    gauge(
        "narthex_job_last_start_timestamp_seconds",
        "When the job last started, in seconds since 1970.",
        seconds(at),
    )
}

fn running(runs: bool) -> Family {
    gauge(
        "narthex_job_running",
        "1 while the job runs. One whose heartbeat has stopped died without saying so.",
        if runs { 1.0 } else { 0.0 },
    )
}

fn heartbeat(at: i64) -> Family {
    gauge(
        "narthex_job_heartbeat_timestamp_seconds",
        "When the job last said that it runs, in seconds since 1970; every 30 seconds while it does.",
        seconds(at),
    )
}

fn gauge(name: &'static str, help: &'static str, value: f64) -> Family {
    Family::single(name, help, MetricType::Gauge, value)
}

fn seconds(ms: i64) -> f64 {
    ms as f64 / 1000.0
}

#[cfg(test)]
mod tests {
    use super::*;

    fn text(code: u8) -> String {
        let ended = Ended {
            at: 1_700_000_002_500,
            took: Duration::from_millis(2500),
            code,
            cpu: Some(Cpu { user: 1.5, system: 0.25 }),
            peak_memory_bytes: Some(4096),
        };
        let text = formats::text::encode(&end(1_700_000_000_000, &ended));
        text.lines().filter(|line| !line.starts_with('#')).collect::<Vec<_>>().join("\n")
    }

    #[test]
    fn a_success_pushes_all_metrics() {
        assert_eq!(
            text(0),
            "narthex_job_last_start_timestamp_seconds 1700000000\n\
             narthex_job_last_completion_timestamp_seconds 1700000002.5\n\
             narthex_job_last_duration_seconds 2.5\n\
             narthex_job_last_exit_code 0\n\
             narthex_job_running 0\n\
             narthex_job_last_success_timestamp_seconds 1700000002.5\n\
             narthex_job_last_cpu_seconds{mode=\"user\"} 1.5\n\
             narthex_job_last_cpu_seconds{mode=\"system\"} 0.25\n\
             narthex_job_last_peak_memory_bytes 4096"
        );
    }

    #[test]
    fn a_failure_pushes_no_time_of_success() {
        assert!(!text(1).contains("success") && text(1).contains("exit_code 1\n"));
        let running = formats::text::encode(&beat(0));
        assert!(!running.contains("start") && running.contains("narthex_job_running 1\n"));
    }
}
