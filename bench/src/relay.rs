//! `bench relay`: sender, system, counting receiver.

use crate::Result;
use crate::count::{Counts, MOST};
use crate::measure::{DiskWatch, median, quantile};
use crate::receiver::{Accepts, Arrived, Receiver};
use crate::sender::{CONNECTIONS, Requests, Sent, Target, send};
use crate::systems::{Asked, Programs, Route, Running, System, Which, data_folder};
use crate::table::{Table, number, thousands};
use crate::workload::{PER_POD, Plan, Values, Workload};
use std::time::{Duration, Instant};
use support::now_ms;
use support::wire::{self, Version};

/// The time from the system's readiness to the measurement of its idle memory.
const SETTLE: Duration = Duration::from_secs(1);
/// How long to wait after the last new arrival. Samples that arrive later are lost.
const PATIENCE: Duration = Duration::from_secs(30);
/// The longer wait after an outage: senders increase the pause between attempts up to a minute.
const PATIENCE_OUTAGE: Duration = Duration::from_secs(90);
/// Timestamps begin a little after the current time: the Prometheus agent sends nothing that is older than
/// its start.
const AHEAD_MS: i64 = 1000;
/// The longest span of timestamps: Prometheus accepts no sample that is more than ten minutes ahead.
const SPAN_MAX_SECONDS: u32 = 500;

/// Options of `bench relay`.
#[derive(Debug, Clone, clap::Args)]
pub(crate) struct Relay {
    /// Protocols in and out; several after commas
    #[arg(long, value_enum, value_delimiter = ',', default_value = "1-1")]
    protocol: Vec<Route>,
    /// Active series
    #[arg(long, default_value_t = 100_000)]
    series: u32,
    /// Samples a second; together with --seconds it says how many samples are sent
    #[arg(long, default_value_t = 100_000)]
    rate: u32,
    /// How long to send
    #[arg(long, default_value_t = 30)]
    seconds: u32,
    /// Send the same number of samples as fast as they are acknowledged
    #[arg(long)]
    flat_out: bool,
    /// What the samples' values are
    #[arg(long, value_enum, default_value = "realistic")]
    values: Values,
    /// Percent of the series that are replaced by new ones each time all have been sent
    #[arg(long, default_value_t = 0.0)]
    churn: f64,
    /// Every tenth series carries native histograms
    #[arg(long)]
    histograms: bool,
    /// Each system adds a label to each series, so that nothing goes out as it came
    #[arg(long)]
    label: bool,
    /// Seconds for which the receiver is away, after a quarter of the time
    #[arg(long, default_value_t = 0)]
    outage: u32,
    #[command(flatten)]
    which: Which,
    /// How often each; the table shows medians
    #[arg(long, default_value_t = 3)]
    rounds: u32,
    /// About a minute in all: 20,000 series, 8 seconds, one round, 1-1 and 2-2
    #[arg(long)]
    short: bool,
}

/// The result of one round for one system.
#[derive(Debug)]
pub(crate) struct Round {
    pub(crate) cpu_seconds_per_million: f64,
    peak_mib: f64,
    idle_mib: f64,
    samples_per_second: f64,
    ack_p50_ms: f64,
    ack_p99_ms: f64,
    wire_bytes: f64,
    disk_bytes: f64,
    sent: Sent,
    counts: Counts,
}

impl Round {
    /// Acknowledged samples that have not arrived.
    fn lost(&self) -> u64 {
        self.sent.acknowledged.saturating_sub(self.counts.arrived)
    }
}

/// Runs the benchmark and prints the table.
pub(crate) fn run(mut options: Relay) -> Result<()> {
    if options.short {
        options = Relay {
            protocol: vec![Route::OneOne, Route::TwoTwo],
            series: 20_000,
            rate: 50_000,
            seconds: 8,
            rounds: 1,
            ..options
        };
    }
    let workload = options.workload()?;
    let programs = Programs::find(&options.which)?;
    let cases = options.measure(&programs)?;
    print(&options, &workload, &cases);
    check(&cases)
}

/// One system with one workload.
#[derive(Debug)]
pub(crate) struct Case {
    pub(crate) system: System,
    pub(crate) route: Route,
    pub(crate) rounds: Vec<Round>,
}

