//! The keys of an HTTP client, which Prometheus writes among the other keys of a section.

/// Defines a section with the keys of an HTTP client, and [`http_client::HttpConfig`] of them.
macro_rules! http_section {
    ($(#[$meta:meta])* pub struct $name:ident { $($(#[$field_meta:meta])* pub $field:ident: $type:ty,)* }) => {
        $(#[$meta])*
        #[derive(Debug, Clone, PartialEq, serde::Deserialize)]
        #[serde(deny_unknown_fields)]
        pub struct $name {
            $($(#[$field_meta])* pub $field: $type,)*
            #[serde(default)]
            pub basic_auth: Option<http_client::auth::BasicAuth>,
            #[serde(default)]
            pub authorization: Option<http_client::auth::Authorization>,
            /// Another way to write `authorization.credentials`.
            #[serde(default)]
            pub bearer_token: Option<http_client::Secret>,
            /// Another way to write `authorization.credentials_file`.
            #[serde(default)]
            pub bearer_token_file: Option<std::path::PathBuf>,
            /// Gets access tokens from a token server.
            #[serde(default)]
            pub oauth2: Option<http_client::auth::oauth2::OAuth2>,
            /// Which certificate authorities to trust, and which client certificate to use.
            #[serde(default)]
            pub tls_config: http_client::tls::TlsConfig,
            #[serde(default = "crate::config::yes")]
            pub follow_redirects: bool,
            /// Whether HTTP/2 is used if the server offers it, over TLS.
            #[serde(default = "crate::config::yes")]
            pub enable_http2: bool,
            #[serde(default, deserialize_with = "http_client::url::deserialize_proxy")]
            pub proxy_url: Option<http_client::Url>,
            /// Hosts that are reached without the proxy, separated by commas.
            #[serde(default)]
            pub no_proxy: Option<String>,
            /// Takes proxy and exceptions from `HTTP_PROXY`, `HTTPS_PROXY` and `NO_PROXY`.
            #[serde(default)]
            pub proxy_from_environment: bool,
            /// Headers for the proxy's CONNECT request.
            #[serde(default)]
            pub proxy_connect_header: std::collections::BTreeMap<String, Vec<http_client::Secret>>,
            /// Additional headers.
            #[serde(default)]
            pub http_headers: std::collections::BTreeMap<String, http_client::auth::headers::HeaderValues>,
        }

        impl $name {
            /// The settings of the HTTP client.
            pub fn http(&self) -> http_client::HttpConfig {
                http_client::HttpConfig {
                    basic_auth: self.basic_auth.clone(),
                    authorization: self.authorization.clone(),
                    bearer_token: self.bearer_token.clone(),
                    bearer_token_file: self.bearer_token_file.clone(),
                    oauth2: self.oauth2.clone(),
                    tls: self.tls_config.clone(),
                    proxy: http_client::proxy::ProxyConfig {
                        url: self.proxy_url.clone(),
                        no_proxy: self.no_proxy.clone(),
                        from_environment: self.proxy_from_environment,
                        connect_header: self.proxy_connect_header.clone(),
                    },
                    http_headers: self.http_headers.clone(),
                    follow_redirects: self.follow_redirects,
                    http2: self.enable_http2,
                    ..http_client::HttpConfig::default()
                }
            }

            /// Makes relative paths of the client's files relative to `folder`.
            fn resolve_http_paths(&mut self, folder: &std::path::Path) {
                let mut paths: Vec<&mut std::path::PathBuf> = Vec::new();
                if let Some(basic) = &mut self.basic_auth {
                    paths.extend([&mut basic.username_file, &mut basic.password_file].into_iter().flatten());
                }
                paths.extend(self.authorization.iter_mut().flat_map(|own| &mut own.credentials_file));
                paths.extend(&mut self.bearer_token_file);
                if let Some(oauth2) = &mut self.oauth2 {
                    paths.extend(&mut oauth2.client_secret_file);
                    paths.extend(oauth2.tls_config.files_mut());
                }
                paths.extend(self.http_headers.values_mut().flat_map(|header| &mut header.files));
                paths.extend(self.tls_config.files_mut());
                for path in paths {
                    *path = folder.join(&*path);
                }
            }
        }
    };
}

pub(crate) use http_section;
