//! Parked samples: the receiver keeps failing on them while it accepts the others.
#![allow(clippy::unwrap_used, clippy::indexing_slicing, reason = "tests")]

mod common;

use common::{EPOCH_MS, World, wait_for_number};
use model::{Batch, Labels, Series};
use remote::config::{Message, Narrowing};
use remote::disk::aside::{Files, Gathered};
use remote::disk::claims;
use remote::outgoing::{Outgoing, Rules};
use remote::queue::PROBE_AFTER;
use remote::{Destination, RemoteWrite, State};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU16, Ordering};
use std::time::Duration;
use support::receiver::{Answer, Received};
use support::wire::visit;
use support::{SOON, wait_until};
use wal::{Position, RealFilesystem};

const SERIES: usize = 40;

/// Returns true if the request has the first sample of series 17.
fn hurts(request: &Received) -> bool {
    let mut hurts = false;
    visit(request.version(), &request.content, |view| {
        let first = view.samples.iter().any(|(timestamp, _)| *timestamp == EPOCH_MS as i64);
        hurts |= first && view.labels_map()["instance"] == "17";
    })
    .unwrap();
    hurts
}

struct Hurt {
    world: World,
    /// The answer to a request with the sample. 204 means that it is accepted.
    status: Arc<AtomicU16>,
}

impl Hurt {
    fn new() -> Hurt {
        let (world, status) = (World::new(), Arc::new(AtomicU16::new(500)));
        let answers = status.clone();
        world.receiver.answer(move |request| match answers.load(Ordering::SeqCst) {
            204 => Answer::success(request),
            status if hurts(request) => Answer::status(status).body("out of order sample, or what it is"),
            _ => Answer::success(request),
        });
        Hurt { world, status }
    }

    fn config(&self) -> RemoteWrite {
        let mut config = self.world.config();
        config.protobuf_message = Some(Message::V1);
        config.queue_config.min_shards = 4;
        config.queue_config.max_shards = 4;
        config
    }

    /// Lets time pass and others be delivered until the batch is parked. The steps are small, so that the
    /// destination does not count as away.
    fn until_put_aside(&self, destination: &Destination) {
        let stats = destination.stats();
        for round in 0.. {
            assert!(round < 60, "nothing was put aside");
            let (delivered, failed) = (stats.delivered.get().samples, stats.requests_retried.get());
            self.world.push(SERIES);
            support::wait_for("others to pass and it to fail", SOON, || {
                let passed = stats.delivered.get().samples - delivered;
                let again = stats.requests_retried.get() - failed;
                let goes_on = passed > 0 && again > 0 || stats.set_aside.get().samples > 0;
                if goes_on {
                    Ok(())
                } else {
                    Err(format!("{passed} passed, {again} failures, round {round}"))
                }
            });
            if stats.set_aside.get().samples > 0 {
                return;
            }
            self.world.clock.jump(PROBE_AFTER / 2);
        }
    }

    fn entries(&self) -> usize {
        let files = std::fs::read_dir(self.world.dir.path().join("dead"));
        let names = files.into_iter().flatten().map(|file| file.unwrap().file_name().into_string().unwrap());
        names.filter(|name| name.contains(".aside-")).count()
    }

    /// Waits until all samples but the one have arrived, each once and in order.
    fn wait_for_all_others(&self) {
        support::wait_for("the others", SOON, || {
            let tally = self.world.tally();
            if tally.lost == 1 { Ok(()) } else { Err(format!("{tally:?}")) }
        });
        let tally = self.world.tally();
        assert_eq!((tally.repeated, tally.out_of_order), (0, 0));
    }
}

