//! TLS errors as sentences: what is wrong with the connection, and which setting to change.

use super::{TlsConfig, verify};
use rustls::{AlertDescription, CertificateError, Error, PeerIncompatible};
use std::time::{Duration, UNIX_EPOCH};

/// The names of TLS settings in messages.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub enum KeyNames {
    /// The keys of a configuration file.
    #[default]
    File,
    /// The flags of `narthex push` and `narthex exec`.
    Flags,
    /// `narthex run --to`, which has no flags for these settings: a configuration file is needed instead.
    To,
}

impl KeyNames {
    pub(super) fn ca(self) -> &'static str {
        match self {
            KeyNames::File => "tls_config.ca_file",
            KeyNames::Flags => "--ca-file",
            KeyNames::To => "tls_config.ca_file in a file for --config, instead of --to,",
        }
    }

    fn client_certificate(self) -> &'static str {
        match self {
            KeyNames::File => "tls_config.cert_file and key_file",
            KeyNames::Flags => "--cert-file and --key-file",
            KeyNames::To => "tls_config.cert_file and key_file in a file for --config, instead of --to",
        }
    }

    /// Returns what to do if the certificate has other names.
    fn name_remedy(self) -> &'static str {
        match self {
            KeyNames::File => "use such a name in the URL, or set tls_config.server_name to it",
            KeyNames::Flags => "use such a name in the URL",
            KeyNames::To => {
                "use such a name in the URL, or set tls_config.server_name to it in a file for --config, instead of \
                 --to"
            }
        }
    }

    /// Returns the name of a setting with a file: the key below `tls_config`, or the flag.
    pub(super) fn file(self, key: &'static str) -> &'static str {
        match (self, key) {
            (KeyNames::Flags, "ca_file") => "--ca-file",
            (KeyNames::Flags, "cert_file") => "--cert-file",
            (KeyNames::Flags, "key_file") => "--key-file",
            _ => key,
        }
    }

    /// Returns the names of the settings for the client's certificate and its key.
    pub(super) fn pair(self) -> &'static str {
        match self {
            KeyNames::File | KeyNames::To => "cert_file and key_file",
            KeyNames::Flags => "--cert-file and --key-file",
        }
    }
}

#[derive(Debug, Clone, PartialEq, Eq)]
pub struct TlsTrouble {
    pub words: String,
    /// Whether it is about the server's or the client's certificate, so that waiting does not help.
    pub is_about_certificate: bool,
}

/// Turns an error of rustls into a sentence.
pub(crate) fn trouble(error: &Error, config: &TlsConfig) -> TlsTrouble {
    let names = config.key_names;
    let presents_certificate = config.cert.is_some() || config.cert_file.is_some();
    let about_certificate = |words| TlsTrouble { words, is_about_certificate: true };
    match error {
        Error::InvalidCertificate(error) => about_certificate(certificate_words(error, names)),
        Error::NoCertificatesPresented => {
            about_certificate("the server presents no certificate: set one up there".into())
        }
        Error::AlertReceived(alert) => match client_certificate_words(*alert, presents_certificate, names) {
            Some(words) => about_certificate(words),
            None => TlsTrouble { words: alert_words(*alert, names), is_about_certificate: false },
        },
        Error::PeerIncompatible(reason) => {
            TlsTrouble { words: incompatible_words(reason, names), is_about_certificate: false }
        }
        error => TlsTrouble { words: format!("TLS failed: {error}"), is_about_certificate: false },
    }
}

fn certificate_words(error: &CertificateError, names: KeyNames) -> String {
    use CertificateError::*;
    let ca = names.ca();
    match error {
        UnknownIssuer => format!(
            "the server's certificate is not signed by an authority that is trusted here: set {ca} to a file \
             with the certificate of its authority, or with the server's own where it is self-signed"
        ),
        Other(other) if verify::is_authority_as_server(other) => format!(
            "the server presents the certificate of an authority (CA:TRUE) as its own: set {ca} to a file with \
             this certificate to trust it"
        ),
        Expired => "the server's certificate has expired: renew it there".into(),
        ExpiredContext { not_after, time } => format!(
            "the server's certificate expired on {}: renew it there (the clock here says {})",
            date(not_after.as_secs()),
            date(time.as_secs())
        ),
        NotValidYet => "the server's certificate is not valid yet: is the clock here right?".into(),
        NotValidYetContext { not_before, time } => format!(
            "the server's certificate is not valid before {}: is the clock here right? (it says {})",
            date(not_before.as_secs()),
            date(time.as_secs())
        ),
        NotValidForName => format!("the server's certificate is for another name: {}", names.name_remedy()),
        NotValidForNameContext { expected, presented } if presented.is_empty() => format!(
            "the server's certificate names no host: make one with {} in its subjectAltName",
            expected.to_str()
        ),
        NotValidForNameContext { expected, presented } => {
            // rustls includes the type of a name: DnsName("a") or IpAddress(127.0.0.1).
            let shown: Vec<&str> = presented.iter().take(NAMES_MAX).map(|name| bare_name(name)).collect();
            let more = if presented.len() > NAMES_MAX { " and others" } else { "" };
            format!(
                "the server's certificate is not for {} but for {}{more}: {}",
                expected.to_str(),
                shown.join(", "),
                names.name_remedy()
            )
        }
        Revoked => "the server's certificate was revoked: replace it there".into(),
        BadEncoding => "the server's certificate can't be read (only X.509 version 3 is): replace it there".into(),
        BadSignature => format!(
            "the server's certificate was not signed by the authority that it names: check {ca}, or replace the \
             certificate there"
        ),
        InvalidPurpose | InvalidPurposeContext { .. } => {
            "the server's certificate is not meant for servers (extendedKeyUsage): replace it there".into()
        }
        UnsupportedSignatureAlgorithmContext { .. } | UnsupportedSignatureAlgorithmForPublicKeyContext { .. } => {
            "the server's certificate is signed with an algorithm that is not supported (SHA-1, for example): \
             replace it there"
                .into()
        }
        error => format!("the server's certificate is not accepted: {error}"),
    }
}

