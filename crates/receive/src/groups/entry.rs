//! The bytes of changes in the journal of groups. Pure.
//!
//! An entry of the journal is what one commit changed:
//!
//! ```text
//! ┌─────────┬──────────────┬──────────────┬────
//! │ version │ tag │ fields │ tag │ fields │ ...     version: 1 byte, now 1; tag: 1 byte
//! └─────────┴──────────────┴──────────────┴────
//! ```
//!
//! Numbers are varints, signed ones zigzag-encoded; floats are their 8 bytes, little-endian; texts and label
//! sets (canonical bytes) are preceded by their length. Replaying all entries in order gives the groups as
//! they were; a snapshot is a journal in which each group is one change.

use super::change::Change;
use super::group::{Family, Group, Kept, Member, Reading};
use model::varint::{put_bytes, put_i64, put_u64, take_bytes, take_i64, take_u64};
use model::{BucketSpan, Counts, Histogram, Labels, LabelsRef, MetricType, ResetHint};
use std::sync::Arc;

/// The version of the layout, the first byte of an entry.
const VERSION: u8 = 1;

/// The most elements of a list that memory is taken for before they were read.
const TRUSTED_LENGTH: usize = 1024;

/// An entry of the journal that can't be read.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum EntryError {
    /// Of a later narthex.
    #[error("an entry of version {0}, this narthex knows {VERSION}")]
    Version(u8),
    /// Damaged.
    #[error("a damaged entry, at byte {at}")]
    Damaged {
        /// Where.
        at: usize,
    },
}

/// The bytes of an entry.
pub fn encode(changes: &[Change]) -> Vec<u8> {
    let mut out = vec![VERSION];
    for change in changes {
        put_change(&mut out, change);
    }
    out
}

/// The changes in an entry.
pub fn decode(entry: &[u8]) -> Result<Vec<Change>, EntryError> {
    let damaged = |rest: &[u8]| EntryError::Damaged { at: entry.len() - rest.len() };
    let mut rest = match entry {
        [VERSION, rest @ ..] => rest,
        [other, ..] => return Err(EntryError::Version(*other)),
        [] => return Err(EntryError::Damaged { at: 0 }),
    };
    let mut changes = Vec::new();
    while !rest.is_empty() {
        let start = rest;
        changes.push(take_change(&mut rest).ok_or_else(|| damaged(start))?);
    }
    Ok(changes)
}

fn put_change(out: &mut Vec<u8>, change: &Change) {
    match change {
        Change::Pushed { id, key, replace, at, wall, ttl, families } => {
            out.push(1);
            put_u64(out, *id);
            put_labels(out, key);
            out.push(u8::from(*replace));
            put_i64(out, *at);
            put_i64(out, *wall);
            put_option(out, *ttl);
            put_u64(out, families.len() as u64);
            for (name, family) in families {
                put_family(out, name, family);
            }
        }
        Change::Refused { id, key, at, wall, reason } => {
            out.push(2);
            put_u64(out, *id);
            put_labels(out, key);
            put_i64(out, *at);
            put_i64(out, *wall);
            put_bytes(out, reason.as_bytes());
        }
        Change::Deleted { key, at } => {
            out.push(3);
            put_labels(out, key);
            put_i64(out, *at);
        }
        Change::Expired { key, at, wall } => {
            out.push(4);
            put_labels(out, key);
            put_i64(out, *at);
            put_i64(out, *wall);
        }
        Change::Emitted { at, ids } => {
            out.push(5);
            put_i64(out, *at);
            put_u64(out, ids.len() as u64);
            for id in ids {
                put_u64(out, *id);
            }
        }
        Change::Snapshot(group) => {
            out.push(6);
            put_group(out, group);
        }
        Change::Departed { key, at } => {
            out.push(7);
            put_labels(out, key);
            put_i64(out, *at);
        }
    }
}

fn take_change(input: &mut &[u8]) -> Option<Change> {
    Some(match take_u8(input)? {
        1 => Change::Pushed {
            id: take_u64(input)?,
            key: take_labels(input)?,
            replace: take_u8(input)? != 0,
            at: take_i64(input)?,
            wall: take_i64(input)?,
            ttl: take_option(input)?,
            families: take_list(input, |input| {
                let (name, family) = take_family(input)?;
                Some((name, Arc::new(family)))
            })?,
        },
        2 => Change::Refused {
            id: take_u64(input)?,
            key: take_labels(input)?,
            at: take_i64(input)?,
            wall: take_i64(input)?,
            reason: take_text(input)?,
        },
        3 => Change::Deleted { key: take_labels(input)?, at: take_i64(input)? },
        4 => Change::Expired { key: take_labels(input)?, at: take_i64(input)?, wall: take_i64(input)? },
        5 => Change::Emitted { at: take_i64(input)?, ids: take_list(input, take_u64)? },
        6 => Change::Snapshot(Arc::new(take_group(input)?)),
        7 => Change::Departed { key: take_labels(input)?, at: take_i64(input)? },
        _ => return None,
    })
}

