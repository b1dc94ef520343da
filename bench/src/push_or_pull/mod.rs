//! `bench push-or-pull`: compares pushing by remote write with scraping. The same values reach a real
//! Prometheus in three ways: pushed by narthex, by a Pushgateway that is scraped, and by node_exporter's
//! textfile collector, which is scraped. It measures how late a value is, how many are lost, and the cost.

use crate::Result;
use crate::measure::{median, quantile};
use crate::push_or_pull::ways::{Way, Ways};
use crate::relay::mib;
use crate::systems::{Programs, System, Which, data_folder};
use crate::table::{Table, number};
use std::path::PathBuf;
use std::time::{Duration, Instant};
use support::Process;

mod cost;
mod steady;
mod ways;

/// The longest wait for a value.
const FOUND_WITHIN: Duration = Duration::from_secs(180);
/// The pause between two queries for it.
const ASK_EVERY: Duration = Duration::from_millis(20);
/// The number of values that are counted, one each second.
const COUNTED: u64 = 60;
/// Values that have not arrived after this time or two intervals are lost. It is longer than a batch waits
/// for its deadline.
const SETTLED_AFTER: Duration = Duration::from_secs(15);
/// Groups that are pushed right before a kill.
const KILLED_GROUPS: u64 = 20;

/// Options of `bench push-or-pull`.
#[derive(Debug, Clone, clap::Args)]
pub(crate) struct PushOrPull {
    /// Which tables; several after commas
    #[arg(long = "table", value_enum, value_delimiter = ',', default_value = "late,steady,lost,cost")]
    tables: Vec<Question>,
    /// How many values are pushed to see how late they are
    #[arg(long, default_value_t = 24)]
    rounds: u32,
    /// Seconds between two scrapes, two emissions of a group, two collections
    #[arg(long, default_value_t = 15)]
    interval: u64,
    /// How long each is watched for its cost, or pushed to in a steady stream
    #[arg(long, default_value_t = 120)]
    seconds: u64,
    /// Series of the pushed group whose cost is watched
    #[arg(long, default_value_t = 1000)]
    series: usize,
    /// This narthex, instead of one that is built for it
    #[arg(long, value_name = "PROGRAM")]
    narthex: Option<PathBuf>,
}

/// A table.
#[derive(Debug, Clone, Copy, PartialEq, Eq, clap::ValueEnum)]
enum Question {
    /// How late a value is.
    Late,
    /// How late it is while narthex sends other things too.
    Steady,
    /// How many values arrive.
    Lost,
    /// CPU, memory and bytes.
    Cost,
}

/// Runs the benchmark and prints the tables.
pub(crate) fn run(options: &PushOrPull) -> Result<()> {
    let which =
        Which { systems: vec![System::Narthex, System::Prometheus], narthex: options.narthex.clone() };
    let programs = Programs::find(&which)?;
    let (Some(narthex), Some(peers)) = (programs.narthex(), &programs.peers) else {
        return Err("the real programs are needed: see tests/support".into());
    };
    let asked = |question| options.tables.contains(&question);
    if asked(Question::Late) || asked(Question::Lost) {
        let folder = data_folder()?;
        let mut ways = Ways::start(narthex, peers, folder.path(), options.interval)?;
        if asked(Question::Late) {
            println!("\n{}", latency(&ways, options)?);
        }
        if asked(Question::Lost) {
            println!("\n{}", losses(&mut ways, options.interval)?);
        }
    }
    if asked(Question::Steady) {
        println!("\n{}", steady::table(narthex, peers, options)?);
    }
    if asked(Question::Cost) {
        println!("\n{}", cost::table(narthex, peers, options)?);
    }
    Ok(())
}

/// The number of values that arrive: without events, over an outage, and of the values that were acknowledged
/// right before a kill.
fn losses(ways: &mut Ways, interval: u64) -> Result<Table> {
    eprintln!("what is lost");
    let calm = count(ways, "bench_calm", false, interval)?;
    let outage = count(ways, "bench_outage", true, interval)?;
    let killed = killed(ways, interval)?;
    let mut table = Table::new(&[
        "arrived",
        "a value a second, of 60",
        "the same, Prometheus away for 20 s",
        "kill -9 right after the answer, of 20",
    ]);
    for (index, way) in ways.all.iter().enumerate() {
        let of = |counts: &[Option<usize>]| {
            counts.get(index).copied().flatten().map_or("-".to_string(), |count| count.to_string())
        };
        table.push(vec![way.name.to_string(), of(&calm), of(&outage), of(&killed)]);
    }
    Ok(table)
}

