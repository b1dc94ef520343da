//! The target of a push, and the result of sending an entry to it.

use crate::args::TargetArgs;
use crate::credentials::{Credentials, with_flag};
use crate::entry::{Entry, NotSent};
use crate::gateway::Gateway;
use crate::straight::Straight;
use command::flags::read_url;
use command::{Failure, Lookup};
use http_client::url::{Url, UrlError, without_password};
use http_client::{ClientError, FetchError};

/// The default gateway: narthex on this machine.
pub const DEFAULT_GATEWAY: &str = "http://127.0.0.1:9091";

#[derive(Debug)]
pub(crate) struct Target {
    url: Url,
    sender: Sender,
}

#[derive(Debug)]
enum Sender {
    Gateway(Box<Gateway>),
    Straight(Box<Straight>),
    /// A file that a flag names can't be used. Entries wait in the spool until it can.
    Unusable {
        is_straight: bool,
        reason: String,
    },
}

/// A target with the names of its spools.
#[derive(Debug)]
pub(crate) struct Chosen {
    pub(crate) target: Target,
    /// The name of the spool's folder. It does not depend on the target's password.
    pub(crate) key: String,
    /// The name of the spool's folder for the same port without TLS, if the target uses TLS. One port can't
    /// serve both, so the entries in that folder were meant for this target.
    pub(crate) key_without_tls: Option<String>,
}

impl Target {
    /// The target that the flags and the environment name. Flags take precedence over variables, a gateway
    /// over an endpoint.
    pub(crate) fn choose(args: &TargetArgs, environment: Lookup<'_>) -> Result<Chosen, Failure> {
        // An empty variable counts as not set.
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
            let sender = match Straight::new(url.clone(), credentials) {
                Ok(straight) => Sender::Straight(Box::new(straight)),
                Err(ClientError::Tls(error)) => Sender::unusable(true, &error),
                Err(ClientError::Proof(error)) => Sender::unusable(true, &error),
                Err(error) => return Err(wrong(from, &error)),
            };
            return Ok(Chosen::new("straight", Target { url, sender }, &text, args.user.as_deref()));
        }
        let (from, text) = match (&args.gateway, variable("NARTHEX_GATEWAY")) {
            (Some(url), _) => ("--gateway", url.clone()),
            (None, Some(url)) => ("NARTHEX_GATEWAY", url),
            (None, None) => ("--gateway", DEFAULT_GATEWAY.to_string()),
        };
        let url = gateway_url(&text).map_err(|error| wrong(from, &error))?;
        let sender = match Gateway::new(url.clone(), credentials) {
            Ok(gateway) => Sender::Gateway(Box::new(gateway)),
            Err(FetchError::Tls(error)) => Sender::unusable(false, &error),
            Err(error) => return Err(wrong("--proxy-url", &error)),
        };
        Ok(Chosen::new("gateway", Target { url, sender }, &text, args.user.as_deref()))
    }

    pub(crate) async fn send(&self, entry: &Entry) -> Result<(), NotSent> {
        match &self.sender {
            Sender::Gateway(gateway) => gateway.send(entry).await,
            Sender::Straight(straight) => straight.send(entry).await,
            Sender::Unusable { reason, .. } => Err(NotSent::Denied(reason.clone())),
        }
    }

    /// Returns true if the target is a remote-write endpoint.
    pub(crate) fn is_straight(&self) -> bool {
        matches!(self.sender, Sender::Straight(_) | Sender::Unusable { is_straight: true, .. })
    }

    /// The target's URL without the password, for messages.
    pub(crate) fn shown(&self) -> String {
        self.url.redacted()
    }
}

impl Sender {
    fn unusable(is_straight: bool, error: &dyn std::fmt::Display) -> Sender {
        let reason = with_flag(&without_password(&error.to_string()));
        Sender::Unusable { is_straight, reason }
    }
}

impl Chosen {
    fn new(kind: &str, target: Target, text: &str, user: Option<&str>) -> Chosen {
        let uri = target.url.uri();
        let without_tls = || {
            let same_port = uri.scheme_str() == Some("https") && uri.port().is_some();
            same_port.then(|| uri.to_string().replacen("https:", "http:", 1))
        };
        Chosen {
            key: key(kind, &uri.to_string(), text, user),
            key_without_tls: without_tls().map(|uri| key(kind, &uri, text, user)),
            target,
        }
    }
}

