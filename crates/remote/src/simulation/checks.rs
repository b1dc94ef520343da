//! Invariants of a destination, checked at every event.

use super::log::Sample;
use super::receiver::SimOutput;
use crate::delivery::{Delivery, Flight, Kind, MEMORY_PART, Settings, Stream};
use crate::disk::positions::Settled;
use crate::queue::lanes::LANES;
use std::collections::{BTreeSet, VecDeque};
use std::time::Duration;
use write_client::verdict::Verdict;

/// Most requests that fail or are denied within [`FAILED_WITHIN`]. Each stream has its own pauses, and begins
/// with short ones.
const FAILED_MAX: usize = 2000;
const FAILED_WITHIN: Duration = Duration::from_secs(60);

#[derive(Default)]
pub(super) struct Checks {
    has_age_limit: bool,
    /// The series that are under way, with the numbers of their streams.
    under_way: BTreeSet<(u64, u64)>,
    failed: BTreeSet<Sample>,
    /// Samples for which the destination got a success.
    delivered: BTreeSet<Sample>,
    /// Times of the failures that count towards [`FAILED_MAX`].
    failed_at: VecDeque<Duration>,
    /// When the newest denied request was sent.
    denied: Option<Duration>,
    positions: Option<Settled>,
}

impl Checks {
    pub(super) fn new(settings: &Settings) -> Checks {
        Checks { has_age_limit: settings.age_limit.is_some(), ..Checks::default() }
    }

    /// Checks a request that begins.
    pub(super) fn sent(&mut self, delivery: &Delivery<SimOutput>, flight: &Flight<Vec<Sample>>) {
        if flight.is_parked {
            return;
        }
        let stream = stream_of(delivery, flight);
        let samples = samples_of(flight);
        // The backlog and the live stream may each have a request of the same series.
        let others = delivery.streams().iter().filter(|other| other.kind == stream.kind);
        for number in others.map(|other| other.number) {
            let twice = samples.iter().find(|(series, _)| self.under_way.contains(&(number, *series)));
            assert_eq!(twice, None, "a series is under way in two requests");
        }
        self.under_way.extend(samples.iter().map(|(series, _)| (stream.number, *series)));
        let request = &flight.request;
        // With an age limit, the samples that failed may be too old by now.
        if request.whole && request.tries > 0 && !self.has_age_limit {
            let has_failed = samples.iter().any(|sample| self.failed.contains(sample));
            assert!(has_failed, "{request:?} counts failures of another batch");
        }
        // If an isolated stream reads the log again, it also reads samples that were delivered in between.
        if delivery.stats().left_behind.get().total() > 0 {
            return;
        }
        let repeated = samples.iter().find(|sample| self.delivered.contains(*sample));
        assert_eq!(repeated, None, "a sample is sent again that was delivered");
    }

    /// Checks a request that ends. Called before the destination gets the reply.
    pub(super) fn replied(&mut self, flight: &Flight<Vec<Sample>>, verdict: Verdict, now: Duration) {
        if verdict == Verdict::Denied {
            self.denied = self.denied.max(Some(flight.sent_at));
        }
        if matches!(verdict, Verdict::Failed { .. } | Verdict::Denied) {
            self.failed_at.push_back(now);
            while self.failed_at.front().is_some_and(|at| *at + FAILED_WITHIN < now) {
                self.failed_at.pop_front();
            }
            let count = self.failed_at.len();
            assert!(count <= FAILED_MAX, "{count} failed requests in {FAILED_WITHIN:?}: {verdict:?}");
        }
        if flight.is_parked {
            return;
        }
        for sample in samples_of(flight) {
            self.under_way.remove(&(flight.stream, sample.0));
            if verdict.is_success() {
                self.delivered.insert(*sample);
            } else {
                self.failed.insert(*sample);
            }
        }
    }

    /// Checks the destination after it got a reply.
    pub(super) fn told(&self, delivery: &Delivery<SimOutput>, sent_at: Duration, verdict: Verdict) {
        if verdict.proves_access() && self.denied.is_none_or(|denied| sent_at > denied) {
            assert_eq!(delivery.health().probe_at(), None, "access is granted again");
        }
    }

    /// Checks a stream that is given a chunk.
    pub(super) fn read(stream: &Stream, memory: usize) {
        let most = if stream.is_isolated { memory / MEMORY_PART } else { memory };
        let bytes = stream.queue.bytes();
        assert!(bytes < most, "a stream reads on with {bytes} bytes of {most}");
    }

    /// Checks positions that are about to be written.
    pub(super) fn positions(&mut self, new: &Settled) {
        if let Some(old) = self.positions.replace(*new) {
            let goes_back = old.lanes.iter().zip(&new.lanes).position(|(old, new)| new < old);
            assert_eq!(goes_back, None, "the position of a lane goes back");
            if let (Some(old), Some(new)) = (old.ahead, new.ahead) {
                let goes_back = old.lanes.iter().zip(&new.lanes).position(|(old, new)| new < old);
                assert_eq!(goes_back, None, "the position of a lane ahead of the backlog goes back");
            }
        }
    }

    /// To be called every second.
    pub(super) fn tick(delivery: &Delivery<SimOutput>) {
        let (counted, there) = (delivery.stats().pending().total(), delivery.pending() as u64);
        assert_eq!(counted, there, "samples are counted as waiting, and wait");
        if delivery.streams().len() > 1 {
            for kind in [Kind::Live, Kind::Backlog] {
                let streams = || delivery.streams().iter().filter(|stream| stream.kind == kind);
                for lane in 0..LANES {
                    let count = streams().filter(|stream| stream.queue.serves(lane)).count();
                    let is_one = count == 1 || kind == Kind::Backlog && count == 0;
                    assert!(is_one, "lane {lane} has {count} streams, {kind:?}");
                }
            }
        }
    }
}

fn samples_of(flight: &Flight<Vec<Sample>>) -> &[Sample] {
    flight.encoded.message.as_deref().unwrap_or_default()
}

fn stream_of<'a>(delivery: &'a Delivery<SimOutput>, flight: &Flight<Vec<Sample>>) -> &'a Stream {
    delivery.streams().iter().find(|stream| stream.number == flight.stream).unwrap()
}
