//! `bench grow`: the cost of a sample and the memory, by the number of series, destinations and senders, and
//! by the number of idle series and connections.

use crate::Result;
use crate::dialect::Dialect;
use crate::receiver::{Accepts, Receiver};
use crate::relay::mib;
use crate::sender::{CONNECTIONS, Requests, Target, send};
use crate::svg::{Chart, charts};
use crate::systems::{Programs, Which, data_folder, wait_ready};
use crate::table::{Table, number, thousands};
use crate::workload::{PER_POD, Plan, Workload};
use std::net::TcpStream;
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};
use support::narthex::config;
use support::{Narthex, now_ms};

/// How long to wait after the last new arrival. Samples that arrive later are lost.
const PATIENCE: Duration = Duration::from_secs(30);
/// Samples per second, unless sending all series every ten seconds needs more.
const RATE: u32 = 50_000;

/// Options of `bench grow`.
#[derive(Debug, Clone, clap::Args)]
pub(crate) struct Grow {
    /// How long each case runs
    #[arg(long, default_value_t = 20)]
    seconds: u32,
    /// A hundredth of the series, for trying it out
    #[arg(long)]
    tiny: bool,
    /// Draw the charts into this file
    #[arg(long, value_name = "FILE")]
    svg: Option<PathBuf>,
    #[command(flatten)]
    which: Which,
}

#[derive(Debug, Clone, Copy)]
struct Case {
    series: u32,
    destinations: usize,
    senders: u32,
    idle_series: u32,
    idle_connections: usize,
}

const USUAL: Case =
    Case { series: 100_000, destinations: 1, senders: CONNECTIONS, idle_series: 0, idle_connections: 0 };

/// The quantities that grow: their names and the cases.
fn axes() -> Vec<(&'static str, Vec<(f64, Case)>)> {
    let over = |values: &[u32], case: &dyn Fn(u32) -> Case| {
        values.iter().map(|&value| (f64::from(value), case(value))).collect()
    };
    vec![
        ("series", over(&[10_000, 30_000, 100_000, 300_000, 1_000_000], &|series| Case { series, ..USUAL })),
        ("destinations", over(&[1, 2, 4, 8], &|count| Case { destinations: count as usize, ..USUAL })),
        // Each sender has its own series, at least one request of them.
        ("senders", over(&[1, 10, 100], &|senders| Case { series: 200_000, senders, ..USUAL })),
        (
            "idle series",
            over(&[10_000, 100_000, 1_000_000], &|known| Case {
                series: 10_000,
                idle_series: known - 10_000,
                ..USUAL
            }),
        ),
        (
            "idle connections",
            over(&[1, 100, 400], &|count| Case { idle_connections: count as usize, ..USUAL }),
        ),
    ]
}

#[derive(Debug, Clone, Copy)]
struct Cost {
    cpu_seconds_per_million: f64,
    peak_mib: f64,
    /// The memory in addition to that without any.
    bytes_per_series: f64,
}

/// Runs the benchmark, prints the tables and draws the charts.
pub(crate) fn run(options: &Grow) -> Result<()> {
    let programs = Programs::find(&options.which)?;
    let program = programs.narthex().ok_or("--systems has to have narthex")?;
    let mut drawn = Vec::new();
    for (name, cases) in axes() {
        let mut table = Table::new(&[name, "CPU s per million", "peak MiB", "bytes a series"]);
        let [mut cpu, mut memory] = [Vec::new(), Vec::new()];
        for (at, mut case) in cases {
            if options.tiny {
                case.series = (case.series / 100).next_multiple_of(PER_POD);
                case.idle_series /= 100;
            }
            eprintln!("{} {name}", thousands(at as i64));
            let cost = case.run(program, options.seconds)?;
            table.push(vec![
                thousands(at as i64),
                number(cost.cpu_seconds_per_million),
                number(cost.peak_mib),
                number(cost.bytes_per_series),
            ]);
            cpu.push((at, cost.cpu_seconds_per_million));
            memory.push((at, cost.peak_mib));
        }
        println!("\n{table}");
        let chart = |title: &str, points| Chart { title: title.into(), axis: name.into(), points };
        drawn.push(chart("CPU seconds per million samples", cpu));
        drawn.push(chart("peak MiB", memory));
    }
    if let Some(file) = &options.svg {
        std::fs::write(file, charts(&drawn))?;
    }
    Ok(())
}

impl Case {
    fn run(self, program: &Path, seconds: u32) -> Result<Cost> {
        let receivers: Vec<Receiver> = (0..self.destinations)
            .map(|_| Receiver::start(Accepts::Only(Dialect::V1)))
            .collect::<Result<_>>()?;
        let folder = data_folder()?;
        let mut text = String::from("remote_write:\n");
        for (number, receiver) in receivers.iter().enumerate() {
            text += &format!("- name: \"{number}\"\n  url: {}\n", receiver.url());
        }
        let arguments = ["--config", &config(folder.path(), &text)];
        let narthex = Narthex::start_in(program, "run", &folder.path().join("data"), &arguments);
        wait_ready(narthex.url())?;
        let idle = narthex.process.rss_bytes();

        // All series are sent once, and then only the first ones.
        if self.idle_series > 0 {
            let all = Case::plan(self.series + self.idle_series, 1);
            self.send_and_wait(all, &narthex, &receivers)?;
        }
        let address = narthex.url().trim_start_matches("http://");
        let mut connections = Vec::new();
        for _ in 0..self.idle_connections {
            connections.push(TcpStream::connect(address)?);
        }
        let rate = RATE.max(self.series / 10);
        let sweeps = (rate * seconds).div_ceil(self.series).max(1);
        let plan = Case::plan(self.series, sweeps);
        let before = narthex.process.cpu_seconds();
        self.send_and_wait(plan, &narthex, &receivers)?;
        let cpu = narthex.process.cpu_seconds() - before;
        drop(connections);
        let peak = narthex.process.peak_rss_bytes();
        let known = f64::from(self.series + self.idle_series);
        Ok(Cost {
            cpu_seconds_per_million: cpu / plan.workload.samples() as f64 * 1e6,
            peak_mib: mib(peak),
            bytes_per_series: peak.saturating_sub(idle) as f64 / known,
        })
    }

    fn plan(series: u32, sweeps: u32) -> Plan {
        let rate = RATE.max(series / 10);
        let workload = Workload { rate, ..Workload::plain(series.next_multiple_of(PER_POD), sweeps) };
        Plan { workload, base: now_ms() }
    }

    /// Sends a plan and waits until each receiver has all of it.
    fn send_and_wait(self, plan: Plan, narthex: &Narthex, receivers: &[Receiver]) -> Result<()> {
        receivers.iter().for_each(|receiver| receiver.expect(plan));
        let requests = Requests::prepare(&plan, Dialect::V1)?;
        let sent = {
            let target = Target::of(&narthex.write_url())?;
            send(plan, Dialect::V1, requests, target, false, self.senders)?
        };
        let done = Instant::now();
        for receiver in receivers {
            loop {
                let arrived = receiver.arrived();
                if arrived.counts.wrong > 0 {
                    return Err(format!("{} samples have wrong values", arrived.counts.wrong).into());
                }
                if arrived.counts.arrived >= sent.acknowledged {
                    break;
                }
                if arrived.last_new.elapsed().min(done.elapsed()) > PATIENCE {
                    let lost = sent.acknowledged - arrived.counts.arrived;
                    return Err(format!("{lost} samples are lost{}", narthex.process.tail()).into());
                }
                std::thread::sleep(Duration::from_millis(20));
            }
        }
        Ok(())
    }
}
