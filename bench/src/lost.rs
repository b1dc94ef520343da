//! `bench lost`: the acknowledged samples that each system loses when it is killed, when its receiver does
//! not listen or refuses a sample, and when its disk budget is used up.
//!
//! Each system runs with its own defaults. The systems of one event run at the same time, each with its own
//! receiver: the numbers show what arrives, not how fast.

use crate::Result;
use crate::count::Counts;
use crate::dialect::Dialect;
use crate::receiver::{Accepts, Receiver, Refusal};
use crate::sender::{CONNECTIONS, Requests, Sent, Target, send};
use crate::systems::{Asked, Budget, Programs, Route, System, Which, data_folder};
use crate::table::{Table, thousands};
use crate::workload::{Plan, Workload};
use std::sync::Mutex;
use std::time::{Duration, Instant};
use support::now_ms;

/// The number of series. At the usual rate each is sent once a second.
const SERIES: u32 = 20_000;
/// Samples per second.
const RATE: u32 = 20_000;
/// The smallest limit on disk of narthex, and a rate that uses it up within some seconds.
const NARTHEX_BUDGET: (u64, u32) = (8 << 20, 80_000);
/// The smallest limit on disk of vmagent, which rounds a smaller one up to this, and a rate that uses it up.
const VMAGENT_BUDGET: (u64, u32) = (512 << 20, 250_000);
/// In events with a bad sample the receiver refuses one series in this many.
const REFUSED_OF: u32 = 2000;
/// How long to wait after the last new arrival, in addition to the length of the outage. Samples that arrive
/// later are lost. Each system's pause between two attempts is at most about as long as the outage was.
const PATIENCE: Duration = Duration::from_secs(25);
/// Timestamps begin a little after the current time: the Prometheus agent sends nothing that is older than
/// its start.
const AHEAD_MS: i64 = 1000;

/// Options of `bench lost`.
#[derive(Debug, Clone, clap::Args)]
pub(crate) struct Lost {
    #[command(flatten)]
    which: Which,
    /// How many systems run at the same time
    #[arg(long, default_value_t = 6)]
    at_once: usize,
}

/// Something that happens to a system while samples are sent to it. Times are seconds from the first sample.
#[derive(Debug, Clone, Copy)]
struct Event {
    name: &'static str,
    rate: u32,
    seconds: u32,
    /// When the system is killed with SIGKILL and immediately started again.
    kills: &'static [u64],
    /// The beginning and the end of the time in which the receiver does not listen.
    away: Option<(u64, u64)>,
    /// The receiver answers 400 if a request has a sample of a refused series.
    refuses: Option<Refusal>,
    /// The disk budget, for an event about a full one.
    budget: Option<Budget>,
}

const PLAIN: Event =
    Event { name: "", rate: RATE, seconds: 12, kills: &[], away: None, refuses: None, budget: None };

/// Each event with its systems. The last two are about a limit on disk: each system has the smallest limit
/// that it accepts. The Prometheus agent has no limit in bytes.
const EVENTS: [(Event, &[System]); 8] = [
    (Event { name: "killed twice under load", kills: &[4, 8], ..PLAIN }, &System::ALL),
    (Event { name: "killed in an outage of 10 s", kills: &[7], away: Some((2, 12)), ..PLAIN }, &System::ALL),
    (Event { name: "an outage of 10 s", away: Some((2, 12)), ..PLAIN }, &System::ALL),
    (
        Event {
            name: "one bad sample in 2,000, whole requests refused",
            refuses: Some(Refusal { one_in: REFUSED_OF, writes_rest: false }),
            ..PLAIN
        },
        &System::ALL,
    ),
    (
        Event {
            name: "one bad sample in 2,000, good ones written",
            refuses: Some(Refusal { one_in: REFUSED_OF, writes_rest: true }),
            ..PLAIN
        },
        &System::ALL,
    ),
    (
        Event {
            name: "outage fills 8 MiB of disk, oldest dropped",
            rate: NARTHEX_BUDGET.1,
            away: Some((0, 13)),
            budget: Some(Budget { bytes: NARTHEX_BUDGET.0, refuse: false }),
            ..PLAIN
        },
        &[System::Narthex],
    ),
    (
        Event {
            name: "outage fills 512 MiB of disk, oldest dropped",
            rate: VMAGENT_BUDGET.1,
            seconds: 64,
            away: Some((0, 66)),
            budget: Some(Budget { bytes: VMAGENT_BUDGET.0, refuse: false }),
            ..PLAIN
        },
        &[System::Vmagent],
    ),
    (
        Event {
            name: "outage fills 8 MiB of disk, pushes deferred",
            rate: NARTHEX_BUDGET.1,
            away: Some((0, 13)),
            budget: Some(Budget { bytes: NARTHEX_BUDGET.0, refuse: true }),
            ..PLAIN
        },
        &[System::Narthex],
    ),
];

/// The result of one event for one system.
#[derive(Debug)]
struct Outcome {
    sent: Sent,
    counts: Counts,
    /// Acknowledged samples that the receiver always refuses. They are not lost.
    bad: u64,
}

impl Outcome {
    /// Acknowledged samples that the receiver did not refuse and that have not arrived.
    fn lost(&self) -> u64 {
        self.sent.acknowledged.saturating_sub(self.bad).saturating_sub(self.counts.arrived)
    }
}

/// One row of the table: an event, a system and the result.
struct Case {
    event: Event,
    system: System,
    outcome: Mutex<Option<Result<Outcome>>>,
}

