//! One event, with all that is written of it.

use std::fmt;
use std::hash::{DefaultHasher, Hash, Hasher};
use tracing::field::{Field, Visit};
use tracing::{Event, Level};

/// The longest message or value that is written, in bytes; the rest is cut off.
pub const VALUE_BYTES_MAX: usize = 4 << 10;

/// Fields that say what an event is about. Events of one kind that differ in one of these are throttled
/// apart.
const SUBJECTS: [&str; 8] =
    ["destination", "collector", "path", "journal", "url", "address", "damage", "segment"];

/// A value of a field.
#[derive(Debug, Clone, PartialEq)]
pub enum Value {
    /// Words.
    Text(String),
    /// A number or a truth value, as it is written in JSON, too.
    Plain(String),
}

/// An event.
#[derive(Debug, Clone)]
pub struct Record {
    /// How important it is.
    pub level: Level,
    /// When, in milliseconds since 1970.
    pub time_ms: i64,
    /// The part of the program: a path of modules.
    pub target: String,
    /// The sentence.
    pub message: String,
    /// The rest, in the order of the event's fields.
    pub fields: Vec<(&'static str, Value)>,
    /// The same for events of one kind about one subject.
    pub key: u64,
    /// Whether the throttle may hold it back.
    pub throttled: bool,
}

impl Record {
    /// A sentence alone.
    pub fn new(level: Level, message: String, time_ms: i64) -> Record {
        let target = super::ANSWER.to_string();
        Record { level, time_ms, target, message, fields: Vec::new(), key: 0, throttled: false }
    }

    /// What an event says.
    pub fn of(event: &Event<'_>, time_ms: i64) -> Record {
        let metadata = event.metadata();
        let mut record = Record::new(*metadata.level(), String::new(), time_ms);
        record.target = metadata.target().to_string();
        event.record(&mut record);
        // Whoever asks for debug wants to see each event.
        record.throttled = record.target != super::ANSWER && record.level <= Level::INFO;
        let mut hasher = DefaultHasher::new();
        metadata.callsite().hash(&mut hasher);
        record.message.hash(&mut hasher);
        for (name, value) in &record.fields {
            if let (true, Value::Text(text) | Value::Plain(text)) = (SUBJECTS.contains(name), value) {
                text.hash(&mut hasher);
            }
        }
        record.key = hasher.finish();
        record
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
        // JSON has no number that is not finite.
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

/// At most [`VALUE_BYTES_MAX`] of a text, and a sign where something was cut off.
fn bounded(text: fmt::Arguments<'_>) -> String {
    struct Bounded(String);
    impl fmt::Write for Bounded {
        fn write_str(&mut self, text: &str) -> fmt::Result {
            let room = VALUE_BYTES_MAX - self.0.len();
            let end = text.floor_char_boundary(room);
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

    #[test]
    fn a_long_value_is_cut_at_the_limit() {
        let whole = "ä".repeat(VALUE_BYTES_MAX / 2);
        assert_eq!(bounded(format_args!("{whole}")), whole);
        let cut = bounded(format_args!("{whole}x"));
        assert_eq!(cut, format!("{whole}…"));
    }
}
