//! The handle of the groups: opens them, and passes requests to their task.

use crate::ask::{Ask, Asked, Push};
use crate::exposition::exposition;
use crate::group::Group;
use crate::state::State;
use crate::status::status_of;
use crate::task::{GroupsTask, QUEUE};
use crate::{Escaping, GroupStatus, Options, Refusal, Stats};
use intake::Input;
use model::{Clock, Labels};
use std::sync::Arc;
use storage::OpenError;
use tokio::sync::{mpsc, oneshot};

/// The folder of the journal in the data folder.
const JOURNAL: &str = "groups";

/// The handle. All clones refer to the same groups; their task ends when the last clone is dropped.
#[derive(Debug, Clone)]
pub struct Groups {
    asks: mpsc::Sender<Asked>,
    stats: Arc<Stats>,
}

impl Groups {
    /// Reads the groups from their journal and starts their task. Call it once for a log, within a tokio runtime. The
    /// samples of the groups are sent through `input`.
    pub async fn open(input: Input, clock: Arc<dyn Clock>, options: Options) -> Result<Groups, OpenError> {
        let stats = Arc::new(Stats::default());
        let (journal, entries) = input.intake().storage().journal(JOURNAL).await?;
        let task = GroupsTask::new(input, journal, entries, clock, options, stats.clone());
        let (asks, queue) = mpsc::channel(QUEUE);
        tokio::spawn(task.run(queue));
        Ok(Groups { asks, stats })
    }

    pub fn stats(&self) -> &Stats {
        &self.stats
    }

    /// Returns true while the groups' task runs. Without it no group can be pushed.
    pub fn is_alive(&self) -> bool {
        !self.asks.is_closed()
    }

    /// Resolves after the task has ended. While there is a handle, only a panic ends it. It can't be restarted, because
    /// the journal belongs to it.
    pub async fn ended(&self) {
        self.asks.closed().await;
    }

    /// Makes the task panic, for tests.
    #[cfg(debug_assertions)]
    #[doc(hidden)]
    pub async fn panic(&self) {
        let panic = Ask::Read(Box::new(|_| panic!("a test asked the groups' task to panic")));
        let _ = self.ask(panic).await;
    }

    /// Checks that the task is alive: returns true after it has answered, and false if it has ended.
    pub async fn answer(&self) -> bool {
        !matches!(self.ask(Ask::Read(Box::new(|_| {}))).await, Err(Refusal::Stopping))
    }

    pub async fn push(&self, push: Push) -> Result<(), Refusal> {
        self.ask(Ask::Push(push)).await
    }

    /// Deletes the group with these labels if it exists.
    pub async fn delete(&self, key: Labels) -> Result<(), Refusal> {
        self.ask(Ask::Delete(key)).await
    }

    pub async fn wipe(&self) -> Result<(), Refusal> {
        self.ask(Ask::Wipe).await
    }

    /// Applies new settings. A new interval applies to a group after its next emission.
    pub async fn set_options(&self, options: Options) -> Result<(), Refusal> {
        self.ask(Ask::Options(Box::new(options))).await
    }

    /// Sends the groups that are due, and expires or removes those whose time is over. The task does this on its own by
    /// the runtime's timer; this function is for tests with a clock of their own.
    pub async fn take_turns(&self) -> Result<(), Refusal> {
        self.ask(Ask::Turns).await
    }

    /// All groups in their committed state.
    pub async fn all(&self) -> Result<Vec<Arc<Group>>, Refusal> {
        self.read(|state| state.groups().cloned().collect()).await
    }

    /// The status of all groups for the page, sorted by their labels.
    pub async fn status(&self) -> Result<Vec<GroupStatus>, Refusal> {
        let read = self.read(|state| {
            let groups: Vec<Arc<Group>> = state.groups().cloned().collect();
            (groups, state.mixed_types().clone())
        });
        let (groups, mixed) = read.await?;
        Ok(groups.iter().map(|group| status_of(group, &mixed)).collect())
    }

    /// All groups as a page to scrape, as the Pushgateway writes it.
    pub async fn exposition(&self, escaping: Escaping) -> Result<String, Refusal> {
        Ok(exposition(&self.all().await?, escaping))
    }

    async fn read<T: Send + 'static>(
        &self,
        read: impl FnOnce(&State) -> T + Send + Sync + 'static,
    ) -> Result<T, Refusal> {
        let (send, receive) = oneshot::channel();
        let read = Ask::Read(Box::new(move |state| drop(send.send(read(state)))));
        self.ask(read).await?;
        receive.await.map_err(|_| Refusal::Stopping)
    }

    async fn ask(&self, ask: Ask) -> Result<(), Refusal> {
        let (reply, answer) = oneshot::channel();
        self.asks.send(Asked { ask, reply }).await.map_err(|_| Refusal::Stopping)?;
        answer.await.map_err(|_| Refusal::Stopping)?
    }
}
