//! The receiver of a simulation, and the second implementation of [`Output`].

use super::log::Sample;
use crate::outgoing::Outgoing;
use crate::output::{Encoded, Judged, Output};
use crate::refusal::Refusal;
use futures_util::future::BoxFuture;
use model::{Kinds, Value};
use std::collections::BTreeMap;
use std::sync::{Arc, Mutex};
use std::time::Duration;
use write_client::verdict::{Reached, Verdict};

/// The state of the receiver.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Mode {
    Works,
    Away,
    Fails,
    /// It answers 429, and asks for a pause.
    Limits,
    Denies,
    /// Some of its answers are lost.
    LosesAnswers,
}

/// How the receiver treats a sample.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Opinion {
    Good,
    Bad,
    /// The receiver fails on it while it is sick.
    Poison,
    /// The receiver fails on it while it is sick, and refuses it afterwards.
    PoisonBad,
}

/// How the receiver answers a request with a bad sample.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Style {
    /// 2.0: it writes the good samples, and says how many.
    Counts,
    WritesNothing,
    /// It writes the good samples, but does not say so.
    WritesTheRest,
}

/// How long the treatment of many samples stays the same, in milliseconds of sample time.
const SPAN_MS: i64 = 5 * 60 * 1000;
/// In some spans the receiver fails on this many series.
const POISON_SERIES: u64 = 6;

#[derive(Debug)]
pub(super) struct Receiver {
    pub(super) mode: Mode,
    pub(super) style: Style,
    /// Whether it still fails on poison.
    pub(super) is_sick: bool,
    pub(super) most: usize,
    /// One of this many samples is bad, and one is poison.
    pub(super) rarity: u64,
    /// One of this many spans of [`SPAN_MS`] is refused completely, one is refused for every other series,
    /// and in one the receiver fails on some series.
    pub(super) spans: u64,
    /// Series on which it always fails.
    pub(super) poison: Vec<u64>,
    /// Each series' timestamps in the order in which they were written.
    pub(super) written: BTreeMap<u64, Vec<i64>>,
    pub(super) requests: u64,
    /// Number of requests while it denied access.
    pub(super) denied: u64,
    pub(super) rng: fastrand::Rng,
}

impl Receiver {
    pub(super) fn opinion(&self, (series, time): Sample) -> Opinion {
        if self.poison.contains(&series) {
            return Opinion::Poison;
        }
        match (time / SPAN_MS) as u64 % self.spans {
            0 => return Opinion::Bad,
            1 if series % 2 == 0 => return Opinion::Bad,
            2 if series < POISON_SERIES && time % 2 == 0 => return Opinion::Poison,
            2 if series < POISON_SERIES => return Opinion::PoisonBad,
            _ => {}
        }
        let mixed =
            (series ^ (time as u64).wrapping_mul(0x9e37_79b9_7f4a_7c15)).wrapping_mul(0xd6e8_feb8_6659_fd93);
        match mixed >> 33 {
            number if number % self.rarity > 1 => Opinion::Good,
            number if number % self.rarity == 0 => Opinion::Poison,
            _ => Opinion::Bad,
        }
    }

    fn write(&mut self, samples: &[Sample]) {
        for (series, time) in samples {
            self.written.entry(*series).or_default().push(*time);
        }
    }

    fn receive(&mut self, samples: &[Sample]) -> Verdict {
        self.requests += 1;
        let failed = |reached, retry_after| Verdict::Failed { reached, retry_after };
        match self.mode {
            Mode::Away => return failed(Reached::Nothing, None),
            Mode::Fails => return failed(Reached::Receiver, None),
            Mode::Limits => return failed(Reached::Limit, Some(Duration::from_secs(self.rng.u64(..20)))),
            Mode::Denies => {
                self.denied += 1;
                return Verdict::Denied;
            }
            Mode::Works | Mode::LosesAnswers => {}
        }
        if samples.len() > self.most {
            return Verdict::TooLarge;
        }
        let opinions: Vec<Opinion> = samples.iter().map(|sample| self.opinion(*sample)).collect();
        let is_poison = |opinion: &Opinion| matches!(opinion, Opinion::Poison | Opinion::PoisonBad);
        if self.is_sick && opinions.iter().any(is_poison) {
            return failed(Reached::Receiver, None);
        }
        let is_bad = |opinion: &Opinion| matches!(opinion, Opinion::Bad | Opinion::PoisonBad);
        let bad = opinions.iter().filter(|opinion| is_bad(opinion)).count() as u64;
        let good = samples.iter().zip(&opinions).filter(|(_, opinion)| !is_bad(opinion));
        let good: Vec<Sample> = good.map(|(sample, _)| *sample).collect();
        if bad == 0 || self.style != Style::WritesNothing {
            self.write(&good);
        }
        if self.mode == Mode::LosesAnswers && self.rng.u8(..3) == 0 {
            return failed(if self.rng.bool() { Reached::NoAnswer } else { Reached::Gateway }, None);
        }
        match self.style {
            _ if bad == 0 => Verdict::Delivered,
            Style::Counts => Verdict::Partial { refused: Kinds { samples: bad, ..Kinds::default() } },
            Style::WritesNothing => Verdict::Refused { fits_a_repeat: self.rng.bool() },
            Style::WritesTheRest => Verdict::Refused { fits_a_repeat: false },
        }
    }
}

/// Sends to a [`Receiver`]. The message of a request is its samples.
pub(super) struct SimOutput {
    pub(super) receiver: Arc<Mutex<Receiver>>,
}

impl Output for SimOutput {
    type Message = Vec<Sample>;
    type Reply = Verdict;

    fn encode<'a>(
        &mut self,
        points: impl Iterator<Item = (&'a Outgoing, u32)> + Clone,
        limit: Option<usize>,
        _: Duration,
    ) -> Encoded<Vec<Sample>> {
        const BYTES: usize = 16;
        let most = limit.map_or(usize::MAX, |limit| (limit / BYTES).max(1));
        let sample = |(outgoing, index): (&Outgoing, u32)| {
            let point = outgoing.point(index).unwrap();
            let Value::Float(series) = point.value else { unreachable!("only floats are appended") };
            (series as u64, point.timestamp)
        };
        let samples: Vec<Sample> = points.take(most).map(sample).collect();
        let (taken, bytes) = (samples.len(), samples.len() * BYTES);
        let kinds = Kinds { samples: taken as u64, ..Kinds::default() };
        let newest = samples.iter().map(|(_, time)| *time).max();
        Encoded {
            message: (taken > 0).then_some(samples),
            taken,
            kinds,
            unsupported: Kinds::default(),
            without_start: 0,
            newest,
            bytes,
            plain_bytes: bytes,
            is_original: false,
        }
    }

    fn send(&self, message: &Vec<Sample>, _: u32) -> BoxFuture<'static, Verdict> {
        let verdict = self.receiver.lock().unwrap().receive(message);
        Box::pin(std::future::ready(verdict))
    }

    fn judge(&mut self, _: &Encoded<Vec<Sample>>, _: bool, reply: &Verdict, _: Duration) -> Judged {
        Judged { verdict: *reply, words: format!("500 {reply:?}"), refusal: Refusal::of(500, "") }
    }

    fn endpoint(&self) -> String {
        "the simulated receiver".to_string()
    }
}
