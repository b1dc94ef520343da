//! `bench groups`: the cost of the Pushgateway's groups: of a push, of keeping them in memory, and of sending
//! them again each interval.

use crate::Result;
use crate::dialect::Dialect;
use crate::measure::median;
use crate::receiver::{Accepts, Receiver};
use crate::relay::mib;
use crate::systems::{Programs, System, Which, data_folder, wait_ready};
use crate::table::{Table, number, thousands};
use crate::workload::{PER_POD, Plan, Values, Workload};
use std::path::Path;
use std::time::{Duration, Instant};
use support::narthex::config;
use support::{Narthex, http, now_ms};

/// The number of connections that push.
const CONNECTIONS: u32 = 4;
/// How long to wait after the last new arrival. Samples that arrive later are lost.
const PATIENCE: Duration = Duration::from_secs(30);

/// Options of `bench groups`.
#[derive(Debug, Clone, clap::Args)]
pub(crate) struct Groups {
    /// How many groups, of 20 series each
    #[arg(long, default_value_t = 10_000)]
    groups: u32,
    /// Seconds between two turns of a group
    #[arg(long, default_value_t = 30)]
    interval: u32,
    /// How long they are watched while they are only sent again
    #[arg(long, default_value_t = 60)]
    seconds: u32,
    #[command(flatten)]
    which: Which,
    /// How often; the table shows medians
    #[arg(long, default_value_t = 3)]
    rounds: u32,
}

/// The result of one round.
#[derive(Debug)]
pub(crate) struct Round {
    pushes_per_second: f64,
    cpu_ms_per_push: f64,
    resident_mib: f64,
    peak_mib: f64,
    /// Measured while the groups are only sent again.
    pub(crate) cpu_seconds_per_million: f64,
    /// Series that never arrived, and series that were sent again less often than the interval requires.
    lost: u64,
    wrong: u64,
}

/// Runs the benchmark and prints the table. Returns an error if anything is lost or wrong.
pub(crate) fn run(options: &Groups) -> Result<()> {
    let programs = Programs::find(&options.which)?;
    if !programs.has(System::Narthex) {
        return Err("--systems has to have narthex".into());
    }
    let program = programs.narthex().ok_or("no narthex")?;
    let mut rounds = Vec::new();
    for number in 1..=options.rounds {
        eprintln!("round {number} of {}", options.rounds);
        rounds.push(options.round(program)?);
    }
    let middle = |of: fn(&Round) -> f64| number(median(&rounds.iter().map(of).collect::<Vec<_>>()));
    let sum = |of: fn(&Round) -> u64| rounds.iter().map(of).sum::<u64>();
    let (lost, wrong) = (sum(|round| round.lost), sum(|round| round.wrong));
    let mut table = Table::new(&[
        "",
        "pushes/s",
        "CPU ms a push",
        "MiB at the end",
        "peak MiB",
        "sent again: CPU s per million",
        "lost",
        "wrong",
    ]);
    table.push(vec![
        "narthex".into(),
        middle(|round| round.pushes_per_second),
        middle(|round| round.cpu_ms_per_push),
        middle(|round| round.resident_mib),
        middle(|round| round.peak_mib),
        middle(|round| round.cpu_seconds_per_million),
        thousands(lost as i64),
        thousands(wrong as i64),
    ]);
    println!(
        "\n{} groups of {PER_POD} series, sent again every {} s, watched for {} s; medians of {} rounds\n\n{table}",
        thousands(options.groups.into()),
        options.interval,
        options.seconds,
        options.rounds
    );
    if lost + wrong > 0 { Err(format!("{lost} samples are lost, {wrong} are wrong").into()) } else { Ok(()) }
}

impl Groups {
    fn round(&self, program: &Path) -> Result<Round> {
        let receiver = Receiver::start(Accepts::Only(Dialect::V1))?;
        let folder = data_folder()?;
        let text = format!(
            "remote_write:\n- url: {}\ncollect: {{self: false, host: {{collectors: none}}}}\nreceive: \
             {{pushgateway: {{interval: {}s, max_groups: {}}}}}\n",
            receiver.url(),
            self.interval,
            self.groups
        );
        let arguments = ["--config", &config(folder.path(), &text)];
        let narthex = Narthex::start_in(program, "run", &folder.path().join("data"), &arguments);
        wait_ready(narthex.url())?;
        let workload = Workload { values: Values::Constant, ..Workload::plain(self.groups * PER_POD, 1) };
        let plan = Plan { workload, base: now_ms() };
        receiver.expect_at_any_time(plan);

        let (cpu, begun) = (narthex.process.cpu_seconds(), Instant::now());
        push_all(&plan, narthex.url())?;
        let (pushing, pushing_cpu) = (begun.elapsed(), narthex.process.cpu_seconds() - cpu);
        let since = Instant::now();
        while receiver.arrived().counts.arrived < plan.workload.samples() && since.elapsed() < PATIENCE {
            std::thread::sleep(Duration::from_millis(20));
        }
        let missing = plan.workload.samples() - receiver.arrived().counts.arrived;

        let (before, cpu) = (receiver.arrived().counts.repeated, narthex.process.cpu_seconds());
        std::thread::sleep(Duration::from_secs(u64::from(self.seconds)));
        let (after, watched) = (receiver.arrived().counts, narthex.process.cpu_seconds() - cpu);
        let again = after.repeated - before;
        // Each complete interval sends each series once. The series of one send deadline may still be in
        // flight.
        let due = u64::from(self.seconds / self.interval) * plan.workload.samples();
        let under_way = plan.workload.samples() * 2 / u64::from(self.interval);
        Ok(Round {
            pushes_per_second: f64::from(self.groups) / pushing.as_secs_f64(),
            cpu_ms_per_push: pushing_cpu * 1000.0 / f64::from(self.groups),
            resident_mib: mib(narthex.process.rss_bytes()),
            peak_mib: mib(narthex.process.peak_rss_bytes()),
            cpu_seconds_per_million: watched / again.max(1) as f64 * 1e6,
            lost: missing + due.saturating_sub(again + under_way),
            wrong: after.wrong,
        })
    }
}

/// Pushes each group once.
fn push_all(plan: &Plan, url: &str) -> Result<()> {
    let groups = plan.workload.series / PER_POD;
    std::thread::scope(|scope| {
        let threads: Vec<_> = (0..CONNECTIONS)
            .map(|number| {
                scope.spawn(move || -> Result<()> {
                    for pod in (number..groups).step_by(CONNECTIONS as usize) {
                        let (path, body) = plan.group(pod);
                        let answer =
                            http::request("PUT", &format!("{url}{path}"), &[], Some(body.as_bytes()))?;
                        if !answer.is_success() {
                            return Err(format!("{path}: {} {}", answer.status, answer.text()).into());
                        }
                    }
                    Ok(())
                })
            })
            .collect();
        for thread in threads {
            thread.join().map_err(|_| "a thread that pushes has panicked")??;
        }
        Ok(())
    })
}
