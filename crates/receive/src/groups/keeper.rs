//! The one task that changes groups: it takes what is asked of it, commits it together with what is
//! journalled, and only then answers. So the order of the log is the order of the answers, and whoever reads
//! the groups through it sees what is durable.
//!
//! A round is everything that waits, up to a size, and the groups whose turn it is: one append, one sync.
//! Where an append fails, the round's changes are undone; where the batch itself was the reason, each is
//! tried alone, so that one push that is too much doesn't take others with it.

use super::ask::{Ask, Asked, Push};
use super::change::Change;
use super::schedule::{Turns, next_turn};
use super::state::{Sent, State, Undo};
use super::{consistency, entry, limits};
use crate::answer::Refusal;
use crate::options::Pushgateway;
use crate::stats::Stats;
use model::{Clock, Labels};
use std::collections::BTreeSet;
use std::sync::Arc;
use std::time::Duration;
use storage::{AppendError, Journal, Storage};
use tokio::sync::{mpsc, oneshot};

/// How many requests may wait for the keeper's next round. Each of them waits for its answer, and requests
/// are limited on the whole, so this bounds nothing but the queue itself.
pub const QUEUE: usize = 256;
/// A round is closed when it has become this large, in bytes.
const ROUND_BYTES: usize = 4 << 20;
/// The most points of groups that are sent anew in one round (one group may have more).
const TURN_POINTS: usize = 20_000;
/// Groups whose turns lie closer together than this go out together, so that a thousand groups don't cost a
/// thousand syncs.
const TURN_STEP: Duration = Duration::from_millis(250);
/// The journal is rewritten when it has grown by this much, and by twice what a snapshot takes.
const JOURNAL_SLACK_BYTES: usize = 1 << 20;
/// The most bytes of an entry of a snapshot.
const SNAPSHOT_ENTRY_BYTES: usize = 1 << 20;
/// How many groups that are no more have their last time remembered.
pub const DEPARTED: usize = 10_000;

/// The keeper's own state.
pub struct Keeper {
    state: State,
    storage: Storage,
    journal: Journal,
    clock: Arc<dyn Clock>,
    options: Pushgateway,
    stats: Arc<Stats>,
    /// When each group is sent next.
    turns: Turns,
    /// When each group expires, or is forgotten.
    ends: Turns,
    /// Bytes added to the journal since it was rewritten.
    journal_bytes: usize,
    /// Where it is rewritten next.
    journal_limit: usize,
    /// Groups of which the journal may hold a change that was undone, since its commit failed.
    doubtful: BTreeSet<Labels>,
}

/// A round in the making.
#[derive(Default)]
struct Round {
    sent: Sent,
    changes: Vec<Change>,
    /// What goes into the journal before the changes: see [`Keeper::doubtful`].
    corrections: Vec<Change>,
    undo: Undo,
    counts: Counts,
}

/// What a round adds to the stats if it succeeds.
#[derive(Default)]
struct Counts {
    failures: u64,
    emissions: u64,
    expirations: u64,
    forgotten: u64,
}

/// What became of one ask within a round.
enum Outcome {
    /// It was done, or there was nothing to do.
    Done,
    /// It was refused for its own sake.
    Refused(Refusal),
}

/// Something asked that a round does.
struct Planned {
    ask: Ask,
    reply: oneshot::Sender<Result<(), Refusal>>,
    /// It changes something, so that its answer depends on the commit.
    changed: bool,
    outcome: Outcome,
}

impl Keeper {
    /// A keeper of the groups that `entries`, the journal's, make.
    pub fn new(
        storage: Storage,
        journal: Journal,
        entries: Vec<Vec<u8>>,
        clock: Arc<dyn Clock>,
        options: Pushgateway,
        stats: Arc<Stats>,
    ) -> Self {
        let mut state = State::new(DEPARTED);
        let mut journal_bytes = 0;
        for entry in entries {
            journal_bytes += entry.len();
            match entry::decode(&entry) {
                Ok(changes) => changes.iter().for_each(|change| state.replay(change)),
                Err(error) => {
                    stats.journal_damaged.add(1);
                    tracing::warn!(%error, "part of what was pushed in groups could not be read back");
                }
            }
        }
        let mut keeper = Keeper {
            journal_limit: journal_limit(state.bytes()),
            state,
            storage,
            journal,
            clock,
            options,
            stats,
            turns: Turns::default(),
            ends: Turns::default(),
            journal_bytes,
            doubtful: BTreeSet::new(),
        };
        let keys: Vec<Labels> = keeper.state.groups().map(|group| group.key.clone()).collect();
        keys.iter().for_each(|key| keeper.schedule(key));
        keeper.publish();
        keeper
    }

