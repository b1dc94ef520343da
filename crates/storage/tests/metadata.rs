//! Types and help texts are known only once they are on disk.

#![allow(clippy::unwrap_used, clippy::expect_used)] // Tests and their helpers.

mod common;

use common::{floats, open_on, options};
use model::{Batch, Metadata, MetricType};
use std::path::Path;
use std::sync::Arc;
use storage::{Options, Storage};
use wal::sim::{Op, SimFilesystem};

fn small() -> Options {
    Options { max_size: 8 << 20, reserve_bytes: 4096, ..options(Path::new("/data")) }
}

/// A sample with the metadata of its metric.
fn explained(help: &str) -> Batch {
    let mut batch = floats(0..1, 0, 0.0);
    let unit = String::new();
    batch.metadata.push(Metadata { family: "m".into(), kind: MetricType::Gauge, help: help.into(), unit });
    batch
}

fn help(storage: &Storage) -> Option<String> {
    storage.metadata(b"m").map(|known| known.help.clone())
}

#[tokio::test]
async fn metadata_of_a_refused_push_is_learnt_from_its_retry() {
    // The first sync and the first write are those of the journal.
    let failed_sync = (Op::Sync, 1);
    let failures = [
        ("a sync", vec![failed_sync], 1),
        ("a write", vec![(Op::Write, 1)], 1),
        ("a write that can't be cut back", vec![(Op::Write, 1), (Op::SetLen, 1)], 1),
        ("a sync, and the next segment, twice", vec![failed_sync, (Op::Create, 2)], 2),
    ];
    for (what, failures, refusals) in failures {
        for known in [None, Some("old")] {
            let fs = SimFilesystem::new(1);
            let storage = open_on(Arc::new(fs.clone()), small());
            storage.append(known.map_or_else(|| floats(0..1, 0, 0.0), explained)).await.unwrap();
            failures.iter().for_each(|(op, times)| fs.fail(*op, 0, *times));
            for _ in 0..refusals {
                assert!(storage.append(explained("new")).await.is_err(), "{what}");
                assert_eq!(help(&storage).as_deref(), known, "{what}");
            }
            storage.append(explained("new")).await.unwrap();
            assert_eq!(help(&storage).as_deref(), Some("new"), "{what}");
            drop(storage);
            fs.power_cut();
            let storage = open_on(Arc::new(fs.clone()), small());
            assert_eq!(help(&storage).as_deref(), Some("new"), "{what}, after a start");
        }
    }
}

/// The journal has the metadata, so it is known even if the samples are refused.
#[tokio::test]
async fn metadata_in_the_journal_is_known_although_the_push_failed() {
    let fs = SimFilesystem::new(1);
    let storage = open_on(Arc::new(fs.clone()), small());
    storage.append(floats(0..1, 0, 0.0)).await.unwrap();
    fs.fail(Op::Sync, 1, 1);
    assert!(storage.append(explained("new")).await.is_err());
    assert_eq!(help(&storage).as_deref(), Some("new"));
    drop(storage);
    fs.power_cut();
    let storage = open_on(Arc::new(fs.clone()), small());
    assert_eq!(help(&storage).as_deref(), Some("new"));
}
