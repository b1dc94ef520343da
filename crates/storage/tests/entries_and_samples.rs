//! A journal entry and the samples that belong to it become durable together, wherever the machine stops and
//! whatever fails. So totals are exact if every request that was not answered is sent again.

#![allow(clippy::unwrap_used, clippy::expect_used, clippy::indexing_slicing)] // Tests and their helpers.

mod common;

use common::{drain, floats, options};
use proptest::prelude::*;
use std::collections::{BTreeSet, HashMap};
use std::path::Path;
use std::sync::Arc;
use storage::{Journal, Options, Storage};
use wal::sim::{Fault, Op, SimFilesystem};

const COUNTERS: usize = 2;

/// The requests that each counter has added. An entry has 1 byte for the counter, then 1 byte per request.
type Totals = [BTreeSet<u8>; COUNTERS];

/// An input that adds 1 for each request that it has not seen yet.
struct Input {
    storage: Storage,
    journal: Journal,
    totals: Totals,
    time: i64,
}

/// What the clients know.
#[derive(Default)]
struct Clients {
    next: u8,
    acknowledged: Totals,
    /// Requests that were not answered, or answered with an error.
    unanswered: Vec<(usize, u8)>,
    /// Timestamps of the samples of each request, one for each time that it was sent.
    times: HashMap<(usize, u8), Vec<i64>>,
}

fn small() -> Options {
    Options { reserve_bytes: 0, ..options(Path::new("/data")) }
}

async fn open(fs: &SimFilesystem, time: i64) -> Option<Input> {
    let clock = Arc::new(model::SystemClock::new());
    let (storage, _) = Storage::open(Arc::new(fs.clone()), clock, small()).ok()?;
    let (journal, entries) = storage.journal("totals").await.ok()?;
    let mut totals = Totals::default();
    for entry in entries {
        let (counter, requests) = entry.split_first().unwrap();
        totals[usize::from(*counter)] = requests.iter().copied().collect();
    }
    Some(Input { storage, journal, totals, time })
}

impl Input {
    fn entry(&self, counter: usize) -> Vec<u8> {
        [counter as u8].into_iter().chain(self.totals[counter].iter().copied()).collect()
    }

    /// Sends a request. Returns true if it was answered with success.
    async fn request(&mut self, counter: usize, request: u8) -> bool {
        if !self.totals[counter].insert(request) {
            return true;
        }
        self.time += 1;
        let batch = floats([counter as u32], self.time, self.totals[counter].len() as f64);
        let entry = self.entry(counter);
        let is_ok = self.storage.append_with(batch, &self.journal, entry).await.is_ok();
        if !is_ok {
            self.totals[counter].remove(&request);
        }
        is_ok
    }

    /// Compares what a start found with what the clients know and what the log contains.
    async fn check(&self, clients: &Clients) {
        let mut follower = self.storage.follow(self.storage.oldest());
        let (mut shown, mut times) = ([0.0; COUNTERS], BTreeSet::new());
        for (_, series, time, value) in drain(&self.storage, &mut follower).await {
            times.insert(time);
            let Some(counter) = series.strip_prefix("m{n=\"").and_then(|rest| rest.strip_suffix("\"}"))
            else {
                continue; // The series record was lost together with samples that were not acknowledged.
            };
            let value: f64 = value.strip_suffix(" from 0").unwrap().parse().unwrap();
            let shown = &mut shown[counter.parse::<usize>().unwrap()];
            assert!(value >= *shown, "counter {counter} goes back from {shown} to {value}");
            *shown = value;
        }
        for (counter, shown) in shown.into_iter().enumerate() {
            let (total, acknowledged) = (&self.totals[counter], &clients.acknowledged[counter]);
            assert!(total.is_superset(acknowledged), "acknowledged and lost: {acknowledged:?} of {total:?}");
            for request in total.difference(acknowledged) {
                let sent = &clients.times[&(counter, *request)];
                assert!(
                    sent.iter().any(|time| times.contains(time)),
                    "the journal has request {request}, of which nothing is in the log: a client without a key that is \
                     told of an error would add it twice"
                );
            }
            assert!(shown <= total.len() as f64, "the log shows more than the journal has");
        }
    }
}

impl Clients {
    async fn send(&mut self, input: &mut Input, counter: usize, request: u8) {
        let time = input.time + 1;
        self.times.entry((counter, request)).or_default().push(time);
        if input.request(counter, request).await {
            self.acknowledged[counter].insert(request);
            self.unanswered.retain(|sent| *sent != (counter, request));
        } else if !self.unanswered.contains(&(counter, request)) {
            self.unanswered.push((counter, request));
        }
    }

    async fn send_new(&mut self, input: &mut Input, counter: usize) {
        self.next += 1;
        self.send(input, counter, self.next).await;
    }

    async fn send_again(&mut self, input: &mut Input) {
        for (counter, request) in self.unanswered.clone() {
            self.send(input, counter, request).await;
        }
    }

