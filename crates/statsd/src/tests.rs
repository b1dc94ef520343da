//! Lines in, samples out. The expected results of mapping are those of `prometheus/statsd_exporter: exporter_test.go`.

use super::*;
use formats::statsd::Kind;
use mapping::Mapping;
use model::{Limits, Value};
use std::cell::RefCell;
use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;
use totals::{Begin, Now, Totals};

struct World {
    aggregator: Aggregator,
    totals: Totals,
    seconds: u64,
    counters: Counters,
    refused: RefCell<Vec<String>>,
}

impl World {
    fn new(rules: &str) -> World {
        World::with(rules, Options::default(), totals::Limits::default())
    }

    /// `rules`: a mapping file as JSON, or nothing.
    fn with(rules: &str, options: Options, limits: totals::Limits) -> World {
        let mut aggregator = Aggregator::default();
        let mapping = (!rules.is_empty())
            .then(|| Arc::new(Mapping::new(serde_json::from_str(rules).unwrap()).unwrap()));
        aggregator.set(&Arc::new(options), mapping.as_ref(), Limits::default());
        World {
            aggregator,
            totals: Totals::new(limits),
            seconds: 1000,
            counters: Counters::default(),
            refused: RefCell::default(),
        }
    }

    fn now(&self) -> Now {
        Now {
            wall_ms: 1_800_000_000_000 + self.seconds as i64 * 1000,
            monotonic: Duration::from_secs(self.seconds),
        }
    }

    fn send(&mut self, text: &str) {
        let now = self.now();
        let refused =
            |name: &[u8]| self.refused.borrow_mut().push(String::from_utf8_lossy(name).into_owned());
        let counts = self.counters.counts(&refused);
        self.aggregator.apply(text.as_bytes(), &mut self.totals, now, &counts);
    }

    /// All series of a flush `seconds` later, with their last values.
    fn flush(&mut self, seconds: u64) -> BTreeMap<String, f64> {
        self.seconds += seconds;
        let now = self.now();
        self.aggregator.before_flush(&mut self.totals, now);
        let mut shown = BTreeMap::new();
        while let Some(flush) = self.totals.flush(now, Begin::WithZero, usize::MAX) {
            for point in &flush.batch.points {
                let value = match point.value {
                    Value::Float(value) => value,
                    Value::Histogram(_) => -1.0,
                    Value::Exemplar(_) => continue,
                };
                shown.insert(flush.batch.labels(point.series).to_string(), value);
            }
            let more = flush.more;
            self.totals.confirm(flush);
            if !more {
                break;
            }
        }
        shown
    }

    fn errors(&self) -> Vec<(&'static str, u64)> {
        self.counters.errors.iter().filter(|(_, count)| *count > 0).collect()
    }
}

#[track_caller]
fn assert_shows(shown: &BTreeMap<String, f64>, wanted: &[(&str, f64)]) {
    for (series, value) in wanted {
        let found = shown.get(*series).copied();
        let is_close = found.is_some_and(|found| (found - value).abs() < 1e-9);
        assert!(is_close, "{series}: {found:?} is not {value}\n{shown:#?}");
    }
}

