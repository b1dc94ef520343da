//! Explains why there was no answer, and what to do.

use crate::connect::ProxyFailed;
use crate::failure::{Failure, FailureKind};
use crate::tls::{self, TlsConfig};
use http::Uri;
use hyper_util::client::legacy::Error as HyperError;
use std::error::Error;
use std::io::ErrorKind;

/// Returns the reason for people: `connection refused` instead of `client error`, a sentence with the setting
/// to change for a TLS error, and a hint if the port uses another protocol.
pub(crate) fn explain(error: &HyperError, to: &Uri, tls: &TlsConfig) -> Failure {
    let https = to.scheme_str() == Some("https");
    let reasons: Vec<&(dyn Error + 'static)> = reasons(error).collect();
    let proxy = reasons.iter().find_map(|reason| reason.downcast_ref::<ProxyFailed>());
    let by_proxy = proxy.map(|failed| format!("the proxy {}: ", failed.proxy)).unwrap_or_default();
    let of_tls = reasons.iter().find_map(|reason| reason.downcast_ref::<rustls::Error>());
    match of_tls {
        Some(rustls::Error::InvalidMessage(_)) if error.is_connect() => {
            return Failure::protocol(format!(
                "{by_proxy}the server does not speak TLS: is it the right port, or has the URL to be http?"
            ));
        }
        Some(of_tls) => {
            let trouble = tls::trouble(of_tls, tls);
            let certificate = trouble.is_about_certificate;
            let kind = if certificate { FailureKind::Certificate } else { FailureKind::Unreachable };
            let words = format!("{by_proxy}{}", trouble.words);
            return Failure { kind, words, advice: None, is_sent: false };
        }
        None => {}
    }
    let http = reasons.iter().find_map(|reason| reason.downcast_ref::<hyper::Error>());
    if let Some(http) = http.filter(|_| !error.is_connect()) {
        if http.is_parse() {
            let or = if https { "" } else { ", or has the URL to be https" };
            return Failure::protocol(format!(
                "the server does not speak HTTP: is it the right port{or}? ({http})"
            ));
        }
        if http.is_incomplete_message() {
            return Failure::unreachable("the connection was closed before there was an answer");
        }
    }
    let inner = reasons.last().map(ToString::to_string).unwrap_or_default();
    let during = if error.is_connect() { "can't connect" } else { "the connection broke" };
    let io = reasons.iter().rev().find_map(|reason| reason.downcast_ref::<std::io::Error>());
    let is_lookup = reasons.iter().any(|reason| reason.to_string() == LOOKUP_FAILED);
    let kind = io.map(std::io::Error::kind);
    let advice = match (error.is_connect(), proxy) {
        (false, _) => None,
        (true, None) => advice(is_lookup, kind),
        (true, Some(_)) => Some(proxy_advice(is_lookup, kind)),
    };
    Failure::unreachable(format!("{during}: {by_proxy}{inner}")).advise(advice)
}

/// Returns true if the connection ended between its handshake and the request, so that nothing was sent.
pub(crate) fn is_unsent(error: &HyperError) -> bool {
    reasons(error).filter_map(|reason| reason.downcast_ref::<hyper::Error>()).any(hyper::Error::is_canceled)
}

/// The beginning of hyper's error for a name without an address.
const LOOKUP_FAILED: &str = "dns error";

/// What to check if no connection was made.
fn advice(is_lookup: bool, kind: Option<ErrorKind>) -> Option<&'static str> {
    if is_lookup {
        return Some("check the host's name in the URL, and this machine's name servers");
    }
    match kind? {
        ErrorKind::ConnectionRefused => {
            Some("nothing listens on this port: start the receiver, or check the port in the URL")
        }
        ErrorKind::HostUnreachable | ErrorKind::NetworkUnreachable | ErrorKind::TimedOut => {
            Some("check the host in the URL, the network, and firewalls on the way")
        }
        _ => None,
    }
}

/// The same for a connection through a proxy. Network errors are about the connection to the proxy. Other
/// errors are the proxy's answers.
fn proxy_advice(is_lookup: bool, kind: Option<ErrorKind>) -> &'static str {
    if is_lookup {
        return "check the proxy's name in proxy_url (or in HTTPS_PROXY and HTTP_PROXY), and this machine's name servers";
    }
    match kind {
        Some(ErrorKind::ConnectionRefused) => {
            "nothing listens on the proxy's port: start the proxy, or check proxy_url (or HTTPS_PROXY and HTTP_PROXY)"
        }
        Some(ErrorKind::HostUnreachable | ErrorKind::NetworkUnreachable | ErrorKind::TimedOut) => {
            "check the proxy's host in proxy_url (or in HTTPS_PROXY and HTTP_PROXY), the network, and firewalls on the way"
        }
        _ => "see the log of the proxy, and check that it allows connections to the host and port of the URL",
    }
}

/// Returns an error and its causes, outermost first.
fn reasons<'a>(error: &'a (dyn Error + 'static)) -> impl Iterator<Item = &'a (dyn Error + 'static)> {
    let behind = |reason: &&'a (dyn Error + 'static)| -> Option<&'a (dyn Error + 'static)> {
        let reason: &'a (dyn Error + 'static) = *reason;
        // An I/O error does not return its inner error as `source`.
        match reason.downcast_ref::<std::io::Error>().and_then(|error| error.get_ref()) {
            Some(inner) => Some(inner),
            None => reason.source(),
        }
    };
    std::iter::successors(Some(error), behind)
}

/// Returns true if this is the answer of a server (Go, nginx, Apache or narthex) that expects TLS and got
/// plain HTTP.
pub fn is_for_tls(to: &Uri, status: u16, words: &str) -> bool {
    let words = words.to_ascii_lowercase();
    let phrases = [
        "http request to an https server",
        "http request was sent to https port",
        "plain http to an ssl-enabled server port",
        "this port speaks tls",
    ];
    to.scheme_str() == Some("http") && status == 400 && phrases.iter().any(|phrase| words.contains(phrase))
}
