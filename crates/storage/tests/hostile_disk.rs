//! Acknowledged samples are never lost, whatever the disk does. A model runs next to the storage.

#![allow(clippy::unwrap_used, clippy::expect_used)] // Tests and their helpers.

mod common;

use common::{drain, floats, options};
use proptest::prelude::*;
use std::collections::HashSet;
use std::path::Path;
use std::sync::Arc;
use storage::{Options, Pin, Storage};
use wal::Position;
use wal::sim::{Op, SimFilesystem};

#[derive(Debug, Clone)]
enum Step {
    /// Push one sample each for `series` series, starting with series `first`.
    Push { first: u8, series: u8 },
    /// Several pushes at the same time, as one group.
    Group { pushes: u8 },
    /// The next operations of one kind fail.
    Fail { op: Op, after: u64, times: u64 },
    /// Little space is left.
    Full { bytes: u64 },
    /// The disk works again and has free space.
    Heal,
    /// The power fails after this many operations.
    DieAfter { operations: u64 },
    /// A power cut and a new start.
    PowerCut,
    /// Reads and writes transfer at most this many bytes at a time.
    Short { bytes: Option<usize> },
    /// The only destination has acknowledged everything, so the log may be truncated.
    Delivered,
    /// A clean stop and a new start.
    Restart,
    /// A kill and a new start.
    Kill,
}

fn step() -> impl Strategy<Value = Step> {
    let op = prop::sample::select(vec![
        Op::Read,
        Op::Open,
        Op::Write,
        Op::Write,
        Op::Sync,
        Op::Sync,
        Op::SetLen,
        Op::Create,
        Op::Rename,
        Op::Remove,
        Op::SyncDir,
    ]);
    prop_oneof![
        8 => (0u8..20, 1u8..10).prop_map(|(first, series)| Step::Push { first, series }),
        3 => (2u8..6).prop_map(|pushes| Step::Group { pushes }),
        3 => (op, 0u64..6, 1u64..4).prop_map(|(op, after, times)| Step::Fail { op, after, times }),
        1 => (0u64..4000).prop_map(|bytes| Step::Full { bytes }),
        2 => Just(Step::Heal),
        1 => (0u64..30).prop_map(|operations| Step::DieAfter { operations }),
        1 => prop_oneof![Just(None), Just(Some(1)), (1usize..5000).prop_map(Some)]
            .prop_map(|bytes| Step::Short { bytes }),
        2 => Just(Step::Delivered),
        2 => Just(Step::PowerCut),
        1 => Just(Step::Restart),
        1 => Just(Step::Kill),
    ]
}

/// What the clients know. Each sample has a unique timestamp.
#[derive(Default)]
struct Model {
    next: i64,
    /// Series and timestamps of acknowledged samples, in order. Delivered samples are removed.
    acknowledged: Vec<(u8, i64)>,
    /// Position up to which samples are delivered.
    wanted: Option<Position>,
    /// The highest segment number that was ever used.
    highest: Option<u64>,
    short: Option<usize>,
    /// All samples that were pushed.
    pushed: HashSet<(u8, i64)>,
}

impl Model {
    fn push(&mut self, first: u8, series: u8) -> (model::Batch, Vec<(u8, i64)>) {
        self.next += 1;
        let samples: Vec<_> = (first..first + series).map(|series| (series, self.next)).collect();
        self.pushed.extend(&samples);
        (floats(samples.iter().map(|(series, _)| u32::from(*series)), self.next, 1.0), samples)
    }

    async fn check(&self, storage: &Storage) -> Result<(), TestCaseError> {
        let mut follower = storage.follow(storage.oldest());
        let seen: Vec<(u8, i64)> = drain(storage, &mut follower)
            .await
            .into_iter()
            // Never acknowledged: a power cut may keep later bytes of an unfinished write and lose earlier
            // ones.
            .filter(|(_, series, ..)| series != "?")
            .map(|(_, series, timestamp, _)| {
                let number = series.trim_start_matches("m{n=\"").trim_end_matches("\"}");
                (number.parse().expect("a series that was pushed"), timestamp)
            })
            .collect();
        let set: HashSet<_> = seen.iter().copied().collect();
        prop_assert_eq!(set.len(), seen.len(), "something is there twice");
        prop_assert!(set.is_subset(&self.pushed), "something is there that nobody pushed");
        for sample in &self.acknowledged {
            prop_assert!(set.contains(sample), "acknowledged and lost: {:?}", sample);
        }
        for series in 0..30 {
            let times: Vec<_> =
                seen.iter().filter(|(other, _)| *other == series).map(|(_, time)| *time).collect();
            prop_assert!(times.is_sorted(), "series {} is out of order: {:?}", series, times);
        }
        Ok(())
    }
}

