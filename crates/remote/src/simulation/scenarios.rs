//! Scenarios with one fault of the receiver for an hour: how many requests it costs, and which samples it
//! delays.

use super::life::Life;
use super::receiver::{Mode, Receiver, SimOutput};
use super::{SECOND, ground, receiver, settings};
use crate::delivery::{ISOLATED_MAX, Kind, Settings};
use crate::queue::{NARROWED_AFTER, PROBE_AFTER};
use crate::simulation::life::{EPOCH_MS, Ground};
use model::Clock;
use std::sync::{Arc, Mutex};
use std::time::Duration;
use wal::Position;

const HOUR: Duration = Duration::from_secs(3600);
const SERIES: u64 = 40;

struct Scenario {
    ground: Ground,
    receiver: Arc<Mutex<Receiver>>,
    life: Life,
}

impl Scenario {
    fn new(settings: Settings) -> Scenario {
        let (mut ground, receiver) = (ground(1), Arc::new(Mutex::new(receiver(1))));
        let life = begin(&mut ground, &receiver, settings);
        Scenario { life, ground, receiver }
    }

    fn restart(&mut self, settings: Settings) {
        self.ground.log.begin_segment();
        self.life = begin(&mut self.ground, &self.receiver, settings);
    }

    /// Appends a sample of each series every 15 seconds, for so long.
    fn pass(&mut self, time: Duration) {
        self.pass_with(time, 15 * SECOND);
    }

    fn pass_with(&mut self, time: Duration, interval: Duration) {
        let until = self.ground.clock.monotonic() + time;
        while self.ground.clock.monotonic() < until {
            let now = self.ground.clock.monotonic();
            let time = EPOCH_MS + now.as_millis() as i64;
            let samples: Vec<_> = (0..SERIES).map(|series| (series, time)).collect();
            self.ground.log.append(&samples, now);
            self.life.run(&mut self.ground, (now + interval).min(until));
        }
    }

    fn requests(&self) -> u64 {
        self.receiver.lock().unwrap().requests
    }

    /// Returns how many samples of a series were written.
    fn written(&self, series: u64) -> usize {
        self.receiver.lock().unwrap().written.get(&series).map_or(0, Vec::len)
    }

    fn set(&self, mode: Mode) {
        self.receiver.lock().unwrap().mode = mode;
    }

    /// Returns the age of the newest written sample, of the series for which that is the oldest.
    fn delay(&self) -> Duration {
        let receiver = self.receiver.lock().unwrap();
        let newest = receiver.written.values().map(|times| *times.iter().max().unwrap()).min().unwrap();
        Duration::from_millis((self.ground.clock.now_ms() - newest) as u64)
    }
}

fn begin(ground: &mut Ground, receiver: &Arc<Mutex<Receiver>>, settings: Settings) -> Life {
    let output = SimOutput { receiver: receiver.clone() };
    Life::begin(ground, "only", settings, output, None, Position::default()).unwrap()
}

#[test]
fn an_hour_of_failures_costs_few_requests_and_no_sample() {
    // Each shard waits up to 5 s. The pauses that the receiver asks for are 10 s on average.
    let by_pause = |seconds: f64| (4.0 * 3600.0 / seconds) as u64;
    for (mode, most) in [
        (Mode::Away, by_pause(2.5)),
        (Mode::Fails, by_pause(2.5)),
        (Mode::Limits, by_pause(5.0)),
        (Mode::Denies, 4 + 61),
    ] {
        let mut settings = settings();
        settings.queue.min_shards = 4;
        let mut scenario = Scenario::new(settings);
        scenario.pass(60 * SECOND);
        let before = scenario.requests();
        scenario.set(mode);
        scenario.pass(HOUR);
        let requests = scenario.requests() - before;
        assert!((20..=most).contains(&requests), "{requests} requests in an hour, {mode:?}");
        scenario.set(Mode::Works);
        scenario.pass(600 * SECOND);
        let appended = (60 + 3600 + 600) / 15;
        for series in 0..SERIES {
            // The last sample waits for its deadline.
            let written = scenario.written(series);
            assert!((appended - 1..=appended).contains(&written), "{written} of {appended}, {mode:?}");
        }
        assert_eq!(scenario.life.stats.refused.get().total(), 0);
        assert_eq!(scenario.life.stats.set_aside.get().total(), 0, "{mode:?} is not about the data");
    }
}

#[test]
fn a_series_that_fails_for_an_hour_delays_only_itself() {
    for shards in [1, 4] {
        let mut settings = settings();
        (settings.queue.min_shards, settings.queue.max_shards) = (shards, shards);
        settings.queue.park = false;
        let mut scenario = Scenario::new(settings);
        scenario.receiver.lock().unwrap().poison = vec![17];
        scenario.pass(NARROWED_AFTER + PROBE_AFTER + 60 * SECOND);
        for _ in 0..60 {
            let before: Vec<usize> = (0..SERIES).map(|series| scenario.written(series)).collect();
            scenario.pass(60 * SECOND);
            for series in (0..SERIES).filter(|series| *series != 17) {
                let written = scenario.written(series) - before[series as usize];
                assert!(written >= 3, "series {series}: {written} in a minute, {shards} shards");
            }
        }
        assert_eq!((scenario.written(17), scenario.life.delivery.stuck_lanes()), (0, 1));
        scenario.receiver.lock().unwrap().poison.clear();
        scenario.pass(300 * SECOND);
        let all = scenario.written(16);
        assert!(scenario.written(17) >= all - 1, "{} of {all}", scenario.written(17));
        assert_eq!(scenario.life.delivery.streams().len(), 1, "its lane is back");
    }
}

