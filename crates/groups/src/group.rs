//! A group: the families that were pushed under one set of labels, and the times of the pushes. Pure.

use crate::packed::Packed;
use model::varint::{put_bytes, put_u64};
use model::{Histogram, Labels, LabelsRef, MetricType};
use std::collections::BTreeMap;
use std::sync::Arc;

/// The metric with the time of a group's last successful push, in seconds since 1970; 0 if there was none.
pub const PUSH_TIME: &str = "push_time_seconds";
/// The metric with the time of a group's last refused push, in seconds since 1970; 0 if there was none.
pub const FAILURE_TIME: &str = "push_failure_time_seconds";

/// The memory of a series besides its bytes: its entry in the index of all series, and the allocator's overhead.
const SERIES_OVERHEAD_BYTES: usize = 48;
/// The memory of a group besides its labels and families, in bytes.
const GROUP_OVERHEAD_BYTES: usize = size_of::<Group>() + 256;

/// The value of a series of a group.
#[derive(Debug, Clone, PartialEq)]
pub enum Reading {
    Float(f64),
    Histogram(Box<Histogram>),
}

#[derive(Debug, Clone, PartialEq)]
pub struct PushedExemplar {
    pub labels: Labels,
    pub value: f64,
    /// The timestamp in milliseconds since 1970. `None` means the time of the push.
    pub time: Option<i64>,
}

/// A series of a group.
#[derive(Debug, Clone, PartialEq)]
pub struct Member {
    /// The whole label set, including the metric name and the group's labels.
    pub labels: Labels,
    pub reading: Reading,
    /// The start timestamp in milliseconds since 1970; 0 means none.
    pub start: i64,
    /// The timestamp of the push, if the user's settings allow timestamps, in milliseconds since 1970; 0 means none.
    /// Only the first emission uses it. It is not kept over a restart.
    pub time: i64,
    /// The exemplars, sorted by time. They are sent once, by the first push that has them, and not kept over a restart.
    pub exemplars: Vec<PushedExemplar>,
}

/// The series of one name in a group.
#[derive(Debug, Clone, PartialEq, Default)]
pub struct Family {
    pub kind: MetricType,
    pub help: String,
    pub unit: String,
    pub members: Vec<Member>,
}

/// The name under which a group keeps a series of a pushed family. The series of a histogram or summary are kept
/// together. Any other series has a family of its own name: OpenMetrics' `c_total` of the counter `c` is the `c_total`
/// of the text format and protobuf, so both are one family in checks, replacements and on the page.
pub fn kept_name<'n>(kind: MetricType, family: &'n str, series: &'n str) -> &'n str {
    match kind {
        MetricType::Histogram | MetricType::GaugeHistogram | MetricType::Summary => family,
        _ => series,
    }
}

impl Family {
    /// Splits the family by the names under which a group keeps its series, see [`kept_name`].
    pub fn by_kept_name(self, name: String) -> BTreeMap<String, Family> {
        let Family { kind, help, unit, members } = self;
        let kept = |member: &Member| {
            let series = member.labels.as_ref().metric_name().unwrap_or_default();
            kept_name(kind, &name, &String::from_utf8_lossy(series)).to_string()
        };
        if members.iter().all(|member| kept(member) == name) {
            return [(name.clone(), Family { kind, help, unit, members })].into();
        }
        let mut families: BTreeMap<String, Family> = BTreeMap::new();
        for member in members {
            let empty = || Family { kind, help: help.clone(), unit: unit.clone(), members: Vec::new() };
            families.entry(kept(&member)).or_insert_with(empty).members.push(member);
        }
        families
    }
}

/// A family and the time of its push.
#[derive(Debug, Clone, PartialEq)]
pub struct Kept {
    pub family: Arc<Family>,
    /// The time of the push, in milliseconds since 1970.
    pub pushed: i64,
}

/// A group. Times are milliseconds since 1970 by the wall clock, and 0 if the event never happened.
#[derive(Debug, Clone, PartialEq)]
pub struct Group {
    /// The number of the group. Numbers are never reused.
    pub id: u64,
    /// The labels of the path that have a value. They identify the group.
    pub key: Labels,
    /// The pushed families by name, without the two push times.
    pub families: Packed,
    /// The time of the last successful push.
    pub pushed: i64,
    /// The time of the last refused push.
    pub failed: i64,
    /// The reason of that refusal.
    pub failure: String,
    /// The last time of a sample of the group, by its own clock.
    pub clock: i64,
    /// The time to live after a push, in milliseconds. `None` means forever.
    pub ttl: Option<i64>,
    /// The time at which the time to live ends.
    pub expires: Option<i64>,
    /// The time at which the time to live ended. The pushed families were removed then.
    pub expired: Option<i64>,
}

impl Group {
    pub fn new(id: u64, key: Labels) -> Self {
        Group {
            id,
            key,
            families: Packed::default(),
            pushed: 0,
            failed: 0,
            failure: String::new(),
            clock: 0,
            ttl: None,
            expires: None,
            expired: None,
        }
    }

    /// The number of pushed series.
    pub fn series(&self) -> usize {
        self.families.series()
    }

    /// The approximate memory of the group while it is read or changed, in bytes. Otherwise its families are compressed
    /// and need less. Limits use this size, because a group could become much larger than memory if they used the
    /// compressed size.
    pub fn bytes(&self) -> usize {
        let families = self.families.plain_bytes() + self.series() * SERIES_OVERHEAD_BYTES;
        GROUP_OVERHEAD_BYTES + self.key.as_ref().as_bytes().len() + self.failure.len() + families
    }

    pub fn last_push_succeeded(&self) -> bool {
        self.pushed > self.failed
    }

    pub fn is_failing(&self) -> bool {
        self.failed > self.pushed
    }

    /// The two push times: name, help and value in seconds.
    pub fn push_times(&self) -> [(&'static str, &'static str, f64); 2] {
        [
            (
                PUSH_TIME,
                "When the last push to this group succeeded, in seconds since 1970.",
                seconds(self.pushed),
            ),
            (
                FAILURE_TIME,
                "When the last push to this group was refused, in seconds since 1970.",
                seconds(self.failed),
            ),
        ]
    }

    /// Appends the canonical labels of a push time.
    pub fn put_time_labels(&self, name: &str, out: &mut Vec<u8>) {
        put_with_name(self.key.as_ref(), name, out);
    }

    /// The labels of a push time.
    pub fn time_labels(&self, name: &str) -> Labels {
        let mut bytes = Vec::new();
        self.put_time_labels(name, &mut bytes);
        LabelsRef::trusted(&bytes).to_labels()
    }
}

fn seconds(ms: i64) -> f64 {
    ms as f64 / 1000.0
}

/// Appends the labels of `key`, which has no metric name, together with this metric name.
fn put_with_name(key: LabelsRef<'_>, metric: &str, out: &mut Vec<u8>) {
    const METRIC_NAME: &[u8] = model::labels::METRIC_NAME.as_bytes();
    put_u64(out, key.len() as u64 + 1);
    let (before, after) = (|name: &[u8]| name < METRIC_NAME, |name: &[u8]| name >= METRIC_NAME);
    let put = |out: &mut Vec<u8>, (name, value): (&[u8], &[u8])| {
        put_bytes(out, name);
        put_bytes(out, value);
    };
    key.pairs().filter(|(name, _)| before(name)).for_each(|pair| put(out, pair));
    put(out, (METRIC_NAME, metric.as_bytes()));
    key.pairs().filter(|(name, _)| after(name)).for_each(|pair| put(out, pair));
}
