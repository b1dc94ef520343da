//! Checks of what reads the Pushgateway's interface, and of the journal of groups.

use formats::text::{Format, ParseOptions, parse};
use groups::change::Change;
use groups::consistency;
use groups::entry::{decode, encode};
use groups::path::{GroupingLabels, to_path};
use groups::pushed::{NO_TIMESTAMP, families};
use groups::state::{Sent, State, Undo};
use intake::{Settings, TimeBounds};
use model::Limits;

/// The path of a push: a group is found again by the path that it is shown with.
pub fn path(bytes: &[u8]) {
    let text = String::from_utf8_lossy(bytes);
    for path in [text.to_string(), format!("/metrics/job{text}"), format!("/metrics/job/{text}")] {
        let Ok(labels) = GroupingLabels::from_path(&path) else { continue };
        assert!(labels.iter().any(|(name, value)| name == "job" && !value.is_empty()));
        let key = labels.key();
        let again = GroupingLabels::from_path(&to_path(key.as_ref())).expect("a path of our own");
        assert!(again.key() == key, "{path:?}");
    }
}

/// Pushes to groups, separated by a zero byte. A push is a letter for the method and the body's format, the
/// path's labels up to the end of the line, and the body. What is taken is journalled and replayed.
pub fn gateway(bytes: &[u8]) {
    let (mut state, mut replayed) = (State::new(2), State::new(2));
    for (now, push) in (1_800_000_000_000i64..).zip(bytes.split(|byte| *byte == 0).take(16)) {
        let Some(change) = plan(&mut state, push, now) else { continue };
        let mut sent = Sent::default();
        state.apply(&change, &mut Undo::default(), &mut sent);
        crate::formats::check_whole(&sent.batch);
        let entry = decode(&encode(&[change])).expect("an entry of our own");
        entry.iter().for_each(|change| replayed.replay(change));
    }
    check_counts(&state);
    assert!(encode(&state.snapshot()) == encode(&replayed.snapshot()), "the journal tells something else");
}

fn plan(state: &mut State, push: &[u8], now: i64) -> Option<Change> {
    let (method, rest) = push.split_first()?;
    let end = rest.iter().position(|byte| *byte == b'\n').unwrap_or(rest.len());
    let (path, body) = rest.split_at(end);
    let path = format!("/metrics/job/{}", String::from_utf8_lossy(path));
    let labels = GroupingLabels::from_path(&path).ok()?;
    let key = labels.key();
    let at = state.next_time(&key, now);
    if *method == b'D' {
        return Some(Change::Deleted { key, at });
    }
    if *method == b'E' {
        return Some(Change::Expired { key, at, wall: now });
    }
    let extra: Vec<(&str, &str)> = labels.iter().collect();
    let mut options = ParseOptions::new(
        if method.is_ascii_lowercase() { Format::OpenMetrics } else { Format::Text },
        NO_TIMESTAMP,
    );
    (options.extra_labels, options.limits, options.max_points) = (&extra, Limits::default(), 1000);
    let body = body.get(1..).unwrap_or_default();
    let batch = match method.to_ascii_uppercase() {
        b'X' => formats::exposition::decode(body, &options).ok()?.batch,
        _ => parse(body, &options).ok()?.batch,
    };
    crate::formats::check_whole(&batch);
    let id = state.id_of(&key);
    let families = families(batch, TimeBounds::at(now, &Settings::default()), options.format).ok()?;
    let replace = method.eq_ignore_ascii_case(&b'P');
    let group = state.get(&key).cloned();
    // A is added.
    let families = if *method == b'A' {
        let had = group.as_ref().map(|group| group.families.unpack()).unwrap_or_default();
        groups::add::added(&had, &families, groups::add::Gauges::Sum, now).ok()?
    } else {
        families
    };
    if let Err(reason) = consistency::check(state, group.as_deref(), replace, &families) {
        return Some(Change::Refused { id, key, at, wall: now, reason: reason.to_string() });
    }
    Some(Change::Pushed { id, key, replace, at, wall: now, ttl: Some(1000), families })
}

/// An entry of the groups' journal: what is read is written the same, and can be replayed.
pub fn journal(bytes: &[u8]) {
    let Ok(changes) = decode(bytes) else { return };
    let entry = encode(&changes);
    let again = decode(&entry).expect("an entry of our own");
    assert!(encode(&again) == entry);
    let mut state = State::new(2);
    changes.iter().for_each(|change| state.replay(change));
    let snapshot = encode(&state.snapshot());
    let mut copy = State::new(2);
    decode(&snapshot).expect("an entry of our own").iter().for_each(|change| copy.replay(change));
    assert!(copy.len() == state.len());
}

/// Counts that are kept along the way, against counts from scratch.
fn check_counts(state: &State) {
    assert!(state.series() == state.groups().map(|group| group.series()).sum::<usize>());
    assert!(state.bytes() == state.groups().map(|group| group.bytes()).sum::<usize>());
    assert!(state.expired() == state.groups().filter(|group| group.expired.is_some()).count());
    for group in state.groups() {
        assert!(state.by_id(group.id).is_some_and(|by_id| by_id.key == group.key));
    }
}
