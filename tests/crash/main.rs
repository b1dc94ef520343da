//! The crash test: narthex is killed at random moments under load, again and again on the same data. Afterwards every
//! acknowledged sample must be at each destination, in order.
//!
//! A round is one run of the program. It starts with its own settings (protocol, shards, sizes, durability). Samples
//! are pushed to all inputs, while each of two destinations is healthy, slow, failing or unreachable. Most rounds end
//! by SIGKILL, some in the middle of the start, some by SIGTERM. Meanwhile the configuration is reloaded with other
//! options, another order, and names that are added and removed; the end may come in the middle of a reload. The log is
//! small, so that segments are started and deleted, and pushes are refused when it is full.
//!
//! The test ends after a hundred kills under load, or after as many rounds as `NARTHEX_CRASH_ROUNDS` says.
//! `NARTHEX_CRASH_SEED` repeats the choices of a run, but not its timing. `cargo test -p narthex --test crash --
//! --nocapture` shows the table.
#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::indexing_slicing,
    reason = "a panic is how a test reports"
)]

mod groups;
mod ledger;
mod pushers;
mod settings;
mod table;
mod weather;

use groups::Groups;
use ledger::Acked;
use pushers::{Counts, Pusher};
use settings::Settings;
use std::path::PathBuf;
use std::sync::Mutex;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};
use support::{Narthex, Process, SOON};
use table::Table;
use weather::{Destination, Weather};

/// The number of kills under load, unless the number of rounds is set.
const KILLS: u64 = 100;
const PUSHERS: usize = 3;
/// The number of threads that push groups, and of the groups of each.
const GROUP_PUSHERS: usize = 2;
const GROUPS: usize = 8;
/// How long the destinations have at the end to receive the rest.
const DRAIN: Duration = Duration::from_secs(120);

/// The program: that of this build, or the one in `NARTHEX_CRASH_PROGRAM`.
fn program() -> PathBuf {
    std::env::var_os("NARTHEX_CRASH_PROGRAM").unwrap_or(env!("CARGO_BIN_EXE_narthex").into()).into()
}

/// How a round ends.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum End {
    /// SIGKILL under load.
    Kill,
    /// SIGKILL this long after the start of the program, no matter if it listens already.
    KillEarly(Duration),
    /// SIGTERM under load.
    Terminate,
}

/// The settings of a round.
#[derive(Debug)]
struct Round {
    number: u32,
    settings: Settings,
    /// The times of reloads, as a share of the round's life, with the new settings.
    reloads: Vec<(f64, Settings)>,
    durability: &'static str,
    weathers: [Weather; 2],
    /// When an unreachable destination disconnects, as a share of the round's life; 0 means at its beginning.
    leaves: [f64; 2],
    life: Duration,
    end: End,
}

impl Round {
    fn roll(number: u32, dice: &mut fastrand::Rng) -> Round {
        let settings = Settings::roll(dice);
        // Mostly short, because this tests the kill.
        let longest_ms = if dice.u8(0..5) == 0 { 900 } else { 250 };
        let mut times: Vec<f64> = (0..dice.usize(0..4)).map(|_| dice.f64()).collect();
        times.sort_by(f64::total_cmp);
        let mut reloads: Vec<(f64, Settings)> = Vec::new();
        for at in times {
            let last = reloads.last().map_or(&settings, |(_, last)| last);
            let next = last.roll_next(dice);
            reloads.push((at, next));
        }
        // A reload takes time too.
        let more = Duration::from_millis(100 * reloads.len() as u64);
        Round {
            number,
            settings,
            reloads,
            durability: if dice.u8(0..4) == 0 { "os" } else { "fsync" },
            weathers: [(); 2].map(|()| Weather::roll(dice)),
            leaves: [(); 2].map(|()| if dice.bool() { 0.0 } else { dice.f64() }),
            life: more + Duration::from_millis(dice.u64(20..longest_ms)),
            end: match dice.u8(0..20) {
                0..2 => End::KillEarly(Duration::from_millis(dice.u64(0..80))),
                2..5 => End::Terminate,
                _ => End::Kill,
            },
        }
    }

    /// The last round, in which all remaining samples are delivered.
    fn last(number: u32) -> Round {
        Round {
            number,
            settings: Settings {
                protocols: ["io.prometheus.write.v2.Request", "prometheus.WriteRequest"],
                min_shards: 4,
                max_shards: 4,
                samples_per_send: 2000,
                capacity: 10_000,
                deadline_ms: 50,
                named: [true; 2],
                swapped: false,
            },
            reloads: Vec::new(),
            durability: "fsync",
            weathers: [Weather::Healthy; 2],
            leaves: [0.0; 2],
            life: Duration::ZERO,
            end: End::Terminate,
        }
    }

