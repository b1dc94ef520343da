#![allow(clippy::unwrap_used, reason = "helper functions of tests")]

use super::shard::ENTRY_BYTES;
use super::*;
use crate::rules::{AllMade, Rules, apply_results};
use crate::settings::InputSettings;
use formats::text::{self, Format, ParseOptions};
use formats::{Parsed, Rejected};
use model::{Batch, Labels, Limits};
use proptest::prelude::*;
use relabel::AddedLabels;
use std::sync::Arc;
use storage::registry;

const NOW: i64 = 1_700_000_000_000;
/// Enough for all series of a test.
const LARGE: usize = 1 << 20;

/// Settings in the order of reloads. Their index is their generation.
fn all_settings() -> Vec<Arc<InputSettings>> {
    let settings = |labels: &[(&str, &str)], rules: &str| {
        let labels: Vec<_> =
            labels.iter().map(|(name, value)| (name.to_string(), value.to_string())).collect();
        Arc::new(InputSettings {
            labels: AddedLabels::new(&labels),
            metric_relabel_configs: serde_json::from_str(rules).unwrap(),
            ..InputSettings::default()
        })
    };
    vec![
        settings(&[], "[]"),
        settings(&[("site", "boat")], "[]"),
        settings(&[("site", "ship")], r#"[{"action": "drop", "source_labels": ["x"], "regex": "1"}]"#),
        settings(
            &[],
            r#"[{"action": "labeldrop", "regex": "le|quantile"},
                {"source_labels": ["x"], "regex": "2", "target_label": "__name__", "replacement": ""}]"#,
        ),
    ]
}

fn recogniser(known: &Arc<KnownSeries>, hasher: &registry::Hasher, generation: usize) -> Recogniser {
    Recogniser {
        known: known.clone(),
        hasher: hasher.clone(),
        settings: all_settings().swap_remove(generation),
        limits: Limits::default(),
        section: "test",
        generation: generation as u64,
    }
}

/// The outcome of a request as text, because NaN differs from itself.
fn outcome(batch: &Batch, dropped: model::Kinds, rejected: &Rejected) -> String {
    format!("{batch:?}\n{dropped:?}\n{rejected:?}")
}

/// The outcome of a request that is decoded without known series.
fn decoded(settings: Arc<InputSettings>, hasher: &registry::Hasher, parsed: Parsed) -> String {
    let Parsed { mut batch, mut rejected } = parsed;
    let mut rules = Rules::new(settings.clone(), Limits::default());
    let mut made = AllMade::default();
    for number in 0..batch.series.len() as u32 {
        made.series.push(rules.make(batch.labels(number), &mut made.changed));
    }
    if !settings.has_rules() {
        made = AllMade::default();
    }
    let dropped = apply_results(&mut batch, made, &mut rejected);
    hasher.fill(&mut batch);
    outcome(&batch, dropped, &rejected)
}

fn recognised(recognised: Recognised) -> String {
    let Recognised { parsed: Parsed { mut batch, mut rejected }, made, .. } = recognised;
    let dropped = apply_results(&mut batch, made.unwrap(), &mut rejected);
    outcome(&batch, dropped, &rejected)
}

fn options<'a>(format: Format, extra_labels: &'a [(&'a str, &'a str)]) -> ParseOptions<'a> {
    ParseOptions { extra_labels, ..ParseOptions::new(format, NOW) }
}

/// A request: its lines, its format, its extra labels, and the index of the settings.
type Sent = (Vec<String>, bool, usize, usize);

const EXTRA: [&[(&str, &str)]; 3] = [&[], &[("job", "a")], &[("x", "")]];

fn check(known: &Arc<KnownSeries>, requests: &[Sent]) -> Result<(), TestCaseError> {
    let hasher = registry::Hasher::new();
    for (lines, open_metrics, extra, generation) in requests {
        let mut lines = lines.clone();
        let format = if *open_metrics { Format::OpenMetrics } else { Format::Text };
        if *open_metrics {
            lines.push("# EOF".into());
        }
        let text = lines.join("\n");
        let options = options(format, EXTRA[*extra]);
        let recogniser = recogniser(known, &hasher, *generation);
        let expected = text::parse(text.as_bytes(), &options);
        let found = recogniser.parse_text(text.as_bytes(), &options);
        match (expected, found) {
            (Err(expected), Err(found)) => prop_assert_eq!(expected, found),
            (Err(expected), Ok(_)) => prop_assert!(false, "{}: accepted, although {}", text, expected),
            (Ok(_), Err(found)) => prop_assert!(false, "{}: refused: {}", text, found),
            (Ok(expected), Ok(found)) => {
                let settings = recogniser.settings.clone();
                let other = expected.clone();
                prop_assert_eq!(decoded(settings.clone(), &hasher, expected), recognised(found), "{}", text);
                // The same batch as if it came by remote write.
                let Parsed { mut batch, mut rejected } = other.clone();
                let dropped = recogniser.apply_rules(&mut batch, &mut rejected);
                hasher.fill(&mut batch);
                prop_assert_eq!(decoded(settings, &hasher, other), outcome(&batch, dropped, &rejected));
            }
        }
        prop_assert!(known.bytes() <= known.shard_bytes_max * known.shards.len());
    }
    Ok(())
}

