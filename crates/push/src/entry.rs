//! One push, as it is sent and as it lies in the spool, and why it did not arrive. Pure.
//!
//! ```text
//! {"at":1700000000000,"labels":{"instance":"h","job":"backup"},"ttl":"7d","bytes":26}\n     and "add", see Add
//! # TYPE a gauge\na 1\n ...                     the body: text format, so many bytes
//! ```
//!
//! The target stands nowhere in it, as its URL may hold a password.

use serde::{Deserialize, Serialize};
use std::borrow::Cow;
use std::collections::BTreeMap;
use std::hash::{BuildHasher, Hasher, RandomState};
use std::time::Duration;

/// How long one request may take, connecting included.
pub const REQUEST_TIMEOUT: Duration = Duration::from_secs(5);

/// Why an entry did not arrive.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum NotSent {
    /// The target can't be reached, or is busy: it may take the entry later.
    Later(String),
    /// The target answered that it failed. The reason may be the target or this entry.
    Failed(String),
    /// It needs somebody: credentials, a certificate or the URL are wrong. Until then nothing arrives.
    Denied(String),
    /// It never will be.
    Never(String),
}

/// What is pushed in one request.
#[derive(Debug, Clone, PartialEq)]
pub(crate) struct Entry {
    /// Milliseconds since 1970: the time of samples without one, where it goes straight to a receiver.
    pub(crate) at: i64,
    /// Labels of all samples: a gateway's group. `job` is among them.
    pub(crate) labels: BTreeMap<String, String>,
    /// How long a gateway is to keep the group, in the words of `--ttl`.
    pub(crate) ttl: Option<String>,
    /// Add it to what the group has.
    pub(crate) add: Option<Add>,
    /// Text format 0.0.4.
    pub(crate) body: String,
}

/// How an entry is added to a group.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Add {
    /// What becomes of gauges, in the words of `--add`.
    pub(crate) gauges: String,
    /// By which narthex adds it once, however often it is sent.
    pub(crate) key: String,
}

impl Add {
    pub(crate) fn new(gauges: String) -> Add {
        // Each hasher has random keys of its own.
        let [high, low] = [0; 2].map(|_: u8| RandomState::new().build_hasher().finish());
        Add { gauges, key: format!("{high:016x}{low:016x}") }
    }
}

#[derive(Serialize, Deserialize)]
struct Head<'a> {
    at: i64,
    labels: Cow<'a, BTreeMap<String, String>>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    ttl: Option<Cow<'a, str>>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    add: Option<Cow<'a, Add>>,
    bytes: usize,
}

impl Entry {
    /// The file's content.
    pub(crate) fn to_bytes(&self) -> Vec<u8> {
        let head = Head {
            at: self.at,
            labels: Cow::Borrowed(&self.labels),
            ttl: self.ttl.as_deref().map(Cow::Borrowed),
            add: self.add.as_ref().map(Cow::Borrowed),
            bytes: self.body.len(),
        };
        // Strings and numbers always have a JSON.
        let mut out = serde_json::to_vec(&head).unwrap_or_default();
        out.push(b'\n');
        out.extend_from_slice(self.body.as_bytes());
        out
    }

    /// Reads a file's content; nothing where it is damaged.
    pub(crate) fn from_bytes(bytes: &[u8]) -> Option<Entry> {
        let end = bytes.iter().position(|byte| *byte == b'\n')?;
        let head: Head<'_> = serde_json::from_slice(bytes.get(..end)?).ok()?;
        let body = std::str::from_utf8(bytes.get(end + 1..)?).ok()?;
        (body.len() == head.bytes && head.labels.contains_key("job")).then(|| Entry {
            at: head.at,
            labels: head.labels.into_owned(),
            ttl: head.ttl.map(Cow::into_owned),
            add: head.add.map(Cow::into_owned),
            body: body.to_string(),
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn entries_read_back_and_damaged_ones_do_not() {
        let labels: BTreeMap<_, _> = [("job".to_string(), "a\"\n".to_string())].into();
        let add = Some(Add::new("max".into()));
        let entry = Entry { at: -5, labels, ttl: Some("7d".into()), add, body: "a 1\né 2\n".into() };
        let bytes = entry.to_bytes();
        assert_eq!(Entry::from_bytes(&bytes), Some(entry.clone()));
        let without = Entry { ttl: None, add: None, body: String::new(), ..entry };
        assert_eq!(Entry::from_bytes(&without.to_bytes()), Some(without));
        for length in 0..bytes.len() {
            assert_eq!(Entry::from_bytes(&bytes[..length]), None, "{length}");
        }
    }
}