    /// Works until nobody can ask any more.
    pub async fn run(mut self, mut asks: mpsc::Receiver<Asked>) {
        // What was read stays so: where a commit failed before this start, the journal may hold what is not
        // seen now, and would be seen again after a power cut.
        self.rewrite_journal().await;
        loop {
            let mut waiting = Vec::new();
            tokio::select! {
                biased;
                asked = asks.recv() => match asked {
                    Some(asked) => waiting.push(asked),
                    None => return,
                },
                () = sleep_until(self.next_moment(), self.clock.monotonic()) => {}
            }
            while waiting.len() < QUEUE
                && let Ok(asked) = asks.try_recv()
            {
                waiting.push(asked);
            }
            let mut waiting = waiting.into_iter().peekable();
            loop {
                self.round(&mut waiting).await;
                if waiting.peek().is_none() {
                    break;
                }
            }
            if self.journal_bytes > self.journal_limit {
                self.rewrite_journal().await;
            }
        }
    }

    /// Does as much of what waits as makes one round.
    async fn round(&mut self, waiting: &mut std::iter::Peekable<std::vec::IntoIter<Asked>>) {
        let mut round = Round::default();
        self.due(&mut round);
        let mut asked = Vec::new();
        while let Some(next) = waiting.next_if(|_| round.sent.batch.heap_bytes() < ROUND_BYTES) {
            match next.ask {
                Ask::Read(read) => {
                    // Before anything of this round that is not durable yet, it would be told of it.
                    self.finish(std::mem::take(&mut round), std::mem::take(&mut asked)).await;
                    read(&self.state);
                    let _ = next.reply.send(Ok(()));
                }
                Ask::Options(options) => {
                    self.options = *options;
                    let _ = next.reply.send(Ok(()));
                }
                Ask::Wipe => {
                    self.finish(std::mem::take(&mut round), std::mem::take(&mut asked)).await;
                    let _ = next.reply.send(self.wipe().await);
                }
                Ask::Turns => asked.push(Planned {
                    ask: Ask::Turns,
                    reply: next.reply,
                    changed: false,
                    outcome: Outcome::Done,
                }),
                ask => {
                    let before = round.changes.len();
                    let outcome = self.plan(&ask, &mut round);
                    let changed = round.changes.len() > before;
                    asked.push(Planned { ask, reply: next.reply, changed, outcome });
                }
            }
        }
        self.finish(round, asked).await;
    }

    /// Commits a round and answers those who asked for it.
    async fn finish(&mut self, round: Round, asked: Vec<Planned>) {
        let result = self.commit(round).await;
        let alone = matches!(
            result,
            Err(AppendError::TooManySeries { .. } | AppendError::TooLarge { .. }) if asked.len() > 1
        );
        for Planned { ask, reply, changed, outcome } in asked {
            let answer = match (&result, outcome) {
                (Err(_), _) if changed && alone => self.alone(&ask).await,
                (Err(error), _) if changed => Err(Refusal::Append(error.clone())),
                (_, Outcome::Done) => Ok(()),
                (_, Outcome::Refused(refusal)) => Err(refusal),
            };
            // Whoever has gone away doesn't hear of it.
            let _ = reply.send(answer);
        }
    }

    /// One ask as a round of its own.
    async fn alone(&mut self, ask: &Ask) -> Result<(), Refusal> {
        let mut round = Round::default();
        let outcome = self.plan(ask, &mut round);
        self.commit(round).await?;
        match outcome {
            Outcome::Done => Ok(()),
            Outcome::Refused(refusal) => Err(refusal),
        }
    }

    fn plan(&mut self, ask: &Ask, round: &mut Round) -> Outcome {
        match ask {
            Ask::Push(push) => self.plan_push(push, round),
            Ask::Delete(key) => {
                let (key, at) = (key.clone(), self.state.next_time(key, self.clock.now_ms()));
                if self.state.get(&key).is_some() {
                    self.make(Change::Deleted { key, at }, round);
                } else if self.doubtful.contains(&key) {
                    // Not here, but perhaps in the journal: that has to go before this is answered.
                    self.make(Change::Departed { key, at }, round);
                }
                Outcome::Done
            }
            Ask::Wipe | Ask::Turns | Ask::Options(_) | Ask::Read(_) => Outcome::Done,
        }
    }

