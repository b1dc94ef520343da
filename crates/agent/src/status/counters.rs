//! Makes events of counters: what was added to each counter after it was last read. Counters begin at 0 at
//! each start.

use super::inputs::pushed_to;
use super::refusals::{Read, Refusals};
use super::window::{Event, Key, Window};
use crate::telemetry::{Outlet, Telemetry};
use intake::RefusedReason as InputReason;
use remote::{Refusal, RefusedReason, Stats};
use std::collections::{BTreeMap, HashMap};
use std::sync::Arc;

/// The values that were read last.
#[derive(Debug, Default)]
pub(super) struct Counters {
    own: HashMap<Key, u64>,
    /// The counters of each destination. A destination whose settings were changed counts from 0 again.
    destinations: Vec<Known>,
}

#[derive(Debug)]
struct Known {
    stats: Arc<Stats>,
    counts: HashMap<Key, u64>,
    refusals: Refusals,
}

impl Counters {
    /// Reads all counters, and adds the increases to `window`.
    pub(super) fn read(&mut self, telemetry: &Telemetry, window: &mut Window, now_ms: i64) {
        for (key, count) in own(telemetry) {
            added(&mut self.own, key, count, window, now_ms);
        }
        let outlets = telemetry.outlets();
        let runs =
            |stats: &Arc<Stats>| outlets.running.iter().any(|outlet| Arc::ptr_eq(&outlet.stats, stats));
        self.destinations.retain(|known| runs(&known.stats));
        for outlet in &outlets.running {
            let index = self.destinations.iter().position(|known| Arc::ptr_eq(&known.stats, &outlet.stats));
            let index = index.unwrap_or_else(|| {
                let stats = outlet.stats.clone();
                self.destinations.push(Known {
                    stats,
                    counts: HashMap::new(),
                    refusals: Refusals::default(),
                });
                self.destinations.len() - 1
            });
            let Some(known) = self.destinations.get_mut(index) else { continue };
            for (key, count) in of_destination(outlet) {
                added(&mut known.counts, key, count, window, now_ms);
            }
            let refused = known.refusals.read(refusals(&outlet.stats));
            window.add(Key::new(Event::AlreadyWritten, &outlet.name, ""), refused.repeats, now_ms);
            for (reason, count) in refused.refused {
                window.add(Key::new(Event::Refused, &outlet.name, &reason), count, now_ms);
            }
        }
    }
}

/// A destination's counters of refusals, for [`Refusals`].
fn refusals(stats: &Stats) -> Read {
    let refused = stats.refused.get().total();
    let repeats = stats.refused_or_already_written.get();
    let mut reasons = BTreeMap::<(String, bool), u64>::new();
    for (said, count) in stats.refused_reasons() {
        *reasons.entry((refusal_words(said), said.reason.fits_a_repeat())).or_default() += count;
    }
    let reasons = reasons.into_iter().map(|((reason, fits), count)| (reason, fits, count));
    Read { refused, repeats, reasons: reasons.collect() }
}

/// `out of bounds`; or `status 400` if the receiver's words are not known.
fn refusal_words(said: Refusal) -> String {
    match said.reason {
        RefusedReason::Other => format!("status {}", said.status),
        reason => reason.as_str().replace('_', " "),
    }
}

fn added(counts: &mut HashMap<Key, u64>, key: Key, count: u64, window: &mut Window, now_ms: i64) {
    if count == 0 {
        return;
    }
    let before = counts.entry(key.clone()).or_default();
    window.add(key, count.saturating_sub(*before), now_ms);
    *before = count.max(*before);
}

fn of_destination(outlet: &Outlet) -> Vec<(Key, u64)> {
    let (stats, name) = (&outlet.stats, outlet.name.as_str());
    let total = |kinds: &remote::stats::PerKind| kinds.get().total();
    let too_old_for_log = total(&stats.lost_too_old);
    let full = total(&stats.lost).saturating_sub(too_old_for_log);
    vec![
        (Key::new(Event::Lost, name, "log full"), full),
        (Key::new(Event::Lost, name, "older than log.max_age"), too_old_for_log),
        (Key::new(Event::Lost, name, "labels unreadable"), total(&stats.dropped_no_series)),
        (Key::new(Event::DeadLetterLost, name, ""), stats.dead_letters_dropped.get()),
        (
            Key::new(Event::Unsupported, name, "not in its version of remote write"),
            total(&stats.dropped_unsupported),
        ),
        (Key::new(Event::TooOld, name, ""), total(&stats.dropped_too_old)),
    ]
}

fn own(telemetry: &Telemetry) -> Vec<(Key, u64)> {
    let log = telemetry.storage().stats();
    let unreadable = log.damages.get().saturating_sub(log.torn_ends.get());
    let denied = telemetry.doors().denied();
    let mut out = vec![
        (Key::new(Event::Unreadable, "", ""), unreadable),
        (Key::new(Event::InputRefused, "", "unauthorized"), denied.pushes.get()),
    ];
    for (reason, samples) in telemetry.collected_lost() {
        out.push((Key::new(Event::CollectionFailed, "", &input_words(reason)), samples));
    }
    for (input, counters) in pushed_to(telemetry.doors().intake().counters()) {
        // Senders that get no answer send nothing again. So samples are counted here, not requests.
        if let Some(listener) = counters.listener() {
            out.push((Key::new(Event::SamplesRejected, input, input), counters.rejected.get()));
            out.push((Key::new(Event::DatagramsDropped, input, input), listener.kernel_drops.get()));
            out.push((Key::new(Event::InputLost, input, input), listener.lost.get()));
            continue;
        }
        for reason in InputReason::ALL {
            out.push((input_key(input, reason), counters.refused_for(reason)));
        }
    }
    out
}

fn input_key(input: &str, reason: InputReason) -> Key {
    Key::new(Event::InputRefused, input, &input_words(reason))
}

fn input_words(reason: InputReason) -> String {
    reason.as_str().replace('_', " ")
}

/// The text of the last answer for each input and reason, by the key of its events.
pub(super) fn last_answers(inputs: &intake::Counters) -> BTreeMap<Key, String> {
    let mut answers = BTreeMap::new();
    for ((input, reason), text) in inputs.last_answers() {
        let key = match input {
            crate::host::INPUT => Key::new(Event::CollectionFailed, "", &input_words(reason)),
            input => input_key(input, reason),
        };
        answers.insert(key, text);
    }
    for (input, counters) in inputs.all() {
        let text = counters.listener().and_then(|_| counters.last_answer());
        answers.extend(text.map(|text| (Key::new(Event::SamplesRejected, input, input), text)));
    }
    answers
}