#[test]
fn a_poisoned_sample_is_put_aside_and_its_lane_goes_on() {
    let hurt = Hurt::new();
    let destination = hurt.world.start(hurt.config());
    let stats = destination.stats().clone();
    hurt.until_put_aside(&destination);
    hurt.world.push(SERIES);
    hurt.wait_for_all_others();
    assert_eq!((stats.set_aside.get().samples, stats.refused.get().samples), (1, 0));
    wait_for_number("nothing pending", 0, || stats.pending().total());
    wait_for_number("the entry", 1, || hurt.entries() as u64);
    assert_eq!(hurt.world.dead_letters().len(), 0);
    // It is retried every five minutes, and not more often.
    for _ in 0..3 {
        let tried = stats.requests_retried.get();
        hurt.world.clock.jump(Duration::from_secs(5 * 60));
        wait_for_number("a try", tried + 1, || stats.requests_retried.get());
    }
    hurt.status.store(204, Ordering::SeqCst);
    hurt.world.clock.jump(Duration::from_secs(5 * 60));
    let tally = hurt.world.wait_for_all();
    assert_eq!((tally.repeated, tally.unexpected), (0, 0));
    wait_for_number("the entry to go", 0, || hurt.entries() as u64);
    assert_eq!((stats.pending().total(), stats.aside_settled.get().samples), (0, 1));
    assert!(hurt.world.stop(destination).complete);
}

/// Forty minutes with parking switched off: the series waits, the others go on, and the sample arrives in
/// order.
#[test]
fn without_put_aside_samples_keep_their_order() {
    let hurt = Hurt::new();
    let mut config = hurt.config();
    config.put_aside = false;
    let destination = hurt.world.start(config);
    let stats = destination.stats().clone();
    for _ in 0..40 {
        let (delivered, failed) = (stats.delivered.get().samples, stats.requests_retried.get());
        hurt.world.push(SERIES);
        support::wait_for("others to pass and it to fail", SOON, || {
            let passed = stats.delivered.get().samples - delivered;
            let again = stats.requests_retried.get() - failed;
            if passed > 0 && again > 0 { Ok(()) } else { Err(format!("{passed} passed, {again} failures")) }
        });
        hurt.world.clock.jump(Duration::from_secs(60));
    }
    assert_eq!((stats.set_aside.get().samples, hurt.entries()), (0, 0));
    hurt.status.store(204, Ordering::SeqCst);
    let tally = hurt.world.wait_for_all();
    assert_eq!((tally.out_of_order, tally.unexpected, stats.refused.get().total()), (0, 0, 0));
    assert!(hurt.world.stop(destination).complete);
}

#[test]
fn destination_failing_on_one_sample_is_shown_as_stuck() {
    let hurt = Hurt::new();
    let mut config = hurt.config();
    config.queue_config.min_shards = 1;
    config.queue_config.max_shards = 1;
    let destination = hurt.world.start(config);
    let stats = destination.stats().clone();
    hurt.world.push(SERIES);
    // While nothing else is accepted, the destination may be away.
    wait_until("it to wait", SOON, || matches!(stats.state(), State::Waiting { .. }));
    // Narrowing finds the sample. Then all other lanes go on, and only this one fails.
    let mut rounds = 0;
    wait_until("one stuck lane", SOON, || {
        rounds += 1;
        if rounds % 10 == 0 {
            hurt.world.clock.jump(PROBE_AFTER / 2);
        }
        hurt.world.push(SERIES);
        stats.stuck_lanes.get() == 1
    });
    let tries = stats.requests_retried.get();
    wait_until("more tries", SOON, || stats.requests_retried.get() > tries + 3);
    assert_eq!(stats.state(), State::Delivering);
    assert_eq!(stats.stuck_lanes.get(), 1);
    // Only the stuck lane waits.
    wait_until("only the stuck lane to be late", SOON, || {
        hurt.world.push(SERIES);
        stats.waiting_ms.get() > 30_000 && stats.moving_ms.get() < 10_000
    });
    // While nothing else is sent, nothing shows that the destination is away.
    wait_for_number("the others to be through", 0, || stats.moving_ms.get() as u64);
    hurt.world.clock.jump(PROBE_AFTER * 2);
    let tries = stats.requests_retried.get();
    wait_until("more tries", SOON, || stats.requests_retried.get() > tries + 3);
    assert_eq!((stats.state(), stats.stuck_lanes.get()), (State::Delivering, 1));
    // A destination that no longer answers may be away.
    hurt.world.receiver.go_away();
    hurt.world.clock.jump(PROBE_AFTER * 2);
    wait_until("it to wait", SOON, || matches!(stats.state(), State::Waiting { .. }));
    hurt.world.receiver.come_back();
    hurt.world.push(SERIES);
    wait_until("it to deliver", SOON, || stats.state() == State::Delivering);
    let words = stats.stuck().unwrap();
    assert!(words.contains("500") && words.contains("or what it is"), "{words}");
    hurt.status.store(204, Ordering::SeqCst);
    let tally = hurt.world.wait_for_all();
    assert_eq!((tally.out_of_order, tally.unexpected), (0, 0));
    wait_for_number("none", 0, || stats.stuck_lanes.get() as u64);
    assert_eq!(stats.stuck(), None);
    hurt.world.stop(destination);
}

