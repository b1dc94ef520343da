//! Prints this machine's metrics in the text format, and the cost of collecting them.
//!
//! `cargo run --release -p collect --example host [COLLECTORS] [ROUNDS]`
#![allow(clippy::print_stdout, reason = "printing is what it is for")]

use collect::{Host, HostOptions};
use std::time::{Instant, SystemTime, UNIX_EPOCH};

fn main() -> Result<(), Box<dyn std::error::Error>> {
    let mut arguments = std::env::args().skip(1);
    let collectors = arguments.next().unwrap_or("default".into()).parse()?;
    let rounds: u32 = arguments.next().unwrap_or("0".into()).parse()?;
    let now_ms = || SystemTime::now().duration_since(UNIX_EPOCH).map_or(0, |since| since.as_millis() as i64);
    let mut host = Host::new(HostOptions { collectors, ..HostOptions::default() });
    for family in host.collect(now_ms()) {
        println!("# HELP {} {}", family.name, family.help);
        println!("# TYPE {} {}", family.name, family.kind.as_str());
        for metric in &family.metrics {
            let labels: Vec<String> =
                metric.labels.iter().map(|(name, value)| format!("{name}={value:?}")).collect();
            println!("{}{}{{{}}} {}", family.name, metric.suffix, labels.join(","), metric.value);
        }
    }
    if rounds > 0 {
        let before = cpu_ms();
        let started = Instant::now();
        let mut metrics = 0;
        for _ in 0..rounds {
            metrics = host.collect(now_ms()).iter().map(|family| family.metrics.len()).sum();
        }
        let wall = started.elapsed().as_secs_f64() * 1e3 / f64::from(rounds);
        let cpu = (cpu_ms() - before) / f64::from(rounds);
        println!("# {metrics} samples, {cpu:.3} ms of processor time and {wall:.3} ms a round");
    }
    Ok(())
}

/// User and system time of this process, in milliseconds.
fn cpu_ms() -> f64 {
    use rustix::time::{ClockId, clock_gettime};
    let time = clock_gettime(ClockId::ProcessCPUTime);
    time.tv_sec as f64 * 1e3 + time.tv_nsec as f64 / 1e6
}
