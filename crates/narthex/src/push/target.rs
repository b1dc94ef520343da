//! Where a push goes, and what came of sending it there.

use super::args::TargetArgs;
use super::credentials::Credentials;
use super::entry::{Entry, NotSent};
use super::gateway::Gateway;
use super::straight::Straight;
use crate::config::env::Lookup;
use crate::config::error::without_password;
use crate::configure::read_url;
use crate::failure::Failure;
use http_client::ClientError;
use http_client::FetchError;
use http_client::url::{Url, UrlError};

/// The gateway unless told otherwise: the narthex on this machine.
pub const DEFAULT_GATEWAY: &str = "http://127.0.0.1:9091";
/// What may be wrong where TLS can't be set up.
const TLS_FLAGS: &str = "--ca-file, --cert-file or --key-file";

/// A target.
#[derive(Debug)]
pub(crate) enum Target {
    Gateway(Box<Gateway>),
    Straight(Box<Straight>),
}

/// A target with what its spool is called.
#[derive(Debug)]
pub(crate) struct Chosen {
    pub(crate) target: Target,
    /// The spool's folder: the same for the same target, whatever its password is.
    pub(crate) key: String,
}

impl Target {
    /// The target that flags and environment name. Flags win over variables, a gateway over an endpoint.
    pub(crate) fn choose(args: &TargetArgs, environment: Lookup<'_>) -> Result<Chosen, Failure> {
        // A variable that is set to nothing is not set.
        let variable = |name: &str| environment(name).filter(|value| !value.trim().is_empty());
        let straight = match (&args.to, &args.to_file, &args.gateway) {
            (Some(url), _, _) => Some(("--to", url.clone())),
            (None, Some(file), _) => Some(("--to-file", read_url(file)?)),
            (None, None, Some(_)) => None,
            (None, None, None) if variable("NARTHEX_GATEWAY").is_some() => None,
            (None, None, None) => variable("NARTHEX_TO").map(|url| ("NARTHEX_TO", url)),
        };
        let wrong = |from: &str, error: &dyn std::fmt::Display| {
            Failure::usage(format!("{from}: {}", without_password(&error.to_string())))
        };
        let credentials = Credentials::new(args).map_err(|error| wrong("--proxy-url", &error))?;
        if let Some((from, text)) = straight {
            let url = Url::parse_short(&text).map_err(|error| wrong(from, &error))?;
            let key = key("straight", &url, &text, args.user.as_deref());
            let straight = Straight::new(url, credentials).map_err(|error| match error {
                ClientError::Tls(error) => wrong(TLS_FLAGS, &error),
                error => wrong(from, &error),
            })?;
            return Ok(Chosen { target: Target::Straight(Box::new(straight)), key });
        }
        let (from, text) = match (&args.gateway, variable("NARTHEX_GATEWAY")) {
            (Some(url), _) => ("--gateway", url.clone()),
            (None, Some(url)) => ("NARTHEX_GATEWAY", url),
            (None, None) => ("--gateway", DEFAULT_GATEWAY.to_string()),
        };
        let url = gateway_url(&text).map_err(|error| wrong(from, &error))?;
        let key = key("gateway", &url, &text, args.user.as_deref());
        let gateway = Gateway::new(url, credentials).map_err(|error| match error {
            FetchError::Tls(error) => wrong(TLS_FLAGS, &error),
            error => wrong("--proxy-url", &error),
        })?;
        Ok(Chosen { target: Target::Gateway(Box::new(gateway)), key })
    }

    /// Sends an entry.
    pub(crate) async fn send(&self, entry: &Entry) -> Result<(), NotSent> {
        match self {
            Target::Gateway(gateway) => gateway.send(entry).await,
            Target::Straight(straight) => straight.send(entry).await,
        }
    }

    /// Whether it is a remote-write endpoint.
    pub(crate) fn is_straight(&self) -> bool {
        matches!(self, Target::Straight(_))
    }

    /// Its URL, for people.
    pub(crate) fn shown(&self) -> String {
        match self {
            Target::Gateway(gateway) => gateway.url().redacted(),
            Target::Straight(straight) => straight.url().redacted(),
        }
    }
}