/// Parses a gateway's URL. The default scheme is `http`.
fn gateway_url(text: &str) -> Result<Url, UrlError> {
    let text = text.trim();
    if text.contains("://") { Url::parse(text) } else { Url::parse(&format!("http://{text}")) }
}

/// The name of a target's spool: kind, address, path, parameters and user. The password is left out, so that
/// waiting entries are still sent after it was changed.
fn key(kind: &str, uri: &str, text: &str, user: Option<&str>) -> String {
    let authority = text.split("://").last().unwrap_or_default().split(['/', '?', '#']).next();
    let in_url = authority.and_then(|authority| authority.rsplit_once('@')).map(|(user, _)| user);
    let in_url = in_url.and_then(|user| user.split(':').next());
    let user = user.or(in_url).unwrap_or_default();
    let whole = format!("{kind} {user} {uri}");
    format!("{kind}-{:032x}", xxhash_rust::xxh3::xxh3_128(whole.as_bytes()))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn chosen(args: TargetArgs, environment: &[(&str, &str)]) -> String {
        let lookup =
            |name: &str| environment.iter().find(|(key, _)| *key == name).map(|(_, v)| v.to_string());
        match Target::choose(&args, &lookup) {
            Ok(Chosen { target, .. }) => {
                let kind = if target.is_straight() { "straight" } else { "gateway" };
                match &target.sender {
                    Sender::Unusable { reason, .. } => format!("{kind}: {reason}"),
                    _ => format!("{kind} {}", target.shown()),
                }
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
    }

    #[test]
    fn an_unusable_file_is_reported_with_its_flag() {
        let file = || Some("/no.pem".into());
        for (flag, args) in [
            ("--ca-file", TargetArgs { ca_file: file(), ..TargetArgs::default() }),
            (
                "--cert-file",
                TargetArgs { cert_file: file(), key_file: Some("/no.key".into()), ..TargetArgs::default() },
            ),
        ] {
            for is_straight in [true, false] {
                let url = Some("https://h".to_string());
                let (to, gateway) = if is_straight { (url, None) } else { (None, url) };
                let kind = if is_straight { "straight" } else { "gateway" };
                let said = chosen(TargetArgs { to, gateway, ..args.clone() }, &[]);
                assert!(said.starts_with(&format!("{kind}: {flag}: /no.pem: No such file")), "{said}");
            }
        }
        // These files are read again for each push to a gateway.
        for (flag, args) in [
            (
                "--password-file",
                TargetArgs { user: Some("u".into()), password_file: file(), ..TargetArgs::default() },
            ),
            ("--bearer-token-file", TargetArgs { bearer_token_file: file(), ..TargetArgs::default() }),
        ] {
            let said = chosen(TargetArgs { to: Some("http://h".into()), ..args }, &[]);
            assert!(said.starts_with(&format!("straight: {flag}: /no.pem: No such file")), "{said}");
        }
    }

    #[test]
    fn the_spool_does_not_depend_on_the_password() {
        let of = |text: &str| key("gateway", &Url::parse(text).unwrap().uri().to_string(), text, None);
        assert_eq!(of("http://a:1@h/"), of("http://a:2@h/"));
        assert_eq!(of("http://a:1@h/"), key("gateway", "http://h/", "http://h/", Some("a")));
        let different =
            ["http://h/", "http://a@h/", "http://b@h/", "http://h/x", "http://h:1/", "http://h/?t=1"];
        let keys: std::collections::BTreeSet<_> = different.into_iter().map(of).collect();
        assert_eq!(keys.len(), different.len());
    }

    #[test]
    fn a_tls_target_takes_over_the_spool_without_tls() {
        let choose = |url: &str| {
            let args = TargetArgs { gateway: Some(url.into()), ..TargetArgs::default() };
            Target::choose(&args, &|_| None).unwrap()
        };
        let with = choose("https://h:9091/p");
        assert_eq!(with.key_without_tls, Some(choose("http://h:9091/p").key));
        assert_eq!(choose("http://h:9091/p").key_without_tls, None);
        // The two URLs have different ports.
        assert_eq!(choose("https://h/p").key_without_tls, None);
    }
}