#[test]
fn counters_add_up_with_their_sample_rates_and_survive_intervals() {
    let mut world = World::new("");
    world.send("a.b:2|c\na.b:1|c|@0.1\na.b:1:2|c|#x:y\nsmall:0.1|c|@0.3");
    assert_shows(&world.flush(10), &[("a_b", 12.0), (r#"a_b{x="y"}"#, 3.0), ("small", 1.0 / 3.0)]);
    world.send("a.b:5|c");
    assert_shows(&world.flush(10), &[("a_b", 17.0)]);
    assert!(world.flush(10).is_empty(), "nothing changed");
    world.send("a.b:-5|c\nnew:-1|c");
    assert_eq!(world.errors(), [("illegal_negative_counter", 2)]);
    assert_eq!(world.counters.rejected.get(), 2);
    assert!(!world.flush(60).contains_key("new"), "a series without a valid value is not opened");
}

#[test]
fn gauges_are_set_and_changed() {
    let mut world = World::new("");
    world.send("g:10|g\ng:+4|g\ng:-10|g\nfresh:-3|g\nh:5|g\nh:0|g\nh:-7|g|@0.5");
    assert_shows(&world.flush(10), &[("g", 4.0), ("fresh", -3.0), ("h", -7.0)]);
    world.send("g:+1|g");
    assert_shows(&world.flush(10), &[("g", 5.0)]);
}

#[test]
fn timers_are_classic_buckets_in_seconds() {
    let mut world = World::new("");
    world.send("t:200:700|ms|@0.5\nd:3|d\nh:3|h");
    let shown = world.flush(10);
    assert_shows(
        &shown,
        &[
            ("t_count", 4.0),
            ("t_sum", 1.8),
            (r#"t_bucket{le="0.1"}"#, 0.0),
            (r#"t_bucket{le="0.25"}"#, 2.0),
            (r#"t_bucket{le="1"}"#, 4.0),
            (r#"t_bucket{le="+Inf"}"#, 4.0),
            ("d_sum", 3.0),
            (r#"h_bucket{le="5"}"#, 1.0),
        ],
    );
    assert!(!shown.contains_key("t"), "no native histogram: a default Prometheus refuses them");
}

#[test]
fn timers_can_be_native_or_both() {
    for (timers, native, classic) in [(Timers::Native, true, false), (Timers::Both, true, true)] {
        let shape = Options::shape_of(timers, &[1.0]).unwrap();
        let options = Options { shape: shape.into(), ..Options::default() };
        let mut world = World::with("", options, totals::Limits::default());
        world.send("t:200|ms");
        let shown = world.flush(10);
        assert_eq!((shown.contains_key("t"), shown.contains_key("t_count")), (native, classic), "{shown:?}");
    }
}

#[test]
fn sets_show_how_many_values_came_in_an_interval() {
    let mut world = World::new("");
    world.send("users:ann|s\nusers:bob|s\nusers:ann|s\nusers:a:b|s|#x:y");
    assert_shows(&world.flush(10), &[("users", 2.0), (r#"users{x="y"}"#, 1.0)]);
    world.send("users:ann|s");
    assert_shows(&world.flush(10), &[("users", 1.0), (r#"users{x="y"}"#, 0.0)]);
    assert_shows(&world.flush(10), &[("users", 0.0)]);
    assert!(world.flush(10).is_empty());
}

#[test]
fn summaries_have_a_sum_a_count_and_quantiles_of_the_last_minutes() {
    let rules = r#"{"mappings": [{"match": "t.*", "name": "t", "labels": {"of": "$1"},
        "summary_options": {"quantiles": [{"quantile": 0.5}, {"quantile": 0.9}], "max_age": "50s"}}]}"#;
    let mut world = World::new(rules);
    let values: Vec<String> = (1..=1000).map(|value| format!("t.a:{value}|ms")).collect();
    world.send(&values.join("\n"));
    let shown = world.flush(10);
    assert_shows(&shown, &[(r#"t_count{of="a"}"#, 1000.0), (r#"t_sum{of="a"}"#, 500.5)]);
    let quantile = |shown: &BTreeMap<String, f64>, of: &str| {
        shown.get(&format!(r#"t{{of="a",quantile="{of}"}}"#)).copied().unwrap_or(f64::NAN)
    };
    // Half the width of a bucket.
    assert!((quantile(&shown, "0.5") / 0.5 - 1.0).abs() < 0.05, "{shown:?}");
    assert!((quantile(&shown, "0.9") / 0.9 - 1.0).abs() < 0.05, "{shown:?}");
    // The old observations do not count any more.
    world.flush(60);
    world.send("t.a:20000|ms");
    let shown = world.flush(10);
    assert!((quantile(&shown, "0.5") / 20.0 - 1.0).abs() < 0.05, "{shown:?}");
    assert_shows(&shown, &[(r#"t_count{of="a"}"#, 1001.0)]);
}

/// Timers may be negative, in a summary and in buckets: their sums fall.
#[test]
fn negative_observations_lower_the_sum() {
    let rules = r#"{"mappings": [{"match": "s", "name": "s"},
        {"match": "h", "name": "h", "observer_type": "histogram", "histogram_options": {"buckets": [-1, 1]}}]}"#;
    let mut world = World::new(rules);
    world.send("s:-3:1|d\nh:-3:1|d");
    let sums = [("s_sum", -2.0), ("s_count", 2.0), ("h_sum", -2.0), (r#"h_bucket{le="-1"}"#, 1.0)];
    assert_shows(&world.flush(10), &sums);
    world.send("s:-7|d|@0.5\nh:-7|d|@0.5");
    let sums = [("s_sum", -16.0), ("s_count", 4.0), ("h_sum", -16.0), (r#"h_bucket{le="-1"}"#, 3.0)];
    let shown = world.flush(10);
    assert_shows(&shown, &sums);
    assert!((shown[r#"s{quantile="0.5"}"#] / -7.0 - 1.0).abs() < 0.05, "{shown:?}");
    assert_eq!(world.errors(), [], "nothing is refused");
}

#[test]
fn the_series_of_a_summary_are_of_that_type() {
    let mut world = World::new("{}");
    world.send("t:300|ms");
    let flush = world.totals.flush(world.now(), Begin::WithZero, usize::MAX).unwrap();
    let types = flush.batch.metadata.iter().map(|metadata| (metadata.family.as_str(), metadata.kind));
    assert_eq!(types.collect::<Vec<_>>(), [("t", model::MetricType::Summary); 3]);
    // No other series may have one of the names, and nothing of a summary is left over where one has it.
    world.totals.confirm(flush);
    world.send("t:1|g\nt_sum:1|c\ng:1|g\ng:5|ms");
    assert_eq!(world.errors(), [("type_conflict", 3)]);
    assert!(!world.flush(10).keys().any(|series| series.starts_with("g_")));
}

/// As for statsd_exporter, whose default for a mapping file without `observer_type` is a summary.
#[test]
fn a_mapping_file_decides_on_timers_that_no_rule_matches() {
    let mut world = World::new("{}");
    world.send("t:300|ms");
    assert!(world.flush(10).contains_key(r#"t{quantile="0.99"}"#));
    let mut world = World::new(r#"{"defaults": {"observer_type": "histogram", "buckets": [0.1, 1]}}"#);
    world.send("t:300|ms");
    assert_shows(&world.flush(10), &[(r#"t_bucket{le="1"}"#, 1.0), ("t_sum", 0.3)]);
}

#[test]
fn rules_drop_scale_and_name_and_their_labels_win_unless_told_otherwise() {
    let rules = r#"{"mappings": [
        {"match": "noise.*", "action": "drop"},
        {"match": "bytes.*", "name": "kib", "scale": 0.5, "labels": {"dir": "$1"}},
        {"match": "own.*", "name": "own", "labels": {"dc": "rule", "id": "$1"}},
        {"match": "tags.*", "name": "tags", "labels": {"dc": "rule"}, "honor_labels": true},
        {"match": ".*_bar", "match_type": "regex", "name": "${1}"}]}"#;
    let mut world = World::new(rules);
    world.send("noise.a:1|c\nnoise.a:1|c\nbytes.in:10|c\nbytes.g:10|g\nown.1:1|c|#dc:tag,x:y\ntags.1:1|c|#dc:tag\nfoo_bar:1|c");
    let shown = world.flush(10);
    assert_shows(
        &shown,
        &[(r#"kib{dir="in"}"#, 5.0), (r#"own{dc="rule",id="1",x="y"}"#, 1.0), (r#"tags{dc="tag"}"#, 1.0)],
    );
    assert_eq!(world.counters.dropped.get(), 2);
    assert!(world.errors().contains(&("empty_metric_name", 1)), "{:?}", world.errors());
    // The counter has the name, so the gauge can't.
    assert!(world.errors().contains(&("type_conflict", 1)), "{:?}", world.errors());
}

#[test]
fn a_series_ends_after_its_time_to_live_and_can_come_back() {
    let rules =
        r#"{"defaults": {"ttl": "30s"}, "mappings": [{"match": "long.*", "name": "long", "ttl": "2m"}]}"#;
    let mut world = World::new(rules);
    world.send("foobar:200|g\nlong.a:1|c\ncount:5|c");
    world.flush(10);
    let shown = world.flush(40);
    assert!(shown["foobar"].is_nan() && shown["count"].is_nan(), "staleness markers: {shown:?}");
    assert_eq!(world.totals.len(), 1);
    world.send("count:2|c");
    assert_shows(&world.flush(10), &[("count", 2.0)]);
}

impl World {
    /// Other settings, as a reload brings them.
    fn set(&mut self, rules: &str, options: Options) {
        let mapping = (!rules.is_empty())
            .then(|| Arc::new(Mapping::new(serde_json::from_str(rules).unwrap()).unwrap()));
        self.aggregator.set(&Arc::new(options), mapping.as_ref(), Limits::default());
    }
}

#[test]
fn another_time_to_live_holds_from_the_next_line_on() {
    let ttl = |seconds| Options { ttl: Some(Duration::from_secs(seconds)), ..Options::default() };
    let mut world = World::with("", ttl(60), totals::Limits::default());
    world.send("a:1|c\nb:1|c");
    world.flush(10);
    world.set("", ttl(600));
    world.send("a:1|c");
    world.flush(10);
    let shown = world.flush(60);
    assert!(shown["b"].is_nan() && shown["a"] == 2.0, "{shown:?}");
    world.set("", ttl(60));
    assert_eq!(world.flush(100)["a"], 2.0, "there was no line");
    assert!(world.flush(500)["a"].is_nan());
}

#[test]
fn other_rules_for_observers_hold_from_the_next_line_on() {
    let quantile = |quantile: f64| {
        format!(
            r#"{{"defaults": {{"summary_options": {{"quantiles": [{{"quantile": {quantile}}}]}}}}, "mappings": []}}"#
        )
    };
    let mut world = World::new("");
    world.send("t:100|h");
    world.flush(10);
    world.set(&quantile(0.5), Options::default());
    world.send("t:7|h\nt:9|h");
    let shown = world.flush(10);
    assert_shows(&shown, &[("t_count", 2.0), ("t_sum", 16.0)]);
    assert!(shown[r#"t_bucket{le="1"}"#].is_nan() && shown[r#"t{quantile="0.5"}"#] > 6.0, "{shown:?}");
    world.set(&quantile(0.9), Options::default());
    world.send("t:9|h");
    let shown = world.flush(10);
    assert_shows(&shown, &[("t_count", 3.0)]);
    assert!(shown[r#"t{quantile="0.5"}"#].is_nan() && shown[r#"t{quantile="0.9"}"#] > 8.0, "{shown:?}");
    world.set("", Options::default());
    world.send("t:9|h");
    let shown = world.flush(10);
    assert_shows(&shown, &[("t_count", 1.0), (r#"t_bucket{le="10"}"#, 1.0)]);
    assert_eq!(world.errors(), []);
    // Two rules for one series contradict each other.
    world.set(
        r#"{"mappings": [{"match": "a.*", "name": "t", "observer_type": "histogram", "buckets": [1]}, {"match": "b.*",
        "name": "t", "observer_type": "histogram", "buckets": [2]}]}"#,
        Options::default(),
    );
    world.send("a.x:1|h\nb.x:1|h\na.x:1|h\nb.x:1|h");
    assert_shows(&world.flush(10), &[("t_count", 2.0)]);
    assert_eq!(world.errors(), [("type_conflict", 2)]);
    let example = world.aggregator.take_example().unwrap();
    assert_eq!(example, r#""b.x:1|h": t is a histogram with other buckets"#);
}

#[test]
fn new_series_over_the_limit_are_refused_and_known_ones_go_on() {
    let limits = totals::Limits { series: 2, ..totals::Limits::default() };
    let mut world = World::with("", Options::default(), limits);
    world.send("a:1|c\nb:1|c\nc:1|c\nd:1|c\na:1|c");
    assert_shows(&world.flush(10), &[("a", 2.0), ("b", 1.0)]);
    assert_eq!(world.errors(), [("series_limit", 2)]);
    assert_eq!(*world.refused.borrow(), ["c", "d"]);
}

#[test]
fn sets_and_summaries_over_their_limit_are_refused_and_known_ones_go_on() {
    let limits = totals::Limits { series: 200_000, series_per_name: 200_000, ..totals::Limits::default() };
    let rules = r#"{"defaults": {"summary_options": {"quantiles": [{"quantile": 0.5}]}}}"#;
    for (of, most) in [("s", SETS_MAX), ("ms", SUMMARIES_MAX)] {
        let mut world = World::with(rules, Options::default(), limits);
        let lines: String = (0..most + 2).map(|number| format!("n{number}:1|{of}\n")).collect();
        world.send(&lines);
        assert_eq!(world.errors(), [("set_limit", 2)], "{of}");
        world.send(&format!("n0:1|{of}\nn{most}:1|{of}"));
        assert_eq!(world.errors(), [("set_limit", 3)], "{of}");
        // After a change of options all series are described again.
        let mapping = Arc::new(Mapping::new(serde_json::from_str(rules).unwrap()).unwrap());
        let options = Arc::new(Options { container_id: true, ..Options::default() });
        world.aggregator.set(&options, Some(&mapping), Limits::default());
        world.send(&format!("n0:1|{of}\nn{most}:1|{of}"));
        assert_eq!(world.errors(), [("set_limit", 4)], "{of}");
    }
}

#[test]
fn gauges_with_a_time_of_their_own_go_straight_through() {
    let mut world = World::new("");
    world.send("g:5|g|T1799999000|#a:b\nc:5|c|T1799999000");
    let batch = world.aggregator.take_direct().unwrap();
    let [point] = &batch.points[..] else { panic!("{batch:?}") };
    assert_eq!((point.timestamp, batch.labels(0).to_string().as_str()), (1_799_999_000_000, r#"g{a="b"}"#));
    assert!(world.aggregator.take_direct().is_none());
    assert_shows(&world.flush(10), &[("c", 5.0)]);
    let lines: String = (0..DIRECT_MAX + 3).map(|value| format!("g:{value}|g|T1799999000\n")).collect();
    world.send(&lines);
    assert_eq!(world.errors(), [("timestamp_limit", 3)]);
}

#[test]
fn lines_are_counted_by_type_and_errors_by_reason() {
    let mut world = World::new("");
    world.send(
        "a:1|c\nb:1|g\nt:1|ms\nh:1|h\nd:1|d\ns:1|s\n_e{1,1}:a|b\n_sc|x|0\nwrong\na:1|c|#x,y:z,:\na:1|c|@x",
    );
    let lines: Vec<(&str, u64)> = world.counters.lines.iter().collect();
    let wanted = [3, 1, 1, 1, 1, 1, 1, 1];
    assert_eq!(lines, LINES.into_iter().zip(wanted).collect::<Vec<_>>());
    assert_eq!(world.errors(), [("malformed_line", 1), ("invalid_sample_factor", 1), ("malformed_tag", 2)]);
    assert_eq!(world.counters.rejected.get(), 1);
    assert_eq!(
        world.aggregator.take_example().as_deref(),
        Some("\"wrong\": a line is NAME:VALUE|TYPE in UTF-8")
    );
    assert_eq!(Kind::ALL.len() + 2, LINES.len());
}

#[test]
fn containers_are_a_label_only_on_request() {
    for (container_id, series) in [(false, "a"), (true, r#"a{container_id="ci-1"}"#)] {
        let options = Options { container_id, ..Options::default() };
        let mut world = World::with("", options, totals::Limits::default());
        world.send("a:1|c|c:ci-1");
        assert_shows(&world.flush(10), &[(series, 1.0)]);
    }
}

#[test]
fn tags_can_not_take_the_labels_of_buckets_and_quantiles() {
    let mut world = World::new("");
    world.send("t:1|d|#le:x,a:b");
    assert_shows(&world.flush(10), &[(r#"t_bucket{a="b",le="1"}"#, 1.0)]);
    assert_eq!(world.errors(), [("malformed_tag", 1)]);
}