    /// Sends all unanswered requests again. Then each total must be the number of requests.
    async fn check_all(mut self, fs: &SimFilesystem, time: i64) {
        let mut input = open(fs, time).await.expect("opens on a disk that works");
        input.check(&self).await;
        self.send_again(&mut input).await;
        assert_eq!(self.unanswered, [], "nothing fails on a disk that works");
        assert_eq!(input.totals, self.acknowledged);
        let sent: usize = input.totals.iter().map(BTreeSet::len).sum();
        assert_eq!(sent, usize::from(self.next));
        drop(input);
        open(fs, time).await.expect("opens on a disk that works").check(&self).await;
    }
}

fn runtime() -> tokio::runtime::Runtime {
    // The clock is paused, so that pauses between tries take no time.
    tokio::runtime::Builder::new_current_thread().enable_all().start_paused(true).build().unwrap()
}

fn stop(fs: &SimFilesystem, input: Option<Input>) {
    fs.power_cut();
    drop(input);
    fs.power_cut();
}

/// Runs a history that ends in the middle of operation number `dies_after`. Before that, one operation of the
/// kind in `failing` fails, the one with this number since the first entry.
async fn dies(seed: u64, dies_after: u64, failing: Option<(Op, u64)>) -> bool {
    let fs = SimFilesystem::new(seed);
    let mut clients = Clients::default();
    let mut input = open(&fs, 0).await.unwrap();
    clients.send_new(&mut input, 0).await;
    // Each write is many operations, so that the machine can stop between any two bytes.
    fs.set_max_transfer(Some(6));
    if let Some((op, after)) = failing {
        fs.fail(op, after, 1);
    }
    fs.die_after(dies_after);
    for request in 0..4 {
        clients.send_new(&mut input, request % COUNTERS).await;
    }
    clients.send_again(&mut input).await;
    let died = fs.is_dead();
    let time = input.time;
    stop(&fs, Some(input));
    clients.check_all(&fs, time).await;
    died
}

#[test]
fn totals_are_exact_wherever_the_machine_stops() {
    let runtime = runtime();
    // A request has two syncs (journal, log) and many writes. These of them fail:
    let failing = [
        None,
        Some((Op::Sync, 0)),
        Some((Op::Sync, 1)),
        Some((Op::Sync, 3)),
        Some((Op::Write, 5)),
        Some((Op::Write, 60)),
    ];
    for (seed, failing) in failing.into_iter().enumerate() {
        let mut stops = 0;
        while runtime.block_on(dies(seed as u64 * 10_000 + stops, stops, failing)) {
            stops += 1;
        }
        assert!(stops > 50, "{stops} places at which the machine stopped");
    }
}

#[derive(Debug, Clone)]
enum Step {
    Request {
        counter: usize,
    },
    /// Send all unanswered requests again.
    Again,
    Disk(Fault),
    /// Rewrite the journal with one entry per total.
    Rewrite,
    Kill,
    PowerCut,
}

fn step() -> impl Strategy<Value = Step> {
    let op = prop::sample::select(vec![Op::Write, Op::Sync, Op::Sync, Op::SetLen, Op::Create, Op::SyncDir]);
    let fault = prop_oneof![
        4 => (op, 0u64..6, 1u64..4).prop_map(|(op, after, times)| Fault::Fail { op, after, times }),
        1 => (0u64..400).prop_map(|bytes| Fault::Full { bytes }),
        2 => Just(Fault::Heal),
        1 => (0u64..20).prop_map(|operations| Fault::DieAfter { operations }),
    ];
    prop_oneof![
        8 => (0..COUNTERS).prop_map(|counter| Step::Request { counter }),
        3 => Just(Step::Again),
        8 => fault.prop_map(Step::Disk),
        1 => Just(Step::Rewrite),
        1 => Just(Step::Kill),
        2 => Just(Step::PowerCut),
    ]
}

async fn run(seed: u64, steps: Vec<Step>) {
    let fs = SimFilesystem::new(seed);
    let mut clients = Clients::default();
    let mut time = 0;
    let mut input = open(&fs, time).await;
    for step in steps {
        match (step, &mut input) {
            (Step::Request { counter }, Some(input)) => clients.send_new(input, counter).await,
            (Step::Again, Some(input)) => clients.send_again(input).await,
            (Step::Rewrite, Some(input)) => {
                let entries = (0..COUNTERS).map(|counter| input.entry(counter)).collect();
                let _ = input.storage.rewrite(&input.journal, entries).await;
            }
            (Step::Disk(fault), _) => fault.apply(&fs),
            (end @ (Step::Kill | Step::PowerCut), running) => {
                time = running.as_ref().map_or(time, |input| input.time);
                let running = running.take();
                if matches!(end, Step::PowerCut) || fs.is_dead() {
                    stop(&fs, running);
                } else {
                    drop(running);
                }
                input = open(&fs, time).await;
                if let Some(input) = &input
                    && !fs.is_dead()
                {
                    input.check(&clients).await;
                }
            }
            _ => {}
        }
    }
    time = input.as_ref().map_or(time, |input| input.time);
    stop(&fs, input);
    clients.check_all(&fs, time).await;
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 1000, max_shrink_iters: 2000, ..ProptestConfig::default() })]

    #[test]
    fn totals_are_exact_after_any_failures(seed: u64, steps in prop::collection::vec(step(), 1..40)) {
        runtime().block_on(run(seed, steps));
    }
}