/// How late the values are. All ways run at the same time, and values are set at times spread evenly over the
/// interval.
fn latency(ways: &Ways, options: &PushOrPull) -> Result<Table> {
    eprintln!("how late: {} values on each way", options.rounds);
    let mut took: Vec<Vec<f64>> = ways.all.iter().map(|_| Vec::new()).collect();
    for round in 1..=options.rounds {
        // Multiples of the golden ratio are spread evenly for every number of values.
        let part = (f64::from(round) * 0.618_033_988_749_895).fract();
        std::thread::sleep(Duration::from_secs_f64(part * options.interval as f64));
        let value = f64::from(round);
        let results: Vec<Result<f64>> = std::thread::scope(|scope| {
            let threads: Vec<_> =
                ways.all.iter().map(|way| scope.spawn(move || until_found(way, value))).collect();
            threads
                .into_iter()
                .map(|thread| thread.join().unwrap_or_else(|_| Err("a panic".into())))
                .collect()
        });
        for (all, result) in took.iter_mut().zip(results) {
            all.push(result?);
        }
    }
    let mut table = Table::new(&["seconds", "median", "p95", "most"]);
    for (way, took) in ways.all.iter().zip(&took) {
        table.push(vec![
            way.name.to_string(),
            number(median(took)),
            number(quantile(took, 0.95)),
            number(quantile(took, 1.0)),
        ]);
    }
    Ok(table)
}

fn until_found(way: &Way, value: f64) -> Result<f64> {
    let since = Instant::now();
    way.put("bench_late", value)?;
    while since.elapsed() < FOUND_WITHIN {
        if way.prometheus().query("bench_late").iter().any(|sample| sample.value == value) {
            return Ok(since.elapsed().as_secs_f64());
        }
        std::thread::sleep(ASK_EVERY);
    }
    Err(format!("{}: a value was not found within {FOUND_WITHIN:?}", way.name).into())
}

/// Sets a value that increases once a second, and then counts how many of the values each Prometheus has.
fn count(ways: &mut Ways, name: &str, outage: bool, interval: u64) -> Result<Vec<Option<usize>>> {
    let begun = Instant::now();
    for value in 1..=COUNTED {
        if outage && value == COUNTED / 3 {
            ways.all.iter_mut().for_each(Way::stop_prometheus);
        }
        if outage && value == 2 * COUNTED / 3 {
            ways.all.iter_mut().for_each(Way::start_prometheus);
        }
        for way in &ways.all {
            way.put(name, value as f64)?;
        }
        std::thread::sleep(Duration::from_secs(value).saturating_sub(begun.elapsed()));
    }
    std::thread::sleep(SETTLED_AFTER.max(Duration::from_secs(2 * interval)));
    Ok(ways.all.iter().map(|way| Some(way.values(name))).collect())
}

/// Pushes groups, kills the process that received them right after the last answer, and starts it again.
/// Returns how many groups arrive in the end.
fn killed(ways: &mut Ways, interval: u64) -> Result<Vec<Option<usize>>> {
    let mut pushed = Vec::new();
    for way in &mut ways.all {
        let pushes = way.takes_pushes();
        if pushes {
            for group in 0..KILLED_GROUPS {
                way.push(&format!("/metrics/job/killed/group/{group}"), "bench_killed 1\n")?;
            }
            way.kill_and_restart()?;
        }
        pushed.push(pushes);
    }
    std::thread::sleep(SETTLED_AFTER.max(Duration::from_secs(2 * interval)));
    let found = |way: &Way| way.prometheus().query("bench_killed").len();
    Ok(ways.all.iter().zip(pushed).map(|(way, pushed)| pushed.then(|| found(way))).collect())
}

/// Milliseconds of processor time per minute and MiB, for a table.
fn usage(process: &Process, cpu_before: f64, minutes: f64) -> (f64, f64) {
    ((process.cpu_seconds() - cpu_before) * 1000.0 / minutes, mib(process.rss_bytes()))
}