    fn plan_push(&mut self, push: &Push, round: &mut Round) -> Outcome {
        let wall = self.clock.now_ms();
        let group = self.state.get(&push.key).cloned();
        let group = group.as_deref();
        if group.is_none() && self.state.len() >= self.options.max_groups {
            let limit = self.options.max_groups;
            return Outcome::Refused(Refusal::TooMany(format!(
                "there are {limit} groups already: the limit"
            )));
        }
        let key = push.key.clone();
        let at = self.state.next_time(&key, wall);
        let checked = push.families.as_ref().map_err(String::clone).and_then(|families| {
            consistency::check(&self.state, group, push.replace, families)
                .map(|()| families)
                .map_err(|error| error.to_string())
        });
        let families = match checked {
            Ok(families) => families,
            Err(reason) => {
                let id = self.state.id_of(&key);
                self.make(Change::Refused { id, key, at, wall, reason: reason.clone() }, round);
                round.counts.failures += 1;
                let text =
                    format!("pushed metrics are invalid or inconsistent with existing metrics: {reason}");
                return Outcome::Refused(Refusal::Malformed(text));
            }
        };
        if let Some(over) = limits::broken(&self.options, &self.state, group, push.replace, families) {
            return Outcome::Refused(Refusal::TooMany(over));
        }
        let ttl = match push.ttl {
            Some(ttl) => ttl.map(as_ms),
            // One that doesn't say leaves it as it is.
            None => group.map_or_else(|| self.options.ttl.map(as_ms), |group| group.ttl),
        };
        let id = self.state.id_of(&key);
        let families = families.clone();
        let pushed = Change::Pushed { id, key: key.clone(), replace: push.replace, at, wall, ttl, families };
        self.make(pushed, round);
        let Some(reason) = &push.left_out else { return Outcome::Done };
        // After the push time, so that `push_failure_time_seconds > push_time_seconds` holds: alerts compare them.
        let (at, wall) = (self.state.next_time(&key, wall), wall.saturating_add(1));
        self.make(Change::Refused { id, key, at, wall, reason: reason.clone() }, round);
        round.counts.failures += 1;
        Outcome::Refused(Refusal::Malformed(reason.clone()))
    }

    fn make(&mut self, change: Change, round: &mut Round) {
        if round.changes.is_empty() {
            // Before anything new the journal learns what is true of groups whose last commit failed.
            let corrections = self.doubtful.iter().filter_map(|key| self.state.snapshot_of(key));
            round.corrections = corrections.collect();
        }
        self.state.apply(&change, &mut round.undo, &mut round.sent);
        round.changes.push(change);
    }

    /// Groups whose turn it is, and those whose time is over.
    fn due(&mut self, round: &mut Round) {
        let (now, wall) = (self.clock.monotonic(), self.clock.now_ms());
        while let Some(id) = self.ends.pop(now) {
            let Some(group) = self.state.by_id(id).cloned() else { continue };
            let at = self.state.next_time(&group.key, wall);
            let key = group.key.clone();
            if group.expired.is_some() {
                self.make(Change::Deleted { key, at }, round);
                round.counts.forgotten += 1;
            } else {
                self.make(Change::Expired { key, at, wall }, round);
                round.counts.expirations += 1;
            }
        }
        let mut together: Vec<(i64, Vec<u64>)> = Vec::new();
        let mut points = 0;
        while points < TURN_POINTS
            && let Some(id) = self.turns.pop(now)
        {
            let Some(group) = self.state.by_id(id) else { continue };
            points += group.series() + 2;
            round.counts.emissions += 1;
            let at = self.state.next_time(&group.key, wall);
            match together.iter_mut().find(|(time, _)| *time == at) {
                Some((_, ids)) => ids.push(id),
                None => together.push((at, vec![id])),
            }
        }
        for (at, ids) in together {
            self.make(Change::Emitted { at, ids }, round);
        }
    }

    async fn commit(&mut self, mut round: Round) -> Result<(), AppendError> {
        if round.changes.is_empty() {
            return Ok(());
        }
        let touched: Vec<(Labels, Option<u64>)> =
            round.undo.touched().map(|(key, id)| (key.clone(), id)).collect();
        let corrections = std::mem::take(&mut round.corrections);
        let keys: Vec<Labels> = round.changes.iter().filter_map(Change::key).cloned().collect();
        let entry = entry::encode(&[corrections, round.changes].concat());
        let bytes = entry.len();
        let markers = round.sent.markers;
        let result = self.storage.append_with(round.sent.batch, &self.journal, entry).await;
        match &result {
            Ok(()) => {
                self.journal_bytes += bytes;
                self.doubtful.clear();
                self.stats.markers.add(markers);
                self.stats.push_failures.add(round.counts.failures);
                self.stats.emissions.add(round.counts.emissions);
                self.stats.expirations.add(round.counts.expirations);
                self.stats.forgotten.add(round.counts.forgotten);
            }
            Err(error) => {
                self.stats.emissions_failed.add(round.counts.emissions);
                tracing::debug!(%error, "a round of groups was not committed");
                self.state.undo(round.undo);
                self.doubtful.extend(keys);
            }
        }
        for (key, id) in touched {
            if let Some(id) = id.filter(|id| self.state.by_id(*id).is_none()) {
                self.turns.set(id, None);
                self.ends.set(id, None);
            }
            self.schedule(&key);
        }
        self.publish();
        result
    }

