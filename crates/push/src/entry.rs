//! One push as it is sent and as it is stored in the spool, and why it did not arrive. No I/O.
//!
//! ```text
//! {"at":1700000000000,"labels":{"instance":"h","job":"backup"},"ttl":"7d","bytes":26}\n     and "add", see Add
//! # TYPE a gauge\na 1\n ...                     the body: text format, so many bytes
//! ```
//!
//! The entry does not contain the target, because its URL may hold a password.

use serde::{Deserialize, Serialize};
use std::borrow::Cow;
use std::collections::BTreeMap;
use std::hash::{BuildHasher, Hasher, RandomState};
use std::time::Duration;

/// The timeout of one request, connecting included.
pub const REQUEST_TIMEOUT: Duration = Duration::from_secs(5);

/// Why an entry did not arrive.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum NotSent {
    /// The target can't be reached or is busy. It may accept the entry later.
    Later(String),
    /// The target answered with an error. The cause may be the target or this entry.
    Failed(String),
    /// Credentials, a certificate or the URL are wrong. No entry arrives until the user has fixed them.
    Denied(String),
    /// The target refused the entry for good.
    Never(String),
}

/// The content of one request.
#[derive(Debug, Clone, PartialEq)]
pub(crate) struct Entry {
    /// Milliseconds since 1970. A remote-write endpoint gets it as the time of samples that have none.
    pub(crate) at: i64,
    /// Labels of all samples, which are the group's labels at a gateway. `job` is among them.
    pub(crate) labels: BTreeMap<String, String>,
    /// How long a gateway keeps the group, as given with `--ttl`.
    pub(crate) ttl: Option<String>,
    /// If set, the gateway adds the entry to the group's values instead of replacing them.
    pub(crate) add: Option<Add>,
    /// Text format 0.0.4.
    pub(crate) body: String,
}

/// How an entry is added to a group.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Add {
    /// How gauges are combined, as given with `--add`.
    pub(crate) gauges: String,
    /// The idempotency key: narthex adds an entry once, however often it is sent.
    pub(crate) key: String,
}

impl Add {
    pub(crate) fn new(gauges: String) -> Add {
        // Each hasher has random keys of its own, so the two numbers are random.
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
    /// The content of the entry's file.
    pub(crate) fn to_bytes(&self) -> Vec<u8> {
        let head = Head {
            at: self.at,
            labels: Cow::Borrowed(&self.labels),
            ttl: self.ttl.as_deref().map(Cow::Borrowed),
            add: self.add.as_ref().map(Cow::Borrowed),
            bytes: self.body.len(),
        };
        // Serialising strings and numbers can't fail.
        let mut out = serde_json::to_vec(&head).unwrap_or_default();
        out.push(b'\n');
        out.extend_from_slice(self.body.as_bytes());
        out
    }

    /// Reads the content of an entry's file. Returns `None` if it is damaged.
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
