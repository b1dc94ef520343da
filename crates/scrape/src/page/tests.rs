#![allow(clippy::unwrap_used, reason = "helper functions of tests")]
use super::*;
use formats::text::Format;

const TEXT: PageFormat = PageFormat::Text(Format::Text);
const OPEN_METRICS: PageFormat = PageFormat::Text(Format::OpenMetrics);
const NOW: i64 = 1_700_000_000_000;

/// A target that is scraped page after page.
struct World {
    sampling: Sampling,
    target: Labels,
    hasher: Hasher,
    table: Table,
    now: i64,
}

impl World {
    fn new(job: serde_json::Value) -> Self {
        World {
            sampling: crate::job::tests::job(job).sampling,
            target: Labels::from_pairs([("job", "j"), ("instance", "i")]),
            hasher: Hasher::new(),
            table: Table::default(),
            now: NOW,
        }
    }

    fn read(&mut self, body: &str, format: PageFormat) -> Result<Page, PageError> {
        self.now += 1000;
        let reading = Reading {
            sampling: &self.sampling,
            target: &self.target,
            timestamp: self.now,
            limits: Limits::default(),
            hasher: &self.hasher,
        };
        self.table.begin();
        reading.read(body.as_bytes(), format, &mut self.table)
    }

    /// The samples of a page as text, with `stale` for markers and the time after the scrape's in milliseconds.
    fn samples(&mut self, body: &str) -> Vec<String> {
        let page = self.read(body, TEXT).unwrap();
        shown(&page.parsed.batch, self.now)
    }
}

fn shown(batch: &Batch, now: i64) -> Vec<String> {
    assert_eq!(batch.hashes.len(), batch.series.len());
    let show = |point: &Point| {
        let value = match point.value {
            Value::Float(value) if model::is_stale(value) => "stale".to_string(),
            Value::Float(value) => value.to_string(),
            Value::Histogram(_) => "histogram".into(),
            Value::Exemplar(_) => "exemplar".into(),
        };
        let offset = match point.timestamp - now {
            0 => String::new(),
            offset => format!(" {offset:+}"),
        };
        format!("{} {value}{offset}", batch.labels(point.series))
    };
    batch.points.iter().map(show).collect()
}

