//! `bench start`: how long a system with a full log takes until it is ready.

use crate::Result;
use crate::bulk;
use crate::measure::disk_bytes;
use crate::receiver::{Accepts, Receiver};
use crate::relay::mib;
use crate::sender::{CONNECTIONS, Requests, Target, send};
use crate::systems::{Asked, Programs, Route, System, Which, data_folder};
use crate::table::{Table, number, thousands};
use crate::workload::{PER_POD, Plan, Workload};
use std::time::Duration;
use support::{SOON, now_ms};

/// Options of `bench start`.
#[derive(Debug, Clone, clap::Args)]
pub(crate) struct Start {
    /// Active series
    #[arg(long, default_value_t = 1_000_000)]
    series: u32,
    /// Samples of each series in the log
    #[arg(long, default_value_t = 20)]
    sweeps: u32,
    /// Before that, this much log is written straight to the disk, in GiB. It has no sample of this run, and
    /// the systems only have to find it. For narthex alone: the others read all of it at a start
    #[arg(long, value_name = "GIB", default_value_t = 0)]
    bulk: u64,
    /// Keep the data folder, and say where it is
    #[arg(long)]
    keep: bool,
    #[command(flatten)]
    which: Which,
    /// How often each is started again
    #[arg(long, default_value_t = 3)]
    rounds: u32,
}

/// Runs the benchmark and prints the table.
pub(crate) fn run(options: &Start) -> Result<()> {
    let programs = Programs::find(&options.which)?;
    let mut table = Table::new(&["", "log MiB", "ready after s (each)", "peak MiB"]);
    for &system in options.which.systems.iter().filter(|system| programs.has(**system)) {
        eprintln!("filling the log of {}", system.name());
        // The destination does not listen, so that everything stays in the log.
        let receiver = Receiver::start(Accepts::Anything)?;
        receiver.set_here(false);
        let folder = data_folder()?;
        let data = folder.path().join("data");
        let start = || programs.start(system, Route::OneOne, Asked::default(), &receiver.url(), &data);
        let series = options.series.next_multiple_of(PER_POD);
        let now = now_ms();
        let workload = Workload::plain(series, options.sweeps);
        let plan = Plan { workload, base: now };
        if options.bulk > 0 {
            // A new destination begins at the log's end, and pins everything after it.
            start()?.process().kill();
            let before = Plan { base: now - 86_400_000, ..plan };
            let samples = bulk::write(&data.join("wal"), &before, options.bulk << 30)?;
            eprintln!("{} samples lie in it already", thousands(samples as i64));
        }
        let running = start()?;
        // Only the log counts, not the other files of a system.
        let empty = disk_bytes(&data).saturating_sub(disk_bytes(&data.join("wal")));
        let (dialect, url) = (Route::OneOne.input(), running.write_url());
        let sent = send(plan, dialect, Requests::OnTheFly, Target::of(&url)?, true, CONNECTIONS)?;
        if sent.acknowledged < workload.samples() {
            return Err(format!("{} took only {} samples", system.name(), sent.acknowledged).into());
        }
        match system {
            // Its acknowledged samples are in its log. After SIGTERM it would continue trying to send for a
            // minute.
            System::Prometheus => running.process().kill(),
            // narthex has synced what it acknowledged, and vmagent writes its memory to disk.
            System::Narthex | System::Vmagent => running.process().terminate(SOON * 4),
        };
        drop(running);
        let log = disk_bytes(&data).saturating_sub(empty);
        let (mut times, mut peak) = (Vec::new(), 0.0_f64);
        for _ in 0..options.rounds {
            let running = start()?;
            times.push(number(running.ready_after.as_secs_f64()));
            // The peak includes work that a start continues in the background.
            std::thread::sleep(Duration::from_secs(1));
            peak = peak.max(mib(running.process().peak_rss_bytes()));
            running.process().kill();
        }
        if options.keep {
            eprintln!("its data is in {}", folder.keep().display());
        }
        table.push(vec![system.name().into(), number(mib(log)), times.join(", "), number(peak)]);
    }
    let samples = i64::from(options.series) * i64::from(options.sweeps);
    println!(
        "\nstart with {} series and {} samples in the log, none of them delivered\n\n{table}",
        thousands(options.series.into()),
        thousands(samples)
    );
    Ok(())
}
