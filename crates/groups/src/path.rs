//! Converts the path of a push, `/metrics/job[@base64]/JOB{/LABEL[@base64]/VALUE}`, to the labels of its group and
//! back. Pure.
//!
//! As in the Pushgateway, the whole path is percent-decoded before it is split at slashes, so `%2F` splits too. A value
//! that is empty or contains a slash is written as base64 with the URL-safe alphabet; padding is optional. If a label
//! occurs twice, the last one counts. `job` is always that of the job.

use crate::escaped_names;
use base64::Engine;
use base64::alphabet::URL_SAFE;
use base64::engine::{DecodePaddingMode, GeneralPurpose, GeneralPurposeConfig};
use std::collections::BTreeMap;

/// The header for the time to live of a group, like the URL parameter `ttl`.
pub const TTL_HEADER: &str = "narthex-ttl";

/// The suffix of a label name whose value is base64.
const BASE64_SUFFIX: &str = "@base64";

/// The longest accepted path, in bytes as sent. Go's server accepts a mebibyte of headers in total. A group of a few
/// hundred labels fits into this limit.
pub const PATH_BYTES: usize = 64 << 10;

/// URL-safe, and as lenient as Go's decoder: padding is removed before, loose trailing bits are ignored.
const BASE64: GeneralPurpose = GeneralPurpose::new(
    &URL_SAFE,
    GeneralPurposeConfig::new()
        .with_decode_padding_mode(DecodePaddingMode::RequireNone)
        .with_decode_allow_trailing_bits(true)
        .with_encode_padding(false),
);

/// The labels in a path. A label with an empty value is removed from the pushed series.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct GroupingLabels(BTreeMap<String, String>);

/// Why a path does not name a group.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum PathError {
    /// The path is not below `/metrics/job`.
    #[error("no such path; a group is /metrics/job/JOB followed by pairs /LABEL/VALUE")]
    NotFound,
    /// The path is longer than [`PATH_BYTES`].
    #[error("the path is {is} bytes long, the limit is {PATH_BYTES}")]
    TooLong { is: usize },
    #[error("job name is required: push to /metrics/job/JOB")]
    NoJob,
    /// The parts after the job are not pairs.
    #[error("odd number of parts after the job in {path:?}: labels are pairs /LABEL/VALUE")]
    Odd {
        /// The part of the path after the job.
        path: String,
    },
    /// Two slashes in sequence, or `.` or `..` as a part.
    #[error(
        "a part of the path is {part:?}; such a value is written as base64, and an empty one as `=`: /{name}@base64/{encoded}"
    )]
    Unclean {
        part: String,
        /// The label to which it may belong.
        name: String,
        /// The base64 form of the value.
        encoded: String,
    },
    /// The name is not allowed as a label of a group.
    #[error(
        "improper label name {name:?}: use [a-zA-Z_][a-zA-Z0-9_]*, not beginning with __; write any other name as \
         U__NAME with each other character as its code point in hexadecimal, _2e_ for a dot"
    )]
    LabelName { name: String },
    #[error("invalid base64 encoding for label {name}={value:?}: {reason}")]
    Base64 {
        name: String,
        /// The value as sent.
        value: String,
        /// The decoder's message.
        reason: String,
    },
    #[error("the value of label {name} is not valid UTF-8")]
    Utf8 { name: String },
    /// A `%` that is not followed by two hexadecimal digits.
    #[error("invalid percent-encoding at byte {at} of the path")]
    Percent {
        /// The offset in the path.
        at: usize,
    },
}

impl GroupingLabels {
    /// Parses the path of a request as sent, percent-encoded.
    pub fn from_path(path: &str) -> Result<Self, PathError> {
        if path.len() > PATH_BYTES {
            return Err(PathError::TooLong { is: path.len() });
        }
        let decoded = percent_decode(path)?;
        let rest = decoded.strip_prefix(b"/metrics/job").ok_or(PathError::NotFound)?;
        let (encoded, rest) = match rest.strip_prefix(BASE64_SUFFIX.as_bytes()) {
            Some(rest) => (true, rest),
            None => (false, rest),
        };
        let rest = rest.strip_prefix(b"/").ok_or(PathError::NotFound)?;
        let mut parts = rest.split(|byte| *byte == b'/');
        let job = parts.next().unwrap_or_default();
        if !encoded && matches!(job, b"." | b"..") {
            let part = String::from_utf8_lossy(job).into_owned();
            return Err(PathError::Unclean { encoded: encode(job), part, name: "job".into() });
        }
        let job = value("job", encoded, job)?;
        if job.is_empty() {
            return Err(PathError::NoJob);
        }
        let mut parts: Vec<&[u8]> = parts.collect();
        // A slash at the end of `/metrics/job/JOB/` has no meaning.
        if parts.first().is_some_and(|only| only.is_empty()) && parts.len() == 1 {
            parts.clear();
        }
        check_clean(&parts)?;
        if !parts.len().is_multiple_of(2) {
            let path = String::from_utf8_lossy(&parts.join(&b'/')).into_owned();
            return Err(PathError::Odd { path: shorten(&path) });
        }
        let mut labels = BTreeMap::new();
        for pair in parts.chunks_exact(2) {
            let [name, text] = pair else { continue };
            let name = String::from_utf8_lossy(name);
            let (name, encoded) = match name.strip_suffix(BASE64_SUFFIX) {
                Some(name) => (name, true),
                None => (name.as_ref(), false),
            };
            let unescaped = escaped_names::unescape(name);
            let valid = match &unescaped {
                Some(name) => !name.is_empty(),
                None => model::labels::is_legacy_label_name(name.as_bytes()),
            };
            let name = unescaped.as_deref().unwrap_or(name);
            if !valid || name.starts_with("__") {
                return Err(PathError::LabelName { name: shorten(name) });
            }
            labels.insert(name.to_string(), value(name, encoded, text)?);
        }
        labels.insert("job".to_string(), job);
        Ok(GroupingLabels(labels))
    }

