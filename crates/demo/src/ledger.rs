//! Counts losses by double entry. One side has the samples that the log acknowledged, the other one the
//! samples that arrived at the sink, for each series. So the page's "lost 0" is a measurement.
//!
//! A queue delivers each series in order and may repeat samples. So a sample has arrived once a point of its
//! series with its timestamp arrives. It is lost if a newer point of its series arrives first. Until then it
//! is in flight. On both sides only points count that are newer than all earlier ones of their series.
//!
//! Memory is limited by [`UNDER_WAY_MAX`] samples. Beyond that the ledger reports that it has stopped
//! counting, which is not a report that nothing was lost.

use model::{Batch, Value};
use std::collections::{HashMap, VecDeque};
use std::sync::{Mutex, MutexGuard, PoisonError};

/// The most samples in flight. Each takes 8 bytes, or twice that in the worst case.
pub const UNDER_WAY_MAX: u64 = 8_000_000;
pub const SERIES_MAX: usize = 200_000;

#[derive(Debug, Default, Clone, Copy, PartialEq, Eq, serde::Serialize)]
pub struct Balance {
    /// Samples that the log acknowledged.
    pub acknowledged: u64,
    /// Acknowledged samples that arrived.
    pub arrived: u64,
    /// Acknowledged samples that have not arrived yet.
    pub under_way: u64,
    /// Acknowledged samples that did not arrive before a newer one of the same series.
    pub lost: u64,
    /// Samples that arrived again.
    pub repeated: u64,
    /// True if the ledger has reached a limit. The other numbers don't change any more.
    pub stopped: bool,
}

#[derive(Debug, Default)]
struct Account {
    /// Timestamps that were acknowledged and have not arrived.
    under_way: VecDeque<i64>,
    /// Timestamps that arrived before the ledger saw their acknowledgement: the log hands a batch to the
    /// queue and to the ledger in no fixed order.
    early: VecDeque<i64>,
    newest_acknowledged: Option<i64>,
    newest_arrived: Option<i64>,
}

#[derive(Debug, Default)]
struct Book {
    accounts: HashMap<Box<[u8]>, Account>,
    balance: Balance,
    early: u64,
}

/// The ledger. Both sides write to it.
#[derive(Debug, Default)]
pub struct Ledger(Mutex<Book>);

impl Ledger {
    /// Enters acknowledged samples.
    pub fn acknowledged(&self, batch: &Batch, first_point: u32) {
        let mut book = self.book();
        for point in batch.points.iter().skip(first_point as usize) {
            if !matches!(point.value, Value::Exemplar(_)) {
                book.acknowledged(batch.labels(point.series).as_bytes(), point.timestamp);
            }
        }
    }

    /// Enters samples that arrived.
    pub fn arrived(&self, batch: &Batch) {
        let mut book = self.book();
        for point in &batch.points {
            if !matches!(point.value, Value::Exemplar(_)) {
                book.arrived(batch.labels(point.series).as_bytes(), point.timestamp);
            }
        }
    }

    pub fn balance(&self) -> Balance {
        self.book().balance
    }

    fn book(&self) -> MutexGuard<'_, Book> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Book {
    /// Makes sure that there is an account for these labels, or stops counting.
    fn open(&mut self, labels: &[u8]) {
        let known = self.accounts.contains_key(labels);
        let full = self.balance.under_way + self.early >= UNDER_WAY_MAX;
        if full || (!known && self.accounts.len() >= SERIES_MAX) {
            self.balance.stopped = true;
        } else if !known {
            self.accounts.insert(labels.into(), Account::default());
        }
    }

    fn acknowledged(&mut self, labels: &[u8], timestamp: i64) {
        self.open(labels);
        let Book { accounts, balance, early } = self;
        let Some(account) = accounts.get_mut(labels).filter(|_| !balance.stopped) else { return };
        if account.newest_acknowledged.is_some_and(|newest| timestamp <= newest) {
            return;
        }
        account.newest_acknowledged = Some(timestamp);
        // Samples that arrived without an acknowledgement were sent from the log of an earlier run.
        while account.early.front().is_some_and(|first| *first < timestamp) {
            account.early.pop_front();
            *early -= 1;
        }
        match account.early.front() {
            Some(first) if *first == timestamp => {
                account.early.pop_front();
                *early -= 1;
                balance.acknowledged += 1;
                balance.arrived += 1;
            }
            // The early sample is newer, so this one is lost.
            Some(_) => {
                balance.acknowledged += 1;
                balance.lost += 1;
            }
            None => {
                account.under_way.push_back(timestamp);
                balance.acknowledged += 1;
                balance.under_way += 1;
            }
        }
    }

