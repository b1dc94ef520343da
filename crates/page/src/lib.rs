//! The page: one file, nothing loaded from elsewhere. It asks `/api/v1/status/...` once a second.

use axum::response::{IntoResponse, Response};
use http::{HeaderName, HeaderValue, header};

/// Whose page it is; the same file shows each.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Mode {
    /// The way of the samples.
    Run,
    /// The way, the sink, and this machine's charts.
    Demo,
    /// What arrives.
    Sink,
}

/// Nothing from elsewhere, no frames, no forms; the file's own style and script are inline.
const POLICY: &str = "default-src 'none'; style-src 'unsafe-inline'; script-src 'unsafe-inline'; connect-src 'self'; \
     img-src data:; base-uri 'none'; form-action 'none'; frame-ancestors 'none'";

/// The page.
pub fn page(mode: Mode) -> Response {
    let word = match mode {
        Mode::Run => "run",
        Mode::Demo => "demo",
        Mode::Sink => "sink",
    };
    let html = include_str!("index.html").replacen("data-mode=\"MODE\"", &format!("data-mode=\"{word}\""), 1);
    let headers: [(HeaderName, HeaderValue); 5] = [
        (header::CONTENT_TYPE, HeaderValue::from_static("text/html; charset=utf-8")),
        (header::CONTENT_SECURITY_POLICY, HeaderValue::from_static(POLICY)),
        (header::CACHE_CONTROL, HeaderValue::from_static("no-store")),
        (header::X_CONTENT_TYPE_OPTIONS, HeaderValue::from_static("nosniff")),
        (header::REFERRER_POLICY, HeaderValue::from_static("no-referrer")),
    ];
    (headers, html).into_response()
}

#[cfg(test)]
mod tests {
    #[test]
    fn the_page_asks_no_other_host() {
        let html = include_str!("index.html");
        assert!(html.contains("data-mode=\"MODE\""));
        for (index, _) in html.match_indices("://") {
            let around: String = html[index.saturating_sub(5)..].chars().take(40).collect();
            let harmless =
                around.contains("http://www.w3.org/2000/svg") || around.contains("http://${location");
            assert!(harmless, "{around}");
        }
    }
}
