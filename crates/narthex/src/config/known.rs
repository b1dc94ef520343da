//! Keys of a `prometheus.yml` that narthex ignores or does not support.

/// Sections that do not concern an agent. Each is accepted with a warning that says why nothing is lost.
pub(super) const NOT_FOR_AN_AGENT: [(&str, &str); 4] = [
    ("rule_files", "rules are evaluated by the server that narthex pushes to"),
    ("alerting", "alerts are sent by the server that narthex pushes to"),
    (
        "storage",
        "storage is the business of the server that narthex pushes to; narthex' own log is set in `log`",
    ),
    ("remote_read", "queries are answered by the server that narthex pushes to"),
];

/// The only way of requesting tokens that narthex supports, out of those of Prometheus.
const CLIENT_SECRET: &str = "narthex asks for tokens with a client's secret only";

/// What to do about a way to find targets that narthex does not have.
const DISCOVERY: &str =
    "narthex does not find targets in this way: use static_configs, file_sd_configs or http_sd_configs";

/// Keys of Prometheus that narthex does not support: the last part of the key, and the message.
const ABSENT: &[(&str, &str)] = &[
    ("aws_sd_configs", DISCOVERY),
    ("azure_sd_configs", DISCOVERY),
    ("consul_sd_configs", DISCOVERY),
    ("digitalocean_sd_configs", DISCOVERY),
    ("dns_sd_configs", DISCOVERY),
    ("docker_sd_configs", DISCOVERY),
    ("dockerswarm_sd_configs", DISCOVERY),
    ("ec2_sd_configs", DISCOVERY),
    ("eureka_sd_configs", DISCOVERY),
    ("gce_sd_configs", DISCOVERY),
    ("hetzner_sd_configs", DISCOVERY),
    ("ionos_sd_configs", DISCOVERY),
    ("kubernetes_sd_configs", DISCOVERY),
    ("kuma_sd_configs", DISCOVERY),
    ("lightsail_sd_configs", DISCOVERY),
    ("linode_sd_configs", DISCOVERY),
    ("marathon_sd_configs", DISCOVERY),
    ("nerve_sd_configs", DISCOVERY),
    ("nomad_sd_configs", DISCOVERY),
    ("openstack_sd_configs", DISCOVERY),
    ("outscale_sd_configs", DISCOVERY),
    ("ovhcloud_sd_configs", DISCOVERY),
    ("puppetdb_sd_configs", DISCOVERY),
    ("scaleway_sd_configs", DISCOVERY),
    ("serverset_sd_configs", DISCOVERY),
    ("stackit_sd_configs", DISCOVERY),
    ("triton_sd_configs", DISCOVERY),
    ("uyuni_sd_configs", DISCOVERY),
    ("vultr_sd_configs", DISCOVERY),
    ("xds_sd_configs", DISCOVERY),
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

/// The message about the unknown key at `path`, if it is a key of Prometheus that narthex does not support.
pub(super) fn absent(path: &str) -> Option<&'static str> {
    let key = path.rsplit('.').next().unwrap_or_default();
    ABSENT.iter().find(|(name, _)| *name == key).map(|(_, why)| *why)
}