    fn arrived(&mut self, labels: &[u8], timestamp: i64) {
        self.open(labels);
        let Book { accounts, balance, early } = self;
        let Some(account) = accounts.get_mut(labels).filter(|_| !balance.stopped) else { return };
        if account.newest_arrived.is_some_and(|newest| timestamp <= newest) {
            balance.repeated += 1;
            return;
        }
        account.newest_arrived = Some(timestamp);
        let mut passed = 0;
        let mut found = false;
        while let Some(first) = account.under_way.front().copied().filter(|first| *first <= timestamp) {
            account.under_way.pop_front();
            if first == timestamp {
                found = true;
            } else {
                passed += 1;
            }
        }
        if !found && account.newest_acknowledged.is_none_or(|newest| newest < timestamp) {
            account.early.push_back(timestamp);
            *early += 1;
        }
        balance.under_way -= passed + u64::from(found);
        balance.lost += passed;
        balance.arrived += u64::from(found);
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, reason = "helpers of tests")]
    use super::*;
    use model::{Labels, Series};
    use proptest::prelude::*;

    fn batch(name: &str, timestamps: &[i64]) -> Batch {
        let mut batch = Batch::new();
        let labels = Labels::from_pairs([("__name__", name)]);
        let series = batch.add_series(labels.as_ref(), Series::NO_METADATA);
        for timestamp in timestamps {
            batch.push_float(series, *timestamp, 1.0);
        }
        batch
    }

    #[test]
    fn acknowledged_samples_that_have_not_arrived_are_in_flight() {
        let ledger = Ledger::default();
        ledger.acknowledged(&batch("a", &[1, 2, 3]), 0);
        ledger.arrived(&batch("a", &[1]));
        let balance = ledger.balance();
        assert_eq!((balance.acknowledged, balance.arrived, balance.under_way, balance.lost), (3, 1, 2, 0));
    }

    #[test]
    fn a_sample_is_lost_if_a_newer_one_arrives_first() {
        let ledger = Ledger::default();
        ledger.acknowledged(&batch("a", &[1, 2, 3]), 0);
        ledger.arrived(&batch("a", &[1, 3]));
        let balance = ledger.balance();
        assert_eq!((balance.arrived, balance.under_way, balance.lost), (2, 0, 1));
    }

    #[test]
    fn a_lost_sample_counts_whichever_side_is_seen_first() {
        let ledger = Ledger::default();
        ledger.arrived(&batch("a", &[1, 3]));
        ledger.acknowledged(&batch("a", &[1, 2, 3]), 0);
        let balance = ledger.balance();
        assert_eq!((balance.acknowledged, balance.arrived, balance.under_way, balance.lost), (3, 2, 0, 1));
    }

    #[test]
    fn repeated_samples_are_not_counted_as_arrived() {
        let ledger = Ledger::default();
        ledger.acknowledged(&batch("a", &[1, 2, 3]), 0);
        ledger.arrived(&batch("a", &[1, 2]));
        ledger.arrived(&batch("a", &[1, 2, 3]));
        let balance = ledger.balance();
        assert_eq!((balance.arrived, balance.repeated, balance.under_way, balance.lost), (3, 2, 0, 0));
    }

    #[test]
    fn points_before_the_first_requested_one_are_left_out() {
        let ledger = Ledger::default();
        ledger.acknowledged(&batch("a", &[1, 2, 3]), 2);
        assert_eq!(ledger.balance().acknowledged, 1);
    }

    proptest! {
        /// Every interleaving of the two sides, with repeated and dropped samples, is counted correctly.
        #[test]
        fn the_balance_is_exact(
            dropped in prop::collection::btree_set(0i64..50, 0..5),
            order in prop::collection::vec(any::<bool>(), 120),
            repeat_every in 2usize..20,
        ) {
            let ledger = Ledger::default();
            // The last sample always arrives, so that dropped samples before it are noticed.
            let sent: Vec<i64> = (0..=50).collect();
            let mut delivered = Vec::new();
            for (index, timestamp) in sent.iter().filter(|t| !dropped.contains(t)).enumerate() {
                delivered.push(*timestamp);
                if index % repeat_every == 0 {
                    delivered.push(*timestamp);
                }
            }
            let (mut left, mut right) = (sent.iter(), delivered.iter());
            for side in order.into_iter().cycle() {
                let next = if side { left.next() } else { right.next() };
                let Some(timestamp) = next else {
                    for timestamp in left { ledger.acknowledged(&batch("a", &[*timestamp]), 0); }
                    for timestamp in right { ledger.arrived(&batch("a", &[*timestamp])); }
                    break;
                };
                let batch = batch("a", &[*timestamp]);
                if side { ledger.acknowledged(&batch, 0) } else { ledger.arrived(&batch) }
            }
            let balance = ledger.balance();
            prop_assert_eq!(balance.acknowledged, 51);
            prop_assert_eq!(balance.lost, dropped.len() as u64);
            prop_assert_eq!(balance.arrived, 51 - dropped.len() as u64);
            prop_assert_eq!(balance.under_way, 0);
        }
    }
}