fn head() -> impl Strategy<Value = String> {
    prop::sample::select(vec![
        "a",
        "a{}",
        "a {}",
        "b",
        "h",
        "h_bucket",
        "h_created",
        "c_total",
        "c_created",
        r#"a{x="1"}"#,
        r#"a{x="2"}"#,
        r#"a{x="3"}"#,
        r#"a{x="1",y="2"}"#,
        r#"a{y="2",x="1"}"#,
        r#"a{ x = "1" , }"#,
        r#"a{x="}"}"#,
        r#"a{x="1}"}"#,
        r##"a{x="#"}"##,
        r#"a{x="a # {"}"#,
        r#"a{x="\"}"}"#,
        r#"a{x="\\"}"#,
        r#"a{x=""}"#,
        r#"h_bucket{le="1"}"#,
        r#"h_bucket{le="1.0"}"#,
        r#"h_bucket{le="+Inf",x="1"}"#,
        r#"h_created{x="1"}"#,
        r#"s{quantile="1"}"#,
        r#"s{quantile="0.5",x="1"}"#,
        r#"c_total{x="1"}"#,
        r#"c_created{x="1"}"#,
        r#"{"a"}"#,
        r#"{"a",x="1"}"#,
        r#"{"a" ,x="1"}"#,
        r#"{x="1","a"}"#,
        r#"{"x"="1","a"}"#,
        r#"{"é.b",x="1"}"#,
        r#"{"h_bucket",le="1"}"#,
        r#"{"a\"b"}"#,
        r#"a{job="own"}"#,
        // Lines that have no valid series.
        r#"a{x="1""#,
        "a{",
        "{}",
        r#"{x="1"}"#,
        r#"a{x="1",x="2"}"#,
        r#"a{"b"}"#,
        r#"1{x="1"}"#,
        r#"a}"#,
        "}",
        "\u{e9}",
    ])
    .prop_map(str::to_string)
}

fn line() -> impl Strategy<Value = String> {
    let tail = prop::sample::select(vec![
        " 1",
        "\t2",
        "1",
        "  3  ",
        " NaN",
        " 4 1700000000000",
        " 5 1.7e9",
        " 6 # {t=\"1\"} 1",
        " 7 # {t=\"}\"} 2 3",
        " 8 # {} 1",
        " {x=\"1\"} 1",
        " {",
        " {x=\"1",
        " x",
        "",
        " 1 }",
        " 1 #",
    ]);
    let comment = prop::sample::select(vec![
        "# TYPE h histogram",
        "# TYPE h gauge",
        "# TYPE s summary",
        "# TYPE c counter",
        "# TYPE x gauge",
        "# HELP a help",
        "# x",
        "",
    ]);
    prop_oneof![
        8 => (head(), tail).prop_map(|(head, tail)| head + tail),
        // Mostly valid samples, so that the whole text is not refused.
        8 => (head(), 0..9).prop_map(|(head, value)| format!("{head} {value}")),
        4 => comment.prop_map(str::to_string),
    ]
}

fn requests() -> impl Strategy<Value = Vec<Sent>> {
    let generations = all_settings().len();
    let lines = prop::collection::vec(line(), 0..6);
    prop::collection::vec((lines, any::<bool>(), 0..EXTRA.len(), 0..generations), 1..12)
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(2000))]
    /// With any series known, removed or evicted, each request has the same outcome as without known series.
    #[test]
    fn recognised_requests_have_the_same_outcome(
        requests in requests(), bytes_max in prop_oneof![Just(0), Just(ENTRY_BYTES + 20), 0usize..4000, Just(LARGE)]
    ) {
        check(&Arc::new(KnownSeries::with_shards(bytes_max, 1)), &requests)?;
        check(&Arc::new(KnownSeries::with_shards(bytes_max, 2)), &requests)?;
    }
}

fn texts(series: std::ops::Range<u32>) -> String {
    series.map(|number| format!("metric{{number=\"{number:06}\"}} 1\n")).collect()
}

