//! Stages of totals: lines of StatsD that change them, and the flush of what changed.

use super::{PER_REQUEST, Work};
use crate::Result;
use model::Labels;
use statsd::{Aggregator, Counters, Options};
use std::hint::black_box;
use std::sync::Arc;
use std::time::Duration;
use totals::{Begin, Handle, Kind, Limits, NewSeries, Now, Totals};

const NOW: Now = Now { wall_ms: 1_800_000_000_000, monotonic: Duration::from_secs(1) };

fn limits() -> Limits {
    Limits { series: usize::MAX, series_per_name: usize::MAX, bytes: usize::MAX }
}

/// Lines of known series, one for each, as they come in a datagram.
pub(super) fn lines(value_and_type: &str) -> Result<Work> {
    let text: String = (0..PER_REQUEST)
        .map(|series| format!("checkout.requests:{value_and_type}|#page:{series},region:eu-west-1\n"))
        .collect();
    let (mut aggregator, mut totals) = (Aggregator::default(), Totals::new(limits()));
    let counters = Counters::default();
    let mut apply = move || {
        let counts = counters.counts(&|_| {});
        aggregator.apply(black_box(text.as_bytes()), &mut totals, NOW, &counts);
        counters.rejected.get()
    };
    match apply() {
        0 => Ok(Box::new(move || {
            black_box(apply());
        })),
        rejected => Err(format!("{rejected} lines were rejected").into()),
    }
}

/// Changes each total once, and makes the samples and the journal's entry of it.
pub(super) fn flush(kind: &Kind) -> Result<Work> {
    let mut totals = Totals::new(limits());
    let mut handles: Vec<Handle> = Vec::new();
    for series in 0..PER_REQUEST {
        let series = series.to_string();
        let labels = Labels::from_pairs([
            ("__name__", "checkout_requests"),
            ("page", &series),
            ("region", "eu-west-1"),
        ]);
        handles.push(
            totals.open(NewSeries { labels: labels.as_ref(), kind, help: "", unit: "", ttl: None }, NOW)?,
        );
    }
    let mut now = NOW;
    Ok(Box::new(move || {
        now.wall_ms += 10_000;
        now.monotonic += Duration::from_secs(10);
        for handle in &handles {
            // One of the two is for another kind.
            let _ = (totals.add(*handle, 1.0), totals.observe(*handle, 0.25, 1.0));
        }
        while let Some(flush) = totals.flush(now, Begin::WithZero, usize::MAX) {
            black_box((&flush.batch, &flush.entry));
            let more = flush.more;
            totals.confirm(flush);
            if !more {
                break;
            }
        }
    }))
}

/// A histogram with the buckets of client libraries.
pub(super) fn histogram() -> Kind {
    Kind::Histogram(Arc::clone(&Options::default().shape))
}
