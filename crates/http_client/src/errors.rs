//! Finds all errors in the settings of a client, before anything is sent.

use crate::auth::{self, headers};
use crate::connect::{Connecting, Lookup};
use crate::proxy::Proxies;
use crate::{Client, ClientError, HttpConfig, Url};
use std::collections::BTreeMap;
use std::sync::Arc;

impl Client {
    /// Returns all errors that [`Client::new`] could return, which returns only the first.
    pub fn errors(url: &Url, config: &HttpConfig) -> Vec<ClientError> {
        let (no_headers, no_http_headers) = (BTreeMap::new(), BTreeMap::new());
        let plain = config.headers.iter().map(|(name, value)| [(name.clone(), value.clone())].into());
        let http = config.http_headers.iter().map(|(name, values)| [(name.clone(), values.clone())].into());
        let plain = plain.filter_map(|one| headers::read(&one, &no_http_headers).err());
        let http = http.filter_map(|one| headers::read(&no_headers, &one).err());
        let mut errors: Vec<ClientError> = plain.chain(http).map(ClientError::Headers).collect();
        errors.extend(auth::errors::errors(config, url).into_iter().map(ClientError::from));
        let proxies = Proxies::new(&config.proxy, |name| std::env::var(name).ok());
        let proxies = proxies.unwrap_or_else(|error| {
            errors.push(error.into());
            Proxies::default()
        });
        let (tls, proxies) = (config.tls.clone(), Arc::new(proxies));
        let lookup = Lookup::new(config.round_robin_dns);
        let connecting = Connecting { tls, proxies, http2: config.http2, idle_max: 1, lookup };
        errors.extend(connecting.errors(url.uri()).into_iter().map(ClientError::from));
        errors
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::Secret;
    use crate::auth::oauth2::OAuth2;
    #[cfg(feature = "sigv4")]
    use crate::auth::sigv4::SigV4;
    use crate::auth::{Authorization, BasicAuth};
    use crate::proxy::ProxyConfig;
    use crate::tls::{TlsConfig, TlsVersion};

    fn errors(config: &HttpConfig) -> Vec<String> {
        let url = Url::parse("https://me:pw@h/").unwrap();
        Client::errors(&url, config).iter().map(ToString::to_string).collect()
    }

    #[test]
    fn all_errors_of_a_client_are_found() {
        let header = |name: &str| (name.to_string(), Secret::new("a"));
        let errors = errors(&HttpConfig {
            headers: [header("Host"), header("Content-Type")].into(),
            proxy: ProxyConfig { no_proxy: Some("c".into()), ..ProxyConfig::default() },
            basic_auth: Some(BasicAuth::default()),
            tls: TlsConfig { ca_file: Some("/does/not/exist".into()), ..TlsConfig::default() },
            ..HttpConfig::default()
        });
        let starts = [
            "headers: content-type can't be set here",
            "headers: host can't be set here",
            "basic_auth.username is needed",
            "no_proxy needs proxy_url as well",
            "tls_config: ca_file: /does/not/exist: ",
        ];
        assert_eq!(errors.len(), starts.len(), "{errors:?}");
        assert!(errors.iter().zip(starts).all(|(error, start)| error.starts_with(start)), "{errors:?}");
    }

    #[track_caller]
    fn expect(config: &HttpConfig, starts: &[&str]) {
        let errors = errors(config);
        assert_eq!(errors.len(), starts.len(), "{errors:#?}");
        assert!(errors.iter().zip(starts).all(|(error, start)| error.starts_with(start)), "{errors:#?}");
    }

    #[test]
    fn all_errors_within_an_authentication_scheme_are_found() {
        let gone = || Some("/does/not/exist".into());
        let secret = || Some(Secret::new("x"));
        let basic_auth = BasicAuth { password: secret(), password_file: gone(), ..BasicAuth::default() };
        let basic_auth = Some(BasicAuth { username_file: gone(), ..basic_auth });
        let wanted =
            ["basic_auth.username_file: /does", "basic_auth.password and basic_auth.password_file exclude"];
        expect(&HttpConfig { basic_auth, ..HttpConfig::default() }, &wanted);

        let authorization = Some(Authorization { scheme: Some("Basic".into()), ..Authorization::default() });
        let wanted = ["authorization.credentials is needed", "authorization.type basic and basic_auth"];
        expect(&HttpConfig { authorization, ..HttpConfig::default() }, &wanted);

        let tls_config = TlsConfig { ca_file: gone(), cert_file: gone(), ..TlsConfig::default() };
        let oauth2 = r#"{"client_id": "me", "token_url": "https://h/token", "no_proxy": "c"}"#;
        let oauth2 = Some(OAuth2 { tls_config, ..serde_json::from_str(oauth2).unwrap() });
        let wanted = [
            "oauth2.client_secret is needed",
            "oauth2.no_proxy needs proxy_url",
            "oauth2.tls_config: ca_file: /does",
            "oauth2.tls_config: cert_file: /does",
        ];
        expect(&HttpConfig { oauth2, ..HttpConfig::default() }, &wanted);

        let azuread = r#"{"workload_identity": {"client_id": "a", "tenant_id": "a b", "token_file_path": "/does/not/exist"}}"#;
        let azuread = Some(serde_json::from_str(azuread).unwrap());
        let wanted = ["client_id has to be", "tenant_id has to be", "token_file_path: /does"];
        let wanted = wanted.map(|rest| format!("azuread.workload_identity.{rest}"));
        expect(&HttpConfig { azuread, ..HttpConfig::default() }, &wanted.each_ref().map(String::as_str));
    }

    #[test]
    fn each_authentication_scheme_beyond_the_first_is_an_error() {
        let basic_auth = Some(BasicAuth::default());
        let (bearer_token, bearer_token_file) = (Some(Secret::new("x")), Some("/does/not/exist".into()));
        let wanted = [
            "basic_auth and bearer_token exclude each other",
            "basic_auth and bearer_token_file exclude each other",
            "basic_auth.username is needed",
            "authorization.credentials and authorization.credentials_file exclude each other",
        ];
        expect(&HttpConfig { basic_auth, bearer_token, bearer_token_file, ..HttpConfig::default() }, &wanted);
    }

    #[cfg(feature = "sigv4")]
    #[test]
    fn all_errors_of_a_signature_are_found() {
        let secret_key_file = Some("/does/not/exist".into());
        let sigv4 = Some(SigV4 { secret_key_file, ..SigV4::default() });
        let wanted = [
            "sigv4.region (or AWS_REGION) is needed",
            "sigv4.secret_key_file: /does",
            "sigv4.access_key is needed",
        ];
        expect(&HttpConfig { sigv4, ..HttpConfig::default() }, &wanted);
    }

    #[test]
    fn all_errors_of_tls_config_are_found() {
        let tls = TlsConfig {
            ca: Some("no pem".into()),
            cert_file: Some("/does/not/exist".into()),
            key: Some(Secret::new("x")),
            key_file: Some("x".into()),
            server_name: Some("a b".into()),
            max_version: Some(TlsVersion::Tls11),
            ..TlsConfig::default()
        };
        let wanted = [
            "tls_config: ca: there is no certificate",
            "tls_config: cert_file: /does",
            "tls_config: key and key_file exclude",
            "tls_config: server_name",
            "tls_config: min_version and max_version",
        ];
        expect(&HttpConfig { tls, ..HttpConfig::default() }, &wanted);
    }

    #[test]
    fn a_client_without_errors_has_none() {
        let tls = TlsConfig { insecure_skip_verify: true, ..TlsConfig::default() };
        assert_eq!(errors(&HttpConfig { tls, ..HttpConfig::default() }), Vec::<String>::new());
    }
}
