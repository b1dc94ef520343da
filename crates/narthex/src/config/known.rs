//! What a `prometheus.yml` may hold that narthex has no use for, or does not have.

/// Sections that do not concern an agent, accepted with a warning each, and why nothing is lost.
pub(super) const NOT_FOR_AN_AGENT: [(&str, &str); 4] = [
    ("rule_files", "rules are evaluated by the server that narthex pushes to"),
    ("alerting", "alerts are sent by the server that narthex pushes to"),
    (
        "storage",
        "storage is the business of the server that narthex pushes to; narthex' own log is set in `log`",
    ),
    ("remote_read", "queries are answered by the server that narthex pushes to"),
];

/// What Prometheus has and narthex does not: the last part of the key, and what to say.
const ABSENT: [(&str, &str); 13] = [
    (
        "scrape_configs",
        "narthex does not scrape yet: let the programs push, or keep Prometheus in agent mode for these",
    ),
    (
        "scrape_config_files",
        "narthex does not scrape yet: let the programs push, or keep Prometheus in agent mode for these",
    ),
    ("otlp", "narthex takes no OTLP yet"),
    ("tracing", "narthex sends no traces"),
    ("runtime", "this is a setting of Go's runtime, which narthex has not"),
    ("sigv4", "narthex does not sign requests for AWS: put a signing proxy in between"),
    ("azuread", "narthex has no Azure AD authentication: put a proxy in between"),
    ("google_iam", "narthex has no Google IAM authentication: put a proxy in between"),
    ("oauth2", "narthex has no OAuth 2.0: use `authorization` with a credentials_file that is renewed"),
    ("proxy_url", "narthex sends directly: it has no proxy settings yet"),
    ("proxy_from_environment", "narthex sends directly: it has no proxy settings yet"),
    ("no_proxy", "narthex sends directly: it has no proxy settings yet"),
    ("proxy_connect_header", "narthex sends directly: it has no proxy settings yet"),
];

/// Whether the unknown key at `path` is one of Prometheus' that narthex does not have; then what to say.
pub(super) fn absent(path: &str) -> Option<&'static str> {
    let key = path.rsplit('.').next().unwrap_or_default();
    ABSENT.iter().find(|(name, _)| *name == key).map(|(_, why)| *why)
}
