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

/// Of the ways in which Prometheus asks for tokens, this one is there.
const CLIENT_SECRET: &str = "narthex asks for tokens with a client's secret only";

/// What Prometheus has and narthex does not: the last part of the key, and what to say.
const ABSENT: &[(&str, &str)] = &[
    (
        "scrape_configs",
        "narthex does not scrape yet: let the programs push, or keep Prometheus in agent mode for these",
    ),
    (
        "scrape_config_files",
        "narthex does not scrape yet: let the programs push, or keep Prometheus in agent mode for these",
    ),
    ("tracing", "narthex sends no traces"),
    ("runtime", "this is a setting of Go's runtime, which narthex has not"),
    (
        "certificate",
        "narthex gets Azure's tokens with oauth, workload_identity, managed_identity or sdk only",
    ),
    (
        "aad_endpoint",
        "narthex knows Azure's public clouds only: cloud: AzurePublic, AzureChina or AzureGovernment",
    ),
    ("use_fips_sts_endpoint", "narthex asks the region's ordinary token service only"),
    ("grant_type", CLIENT_SECRET),
    ("client_certificate_key", CLIENT_SECRET),
    ("client_certificate_key_file", CLIENT_SECRET),
    ("client_certificate_key_id", CLIENT_SECRET),
    ("signature_algorithm", CLIENT_SECRET),
    ("iss", CLIENT_SECRET),
    ("audience", CLIENT_SECRET),
    ("claims", CLIENT_SECRET),
];

/// Whether the unknown key at `path` is one of Prometheus' that narthex does not have; then what to say.
pub(super) fn absent(path: &str) -> Option<&'static str> {
    let key = path.rsplit('.').next().unwrap_or_default();
    ABSENT.iter().find(|(name, _)| *name == key).map(|(_, why)| *why)
}
