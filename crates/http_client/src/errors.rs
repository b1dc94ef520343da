//! All that is wrong with the settings of a client, as far as it can be told before anything is sent.

use crate::auth::headers;
use crate::auth::proof::Proof;
use crate::connect::{Connecting, Lookup};
use crate::proxy::Proxies;
use crate::{Client, ClientError, HttpConfig, Url};
use std::collections::BTreeMap;
use std::sync::Arc;

impl Client {
    /// All errors that [`Client::new`] could return: it returns only the first.
    pub fn errors(url: &Url, config: &HttpConfig) -> Vec<ClientError> {
        let (no_headers, no_http_headers) = (BTreeMap::new(), BTreeMap::new());
        let plain = config.headers.iter().map(|(name, value)| [(name.clone(), value.clone())].into());
        let http = config.http_headers.iter().map(|(name, values)| [(name.clone(), values.clone())].into());
        let plain = plain.filter_map(|one| headers::read(&one, &no_http_headers).err());
        let http = http.filter_map(|one| headers::read(&no_headers, &one).err());
        let mut errors: Vec<ClientError> = plain.chain(http).map(ClientError::Headers).collect();
        errors.extend(Proof::new(config, url).err().map(ClientError::from));
        let proxies = Proxies::new(&config.proxy, |name| std::env::var(name).ok());
        let proxies = proxies.unwrap_or_else(|error| {
            errors.push(error.into());
            Proxies::default()
        });
        let (tls, proxies) = (config.tls.clone(), Arc::new(proxies));
        let lookup = Lookup::new(config.round_robin_dns);
        let connecting = Connecting { tls, proxies, http2: config.http2, idle_max: 1, lookup };
        errors.extend(connecting.client(url.uri()).err().map(ClientError::from));
        errors
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::Secret;
    use crate::auth::BasicAuth;
    use crate::proxy::ProxyConfig;
    use crate::tls::TlsConfig;

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

    #[test]
    fn a_client_without_errors_has_none() {
        let tls = TlsConfig { insecure_skip_verify: true, ..TlsConfig::default() };
        assert_eq!(errors(&HttpConfig { tls, ..HttpConfig::default() }), Vec::<String>::new());
    }
}