    /// Names and values, sorted by name. Values may be empty.
    pub fn iter(&self) -> impl Iterator<Item = (&str, &str)> {
        self.0.iter().map(|(name, value)| (name.as_str(), value.as_str()))
    }

    /// Returns true if the path has the label `name`, even with an empty value.
    pub fn contains(&self, name: &str) -> bool {
        self.0.contains_key(name)
    }

    /// The labels that identify the group: those with a value.
    pub fn key(&self) -> model::Labels {
        model::Labels::from_pairs(self.iter())
    }
}

/// The path of the group with these labels. A DELETE of the group is sent to it.
pub fn to_path(labels: model::LabelsRef<'_>) -> String {
    let mut path = String::from("/metrics");
    let job = labels.iter().filter(|(name, _)| name == "job");
    for (name, value) in job.chain(labels.iter().filter(|(name, _)| name != "job")) {
        let plain = |byte: u8| byte.is_ascii_alphanumeric() || matches!(byte, b'-' | b'_' | b'~' | b':');
        path.push('/');
        path.push_str(&escaped_names::escape(&name));
        if value.bytes().all(plain) && !value.is_empty() {
            path.push('/');
            path.push_str(&value);
        } else {
            path.push_str(BASE64_SUFFIX);
            path.push('/');
            path.push_str(&encode(value.as_bytes()));
        }
    }
    path
}

/// Go's server redirects a client with such a path, and the redirected PUT arrives as a GET or not at all. An error
/// helps the user more.
fn check_clean(parts: &[&[u8]]) -> Result<(), PathError> {
    for (index, part) in parts.iter().enumerate() {
        // The last part may be empty: it is the value of the label before it.
        let last = index + 1 == parts.len();
        if matches!(*part, b"." | b"..") || (part.is_empty() && !last) {
            let label = if index % 2 == 1 { parts.get(index - 1) } else { None };
            let name = label.map_or("LABEL".into(), |name| String::from_utf8_lossy(name).into_owned());
            let part = String::from_utf8_lossy(part).into_owned();
            return Err(PathError::Unclean { encoded: encode(part.as_bytes()), part, name: shorten(&name) });
        }
    }
    Ok(())
}

fn encode(value: &[u8]) -> String {
    if value.is_empty() { "=".into() } else { BASE64.encode(value) }
}

fn value(name: &str, encoded: bool, text: &[u8]) -> Result<String, PathError> {
    let bytes = if encoded {
        let end = text.iter().rposition(|byte| *byte != b'=').map_or(0, |last| last + 1);
        BASE64.decode(text.get(..end).unwrap_or_default()).map_err(|error| PathError::Base64 {
            name: name.to_string(),
            value: shorten(&String::from_utf8_lossy(text)),
            reason: error.to_string(),
        })?
    } else {
        text.to_vec()
    };
    String::from_utf8(bytes).map_err(|_| PathError::Utf8 { name: name.to_string() })
}

fn percent_decode(path: &str) -> Result<Vec<u8>, PathError> {
    let mut out = Vec::with_capacity(path.len());
    let mut bytes = path.bytes().enumerate();
    while let Some((at, byte)) = bytes.next() {
        if byte != b'%' {
            out.push(byte);
            continue;
        }
        let mut digit = || bytes.next().and_then(|(_, byte)| (byte as char).to_digit(16));
        match (digit(), digit()) {
            (Some(high), Some(low)) => out.push((high * 16 + low) as u8),
            _ => return Err(PathError::Percent { at }),
        }
    }
    Ok(out)
}

