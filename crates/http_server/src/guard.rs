//! Protects the server from foreign web pages.
//!
//! A browser on this machine reaches the loopback address, too. So any web page could try to use the buttons
//! of narthex' page, to push, or to read data. Two checks prevent that ([`guard`]):
//! - **A foreign `Origin`** is rejected. Browsers send the origin of the requesting page, except with plain
//!   reads.
//! - **An unknown `Host`** may not read. A page can point its own host name to this machine (DNS rebinding).
//!   Its requests then have the same origin, but the page's host name is still in `Host`. So a request that
//!   reads, or has an origin, must use an address, `localhost`, this machine's name, or an allowed name. The
//!   paths of [`OPEN`] answer to any name.
//!
//! Programs that push send no `Origin`, and a web page can't push without one. So they may use any name.

use crate::security::{Current, Security};
use axum::extract::State;
use axum::middleware::Next;
use axum::response::{IntoResponse, Response};
use http::{HeaderMap, Method, StatusCode, header};
use std::net::IpAddr;
use std::sync::Arc;
use tokio::sync::watch;

/// Paths that answer to any name, because an orchestrator's probes may use any name for this machine.
pub const OPEN: [&str; 2] = ["/-/healthy", "/-/ready"];

/// The host names that the guard accepts.
#[derive(Debug, Clone)]
pub struct Guard {
    names: Arc<[String]>,
    /// Paths that answer to any name besides [`OPEN`].
    open: &'static [&'static str],
    live: watch::Receiver<Arc<Current>>,
}

impl Guard {
    /// Accepts addresses, `localhost`, this machine's name, and the names that `security` allows.
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

    /// Returns true if a `Host` header names this machine.
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
            // Behind a proxy, `Host` may be the proxy's name for this machine.
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

/// Returns the name or address of a `Host` header, without the port.
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

/// Answers requests of foreign web pages with 403. See the module.
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

    /// Returns a guard of the machine `box.example.org` that allows `hosts`.
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
    fn unknown_name_is_answered_with_the_flag_that_allows_it() {
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
    fn reads_require_an_address_or_the_machines_name() {
        let guard = guard_of(&[]);
        for read in READS {
            for host in
                ["127.0.0.1:9091", "localhost:9091", "[::1]:9091", "10.1.2.3", "BOX:9091", "box.example.org"]
            {
                assert!(check(&guard, read, Some(host), None), "{read:?} {host}");
            }
            for host in [Some("evil.example"), Some("localhost.evil.example:9091"), Some(""), None] {
                assert!(!check(&guard, read, host, None), "{read:?} {host:?}");
                // The same origin, as with a page that points its own name here.
                assert!(!check(&guard, read, host, Some("http://evil.example")), "{read:?} {host:?}");
            }
        }
    }

    #[test]
    fn probes_may_use_any_name() {
        for path in OPEN {
            assert!(check(&guard_of(&[]), ("GET", path), Some("other.example:80"), None), "{path}");
            assert!(check(&guard_of(&[]), ("GET", path), None, None), "{path}");
        }
        assert!(!check(&guard_of(&[]), ("GET", "/ping"), Some("other.example:80"), None));
        assert!(check(
            &guard_of(&[]).answering(&["/ping"]),
            ("GET", "/ping"),
            Some("other.example:80"),
            None
        ));
    }

    #[test]
    fn foreign_origin_is_rejected() {
        let (guard, own) = (guard_of(&[]), Some("http://127.0.0.1:9091"));
        for request in [("POST", "/api/v1/write"), ("DELETE", "/metrics/job/a"), ("GET", "/metrics")] {
            assert!(check(&guard, request, Some("127.0.0.1:9091"), own));
            for origin in ["http://127.0.0.1:8080", "https://evil.example", "null", "http://localhost:9091"] {
                assert!(!check(&guard, request, Some("127.0.0.1:9091"), Some(origin)), "{origin}");
            }
        }
    }

    #[test]
    fn programs_may_push_with_any_name() {
        let (guard, push) = (guard_of(&[]), ("POST", "/metrics/job/a"));
        assert!(check(&guard, push, Some("gateway.example:9091"), None));
        assert!(!check(&guard, push, Some("evil.example:9091"), Some("http://evil.example:9091")));
    }

    #[test]
    fn allowed_name_is_accepted_also_behind_a_proxy() {
        let guard = guard_of(&["Metrics.Example.org", "other.example:8443"]);
        let (read, delete) = (("GET", "/"), ("DELETE", "/metrics/job/a"));
        for host in ["metrics.example.org", "METRICS.example.org:80", "other.example:8443", "other.example"] {
            assert!(check(&guard, read, Some(host), None), "{host}");
        }
        assert!(!check(&guard, read, Some("sub.metrics.example.org"), None));
        let page = Some("https://metrics.example.org");
        assert!(check(&guard, delete, Some("metrics.example.org"), page));
        // The proxy sends its own name for this machine.
        assert!(check(&guard, delete, Some("127.0.0.1:9091"), page));
        assert!(check(&guard, delete, Some("127.0.0.1:9091"), Some("https://other.example:8443")));
        for origin in ["https://metrics.example.org:8443", "https://other.example", "https://evil.example"] {
            assert!(!check(&guard, delete, Some("127.0.0.1:9091"), Some(origin)), "{origin}");
        }
    }
}
