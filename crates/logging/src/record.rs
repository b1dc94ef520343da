//! One event, with everything that is written about it.

use std::fmt;
use std::hash::{DefaultHasher, Hash, Hasher};
use tracing::field::{Field, Visit};
use tracing::{Event, Level};

/// The longest message or value that is written, in bytes. Longer ones are cut.
pub const VALUE_BYTES_MAX: usize = 4 << 10;

/// Fields that name the subject of an event. Events of one kind with different values in one of these are
/// throttled separately.
///
/// `segment` is not one of them: a full log drops one segment after the other, and each would get its own
/// line.
const SUBJECTS: [&str; 10] =
    ["destination", "input", "collector", "path", "journal", "url", "address", "damage", "state", "about"];

/// The field that names the kind of the event, if the message has numbers that differ each time.
const STATE: &str = "state";

/// Fields that count samples of this event alone. A line for several events has their sums.
const COUNTS: [&str; 5] = ["count", "series", "samples", "histograms", "exemplars"];

/// A value of a field.
#[derive(Debug, Clone, PartialEq)]
pub enum Value {
    Text(String),
    /// A number or a boolean, which JSON writes without quotes.
    Plain(String),
}

impl Value {
    fn number(&self) -> Option<u64> {
        match self {
            Value::Plain(text) => text.parse().ok(),
            Value::Text(_) => None,
        }
    }
}

#[derive(Debug, Clone)]
pub struct Record {
    pub level: Level,
    /// The time in milliseconds since 1970.
    pub time_ms: i64,
    /// The part of the program, as a module path.
    pub target: String,
    pub message: String,
    /// The other fields, in the order of the event's fields.
    pub fields: Vec<(&'static str, Value)>,
    /// Equal for events of one kind about one subject.
    pub key: u64,
    /// True if the throttle may hold it back.
    pub throttled: bool,
}

impl Record {
    /// A record of a message without fields.
    pub fn new(level: Level, message: String, time_ms: i64) -> Record {
        let target = crate::ANSWER.to_string();
        Record { level, time_ms, target, message, fields: Vec::new(), key: 0, throttled: false }
    }

    /// The record of an event.
    pub fn of(event: &Event<'_>, time_ms: i64) -> Record {
        let metadata = event.metadata();
        let mut record = Record::new(*metadata.level(), String::new(), time_ms);
        record.target = metadata.target().to_string();
        event.record(&mut record);
        // A user who sets the level debug expects each event.
        record.throttled = record.target != crate::ANSWER && record.level <= Level::INFO;
        let mut hasher = DefaultHasher::new();
        metadata.callsite().hash(&mut hasher);
        if !record.fields.iter().any(|(name, _)| *name == STATE) {
            record.message.hash(&mut hasher);
        }
        for (name, value) in &record.fields {
            if let (true, Value::Text(text) | Value::Plain(text)) = (SUBJECTS.contains(name), value) {
                text.hash(&mut hasher);
            }
        }
        record.key = hasher.finish();
        record
    }

    /// Adds the counts of an event that this one replaces. Counts of an event of another kind have another
    /// meaning, and are not added.
    pub fn add_counts(&mut self, replaced: &Record) {
        if self.key != replaced.key {
            return;
        }
        for (name, value) in self.fields.iter_mut().filter(|(name, _)| COUNTS.contains(name)) {
            let old = replaced.fields.iter().find(|(of, _)| of == name).map(|(_, value)| value.number());
            if let (Some(new), Some(Some(old))) = (value.number(), old) {
                *value = Value::Plain(new.saturating_add(old).to_string());
            }
        }
    }

