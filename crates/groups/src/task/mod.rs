//! The groups' task, the only one that changes groups. It plans the waiting requests (`plan`), commits the samples and
//! the journal entry of all of them together, and then answers. So the order of the log is the order of the answers,
//! and a reader of the groups sees only durable changes.
//!
//! A round has all waiting requests, up to a size, and the groups that are due: one append, one sync. If the append
//! fails, the changes of the round are undone in the state, and the log undoes them in the journal. If the batch itself
//! was the reason, each request is tried alone, so that one push that is too large does not make the others fail.

mod journal;
mod plan;
mod timing;

use self::journal::journal_limit;
use self::plan::{Outcome, Round};
use super::ask::{Ask, Asked};
use super::change::Change;
use super::entry;
use super::schedule::Turns;
use super::state::State;
use crate::Options;
use crate::Refusal;
use crate::Stats;
use intake::Input;
use model::{Clock, Labels};
use std::sync::Arc;
use storage::{AppendError, Journal};
use tokio::sync::{mpsc, oneshot};

/// The maximum of requests that wait for the next round. Each request waits for its answer, and the number of requests
/// is limited elsewhere, so this limits only the queue itself.
pub const QUEUE: usize = 256;
/// A round is closed once its batch has this many bytes.
const ROUND_BYTES: usize = 4 << 20;
/// The maximum of tombstones of deleted groups.
pub const TOMBSTONES_MAX: usize = 10_000;

/// The state of the groups' task.
pub struct GroupsTask {
    state: State,
    input: Input,
    journal: Journal,
    clock: Arc<dyn Clock>,
    options: Options,
    stats: Arc<Stats>,
    /// The time at which each group is sent next.
    turns: Turns,
    /// The time at which each group expires or, if it has expired, is removed.
    ends: Turns,
    /// The number of bytes added to the journal since it was rewritten.
    journal_bytes: usize,
    /// The last commit failed.
    has_failed: bool,
    /// The journal is rewritten once it has grown by more than this number of bytes.
    journal_limit: usize,
}

/// A request that is answered after the commit of its round.
struct Planned {
    ask: Ask,
    reply: oneshot::Sender<Result<(), Refusal>>,
    /// The request changes something, so its answer depends on the commit.
    changed: bool,
    outcome: Outcome,
}

impl GroupsTask {
    /// Restores the groups from `entries`, the content of the journal.
    pub fn new(
        input: Input,
        journal: Journal,
        entries: Vec<Vec<u8>>,
        clock: Arc<dyn Clock>,
        options: Options,
        stats: Arc<Stats>,
    ) -> Self {
        let mut state = State::new(TOMBSTONES_MAX);
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
        let mut task = GroupsTask {
            journal_limit: journal_limit(state.bytes()),
            state,
            input,
            journal,
            clock,
            options,
            stats,
            turns: Turns::default(),
            ends: Turns::default(),
            journal_bytes,
            has_failed: false,
        };
        let keys: Vec<Labels> = task.state.groups().map(|group| group.key.clone()).collect();
        keys.iter().for_each(|key| task.schedule(key));
        task.publish();
        task
    }

    /// Runs until all senders of requests are dropped.
    pub async fn run(mut self, mut asks: mpsc::Receiver<Asked>) {
        loop {
            let mut waiting = Vec::new();
            tokio::select! {
                biased;
                asked = asks.recv() => match asked {
                    Some(asked) => waiting.push(asked),
                    None => return,
                },
                () = timing::sleep_until(self.next_moment(), self.clock.monotonic()) => {}
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

    /// Plans and commits as many of the waiting requests as fit into one round.
    async fn round(&mut self, waiting: &mut std::iter::Peekable<std::vec::IntoIter<Asked>>) {
        let mut round = Round::default();
        self.due(&mut round);
        let mut asked = Vec::new();
        while let Some(next) = waiting.next_if(|_| round.sent.batch.heap_bytes() < ROUND_BYTES) {
            match next.ask {
                Ask::Read(read) => {
                    // The reader must not see changes of this round before they are durable.
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
                    // The effect of an earlier request of this round is certain only after the commit.
                    let changed = round.changes.len() > before || matches!(outcome, Outcome::Repeated);
                    asked.push(Planned { ask, reply: next.reply, changed, outcome });
                }
            }
        }
        self.finish(round, asked).await;
    }

    /// Commits a round and answers its requests.
    async fn finish(&mut self, mut round: Round, asked: Vec<Planned>) {
        // Samples that are only sent again are known to the receivers, so they can wait.
        round.sent.batch.can_wait = asked.iter().all(|planned| !planned.changed);
        let result = self.commit(round).await;
        let alone = matches!(
            result,
            Err(AppendError::TooManySeries { .. } | AppendError::TooLarge { .. }) if asked.len() > 1
        );
        for Planned { ask, reply, changed, outcome } in asked {
            let answer = match (&result, outcome) {
                (Err(_), _) if changed && alone => self.alone(&ask).await,
                (Err(error), _) if changed => Err(error.clone().into()),
                (_, Outcome::Done | Outcome::Repeated) => Ok(()),
                (_, Outcome::Refused(refusal)) => Err(refusal),
            };
            // A client that has disconnected gets no answer.
            let _ = reply.send(answer);
        }
    }

    /// Commits one request as a round of its own.
    async fn alone(&mut self, ask: &Ask) -> Result<(), Refusal> {
        let mut round = Round::default();
        let outcome = self.plan(ask, &mut round);
        self.commit(round).await?;
        match outcome {
            Outcome::Done | Outcome::Repeated => Ok(()),
            Outcome::Refused(refusal) => Err(refusal),
        }
    }

    async fn commit(&mut self, round: Round) -> Result<(), AppendError> {
        if round.changes.is_empty() {
            return Ok(());
        }
        let touched: Vec<(Labels, Option<u64>)> =
            round.undo.touched().map(|(key, id)| (key.clone(), id)).collect();
        let entry = entry::encode(&round.changes);
        let bytes = entry.len();
        let markers = round.sent.markers;
        let result = self.input.append_kept(round.sent.batch, &self.journal, entry).await;
        self.has_failed = result.is_err();
        match &result {
            Ok(()) => {
                self.journal_bytes += bytes;
                self.stats.markers.add(markers);
                self.stats.push_failures.add(round.counts.failures);
                self.stats.emissions.add(round.counts.emissions);
                self.stats.expirations.add(round.counts.expirations);
                self.stats.removed.add(round.counts.removed);
            }
            Err(error) => {
                self.stats.emissions_failed.add(round.counts.emissions);
                tracing::debug!(%error, "a round of groups was not committed");
                self.state.undo(round.undo);
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

    fn publish(&self) {
        self.stats.groups.set(self.state.len() as u64);
        self.stats.group_series.set(self.state.series() as u64);
        self.stats.groups_failing.set(self.state.failing() as u64);
        self.stats.groups_expired.set(self.state.expired() as u64);
        self.stats.group_bytes.set(self.state.bytes() as u64);
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
}