/// Returns an error if narthex lost, refused or reordered samples, or if any system delivered wrong values.
pub(crate) fn check(cases: &[Case]) -> Result<()> {
    let own = cases.iter().filter(|case| case.system == System::Narthex).flat_map(|case| &case.rounds);
    let failed = |round: &Round| round.lost() > 0 || round.sent.refused > 0 || round.counts.out_of_order > 0;
    if own.into_iter().any(failed) {
        return Err("narthex lost, refused or reordered samples".into());
    }
    // If the values of a system are wrong, either it did other work, so that its numbers can't be compared,
    // or this check has a mistake.
    let wrong = |case: &&Case| case.rounds.iter().any(|round| round.counts.wrong > 0);
    match cases.iter().find(wrong) {
        Some(case) => Err(format!("{}, {}: wrong values", case.system.name(), case.route.name()).into()),
        None => Ok(()),
    }
}

/// Sends a first sample and waits until the system has found out by its first request whether the destination
/// accepts zstd.
fn agree(receiver: &Receiver, running: &Running) -> Result<()> {
    let now = now_ms();
    let first = wire::Series::new("bench_first_request", &[], &[(now, 1.0)]);
    wire::push(&running.write_url(), Version::V1, &[first])?;
    let since = Instant::now();
    while !receiver.agreed() {
        if since.elapsed() > support::SOON {
            return Err(format!("no zstd was agreed on{}", running.process().tail()).into());
        }
        std::thread::sleep(Duration::from_millis(10));
    }
    Ok(())
}

impl Relay {
    /// A short run of one workload as fast as samples are acknowledged.
    pub(crate) fn flat_out(route: Route, label: bool, which: Which, rounds: u32) -> Relay {
        Relay {
            protocol: vec![route],
            series: 20_000,
            rate: 50_000,
            seconds: 8,
            flat_out: true,
            values: Values::Realistic,
            churn: 0.0,
            histograms: false,
            label,
            outage: 0,
            which,
            rounds,
            short: false,
        }
    }

    /// Runs all available systems with all workloads.
    pub(crate) fn measure(&self, programs: &Programs) -> Result<Vec<Case>> {
        let workload = self.workload()?;
        let mut cases = Vec::new();
        for &route in &self.protocol {
            for &system in &self.which.systems {
                match system.lacks(route, self.histograms) {
                    Some(why) => eprintln!("SKIPPED: {}, {}: it {why}", system.name(), route.name()),
                    None if !programs.has(system) => eprintln!("SKIPPED: {}: not here", system.name()),
                    None => cases.push(Case { system, route, rounds: Vec::new() }),
                }
            }
        }
        // All systems run once in each round, so that a slow minute of the machine affects all of them.
        for round in 1..=self.rounds {
            for Case { system, route, rounds } in &mut cases {
                eprintln!("round {round} of {}: {}, {}", self.rounds, system.name(), route.name());
                rounds.push(self.round(programs, *system, *route, workload)?);
            }
        }
        Ok(cases)
    }

    fn workload(&self) -> Result<Workload> {
        let series = self.series.next_multiple_of(PER_POD).max(PER_POD);
        let samples = u64::from(self.rate) * u64::from(self.seconds);
        let sweeps = samples.div_ceil(u64::from(series)) as u32;
        let workload = Workload {
            series,
            sweeps,
            rate: self.rate.max(1),
            values: self.values,
            replaced: (f64::from(series / PER_POD) * self.churn / 100.0).ceil() as u32,
            histograms: self.histograms,
        };
        if self.seconds > SPAN_MAX_SECONDS || sweeps == 0 {
            return Err(format!("--seconds has to be from 1 to {SPAN_MAX_SECONDS}").into());
        }
        if !(0.0..=100.0).contains(&self.churn) {
            return Err("--churn is in percent, from 0 to 100".into());
        }
        Ok(workload)
    }

