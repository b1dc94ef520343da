//! Destinations and how they answer requests.

use crate::ledger::Arrivals;
use std::sync::{Arc, Mutex, MutexGuard};
use std::time::Duration;
use support::receiver::{Ending, Received};
use support::{Answer, FakeReceiver};

/// How a destination behaves during a round.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum Weather {
    /// Accepts everything immediately.
    Healthy,
    /// Accepts everything after a delay.
    Slow,
    /// Fails this share of requests, in percent.
    Failing(u8),
    /// Does not listen.
    Away,
}

impl Weather {
    pub(crate) fn name(self) -> &'static str {
        match self {
            Weather::Healthy => "healthy",
            Weather::Slow => "slow",
            Weather::Failing(_) => "failing",
            Weather::Away => "away",
        }
    }

    pub(crate) fn roll(dice: &mut fastrand::Rng) -> Weather {
        match dice.u8(0..10) {
            0..2 => Weather::Healthy,
            2..4 => Weather::Slow,
            4..8 => Weather::Failing(dice.u8(5..70)),
            _ => Weather::Away,
        }
    }
}

struct Sky {
    arrivals: Arrivals,
    weather: Weather,
    dice: fastrand::Rng,
}

/// A destination that counts.
pub(crate) struct Destination {
    pub(crate) name: &'static str,
    receiver: FakeReceiver,
    sky: Arc<Mutex<Sky>>,
    away: bool,
}

impl Destination {
    pub(crate) fn start(name: &'static str, seed: u64) -> Destination {
        let (arrivals, dice) = (Arrivals::default(), fastrand::Rng::with_seed(seed));
        let sky = Arc::new(Mutex::new(Sky { arrivals, weather: Weather::Healthy, dice }));
        let receiver = FakeReceiver::start();
        let shared = Arc::clone(&sky);
        receiver.answer(move |request| shared.lock().unwrap().answer(request));
        Destination { name, receiver, sky, away: false }
    }

    pub(crate) fn write_url(&self) -> String {
        self.receiver.write_url()
    }

    /// Sets the behaviour from now on. [`Destination::go_away`] is needed to make it unreachable.
    pub(crate) fn set(&mut self, weather: Weather) {
        self.sky.lock().unwrap().weather = weather;
        if self.away && weather != Weather::Away {
            self.receiver.come_back();
            self.away = false;
        }
        // Their bodies would fill the memory.
        self.receiver.requests().clear();
    }

    /// Stops listening. The answers to requests in flight (at most `under_way` samples) may be lost.
    pub(crate) fn go_away(&mut self, under_way: u64) {
        if !self.away {
            self.receiver.go_away();
            self.away = true;
            let arrivals = &mut self.sky.lock().unwrap().arrivals;
            arrivals.may_repeat += under_way;
            arrivals.may_step_back += under_way;
        }
    }

    pub(crate) fn arrivals(&self) -> Guard<'_> {
        Guard(self.sky.lock().unwrap())
    }
}

pub(crate) struct Guard<'a>(MutexGuard<'a, Sky>);

impl std::ops::Deref for Guard<'_> {
    type Target = Arrivals;
    fn deref(&self) -> &Arrivals {
        &self.0.arrivals
    }
}

impl std::ops::DerefMut for Guard<'_> {
    fn deref_mut(&mut self) -> &mut Arrivals {
        &mut self.0.arrivals
    }
}

impl Sky {
    fn answer(&mut self, request: &Received) -> Answer {
        let answer = self.decide(request);
        if answer.stored {
            let whole = matches!(answer.ending, Ending::Open | Ending::Close);
            self.arrivals.take(request, answer.status == 204 && whole);
        }
        answer
    }

    fn decide(&mut self, request: &Received) -> Answer {
        let dice = &mut self.dice;
        let success = Answer::success(request);
        match self.weather {
            Weather::Healthy | Weather::Away => success,
            Weather::Slow if dice.u8(0..40) == 0 => success.delay(Duration::from_millis(300)),
            Weather::Slow => success.delay(Duration::from_millis(dice.u64(1..60))),
            Weather::Failing(percent) if dice.u8(0..100) >= percent => success,
            Weather::Failing(_) => {
                // A receiver may have written samples without confirming them.
                let stored = dice.bool();
                let failed = match dice.u8(0..6) {
                    0 => Answer::status(500).body("out of luck"),
                    1 => {
                        Answer::status(503).header("Retry-After", if dice.u8(0..8) == 0 { "1" } else { "0" })
                    }
                    2 => Answer::status(502).ending(Ending::Close),
                    3 => success.ending(Ending::NoAnswer).delay(Duration::from_millis(dice.u64(0..30))),
                    4 => success.ending(Ending::NoAnswer),
                    _ => success.ending(Ending::HalfAnswer),
                };
                Answer { stored, ..failed }
            }
        }
    }
}