/// Runs all events and prints the table.
pub(crate) fn run(options: &Lost) -> Result<()> {
    let programs = Programs::find(&options.which)?;
    let mut cases = Vec::new();
    for (event, systems) in EVENTS {
        for &system in systems.iter().filter(|system| options.which.systems.contains(system)) {
            if programs.has(system) {
                cases.push(Case { event, system, outcome: Mutex::new(None) });
            } else {
                eprintln!("SKIPPED: {}: not here", system.name());
            }
        }
    }
    // The longest event runs first, so that the last one does not run alone.
    let mut order: Vec<&Case> = cases.iter().collect();
    order.sort_by_key(|case| std::cmp::Reverse(case.event.seconds));
    let order = Mutex::new(order.into_iter());
    std::thread::scope(|scope| {
        for _ in 0..options.at_once.max(1) {
            scope.spawn(|| {
                let next = || order.lock().ok()?.next();
                while let Some(case) = next() {
                    eprintln!("{}: {}", case.event.name, case.system.name());
                    let outcome = case.event.run(&programs, case.system);
                    if let Ok(mut slot) = case.outcome.lock() {
                        *slot = Some(outcome);
                    }
                }
            });
        }
    });
    report(cases)
}

/// Prints the table. Returns an error if narthex lost samples that it must not lose.
fn report(cases: Vec<Case>) -> Result<()> {
    let mut table = Table::new(&["", "acknowledged", "lost", "repeated", "out of order"]);
    let (mut broken, mut retries) = (Vec::new(), 0);
    for case in cases {
        let place = format!("{}: {}", case.event.name, case.system.name());
        let outcome =
            case.outcome.into_inner().ok().flatten().ok_or_else(|| format!("{place}: no outcome"))?;
        let outcome = outcome.map_err(|error| format!("{place}: {error}"))?;
        let count = |count: u64| thousands(i64::try_from(count).unwrap_or(i64::MAX));
        let Counts { repeated, out_of_order, wrong, .. } = outcome.counts;
        retries += outcome.sent.retries;
        table.push(vec![
            place.clone(),
            count(outcome.sent.acknowledged),
            count(outcome.lost()),
            count(repeated),
            count(out_of_order),
        ]);
        let may_lose = case.event.budget.is_some_and(|budget| !budget.refuse);
        let lost = outcome.lost() > 0 && !may_lose;
        if case.system == System::Narthex && (lost || out_of_order > 0 || outcome.sent.refused > 0) {
            broken.push(place.clone());
        }
        if wrong > 0 {
            return Err(format!("{place}: {wrong} samples arrived with wrong values").into());
        }
    }
    println!("\n{table}");
    println!(
        "{} requests were sent to a system more than once before it acknowledged them",
        thousands(retries as i64)
    );
    if broken.is_empty() {
        return Ok(());
    }
    Err(format!("narthex lost, refused or reordered samples: {}", broken.join("; ")).into())
}

impl Event {
    fn run(self, programs: &Programs, system: System) -> Result<Outcome> {
        let receiver = Receiver::start(Accepts::Only(Dialect::V1))?;
        let folder = data_folder()?;
        let data = folder.path().join("data");
        let asked = Asked { budget: self.budget, ..Asked::default() };
        let start = || programs.start(system, Route::OneOne, asked, &receiver.url(), &data);
        let mut running = start()?;
        let sweeps = self.rate * self.seconds / SERIES;
        let workload = Workload { rate: self.rate, ..Workload::plain(SERIES, sweeps) };
        let plan = Plan { workload, base: now_ms() + AHEAD_MS };
        let requests = Requests::prepare(&plan, Dialect::V1)?;
        receiver.expect(plan);
        receiver.refuse(self.refuses);
        let target = Target::of(&running.write_url())?;
        let sent = std::thread::scope(|scope| {
            let sending = {
                let target = target.clone();
                scope.spawn(move || send(plan, Dialect::V1, requests, target, false, CONNECTIONS))
            };
            let away = self.away.map(|(from, to)| {
                let receiver = &receiver;
                scope.spawn(move || {
                    std::thread::sleep(Duration::from_secs(from));
                    receiver.set_here(false);
                    std::thread::sleep(Duration::from_secs(to - from));
                    receiver.set_here(true);
                })
            });
            let begun = Instant::now();
            for &at in self.kills {
                std::thread::sleep(
                    (begun + Duration::from_secs(at)).saturating_duration_since(Instant::now()),
                );
                running.process().kill();
                running = start()?;
                target.set(&running.write_url())?;
            }
            let sent = sending.join().map_err(|_| "the sender panicked")?;
            if let Some(away) = away {
                away.join().map_err(|_| "the outage's thread panicked")?;
            }
            sent
        })?;
        let bad = self.refuses.map_or(0, |refusal| u64::from(SERIES / refusal.one_in) * u64::from(sweeps));
        let expected = sent.acknowledged.saturating_sub(bad);
        let outage = self.away.map_or(0, |(from, to)| to - from);
        let patience = PATIENCE + Duration::from_secs(outage);
        let counts = running.drain(&receiver, expected, patience)?.counts;
        Ok(Outcome { sent, counts, bad })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn refused_samples_do_not_count_as_lost() {
        let outcome = |arrived| Outcome {
            sent: Sent { acknowledged: 4000, ..Sent::default() },
            counts: Counts { arrived, ..Counts::default() },
            bad: 2,
        };
        assert_eq!(outcome(3998).lost(), 0);
        assert_eq!(outcome(3990).lost(), 8);
    }

    #[test]
    fn an_event_ends_when_its_samples_are_sent_or_soon_after() {
        for (event, _) in EVENTS {
            let ends = event.kills.iter().copied().chain(event.away.map(|(_, to)| to));
            assert!(ends.max().is_none_or(|end| end <= u64::from(event.seconds) + 2), "{}", event.name);
            assert_eq!(event.rate * event.seconds % SERIES, 0, "{}: whole sweeps", event.name);
        }
    }
}
