//! Histories of inputs on a disk that fails, fills up and loses what was not synced, with lives of the process that end by
//! a kill or with the power.

use super::TestClock;
use proptest::prelude::*;
use std::sync::Arc;
use std::time::Duration;
use storage::Storage;
use wal::sim::{Fault, Op, SimFilesystem};

/// Something that happens in a history.
#[derive(Debug, Clone)]
pub enum Event<S> {
    Step(S),
    Disk(Fault),
    End(End),
}

/// How a life of the process ends.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum End {
    PowerCut,
    Kill,
}

/// What is tested: clients, and what they know.
pub trait Clients {
    type Step;
    /// What lives as long as the process.
    type Process;
    /// See [`storage::Options::reserve_bytes`].
    const RESERVE_BYTES: u64 = 0;

    /// Starts the process, and checks what it knows. `None`: the disk doesn't allow it.
    async fn start(&mut self, storage: &Storage) -> Option<Self::Process>;
    async fn step(&mut self, process: &Self::Process, step: Self::Step);
    /// Checks what came out of it, on a disk that works.
    async fn check(&mut self, process: &Self::Process, storage: &Storage);
}

/// Events of which somewhat more than half are steps. `fails`: the operations of which some fail.
pub fn event<S: std::fmt::Debug + Clone>(
    step: impl Strategy<Value = S>,
    fails: &'static [Op],
) -> impl Strategy<Value = Event<S>> {
    let fail = (prop::sample::select(fails), 0u64..6, 1u64..4);
    let fault = prop_oneof![
        3 => fail.prop_map(|(op, after, times)| Fault::Fail { op, after, times }),
        1 => prop_oneof![0u64..2000, 0u64..100_000].prop_map(|bytes| Fault::Full { bytes }),
        1 => prop_oneof![Just(None), Just(Some(1)), (1usize..5000).prop_map(Some)]
            .prop_map(|bytes| Fault::Short { bytes }),
        1 => (0u64..40).prop_map(|operations| Fault::DieAfter { operations }),
        2 => Just(Fault::Heal),
    ];
    prop_oneof![
        14 => step.prop_map(Event::Step),
        8 => fault.prop_map(Event::Disk),
        2 => Just(Event::End(End::PowerCut)),
        1 => Just(Event::End(End::Kill)),
    ]
}

fn open<C: Clients>(fs: &SimFilesystem) -> Option<Storage> {
    let mut options = storage::Options::new("/data");
    (options.reserve_bytes, options.max_size) = (C::RESERVE_BYTES, 64 << 20);
    Storage::open(Arc::new(fs.clone()), TestClock::new(), options).ok().map(|(storage, _)| storage)
}

/// One life of the process, until an event ends it.
async fn live<C: Clients>(
    clients: &mut C,
    storage: &Storage,
    fs: &SimFilesystem,
    events: &mut impl Iterator<Item = Event<C::Step>>,
) -> Option<End> {
    let Some(process) = clients.start(storage).await else { return Some(End::Kill) };
    for event in events {
        match event {
            Event::Step(step) => clients.step(&process, step).await,
            Event::Disk(fault) => fault.apply(fs),
            Event::End(end) => return Some(end),
        }
    }
    None
}

fn runtime() -> tokio::runtime::Runtime {
    tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap()
}

/// Lives through a history, and checks what came out of it.
pub fn run<C: Clients>(mut clients: C, seed: u64, events: Vec<Event<C::Step>>) {
    let fs = SimFilesystem::new(seed);
    let mut events = events.into_iter();
    loop {
        let storage = open::<C>(&fs).or_else(|| {
            if fs.is_dead() {
                fs.power_cut();
            }
            fs.heal();
            open::<C>(&fs)
        });
        let storage = storage.expect("opens on a disk that works");
        // A runtime for each life: with it go the tasks of the process.
        let runtime = runtime();
        let ended = runtime.block_on(live(&mut clients, &storage, &fs, &mut events));
        if ended != Some(End::Kill) || fs.is_dead() {
            fs.power_cut();
            drop((runtime, storage));
            fs.power_cut();
        } else {
            drop((runtime, storage));
        }
        if ended.is_none() {
            break;
        }
    }
    fs.heal();
    let storage = open::<C>(&fs).expect("opens on a disk that works");
    runtime().block_on(async {
        let process = clients.start(&storage).await.expect("starts on a disk that works");
        clients.check(&process, &storage).await;
    });
}

/// The float samples of each series in the log, in their order.
pub async fn samples(storage: &Storage) -> Vec<(String, Vec<(i64, f64)>)> {
    let mut follower = storage.follow(storage.oldest());
    let mut samples: std::collections::BTreeMap<String, Vec<(i64, f64)>> = Default::default();
    let end = storage.end();
    while follower.position() < end {
        // Behind the last chunk there may be a segment without any, at which the follower waits.
        let next = tokio::time::timeout(Duration::from_millis(5), follower.next());
        let Ok(chunk) = next.await else { break };
        let chunk = chunk.unwrap();
        for point in chunk.points() {
            let model::Value::Float(value) = point.value else { continue };
            let series = chunk.batch.labels(point.series).to_string();
            samples.entry(series).or_default().push((point.timestamp, value));
        }
    }
    samples.into_iter().collect()
}
