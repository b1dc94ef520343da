//! Which requests go through a proxy: `proxy_url`, `no_proxy`, `proxy_from_environment`,
//! `proxy_connect_header`, with the same meaning as in Prometheus.
//!
//! A request for `http` is sent to the proxy with the whole URL in its first line. A request for `https` goes
//! through a tunnel that the proxy opens after a `CONNECT`. A SOCKS proxy opens a tunnel for both.

use crate::Secret;
use crate::auth::sensitive;
use crate::url::{Url, UrlError};
use http::Uri;
use http::header::{HeaderMap, HeaderName, HeaderValue, PROXY_AUTHORIZATION};
use ipnet::IpNet;
use std::collections::BTreeMap;
use std::net::IpAddr;

/// The proxy keys of a destination or of a token server.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct ProxyConfig {
    pub url: Option<Url>,
    pub no_proxy: Option<String>,
    pub from_environment: bool,
    pub connect_header: BTreeMap<String, Vec<Secret>>,
}

/// Why a proxy can't be used. Never contains credentials.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum ProxyError {
    #[error("{0} and proxy_from_environment exclude each other")]
    Both(&'static str),
    /// A key that has no meaning without another one.
    #[error("{key} needs {needs} as well")]
    Alone { key: &'static str, needs: &'static str },
    /// A variable of the environment is invalid.
    #[error("the environment's {variable}: {source}")]
    Variable { variable: &'static str, source: UrlError },
    #[error("proxy_connect_header: {0:?} is not a header name, or its value can't stand in a header")]
    Header(String),
}

/// Chooses the proxy of a request.
#[derive(Debug, Clone, Default)]
pub struct Proxies {
    http: Option<Url>,
    https: Option<Url>,
    direct: Direct,
    connect_header: HeaderMap,
}

impl Proxies {
    /// Checks the keys. `variable` looks up the environment.
    pub fn new(
        config: &ProxyConfig,
        variable: impl Fn(&str) -> Option<String>,
    ) -> Result<Proxies, ProxyError> {
        let (given, environment) = (config.url.is_some(), config.from_environment);
        if environment && given {
            return Err(ProxyError::Both("proxy_url"));
        }
        if environment && config.no_proxy.is_some() {
            return Err(ProxyError::Both("no_proxy"));
        }
        if config.no_proxy.is_some() && !given {
            return Err(ProxyError::Alone { key: "no_proxy", needs: "proxy_url" });
        }
        if !config.connect_header.is_empty() && !given && !environment {
            let needs = "proxy_url or proxy_from_environment";
            return Err(ProxyError::Alone { key: "proxy_connect_header", needs });
        }
        let connect_header = connect_header(&config.connect_header)?;
        if !environment {
            let direct = config.no_proxy.as_deref().map(Direct::parse).unwrap_or_default();
            let (http, https) = (config.url.clone(), config.url.clone());
            return Ok(Proxies { http, https, direct, connect_header });
        }
        let either = |upper: &'static str, lower: &str| {
            [variable(upper), variable(lower)].into_iter().flatten().find(|value| !value.is_empty())
        };
        let url = |upper: &'static str, lower: &str| {
            let Some(text) = either(upper, lower) else { return Ok(None) };
            let text = if text.contains("://") { text } else { format!("http://{text}") };
            Url::parse_proxy(&text)
                .map(Some)
                .map_err(|source| ProxyError::Variable { variable: upper, source })
        };
        Ok(Proxies {
            http: url("HTTP_PROXY", "http_proxy")?,
            https: url("HTTPS_PROXY", "https_proxy")?,
            // Even if it is not set, this machine is reached directly.
            direct: Direct::parse(&either("NO_PROXY", "no_proxy").unwrap_or_default()),
            connect_header,
        })
    }

    /// Returns the proxy for a destination, if there is one.
    pub fn way_to(&self, to: &Uri) -> Option<&Url> {
        let https = to.scheme_str() == Some("https");
        let proxy = if https { &self.https } else { &self.http }.as_ref()?;
        let port = to.port_u16().unwrap_or(if https { 443 } else { 80 });
        (!self.direct.is(to.host()?, port)).then_some(proxy)
    }

    pub fn tunnel_headers(&self, proxy: &Url) -> HeaderMap {
        let mut headers = self.connect_header.clone();
        if let Some(value) = credentials(proxy) {
            headers.entry(PROXY_AUTHORIZATION).or_insert(value);
        }
        headers
    }

    /// Returns the `Proxy-Authorization` header of a plain request through a proxy.
    pub fn authorization_for(&self, to: &Uri) -> Option<HeaderValue> {
        if to.scheme_str() == Some("https") {
            return None;
        }
        self.way_to(to).filter(|proxy| !proxy.is_socks()).and_then(credentials)
    }
}

