//! A destination's URL. It may have credentials, so it is never shown completely.

use base64::Engine as _;
use serde::Deserialize;
use std::fmt;

/// The path of remote-write receivers, used if a URL has none.
pub const DEFAULT_PATH: &str = "/api/v1/write";

/// The port of a SOCKS proxy whose URL has none.
const SOCKS_PORT: u16 = 1080;

/// An `http` or `https` URL, or a `socks5` one for a proxy. It is shown and printed without credentials and
/// query.
#[derive(Clone, PartialEq, Eq)]
pub struct Url {
    uri: http::Uri,
    basic_auth: Option<String>,
}

/// Why a URL is invalid. Never contains credentials.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum UrlError {
    #[error("not a URL: {0}; expected something like http://host:9090/api/v1/write")]
    Malformed(String),
    #[error("the URL must begin with http:// or https://")]
    Scheme,
    #[error("the URL of a proxy must begin with http://, https://, socks5:// or socks5h://")]
    ProxyScheme,
    /// User or password are too long for SOCKS.
    #[error("user and password for a SOCKS proxy may have 255 bytes each")]
    SocksCredentials,
    #[error("the URL names no host")]
    NoHost,
    /// The port is out of range.
    #[error("the port {0} is out of range; ports are numbers from 1 to 65535")]
    Port(String),
}

impl Url {
    pub fn parse(text: &str) -> Result<Self, UrlError> {
        let uri = parse_uri(text)?;
        if !matches!(uri.scheme_str(), Some("http" | "https")) {
            return Err(UrlError::Scheme);
        }
        Self::from_uri(uri)
    }

    /// Parses the URL of a proxy, which may be a SOCKS proxy. `socks5` and `socks5h` mean the same, as in Go:
    /// the proxy looks up host names.
    pub fn parse_proxy(text: &str) -> Result<Self, UrlError> {
        let uri = parse_uri(text)?;
        if matches!(uri.scheme_str(), Some("http" | "https")) {
            return Self::from_uri(uri);
        }
        if !matches!(uri.scheme_str(), Some("socks5" | "socks5h")) {
            return Err(UrlError::ProxyScheme);
        }
        let mut url = Self::from_uri(uri)?;
        if url.uri.port().is_none() {
            let mut parts = url.uri.clone().into_parts();
            let authority = parts.authority.as_ref().map(|host| format!("{host}:{SOCKS_PORT}"));
            parts.authority = authority.and_then(|authority| authority.parse().ok());
            url.uri = http::Uri::from_parts(parts).map_err(|error| UrlError::Malformed(error.to_string()))?;
        }
        let is_long = |(user, password): (String, String)| user.len().max(password.len()) > 255;
        if url.user_and_password().is_some_and(is_long) {
            return Err(UrlError::SocksCredentials);
        }
        Ok(url)
    }

    fn from_uri(uri: http::Uri) -> Result<Self, UrlError> {
        let authority = uri.authority().ok_or(UrlError::NoHost)?.as_str();
        let (userinfo, host) = match authority.rsplit_once('@') {
            Some((userinfo, host)) => (Some(userinfo), host),
            None => (None, authority),
        };
        if host.is_empty() || host.starts_with(':') {
            return Err(UrlError::NoHost);
        }
        // The parser accepts any number of digits.
        let after_address = host.rsplit_once(']').map_or(host, |(_, after)| after);
        if let Some((_, port)) = after_address.split_once(':')
            && !port.is_empty()
            && port.parse::<u16>().ok().is_none_or(|port| port == 0)
        {
            return Err(UrlError::Port(port.to_string()));
        }
        let basic_auth = userinfo.map(|userinfo| {
            let (user, password) = userinfo.split_once(':').unwrap_or((userinfo, ""));
            let plain = [&percent_decode(user)[..], b":", &percent_decode(password)[..]].concat();
            format!("Basic {}", base64::engine::general_purpose::STANDARD.encode(plain))
        });
        let mut parts = uri.clone().into_parts();
        parts.authority = Some(
            host.parse().map_err(|error: http::uri::InvalidUri| UrlError::Malformed(error.to_string()))?,
        );
        let uri = http::Uri::from_parts(parts).map_err(|error| UrlError::Malformed(error.to_string()))?;
        Ok(Url { uri, basic_auth })
    }

