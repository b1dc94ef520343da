//! Compatibility of the data folder, for files that only destinations with failures leave: rings of members,
//! lanes with two positions, parked samples, and the ages of segments. A start continues from the files of an
//! earlier narthex: no sample is lost, and no sample is sent again that is known to be delivered.
//!
//! The folder is `tests/fixtures/data-v1-destinations`, as a kill left it. See the README there.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::indexing_slicing, reason = "tests")]

mod common;

use common::World;
use model::Clock;
use remote::{Base, Destinations, RemoteWrite, State, Stats};
use serde_json::{Value, json};
use std::collections::BTreeMap;
use std::path::PathBuf;
use std::sync::Arc;
use std::sync::atomic::{AtomicI64, AtomicU8, Ordering};
use std::time::Duration;
use support::folder::{pack, unpack};
use support::peers::repository;
use support::receiver::{Answer, Received};
use support::wire::visit;
use support::{SOON, wait_for, wait_until};
use wal::RealFilesystem;

const SERIES: usize = 20;
const HOUR: Duration = Duration::from_secs(3600);
/// Most samples of a request to `live`.
const OF_A_REQUEST: usize = 2;

/// Host, series, timestamp.
type Sample = (String, usize, i64);

fn fixture() -> PathBuf {
    repository().join("tests/fixtures/data-v1-destinations")
}

fn world() -> World {
    World::with(|options| options.max_age = Some(24 * HOUR))
}

/// Starts the destinations. All hosts are one receiver, which is their proxy, so that URLs stay the same.
fn start(world: &World, members: [&str; 2]) -> Destinations {
    let queue =
        json!({"batch_send_deadline": "20ms", "max_backoff": "60ms", "min_shards": 4, "max_shards": 4});
    let mut slow = queue.clone();
    slow["max_samples_per_send"] = OF_A_REQUEST.into();
    let members = members.map(|member| format!("http://{member}/write"));
    let mut entries = [
        json!({"name": "cluster", "members": members, "shard_by": "series", "queue_config": queue}),
        json!({"name": "fails", "url": "http://fails/write", "queue_config": queue}),
        json!({"name": "live", "url": "http://live/write", "queue_config": slow, "catch_up": "newest_first",
            "out_of_order_window": "2h"}),
    ];
    let proxy = world.receiver.url();
    let entries = entries.iter_mut().map(|entry| {
        entry["proxy_url"] = proxy.as_str().into();
        serde_json::from_value::<RemoteWrite>(entry.take()).unwrap()
    });
    let base = Base {
        storage: world.storage().clone(),
        fs: Arc::new(RealFilesystem),
        clock: world.clock.clone(),
        data_dir: world.dir.path().to_path_buf(),
    };
    let _guard = world.runtime.enter();
    Destinations::start(entries.collect(), &[], 8 << 20, base).unwrap()
}

fn stats(running: &Destinations, url: &str) -> Arc<Stats> {
    running.iter().find(|one| one.url_redacted().contains(url)).unwrap().stats().clone()
}

fn samples(request: &Received) -> Vec<Sample> {
    let host = request.path.strip_prefix("http://").unwrap().split('/').next().unwrap();
    let mut all = Vec::new();
    visit(request.version(), &request.content, |view| {
        let series = view.labels_map()["instance"].parse().unwrap();
        all.extend(view.samples.iter().map(|(time, _)| (host.to_string(), series, *time)));
    })
    .unwrap();
    all
}

/// Returns how often each sample was accepted.
fn there(world: &World) -> BTreeMap<Sample, usize> {
    let mut there = BTreeMap::new();
    for request in world.receiver.requests().iter().filter(|request| request.stored) {
        samples(request).into_iter().for_each(|sample| *there.entry(sample).or_default() += 1);
    }
    there
}

fn is_of_cluster(host: &str) -> bool {
    ["one", "two", "three"].contains(&host)
}

