//! Changes from one set of destinations to another, and saved positions that do not fit the log.
#![allow(clippy::unwrap_used, clippy::indexing_slicing, reason = "tests")]

mod common;

use common::World;
use remote::disk::positions::{self, PositionFile};
use remote::{Base, Changes, Destinations, RemoteWrite};
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;
use support::{FakeReceiver, SOON, wait_for, wait_until};
use wal::sim::{Op, SimFilesystem};
use wal::{Position, RealFilesystem};

const MEMORY: usize = 8 << 20;

fn base(world: &World, fs: Arc<dyn wal::Filesystem>) -> Base {
    Base {
        storage: world.storage().clone(),
        fs,
        clock: world.clock.clone(),
        data_dir: world.dir.path().to_path_buf(),
    }
}

fn start(world: &World, configs: Vec<RemoteWrite>, fs: Arc<dyn wal::Filesystem>) -> Destinations {
    let _guard = world.runtime.enter();
    Destinations::start(configs, &[], MEMORY, base(world, fs)).unwrap()
}

fn reload(world: &World, all: &mut Destinations, configs: Vec<RemoteWrite>) -> Result<Changes, String> {
    let reloaded = world.runtime.block_on(all.reload(configs, &[], MEMORY));
    reloaded.map_err(|error| error.to_string())
}

fn to(receiver: &FakeReceiver, name: &str) -> RemoteWrite {
    let mut config = RemoteWrite::to(remote::Url::parse(&receiver.write_url()).unwrap());
    config.queue_config.batch_send_deadline = Duration::from_millis(20);
    config.name = Some(name.into());
    config
}

#[test]
fn reload_on_a_failing_disk_changes_nothing() {
    let world = World::new();
    let other = FakeReceiver::start();
    let fs = SimFilesystem::new(1);
    let (kept, a, b) = (to(&world.receiver, "kept"), to(&world.receiver, "a"), to(&other, "b"));
    let mut all = start(&world, vec![kept.clone(), a.clone()], Arc::new(fs.clone()));
    world.push(10);
    world.wait_for_all();
    let mut changed = a.clone();
    changed.queue_config.max_shards = 3;
    // Existing files are written in place. Only a new file needs space.
    fs.fail(Op::SetLen, 0, u64::MAX);
    let error = reload(&world, &mut all, vec![kept.clone(), changed.clone(), b.clone()]).unwrap_err();
    assert!(error.contains("remote_write b"), "{error}");
    let names: Vec<String> = all.iter().map(|one| one.name().to_string()).collect();
    assert_eq!(names, ["kept", "a"]);
    // They still deliver, and the log keeps nothing for destinations that were not started.
    fs.heal();
    world.push(10);
    let tally = world.wait_for_all();
    assert_eq!(tally.out_of_order, 0);
    let delivered = || all.iter().map(|one| one.stats().delivered.get().samples).collect::<Vec<_>>();
    wait_for("both to deliver", SOON, || match &*delivered() {
        [20, 20] => Ok(()),
        other => Err(format!("{other:?}")),
    });
    assert_eq!(world.storage().orphans(), Vec::<String>::new());
    assert_eq!(other.requests().len(), 0);

    let changes = reload(&world, &mut all, vec![kept, changed, b]).unwrap();
    let list = |names: &[&str]| names.iter().map(|name| name.to_string()).collect::<Vec<_>>();
    let right = Changes { kept: list(&["kept"]), changed: list(&["a"]), new: list(&["b"]), removed: vec![] };
    assert_eq!(changes, right);
}

#[test]
fn corrected_url_is_a_change_and_not_a_new_destination() {
    let world = World::new();
    let other = FakeReceiver::start();
    world.receiver.go_away();
    let unnamed = |receiver: &FakeReceiver| {
        let mut config = to(receiver, "");
        config.name = None;
        config
    };
    let mut all = start(&world, vec![unnamed(&world.receiver)], Arc::new(RealFilesystem));
    world.push(10);
    let changes = reload(&world, &mut all, vec![unnamed(&other)]).unwrap();
    let (old, new) = (world.receiver.write_url(), other.write_url());
    assert_eq!(changes, Changes { changed: vec![format!("{new} (was {old})")], ..Changes::default() });
    assert_eq!(all.removed(), []);
    let expected = world.expected.lock().unwrap().clone();
    wait_until("the backlog", SOON, || other.tally(&expected).lost == 0);
    assert_eq!(world.storage().orphans(), Vec::<String>::new());
    // A new name is a change, too.
    let changes = reload(&world, &mut all, vec![to(&other, "b")]).unwrap();
    assert_eq!(changes, Changes { changed: vec![format!("b (was {new})")], ..Changes::default() });
}

