//! Credentials, certificates and the proxy of a push.

use crate::args::TargetArgs;
use http::HeaderValue;
use http_client::auth::{AuthError, Authorization, BasicAuth, header};
use http_client::tls::{KeyNames, TlsConfig};
use http_client::url::{Url, UrlError};
use remote::RemoteWrite;

/// Keys in the messages of the HTTP client, and the flags of `narthex push` that set them.
const FLAGS: [(&str, &str); 3] = [
    ("basic_auth.password_file", "--password-file"),
    ("authorization.credentials_file", "--bearer-token-file"),
    ("proxy_url", "--proxy-url"),
];

/// Replaces the key at the beginning of a message of the HTTP client with its flag.
pub(crate) fn with_flag(message: &str) -> String {
    let found =
        FLAGS.iter().find_map(|(key, flag)| message.strip_prefix(key).map(|rest| format!("{flag}{rest}")));
    found.unwrap_or_else(|| message.to_string())
}

/// Credentials, TLS settings and proxy from the flags. Secrets are in files, which are read for each push: if
/// one can't be read, the push waits in the spool.
#[derive(Debug, Clone, Default)]
pub(crate) struct Credentials {
    basic: Option<BasicAuth>,
    bearer: Option<Authorization>,
    pub(crate) tls: TlsConfig,
    pub(crate) proxy: Option<Url>,
}

impl Credentials {
    pub(crate) fn new(args: &TargetArgs) -> Result<Self, UrlError> {
        let basic = args.user.as_ref().map(|user| BasicAuth {
            username: Some(user.clone()),
            password_file: args.password_file.clone(),
            ..BasicAuth::default()
        });
        let bearer = args
            .bearer_token_file
            .as_ref()
            .map(|file| Authorization { credentials_file: Some(file.clone()), ..Authorization::default() });
        let tls = TlsConfig {
            ca_file: args.ca_file.clone(),
            cert_file: args.cert_file.clone(),
            key_file: args.key_file.clone(),
            key_names: KeyNames::Flags,
            ..TlsConfig::default()
        };
        let proxy = args.proxy_url.as_deref().map(Url::parse_proxy).transpose()?;
        Ok(Credentials { basic, bearer, tls, proxy })
    }

    /// The `Authorization` header. `from_url` is the header value made of the user and password in the URL.
    pub(crate) fn header(&self, from_url: Option<&str>) -> Result<Option<HeaderValue>, AuthError> {
        header(self.basic.as_ref(), self.bearer.as_ref(), from_url)
    }

    /// Copies the settings into the configuration of a remote-write client.
    pub(crate) fn give_to(self, config: &mut RemoteWrite) {
        config.basic_auth = self.basic;
        config.authorization = self.bearer;
        config.tls_config = self.tls;
        config.proxy_url = self.proxy;
    }
}
