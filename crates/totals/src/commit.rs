//! Changes of requests that are answered: durable before the answer, or undone.
//!
//! The requests that wait for the disk become one round: their changes are applied one after the other, and committed
//! together. So a round costs one sync, however many requests it has.

use crate::accumulators::{Accumulators, File};
use crate::table::{Now, Totals};
use std::fmt;
use std::sync::{Arc, Mutex, PoisonError};
use storage::AppendError;
use tokio::sync::oneshot;

type Change = Box<dyn FnMut(&mut Totals, Now) + Send>;

/// A request whose changes wait for the next round. As many wait as there are requests, whose number the intake bounds.
pub(crate) struct Waiting {
    change: Change,
    answer: oneshot::Sender<Result<(), AppendError>>,
}

impl fmt::Debug for Waiting {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Waiting").finish_non_exhaustive()
    }
}

impl Accumulators {
    /// Makes changes, and returns what `change` returned once they are durable and their samples are in the log. If the
    /// commit fails all of it is undone, so that the request may be sent again: values, marks, new series, and the
    /// requests that were noted as applied.
    ///
    /// `change` is called again where several requests together were more than the log accepts at once. Totals that are
    /// changed here must not be changed in another way, since undoing puts back whole values.
    pub async fn commit<T: Send + 'static>(
        self: &Arc<Self>,
        mut change: impl FnMut(&mut Totals, Now) -> T + Send + 'static,
    ) -> Result<T, AppendError> {
        let outcome = Arc::new(Mutex::new(None));
        let (answer, answered) = oneshot::channel();
        let change: Change = Box::new({
            let outcome = outcome.clone();
            move |totals, now| {
                let changed = change(totals, now);
                *outcome.lock().unwrap_or_else(PoisonError::into_inner) = Some(changed);
            }
        });
        self.waiting.lock().unwrap_or_else(PoisonError::into_inner).push(Waiting { change, answer });
        // A task of its own: a client that closes its connection does not end the commit that others wait for.
        let this = self.clone();
        tokio::spawn(async move { this.round().await });
        answered.await.unwrap_or(Err(AppendError::Closed))?;
        let outcome = outcome.lock().unwrap_or_else(PoisonError::into_inner).take();
        outcome.ok_or(AppendError::Closed)
    }

    /// Commits the changes of all requests that wait, and answers them.
    async fn round(&self) {
        let mut file = self.file.lock().await;
        let mut waiting = std::mem::take(&mut *self.waiting.lock().unwrap_or_else(PoisonError::into_inner));
        if waiting.is_empty() {
            // They were part of another task's round.
            return;
        }
        let result = self.commit_all(&mut file, &mut waiting).await;
        let is_too_large =
            matches!(result, Err(AppendError::TooManySeries { .. } | AppendError::TooLarge { .. }));
        let alone = is_too_large && waiting.len() > 1;
        for mut one in waiting {
            let result = match alone {
                true => self.commit_all(&mut file, std::slice::from_mut(&mut one)).await,
                false => result.clone(),
            };
            // A client that has gone away gets no answer.
            let _ = one.answer.send(result);
        }
        self.rewrite_if_long(&mut file).await;
    }

    async fn commit_all(&self, file: &mut File, waiting: &mut [Waiting]) -> Result<(), AppendError> {
        let (now, begin) = (self.now(), self.begin());
        let flush = {
            let mut totals = self.totals();
            totals.begin_changes();
            waiting.iter_mut().for_each(|one| (one.change)(&mut totals, now));
            totals.flush_changes(now, begin)
        };
        let result = match flush {
            Some(flush) => self.append(file, flush).await,
            None => Ok(()),
        };
        match &result {
            Ok(()) => self.totals().end_changes(),
            Err(_) => self.totals().undo_changes(),
        }
        result
    }
}
