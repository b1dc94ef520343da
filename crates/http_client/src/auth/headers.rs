//! `headers` and `http_headers`: the user's headers for each request.

use super::{AuthError, read_file, sensitive};
use crate::Secret;
use http::header::{HeaderMap, HeaderName, HeaderValue};
use serde::Deserialize;
use std::collections::BTreeMap;
use std::path::PathBuf;

/// Headers that a user can't set, because the protocol, HTTP, a proxy or another key sets them. They are
/// Prometheus' list, the protocol's `Retry-Attempt`, and [`model::process::HEADER`].
const RESERVED: [&str; 19] = [
    "authorization",
    "host",
    "content-encoding",
    "content-length",
    "content-type",
    "transfer-encoding",
    "user-agent",
    "connection",
    "keep-alive",
    "proxy-authenticate",
    "proxy-authorization",
    "www-authenticate",
    "accept-encoding",
    "x-prometheus-remote-write-version",
    "x-amz-date",
    "x-amz-security-token",
    "x-amz-content-sha256",
    "retry-attempt",
    model::process::HEADER,
];

/// The values of one of `http_headers`, sent in this order.
#[derive(Debug, Clone, Default, PartialEq, Eq, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct HeaderValues {
    pub values: Vec<String>,
    pub secrets: Vec<Secret>,
    /// Files with one value each. White space at both ends is removed.
    pub files: Vec<PathBuf>,
}

/// Combines `headers` and `http_headers`. Reads their files each time.
pub fn read(
    headers: &BTreeMap<String, Secret>,
    http_headers: &BTreeMap<String, HeaderValues>,
) -> Result<HeaderMap, AuthError> {
    let mut all = HeaderMap::new();
    for (name, value) in headers {
        let parsed = header_name(name, "headers")?;
        all.insert(parsed, header_value(value.reveal(), name, "headers")?);
    }
    for (name, values) in http_headers {
        let parsed = header_name(name, "http_headers")?;
        let mut append = |value: &str| -> Result<(), AuthError> {
            all.append(&parsed, header_value(value, name, "http_headers")?);
            Ok(())
        };
        values.values.iter().try_for_each(|value| append(value))?;
        values.secrets.iter().try_for_each(|secret| append(secret.reveal()))?;
        for file in &values.files {
            let content = read_file(file).map_err(|error| error.at("http_headers"))?;
            append(String::from_utf8_lossy(&content).trim())?;
        }
    }
    Ok(all)
}

fn header_name(name: &str, key: &'static str) -> Result<HeaderName, AuthError> {
    let parsed = HeaderName::from_bytes(name.as_bytes())
        .map_err(|_| AuthError::Header { key, name: name.to_string() })?;
    if RESERVED.contains(&parsed.as_str()) {
        return Err(AuthError::Reserved { key, name: parsed });
    }
    Ok(parsed)
}

fn header_value(value: &str, name: &str, key: &'static str) -> Result<HeaderValue, AuthError> {
    sensitive(value).map_err(|_| AuthError::Header { key, name: name.to_string() })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn values_come_from_the_configuration_and_from_files() {
        let dir = tempfile::tempdir().unwrap();
        let file = dir.path().join("value");
        std::fs::write(&file, " three\n").unwrap();
        let values = HeaderValues {
            values: vec!["one".into()],
            secrets: vec![Secret::new("two")],
            files: vec![file.clone()],
        };
        let plain = BTreeMap::from([("X-Scope-OrgID".to_string(), Secret::new("tenant"))]);
        let http = BTreeMap::from([("X-Many".to_string(), values)]);
        let all = read(&plain, &http).unwrap();
        assert_eq!(all.get("x-scope-orgid").unwrap(), "tenant");
        let many: Vec<_> = all.get_all("x-many").iter().map(|value| value.to_str().unwrap()).collect();
        assert_eq!(many, ["one", "two", "three"]);
        assert!(!format!("{all:?}").contains("two"), "secrets are never shown");
        std::fs::remove_file(&file).unwrap();
        assert!(read(&plain, &http).unwrap_err().to_string().contains("value"));
    }

    #[test]
    fn reserved_headers_can_not_be_set() {
        let refused = |name: &str, value: &str| {
            let one = BTreeMap::from([(name.to_string(), Secret::new(value))]);
            read(&one, &BTreeMap::new()).unwrap_err().to_string()
        };
        assert_eq!(refused("Content-Type", "x"), "headers: content-type can't be set here");
        for (name, value) in [("a b", "1"), ("ok", "hidden\n")] {
            let error = refused(name, value);
            assert!(error.contains(name) && !error.contains("hidden"), "{error}");
        }
    }
}
