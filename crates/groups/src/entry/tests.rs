//! Entries are decoded to the same changes; damaged ones are refused.
use super::*;
use crate::group::{Member, Reading};
use model::{BucketSpan, Counts, Histogram, Labels, MetricType, ResetHint};
use proptest::prelude::*;

fn histogram(float: bool) -> Histogram {
    Histogram {
        reset_hint: ResetHint::No,
        schema: if float { -53 } else { 3 },
        zero_threshold: 0.001,
        sum: 12.5,
        positive_spans: vec![BucketSpan { offset: -2, length: 2 }, BucketSpan { offset: 3, length: 1 }],
        negative_spans: Vec::new(),
        counts: if float {
            Counts::Float { count: 3.5, zero: 0.0, positive: vec![1.0, 2.0, 0.5], negative: vec![] }
        } else {
            Counts::Integer { count: 6, zero: 1, positive: vec![1, 1, -1], negative: vec![] }
        },
        custom_values: if float { vec![0.5, 1.0, 2.0] } else { vec![] },
    }
}

fn all() -> Vec<Change> {
    let key = Labels::from_pairs([("job", "a"), ("instance", "b")]);
    let member = |name: &str, reading| Member {
        labels: Labels::from_pairs([("__name__", name), ("job", "a")]),
        reading,
        start: 7,
        time: 0,
        exemplars: Vec::new(),
    };
    let family = Arc::new(Family {
        kind: MetricType::Histogram,
        help: "Hé".into(),
        unit: "seconds".into(),
        members: vec![
            member("x", Reading::Float(-0.5)),
            member("y", Reading::Histogram(Box::new(histogram(false)))),
            member("z", Reading::Histogram(Box::new(histogram(true)))),
        ],
    });
    let mut group = Group::new(3, key.clone());
    group.families = Packed::new(&[("x".into(), Kept { family: family.clone(), pushed: 99 })].into());
    (group.pushed, group.failed, group.clock, group.ttl, group.expires) = (5, 6, 7, Some(8), Some(13));
    let families = vec![("x".to_string(), family)];
    vec![
        Change::Pushed { id: 1, key: key.clone(), replace: true, at: 12, wall: -3, ttl: Some(5), families },
        Change::Refused { id: 2, key: key.clone(), at: 1, wall: 2, reason: "no".into() },
        Change::Deleted { key: key.clone(), at: 4 },
        Change::Expired { key: key.clone(), at: 4, wall: 3 },
        Change::Emitted { at: i64::MAX, ids: vec![1, 2, 300] },
        Change::Snapshot(Arc::new(group)),
        Change::Tombstone { key, at: i64::MIN },
    ]
}

#[test]
fn decoded_changes_equal_the_encoded_ones() {
    let changes = all();
    assert_eq!(decode(&encode(&changes)), Ok(changes));
    assert_eq!(decode(&encode(&[])), Ok(vec![]));
}

#[test]
fn an_entry_of_another_version_is_refused() {
    assert_eq!(decode(&[2, 0]), Err(EntryError::Version(2)));
    assert_eq!(decode(&[]), Err(EntryError::Damaged { at: 0 }));
    assert_eq!(decode(&[1, 99]), Err(EntryError::Damaged { at: 1 }));
}

#[test]
fn a_cut_entry_is_reported_as_damaged() {
    let entry = encode(&all()[..1]);
    for end in 2..entry.len() {
        assert_eq!(decode(&entry[..end]), Err(EntryError::Damaged { at: 1 }), "{end}");
    }
}

#[test]
fn the_layout_of_version_1_is_unchanged() {
    let key = Labels::from_pairs([("job", "a")]);
    let changes = [Change::Deleted { key, at: 64 }, Change::Emitted { at: -1, ids: vec![2] }];
    assert_eq!(encode(&changes), b"\x01\x03\x07\x01\x03job\x01a\x80\x01\x05\x01\x01\x02");
}

proptest! {
    #[test]
    fn any_bytes_are_read_or_refused(bytes: Vec<u8>) {
        let _ = decode(&bytes);
        let _ = decode(&[&[VERSION], &bytes[..]].concat());
    }

    #[test]
    fn a_flipped_byte_is_read_or_refused(at in 0usize..400, by in 1u8..) {
        let mut entry = encode(&all());
        let at = at % entry.len();
        entry[at] ^= by;
        let _ = decode(&entry);
    }
}

#[test]
fn openmetrics_counters_of_old_journals_get_their_series_name() {
    let key = Labels::from_pairs([("job", "a")]);
    let members = ["c_total", "c"].map(|name| Member {
        labels: Labels::from_pairs([("__name__", name), ("job", "a")]),
        reading: Reading::Float(1.0),
        start: 0,
        time: 0,
        exemplars: Vec::new(),
    });
    let family = Family { kind: MetricType::Counter, members: members.into(), ..Family::default() };
    let mut group = Group::new(1, key.clone());
    group.families =
        Packed::new(&[("c".into(), Kept { family: Arc::new(family.clone()), pushed: 5 })].into());
    let families = vec![("c".to_string(), Arc::new(family))];
    let pushed = Change::Pushed { id: 1, key, replace: false, at: 1, wall: 1, ttl: None, families };
    for change in decode(&encode(&[pushed, Change::Snapshot(Arc::new(group))])).unwrap() {
        let names: Vec<String> = match change {
            Change::Pushed { families, .. } => families.into_iter().map(|(name, _)| name).collect(),
            Change::Snapshot(group) => group.families.unpack().into_keys().collect(),
            other => panic!("{other:?}"),
        };
        assert_eq!(names, ["c", "c_total"]);
    }
}
