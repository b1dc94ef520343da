//! A group: what was pushed under one set of labels, and when. Pure.

use crate::packed::Packed;
use model::varint::{put_bytes, put_u64};
use model::{Histogram, Labels, LabelsRef, MetricType};
use std::collections::BTreeMap;
use std::sync::Arc;

/// The time of a group's last successful push, in seconds since 1970; 0 where there was none.
pub const PUSH_TIME: &str = "push_time_seconds";
/// The time of a group's last refused push, in seconds since 1970; 0 where there was none.
pub const FAILURE_TIME: &str = "push_failure_time_seconds";

/// Memory that a series takes besides its bytes: its entry in the index of all series, and the allocator's share.
const SERIES_OVERHEAD_BYTES: usize = 48;
/// Memory that a group takes besides its labels and families, in bytes.
const GROUP_OVERHEAD_BYTES: usize = size_of::<Group>() + 256;

/// The value of a series of a group.
#[derive(Debug, Clone, PartialEq)]
pub enum Reading {
    /// A float.
    Float(f64),
    /// A native histogram.
    Histogram(Box<Histogram>),
}

/// An exemplar of a series of a group.
#[derive(Debug, Clone, PartialEq)]
pub struct PushedExemplar {
    /// Its labels.
    pub labels: Labels,
    /// Its value.
    pub value: f64,
    /// Its timestamp, in milliseconds since 1970. None: when it is pushed.
    pub time: Option<i64>,
}

/// A series of a group.
#[derive(Debug, Clone, PartialEq)]
pub struct Member {
    /// Its whole label set, metric name and group included.
    pub labels: Labels,
    /// Its value.
    pub reading: Reading,
    /// When it began to count, in milliseconds since 1970; 0 is unset.
    pub start: i64,
    /// The timestamp it was pushed with, where the user allows that, in milliseconds since 1970; 0 is none.
    /// For its first emission only; it is not kept over a restart.
    pub time: i64,
    /// Its exemplars, by time. They are sent once, by the first push that has them, and not kept over a restart.
    pub exemplars: Vec<PushedExemplar>,
}

/// The series of one name in a group.
#[derive(Debug, Clone, PartialEq, Default)]
pub struct Family {
    /// Its type.
    pub kind: MetricType,
    /// Its help text.
    pub help: String,
    /// Its unit.
    pub unit: String,
    /// Its series.
    pub members: Vec<Member>,
}

/// The name under which a group keeps a series of a pushed family. Series of histograms and summaries belong
/// together. Any other series has a family of its own name: OpenMetrics' `c_total` of the counter `c` is the
/// `c_total` of the text format and protobuf, so both are one family in checks, replacements and on the page.
pub fn kept_name<'n>(kind: MetricType, family: &'n str, series: &'n str) -> &'n str {
    match kind {
        MetricType::Histogram | MetricType::GaugeHistogram | MetricType::Summary => family,
        _ => series,
    }
}

impl Family {
    /// The family by the names under which a group keeps its series, see [`kept_name`].
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

/// A family and when it was pushed.
#[derive(Debug, Clone, PartialEq)]
pub struct Kept {
    /// The family.
    pub family: Arc<Family>,
    /// When it was pushed, in milliseconds since 1970.
    pub pushed: i64,
}

/// A group. Times are milliseconds since 1970 by the wall clock, and 0 where it never happened.
#[derive(Debug, Clone, PartialEq)]
pub struct Group {
    /// Its number, never used twice.
    pub id: u64,
    /// The labels from the path that have a value: what tells it from other groups.
    pub key: Labels,
    /// What was pushed, by name. Neither of the two push times is among them.
    pub families: Packed,
    /// When the last push succeeded.
    pub pushed: i64,
    /// When the last push was refused.
    pub failed: i64,
    /// Why it was.
    pub failure: String,
    /// The last time it sent anything with, by its own clock.
    pub clock: i64,
    /// How long it lives without a push, in milliseconds. None: for ever.
    pub ttl: Option<i64>,
    /// When its time to live is over.
    pub expires: Option<i64>,
    /// When its time to live was over; what was pushed is gone then.
    pub expired: Option<i64>,
}

impl Group {
    /// A group without anything in it.
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

    /// How many series were pushed.
    pub fn series(&self) -> usize {
        self.families.series()
    }

    /// Memory it takes while it is read or changed, in bytes, give or take. Otherwise its families are compressed and take
    /// less; by that size a group could become much larger than memory.
    pub fn bytes(&self) -> usize {
        let families = self.families.plain_bytes() + self.series() * SERIES_OVERHEAD_BYTES;
        GROUP_OVERHEAD_BYTES + self.key.as_ref().as_bytes().len() + self.failure.len() + families
    }

    /// Whether the last push succeeded.
    pub fn last_push_succeeded(&self) -> bool {
        self.pushed > self.failed
    }

    /// Whether the last push was refused.
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

    /// Appends the canonical labels of one of its push times.
    pub fn put_time_labels(&self, name: &str, out: &mut Vec<u8>) {
        put_with_name(self.key.as_ref(), name, out);
    }

    /// The labels of one of its push times.
    pub fn time_labels(&self, name: &str) -> Labels {
        let mut bytes = Vec::new();
        self.put_time_labels(name, &mut bytes);
        LabelsRef::trusted(&bytes).to_labels()
    }
}

fn seconds(ms: i64) -> f64 {
    ms as f64 / 1000.0
}

/// Appends `key`, which has no metric name, with this one.
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