    /// The maximum of samples that a destination can have in flight.
    fn under_way(&self) -> u64 {
        let all = self.reloads.iter().map(|(_, settings)| settings).chain([&self.settings]);
        all.map(Settings::under_way).max().unwrap_or(0)
    }
}

/// The state over all rounds.
struct Test {
    folder: tempfile::TempDir,
    seed: u64,
    destinations: [Destination; 2],
    pushers: Vec<Pusher>,
    groups: Vec<Groups>,
    /// The acknowledged samples of each destination.
    acked: [Acked; 2],
    table: Table,
    findings: Vec<String>,
    /// Each round, and the last lines of narthex' output.
    history: Vec<String>,
}

#[test]
fn acknowledged_samples_arrive_in_order_after_any_kill() {
    let number = |name: &str| std::env::var(name).ok().map(|text| text.parse::<u64>().expect(name));
    let seed = number("NARTHEX_CRASH_SEED").unwrap_or_else(|| fastrand::u64(..1_000_000));
    let rounds = number("NARTHEX_CRASH_ROUNDS").map(|rounds| rounds as u32);
    let mut dice = fastrand::Rng::with_seed(seed);
    let start = Instant::now();
    let mut test = Test {
        folder: tempfile::tempdir().unwrap(),
        seed,
        destinations: [Destination::start("a", dice.u64(..)), Destination::start("b", dice.u64(..))],
        pushers: (0..PUSHERS).map(|number| Pusher::new(number, dice.u64(..))).collect(),
        groups: (0..GROUP_PUSHERS).map(|number| Groups::new(number * GROUPS, GROUPS, dice.u64(..))).collect(),
        acked: Default::default(),
        table: Table::default(),
        findings: Vec::new(),
        history: Vec::new(),
    };
    let mut number = 0;
    while rounds.map_or(test.table.killed < KILLS, |rounds| number < rounds) {
        test.round(&Round::roll(number, &mut dice));
        test.stop_at_findings();
        number += 1;
    }
    test.deliver_the_rest(&Round::last(number));
    test.stop_at_findings();
    println!("{}", test.table.print(seed, start.elapsed()));
    // Otherwise the test did not cover what it promises.
    let Table { killed, reloads, oldest, groups_checked, .. } = test.table;
    let all = reloads > 0 && oldest > 0.0 && groups_checked > 0;
    assert!(
        all || killed < KILLS,
        "{reloads} reloads, {oldest} segments deleted, {groups_checked} groups compared"
    );
}

impl Test {
    fn round(&mut self, round: &Round) {
        self.history.push(format!("{round:?}"));
        for (destination, weather) in self.destinations.iter_mut().zip(round.weathers) {
            destination.set(weather);
        }
        self.leave(round, |at| at == 0.0);
        let before = self.counters();
        match round.end {
            End::KillEarly(after) => self.killed_early(round, after),
            End::Kill | End::Terminate => self.loaded(round),
        }
        for destination in &mut self.destinations {
            // At its end, and if a reload waits for answers without success.
            destination.arrivals().may_repeat += round.under_way() * (1 + round.reloads.len() as u64);
        }
        self.table.round(round.weathers, round.end, &before, &self.counters());
        self.settle(false);
        self.findings_of_destinations(round.number);
    }

    /// Disconnects the destinations whose time has come.
    fn leave(&mut self, round: &Round, is_time: impl Fn(f64) -> bool) {
        for (at, destination) in self.destinations.iter_mut().enumerate() {
            if round.weathers[at] == Weather::Away && is_time(round.leaves[at]) {
                destination.go_away(round.under_way());
            }
        }
    }

    /// [first, repeated, may repeat, requests] of each destination.
    fn counters(&self) -> [[u64; 4]; 2] {
        [0, 1].map(|at| {
            let arrivals = self.destinations[at].arrivals();
            [arrivals.first, arrivals.repeated, arrivals.may_repeat, arrivals.requests]
        })
    }

    fn path(&self, round: &Round) -> PathBuf {
        self.folder.path().join(format!("{}.yml", round.number % 10))
    }

    fn configure(&self, round: &Round, settings: &Settings) {
        let text = settings.config(&self.destinations, round.number, round.durability);
        // Replaced in one step, because the previous reload may be reading the file.
        let beside = self.folder.path().join("next.yml");
        std::fs::write(&beside, text).unwrap();
        std::fs::rename(beside, self.path(round)).unwrap();
    }

    fn arguments(&self, round: &Round) -> Vec<String> {
        self.configure(round, &round.settings);
        let path = self.path(round);
        let path = path.to_str().unwrap();
        ["--config", path, "--flush-deadline", "400ms", "--log", "info"].map(str::to_string).to_vec()
    }

