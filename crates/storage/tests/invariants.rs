//! A release build refuses an inconsistent batch, counts it, and continues.

#![allow(clippy::unwrap_used, reason = "a panic is how a test reports")]

mod common;

use common::{drain, floats, open, options};
use model::{Batch, Point, Value};
use storage::AppendError;

/// A batch with a valid series and a point of a series that is not in the batch.
fn without_series() -> Batch {
    let mut batch = floats(7..8, 1, 1.0);
    batch.push_float(1, 2, 2.0);
    batch
}

/// A batch with a point whose value is missing.
fn without_value(value: Value) -> Batch {
    let mut batch = floats(8..9, 1, 1.0);
    batch.points.push(Point { series: 0, timestamp: 2, start_timestamp: 0, value });
    batch
}

#[tokio::test]
async fn an_inconsistent_batch_is_refused_and_counted() {
    model::invariant::count_only();
    let folder = tempfile::tempdir().unwrap();
    let storage = open(options(folder.path()));
    let from = storage.end();
    storage.append(floats(0..2, 1, 1.0)).await.unwrap();
    let broken = [without_series(), without_value(Value::Histogram(0)), without_value(Value::Exemplar(0))];
    for (number, batch) in (1..).zip(broken) {
        let error = storage.append(batch).await.unwrap_err();
        assert!(
            matches!(&error, AppendError::Failed(why) if why.contains("a mistake in narthex")),
            "{error}"
        );
        assert_eq!(model::invariant::broken(), number);
    }
    // A regression test: the sample without a series was once stored as one of the first series.
    storage.append(floats(0..1, 3, 3.0)).await.unwrap();
    let read_back: Vec<_> =
        drain(&storage, &mut storage.follow(from)).await.into_iter().map(|seen| (seen.1, seen.2)).collect();
    let series = |number: u32| format!("m{{n=\"{number}\"}}");
    let acknowledged = [(series(0), 1), (series(1), 1), (series(0), 3)];
    let of_acknowledged = read_back.iter().filter(|(name, _)| *name == series(0) || *name == series(1));
    assert_eq!(of_acknowledged.cloned().collect::<Vec<_>>(), acknowledged);
    assert!(!read_back.iter().any(|(_, time)| *time == 2), "{read_back:?}");
    assert_eq!(storage.stats().samples.get(), 3);
}