#[test]
fn parked_sample_survives_a_restart() {
    let mut hurt = Hurt::new();
    let destination = hurt.world.start(hurt.config());
    hurt.until_put_aside(&destination);
    hurt.wait_for_all_others();
    wait_for_number("the entry", 1, || hurt.entries() as u64);
    // After this the position is written, and only the entry has the sample.
    assert!(hurt.world.stop(destination).positions_saved);
    hurt.world.reopen();
    let destination = hurt.world.start(hurt.config());
    hurt.status.store(204, Ordering::SeqCst);
    wait_for_number("what waits", 1, || destination.stats().aside_points.get() as u64);
    hurt.world.clock.jump(Duration::from_secs(5 * 60));
    let tally = hurt.world.wait_for_all();
    assert_eq!((tally.repeated, tally.unexpected), (0, 0));
    wait_for_number("nothing pending", 0, || destination.stats().pending().total());
    wait_for_number("the entry to go", 0, || hurt.entries() as u64);
    hurt.world.stop(destination);
}

#[test]
fn parked_sample_refused_later_becomes_a_dead_letter() {
    let hurt = Hurt::new();
    let destination = hurt.world.start(hurt.config());
    let stats = destination.stats().clone();
    hurt.until_put_aside(&destination);
    hurt.status.store(400, Ordering::SeqCst);
    hurt.world.clock.jump(Duration::from_secs(5 * 60));
    wait_for_number("the refusal", 1, || stats.refused.get().samples);
    wait_for_number("the entry to go", 0, || hurt.entries() as u64);
    let dead = hurt.world.dead_letters();
    assert_eq!((dead.len(), &dead[0]["labels"]["instance"]), (1, &"17".into()));
    assert_eq!(stats.refused_or_already_written.get(), 0, "500 is an answer: it was not written");
    hurt.wait_for_all_others();
    wait_for_number("nothing pending", 0, || stats.pending().total());
    hurt.world.stop(destination);
}

#[test]
fn without_narrowing_the_whole_batch_is_parked_and_arrives_later() {
    let hurt = Hurt::new();
    let mut config = hurt.config();
    config.narrow = Narrowing::Never;
    let destination = hurt.world.start(config);
    let stats = destination.stats().clone();
    hurt.until_put_aside(&destination);
    let aside = stats.set_aside.get().samples;
    assert!(aside > 1, "{aside}");
    hurt.status.store(204, Ordering::SeqCst);
    hurt.world.clock.jump(Duration::from_secs(5 * 60));
    let tally = hurt.world.wait_for_all();
    assert_eq!((tally.repeated, tally.unexpected), (0, 0));
    // It is counted after the receiver has it.
    wait_for_number("all settled that was put aside", aside, || stats.aside_settled.get().samples);
    wait_for_number("nothing pending", 0, || stats.pending().total());
    hurt.world.stop(destination);
}

