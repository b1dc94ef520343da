//! Why there was no answer, in words that say what to do.

use crate::client::answer::Answer;
use http::Uri;
use hyper_util::client::legacy::Error as HyperError;
use std::error::Error;

/// The reason, as a person needs it: `connection refused` rather than `client error`, and where a port
/// speaks something else, which one would be right.
pub(crate) fn explain(error: &HyperError, to: &Uri) -> String {
    let https = to.scheme_str() == Some("https");
    let reasons: Vec<&(dyn Error + 'static)> = reasons(error).collect();
    let tls = reasons.iter().find_map(|reason| reason.downcast_ref::<rustls::Error>());
    if let Some(rustls::Error::InvalidMessage(_)) = tls
        && error.is_connect()
    {
        return "what is there does not speak TLS: is it the right port, or has the URL to be http?".into();
    }
    let http = reasons.iter().find_map(|reason| reason.downcast_ref::<hyper::Error>());
    if let Some(http) = http.filter(|_| !error.is_connect()) {
        if http.is_parse() {
            let or = if https { "" } else { ", or has the URL to be https" };
            return format!("what answered does not speak HTTP: is it the right port{or}? ({http})");
        }
        if http.is_incomplete_message() {
            return "the connection was closed before there was an answer".into();
        }
    }
    let inner = reasons.last().map(ToString::to_string).unwrap_or_default();
    if error.is_connect() { format!("can't connect: {inner}") } else { format!("broken off: {inner}") }
}

/// An error and what is behind it, outermost first.
fn reasons<'a>(error: &'a (dyn Error + 'static)) -> impl Iterator<Item = &'a (dyn Error + 'static)> {
    let behind = |reason: &&'a (dyn Error + 'static)| -> Option<&'a (dyn Error + 'static)> {
        let reason: &'a (dyn Error + 'static) = *reason;
        // An I/O error hides what it was made of from `source`.
        match reason.downcast_ref::<std::io::Error>().and_then(|error| error.get_ref()) {
            Some(inner) => Some(inner),
            None => reason.source(),
        }
    };
    std::iter::successors(Some(error), behind)
}

/// Adds what is wrong with a URL without a path.
pub(super) fn add_path_hint(words: &mut String) {
    let before = if words.is_empty() { "" } else { "; " };
    words.push_str(before);
    words.push_str("the URL has no path: receivers of remote write usually listen at ");
    words.push_str(crate::config::url::DEFAULT_PATH);
}

/// Whether this is what a web server says who expects TLS and was spoken to without.
pub(super) fn is_for_tls(to: &Uri, answer: &Answer) -> bool {
    let words = answer.words.to_ascii_lowercase();
    to.scheme_str() == Some("http")
        && answer.status == 400
        && (words.contains("http request to an https server")
            || words.contains("http request was sent to https port"))
}