    fn killed_early(&mut self, round: &Round, after: Duration) {
        let data = self.folder.path().join("data");
        let mut arguments = vec!["run".to_string(), "--listen".into(), "127.0.0.1:0".into()];
        arguments.extend(["--data".into(), data.to_str().unwrap().into()]);
        arguments.extend(self.arguments(round));
        let process = Process::start(&program(), &arguments);
        std::thread::sleep(after);
        if process.exit_status().is_some() {
            self.findings.push(format!("round {}: ended by itself{}", round.number, process.tail()));
        }
        process.kill();
        self.history.push(process.tail());
    }

    fn start(&mut self, round: &Round) -> Narthex {
        let arguments = self.arguments(round);
        let arguments: Vec<&str> = arguments.iter().map(String::as_str).collect();
        let narthex = Narthex::start_in(program(), "run", &self.folder.path().join("data"), &arguments);
        let shown = narthex.get("/api/v1/metrics").expect_success().json();
        for groups in &mut self.groups {
            let wrong = groups.check(&shown);
            let number = round.number;
            self.findings.extend(wrong.into_iter().map(|wrong| format!("at the start of {number}: {wrong}")));
        }
        self.table.groups_checked += (GROUP_PUSHERS * GROUPS) as u64;
        narthex
    }

    /// A run under load, until its end.
    fn loaded(&mut self, round: &Round) {
        let narthex = self.start(round);
        let (stop, acked) = (AtomicBool::new(false), Mutex::default());
        let (mut pushers, mut groups) = (std::mem::take(&mut self.pushers), std::mem::take(&mut self.groups));
        std::thread::scope(|scope| {
            let (url, number, stop, acked) = (narthex.url(), round.number, &stop, &acked);
            let pushing: Vec<_> = pushers
                .iter_mut()
                .map(|pusher| scope.spawn(move || pusher.run(url, number, stop, acked)))
                .collect();
            let grouping: Vec<_> = groups
                .iter_mut()
                .map(|groups| scope.spawn(move || groups.run(url, number, stop, acked)))
                .collect();
            self.live(round, &narthex);
            // The numbers of the log, as late as possible. The log may be too busy to answer.
            for (number, metric) in [
                (&mut self.table.segment, "prometheus_tsdb_wal_segment_current"),
                (&mut self.table.oldest, "narthex_log_oldest_segment"),
            ] {
                *number = number.max(narthex.metric(metric).unwrap_or(0.0));
            }
            match round.end {
                End::Terminate => {
                    let status = narthex.process.terminate(SOON);
                    if status.code() != Some(0) {
                        self.findings.push(format!("round {number}: SIGTERM ended it with {status}"));
                    }
                }
                _ => drop(narthex.process.kill()),
            }
            stop.store(true, Ordering::Relaxed);
            let mut counts = [Counts::default(); 2];
            for (at, threads) in [pushing, grouping].into_iter().enumerate() {
                for thread in threads {
                    match thread.join().unwrap() {
                        Ok(more) => counts[at].add(more),
                        Err(wrong) => self.findings.push(wrong),
                    }
                }
            }
            self.table.pushes.add(counts[0]);
            self.table.group_changes.add(counts[1]);
            let acked = acked.lock().unwrap();
            self.table.samples_acked += acked.samples;
            self.acked.iter_mut().for_each(|all| all.extend(&acked));
        });
        (self.pushers, self.groups) = (pushers, groups);
        self.count_reloads(round, &narthex);
        self.history.push(narthex.process.tail());
    }

    /// Waits for the end of the round's life. Meanwhile destinations disconnect and the configuration changes.
    fn live(&mut self, round: &Round, narthex: &Narthex) {
        let leaves = round.leaves.iter().filter(|at| **at > 0.0).map(|at| (*at, None));
        let reloads = round.reloads.iter().map(|(at, settings)| (*at, Some(settings)));
        let mut events: Vec<(f64, Option<&Settings>)> = leaves.chain(reloads).collect();
        events.sort_by(|(a, _), (b, _)| a.total_cmp(b));
        let start = Instant::now();
        for (at, event) in events {
            std::thread::sleep(round.life.mul_f64(at).saturating_sub(start.elapsed()));
            match event {
                None => self.leave(round, |other| other == at),
                Some(settings) => {
                    self.configure(round, settings);
                    narthex.process.signal(support::process::Signal::HUP);
                    self.table.reloads_asked += 1;
                }
            }
        }
        std::thread::sleep(round.life.saturating_sub(start.elapsed()));
    }

    fn count_reloads(&mut self, round: &Round, narthex: &Narthex) {
        for line in narthex.process.lines() {
            self.table.reloads += u64::from(line.contains("the configuration was reloaded"));
            if line.contains("the configuration was not reloaded") {
                self.findings.push(format!("round {}: {line}", round.number));
            }
        }
    }

