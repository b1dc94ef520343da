//! Finds all errors in the authentication of a client. [`Proof::new`] returns only the first.

use super::error::ProofError;
use super::oauth2::OAuth2;
use super::proof::{self, Proof};
use super::sigv4::{SigV4, Signatures};
use super::{azuread, google_iam};
use crate::fetch::FetchError;
use crate::proxy::Proxies;
use crate::{HttpConfig, Secret, Url, tls};

/// Returns the errors of each block, each once.
pub(crate) fn errors(config: &HttpConfig, url: &Url) -> Vec<ProofError> {
    let Err(first) = Proof::new(config, url) else { return Vec::new() };
    let mut all: Vec<ProofError> = proof::exclusive(config).into_iter().map(ProofError::from).collect();
    if let Some(basic) = &config.basic_auth {
        all.extend([basic.user().err(), basic.password().err()].into_iter().flatten().map(ProofError::from));
    }
    for authorization in config.authorization.iter().chain(&proof::bearer(config)) {
        let errors = [authorization.secret().err(), authorization.scheme().err()];
        all.extend(errors.into_iter().flatten().map(ProofError::from));
    }
    config.oauth2.iter().for_each(|oauth2| of_oauth2(oauth2, &mut all));
    all.extend(config.azuread.iter().flat_map(azuread::errors).map(ProofError::from));
    all.extend(config.google_iam.iter().filter_map(|google| google_iam::Issuer::new(google).err()));
    all.extend(config.sigv4.iter().flat_map(of_sigv4));
    let mut seen = std::collections::BTreeSet::new();
    all.retain(|error| seen.insert(error.to_string()));
    // An error of no block, such as a character that is not allowed in a header.
    if all.is_empty() { vec![first] } else { all }
}

fn of_oauth2(oauth2: &OAuth2, all: &mut Vec<ProofError>) {
    all.extend(oauth2.secret().err().map(ProofError::from));
    let proxies = Proxies::new(&oauth2.proxy(), |name| std::env::var(name).ok());
    all.extend(proxies.err().map(|error| ProofError::OAuth2(FetchError::Proxy(error))));
    let is_https = oauth2.token_url.uri().scheme_str() == Some("https");
    let errors = tls::errors(&oauth2.tls_config, is_https).into_iter();
    all.extend(errors.map(|error| ProofError::OAuth2(FetchError::Tls(error))));
}

/// Returns the errors of the keys, and of the other settings.
fn of_sigv4(sigv4: &SigV4) -> Vec<ProofError> {
    let without_keys = SigV4 { access_key: None, secret_key: None, secret_key_file: None, ..sigv4.clone() };
    let region = Some("any".to_string());
    let keys = SigV4 { region, ..sigv4.clone() };
    let mut parts = vec![without_keys, keys.clone()];
    if sigv4.secret_key.is_some() || sigv4.secret_key_file.is_some() {
        // This finds a missing name of the key even if the key itself can't be read.
        parts.push(SigV4 { secret_key: Some(Secret::new("any")), secret_key_file: None, ..keys });
    }
    parts.iter().filter_map(|part| Signatures::new(part).err()).collect()
}
