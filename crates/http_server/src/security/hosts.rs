//! The host names by which clients reach narthex.

use std::str::FromStr;

/// A host name that is accepted in addition to the machine's own: `metrics.example.org`, with a port if
/// browsers use another one than the scheme's (`metrics.example.org:8443`).
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct AllowedHost {
    name: String,
    port: Option<u16>,
}

/// A text that can't be the host of a URL.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{0:?} is not the name of a host: write it as in a URL, without http:// and without a path")]
pub struct HostError(String);

impl FromStr for AllowedHost {
    type Err = HostError;

    fn from_str(text: &str) -> Result<Self, HostError> {
        let wrong = || HostError(text.to_string());
        let (name, port) = match text.split_once(':') {
            Some((name, port)) => (name, Some(port.parse().map_err(|_| wrong())?)),
            None => (text, None),
        };
        let fits = |c: char| c.is_ascii_alphanumeric() || matches!(c, '-' | '_' | '.');
        if name.is_empty() || !name.chars().all(fits) {
            return Err(wrong());
        }
        Ok(AllowedHost { name: name.to_ascii_lowercase(), port })
    }
}

impl AllowedHost {
    /// Returns the name without a port, in lower case.
    pub(crate) fn name(&self) -> &str {
        &self.name
    }

    /// Returns true if `host`, the part of an origin after `://`, equals this host exactly. Another port of
    /// the same name may belong to another site.
    pub(crate) fn is_origin(&self, host: &str) -> bool {
        host.parse().is_ok_and(|host: AllowedHost| host == *self)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn invalid_host_names_are_rejected() {
        for text in ["", "https://a.example", "a.example/", "*", "a:b", "a:99999", ":80", "a b"] {
            assert!(text.parse::<AllowedHost>().unwrap_err().to_string().contains("as in a URL"), "{text}");
        }
    }
}
