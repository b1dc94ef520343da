//! Narrowing: finds the samples of a batch because of which the receiver refuses it or fails.
//!
//! An answer 400 that does not say how much was written does not tell which samples were refused. Smaller
//! requests do. This module is the pure search: it returns the points of the next request and takes the
//! answer to it.
//!
//! Rules:
//! - **Order.** A point is sent only when all earlier points of its series are settled or in the same
//!   request. So single points are always the oldest open point of their series, and halves are sent left to
//!   right.
//! - **Cheap if all points are bad.** First, up to [`PROBES`] single points are sent. If none of them is
//!   accepted, all points that are not newer than the newest of them are presumed to be bad, too
//!   ([`Known::Presumed`]). A receiver that refuses everything (too old, already written, wrong tenant)
//!   refuses by time or altogether. Newer points are sent.
//! - **Bounded.** A batch costs at most `2·log2(n) + 16` requests. The points that are open after that go
//!   back to the queue and are sent in smaller batches, in their order.
//! - **Isolating settles no failing point.** With [`Goal::Isolate`], a point that fails alone is held, and so
//!   are the later points of its series. All of them stay in the queue. Only a failure after the first
//!   success or refusal counts, because before it the destination may have been away. If all probes fail, all
//!   points are held.

/// Number of single points that are sent first.
pub const PROBES: usize = 8;
/// Requests that a batch may cost beyond `2·log2(n)`.
const REQUESTS_SLACK: u32 = 16;

/// A point as the search sees it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Candidate {
    /// Hash of the point's series. Two series with the same hash are treated as one, which is safe.
    pub series: u64,
    /// In milliseconds.
    pub timestamp: i64,
}

/// Why a batch is narrowed.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Goal {
    /// The batch was refused. Points that are refused alone are settled as refused.
    Refuse,
    /// The batch keeps failing. Points that fail alone are held, so that the others are delivered.
    Isolate,
    /// The batch has failed for so long that points that fail alone are settled as parked.
    Park,
}

/// The result of a request.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Answer {
    Accepted,
    /// At least one point was refused.
    Refused,
    Failed,
    /// The request was not sent, because the protocol can't carry its points. They are settled.
    Unsent,
}

/// The search's result for a point.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Known {
    /// Nothing is known yet.
    Open,
    Accepted,
    /// The point was refused alone in its request; or it failed alone and is to be parked.
    Culprit,
    /// The point was not sent alone, and is presumed to be bad because all probes were.
    Presumed,
    /// The point, or an older point of its series, failed alone. It is still to be delivered.
    Held,
}

impl Known {
    pub fn is_settled(self) -> bool {
        !matches!(self, Known::Open | Known::Held)
    }
}

#[derive(Debug, Clone, Copy)]
struct Part {
    start: usize,
    end: usize,
    /// The range has a bad point, so it is split without being sent as a whole.
    bad: bool,
    /// The range below this one on the stack is the right half of the same refused range.
    is_left_half: bool,
}

#[derive(Debug)]
enum Phase {
    Probing {
        sent: usize,
    },
    /// `open` has the points that were open when halving began. `stack` has ranges of `open`, the next one
    /// last.
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
    known: Vec<Known>,
    goal: Goal,
    phase: Phase,
    request: Vec<u32>,
    requests_left: u32,
    probed: Vec<u64>,
    /// The newest timestamp of a culprit.
    newest_bad: i64,
    /// A request was accepted or refused, so the destination is not away.
    has_answer: bool,
}

impl Narrow {
    /// Begins a search. The points are in the log's order.
    pub fn new(points: Vec<Candidate>, goal: Goal) -> Self {
        let count = points.len();
        let log2 = usize::BITS - count.max(1).leading_zeros();
        let mut narrow = Narrow {
            known: vec![Known::Open; count],
            points,
            goal,
            phase: Phase::Probing { sent: 0 },
            request: Vec::new(),
            requests_left: 2 * (log2 - 1) + REQUESTS_SLACK,
            probed: Vec::new(),
            newest_bad: i64::MIN,
            has_answer: false,
        };
        narrow.advance();
        narrow
    }

    /// Returns the points to send next, as increasing indices into the batch. It is empty when the search has
    /// ended.
    pub fn request(&self) -> &[u32] {
        &self.request
    }

