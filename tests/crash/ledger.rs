//! Compares the acknowledged samples with those that each destination received. It distinguishes loss, repetition and
//! wrong order.
//!
//! The place of a sample in its series is its timestamp minus [`base_ms`]. The series `crash_numbered` count 0, 1, 2,
//! ... in their timestamps and in their values. A series of a group has times that narthex sets, and values that
//! increase with each push.

use std::collections::{HashMap, HashSet};
use support::receiver::Received;
use support::wire::{SeriesView, visit};

/// The series whose samples the pusher numbers.
pub(crate) const NUMBERED: &str = "crash_numbered";
/// The header that identifies a run of narthex, from start to end.
pub(crate) const INCARNATION: &str = "x-incarnation";
/// The maximum of findings of one kind with a text; the others are only counted.
const MAX_FINDINGS: usize = 30;

/// The time of place 0, in milliseconds: one day before this test was started.
pub(crate) fn base_ms() -> i64 {
    static BASE: std::sync::LazyLock<i64> = std::sync::LazyLock::new(|| {
        std::time::UNIX_EPOCH.elapsed().map_or(0, |since| since.as_millis() as i64) - 86_400_000
    });
    *BASE
}

/// A series by its labels on the wire: `name=value,`.
pub(crate) type Key = String;

pub(crate) fn numbered(pusher: usize, series: usize) -> Key {
    format!("__name__={NUMBERED},pusher={pusher},series={series},")
}

pub(crate) fn grouped(family: &str, group: usize) -> Key {
    format!("__name__={family},group={group},job=crash,")
}

/// The samples that were answered with 2xx and have not arrived yet.
#[derive(Default, Clone)]
pub(crate) struct Acked {
    /// The first place, the end (exclusive), and the round.
    numbered: HashMap<Key, Vec<(i64, i64, u32)>>,
    /// The values of groups' series, and the round.
    grouped: HashMap<Key, Vec<(f64, u32)>>,
    /// The number of samples in both at the beginning.
    pub(crate) samples: u64,
}

impl Acked {
    pub(crate) fn numbered(&mut self, key: Key, from: i64, to: i64, round: u32) {
        self.samples += (to - from) as u64;
        let ranges = self.numbered.entry(key).or_default();
        match ranges.last_mut() {
            Some((_, end, last)) if *end == from && *last == round => *end = to,
            _ => ranges.push((from, to, round)),
        }
    }

    pub(crate) fn grouped(&mut self, key: Key, value: f64, round: u32) {
        self.samples += 1;
        self.grouped.entry(key).or_default().push((value, round));
    }

    /// Adds the samples that were acknowledged in a round.
    pub(crate) fn extend(&mut self, round: &Acked) {
        self.samples += round.samples;
        for (key, ranges) in &round.numbered {
            self.numbered.entry(key.clone()).or_default().extend(ranges);
        }
        for (key, values) in &round.grouped {
            self.grouped.entry(key.clone()).or_default().extend(values);
        }
    }

    /// The number of ranges and values that have not arrived.
    pub(crate) fn open(&self) -> usize {
        self.numbered.values().map(Vec::len).sum::<usize>()
            + self.grouped.values().map(Vec::len).sum::<usize>()
    }
}

struct Track {
    /// For a numbered series: a bit for each place that arrived.
    seen: Vec<u64>,
    furthest: i64,
    /// The run that sent last.
    incarnation: u32,
    /// The furthest place that was answered with 2xx in that run.
    confirmed: i64,
    /// For a group's series: the bits of the value at each place that arrived.
    values: HashMap<i64, u64>,
}

impl Track {
    fn has(&self, place: i64) -> bool {
        self.seen.get(place as usize / 64).is_some_and(|word| word >> (place % 64) & 1 == 1)
    }

    fn set(&mut self, place: i64) {
        let word = place as usize / 64;
        if self.seen.len() <= word {
            self.seen.resize(word + 1, 0);
        }
        self.seen[word] |= 1 << (place % 64);
    }
}

/// The samples that a destination received.
#[derive(Default)]
pub(crate) struct Arrivals {
    tracks: HashMap<Key, Track>,
    /// Samples that arrived for the first time.
    pub(crate) first: u64,
    /// Samples that arrived again.
    pub(crate) repeated: u64,
    /// The limit of [`Arrivals::repeated`]: samples that were stored without an answer, and for each end of a run the
    /// samples that may have been in flight.
    pub(crate) may_repeat: u64,
    /// Samples that arrived for the first time after a later one.
    pub(crate) out_of_order: u64,
    /// Samples that the same run sent again although their acceptance was answered.
    pub(crate) stepped_back: u64,
    /// The limit of [`Arrivals::stepped_back`]: the destination disconnected, so the answer may have been lost.
    pub(crate) may_step_back: u64,
    /// Requests whose samples count as written.
    pub(crate) requests: u64,
    /// The errors as text.
    pub(crate) findings: Vec<String>,
}