    fn put(&mut self, field: &Field, value: Value) {
        match (field.name(), value) {
            ("message", Value::Text(text) | Value::Plain(text)) => self.message = text,
            (name, value) => self.fields.push((name, value)),
        }
    }
}

impl Visit for Record {
    fn record_f64(&mut self, field: &Field, value: f64) {
        // JSON has only finite numbers.
        let text = value.to_string();
        self.put(field, if value.is_finite() { Value::Plain(text) } else { Value::Text(text) });
    }
    fn record_i64(&mut self, field: &Field, value: i64) {
        self.put(field, Value::Plain(value.to_string()));
    }
    fn record_u64(&mut self, field: &Field, value: u64) {
        self.put(field, Value::Plain(value.to_string()));
    }
    fn record_bool(&mut self, field: &Field, value: bool) {
        self.put(field, Value::Plain(value.to_string()));
    }
    fn record_str(&mut self, field: &Field, value: &str) {
        self.put(field, Value::Text(bounded(format_args!("{value}"))));
    }
    fn record_debug(&mut self, field: &Field, value: &dyn fmt::Debug) {
        self.put(field, Value::Text(bounded(format_args!("{value:?}"))));
    }
}

/// The text, cut at [`VALUE_BYTES_MAX`]. A cut is marked.
fn bounded(text: fmt::Arguments<'_>) -> String {
    struct Bounded(String);
    impl fmt::Write for Bounded {
        fn write_str(&mut self, text: &str) -> fmt::Result {
            let space = VALUE_BYTES_MAX - self.0.len();
            let end = text.floor_char_boundary(space);
            self.0.push_str(text.get(..end).unwrap_or_default());
            if end < text.len() { Err(fmt::Error) } else { Ok(()) }
        }
    }
    let mut out = Bounded(String::new());
    if fmt::write(&mut out, text).is_err() {
        out.0.push('…');
    }
    out.0
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::sync::{Arc, Mutex};
    use tracing::Subscriber;
    use tracing_subscriber::layer::{Context, Layer, SubscriberExt};

    /// A layer that keeps the records of all events.
    #[derive(Clone, Default)]
    struct Kept(Arc<Mutex<Vec<Record>>>);

    impl<S: Subscriber> Layer<S> for Kept {
        fn on_event(&self, event: &Event<'_>, _: Context<'_, S>) {
            self.0.lock().unwrap().push(Record::of(event, 0));
        }
    }

    /// The records of dropped segments. Each has its destination, its number and the lost samples.
    fn dropped(segments: &[(&str, u64, u64)]) -> Vec<Record> {
        let kept = Kept::default();
        tracing::subscriber::with_default(tracing_subscriber::registry().with(kept.clone()), || {
            for (destination, segment, samples) in segments {
                tracing::warn!(destination, segment, samples, "the oldest segment is dropped undelivered");
            }
        });
        std::mem::take(&mut *kept.0.lock().unwrap())
    }

    #[test]
    fn dropped_segments_are_throttled_for_each_destination_not_for_each_segment() {
        let records = dropped(&[("a", 1, 10), ("a", 2, 20), ("b", 2, 20)]);
        assert_eq!(records[0].key, records[1].key);
        assert_ne!(records[1].key, records[2].key);
    }

    #[test]
    fn lines_of_one_state_share_a_throttle() {
        let kept = Kept::default();
        tracing::subscriber::with_default(tracing_subscriber::registry().with(kept.clone()), || {
            for (state, destination, count) in
                [("refusing", "a", 4), ("refusing", "a", 5), ("refusing", "b", 5), ("losing", "a", 5)]
            {
                tracing::warn!(state, destination, "{count} samples");
            }
        });
        let keys: Vec<u64> = kept.0.lock().unwrap().iter().map(|record| record.key).collect();
        assert_eq!(keys[0], keys[1]);
        assert!(keys[2] != keys[0] && keys[3] != keys[0] && keys[2] != keys[3], "{keys:?}");
    }

    #[test]
    fn counts_of_one_kind_are_added_up_and_numbers_are_not() {
        let [first, second, other] = dropped(&[("a", 1, 10), ("a", 2, 20), ("b", 2, 20)]).try_into().unwrap();
        let field = |record: &Record, wanted: &str| {
            record.fields.iter().find(|(name, _)| *name == wanted).and_then(|(_, value)| value.number())
        };
        let mut sum = second;
        sum.add_counts(&first);
        sum.add_counts(&other);
        assert_eq!((field(&sum, "samples"), field(&sum, "segment")), (Some(30), Some(2)));
    }

    #[test]
    fn a_long_value_is_cut_at_the_limit() {
        let whole = "ä".repeat(VALUE_BYTES_MAX / 2);
        assert_eq!(bounded(format_args!("{whole}")), whole);
        let cut = bounded(format_args!("{whole}x"));
        assert_eq!(cut, format!("{whole}…"));
    }
}