fn credentials(proxy: &Url) -> Option<HeaderValue> {
    sensitive(proxy.authorization()?).ok()
}

fn connect_header(given: &BTreeMap<String, Vec<Secret>>) -> Result<HeaderMap, ProxyError> {
    let mut headers = HeaderMap::new();
    for (name, values) in given {
        for value in values {
            let parsed = HeaderName::from_bytes(name.as_bytes());
            let (Ok(parsed), Ok(value)) = (parsed, sensitive(value.reveal())) else {
                return Err(ProxyError::Header(name.clone()));
            };
            headers.append(parsed, value);
        }
    }
    Ok(headers)
}

/// The parsed `no_proxy`. If it is set, even to nothing, this machine is reached directly.
#[derive(Debug, Clone, Default)]
struct Direct {
    this_machine: bool,
    all: bool,
    entries: Vec<Entry>,
}

#[derive(Debug, Clone)]
struct Entry {
    matches: Matches,
    port: Option<u16>,
}

#[derive(Debug, Clone)]
enum Matches {
    Network(IpNet),
    Address(IpAddr),
    /// A domain with a leading dot. `itself` says whether the domain matches too, or only its subdomains.
    Domain {
        dotted: String,
        itself: bool,
    },
}

impl Direct {
    fn parse(text: &str) -> Direct {
        let mut direct = Direct { this_machine: true, ..Direct::default() };
        for entry in text.split(',') {
            let entry = entry.trim().to_lowercase();
            match entry.as_str() {
                "" => {}
                "*" => direct.all = true,
                entry => direct.entries.extend(Entry::parse(entry)),
            }
        }
        direct
    }

    fn is(&self, host: &str, port: u16) -> bool {
        let host = host.trim_end_matches('.').to_lowercase();
        let bare = host.trim_start_matches('[').trim_end_matches(']');
        let address: Option<IpAddr> = bare.parse().ok();
        let here = host == "localhost" || address.is_some_and(|address| address.is_loopback());
        (self.this_machine && here)
            || self.all
            || self.entries.iter().any(|entry| entry.matches(bare, address, port))
    }
}

impl Entry {
    fn parse(entry: &str) -> Option<Entry> {
        if let Ok(network) = entry.parse::<IpNet>() {
            return Some(Entry { matches: Matches::Network(network), port: None });
        }
        if let Ok(address) = entry.parse::<IpAddr>() {
            return Some(Entry { matches: Matches::Address(address), port: None });
        }
        let (name, port) = match entry.rsplit_once(':') {
            Some((name, port)) => (name, Some(port.parse().ok()?)),
            None => (entry, None),
        };
        let bare = name.trim_start_matches('[').trim_end_matches(']');
        if let Ok(address) = bare.parse::<IpAddr>() {
            return Some(Entry { matches: Matches::Address(address), port });
        }
        if name.is_empty() {
            return None;
        }
        // "*.example.org" is another way to write ".example.org".
        let name = name.strip_prefix('*').filter(|rest| rest.starts_with('.')).unwrap_or(name);
        let itself = !name.starts_with('.');
        let dotted = if itself { format!(".{name}") } else { name.to_string() };
        Some(Entry { matches: Matches::Domain { dotted, itself }, port })
    }