#[test]
fn invalid_configuration_stops_nothing() {
    let world = World::new();
    let a = to(&world.receiver, "a");
    let mut all = start(&world, vec![a.clone()], Arc::new(RealFilesystem));
    world.push(10);
    world.wait_for_all();
    let mut changed = a.clone();
    changed.queue_config.max_shards = 3;
    let mut bad = to(&world.receiver, "b");
    bad.queue_config.capacity = 0;
    let error = reload(&world, &mut all, vec![changed, bad]).unwrap_err();
    assert!(error.contains("queue_config.capacity must be at least 1"), "{error}");
    let twins = vec![a.clone(), a];
    assert!(reload(&world, &mut all, twins).unwrap_err().contains("push the same to"));
    world.push(10);
    world.wait_for_all();
    assert_eq!(world.receiver.connections(), 1, "not even a connection was made anew");
}

/// Returns the file of positions of the only destination.
fn file(dir: &Path) -> PathBuf {
    let mut files = std::fs::read_dir(dir.join("positions")).unwrap();
    let path = files.next().unwrap().unwrap().path();
    assert!(files.next().is_none());
    path
}

/// Sets the positions of all lanes.
fn put(dir: &Path, position: Position) {
    let path = file(dir);
    let owner = positions::read(&RealFilesystem, &path).unwrap().unwrap().owner;
    let bytes = std::fs::read(&path).unwrap();
    let fingerprint = u64::from_le_bytes(bytes[16..24].try_into().unwrap());
    let somewhere = Position::default();
    let (mut file, settled, _) =
        PositionFile::open(&RealFilesystem, &path, &owner, fingerprint, somewhere, somewhere).unwrap();
    file.save(&settled.lanes.map(|_| position).into()).unwrap();
}

#[test]
fn positions_of_another_log_repeat_and_skip_nothing() {
    let mut world = World::new();
    world.receiver.go_away();
    let destination = world.start(world.config());
    for _ in 0..20 {
        world.push(50);
    }
    assert!(!world.stop_now(destination).complete);
    world.reopen();
    world.push(50);
    let segment = Position::start_of(0);
    let length = std::fs::metadata(world.dir.path().join("wal/00000000")).unwrap().len();
    let beyond = Position::record(1000, 7);
    for (position, fault) in [
        (Position::record(segment.segment, 3), "misplaced"),
        (Position::record(segment.segment, length / 2 + 1), "misplaced"),
        (Position::record(segment.segment, length - 5), "misplaced"),
        (beyond, "beyond_end"),
    ] {
        put(world.dir.path(), position);
        let receiver = FakeReceiver::start();
        let mut config = world.config();
        // The destination gets another address.
        config.name = Some("same".into());
        config.url = remote::Url::parse(&receiver.write_url()).unwrap();
        let configs = vec![config];
        let path = file(world.dir.path());
        let named = path.with_file_name(remote::Identity::of(&configs[0]).file());
        std::fs::rename(path, named).unwrap();
        let all = start(&world, configs, Arc::new(RealFilesystem));
        let expected = world.expected.lock().unwrap().clone();
        wait_for("everything", SOON, || {
            let tally = receiver.tally(&expected);
            if tally.lost == 0 { Ok(()) } else { Err(format!("{position:?}: {tally:?}")) }
        });
        assert_eq!(receiver.tally(&expected).out_of_order, 0);
        for destination in all.into_all() {
            let reset = &destination.stats().positions_reset;
            let counts = (reset.misplaced.get(), reset.beyond_end.get(), reset.gone.get());
            assert_eq!(counts, if fault == "misplaced" { (256, 0, 0) } else { (0, 256, 0) }, "{position:?}");
            world.stop(destination);
        }
    }
    // A position at a record's beginning stays, also with an index within the record. A missing segment is
    // skipped.
    let destination = world.start({
        let mut config = world.config();
        config.name = Some("same".into());
        world.receiver.come_back();
        config
    });
    world.push(50);
    let stats = destination.stats().clone();
    wait_for("the last", SOON, || match stats.delivered.get().samples {
        50 => Ok(()),
        other => Err(other.to_string()),
    });
    assert_eq!(stats.positions_reset.misplaced.get(), 0);
    world.stop(destination);
    world.reopen();
    put(world.dir.path(), Position::start_of(0));
    let wal = world.dir.path().join("wal");
    let mut segments: Vec<_> = std::fs::read_dir(&wal).unwrap().map(|entry| entry.unwrap().path()).collect();
    segments.sort();
    let gone = segments.len() > 1;
    if gone {
        std::fs::remove_file(&segments[0]).unwrap();
    }
    let destination = world.start({
        let mut config = world.config();
        config.name = Some("same".into());
        config
    });
    world.push(1);
    wait_for("what comes after", SOON, || match destination.stats().delivered.get().samples {
        0 => Err("nothing"),
        _ => Ok(()),
    });
    world.stop(destination);
}
