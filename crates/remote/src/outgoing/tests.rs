#![allow(clippy::unwrap_used, reason = "helper functions of tests")]
use super::*;
use model::Batch;

fn chunk(names: &[&str], first_reference: u64) -> Arc<Chunk> {
    let mut batch = Batch::new();
    for name in names {
        let labels = model::Labels::from_pairs([("__name__", *name), ("job", "a")]);
        let series = batch.add_series(labels.as_ref(), model::Series::NO_METADATA);
        batch.push_float(series, 1000, 0.0);
    }
    let refs = (first_reference..).take(names.len()).collect();
    let (start, end) = (Position::default(), Position::start_of(1));
    Arc::new(Chunk { batch, refs, segment: 0, records: vec![], start, end, arrived: Duration::ZERO })
}

fn rules(json: &str, external: &[(String, String)]) -> Rules {
    let relabel = Relabeller::new(serde_json::from_str(json).unwrap());
    Rules::new(AddedLabels::new(external), relabel, true, true)
}

#[test]
fn relabelling_sees_external_labels_and_is_cached_by_reference() {
    let json = r#"[{"source_labels": ["__name__"], "regex": "secret", "action": "drop"},
        {"source_labels": ["region"], "regex": "(..).*", "target_label": "short"}]"#;
    let mut rules = rules(json, &[("region".into(), "eu-west".into())]);
    for _ in 0..2 {
        let outgoing = Outgoing::new(chunk(&["up", "secret"], 5), &mut rules);
        assert_eq!(
            outgoing.labels(0, &mut Vec::new()).to_string(),
            r#"up{job="a",region="eu-west",short="eu"}"#
        );
        let left = |point| outgoing.left_out(outgoing.point(point).unwrap(), &rules);
        assert_eq!((left(0), left(1)), (None, Some(Left::Rule)));
        assert_eq!(rules.cache.made.len(), 2);
    }
}

#[test]
fn series_unchanged_by_rules_are_not_copied() {
    let mut rules = rules(r#"[{"regex": "nothing", "action": "labeldrop"}]"#, &[]);
    let outgoing = Outgoing::new(chunk(&["a", "b"], 1), &mut rules);
    assert!(outgoing.labels.is_empty() && outgoing.rewritten.is_empty());
}

#[test]
fn cache_is_bounded() {
    let mut rules = rules(r#"[{"target_label": "x", "replacement": "y"}]"#, &[]);
    let names: Vec<String> = (0..1000).map(|number| format!("{number:0>1000}")).collect();
    let names: Vec<&str> = names.iter().map(String::as_str).collect();
    for round in 0..20 {
        Outgoing::new(chunk(&names, round * 1000), &mut rules);
        assert!(rules.cache.bytes <= CACHE_BYTES);
    }
    assert!(rules.cache.made.len() < 10_000);
}

#[test]
fn chunk_across_two_rings_is_divided_point_by_point() {
    let names: Vec<String> = (0..100).map(|number| format!("m{number}")).collect();
    let names: Vec<&str> = names.iter().map(String::as_str).collect();
    let mut chunk = Arc::unwrap_or_clone(chunk(&names, 1));
    for series in 0..100 {
        chunk.batch.push_float(series, 2000, 0.0);
    }
    let record = |offset, first_point| storage::RecordSpan { offset, first_point };
    chunk.records = vec![record(50, 0), record(90, 100)];
    (chunk.start, chunk.end) = (Position::record(0, 40), Position::record(0, 130));
    let chunk = Arc::new(chunk);
    let mut rings = crate::members::rings::Rings::default();
    let members = |members: &[&str]| members.iter().map(|name| name.to_string()).collect::<Vec<_>>();
    rings.change(Position::default(), &members(&["a"]), 1).unwrap();
    rings.change(Position::record(0, 90), &members(&["a", "b"]), 1).unwrap();
    for (relabel, external) in [("[]", vec![]), ("[]", vec![("x".to_string(), "y".to_string())])] {
        let [a, b] = ["a", "b"].map(|member| {
            let mut rules = rules(relabel, &external);
            rules.share = Some(Arc::new(rings.share(member)));
            let outgoing = Outgoing::new(chunk.clone(), &mut rules);
            (0..200).map(|point| outgoing.is_own(point, &rules)).collect::<Vec<_>>()
        });
        assert!(a[..100].iter().all(|own| *own) && b[..100].iter().all(|own| !own), "before: all a's");
        assert!((100..200).all(|point| a[point] != b[point]), "after: each one's");
        assert!((20..80).contains(&a[100..].iter().filter(|own| **own).count()));
    }
}

#[test]
fn series_of_other_members_are_not_relabelled() {
    let names: Vec<String> = (0..100).map(|number| format!("m{number}")).collect();
    let names: Vec<&str> = names.iter().map(String::as_str).collect();
    let mut rings = crate::members::rings::Rings::default();
    let members: Vec<String> = (0..10).map(|number| number.to_string()).collect();
    rings.change(Position::default(), &members, 1).unwrap();
    let mut own = 0;
    for member in &members {
        let mut rules = rules(r#"[{"target_label": "x", "replacement": "y"}]"#, &[]);
        rules.share = Some(Arc::new(rings.share(member)));
        let outgoing = Outgoing::new(chunk(&names, 1), &mut rules);
        own += (0..100).filter(|point| outgoing.is_own(*point, &rules)).count();
        assert_eq!(rules.cache.made.len(), (0..100).filter(|n| outgoing.owns_some(*n)).count());
    }
    assert_eq!(own, 100);
}

#[test]
fn points_that_are_too_old_are_left_out() {
    let mut rules = rules("[]", &[]);
    rules.oldest_ms = Some(1001);
    let outgoing = Outgoing::new(chunk(&["a"], 1), &mut rules);
    assert_eq!(outgoing.left_out(outgoing.point(0).unwrap(), &rules), Some(Left::TooOld));
}