fn send(known: &Arc<KnownSeries>, hasher: &registry::Hasher, generation: usize, text: &str) {
    let options = options(Format::Text, &[]);
    recogniser(known, hasher, generation).parse_text(text.as_bytes(), &options).unwrap();
}

#[test]
fn series_are_recognised_until_the_settings_change() {
    let (known, hasher) = (Arc::new(KnownSeries::new(LARGE)), registry::Hasher::new());
    send(&known, &hasher, 0, &texts(0..100));
    assert_eq!((known.hits.get(), known.misses.get(), known.entries()), (0, 100, 100));
    send(&known, &hasher, 0, &texts(0..100));
    assert_eq!((known.hits.get(), known.misses.get()), (100, 100));
    send(&known, &hasher, 1, &texts(0..100));
    assert_eq!((known.hits.get(), known.misses.get()), (100, 200));
    known.clear();
    assert_eq!((known.entries(), known.bytes(), known.evicted()), (0, 0, 200));
}

#[test]
fn no_memory_is_used_before_the_first_series() {
    assert_eq!(KnownSeries::new(LARGE).bytes(), 0);
}

#[test]
fn active_series_over_the_limit_do_not_displace_each_other() {
    let (known, hasher) = (Arc::new(KnownSeries::new(LARGE)), registry::Hasher::new());
    for _ in 0..20 {
        send(&known, &hasher, 0, &texts(0..20_000));
        assert!(known.bytes() <= LARGE);
    }
    let part = known.hits.get() as f64 / (19 * 20_000) as f64;
    let fit = known.entries() as f64 / 20_000.0;
    assert!(part > fit * 0.9 && (0.2..0.6).contains(&fit), "{part} of the samples, {fit} of the series fit");
}

#[test]
fn series_that_are_no_longer_sent_are_evicted() {
    let (known, hasher) = (Arc::new(KnownSeries::new(LARGE)), registry::Hasher::new());
    send(&known, &hasher, 0, &texts(0..20_000));
    let fit = known.entries() as u32;
    let others = 500_000..500_000 + fit / 2;
    for _ in 0..40 {
        send(&known, &hasher, 0, &texts(others.clone()));
    }
    let before = known.hits.get();
    send(&known, &hasher, 0, &texts(others));
    assert_eq!(known.hits.get() - before, u64::from(fit / 2));
    assert!(known.evicted() > 0 && known.bytes() <= LARGE);
}

#[test]
fn a_series_over_the_size_limit_is_decoded_each_time() {
    let (known, hasher) = (Arc::new(KnownSeries::new(LARGE)), registry::Hasher::new());
    let text = format!("a{{x=\"{}\"}} 1\n", "y".repeat(KNOWN_SET_BYTES));
    send(&known, &hasher, 0, &text);
    send(&known, &hasher, 0, &text);
    assert_eq!((known.hits.get(), known.entries()), (0, 0));
}

#[test]
fn series_named_by_two_texts_are_distinguished() {
    let (known, hasher) = (Arc::new(KnownSeries::new(LARGE)), registry::Hasher::new());
    let pairs =
        [("m,a=1", "x"), ("m,a=1", "y"), ("m,a=2", "x"), ("m,a=2", "y"), ("m,a=", "2x"), ("", "m,a=2x")];
    let labels = |head: &str, part: &str| Labels::from_pairs([("__name__", part), ("head", head)]);
    for round in 0..2 {
        let recognised = recogniser(&known, &hasher, 1).read("", |request| {
            let mut batch = Batch::new();
            for (head, part) in pairs {
                let start = batch.bytes.len();
                let is_known = request.find_pair(head.as_bytes(), part.as_bytes(), 0, &mut batch.bytes);
                assert_eq!(is_known, round > 0, "{head} {part}");
                if !is_known {
                    batch.bytes.extend_from_slice(labels(head, part).as_ref().as_bytes());
                    request.learn_pair(head.as_bytes(), part.as_bytes(), 0, &batch.bytes[start..]);
                }
                let series = batch.push_series(start, model::Series::NO_METADATA);
                request.assign(series);
                batch.push_float(series, NOW, 1.0);
                assert_eq!(batch.labels(series), labels(head, part).as_ref());
            }
            assert!(!request.find_pair(b"m,a=1", b"x", 1, &mut Vec::new()), "another variant");
            assert!(!request.find(b"m,a=1x", 0, &mut Vec::new()));
            Parsed { batch, ..Parsed::default() }
        });
        assert_eq!(recognised.made.unwrap().hashes.len(), pairs.len());
    }
    recogniser(&known, &hasher, 1).read("another label", |request| {
        assert!(!request.find_pair(b"m,a=1", b"x", 0, &mut Vec::new()), "of another request");
        Parsed::default()
    });
}