/// A gateway's URL; without a scheme `http` is meant.
fn gateway_url(text: &str) -> Result<Url, UrlError> {
    let text = text.trim();
    if text.contains("://") { Url::parse(text) } else { Url::parse(&format!("http://{text}")) }
}

/// What tells targets apart: kind, address, path, parameters and user, but not the password, so that what
/// waits is still sent when that was changed.
fn key(kind: &str, url: &Url, text: &str, user: Option<&str>) -> String {
    let authority = text.split("://").last().unwrap_or_default().split(['/', '?', '#']).next();
    let in_url = authority.and_then(|authority| authority.rsplit_once('@')).map(|(user, _)| user);
    let in_url = in_url.and_then(|user| user.split(':').next());
    let user = user.or(in_url).unwrap_or_default();
    let whole = format!("{kind} {user} {}", url.uri());
    format!("{kind}-{:032x}", xxhash_rust::xxh3::xxh3_128(whole.as_bytes()))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn chosen(args: TargetArgs, environment: &[(&str, &str)]) -> String {
        let lookup =
            |name: &str| environment.iter().find(|(key, _)| *key == name).map(|(_, v)| v.to_string());
        match Target::choose(&args, &lookup) {
            Ok(Chosen { target: Target::Gateway(gateway), .. }) => {
                format!("gateway {}", gateway.url().redacted())
            }
            Ok(Chosen { target: Target::Straight(straight), .. }) => {
                format!("straight {}", straight.url().redacted())
            }
            Err(error) => error.to_string(),
        }
    }

    #[test]
    fn flags_win_over_variables_and_a_gateway_over_an_endpoint() {
        let gateway = TargetArgs { gateway: Some("h:1/p/".into()), ..TargetArgs::default() };
        let to = TargetArgs { to: Some("h:1".into()), ..TargetArgs::default() };
        let none = TargetArgs::default();
        let (env_gateway, env_to) = (("NARTHEX_GATEWAY", "http://g"), ("NARTHEX_TO", "t:2"));
        assert_eq!(chosen(none.clone(), &[]), "gateway http://127.0.0.1:9091/");
        assert_eq!(chosen(gateway.clone(), &[env_gateway, env_to]), "gateway http://h:1/p/");
        assert_eq!(chosen(to, &[env_gateway]), "straight http://h:1/api/v1/write");
        assert_eq!(chosen(none.clone(), &[env_gateway, env_to]), "gateway http://g/");
        assert_eq!(
            chosen(none.clone(), &[("NARTHEX_GATEWAY", ""), env_to]),
            "straight http://t:2/api/v1/write"
        );
        let wrong = TargetArgs { gateway: Some("ftp://me:hunter2@h".into()), ..TargetArgs::default() };
        let error = chosen(wrong, &[]);
        assert!(error.starts_with("--gateway: ") && !error.contains("hunter2"), "{error}");
        let missing = TargetArgs { to_file: Some("/does/not/exist".into()), ..TargetArgs::default() };
        assert!(chosen(missing, &[]).contains("--to-file /does/not/exist: No such file"));
        for (gateway, to) in [(Some("https://h".into()), None), (None, Some("https://h".into()))] {
            let args = TargetArgs { gateway, to, ca_file: Some("/no.pem".into()), ..TargetArgs::default() };
            let error = chosen(args, &[]);
            assert!(error.starts_with("--ca-file, --cert-file or --key-file: /no.pem: No such"), "{error}");
        }
    }

    #[test]
    fn a_target_has_one_spool_whatever_its_password() {
        let of = |text: &str| key("gateway", &Url::parse(text).unwrap(), text, None);
        assert_eq!(of("http://a:1@h/"), of("http://a:2@h/"));
        let url = Url::parse("http://h/").unwrap();
        assert_eq!(of("http://a:1@h/"), key("gateway", &url, "http://h/", Some("a")));
        let different =
            ["http://h/", "http://a@h/", "http://b@h/", "http://h/x", "http://h:1/", "http://h/?t=1"];
        let keys: std::collections::BTreeSet<_> = different.into_iter().map(of).collect();
        assert_eq!(keys.len(), different.len());
    }
}
