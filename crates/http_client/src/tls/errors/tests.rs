use super::*;
use rustls::OtherError;
use rustls::pki_types::{ServerName, UnixTime};
use std::sync::Arc;

fn at(seconds: u64) -> UnixTime {
    UnixTime::since_unix_epoch(Duration::from_secs(seconds))
}

fn for_names(presented: &[&str]) -> CertificateError {
    CertificateError::NotValidForNameContext {
        expected: ServerName::try_from("metrics.example").unwrap().to_owned(),
        presented: presented.iter().map(|name| name.to_string()).collect(),
    }
}

#[test]
fn each_certificate_error_is_a_sentence_with_its_setting() {
    let expired = CertificateError::ExpiredContext { time: at(1_800_000_000), not_after: at(1_700_000_000) };
    let early = CertificateError::NotValidYetContext { time: at(0), not_before: at(1_700_000_000) };
    let far = CertificateError::ExpiredContext { time: at(0), not_after: at(u64::MAX) };
    let authority = CertificateError::Other(OtherError(Arc::new(webpki::Error::CaUsedAsEndEntity)));
    let many: Vec<String> = (0..9).map(|number| format!("DnsName(\"h{number}\")")).collect();
    let many: Vec<&str> = many.iter().map(String::as_str).collect();
    let table: [(CertificateError, &[&str]); 13] = [
        (
            CertificateError::UnknownIssuer,
            &["not signed by an authority that is trusted", "set tls_config.ca_file"],
        ),
        (authority, &["CA:TRUE", "set tls_config.ca_file"]),
        (expired, &["expired on Tue, 14 Nov 2023 22:13:20 GMT", "Fri, 15 Jan 2027 08:00:00 GMT"]),
        (far, &["expired on 18446744073709551615 seconds after 1970"]),
        (CertificateError::Expired, &["has expired"]),
        (early, &["not valid before Tue, 14 Nov 2023 22:13:20 GMT", "clock"]),
        (CertificateError::NotValidYet, &["clock"]),
        (
            for_names(&["DnsName(\"a.example\")", "IpAddress(127.0.0.1)"]),
            &["not for metrics.example but for a.example, 127.0.0.1:", "tls_config.server_name"],
        ),
        (for_names(&[]), &["names no host", "metrics.example in its subjectAltName"]),
        (for_names(&many), &["h4 and others:"]),
        (
            CertificateError::BadSignature,
            &["not signed by the authority that it names", "tls_config.ca_file"],
        ),
        (CertificateError::InvalidPurpose, &["extendedKeyUsage"]),
        (CertificateError::Revoked, &["revoked"]),
    ];
    for (error, parts) in table {
        let told = trouble(&Error::InvalidCertificate(error.clone()), &TlsConfig::default());
        assert!(told.is_about_certificate, "{error:?}");
        for part in parts {
            assert!(told.words.contains(part), "{error:?}: {}", told.words);
        }
    }
}

#[test]
fn each_alert_is_a_sentence_with_its_setting() {
    use AlertDescription::*;
    let with = TlsConfig { cert_file: Some("c".into()), ..TlsConfig::default() };
    let without = TlsConfig::default();
    for (alert, config, is_about_certificate, part) in [
        (
            CertificateRequired,
            &without,
            true,
            "wants a client certificate: set tls_config.cert_file and key_file",
        ),
        (BadCertificate, &without, true, "wants a client certificate: set"),
        (BadCertificate, &with, true, "refuses our client certificate (the server does not say why): check"),
        (UnknownCA, &with, true, "(the server does not trust its authority): check tls_config.cert_file"),
        (UnknownCA, &without, true, "refuses the connection (UnknownCA)"),
        (CertificateExpired, &with, true, "(it has expired)"),
        (ProtocolVersion, &without, false, "tls_config.min_version and max_version"),
        (HandshakeFailure, &without, false, "no cipher suite in common"),
        (UnrecognisedName, &without, false, "tls_config.server_name"),
        (InternalError, &without, false, "ended the TLS handshake (InternalError)"),
    ] {
        let told = trouble(&Error::AlertReceived(alert), config);
        assert_eq!(told.is_about_certificate, is_about_certificate, "{alert:?}");
        assert!(told.words.contains(part), "{alert:?}: {}", told.words);
    }
}

#[test]
fn destination_of_a_flag_is_told_to_use_a_file() {
    let to = TlsConfig { key_names: KeyNames::To, ..TlsConfig::default() };
    for error in [
        Error::InvalidCertificate(CertificateError::UnknownIssuer),
        Error::InvalidCertificate(for_names(&["DnsName(\"a\")"])),
        Error::AlertReceived(AlertDescription::CertificateRequired),
    ] {
        let told = trouble(&error, &to);
        assert!(told.words.contains(" in a file for --config, instead of --to"), "{}", told.words);
    }
}

#[test]
fn messages_name_the_flags() {
    let flags = TlsConfig { key_names: KeyNames::Flags, ..TlsConfig::default() };
    for (error, part) in [
        (Error::InvalidCertificate(CertificateError::UnknownIssuer), "set --ca-file"),
        (Error::AlertReceived(AlertDescription::CertificateRequired), "set --cert-file and --key-file"),
        (Error::InvalidCertificate(for_names(&["DnsName(\"a\")"])), "use such a name in the URL"),
    ] {
        let told = trouble(&error, &flags);
        assert!(told.words.contains(part) && !told.words.contains("tls_config"), "{}", told.words);
    }
}