fn put_group(out: &mut Vec<u8>, group: &Group) {
    put_u64(out, group.id);
    put_labels(out, &group.key);
    for time in [group.pushed, group.failed, group.clock] {
        put_i64(out, time);
    }
    put_bytes(out, group.failure.as_bytes());
    for time in [group.ttl, group.expires, group.expired] {
        put_option(out, time);
    }
    put_u64(out, group.families.len() as u64);
    for (name, kept) in &group.families {
        put_i64(out, kept.pushed);
        put_family(out, name, &kept.family);
    }
}

fn take_group(input: &mut &[u8]) -> Option<Group> {
    let mut group = Group::new(take_u64(input)?, take_labels(input)?);
    group.pushed = take_i64(input)?;
    group.failed = take_i64(input)?;
    group.clock = take_i64(input)?;
    group.failure = take_text(input)?;
    group.ttl = take_option(input)?;
    group.expires = take_option(input)?;
    group.expired = take_option(input)?;
    let families = take_list(input, |input| {
        let pushed = take_i64(input)?;
        let (name, family) = take_family(input)?;
        Some((name, Kept::new(Arc::new(family), pushed)))
    })?;
    group.families = families.into_iter().collect();
    Some(group)
}

fn put_family(out: &mut Vec<u8>, name: &str, family: &Family) {
    put_bytes(out, name.as_bytes());
    out.push(family.kind as u8);
    put_bytes(out, family.help.as_bytes());
    put_bytes(out, family.unit.as_bytes());
    put_u64(out, family.members.len() as u64);
    for member in &family.members {
        put_labels(out, &member.labels);
        put_i64(out, member.start);
        match &member.reading {
            Reading::Float(value) => {
                out.push(0);
                put_f64(out, *value);
            }
            Reading::Histogram(histogram) => {
                out.push(1);
                put_histogram(out, histogram);
            }
        }
    }
}

fn take_family(input: &mut &[u8]) -> Option<(String, Family)> {
    let name = take_text(input)?;
    let family = Family {
        kind: MetricType::from_number(u64::from(take_u8(input)?)),
        help: take_text(input)?,
        unit: take_text(input)?,
        members: take_list(input, |input| {
            let labels = take_labels(input)?;
            let start = take_i64(input)?;
            let reading = match take_u8(input)? {
                0 => Reading::Float(take_f64(input)?),
                1 => Reading::Histogram(Box::new(take_histogram(input)?)),
                _ => return None,
            };
            Some(Member { labels, reading, start, time: 0, exemplars: Vec::new() })
        })?,
    };
    Some((name, family))
}

fn put_histogram(out: &mut Vec<u8>, histogram: &Histogram) {
    out.push(histogram.reset_hint as u8);
    put_i64(out, i64::from(histogram.schema));
    put_f64(out, histogram.zero_threshold);
    put_f64(out, histogram.sum);
    for spans in [&histogram.positive_spans, &histogram.negative_spans] {
        put_u64(out, spans.len() as u64);
        for span in spans {
            put_i64(out, i64::from(span.offset));
            put_u64(out, u64::from(span.length));
        }
    }
    match &histogram.counts {
        Counts::Integer { count, zero, positive, negative } => {
            out.push(0);
            put_u64(out, *count);
            put_u64(out, *zero);
            for buckets in [positive, negative] {
                put_u64(out, buckets.len() as u64);
                buckets.iter().for_each(|bucket| put_i64(out, *bucket));
            }
        }
        Counts::Float { count, zero, positive, negative } => {
            out.push(1);
            put_f64(out, *count);
            put_f64(out, *zero);
            for buckets in [positive, negative] {
                put_u64(out, buckets.len() as u64);
                buckets.iter().for_each(|bucket| put_f64(out, *bucket));
            }
        }
    }
    put_u64(out, histogram.custom_values.len() as u64);
    histogram.custom_values.iter().for_each(|bound| put_f64(out, *bound));
}