/// The most names of a certificate that a message lists.
const NAMES_MAX: usize = 5;

fn bare_name(shown: &str) -> &str {
    let inner = shown.split_once('(').and_then(|(_, rest)| rest.strip_suffix(')')).unwrap_or(shown);
    inner.trim_matches('"')
}

/// Returns what an alert says about the client's certificate, if it is about that. Before TLS 1.3 there is no
/// separate alert for a missing certificate.
fn client_certificate_words(
    alert: AlertDescription,
    presents_certificate: bool,
    names: KeyNames,
) -> Option<String> {
    use AlertDescription::*;
    let keys = names.client_certificate();
    let reason = match alert {
        CertificateRequired | NoCertificate => None,
        BadCertificate | CertificateUnknown | AccessDenied if !presents_certificate => None,
        UnknownCA => Some("the server does not trust its authority"),
        CertificateExpired => Some("it has expired"),
        CertificateRevoked => Some("it was revoked"),
        UnsupportedCertificate => Some("it is of a kind that the server does not support"),
        BadCertificate | CertificateUnknown | AccessDenied => Some("the server does not say why"),
        DecryptError => Some("the key does not fit it"),
        _ => return None,
    };
    Some(match reason {
        None => format!("the server wants a client certificate: set {keys}"),
        Some(reason) if presents_certificate => {
            format!("the server refuses our client certificate ({reason}): check {keys}")
        }
        Some(_) => format!(
            "the server refuses the connection ({alert:?}); if it wants a client certificate, set {keys}"
        ),
    })
}

fn alert_words(alert: AlertDescription, names: KeyNames) -> String {
    use AlertDescription::*;
    match alert {
        ProtocolVersion => no_common_version(names),
        HandshakeFailure | InsufficientSecurity => no_common_cipher(names),
        UnrecognisedName => {
            format!("the server has no certificate for the URL's host: {}", names.name_remedy())
        }
        alert => format!("the server ended the TLS handshake ({alert:?})"),
    }
}

fn incompatible_words(reason: &PeerIncompatible, names: KeyNames) -> String {
    use PeerIncompatible::*;
    match reason {
        ServerDoesNotSupportTls12Or13
        | ServerTlsVersionIsDisabledByOurConfig
        | Tls12NotOffered
        | Tls12NotOfferedOrEnabled
        | Tls13RequiredForQuic => no_common_version(names),
        NoCipherSuitesInCommon | NoKxGroupsInCommon | NoSignatureSchemesInCommon => no_common_cipher(names),
        reason => format!("the server's TLS does not go with ours ({reason:?})"),
    }
}

fn no_common_version(names: KeyNames) -> String {
    let versions = match names {
        KeyNames::File => "tls_config.min_version and max_version allow (1.2 and 1.3 by default)",
        KeyNames::Flags | KeyNames::To => "are supported here (1.2 and 1.3)",
    };
    format!("the server speaks none of the versions of TLS that {versions}")
}

fn no_common_cipher(names: KeyNames) -> String {
    let keys = names.client_certificate();
    format!(
        "the server refuses the TLS handshake: it has no cipher suite in common with ours, or it wants a client \
         certificate ({keys})"
    )
}

/// Formats seconds since 1970 as a date.
fn date(seconds: u64) -> String {
    match UNIX_EPOCH.checked_add(Duration::from_secs(seconds)) {
        // The formatter panics beyond the year 9999.
        Some(time) if seconds < 253_402_300_800 => httpdate::fmt_http_date(time),
        _ => format!("{seconds} seconds after 1970"),
    }
}

#[cfg(test)]
mod tests;