    /// Returns all points of the batch.
    pub fn points(&self) -> &[Candidate] {
        &self.points
    }

    pub fn goal(&self) -> Goal {
        self.goal
    }

    /// Returns true if a request was accepted or refused.
    pub fn has_answer(&self) -> bool {
        self.has_answer
    }

    /// Returns the result for each point. Points stay open when the requests are used up.
    pub fn known(&self) -> &[Known] {
        &self.known
    }

    /// Returns for each point whether it is still to be settled.
    pub fn unsettled(&self) -> impl Iterator<Item = bool> + '_ {
        self.known.iter().map(|known| !known.is_settled())
    }

    /// Takes the answer to [`Narrow::request`].
    pub fn answer(&mut self, answer: Answer) {
        let request = std::mem::take(&mut self.request);
        let accepted = answer == Answer::Accepted;
        if matches!(answer, Answer::Accepted | Answer::Refused) {
            self.has_answer = true;
            if matches!(self.phase, Phase::Probing { .. }) {
                self.release_held();
            }
        }
        if matches!(answer, Answer::Accepted | Answer::Unsent) {
            request.iter().for_each(|index| self.set(*index, Known::Accepted));
        } else if let [index] = request[..] {
            self.not_accepted_alone(index, answer);
        }
        match &mut self.phase {
            Phase::Probing { sent } => {
                let sent = *sent;
                if accepted {
                    // If a batch was refused although this point is good, the rest has a bad point. A batch
                    // that failed may be accepted by now.
                    self.begin_halving(self.goal == Goal::Refuse && sent == 1);
                } else if sent == PROBES || !self.known.contains(&Known::Open) {
                    match self.goal {
                        Goal::Isolate => self.hold_from(0, |_| true),
                        Goal::Refuse | Goal::Park => self.presume(),
                    }
                    self.begin_halving(false);
                }
            }
            Phase::Halving { stack, current, .. } => {
                let part = *current;
                if accepted {
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

    fn not_accepted_alone(&mut self, index: u32, answer: Answer) {
        let Some(point) = self.points.get(index as usize).copied() else { return };
        if self.goal == Goal::Isolate && answer == Answer::Failed {
            self.hold_from(index as usize, |other| other.series == point.series);
        } else {
            self.set(index, Known::Culprit);
            self.newest_bad = self.newest_bad.max(point.timestamp);
        }
    }

    fn hold_from(&mut self, start: usize, which: impl Fn(&Candidate) -> bool) {
        for (point, known) in self.points.iter().zip(&mut self.known).skip(start) {
            if *known == Known::Open && which(point) {
                *known = Known::Held;
            }
        }
    }

    /// The destination answers. Points that failed before may have failed because it was away.
    fn release_held(&mut self) {
        self.known.iter_mut().filter(|known| **known == Known::Held).for_each(|known| *known = Known::Open);
    }

    fn set(&mut self, index: u32, known: Known) {
        if let Some(slot) = self.known.get_mut(index as usize) {
            *slot = known;
        }
    }

    fn presume(&mut self) {
        for (point, known) in self.points.iter().zip(&mut self.known) {
            if *known == Known::Open && point.timestamp <= self.newest_bad {
                *known = Known::Presumed;
            }
        }
    }

    fn begin_halving(&mut self, bad: bool) {
        let open: Vec<u32> = (0..self.known.len() as u32)
            .filter(|index| self.known.get(*index as usize) == Some(&Known::Open))
            .collect();
        let whole = Part { start: 0, end: open.len(), bad, is_left_half: false };
        self.phase = Phase::Halving { open, stack: vec![whole], current: whole };
    }

    /// Chooses the next request.
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
                    // Points may have been held since because of an older point of their series.
                    let is_open = |index: &&u32| self.known.get(**index as usize) == Some(&Known::Open);
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

    /// Chooses the oldest open point of a series: alternately the one with the newest timestamp and one from
    /// across the batch. Series that were not probed yet come first.
    fn pick_probe(&self, number: usize) -> Option<u32> {
        let mut seen = std::collections::HashSet::new();
        let mut heads: Vec<(u32, Candidate)> = Vec::new();
        for (index, (point, known)) in self.points.iter().zip(&self.known).enumerate() {
            if *known == Known::Open && seen.insert(point.series) {
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
mod tests;
