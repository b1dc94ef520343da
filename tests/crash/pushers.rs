//! Pushes numbered samples to all inputs that accept them.

use crate::ledger::{Acked, NUMBERED, base_ms, numbered};
use std::sync::Mutex;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;
use support::http;
use support::wire::{self, Series, Version};

/// The number of series of each pusher.
const SERIES: usize = 40;
/// A pause after a refusal.
const PAUSE: Duration = Duration::from_millis(10);

/// The outcome of pushes.
#[derive(Debug, Default, Clone, Copy)]
pub(crate) struct Counts {
    pub(crate) acked: u64,
    /// Answered with 503.
    pub(crate) refused: u64,
    /// The connection ended without an answer.
    pub(crate) unanswered: u64,
}

impl Counts {
    pub(crate) fn add(&mut self, other: Counts) {
        self.acked += other.acked;
        self.refused += other.refused;
        self.unanswered += other.unanswered;
    }
}

/// Pushes one request after the other. A request without acknowledgement is not pushed again: the next request
/// continues with the next numbers. So each sample is pushed once, and only the delivery can repeat it.
pub(crate) struct Pusher {
    number: usize,
    next: Vec<i64>,
    dice: fastrand::Rng,
}

impl Pusher {
    pub(crate) fn new(number: usize, seed: u64) -> Pusher {
        Pusher { number, next: vec![0; SERIES], dice: fastrand::Rng::with_seed(seed) }
    }

    /// Pushes to the narthex at `url` until it has ended. An unexpected answer is an error.
    pub(crate) fn run(
        &mut self,
        url: &str,
        round: u32,
        stop: &AtomicBool,
        acked: &Mutex<Acked>,
    ) -> Result<Counts, String> {
        let mut counts = Counts::default();
        let samples_max = 1 << self.dice.u32(0..6);
        while !stop.load(Ordering::Relaxed) {
            let pushed = self.next_samples(samples_max);
            match self.push(url, &pushed) {
                Ok(answer) if answer.is_success() => {
                    counts.acked += 1;
                    let mut acked = acked.lock().unwrap();
                    for &(series, from, to) in &pushed {
                        acked.numbered(numbered(self.number, series), from, to, round);
                    }
                }
                Ok(answer) if answer.status == 503 => {
                    counts.refused += 1;
                    std::thread::sleep(PAUSE);
                }
                Ok(answer) => {
                    return Err(format!(
                        "round {round}: a push was answered {}: {}",
                        answer.status,
                        answer.text()
                    ));
                }
                Err(_) => {
                    counts.unanswered += 1;
                    std::thread::sleep(PAUSE);
                }
            }
        }
        Ok(counts)
    }

    /// Some series, each with its next places: the first and the end (exclusive).
    fn next_samples(&mut self, samples_max: i64) -> Vec<(usize, i64, i64)> {
        let share = self.dice.u8(1..=100);
        let mut chosen = Vec::new();
        for series in 0..SERIES {
            if self.dice.u8(0..100) < share {
                let from = self.next[series];
                self.next[series] = from + self.dice.i64(1..=samples_max);
                chosen.push((series, from, self.next[series]));
            }
        }
        self.dice.shuffle(&mut chosen);
        chosen
    }

    fn push(&mut self, url: &str, pushed: &[(usize, i64, i64)]) -> Result<http::Response, String> {
        let pusher = self.number.to_string();
        let write = format!("{url}/api/v1/write");
        let version = match self.dice.u8(0..5) {
            0..2 => Version::V1,
            2..4 => Version::V2,
            _ => {
                let mut text = String::new();
                for &(series, from, to) in pushed {
                    for place in from..to {
                        let time = base_ms() + place;
                        text.push_str(&format!(
                            "{NUMBERED}{{pusher=\"{pusher}\",series=\"{series}\"}} {place} {time}\n"
                        ));
                    }
                }
                return http::post(&format!("{url}/api/v1/import/prometheus"), &[], text.as_bytes());
            }
        };
        let series = |&(series, from, to): &(usize, i64, i64)| {
            let samples: Vec<(i64, f64)> =
                (from..to).map(|place| (base_ms() + place, place as f64)).collect();
            Series::new(NUMBERED, &[("pusher", &pusher), ("series", &series.to_string())], &samples)
        };
        wire::push(&write, version, &pushed.iter().map(series).collect::<Vec<_>>())
    }
}
