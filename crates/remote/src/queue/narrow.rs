//! Narrowing a batch down to the samples that it was refused for, or that a receiver fails over.
//!
//! A receiver that answers 400 without saying how much it wrote has refused "something in there". Only
//! smaller requests tell what. This is the pure search: it names the points of the next request and is
//! told whether they were taken.
//!
//! Rules:
//! - **Order.** A point is sent only when all earlier points of its series are settled, or in the same
//!   request. So probes are always the oldest open point of their series, and halves go left to right.
//! - **Cheap where all is bad.** First up to [`PROBES`] single points are tried. Where all of them are
//!   refused, every point that is not newer than the newest refused one is taken to be refused too
//!   ([`Fate::Presumed`]): what a receiver refuses wholesale (too old, already written, wrong tenant) it
//!   refuses by time or altogether. Points newer than that are tried again.
//! - **Bounded.** At most `2·log2(n) + 16` requests a batch; what is open then goes back to the queue and
//!   comes again in smaller batches, in its order; of a poisoned batch it is put aside.
//! - **Nothing is given up for a failure.** Where requests fail (408, 429, 5xx) rather than being refused, a
//!   point that fails alone is held, and with it all that follows in its series; both stay in the queue. Where
//!   all probes fail, everything is held: it is not about single points then.

/// Single points that are tried first.
pub const PROBES: usize = 8;
/// Requests a batch may cost beyond `2·log2(n)`.
const REQUESTS_SLACK: u32 = 16;

/// What the search needs to know of a point.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Candidate {
    /// Hash of its series. Two series with one hash are taken for one, which is safe.
    pub series: u64,
    /// Its time in milliseconds.
    pub timestamp: i64,
}

/// What is known of a point.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Fate {
    /// Not known yet.
    Open,
    /// Taken by the receiver.
    Delivered,
    /// Refused, alone in its request.
    Refused,
    /// Not sent alone: taken to be refused, because all probes were.
    Presumed,
    /// It failed alone, or an older point of its series did: it is still to be delivered.
    Held,
}

impl Fate {
    /// Whether nothing is to be done for the point any more.
    pub fn is_settled(self) -> bool {
        !matches!(self, Fate::Open | Fate::Held)
    }
}

#[derive(Debug, Clone, Copy)]
struct Part {
    start: usize,
    end: usize,
    /// It was deduced that something in it is bad; no need to ask for the whole of it.
    bad: bool,
    /// The part below it on the stack is the other half of a refused one.
    is_left_half: bool,
}

#[derive(Debug)]
enum Phase {
    Probing {
        sent: usize,
    },
    /// `open` are the points that were open when halving began, `stack` has ranges of it, next one last.
    Halving {
        open: Vec<u32>,
        stack: Vec<Part>,
        current: Part,
    },
}

/// The search through one batch.
#[derive(Debug)]
pub struct Narrow {
    points: Vec<Candidate>,
    fates: Vec<Fate>,
    holds: bool,
    phase: Phase,
    request: Vec<u32>,
    requests_left: u32,
    probed: Vec<u64>,
    newest_refused: i64,
}

impl Narrow {
    /// Begins with a batch that was refused, or one that failed, of which it `holds` what fails alone. Its points
    /// are in the log's order.
    pub fn new(points: Vec<Candidate>, holds: bool) -> Self {
        let count = points.len();
        let log2 = usize::BITS - count.max(1).leading_zeros();
        let mut narrow = Narrow {
            fates: vec![Fate::Open; count],
            points,
            holds,
            phase: Phase::Probing { sent: 0 },
            request: Vec::new(),
            requests_left: 2 * (log2 - 1) + REQUESTS_SLACK,
            probed: Vec::new(),
            newest_refused: i64::MIN,
        };
        narrow.advance();
        narrow
    }

    /// The points to send next, as increasing indices into the batch; empty when it is through.
    pub fn request(&self) -> &[u32] {
        &self.request
    }

