//! The guard that keeps foreign web pages out.
//!
//! A browser on this machine reaches the loopback too, so any web page could try to press the page's
//! buttons, to push, or to read what is here. Two checks stop that ([`guard`]):
//! - **A foreign `Origin`** gets nothing. Browsers name the page that asks with everything but plain reads.
//! - **An unknown `Host`** reads nothing. A page can have its own name point to this machine (DNS rebinding)
//!   and is then of the same origin, but the name it was opened by stays in `Host`. So whoever reads, or
//!   names an origin, has to ask by an address, `localhost`, this machine's name, or a name that the user
//!   has allowed. What tells that narthex lives ([`OPEN`]) answers to any name.
//!
//! Programs that push send no `Origin`, and no page can send a push without one: they may use any name.

use crate::security::{Current, Security};
use axum::extract::State;
use axum::middleware::Next;
use axum::response::{IntoResponse, Response};
use http::{HeaderMap, Method, StatusCode, header};
use std::net::IpAddr;
use std::sync::Arc;
use tokio::sync::watch;

/// What answers to any name: probes come by whatever name an orchestrator has for this machine.
pub const OPEN: [&str; 2] = ["/-/healthy", "/-/ready"];

/// What the guard knows of this machine.
#[derive(Debug, Clone)]
pub struct Guard {
    names: Arc<[String]>,
    /// Paths that answer to any name besides [`OPEN`].
    open: &'static [&'static str],
    live: watch::Receiver<Arc<Current>>,
}

impl Guard {
    /// Allows this machine's name besides addresses and `localhost`, and what `security` says.
    pub fn new(hostname: &str, security: &Security) -> Self {
        let short = hostname.split('.').next().unwrap_or_default();
        let names = [hostname, short].map(str::to_ascii_lowercase);
        let names = names.into_iter().filter(|name| !name.is_empty()).collect();
        Guard { names, open: &[], live: security.current() }
    }

    /// Answers at these paths to any name, too. Nothing may be learned there.
    pub fn answering(self, open: &'static [&'static str]) -> Self {
        Guard { open, ..self }
    }

    /// Whether a `Host` header names this machine.
    fn knows(&self, host: &str) -> bool {
        let name = host_name(host);
        name.parse::<IpAddr>().is_ok()
            || name == "localhost"
            || self.names.contains(&name)
            || self.live.borrow().hosts().iter().any(|allowed| allowed.name() == name)
    }

    fn check(&self, method: &Method, path: &str, headers: &HeaderMap) -> Result<(), String> {
        let host = text(headers, header::HOST);
        let origin = text(headers, header::ORIGIN);
        let reads = *method == Method::GET || *method == Method::HEAD;
        let guarded = origin.is_some() || (reads && !OPEN.contains(&path) && !self.open.contains(&path));
        if guarded && !host.is_some_and(|host| self.knows(host)) {
            let host = host.unwrap_or_default();
            let name = host_name(host);
            return Err(format!(
                "unknown Host {host:?}: use an address or the name of the machine that narthex runs on. To allow this name \
                 as well, start narthex with --allowed-host {name}, or add {name} to receive.allowed_hosts \
                 in its configuration"
            ));
        }
        if let Some(origin) = origin {
            let from = origin.split_once("://").map(|(_, host)| host);
            // Behind a proxy, `Host` may be what the proxy calls this machine.
            let allowed = |from| self.live.borrow().hosts().iter().any(|allowed| allowed.is_origin(from));
            if from.is_none() || (from != host && !from.is_some_and(allowed)) {
                return Err(
                    "foreign Origin: only narthex' own page may send this request from a browser".into()
                );
            }
        }
        Ok(())
    }
}

/// The name or address in a `Host` header, without the port.
fn host_name(host: &str) -> String {
    let name = match host.strip_prefix('[') {
        Some(rest) => rest.split(']').next().unwrap_or_default(),
        None => host.rsplit_once(':').map_or(host, |(name, _)| name),
    };
    name.to_ascii_lowercase()
}

fn text(headers: &HeaderMap, name: header::HeaderName) -> Option<&str> {
    headers.get(name).map(|value| value.to_str().unwrap_or("?"))
}

