//! Lines of known series take no allocation, so that their speed does not depend on the allocator. A test binary of its
//! own, because all allocations of the process are counted.
#![allow(clippy::unwrap_used, reason = "a test")]

use statsd::{Aggregator, Counters, Options, Timers};
use std::sync::Arc;
use std::time::Duration;
use totals::{Limits, Now, Totals};

/// All types but sets, whose values are remembered; with tags of each style, sample rates, several values, and lines that
/// are only counted.
const TEXT: &str = "hits:1|c\nhits:2:3|c|@0.1|#page:home,site:eu\ntemp:21.5|g\ntemp:+1|g|#zone:a\nwait:250|ms\n\
    wait:0.25:0.75|d|#page:home\nsize:100|h|@0.5\nhits,page=home:1|c\nhits#page=home:1|c\nhits[page=home]:1|c\n\
    at:1|c|T1656581400\nin:1|c|c:ci-1|e:x|card:low\n_e{1,1}:a|b\n_sc|x|0\n";

#[test]
fn lines_of_known_series_take_no_allocation() {
    let counters = Counters::default();
    let counts = counters.counts(&|_| {});
    let now = Now { wall_ms: 1_800_000_000_000, monotonic: Duration::from_secs(1) };
    let rules = r#"{"defaults": {"observer_type": "histogram"}, "mappings": [
        {"match": "wait", "name": "wait", "observer_type": "summary"},
        {"match": "in", "name": "dropped", "action": "drop"}]}"#;
    let rules = Arc::new(mapping::Mapping::new(serde_json::from_str(rules).unwrap()).unwrap());
    for (timers, rules) in [(Timers::Classic, None), (Timers::Both, None), (Timers::Classic, Some(rules))] {
        let shape = Options::shape_of(timers, &mapping::DEFAULT_BUCKETS).unwrap();
        let options = Arc::new(Options { shape: Arc::new(shape), ..Options::default() });
        let (mut aggregator, mut totals) = (Aggregator::default(), Totals::new(Limits::default()));
        aggregator.set(&options, rules.as_ref(), model::Limits::default());
        let mut apply = || aggregator.apply(TEXT.as_bytes(), &mut totals, now, &counts);
        let first = allocation_counter::measure(&mut apply);
        assert!(first.count_total > 0, "new series take memory");
        let again = allocation_counter::measure(|| (0..100).for_each(|_| apply()));
        assert_eq!(again.count_total, 0, "{timers:?}: {again:?}");
        assert_eq!(counters.rejected.get(), 0, "nothing is wrong with the lines");
    }
}