/// Returns a parked entry with these samples, by instance and timestamp.
fn entry(samples: &[(&str, i64)]) -> Vec<u8> {
    let mut batch = Batch::new();
    for (instance, time) in samples {
        let labels = Labels::from_pairs([("__name__", "m"), ("instance", *instance)]);
        let series = batch.add_series(labels.as_ref(), Series::NO_METADATA);
        batch.push_float(series, *time, 1.0);
    }
    let refs = (0..batch.series.len() as u64).collect();
    let (start, end) = (Position::default(), Position::start_of(1));
    let chunk =
        storage::Chunk { batch, refs, segment: 0, records: vec![], start, end, arrived: Duration::ZERO };
    let outgoing = Outgoing::new(Arc::new(chunk), &mut Rules::default());
    let mut gathered = Gathered::default();
    for index in 0..samples.len() as u32 {
        gathered.add(&outgoing, outgoing.point(index).unwrap());
    }
    gathered.finish(0, "500")
}

/// Two requests of one entry are under way, because a part of it was refused. One fails, so the next entry is
/// retried. The other is answered while the next entry's request is under way.
#[test]
fn late_answer_to_one_entry_does_not_affect_the_next() {
    let world = World::new();
    let mut config = world.config();
    config.protobuf_message = Some(Message::V1);
    config.queue_config.max_samples_per_send = 100;
    let files = Files::new(&claims::dead_folder(world.dir.path()), remote::Identity::of(&config).file());
    let names: Vec<String> = (0..10).map(|number| format!("s{number}")).collect();
    let now = EPOCH_MS as i64;
    let sample = |time| names.iter().map(move |name| (name.as_str(), now + time));
    let first: Vec<(&str, i64)> = sample(1).chain(sample(2)).collect();
    files.write(&RealFilesystem, 0, &entry(&first)).unwrap();
    files.write(&RealFilesystem, 1, &entry(&[("other", now)])).unwrap();
    let [other_is_here, late_is_answered] = [(); 2].map(|()| Arc::new(AtomicBool::new(false)));
    let (is_here, is_answered) = (other_is_here, late_is_answered.clone());
    world.receiver.answer(move |request| {
        let mut samples = Vec::new();
        visit(request.version(), &request.content, |view| {
            let instance = view.labels_map()["instance"].clone();
            samples.extend(view.samples.iter().map(|(time, _)| (instance.clone(), time - now)));
        })
        .unwrap();
        let of_s3 = |time| samples.iter().any(|(name, at)| name == "s3" && *at == time);
        if samples.len() > 10 {
            return Answer::status(413);
        }
        if samples[0].0 == "other" {
            is_here.store(true, Ordering::SeqCst);
            return Answer::status(503).once(&is_answered);
        }
        if of_s3(1) {
            return Answer::status(400).body("no");
        }
        if of_s3(2) {
            return Answer::status(503);
        }
        let late = samples.iter().all(|(_, time)| *time == 2);
        if late { Answer::success(request).once(&is_here) } else { Answer::success(request) }
    });
    let destination = world.start(config);
    let stats = destination.stats().clone();
    wait_for_number("what waits", 21, || stats.aside_points.get() as u64);
    world.clock.jump(Duration::from_secs(5 * 60 + 1));
    // All samples of the first entry except the refused and the failed ones.
    wait_for_number("the late answer", 18, || stats.delivered.get().samples);
    late_is_answered.store(true, Ordering::SeqCst);
    wait_for_number("both failures", 2, || stats.requests_retried.get());
    world.stop(destination);
    assert!(!world.receiver.arrivals().keys().any(|labels| labels["instance"] == "other"));
    assert_eq!(files.list(&RealFilesystem).unwrap().points(), 21, "what nobody took is gone");
}