impl Arrivals {
    /// Adds the samples of a stored request. `confirmed` is true if its answer was a complete 2xx.
    pub(crate) fn take(&mut self, request: &Received, confirmed: bool) {
        let incarnation = request.header(INCARNATION).and_then(|text| text.parse().ok()).unwrap_or(u32::MAX);
        let mut count = 0;
        let read = visit(request.version(), &request.content, |view| {
            count += view.samples.len() as u64;
            self.series(view, incarnation, confirmed);
        });
        if let Err(error) = read {
            self.finding(format!("run {incarnation}: a request that can't be read: {error}"));
        }
        self.requests += 1;
        self.may_repeat += if confirmed { 0 } else { count };
    }

    fn series(&mut self, view: &SeriesView<'_>, incarnation: u32, confirmed: bool) {
        let mut key = Key::new();
        for (name, value) in &view.labels {
            key.push_str(&String::from_utf8_lossy(name));
            key.push('=');
            key.push_str(&String::from_utf8_lossy(value));
            key.push(',');
        }
        let is_numbered = view.labels.first().is_some_and(|(_, name)| *name == NUMBERED.as_bytes());
        let mut found = Vec::new();
        let track = self.tracks.entry(key.clone()).or_insert_with(|| Track {
            seen: Vec::new(),
            furthest: -1,
            incarnation,
            confirmed: -1,
            values: HashMap::new(),
        });
        if track.incarnation != incarnation {
            (track.incarnation, track.confirmed) = (incarnation, -1);
        }
        let mut before = -1;
        for &(timestamp, value) in &view.samples {
            let place = timestamp - base_ms();
            if place < 0 || (is_numbered && value != place as f64) {
                found.push(format!("{value} at {timestamp} was never pushed"));
                continue;
            }
            if place <= before {
                self.out_of_order += 1;
                found.push(format!("place {place} after {before} within one request"));
            }
            before = place;
            if place <= track.confirmed {
                self.stepped_back += 1;
                if self.stepped_back > self.may_step_back {
                    found.push(format!("place {place} although {} was accepted", track.confirmed));
                }
            }
            let is_there = if is_numbered { track.has(place) } else { track.values.contains_key(&place) };
            if is_there {
                self.repeated += 1;
                if !is_numbered && track.values[&place] != value.to_bits() {
                    found.push(format!("place {place} was sent with two values, now {value}"));
                }
                continue;
            }
            self.first += 1;
            if place < track.furthest {
                self.out_of_order += 1;
                found.push(format!("place {place} comes first after {}", track.furthest));
            }
            track.furthest = track.furthest.max(place);
            if is_numbered {
                track.set(place);
            } else {
                track.values.insert(place, value.to_bits());
            }
        }
        if confirmed {
            track.confirmed = track.confirmed.max(before);
        }
        for found in found {
            self.finding(format!("run {incarnation}: {key} {found}"));
        }
    }

    pub(crate) fn finding(&mut self, text: String) {
        if self.findings.len() < MAX_FINDINGS {
            self.findings.push(text);
        }
    }

    /// Removes the samples that have arrived from `acked`. A missing sample is lost if a later sample of its series has
    /// arrived, or at the `end`. Returns the number of lost samples, and some of them as text.
    pub(crate) fn settle(&self, acked: &mut Acked, end: bool) -> (u64, Vec<String>) {
        let (mut lost, mut words) = (0, Vec::new());
        for (key, ranges) in &mut acked.numbered {
            let track = self.tracks.get(key);
            let furthest = track.map_or(-1, |track| track.furthest);
            ranges.retain(|&(from, to, round)| {
                let open = (from..to).filter(|place| !track.is_some_and(|track| track.has(*place)));
                let open: Vec<i64> = open.collect();
                let gone: Vec<i64> = open.iter().copied().filter(|at| end || *at < furthest).collect();
                if let (Some(first), Some(last)) = (gone.first(), gone.last()) {
                    lost += gone.len() as u64;
                    words.push(format!(
                        "{key} {} of the places {first} to {last}, acknowledged in round {round}; \
                         furthest there: {furthest}",
                        gone.len()
                    ));
                }
                !open.is_empty() && gone.is_empty()
            });
        }
        for (key, values) in &mut acked.grouped {
            let track = self.tracks.get(key);
            let there: HashSet<u64> = track.iter().flat_map(|track| track.values.values().copied()).collect();
            values.retain(|(value, round)| {
                let open = !there.contains(&value.to_bits());
                if open && end {
                    lost += 1;
                    words.push(format!("{key} value {value}, acknowledged in round {round}"));
                }
                open
            });
        }
        words.truncate(MAX_FINDINGS);
        (lost, words)
    }
}