/// Makes the fixture: `cargo test -p remote --test data_folder -- --ignored`. Only for a new format, under
/// another name. Existing fixtures stay unchanged.
#[test]
#[ignore = "makes a fixture"]
fn make() {
    let target = fixture();
    assert!(!target.exists(), "{} is there: fixtures stay as they are", target.display());
    let mut world = world();
    // 0: everything is accepted. 1: the cluster and `live` are away. 2: `live` is slow.
    let (phase, hurting) = (Arc::new(AtomicU8::new(0)), Arc::new(AtomicI64::new(0)));
    let (now, hurts) = (phase.clone(), hurting.clone());
    world.receiver.answer(move |request| {
        let all = samples(request);
        let hurts = hurts.load(Ordering::SeqCst);
        match (&*all[0].0, now.load(Ordering::SeqCst)) {
            ("fails", _) if all.iter().any(|(_, series, time)| *series == 17 && *time == hurts) => {
                Answer::status(500).body("what is this?")
            }
            ("live", 2) => Answer::success(request).delay(Duration::from_millis(100)),
            ("fails", _) | (_, 0) => Answer::success(request),
            _ => Answer::status(503),
        }
    });
    let mut times = Vec::new();
    let mut push = |world: &World| {
        world.clock.jump(Duration::from_millis(2));
        times.push(world.clock.now_ms());
        world.push_at(SERIES, *times.last().unwrap());
        *times.last().unwrap()
    };

    let running = start(&world, ["one", "two"]);
    push(&world);
    wait_until("all of the first", SOON, || there(&world).len() == 3 * SERIES);
    phase.store(1, Ordering::SeqCst);
    push(&world);
    wait_until("the second where it can be", SOON, || there(&world).len() == 4 * SERIES);
    for destination in running.into_all() {
        world.runtime.block_on(destination.hand_over());
    }
    world.reopen();
    let running = start(&world, ["two", "three"]);

    // One sample fails until it is parked. Meanwhile the outage of the others continues.
    let fails = stats(&running, "fails");
    for round in 0..60 {
        let (delivered, failed) = (fails.delivered.get().samples, fails.requests_retried.get());
        let time = push(&world);
        if round == 0 {
            hurting.store(time, Ordering::SeqCst);
        }
        wait_until("others to pass and it to fail", SOON, || {
            fails.set_aside.get().samples > 0
                || fails.delivered.get().samples > delivered && fails.requests_retried.get() > failed
        });
        if fails.set_aside.get().samples > 0 {
            break;
        }
        world.clock.jump(Duration::from_secs(60));
    }

    phase.store(2, Ordering::SeqCst);
    let live = stats(&running, "live");
    wait_until("the newest to go first", SOON, || live.newest_first.get() == 1);
    let newest = push(&world);
    let is_there =
        |host: &str, time| (0..SERIES).all(|s| there(&world).contains_key(&(host.into(), s, time)));
    wait_until("the newest", SOON, || is_there("live", newest) && is_there("fails", newest));
    drop(running);
    world.storage.take().unwrap().close();

    pack(world.dir.path(), &target);
    let there = there(&world);
    let mut flags = BTreeMap::<&str, Vec<String>>::new();
    for host in ["one", "two", "three", "fails", "live"] {
        let flag = |series: usize, time: i64| match there.contains_key(&(host.to_string(), series, time)) {
            true => '1',
            false => '0',
        };
        let lines = (0..SERIES).map(|series| times.iter().map(|time| flag(series, *time)).collect());
        flags.insert(host, lines.collect());
    }
    let known =
        json!({"times": times, "there": flags, "aside": ["fails", 17, hurting.load(Ordering::SeqCst)]});
    std::fs::write(target.join("there.json"), serde_json::to_string_pretty(&known).unwrap()).unwrap();
}

/// Returns a copy of the fixture with its log open.
fn copy() -> World {
    let mut world = world();
    world.storage.take().unwrap().close();
    for entry in std::fs::read_dir(world.dir.path()).unwrap() {
        let path = entry.unwrap().path();
        if path.is_dir() { std::fs::remove_dir_all(path) } else { std::fs::remove_file(path) }.unwrap();
    }
    unpack(&fixture(), world.dir.path());
    world
}