    fn matches(&self, host: &str, address: Option<IpAddr>, port: u16) -> bool {
        let named = match &self.matches {
            Matches::Network(network) => address.is_some_and(|address| network.contains(&address)),
            Matches::Address(own) => address == Some(*own),
            Matches::Domain { dotted, itself } => {
                address.is_none()
                    && (host.ends_with(dotted.as_str())
                        || (*itself && dotted.strip_prefix('.') == Some(host)))
            }
        };
        named && self.port.is_none_or(|own| own == port)
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, reason = "helper functions of tests")]
    use super::*;

    fn nothing(_: &str) -> Option<String> {
        None
    }

    fn config(no_proxy: Option<&str>) -> ProxyConfig {
        let url = Some(Url::parse("http://me:secret@proxy:3128").unwrap());
        ProxyConfig { url, no_proxy: no_proxy.map(str::to_string), ..ProxyConfig::default() }
    }

    #[test]
    fn no_proxy_accepts_all_forms_of_prometheus() {
        let table = [
            ("example.org", "https://example.org/", true),
            ("example.org", "https://a.example.org/", true),
            ("example.org", "https://anexample.org/", false),
            (".example.org", "https://a.example.org/", true),
            (".example.org", "https://example.org/", false),
            ("*.example.org", "https://a.example.org/", true),
            ("a, EXAMPLE.org ,b", "https://Example.Org./", true),
            ("example.org:9090", "http://example.org:9090/", true),
            ("example.org:443", "https://example.org/", true),
            ("example.org:9090", "http://example.org/", false),
            ("10.0.0.0/8", "http://10.1.2.3/", true),
            ("10.0.0.0/8", "http://11.1.2.3/", false),
            ("10.1.2.3", "http://10.1.2.3:9090/", true),
            ("10.1.2.3:9091", "http://10.1.2.3:9090/", false),
            ("fd00::/8", "http://[fd00::1]:9090/", true),
            ("[fd00::1]:9090", "http://[fd00::1]:9090/", true),
            ("*", "http://anything/", true),
            ("other", "http://localhost:9090/", true),
            ("other", "http://127.0.0.1:9090/", true),
            ("other", "http://[::1]:9090/", true),
            ("2.3", "http://10.1.2.3/", false),
            (":80,x:no", "http://x/", false),
        ];
        for (no_proxy, to, direct) in table {
            let proxies = Proxies::new(&config(Some(no_proxy)), nothing).unwrap();
            assert_eq!(proxies.way_to(&to.parse().unwrap()).is_none(), direct, "{no_proxy} {to}");
        }
        // Without no_proxy all requests go through the proxy, also those to this machine.
        let proxies = Proxies::new(&config(None), nothing).unwrap();
        assert!(proxies.way_to(&"http://localhost/".parse().unwrap()).is_some());
    }

    #[test]
    fn the_environment_has_one_proxy_for_each_scheme() {
        let environment = ProxyConfig { from_environment: true, ..ProxyConfig::default() };
        let proxies = Proxies::new(&environment, |name| match name {
            "HTTP_PROXY" => Some("plain:3128".into()),
            "https_proxy" => Some("http://secure:3129".into()),
            "NO_PROXY" => Some("internal".into()),
            _ => None,
        })
        .unwrap();
        let way = |to: &str| proxies.way_to(&to.parse().unwrap()).map(|url| url.redacted());
        assert_eq!(way("http://h/"), Some("http://plain:3128/".into()));
        assert_eq!(way("https://h/"), Some("http://secure:3129/".into()));
        assert_eq!(way("https://a.internal/"), None);
        assert_eq!(way("http://localhost:9090/"), None);
        let none = Proxies::new(&environment, nothing).unwrap();
        assert!(none.way_to(&"http://h/".parse().unwrap()).is_none());
        let wrong = Proxies::new(&environment, |_| Some("socks4://me:secret@h".into())).unwrap_err();
        assert!(wrong.to_string().starts_with("the environment's HTTP_PROXY: "), "{wrong}");
        assert!(!wrong.to_string().contains("secret"));
    }

    #[test]
    fn contradicting_keys_are_rejected() {
        let refused = |config: ProxyConfig| Proxies::new(&config, nothing).unwrap_err().to_string();
        let both = ProxyConfig { from_environment: true, ..config(None) };
        assert_eq!(refused(both), "proxy_url and proxy_from_environment exclude each other");
        let both = ProxyConfig { from_environment: true, url: None, ..config(Some("a")) };
        assert_eq!(refused(both), "no_proxy and proxy_from_environment exclude each other");
        let alone = ProxyConfig { url: None, ..config(Some("a")) };
        assert_eq!(refused(alone), "no_proxy needs proxy_url as well");
        let header = BTreeMap::from([("X-A".to_string(), vec![Secret::new("1")])]);
        let alone = ProxyConfig { connect_header: header, ..ProxyConfig::default() };
        assert_eq!(
            refused(alone.clone()),
            "proxy_connect_header needs proxy_url or proxy_from_environment as well"
        );
        let proxies = Proxies::new(&ProxyConfig { url: config(None).url, ..alone }, nothing).unwrap();
        let headers = proxies.tunnel_headers(&config(None).url.unwrap());
        assert_eq!(headers.get("x-a").unwrap(), "1");
        assert_eq!(headers.get(PROXY_AUTHORIZATION).unwrap(), "Basic bWU6c2VjcmV0");
    }
}