    /// Parses a URL from a command line. Without a path it gets [`DEFAULT_PATH`], without a scheme `http`.
    pub fn parse_short(text: &str) -> Result<Self, UrlError> {
        let text = text.trim();
        let text = if text.contains("://") { text.to_string() } else { format!("http://{text}") };
        let url = Self::parse(&text)?;
        if url.uri.path() != "/" || url.uri.query().is_some() {
            return Ok(url);
        }
        let mut parts = url.uri.into_parts();
        parts.path_and_query = Some(http::uri::PathAndQuery::from_static(DEFAULT_PATH));
        let uri = http::Uri::from_parts(parts).map_err(|error| UrlError::Malformed(error.to_string()))?;
        Ok(Url { uri, ..url })
    }

    /// Returns true if the URL has only a host, so that requests go to `/`.
    pub fn has_no_path(&self) -> bool {
        self.uri.host().is_some() && self.uri.path() == "/" && self.uri.query().is_none()
    }

    /// Returns an empty URL, for an entry that has members instead.
    pub fn nowhere() -> Self {
        Url { uri: http::Uri::default(), basic_auth: None }
    }

    /// Returns true if the URL is empty, see [`Url::nowhere`].
    pub fn is_nowhere(&self) -> bool {
        self.uri.authority().is_none()
    }

    /// Returns the URL to connect to, without credentials.
    pub fn uri(&self) -> &http::Uri {
        &self.uri
    }

    /// Returns the `Authorization` header for the URL's user and password. A secret.
    pub fn authorization(&self) -> Option<&str> {
        self.basic_auth.as_deref()
    }

    /// Returns the URL's user and password. A secret.
    pub(crate) fn user_and_password(&self) -> Option<(String, String)> {
        let encoded = self.basic_auth.as_deref()?.strip_prefix("Basic ")?;
        let plain = base64::engine::general_purpose::STANDARD.decode(encoded).ok()?;
        let (user, password) = std::str::from_utf8(&plain).ok()?.split_once(':')?;
        Some((user.to_string(), password.to_string()))
    }

    pub fn is_socks(&self) -> bool {
        matches!(self.uri.scheme_str(), Some("socks5" | "socks5h"))
    }

    pub fn is_https(&self) -> bool {
        self.uri.scheme_str() == Some("https")
    }

    /// Returns scheme, host, port and path, without user, password and query. Safe to show.
    pub fn redacted(&self) -> String {
        let scheme = self.uri.scheme_str().unwrap_or_default();
        let authority = self.uri.authority().map(|authority| authority.as_str()).unwrap_or_default();
        format!("{scheme}://{authority}{}", self.uri.path())
    }
}

fn parse_uri(text: &str) -> Result<http::Uri, UrlError> {
    text.trim().parse().map_err(|error: http::uri::InvalidUri| UrlError::Malformed(error.to_string()))
}

/// Parses the URL of a proxy, for serde.
pub fn deserialize_proxy<'de, D: serde::Deserializer<'de>>(deserializer: D) -> Result<Option<Url>, D::Error> {
    let text = Option::<String>::deserialize(deserializer)?;
    text.map(|text| Url::parse_proxy(&text)).transpose().map_err(serde::de::Error::custom)
}

fn percent_decode(text: &str) -> Vec<u8> {
    let mut out = Vec::with_capacity(text.len());
    let mut rest = text.as_bytes();
    while let Some((first, tail)) = rest.split_first() {
        let digits = tail.get(..2).and_then(|hex| std::str::from_utf8(hex).ok());
        match digits.filter(|_| *first == b'%').and_then(|hex| u8::from_str_radix(hex, 16).ok()) {
            Some(byte) => {
                out.push(byte);
                rest = tail.get(2..).unwrap_or_default();
            }
            None => {
                out.push(*first);
                rest = tail;
            }
        }
    }
    out
}

impl fmt::Display for Url {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.redacted())
    }
}

impl fmt::Debug for Url {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.redacted())
    }
}

