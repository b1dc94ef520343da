//! Pushes groups, and checks what each group contains after a restart.

use crate::ledger::{Acked, grouped};
use crate::pushers::Counts;
use std::collections::BTreeMap;
use std::sync::Mutex;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;
use support::http;

const FAMILIES: [&str; 3] = ["crash_a", "crash_b", "crash_c"];
const PAUSE: Duration = Duration::from_millis(10);

/// A group: the values of its families; `None` if the group does not exist.
type Group = Option<BTreeMap<String, f64>>;

/// A request.
enum Change {
    Put(Vec<&'static str>),
    Post(Vec<&'static str>),
    Delete,
}

/// Changes the groups `first..first + count`, one request after the other.
pub(crate) struct Groups {
    first: usize,
    /// The possible states of each group: the one after the last answer, and those after later changes without an
    /// answer.
    states: Vec<Vec<Group>>,
    value: f64,
    dice: fastrand::Rng,
}

impl Groups {
    pub(crate) fn new(first: usize, count: usize, seed: u64) -> Groups {
        let dice = fastrand::Rng::with_seed(seed);
        Groups { first, states: vec![vec![None]; count], value: 0.0, dice }
    }

    /// Pushes to the narthex at `url` until it has ended.
    pub(crate) fn run(
        &mut self,
        url: &str,
        round: u32,
        stop: &AtomicBool,
        acked: &Mutex<Acked>,
    ) -> Result<Counts, String> {
        let mut counts = Counts::default();
        while !stop.load(Ordering::Relaxed) {
            let at = self.dice.usize(0..self.states.len());
            let some = |dice: &mut fastrand::Rng| {
                let few = FAMILIES.into_iter().filter(|_| dice.bool()).collect::<Vec<_>>();
                if few.is_empty() { vec![FAMILIES[0]] } else { few }
            };
            let change = match self.dice.u8(0..10) {
                0..4 => Change::Put(some(&mut self.dice)),
                4..9 => Change::Post(some(&mut self.dice)),
                _ => Change::Delete,
            };
            self.value += 1.0;
            let value = self.value;
            let changed: Vec<Group> =
                self.states[at].iter().map(|group| applied(group, &change, value)).collect();
            match send(url, self.first + at, &change, value) {
                Ok(answer) if answer.is_success() => {
                    counts.acked += 1;
                    self.states[at] = changed;
                    let families: &[&str] = match &change {
                        Change::Put(families) | Change::Post(families) => families,
                        Change::Delete => &[],
                    };
                    let mut acked = acked.lock().unwrap();
                    for family in families {
                        acked.grouped(grouped(family, self.first + at), value, round);
                    }
                }
                Ok(answer) if answer.status != 503 => {
                    let (status, text) = (answer.status, answer.text());
                    return Err(format!("round {round}: a push of a group was answered {status}: {text}"));
                }
                unanswered => {
                    let refused = unanswered.is_ok();
                    counts.refused += u64::from(refused);
                    counts.unanswered += u64::from(!refused);
                    self.states[at].extend(changed);
                    std::thread::sleep(PAUSE);
                }
            }
            let states = &mut self.states[at];
            let mut unique: Vec<Group> = Vec::new();
            states.drain(..).for_each(|state| {
                if !unique.contains(&state) {
                    unique.push(state);
                }
            });
            *states = unique;
        }
        Ok(counts)
    }

    /// Compares the groups that narthex shows with the possible states. The shown state is the only possible one from
    /// then on.
    pub(crate) fn check(&mut self, shown: &serde_json::Value) -> Vec<String> {
        let mut wrong = Vec::new();
        let all = shown["data"].as_array().map(Vec::as_slice).unwrap_or_default();
        for (at, states) in self.states.iter_mut().enumerate() {
            let number = (self.first + at).to_string();
            let group = all.iter().find(|group| group["labels"]["group"] == number.as_str());
            let group: Group = group.map(|group| {
                let value = |family: &str| group[family]["metrics"][0]["value"].as_str()?.parse().ok();
                FAMILIES.iter().filter_map(|family| Some((family.to_string(), value(family)?))).collect()
            });
            if !states.contains(&group) {
                wrong.push(format!("group {number} is {group:?}, but must be one of {states:?}"));
            }
            *states = vec![group];
        }
        wrong
    }
}

fn applied(group: &Group, change: &Change, value: f64) -> Group {
    let (mut families, pushed) = match change {
        Change::Delete => return None,
        Change::Put(pushed) => (BTreeMap::new(), pushed),
        Change::Post(pushed) => (group.clone().unwrap_or_default(), pushed),
    };
    families.extend(pushed.iter().map(|family| (family.to_string(), value)));
    Some(families)
}

fn send(url: &str, group: usize, change: &Change, value: f64) -> Result<http::Response, String> {
    let url = format!("{url}/metrics/job/crash/group/{group}");
    let (method, families) = match change {
        Change::Put(families) => ("PUT", families),
        Change::Post(families) => ("POST", families),
        Change::Delete => return http::request("DELETE", &url, &[], None),
    };
    let text: String =
        families.iter().map(|family| format!("# TYPE {family} gauge\n{family} {value}\n")).collect();
    http::request(method, &url, &[], Some(text.as_bytes()))
}