#[test]
fn isolated_streams_are_limited_and_the_rest_waits() {
    let mut settings = settings();
    settings.queue.park = false;
    settings.queue.max_shards = 1;
    let mut scenario = Scenario::new(settings);
    // One after the other, more series fail than streams are allowed.
    for series in 0..ISOLATED_MAX as u64 + 3 {
        scenario.receiver.lock().unwrap().poison.push(series);
        scenario.pass(300 * SECOND);
        assert!(scenario.life.delivery.streams().len() <= ISOLATED_MAX + 1);
    }
    assert_eq!(scenario.life.delivery.streams().len(), ISOLATED_MAX + 1);
    scenario.receiver.lock().unwrap().poison.clear();
    scenario.pass(600 * SECOND);
    let all = scenario.written(39);
    for series in 0..SERIES {
        assert!(scenario.written(series) >= all - 1, "{series}: {} of {all}", scenario.written(series));
    }
}

#[test]
fn newest_samples_arrive_while_a_backlog_is_delivered() {
    let mut settings = settings();
    settings.window = Some(4 * HOUR);
    // Four times the rate at which samples are appended.
    settings.max_bytes_per_second = Some(170);
    let mut scenario = Scenario::new(settings.clone());
    scenario.pass(60 * SECOND);
    scenario.set(Mode::Away);
    scenario.pass(HOUR);
    scenario.set(Mode::Works);
    scenario.pass(60 * SECOND);
    for is_restarted in [false, true] {
        if is_restarted {
            scenario.restart(settings.clone());
            scenario.pass(60 * SECOND);
        }
        for _ in 0..10 {
            scenario.pass(30 * SECOND);
            assert!(scenario.life.delivery.main(Kind::Backlog).is_some(), "the backlog takes its time");
            assert!(scenario.delay() <= 30 * SECOND, "{:?}, restarted: {is_restarted}", scenario.delay());
        }
    }
    scenario.pass(HOUR);
    assert!(scenario.life.delivery.main(Kind::Backlog).is_none(), "the backlog is delivered");
}

/// More samples are appended than may be sent, so the live stream always has samples to send.
#[test]
fn isolated_lanes_get_a_share_of_a_limited_rate() {
    const LIMIT: u64 = 170;
    const BAD: [u64; 2] = [17, 18];
    let mut settings = settings();
    settings.queue.park = false;
    settings.max_bytes_per_second = Some(LIMIT);
    let mut scenario = Scenario::new(settings);
    for series in BAD {
        scenario.receiver.lock().unwrap().poison.push(series);
        scenario.pass(300 * SECOND);
    }
    let isolated = scenario.life.delivery.streams().iter().filter(|stream| stream.is_isolated).count();
    assert_eq!(isolated, BAD.len());
    scenario.pass_with(120 * SECOND, 2 * SECOND);
    scenario.receiver.lock().unwrap().poison.clear();
    let before: Vec<usize> = (0..SERIES).map(|series| scenario.written(series)).collect();
    scenario.pass_with(300 * SECOND, 2 * SECOND);
    let written = |series: u64| scenario.written(series) - before[series as usize];
    let (all, own) = ((0..SERIES).map(written).sum::<usize>(), BAD.map(written));
    assert!(own.iter().all(|written| *written > 50), "the isolated series: {own:?}");
    let share = own.iter().sum::<usize>() as f64 / all as f64;
    assert!(share < 0.15, "the live stream comes first: {share}");
    let rate = all as f64 * 16.0 / 300.0;
    assert!(rate > LIMIT as f64 * 0.9, "{rate} bytes a second");
}

#[test]
fn all_samples_of_parked_entries_are_settled() {
    let mut settings = settings();
    (settings.queue.min_shards, settings.queue.max_points, settings.queue.capacity) = (4, 60, 200);
    settings.queue.narrow = false;
    let mut scenario = Scenario::new(settings.clone());
    scenario.receiver.lock().unwrap().poison = vec![17];
    scenario.pass(HOUR);
    let parked = scenario.life.stats.set_aside.get().total();
    assert!(parked > 100, "{parked} samples are parked, many of them in one entry");
    // Now many samples of each entry are refused.
    {
        let mut receiver = scenario.receiver.lock().unwrap();
        receiver.poison.clear();
        (receiver.is_sick, receiver.rarity) = (false, 3);
    }
    settings.queue.narrow = true;
    scenario.restart(settings);
    scenario.pass(HOUR);
    assert_eq!(scenario.life.stats.aside_settled.get().total(), parked);
}