#[test]
fn samples_get_the_labels_of_their_target() {
    let mut world = World::new(serde_json::json!({}));
    let page = "a 1\nb{x=\"1\",job=\"own\"} 2\n";
    let wanted = [r#"a{instance="i",job="j"} 1"#, r#"b{exported_job="own",instance="i",job="j",x="1"} 2"#];
    assert_eq!(world.samples(page), wanted);
    // Known series get the same ones.
    assert_eq!(world.samples(page), wanted);
    let mut world = World::new(serde_json::json!({"honor_labels": true}));
    assert_eq!(world.samples(page), [r#"a{instance="i",job="j"} 1"#, r#"b{instance="i",job="own",x="1"} 2"#]);
}

#[test]
fn series_that_are_gone_get_markers() {
    let mut world = World::new(serde_json::json!({}));
    world.samples("a 1\nb 1\n");
    assert_eq!(world.samples("a 2\n"), [r#"a{instance="i",job="j"} 2"#, r#"b{instance="i",job="j"} stale"#]);
    assert_eq!(world.samples("a 3\n"), [r#"a{instance="i",job="j"} 3"#]);
    // Nothing of a broken page is kept.
    let error = world.read("a 4\nb 1\n}\n", TEXT).unwrap_err();
    assert!(matches!(error, PageError::Malformed(_)), "{error}");
    let mut batch = Batch::new();
    world.table.fail(|entry| push_marker(&mut batch, entry, world.now));
    assert_eq!(shown(&batch, world.now), [r#"a{instance="i",job="j"} stale"#]);
}

#[test]
fn rules_apply_after_the_labels_of_the_target() {
    let mut world = World::new(serde_json::json!({"metric_relabel_configs": [
        {"source_labels": ["__name__", "instance"], "regex": "noise;i", "action": "drop"},
        {"regex": "id", "action": "labeldrop"},
    ]}));
    let page = world.read("noise 1\na{id=\"1\"} 1\na{id=\"2\"} 2\nb 3\n", TEXT).unwrap();
    let wanted = [r#"a{instance="i",job="j"} 1"#, r#"b{instance="i",job="j"} 3"#];
    assert_eq!(shown(&page.parsed.batch, world.now), wanted);
    assert_eq!((page.scraped, page.kept, page.added, page.repeated), (4, 3, 3, 1));
    let page = world.read("noise 1\na{id=\"1\"} 1\na{id=\"2\"} 2\nb 3\n", TEXT).unwrap();
    assert_eq!(shown(&page.parsed.batch, world.now), wanted);
    assert_eq!((page.scraped, page.kept, page.added, page.repeated), (4, 3, 0, 1));
}

#[test]
fn own_timestamps_count_if_they_are_honored_and_end_without_markers() {
    let page = format!("a 1 {}\nb 2\n", NOW - 5000);
    let mut world = World::new(serde_json::json!({}));
    assert_eq!(world.samples(&page), [r#"a{instance="i",job="j"} 1 -6000"#, r#"b{instance="i",job="j"} 2"#]);
    assert_eq!(world.samples(""), [r#"b{instance="i",job="j"} stale"#]);
    let mut world = World::new(serde_json::json!({"track_timestamps_staleness": true}));
    world.samples(&page);
    assert_eq!(world.samples("").len(), 2);
    let mut world = World::new(serde_json::json!({"honor_timestamps": false}));
    assert_eq!(world.samples(&page), [r#"a{instance="i",job="j"} 1"#, r#"b{instance="i",job="j"} 2"#]);
    // The same series at several times.
    let mut world = World::new(serde_json::json!({}));
    let page = format!("a 1 {}\na 2 {}\n", NOW - 5000, NOW - 4000);
    assert_eq!(world.samples(&page).len(), 2);
}

#[test]
fn limits_fail_the_scrape() {
    let page = "a{long=\"value\"} 1\nb 2\nc 3\n";
    for (limits, error) in [
        (serde_json::json!({"sample_limit": 3, "label_limit": 4}), None),
        (
            serde_json::json!({"sample_limit": 2}),
            Some("more samples than sample_limit, 2, after relabelling"),
        ),
        (
            serde_json::json!({"label_limit": 3}),
            Some(r#"a{instance="i",job="j",long="value"}: 4 is more than label_limit, 3"#),
        ),
        (
            serde_json::json!({"label_name_length_limit": 7}),
            Some(r#"a{instance="i",job="j",long="value"}: 8 is more than label_name_length_limit, 7"#),
        ),
        (
            serde_json::json!({"label_value_length_limit": 4}),
            Some(r#"a{instance="i",job="j",long="value"}: 5 is more than label_value_length_limit, 4"#),
        ),
        (
            serde_json::json!({"metric_relabel_configs": [{"regex": "__name__", "action": "labeldrop"}]}),
            Some("a sample has no metric name after relabelling"),
        ),
    ] {
        let result = World::new(limits.clone()).read(page, TEXT).map(|_| ());
        assert_eq!(result.err().map(|error| error.to_string()), error.map(String::from), "{limits}");
    }
    let mut world = World::new(serde_json::json!({"sample_limit": 2}));
    let error = world.read(page, TEXT).unwrap_err();
    assert_eq!(error, PageError::TooManySamples { limit: 2, scraped: 3, kept: 3 });
    let mut legacy = World::new(serde_json::json!({"metric_name_validation_scheme": "legacy"}));
    assert_eq!(legacy.read("{\"a.b\"} 1\n", TEXT), Err(PageError::Name("a.b".into())));
    assert!(World::new(serde_json::json!({})).read("{\"a.b\"} 1\n", TEXT).is_ok());
}

#[test]
fn exemplars_stay_with_their_series() {
    let mut world = World::new(serde_json::json!({"metric_relabel_configs": [
        {"source_labels": ["__name__"], "regex": "b_total", "action": "drop"},
    ]}));
    let text =
        "# TYPE b counter\nb_total 1 # {t=\"0\"} 1\n# TYPE a counter\na_total 1 # {t=\"x\"} 1\n# EOF\n";
    let page = world.read(text, OPEN_METRICS).unwrap();
    let batch = &page.parsed.batch;
    let wanted = [r#"a_total{instance="i",job="j"} 1"#, r#"a_total{instance="i",job="j"} exemplar"#];
    assert_eq!(shown(batch, world.now), wanted);
    let labels: Vec<String> = batch
        .exemplars
        .iter()
        .map(|exemplar| LabelsRef::trusted(batch.slice(exemplar.labels)).to_string())
        .collect();
    assert_eq!(labels, [r#"{t="x"}"#]);
    assert_eq!(page.scraped, 2);
}

#[test]
fn metadata_of_families_stays() {
    let mut world = World::new(serde_json::json!({}));
    let page = world.read("# HELP a What.\n# TYPE a counter\na 1\n", TEXT).unwrap();
    let batch = &page.parsed.batch;
    let series = batch.series.first().unwrap();
    let metadata = batch.metadata.get(series.metadata as usize).unwrap();
    assert_eq!((metadata.family.as_str(), metadata.help.as_str()), ("a", "What."));
}
