//! Lines of StatsD, pushes that are added, and changes of requests that are answered, all at once on a disk that fails,
//! fills up and loses what was not synced, while the process is killed again and again.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::indexing_slicing, reason = "tests")]

mod common;

use axum::body::Body;
use common::TestClock;
use common::history::{self, Clients, Event};
use http::Request;
use model::Labels;
use proptest::prelude::*;
use receive::{Doors, Options};
use statsd::{Aggregator, Counters};
use std::collections::BTreeMap;
use std::sync::{Arc, Mutex};
use std::time::Duration;
use storage::Storage;
use totals::{Accumulators, Begin, Kind, Limits, NewSeries, Now, Settings, Totals};
use tower::ServiceExt;
use wal::sim::Op;

#[derive(Debug, Clone)]
enum Step {
    /// A line of StatsD, which nobody answers.
    Line {
        series: u8,
    },
    /// The end of an interval.
    Flush,
    Push {
        series: u8,
    },
    Delta {
        series: u8,
    },
    /// A push and a delta for each series at once, one of each twice.
    All,
    /// Each request that was not answered with success, once more.
    Again,
}

const SERIES: u8 = 2;

fn event() -> impl Strategy<Value = Event<Step>> {
    let step = prop_oneof![
        5 => (0..SERIES).prop_map(|series| Step::Line { series }),
        3 => Just(Step::Flush),
        4 => (0..SERIES).prop_map(|series| Step::Push { series }),
        4 => (0..SERIES).prop_map(|series| Step::Delta { series }),
        2 => Just(Step::All),
        3 => Just(Step::Again),
    ];
    history::event(step, &[Op::Write, Op::Sync, Op::Sync, Op::SetLen, Op::Create, Op::SyncDir])
}

/// A request of one of the two kinds, with its series and a number of its own.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Sent {
    Push(u8, u64),
    Delta(u8, u64),
}

#[derive(Default)]
struct Senders {
    next: u64,
    /// Of each kind and series, by the series' name.
    requests: BTreeMap<String, u64>,
    unanswered: Vec<Sent>,
    lines: BTreeMap<u8, Lines>,
}

/// What is known of a series of StatsD.
#[derive(Debug, Default)]
struct Lines {
    sent: u64,
    /// Of these: surely in the log.
    durable: u64,
    /// Since the last start, and not in the log yet.
    waiting: u64,
}

struct Process {
    doors: Doors,
    statsd: Accumulators,
    aggregator: Mutex<Aggregator>,
    deltas: Arc<Accumulators>,
}

async fn accumulators(doors: &Doors, name: &'static str) -> Option<Accumulators> {
    let intake = doors.intake();
    let settings = Settings { limits: Limits::default(), begin: Begin::WithZero };
    Accumulators::open(intake.input(name), name, intake.clock(), settings).await.ok()
}

/// What an input of OTLP does with a delta.
fn add_delta(totals: &mut Totals, now: Now, series: u8, number: u64) {
    if totals.is_applied(number.into()) {
        return;
    }
    totals.set_applied(number.into(), now);
    let labels = Labels::from_pairs([("__name__", format!("delta_{series}").as_str())]);
    let new = NewSeries { labels: labels.as_ref(), kind: &Kind::Counter, help: "", unit: "", ttl: None };
    let handle = totals.open(new, now).unwrap();
    totals.add(handle, 1.0).unwrap();
}

impl Process {
    async fn is_sent(&self, request: Sent) -> bool {
        match request {
            Sent::Push(series, number) => {
                let request = Request::builder().method("POST").uri("/add/metrics/job/j");
                let body = format!("# TYPE push_{series} counter\npush_{series} 1\n");
                let request = request.header("Idempotency-Key", number.to_string()).body(Body::from(body));
                let answer = self.doors.router().oneshot(request.unwrap()).await.unwrap();
                assert!(matches!(answer.status().as_u16(), 200 | 503), "{answer:?}");
                answer.status().is_success()
            }
            Sent::Delta(series, number) => {
                let change = move |totals: &mut Totals, now: Now| add_delta(totals, now, series, number);
                self.deltas.commit(change).await.is_ok()
            }
        }
    }

    fn line(&self, series: u8) {
        let counters = Counters::default();
        let counts = counters.counts(&|_| {});
        let text = format!("line.{series}:1|c");
        let now = self.statsd.now();
        self.aggregator.lock().unwrap().apply(text.as_bytes(), &mut self.statsd.totals(), now, &counts);
        assert_eq!(counters.rejected.get(), 0);
    }
}

impl Senders {
    fn new_request(&mut self, of: fn(u8, u64) -> Sent, series: u8) -> Sent {
        self.next += 1;
        let request = of(series, self.next);
        let name = match request {
            Sent::Push(..) => format!("push_{series}"),
            Sent::Delta(..) => format!("delta_{series}"),
        };
        *self.requests.entry(name).or_default() += 1;
        request
    }

    async fn send_at_once(&mut self, process: &Process, requests: &[Sent]) {
        let answers = requests.iter().map(|request| process.is_sent(*request));
        let answers = futures_util::future::join_all(answers).await;
        for (request, is_sent) in requests.iter().zip(answers) {
            match is_sent {
                true => self.unanswered.retain(|sent| sent != request),
                false if self.unanswered.contains(request) => {}
                false => self.unanswered.push(*request),
            }
        }
    }

    fn line(&mut self, process: &Process, series: u8) {
        process.line(series);
        let lines = self.lines.entry(series).or_default();
        (lines.sent, lines.waiting) = (lines.sent + 1, lines.waiting + 1);
    }