#[test]
fn destinations_continue_from_a_folder_of_version_1() {
    let known: Value = serde_json::from_slice(&std::fs::read(fixture().join("there.json")).unwrap()).unwrap();
    let times: Vec<i64> = serde_json::from_value(known["times"].clone()).unwrap();
    let was_there = |host: &str, series: usize, time: i64| {
        let at = times.iter().position(|other| *other == time).unwrap();
        known["there"][host][series].as_str().unwrap().as_bytes()[at] == b'1'
    };
    let mut world = copy();
    let files = |folder: &str| {
        let files = std::fs::read_dir(world.dir.path().join(folder)).unwrap();
        files.map(|file| file.unwrap().file_name().into_string().unwrap()).collect::<Vec<_>>()
    };
    assert!(files("dead").iter().any(|name| name.contains(".aside-")), "{:?}", files("dead"));
    assert_eq!(files("rings").len(), 1);
    world.open();
    let running = start(&world, ["two", "three"]);
    assert_eq!(running.iter().count(), 5, "the one that left has something to deliver");

    // Each of the three entries has each sample once, before and after the start together.
    let copies = || {
        let mut copies = BTreeMap::new();
        let arrived = there(&world);
        for host in ["one", "two", "three", "fails", "live"] {
            let entry = if is_of_cluster(host) { "cluster" } else { host };
            for (series, time) in (0..SERIES).flat_map(|series| times.iter().map(move |time| (series, *time)))
            {
                let here = arrived.get(&(host.to_string(), series, time)).copied().unwrap_or(0);
                *copies.entry((entry, series, time)).or_insert(0) +=
                    here + usize::from(was_there(host, series, time));
            }
        }
        copies
    };
    let aside = ("fails", 17, known["aside"][2].as_i64().unwrap());
    wait_for("everything", SOON, || {
        let missing: Vec<_> =
            copies().into_iter().filter(|(sample, copies)| *copies == 0 && *sample != aside).collect();
        if missing.is_empty() {
            Ok(())
        } else {
            Err(format!("{} are missing: {:?}", missing.len(), missing[0]))
        }
    });
    assert_eq!(copies()[&aside], 0, "not before its time");
    world.clock.jump(Duration::from_secs(301));
    wait_until("what was put aside", SOON, || copies()[&aside] == 1);

    let again: Vec<_> = copies().into_iter().filter(|(_, copies)| *copies > 1).collect();
    // Requests under way at the kill: one of each shard, in both queues of `live`.
    assert!(again.len() <= 2 * 4 * OF_A_REQUEST, "{again:?}");
    assert!(again.iter().all(|((entry, ..), _)| *entry == "live"), "{again:?}");
    // By the rings, the new member has no sample from before the change, and the old member none from after
    // it.
    for ((host, _, time), _) in there(&world) {
        let before = time <= times[1];
        assert!(!(host == "three" && before || host == "one" && !before), "{host} got {time}");
    }
    wait_until("the old member to be done", SOON, || matches!(stats(&running, "//one").state(), State::Left));
    wait_until("one queue again", SOON, || stats(&running, "live").newest_first.get() == 0);
}

#[test]
fn segments_in_a_folder_of_version_1_keep_their_ages() {
    for noted in [true, false] {
        let mut world = copy();
        if !noted {
            std::fs::remove_file(world.dir.path().join("ages")).unwrap();
        }
        // The first segment was closed 39 minutes of running time before the end, and is kept for 10 more.
        world.options.max_age = Some(HOUR);
        for run in 0..2 {
            if run == 0 {
                world.open()
            } else {
                world.reopen()
            }
            let storage = world.storage();
            let before = storage.stats().sweeps.get();
            // A destination still needs all segments.
            let _pin = storage.pin("away", storage.oldest());
            storage.begin_truncating();
            let is_gone = || storage.oldest().segment > 0;
            if noted && run == 1 {
                wait_until("the segment to be deleted", SOON, is_gone);
            } else {
                wait_until("its segments to be looked at", SOON, || storage.stats().sweeps.get() > before);
                assert!(!is_gone(), "{noted} {run}");
            }
            world.clock.jump(HOUR / 2);
        }
    }
}