impl<'de> Deserialize<'de> for Url {
    fn deserialize<D: serde::Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let text = String::deserialize(deserializer)?;
        Url::parse(&text).map_err(serde::de::Error::custom)
    }
}

/// Removes user and password from all URLs in a text.
pub fn without_password(text: &str) -> String {
    let mut out = String::with_capacity(text.len());
    let mut rest = text;
    while let Some(at) = rest.find("://") {
        let (before, after) = rest.split_at(at + 3);
        out.push_str(before);
        let end = after.find(['/', ' ', '"', '\'', '?', '#']).unwrap_or(after.len());
        let (authority, after) = after.split_at(end);
        match authority.rsplit_once('@') {
            Some((_, host)) => {
                out.push_str("…@");
                out.push_str(host);
            }
            None => out.push_str(authority),
        }
        rest = after;
    }
    out.push_str(rest);
    out
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn credentials_are_used_and_never_shown() {
        let url = Url::parse("https://me:p%40ss@example.org:8443/push?token=abc").unwrap();
        assert_eq!(url.authorization(), Some("Basic bWU6cEBzcw=="));
        assert_eq!(url.uri().to_string(), "https://example.org:8443/push?token=abc");
        for shown in [url.to_string(), format!("{url:?}"), url.redacted()] {
            assert_eq!(shown, "https://example.org:8443/push");
        }
        assert!(url.is_https());
    }

    #[test]
    fn parse_short_adds_scheme_and_path() {
        for (typed, meant) in [
            ("localhost:9090", "http://localhost:9090/api/v1/write"),
            ("http://h", "http://h/api/v1/write"),
            ("https://h/", "https://h/api/v1/write"),
            ("https://h/x", "https://h/x"),
        ] {
            assert_eq!(Url::parse_short(typed).unwrap().to_string(), meant);
        }
        assert_eq!(Url::parse("http://h").unwrap().to_string(), "http://h/", "a file means what it says");
    }

    #[test]
    fn proxies_may_be_socks() {
        for (text, shown) in [
            ("socks5://me:p%40ss@h:99", "socks5://h:99/"),
            ("socks5h://h", "socks5h://h:1080/"),
            ("socks5://[::1]", "socks5://[::1]:1080/"),
            ("http://h:3128", "http://h:3128/"),
        ] {
            assert_eq!(Url::parse_proxy(text).unwrap().to_string(), shown);
        }
        let url = Url::parse_proxy("socks5://me:p%40ss@h").unwrap();
        assert_eq!(url.user_and_password(), Some(("me".into(), "p@ss".into())));
        assert_eq!(Url::parse_proxy("socks4://h"), Err(UrlError::ProxyScheme));
        assert_eq!(Url::parse("socks5://h"), Err(UrlError::Scheme), "a destination is not a proxy");
        let long = format!("socks5://{}@h", "u".repeat(256));
        assert_eq!(Url::parse_proxy(&long), Err(UrlError::SocksCredentials));
    }

    #[test]
    fn invalid_url_is_rejected_without_repeating_it() {
        assert_eq!(Url::parse("ftp://h/x"), Err(UrlError::Scheme));
        assert_eq!(Url::parse("/api/v1/write"), Err(UrlError::Scheme));
        for port in ["0", "65536", "99999"] {
            let error = Err(UrlError::Port(port.into()));
            assert_eq!(Url::parse(&format!("http://me:secret@h:{port}/x")), error);
            assert_eq!(Url::parse_proxy(&format!("socks5://h:{port}")), error);
            assert_eq!(Url::parse_short(&format!("h:{port}")), error);
        }
        assert!(Url::parse("http://h:65535/x").is_ok() && Url::parse("http://[::1]:1/x").is_ok());
        for text in ["http://me:secret@", "http://me:secret@:80/", "http://me:secret@h x/", ""] {
            let error = Url::parse(text).unwrap_err().to_string();
            assert!(!error.contains("secret"), "{error}");
        }
    }

    #[test]
    fn urls_are_shown_without_their_password() {
        assert_eq!(
            without_password("url: http://u:p@h:1/x?y, http://i/"),
            "url: http://…@h:1/x?y, http://i/"
        );
        assert_eq!(without_password("http://u:p@ss@h"), "http://…@h");
    }
}