fn take_histogram(input: &mut &[u8]) -> Option<Histogram> {
    let span = |input: &mut &[u8]| {
        let offset = i32::try_from(take_i64(input)?).ok()?;
        Some(BucketSpan { offset, length: u32::try_from(take_u64(input)?).ok()? })
    };
    Some(Histogram {
        reset_hint: ResetHint::from_number(u64::from(take_u8(input)?)),
        schema: i32::try_from(take_i64(input)?).ok()?,
        zero_threshold: take_f64(input)?,
        sum: take_f64(input)?,
        positive_spans: take_list(input, span)?,
        negative_spans: take_list(input, span)?,
        counts: match take_u8(input)? {
            0 => Counts::Integer {
                count: take_u64(input)?,
                zero: take_u64(input)?,
                positive: take_list(input, take_i64)?,
                negative: take_list(input, take_i64)?,
            },
            1 => Counts::Float {
                count: take_f64(input)?,
                zero: take_f64(input)?,
                positive: take_list(input, take_f64)?,
                negative: take_list(input, take_f64)?,
            },
            _ => return None,
        },
        custom_values: take_list(input, take_f64)?,
    })
}

fn put_labels(out: &mut Vec<u8>, labels: &Labels) {
    put_bytes(out, labels.as_ref().as_bytes());
}

fn take_labels(input: &mut &[u8]) -> Option<Labels> {
    Some(LabelsRef::parse(take_bytes(input)?).ok()?.to_labels())
}

fn put_f64(out: &mut Vec<u8>, value: f64) {
    out.extend_from_slice(&value.to_bits().to_le_bytes());
}

fn take_f64(input: &mut &[u8]) -> Option<f64> {
    let (bytes, rest) = input.split_first_chunk::<8>()?;
    *input = rest;
    Some(f64::from_bits(u64::from_le_bytes(*bytes)))
}

fn put_option(out: &mut Vec<u8>, value: Option<i64>) {
    match value {
        None => out.push(0),
        Some(value) => {
            out.push(1);
            put_i64(out, value);
        }
    }
}

fn take_option(input: &mut &[u8]) -> Option<Option<i64>> {
    Some(match take_u8(input)? {
        0 => None,
        1 => Some(take_i64(input)?),
        _ => return None,
    })
}

fn take_u8(input: &mut &[u8]) -> Option<u8> {
    let (first, rest) = input.split_first()?;
    *input = rest;
    Some(*first)
}

fn take_text(input: &mut &[u8]) -> Option<String> {
    String::from_utf8(take_bytes(input)?.to_vec()).ok()
}

fn take_list<T>(input: &mut &[u8], mut take: impl FnMut(&mut &[u8]) -> Option<T>) -> Option<Vec<T>> {
    let length = usize::try_from(take_u64(input)?).ok()?;
    // Each element takes a byte at least, so a length beyond that is damage.
    if length > input.len() {
        return None;
    }
    let mut list = Vec::with_capacity(length.min(TRUSTED_LENGTH));
    for _ in 0..length {
        list.push(take(input)?);
    }
    Some(list)
}

#[cfg(test)]
mod tests {
    use super::*;
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
        group.families.insert("x".into(), Kept::new(family.clone(), 99));
        (group.pushed, group.failed, group.clock, group.ttl, group.expires) = (5, 6, 7, Some(8), Some(13));
        let families = vec![("x".to_string(), family)];
        vec![
            Change::Pushed {
                id: 1,
                key: key.clone(),
                replace: true,
                at: 12,
                wall: -3,
                ttl: Some(5),
                families,
            },
            Change::Refused { id: 2, key: key.clone(), at: 1, wall: 2, reason: "no".into() },
            Change::Deleted { key: key.clone(), at: 4 },
            Change::Expired { key: key.clone(), at: 4, wall: 3 },
            Change::Emitted { at: i64::MAX, ids: vec![1, 2, 300] },
            Change::Snapshot(Arc::new(group)),
            Change::Departed { key, at: i64::MIN },
        ]
    }

    #[test]
    fn changes_come_back_as_they_were() {
        let changes = all();
        assert_eq!(decode(&encode(&changes)), Ok(changes));
        assert_eq!(decode(&encode(&[])), Ok(vec![]));
    }

    #[test]
    fn an_entry_of_another_version_is_not_guessed_at() {
        assert_eq!(decode(&[2, 0]), Err(EntryError::Version(2)));
        assert_eq!(decode(&[]), Err(EntryError::Damaged { at: 0 }));
        assert_eq!(decode(&[1, 99]), Err(EntryError::Damaged { at: 1 }));
    }

    #[test]
    fn a_cut_entry_is_damaged() {
        let entry = encode(&all()[..1]);
        for end in 2..entry.len() {
            assert_eq!(decode(&entry[..end]), Err(EntryError::Damaged { at: 1 }), "{end}");
        }
    }

    #[test]
    fn the_layout_of_version_1_stays() {
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
}