    /// Deletes all groups, in rounds of limited size.
    async fn wipe(&mut self) -> Result<(), Refusal> {
        loop {
            let mut round = Round::default();
            let keys: Vec<Labels> = self.state.groups().map(|group| group.key.clone()).collect();
            for key in keys {
                if round.sent.batch.heap_bytes() >= ROUND_BYTES {
                    break;
                }
                let at = self.state.next_time(&key, self.clock.now_ms());
                self.make(Change::Deleted { key, at }, &mut round);
            }
            if round.changes.is_empty() {
                return Ok(());
            }
            self.commit(round).await?;
        }
    }

    /// Brings the turns of a group in line with what it is now.
    fn schedule(&mut self, key: &Labels) {
        let (now, wall) = (self.clock.monotonic(), self.clock.now_ms());
        let Some(group) = self.state.get(key) else { return };
        if !self.turns.contains(group.id) {
            let turn = next_turn(key.as_ref().as_bytes(), self.options.interval, now);
            self.turns.set(group.id, Some(turn));
        }
        // Waited for in running time, of what is left by the wall clock, which may have stepped.
        let (end, most) = match (group.expired, group.expires) {
            (Some(expired), _) => {
                let forget = as_ms(self.options.ttl_forget);
                (Some(expired.saturating_add(forget)), forget)
            }
            (None, Some(expires)) => (Some(expires), group.ttl.unwrap_or(0)),
            (None, None) => (None, 0),
        };
        let end = end.map(|end| end.saturating_sub(wall).clamp(0, most.max(0)));
        self.ends.set(group.id, end.map(|left| now + Duration::from_millis(left.unsigned_abs())));
    }

    fn next_moment(&self) -> Option<Duration> {
        [self.turns.first(), self.ends.first()].into_iter().flatten().min()
    }

    fn publish(&self) {
        self.stats.groups.set(self.state.len() as u64);
        self.stats.group_series.set(self.state.series() as u64);
        self.stats.groups_failing.set(self.state.failing() as u64);
        self.stats.groups_expired.set(self.state.expired() as u64);
        self.stats.group_bytes.set(self.state.bytes() as u64);
    }

    async fn rewrite_journal(&mut self) {
        let mut entries = Vec::new();
        let mut changes = Vec::new();
        let mut bytes = 0;
        for change in self.state.snapshot() {
            bytes += if let Change::Snapshot(group) = &change { group.bytes() } else { 64 };
            changes.push(change);
            if bytes > SNAPSHOT_ENTRY_BYTES {
                entries.push(entry::encode(&std::mem::take(&mut changes)));
                bytes = 0;
            }
        }
        entries.push(entry::encode(&changes));
        let bytes: usize = entries.iter().map(Vec::len).sum();
        match self.storage.rewrite(&self.journal, entries).await {
            Ok(()) => {
                self.journal_bytes = bytes;
                self.journal_limit = journal_limit(bytes);
                self.stats.journal_rewrites.add(1);
            }
            Err(error) => {
                // Tried again when it has grown as much once more; after each round while it never succeeded.
                let never = self.stats.journal_rewrites.get() == 0;
                self.journal_limit = if never { 0 } else { self.journal_bytes.saturating_mul(2) };
                tracing::warn!(%error, "the journal of groups could not be rewritten");
            }
        }
    }
}

/// How large the journal may grow where a snapshot takes `bytes`.
fn journal_limit(bytes: usize) -> usize {
    bytes.saturating_mul(3).saturating_add(JOURNAL_SLACK_BYTES)
}

fn as_ms(duration: Duration) -> i64 {
    i64::try_from(duration.as_millis()).unwrap_or(i64::MAX)
}

async fn sleep_until(moment: Option<Duration>, now: Duration) {
    match moment {
        Some(moment) => tokio::time::sleep(moment.saturating_sub(now).max(TURN_STEP)).await,
        None => std::future::pending().await,
    }
}