    fn round(&self, programs: &Programs, system: System, route: Route, workload: Workload) -> Result<Round> {
        let receiver = Receiver::start(Accepts::Only(route.output()))?;
        let folder = data_folder()?;
        let data = folder.path().join("data");
        let asked = Asked { histograms: self.histograms, label: self.label, ..Asked::default() };
        let running = programs.start(system, route, asked, &receiver.url(), &data)?;
        std::thread::sleep(SETTLE);
        let idle = running.process().rss_bytes();
        if route == Route::Zstd {
            agree(&receiver, &running)?;
        }

        let now = now_ms();
        let plan = Plan { workload, base: now + AHEAD_MS };
        let requests = Requests::prepare(&plan, route.input())?;
        receiver.expect(plan);
        let disk = DiskWatch::start(&data);
        let (cpu, begun) = (running.process().cpu_seconds(), Instant::now());
        let sent = std::thread::scope(|scope| {
            if self.outage > 0 {
                let receiver = &receiver;
                scope.spawn(move || {
                    std::thread::sleep(Duration::from_secs(u64::from(self.seconds)) / 4);
                    receiver.set_here(false);
                    std::thread::sleep(Duration::from_secs(u64::from(self.outage)));
                    receiver.set_here(true);
                });
            }
            let target = Target::of(&running.write_url())?;
            send(plan, route.input(), requests, target, self.flat_out, CONNECTIONS)
        })?;
        let patience = if self.outage > 0 { PATIENCE_OUTAGE } else { PATIENCE };
        let Arrived { counts, last_new, most } = running.drain(&receiver, sent.acknowledged, patience)?;
        let samples = counts.arrived.max(1) as f64;
        Ok(Round {
            cpu_seconds_per_million: (running.process().cpu_seconds() - cpu) / samples * 1e6,
            peak_mib: mib(running.process().peak_rss_bytes()),
            idle_mib: mib(idle),
            samples_per_second: match most {
                Some(most) => workload.samples() as f64 * MOST / (most - begun).as_secs_f64(),
                None => samples / (last_new - begun).as_secs_f64(),
            },
            ack_p50_ms: quantile(&sent.latencies_ms, 0.5),
            ack_p99_ms: quantile(&sent.latencies_ms, 0.99),
            wire_bytes: counts.bytes as f64 / (counts.arrived + counts.repeated).max(1) as f64,
            disk_bytes: disk.growth() as f64 / samples,
            sent,
            counts,
        })
    }
}

fn print(options: &Relay, workload: &Workload, cases: &[Case]) {
    println!(
        "\n{} series, {} samples, {}, {:?} values{}{}{}{}; medians of {} rounds\n",
        thousands(i64::from(workload.series)),
        thousands(workload.samples() as i64),
        if options.flat_out {
            "flat out".into()
        } else {
            format!("{} a second", thousands(options.rate.into()))
        },
        options.values,
        if options.churn > 0.0 { format!(", {} % churn a sweep", options.churn) } else { String::new() },
        if options.histograms { ", every tenth a native histogram" } else { "" },
        if options.label { ", a label added" } else { "" },
        if options.outage > 0 { format!(", {} s of outage", options.outage) } else { String::new() },
        options.rounds,
    );
    let mut table = Table::new(&[
        "",
        "CPU s per million",
        "(lowest to highest)",
        "peak MiB",
        "idle MiB",
        "samples/s",
        "ack p50 ms",
        "ack p99 ms",
        "wire B/sample",
        "disk B/sample",
        "lost",
        "repeated",
        "out of order",
        "refused",
        "wrong",
    ]);
    for Case { system, route, rounds } in cases {
        let values = |of: fn(&Round) -> f64| rounds.iter().map(of).collect::<Vec<_>>();
        let middle = |of: fn(&Round) -> f64| number(median(&values(of)));
        let sum = |of: fn(&Round) -> u64| thousands(rounds.iter().map(of).sum::<u64>() as i64);
        let cpu = values(|round| round.cpu_seconds_per_million);
        table.push(vec![
            format!("{}, {}", system.name(), route.name()),
            number(median(&cpu)),
            format!("{} to {}", number(quantile(&cpu, 0.0)), number(quantile(&cpu, 1.0))),
            middle(|round| round.peak_mib),
            middle(|round| round.idle_mib),
            middle(|round| round.samples_per_second),
            middle(|round| round.ack_p50_ms),
            middle(|round| round.ack_p99_ms),
            middle(|round| round.wire_bytes),
            middle(|round| round.disk_bytes),
            sum(Round::lost),
            sum(|round| round.counts.repeated),
            sum(|round| round.counts.out_of_order),
            sum(|round| round.sent.refused),
            sum(|round| round.counts.wrong),
        ]);
    }
    println!("{table}");
    let retries: u64 = cases.iter().flat_map(|case| &case.rounds).map(|round| round.sent.retries).sum();
    if retries > 0 {
        println!("{} requests had to be sent to a system more than once", thousands(retries as i64));
    }
}

pub(crate) fn mib(bytes: u64) -> f64 {
    bytes as f64 / f64::from(1 << 20)
}
