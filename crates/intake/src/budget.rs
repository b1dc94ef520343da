//! The memory that all requests may use together.
//!
//! A request holds memory first for the received part of its body, then for its decompressed and decoded form, and then
//! for its batch until the commit. If not enough memory is free, the request waits for a limited time.

use crate::refusal::Refusal;
use std::sync::Arc;
use std::time::Duration;
use tokio::sync::{OwnedSemaphorePermit, Semaphore};

const UNIT: usize = 4096;

/// A number of bytes that requests share. Clones are the same budget.
#[derive(Debug, Clone)]
pub struct Budget {
    units: Arc<Semaphore>,
    total: usize,
    wait: Duration,
}

impl Budget {
    /// A budget of `bytes`. A request waits at most `wait` for memory.
    pub fn new(bytes: usize, wait: Duration) -> Self {
        let units = (bytes / UNIT).clamp(1, u32::MAX as usize >> 4);
        Budget { units: Arc::new(Semaphore::new(units)), total: units * UNIT, wait }
    }

    /// A share of 0 bytes.
    pub fn share(&self) -> Share {
        Share { budget: self.clone(), bytes: 0, held: None }
    }

    /// The number of free bytes.
    pub fn free(&self) -> usize {
        self.units.available_permits() * UNIT
    }
}

/// The memory of one request. It is released when this is dropped.
#[derive(Debug)]
pub struct Share {
    budget: Budget,
    bytes: usize,
    held: Option<OwnedSemaphorePermit>,
}

impl Share {
    /// Makes the share at least `bytes` large.
    pub async fn grow(&mut self, bytes: usize) -> Result<(), Refusal> {
        let (has, needed) = (self.bytes.div_ceil(UNIT), bytes.div_ceil(UNIT));
        if bytes > self.budget.total {
            return Err(Refusal::NeedsTooMuch { bytes, limit: self.budget.total });
        }
        if needed > has {
            let more = u32::try_from(needed - has).map_err(|_| Refusal::Busy(NO_MEMORY))?;
            let permit = match self.budget.units.clone().try_acquire_many_owned(more) {
                Ok(permit) => permit,
                Err(_) => {
                    let acquire = self.budget.units.clone().acquire_many_owned(more);
                    match tokio::time::timeout(self.budget.wait, acquire).await {
                        Ok(Ok(permit)) => permit,
                        Ok(Err(_)) | Err(_) => return Err(Refusal::Busy(NO_MEMORY)),
                    }
                }
            };
            match &mut self.held {
                Some(held) => held.merge(permit),
                None => self.held = Some(permit),
            }
        }
        self.bytes = self.bytes.max(bytes);
        Ok(())
    }

    pub async fn resize(&mut self, bytes: usize) -> Result<(), Refusal> {
        self.grow(bytes).await?;
        self.shrink(bytes);
        Ok(())
    }

    /// Releases all but `bytes`.
    fn shrink(&mut self, bytes: usize) {
        let (has, keep) = (self.bytes.div_ceil(UNIT), bytes.div_ceil(UNIT));
        if keep < has
            && let Some(held) = &mut self.held
        {
            drop(held.split(has - keep));
            self.bytes = bytes;
        }
    }

    /// The size in bytes.
    pub fn bytes(&self) -> usize {
        self.bytes
    }
}

const NO_MEMORY: &str = "too many and too large requests at once: no memory is left for this one";

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn a_share_grows_shrinks_and_is_released() {
        let budget = Budget::new(10 * UNIT, Duration::ZERO);
        let mut share = budget.share();
        share.grow(1).await.unwrap();
        assert_eq!(budget.free(), 9 * UNIT);
        share.grow(UNIT).await.unwrap();
        assert_eq!(budget.free(), 9 * UNIT);
        share.grow(10 * UNIT).await.unwrap();
        assert_eq!(budget.free(), 0);
        assert!(matches!(budget.share().grow(1).await, Err(Refusal::Busy(_))));
        share.shrink(2 * UNIT);
        assert_eq!((budget.free(), share.bytes()), (8 * UNIT, 2 * UNIT));
        drop(share);
        assert_eq!(budget.free(), 10 * UNIT);
        let refused = budget.share().grow(11 * UNIT).await.unwrap_err();
        assert_eq!(refused.retry_after(), None, "waiting would not help");
    }

    #[tokio::test]
    async fn a_request_waits_until_another_releases_memory() {
        let budget = Budget::new(4 * UNIT, Duration::from_secs(30));
        let mut first = budget.share();
        first.grow(4 * UNIT).await.unwrap();
        let other = budget.clone();
        let waits = tokio::spawn(async move { other.share().grow(UNIT).await });
        tokio::task::yield_now().await;
        assert!(!waits.is_finished());
        drop(first);
        assert_eq!(waits.await.unwrap(), Ok(()));
    }
}