    /// The last run: nothing is pushed any more, and all acknowledged samples must arrive.
    fn deliver_the_rest(&mut self, round: &Round) {
        self.history.push(format!("{round:?}"));
        for destination in &mut self.destinations {
            destination.set(Weather::Healthy);
        }
        let before = self.counters();
        let narthex = self.start(round);
        let start = Instant::now();
        while start.elapsed() < DRAIN && self.findings.is_empty() {
            self.settle(false);
            if self.acked.iter().all(|acked| acked.open() == 0) {
                break;
            }
            std::thread::sleep(Duration::from_millis(100));
        }
        self.settle(true);
        self.table.drained = start.elapsed();
        let status = narthex.process.terminate(SOON);
        if status.code() != Some(0) {
            self.findings.push(format!("the last run: SIGTERM ended it with {status}"));
        }
        self.history.push(narthex.process.tail());
        for destination in &self.destinations {
            let arrivals = destination.arrivals();
            self.table.out_of_order += arrivals.out_of_order;
            self.table.stepped_back += arrivals.stepped_back;
        }
        self.table.round(round.weathers, round.end, &before, &self.counters());
        self.findings_of_destinations(round.number);
    }

    /// Finds lost samples.
    fn settle(&mut self, end: bool) {
        for (destination, acked) in self.destinations.iter().zip(&mut self.acked) {
            let (lost, words) = destination.arrivals().settle(acked, end);
            self.table.lost += lost;
            let name = destination.name;
            if lost > 0 {
                self.findings.push(format!("{name}: {lost} samples were lost"));
            }
            self.findings.extend(words.into_iter().map(|words| format!("{name} never got {words}")));
        }
    }

    fn findings_of_destinations(&mut self, round: u32) {
        for destination in &self.destinations {
            let mut arrivals = destination.arrivals();
            let name = destination.name;
            self.findings.extend(arrivals.findings.drain(..).map(|found| format!("{name}: {found}")));
            let (repeated, may) = (arrivals.repeated, arrivals.may_repeat);
            if repeated > may {
                self.findings.push(format!(
                    "{name}: by round {round}, {repeated} samples were sent again, at most {may} were in flight"
                ));
            }
            if arrivals.stepped_back > arrivals.may_step_back {
                self.findings.push(format!(
                    "{name}: by round {round}, {} samples were sent again by a run that knew of their \
                     acceptance",
                    arrivals.stepped_back
                ));
            }
        }
    }

    /// Ends the test if there is a finding, with everything that is needed to investigate it.
    #[track_caller]
    fn stop_at_findings(&mut self) {
        if self.findings.is_empty() {
            return;
        }
        let folder = std::mem::replace(&mut self.folder, tempfile::tempdir().unwrap()).keep();
        let recent = self.history.iter().rev().take(8).rev().cloned().collect::<Vec<_>>().join("\n");
        panic!(
            "NARTHEX_CRASH_SEED={}; data and configurations are kept in {}\nthe last rounds:\n{recent}\n\n{}",
            self.seed,
            folder.display(),
            self.findings.join("\n")
        );
    }
}

/// narthex is ended by SIGTERM while the destination is unreachable and the log has several segments.
#[test]
fn undelivered_samples_arrive_after_the_next_start() {
    let folder = tempfile::tempdir().unwrap();
    let receiver = support::FakeReceiver::start();
    receiver.go_away();
    let to = receiver.write_url();
    let arguments = ["--to", &to, "--collect", "none", "--flush-deadline", "300ms"];
    let data = folder.path().join("data");
    let mut expected = std::collections::BTreeMap::new();
    for run in 0..3 {
        let narthex = Narthex::start_in(program(), "run", &data, &arguments);
        let times: Vec<i64> = (0..10).map(|place| ledger::base_ms() + run * 10 + place).collect();
        let samples: Vec<(i64, f64)> = times.iter().map(|time| (*time, 1.0)).collect();
        let series = support::wire::Series::new("left", &[], &samples);
        let labels: support::Labels = series.labels.iter().cloned().collect();
        support::wire::push(&narthex.write_url(), support::wire::Version::V1, &[series])
            .unwrap()
            .expect_success();
        expected.entry(labels).or_insert_with(Vec::new).extend(times);
        assert_eq!(narthex.process.terminate(SOON).code(), Some(0));
    }
    receiver.come_back();
    let _narthex = Narthex::start_in(program(), "run", &data, &arguments);
    support::wait_until("what all three runs took", SOON, || receiver.tally(&expected).lost == 0);
    assert_eq!(receiver.tally(&expected).out_of_order, 0);
}