    /// The batch.
    pub fn points(&self) -> &[Candidate] {
        &self.points
    }

    /// Whether what fails is held rather than given up.
    pub fn holds(&self) -> bool {
        self.holds
    }

    /// What is known of each point. Open points are left when the requests are used up.
    pub fn fates(&self) -> &[Fate] {
        &self.fates
    }

    /// Of each point whether it is still to be settled.
    pub fn unsettled(&self) -> impl Iterator<Item = bool> {
        self.fates.iter().map(|fate| !fate.is_settled())
    }

    /// Index of the first point that is not settled.
    pub fn first_unsettled(&self) -> Option<usize> {
        self.unsettled().position(|open| open)
    }

    /// Takes the answer to [`Narrow::request`].
    pub fn answer(&mut self, taken: bool) {
        let request = std::mem::take(&mut self.request);
        if taken {
            request.iter().for_each(|index| self.set(*index, Fate::Delivered));
        } else if let [index] = request[..] {
            self.failed(index);
        }
        match &mut self.phase {
            Phase::Probing { sent } => {
                let sent = *sent;
                if taken {
                    // The whole was refused and this point was not: the rest is bad if no probe was.
                    self.begin_halving(sent == 1);
                } else if sent == PROBES || !self.fates.contains(&Fate::Open) {
                    if self.holds {
                        self.hold_from(0, |_| true);
                    } else {
                        self.presume();
                    }
                    self.begin_halving(false);
                }
            }
            Phase::Halving { stack, current, .. } => {
                let part = *current;
                if taken {
                    if part.is_left_half
                        && let Some(right) = stack.last_mut()
                    {
                        right.bad = true;
                    }
                } else if part.end - part.start > 1 {
                    split(stack, part);
                }
            }
        }
        self.advance();
    }

    /// A point was not taken, alone in its request.
    fn failed(&mut self, index: u32) {
        let Some(point) = self.points.get(index as usize).copied() else { return };
        if self.holds {
            self.hold_from(index as usize, |other| other.series == point.series);
        } else {
            self.set(index, Fate::Refused);
            self.newest_refused = self.newest_refused.max(point.timestamp);
        }
    }

    fn hold_from(&mut self, start: usize, which: impl Fn(&Candidate) -> bool) {
        for (point, fate) in self.points.iter().zip(&mut self.fates).skip(start) {
            if *fate == Fate::Open && which(point) {
                *fate = Fate::Held;
            }
        }
    }

    fn set(&mut self, index: u32, fate: Fate) {
        if let Some(slot) = self.fates.get_mut(index as usize) {
            *slot = fate;
        }
    }

    fn presume(&mut self) {
        for (point, fate) in self.points.iter().zip(&mut self.fates) {
            if *fate == Fate::Open && point.timestamp <= self.newest_refused {
                *fate = Fate::Presumed;
            }
        }
    }

    fn begin_halving(&mut self, bad: bool) {
        let open: Vec<u32> = (0..self.fates.len() as u32)
            .filter(|index| self.fates.get(*index as usize) == Some(&Fate::Open))
            .collect();
        let whole = Part { start: 0, end: open.len(), bad, is_left_half: false };
        self.phase = Phase::Halving { open, stack: vec![whole], current: whole };
    }

    /// Finds the next request.
    fn advance(&mut self) {
        if self.requests_left == 0 {
            return;
        }
        let probe = match &self.phase {
            Phase::Probing { sent } => self.pick_probe(*sent),
            Phase::Halving { .. } => None,
        };
        match &mut self.phase {
            Phase::Probing { sent } => {
                *sent += 1;
                self.request.extend(probe);
            }
            Phase::Halving { open, stack, current } => {
                while let Some(part) = stack.pop() {
                    if part.bad && part.end - part.start > 1 {
                        split(stack, part);
                        continue;
                    }
                    *current = part;
                    let part = open.get(part.start..part.end).unwrap_or_default();
                    // Some may be held by now for what came before them.
                    let is_open = |index: &&u32| self.fates.get(**index as usize) == Some(&Fate::Open);
                    self.request.extend(part.iter().filter(is_open));
                    if !self.request.is_empty() {
                        break;
                    }
                }
            }
        }
        if let Some(&series) =
            self.request.first().and_then(|i| self.points.get(*i as usize)).map(|p| &p.series)
        {
            self.requests_left -= 1;
            self.probed.push(series);
        }
    }