/// Refuses with 403 what comes from a foreign web page. See the module.
pub async fn guard(State(guard): State<Guard>, request: axum::extract::Request, next: Next) -> Response {
    match guard.check(request.method(), request.uri().path(), request.headers()) {
        Ok(()) => next.run(request).await,
        Err(why) => (StatusCode::FORBIDDEN, format!("{why}\n")).into_response(),
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, reason = "helpers of tests")]
    use super::*;
    use crate::security::{Policy, Settings};

    /// A guard of the machine `box.example.org` that allows `hosts`.
    fn guard_of(hosts: &[&str]) -> Guard {
        let hosts = hosts.iter().map(|host| host.parse().unwrap()).collect();
        let settings = Settings { allowed_hosts: hosts, ..Settings::default() };
        let address = "127.0.0.1:1".parse().unwrap();
        let current = Policy { settings, address, allow_unauthenticated: false }.load().unwrap();
        let names = ["box.example.org", "box"].map(String::from);
        Guard { names: names.into(), open: &[], live: watch::channel(Arc::new(current)).1 }
    }

    fn check(guard: &Guard, request: (&str, &str), host: Option<&str>, origin: Option<&str>) -> bool {
        let mut headers = HeaderMap::new();
        for (name, value) in [(header::HOST, host), (header::ORIGIN, origin)] {
            if let Some(value) = value {
                headers.insert(name, value.parse().unwrap());
            }
        }
        guard.check(&request.0.parse().unwrap(), request.1, &headers).is_ok()
    }

    #[test]
    fn an_unknown_name_is_answered_with_the_flag_that_allows_it() {
        let headers = HeaderMap::from_iter([(header::HOST, "Narthex.example.com:9091".parse().unwrap())]);
        let said = guard_of(&[]).check(&Method::GET, "/metrics", &headers).unwrap_err();
        assert!(said.starts_with("unknown Host \"Narthex.example.com:9091\": "), "{said}");
        assert!(said.contains("--allowed-host narthex.example.com, or add narthex.example.com to"), "{said}");
    }

    const READS: [(&str, &str); 5] = [
        ("GET", "/"),
        ("GET", "/metrics"),
        ("HEAD", "/metrics"),
        ("GET", "/api/v1/metrics"),
        ("GET", "/api/v1/status"),
    ];

    #[test]
    fn all_is_read_by_address_or_own_name_only() {
        let guard = guard_of(&[]);
        for read in READS {
            for host in
                ["127.0.0.1:9091", "localhost:9091", "[::1]:9091", "10.1.2.3", "BOX:9091", "box.example.org"]
            {
                assert!(check(&guard, read, Some(host), None), "{read:?} {host}");
            }
            for host in [Some("evil.example"), Some("localhost.evil.example:9091"), Some(""), None] {
                assert!(!check(&guard, read, host, None), "{read:?} {host:?}");
                // Of the same origin, as a page is that has its own name point here.
                assert!(!check(&guard, read, host, Some("http://evil.example")), "{read:?} {host:?}");
            }
        }
    }

    #[test]
    fn probes_come_by_any_name() {
        for path in OPEN {
            assert!(check(&guard_of(&[]), ("GET", path), Some("whatever:80"), None), "{path}");
            assert!(check(&guard_of(&[]), ("GET", path), None, None), "{path}");
        }
        assert!(!check(&guard_of(&[]), ("GET", "/ping"), Some("whatever:80"), None));
        assert!(check(&guard_of(&[]).answering(&["/ping"]), ("GET", "/ping"), Some("whatever:80"), None));
    }

    #[test]
    fn a_foreign_origin_gets_nothing() {
        let (guard, own) = (guard_of(&[]), Some("http://127.0.0.1:9091"));
        for request in [("POST", "/api/v1/write"), ("DELETE", "/metrics/job/a"), ("GET", "/metrics")] {
            assert!(check(&guard, request, Some("127.0.0.1:9091"), own));
            for origin in ["http://127.0.0.1:8080", "https://evil.example", "null", "http://localhost:9091"] {
                assert!(!check(&guard, request, Some("127.0.0.1:9091"), Some(origin)), "{origin}");
            }
        }
    }

    #[test]
    fn programs_push_by_any_name() {
        let (guard, push) = (guard_of(&[]), ("POST", "/metrics/job/a"));
        assert!(check(&guard, push, Some("gateway.example:9091"), None));
        assert!(!check(&guard, push, Some("evil.example:9091"), Some("http://evil.example:9091")));
    }

    #[test]
    fn an_allowed_name_is_as_good_as_its_own_also_behind_a_proxy() {
        let guard = guard_of(&["Metrics.Example.org", "other.example:8443"]);
        let (read, delete) = (("GET", "/"), ("DELETE", "/metrics/job/a"));
        for host in ["metrics.example.org", "METRICS.example.org:80", "other.example:8443", "other.example"] {
            assert!(check(&guard, read, Some(host), None), "{host}");
        }
        assert!(!check(&guard, read, Some("sub.metrics.example.org"), None));
        let page = Some("https://metrics.example.org");
        assert!(check(&guard, delete, Some("metrics.example.org"), page));
        // The proxy puts its own name for this machine there.
        assert!(check(&guard, delete, Some("127.0.0.1:9091"), page));
        assert!(check(&guard, delete, Some("127.0.0.1:9091"), Some("https://other.example:8443")));
        for origin in ["https://metrics.example.org:8443", "https://other.example", "https://evil.example"] {
            assert!(!check(&guard, delete, Some("127.0.0.1:9091"), Some(origin)), "{origin}");
        }
    }
}