    async fn flush(&mut self, process: &Process) -> bool {
        let is_flushed = process.statsd.flush().await.is_ok();
        for lines in self.lines.values_mut().filter(|_| is_flushed) {
            lines.durable += std::mem::take(&mut lines.waiting);
        }
        is_flushed
    }
}

impl Clients for Senders {
    type Step = Step;
    type Process = Process;

    async fn start(&mut self, storage: &Storage) -> Option<Process> {
        // A kill loses the lines of the interval.
        self.lines.values_mut().for_each(|lines| lines.waiting = 0);
        let doors = Doors::open(storage.clone(), TestClock::new(), Options::default()).await.ok()?;
        let statsd = accumulators(&doors, "statsd").await?;
        let deltas = Arc::new(accumulators(&doors, "deltas").await?);
        Some(Process { doors, statsd, aggregator: Mutex::default(), deltas })
    }

    async fn step(&mut self, process: &Process, step: Step) {
        match step {
            Step::Line { series } => self.line(process, series),
            Step::Flush => {
                self.flush(process).await;
            }
            Step::Push { series } => {
                let request = self.new_request(Sent::Push, series);
                self.send_at_once(process, &[request]).await;
            }
            Step::Delta { series } => {
                let request = self.new_request(Sent::Delta, series);
                self.send_at_once(process, &[request]).await;
            }
            Step::All => {
                let mut requests = Vec::new();
                for series in 0..SERIES {
                    requests.push(self.new_request(Sent::Push, series));
                    requests.push(self.new_request(Sent::Delta, series));
                }
                requests.extend_from_within(..2);
                self.send_at_once(process, &requests).await;
            }
            Step::Again => {
                for request in self.unanswered.clone() {
                    self.send_at_once(process, &[request]).await;
                }
            }
        }
    }

    async fn check(&mut self, process: &Process, storage: &Storage) {
        self.step(process, Step::Again).await;
        assert_eq!(self.unanswered, []);
        for series in self.lines.keys().copied().collect::<Vec<_>>() {
            self.line(process, series);
        }
        assert!(self.flush(process).await);
        let shown: BTreeMap<String, Vec<(i64, f64)>> = history::samples(storage).await.into_iter().collect();
        let mut last = BTreeMap::new();
        for (series, samples) in shown.iter().filter(|(series, _)| !series.starts_with("push_time")) {
            let name = series.split('{').next().unwrap_or_default();
            let goes_up =
                samples.is_sorted_by(|(time, value), (next, next_value)| time < next && value <= next_value);
            assert!(goes_up || name == "push_failure_time_seconds", "{series} goes back: {samples:?}");
            last.insert(name.to_string(), samples.last().unwrap().1 as u64);
        }
        for (name, requests) in &self.requests {
            assert_eq!(last.get(name), Some(requests), "{name}: each request counts once");
        }
        for (series, lines) in &self.lines {
            let total = last[&format!("line_{series}")];
            assert!((lines.durable..=lines.sent).contains(&total), "line_{series}: {total} of {lines:?}");
        }
    }
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 200, max_shrink_iters: 500, ..ProptestConfig::default() })]

    #[test]
    fn totals_are_exact_and_never_go_back(seed: u64, events in prop::collection::vec(event(), 1..60)) {
        history::run(Senders::default(), seed, events);
    }
}

/// A request whose commit fails changes nothing, also where others share its round.
#[tokio::test]
async fn a_failed_commit_undoes_new_series_marks_and_applied_requests() {
    let fs = wal::sim::SimFilesystem::new(1);
    let mut options = storage::Options::new("/data");
    options.reserve_bytes = 0;
    let (storage, _) = Storage::open(Arc::new(fs.clone()), TestClock::new(), options).unwrap();
    let clock = TestClock::new();
    let doors = Doors::open(storage.clone(), clock.clone(), Options::default()).await.unwrap();
    let deltas = Arc::new(accumulators(&doors, "deltas").await.unwrap());
    let commit = |number: u64| {
        let deltas = deltas.clone();
        async move {
            let change = move |totals: &mut Totals, now: Now| {
                add_delta(totals, now, 1, number);
                let labels = Labels::from_pairs([("__name__", "delta_1")]);
                let handle = totals.find(labels.as_ref()).unwrap();
                totals.set_mark(handle, [number, number + 1]).unwrap();
            };
            deltas.commit(change).await
        }
    };
    fs.fail(Op::Sync, 0, 100);
    let (one, two) = tokio::join!(commit(1), commit(2));
    assert!(one.is_err() && two.is_err());
    let labels = Labels::from_pairs([("__name__", "delta_1")]);
    assert!(deltas.totals().is_empty() && !deltas.totals().is_applied(1));
    fs.heal();
    clock.pass(Duration::from_secs(1));
    // After a failed sync a new segment is begun, which may take another try.
    while commit(1).await.is_err() {}
    fs.fail(Op::Sync, 0, 100);
    assert!(commit(3).await.is_err());
    fs.heal();
    {
        let totals = deltas.totals();
        let handle = totals.find(labels.as_ref()).unwrap();
        assert_eq!(totals.mark(handle), Some([1, 2]));
        assert!(totals.is_applied(1) && !totals.is_applied(3));
    }
    while commit(3).await.is_err() {}
    clock.pass(Duration::from_secs(70));
    deltas.flush().await.unwrap();
    let shown: BTreeMap<String, Vec<(i64, f64)>> = history::samples(&storage).await.into_iter().collect();
    let values: Vec<f64> = shown["delta_1"].iter().map(|(_, value)| *value).collect();
    assert_eq!(values, [0.0, 1.0, 2.0, 2.0], "a start with 0, two requests, and a repetition after a minute");
}