    /// The oldest open point of some series: by turns that with the newest time and one from across the
    /// batch, of series that were not probed yet as long as there are any.
    fn pick_probe(&self, number: usize) -> Option<u32> {
        let mut seen = std::collections::HashSet::new();
        let mut heads: Vec<(u32, Candidate)> = Vec::new();
        for (index, (point, fate)) in self.points.iter().zip(&self.fates).enumerate() {
            if *fate == Fate::Open && seen.insert(point.series) {
                heads.push((index as u32, *point));
            }
        }
        if heads.iter().any(|(_, point)| !self.probed.contains(&point.series)) {
            heads.retain(|(_, point)| !self.probed.contains(&point.series));
        }
        let chosen = if number.is_multiple_of(2) {
            heads.iter().max_by_key(|(_, point)| point.timestamp)
        } else {
            heads.get(number * heads.len() / PROBES)
        };
        chosen.map(|(index, _)| *index)
    }
}

fn split(stack: &mut Vec<Part>, part: Part) {
    let middle = part.start + (part.end - part.start) / 2;
    stack.push(Part { start: middle, end: part.end, bad: false, is_left_half: false });
    stack.push(Part { start: part.start, end: middle, bad: false, is_left_half: true });
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    /// Runs the search against a receiver that undoes a request with a bad point. Gives the number of
    /// requests, having checked the order.
    fn run(points: &[Candidate], bad: &[bool], holds: bool) -> (Narrow, u32) {
        let mut narrow = Narrow::new(points.to_vec(), holds);
        let mut requests = 0;
        let mut newest_sent = std::collections::HashMap::new();
        while !narrow.request().is_empty() {
            requests += 1;
            let request = narrow.request().to_vec();
            assert!(request.is_sorted());
            let taken = request.iter().all(|i| !bad[*i as usize]);
            for &index in &request {
                let series = points[index as usize].series;
                for earlier in 0..index {
                    let open = !narrow.fates()[earlier as usize].is_settled();
                    assert!(
                        points[earlier as usize].series != series || !open || request.contains(&earlier),
                        "point {index} is sent before {earlier}, which is older and open"
                    );
                }
                if taken {
                    let last = newest_sent.insert(series, index);
                    assert!(last.is_none_or(|last| last < index), "delivered out of order");
                }
            }
            narrow.answer(taken);
        }
        (narrow, requests)
    }

    fn limit(points: usize) -> u32 {
        2 * points.ilog2() + 16
    }

    #[test]
    fn one_bad_sample_of_two_thousand_costs_that_sample() {
        let points: Vec<_> = (0..2000).map(|i| Candidate { series: i, timestamp: 7 }).collect();
        for at in [0, 1, 999, 1000, 1500, 1999] {
            let bad: Vec<_> = (0..2000).map(|i| i == at).collect();
            let (narrow, requests) = run(&points, &bad, false);
            for (index, fate) in narrow.fates().iter().enumerate() {
                let right = if index == at { Fate::Refused } else { Fate::Delivered };
                assert_eq!(*fate, right, "{index} with {at} bad");
            }
            assert!(requests <= 24, "{requests} requests");
        }
    }

    #[test]
    fn a_wholly_refused_batch_costs_eight_requests() {
        let points: Vec<_> = (0..2000).map(|i| Candidate { series: i, timestamp: 7 }).collect();
        let (narrow, requests) = run(&points, &[true; 2000], false);
        assert_eq!(requests, 8);
        assert!(narrow.first_unsettled().is_none());
    }

    #[test]
    fn what_fails_is_held_and_all_that_follows_in_its_series() {
        let points: Vec<_> = (0..2000).map(|i| Candidate { series: i % 100, timestamp: i as i64 }).collect();
        let bad: Vec<_> = (0..2000).map(|i| i == 717).collect();
        let (narrow, requests) = run(&points, &bad, true);
        for (index, fate) in narrow.fates().iter().enumerate() {
            let held = index % 100 == 17 && index >= 717;
            assert_eq!(*fate, if held { Fate::Held } else { Fate::Delivered }, "{index}");
        }
        assert_eq!(narrow.first_unsettled(), Some(717));
        assert!(requests <= 24, "{requests} requests");
        let (narrow, requests) = run(&points, &[true; 2000], true);
        assert!(narrow.fates().iter().all(|fate| *fate == Fate::Held));
        assert_eq!(requests, 8);
    }

    #[test]
    fn what_is_newer_than_all_that_was_refused_is_not_presumed_bad() {
        // Ten slices of time of 100 series; the first five are already there and refused.
        let points: Vec<_> =
            (0..1000).map(|i| Candidate { series: i % 100, timestamp: i as i64 / 100 }).collect();
        let bad: Vec<_> = points.iter().map(|point| point.timestamp < 5).collect();
        let (narrow, _) = run(&points, &bad, false);
        for (fate, bad) in narrow.fates().iter().zip(&bad) {
            assert!(*bad || matches!(fate, Fate::Delivered | Fate::Open), "{fate:?}");
        }
    }

    proptest! {
        #[test]
        fn no_good_point_is_lost_nothing_is_out_of_order_and_requests_are_bounded(
            points in prop::collection::vec((0u64..40, 0i64..20, prop::bool::weighted(0.1)), 1..300)) {
            let mut last = std::collections::HashMap::new();
            let candidates: Vec<_> = points.iter().map(|(series, step, _)| {
                let timestamp = last.entry(*series).or_insert(0i64);
                *timestamp += step;
                Candidate { series: *series, timestamp: *timestamp }
            }).collect();
            let bad: Vec<_> = points.iter().map(|(_, _, bad)| *bad).collect();
            prop_assume!(bad.contains(&true));
            let (narrow, requests) = run(&candidates, &bad, false);
            prop_assert!(requests <= limit(points.len()));
            for (fate, bad) in narrow.fates().iter().zip(&bad) {
                match fate {
                    Fate::Delivered => prop_assert!(!bad),
                    Fate::Refused => prop_assert!(*bad),
                    Fate::Open | Fate::Presumed => {}
                    Fate::Held => prop_assert!(false, "nothing is held for a refusal"),
                }
            }
            // Presuming takes eight refused probes.
            let refused = narrow.fates().iter().filter(|fate| **fate == Fate::Refused).count();
            let presumed = narrow.fates().iter().filter(|fate| **fate == Fate::Presumed).count();
            prop_assert!(presumed == 0 || refused >= PROBES);
            // Something always becomes known, so that what is left gets smaller.
            prop_assert!(narrow.fates().iter().any(|fate| *fate != Fate::Open));

            let (narrow, requests) = run(&candidates, &bad, true);
            prop_assert!(requests <= limit(points.len()));
            let mut held = std::collections::HashSet::new();
            let probes_failed = !narrow.fates().contains(&Fate::Delivered);
            for ((fate, bad), point) in narrow.fates().iter().zip(&bad).zip(&candidates) {
                match fate {
                    Fate::Delivered => prop_assert!(!bad && !held.contains(&point.series)),
                    Fate::Held => {
                        let first = held.insert(point.series);
                        prop_assert!(*bad || !first || probes_failed, "a series is held for what fails");
                    }
                    Fate::Open => {}
                    other => prop_assert!(false, "{other:?}: nothing is given up"),
                }
            }
        }
    }
}
