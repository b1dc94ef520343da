//! Narrowing: finding the samples of a batch that it was refused for, or that a receiver fails on.
//!
//! A receiver that answers 400 without saying how much it wrote has refused "something in there". Only smaller
//! requests tell what. This is the pure search: it names the points of the next request and is told whether they
//! were accepted.
//!
//! Rules:
//! - **Order.** A point is sent only when all earlier points of its series are settled, or in the same request. So
//!   single points are always the oldest open point of their series, and halves go left to right.
//! - **Cheap if everything is bad.** First up to [`PROBES`] single points are tried. If none of them is accepted,
//!   every point that is not newer than the newest of them is presumed to be bad, too ([`Known::Presumed`]): a
//!   receiver that refuses everything (too old, already written, wrong tenant) refuses by time or altogether. Newer
//!   points are tried.
//! - **Bounded.** At most `2·log2(n) + 16` requests a batch. The points that are open then go back to the queue and
//!   come again in smaller batches, in their order.
//! - **Nothing is given up to isolate.** With [`Goal::Isolate`], a point that fails alone is held, and so is what
//!   follows in its series. Both stay in the queue. Only a failure after the first success or refusal counts, because
//!   before it the destination may have been away. If all probes fail, everything is held.

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

/// What a batch is narrowed for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Goal {
    /// It was refused. What is refused alone is settled as refused.
    Refuse,
    /// It keeps failing. What fails alone is held, so that the rest is delivered.
    Isolate,
    /// It kept failing for so long that what fails alone is settled as parked.
    Park,
}

/// What became of a request.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Answer {
    /// All of it was accepted.
    Accepted,
    /// Something in it was refused.
    Refused,
    /// It failed.
    Failed,
    /// It was not sent, because its points can't be carried by the protocol. They are settled.
    Unsent,
}

/// What is known of a point.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Known {
    /// Nothing yet.
    Open,
    /// It was accepted.
    Accepted,
    /// It was refused, alone in its request; or it failed, and is to be parked.
    Culprit,
    /// It was not sent alone, and is presumed to be bad because all probes were.
    Presumed,
    /// It failed alone, or an older point of its series did: it is still to be delivered.
    Held,
}

impl Known {
    /// Whether nothing is to be done for the point any more.
    pub fn is_settled(self) -> bool {
        !matches!(self, Known::Open | Known::Held)
    }
}

#[derive(Debug, Clone, Copy)]
struct Part {
    start: usize,
    end: usize,
    /// Something in it is bad, so that the whole of it need not be tried.
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
    known: Vec<Known>,
    goal: Goal,
    phase: Phase,
    request: Vec<u32>,
    requests_left: u32,
    probed: Vec<u64>,
    /// The newest time of a culprit.
    newest_bad: i64,
    /// A request was accepted or refused, so the destination is not away.
    has_answer: bool,
}

impl Narrow {
    /// Begins with a batch whose points are in the log's order.
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

    /// The points to send next, as increasing indices into the batch; empty when it is through.
    pub fn request(&self) -> &[u32] {
        &self.request
    }

    /// The batch.
    pub fn points(&self) -> &[Candidate] {
        &self.points
    }

    /// See the type.
    pub fn goal(&self) -> Goal {
        self.goal
    }

    /// Whether a request was accepted or refused.
    pub fn has_answer(&self) -> bool {
        self.has_answer
    }

    /// What is known of each point. Open points are left when the requests are used up.
    pub fn known(&self) -> &[Known] {
        &self.known
    }

    /// Of each point whether it is still to be settled.
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
                    // A batch that was refused although this point is good has something bad in the rest. One that
                    // failed may be accepted by now.
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

    /// The destination answers: what failed before may have failed because it was away.
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
                    // Some may be held by now because of an older point of their series.
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

    /// The oldest open point of a series: by turns the one with the newest time and one from across the batch, of
    /// series that were not probed yet as long as there are any.
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