fn small() -> Options {
    Options { max_size: 8 << 20, tail_bytes: 1 << 16, reserve_bytes: 4096, ..options(Path::new("/data")) }
}

fn heal(fs: &SimFilesystem, model: &Model) {
    fs.heal();
    fs.set_space(None);
    fs.set_max_transfer(model.short);
}

/// Opens the storage. If the disk prevents that, the disk is repaired first, as an operator would do.
fn reopen(fs: &SimFilesystem, model: &mut Model) -> (Storage, Pin) {
    let open = || Storage::open(Arc::new(fs.clone()), Arc::new(model::SystemClock::new()), small());
    let (storage, report) = open().unwrap_or_else(|_| {
        if fs.is_dead() {
            fs.power_cut();
        }
        heal(fs, model);
        open().expect("opens on a disk that works")
    });
    assert!(model.highest < Some(report.end.segment), "segment {} was there before", report.end.segment);
    model.highest = Some(report.end.segment);
    let pin = storage.pin("only", model.wanted.unwrap_or(report.oldest));
    storage.begin_truncating();
    (storage, pin)
}

async fn run(seed: u64, steps: Vec<Step>) -> Result<(), TestCaseError> {
    let fs = SimFilesystem::new(seed);
    let mut model = Model::default();
    let (mut storage, mut pin) = reopen(&fs, &mut model);
    for step in steps {
        match step {
            Step::Push { first, series } => {
                let (batch, samples) = model.push(first, series);
                if storage.append(batch).await.is_ok() {
                    model.acknowledged.extend(samples);
                }
            }
            Step::Group { pushes } => {
                let mut waiting = Vec::new();
                for push in 0..pushes {
                    let (batch, samples) = model.push(push, 3);
                    let storage = storage.clone();
                    waiting.push((tokio::spawn(async move { storage.append(batch).await }), samples));
                }
                for (answer, samples) in waiting {
                    if answer.await.expect("no panic").is_ok() {
                        model.acknowledged.extend(samples);
                    }
                }
            }
            Step::Fail { op, after, times } => fs.fail(op, after, times),
            Step::Full { bytes } => fs.set_space(Some(bytes)),
            Step::Heal if !fs.is_dead() => heal(&fs, &model),
            Step::Heal => {}
            Step::DieAfter { operations } => fs.die_after(operations),
            Step::Short { bytes } => {
                model.short = bytes;
                fs.set_max_transfer(bytes);
            }
            Step::Delivered => {
                model.acknowledged.clear();
                model.wanted = Some(storage.end());
                model.highest = model.highest.max(Some(storage.end().segment));
                pin.set(storage.end());
            }
            Step::PowerCut | Step::Kill | Step::Restart => {
                if matches!(step, Step::PowerCut) || fs.is_dead() {
                    fs.power_cut();
                    drop(storage);
                    fs.power_cut();
                } else {
                    drop(storage);
                }
                (storage, pin) = reopen(&fs, &mut model);
                if fs.is_dead() {
                    continue;
                }
                // The other failures stay, as long as they are temporary.
                fs.set_space(None);
                fs.die_after(u64::MAX);
                model.check(&storage).await?;
            }
        }
    }
    fs.power_cut();
    drop(storage);
    fs.power_cut();
    fs.set_max_transfer(model.short);
    let (storage, _pin) = reopen(&fs, &mut model);
    fs.fail(Op::Read, seed % 20, 1 + seed % 3);
    fs.fail(Op::Open, seed % 7, seed % 3);
    model.check(&storage).await
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 400, max_shrink_iters: 2000, ..ProptestConfig::default() })]

    #[test]
    fn nothing_acknowledged_is_lost_repeated_or_out_of_order(
        seed: u64, steps in prop::collection::vec(step(), 1..40))
    {
        // The clock is paused, so that pauses between tries take no time.
        let runtime =
            tokio::runtime::Builder::new_current_thread().enable_all().start_paused(true).build().unwrap();
        runtime.block_on(run(seed, steps))?;
    }
}