/// At most 100 characters, for an error.
fn shorten(text: &str) -> String {
    if text.chars().count() <= 100 {
        return text.to_string();
    }
    text.chars().take(100).chain(['…']).collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn labels(path: &str) -> String {
        match GroupingLabels::from_path(path) {
            Ok(labels) => labels.iter().map(|(name, value)| format!("{name}={value:?} ")).collect(),
            Err(error) => error.to_string(),
        }
    }

    #[test]
    fn labels_are_pairs_after_the_job() {
        assert_eq!(labels("/metrics/job/backup"), r#"job="backup" "#);
        assert_eq!(labels("/metrics/job/backup/"), r#"job="backup" "#);
        assert_eq!(labels("/metrics/job/a/instance/b%20c+d"), r#"instance="b c+d" job="a" "#);
        assert_eq!(labels("/metrics/job/a/instance/"), r#"instance="" job="a" "#);
        assert_eq!(labels("/metrics/job/a/x/1/job/b/x/2"), r#"job="a" x="2" "#);
        assert_eq!(labels("/metrics/job/a%2Fb/c"), r#"b="c" job="a" "#);
    }

    #[test]
    fn base64_is_url_safe_and_padding_optional() {
        assert_eq!(labels("/metrics/job@base64/L3RtcA/x@base64/="), r#"job="/tmp" x="" "#);
        assert_eq!(labels("/metrics/job@base64/L3RtcA==/x@base64/"), r#"job="/tmp" x="" "#);
        assert_eq!(labels("/metrics/job@base64/4p2k"), r#"job="❤" "#);
        for wrong in ["L3RtcA+/", "L3R tcA", "a", "L=3RtcA"] {
            let text = labels(&format!("/metrics/job@base64/{wrong}"));
            assert!(text.starts_with("invalid base64 encoding for label job="), "{wrong}: {text}");
        }
        assert_eq!(labels("/metrics/job@base64/_w"), "the value of label job is not valid UTF-8");
    }

    #[test]
    fn label_names_outside_the_legacy_pattern_are_unescaped() {
        assert_eq!(labels("/metrics/job/a/U__foo_2e_bar/b"), r#"foo.bar="b" job="a" "#);
        assert_eq!(labels("/metrics/job/a/U__foo_2E_bar@base64/Yg"), r#"foo.bar="b" job="a" "#);
        assert_eq!(labels("/metrics/job@base64/Li4"), r#"job=".." "#);
    }

    #[test]
    fn errors_of_paths_name_the_reason() {
        for (path, why) in [
            ("/metrics/job", "no such path"),
            ("/metrics/jobs/a", "no such path"),
            ("/metrics/job@base6/a", "no such path"),
            ("/metrics/job/", "job name is required"),
            ("/metrics/job//a/b", "job name is required"),
            ("/metrics/job@base64/=", "job name is required"),
            ("/metrics/job/..", "/job@base64/Li4"),
            ("/metrics/job/.", "/job@base64/Lg"),
            ("/metrics/job/%2E%2e/a/b", "/job@base64/Li4"),
            ("/metrics/job/a/U__/b", "improper label name"),
            ("/metrics/job/a/U______x/b", "improper label name \"__x\""),
            ("/metrics/job/a/b", "odd number"),
            ("/metrics/job/a/b/c/", "odd number"),
            ("/metrics/job/a/b//c/d", "/b@base64/="),
            ("/metrics/job/a/b/../c/d", "/b@base64/Li4"),
            ("/metrics/job/a/__b/c", "improper label name \"__b\""),
            ("/metrics/job/a/1b/c", "improper label name"),
            ("/metrics/job/a/%C3%A9/c", "improper label name"),
            ("/metrics/job/a%zz", "percent-encoding at byte 14"),
            ("/metrics/job/a%4", "percent-encoding at byte 14"),
            ("/metrics/job/a%ff", "not valid UTF-8"),
        ] {
            assert!(labels(path).contains(why), "{path}: {}", labels(path));
        }
        let long = format!("/metrics/job/{}", "a".repeat(PATH_BYTES));
        assert!(labels(&long).contains("the limit is 65536"));
    }

    #[test]
    fn labels_without_value_do_not_identify_groups() {
        let with = GroupingLabels::from_path("/metrics/job/a/instance@base64/=").unwrap();
        let without = GroupingLabels::from_path("/metrics/job/a").unwrap();
        assert_eq!(with.key(), without.key());
        assert!(with.contains("instance") && !without.contains("instance"));
    }

    proptest! {
        #[test]
        fn any_path_is_read_or_refused(path in ".*") {
            let _ = GroupingLabels::from_path(&path);
            let _ = GroupingLabels::from_path(&format!("/metrics/job/{path}"));
        }

        #[test]
        fn group_paths_parse_to_their_labels(job in ".{1,8}", name in "U__.{0,4}|[^_\u{0}].{0,4}", text in ".{0,8}") {
            let key = model::Labels::from_pairs([("job", job.as_str()), (name.as_str(), text.as_str()), ("job", &job)]);
            let path = to_path(key.as_ref());
            prop_assert_eq!(GroupingLabels::from_path(&path).unwrap().key(), key);
        }
    }
}
