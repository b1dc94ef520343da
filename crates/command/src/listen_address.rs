//! Parses the address of `--listen`.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr, ToSocketAddrs, UdpSocket};

/// The default address of `run` and `demo`: the Pushgateway's port on loopback.
pub const DEFAULT: &str = "127.0.0.1:9091";

/// Parses `ADDRESS:PORT`, `NAME:PORT`, `PORT` (loopback) or `:PORT` (all addresses, as in Prometheus). A name
/// is resolved. If it has several addresses, the first one of IPv4 is used, or else the first one.
pub fn parse(text: &str) -> Result<SocketAddr, String> {
    let text = text.trim();
    if let Ok(address) = text.parse() {
        return Ok(address);
    }
    let wrong = |why: &str| format!("{why}; write ADDRESS:PORT, :PORT or PORT, such as 127.0.0.1:9091");
    let port = |digits: &str| {
        let is_number = !digits.is_empty() && digits.bytes().all(|byte| byte.is_ascii_digit());
        is_number.then(|| digits.parse::<u16>().ok()).flatten()
    };
    let Some((host, digits)) = text.rsplit_once(':') else {
        let is_number = !text.is_empty() && text.bytes().all(|byte| byte.is_ascii_digit());
        return match port(text) {
            Some(port) => Ok(SocketAddr::new(Ipv4Addr::LOCALHOST.into(), port)),
            None if is_number => Err(wrong(&format!("{text:?} is not a port from 0 to 65535"))),
            None => Err(wrong("the port is missing")),
        };
    };
    let port = port(digits).ok_or_else(|| wrong(&format!("{digits:?} is not a port from 0 to 65535")))?;
    if host.is_empty() {
        return Ok(SocketAddr::new(all_addresses(), port));
    }
    if host.contains([':', '[', ']', '/', '*']) {
        return Err(wrong(&format!("{host:?} is not an address (IPv6 needs brackets: [::1]:9091)")));
    }
    let found =
        (host, port).to_socket_addrs().map_err(|error| format!("{host:?} has no address: {error}"))?;
    let found: Vec<SocketAddr> = found.collect();
    let first = found.iter().find(|address| address.is_ipv4()).or(found.first());
    first.copied().ok_or_else(|| format!("{host:?} has no address"))
}

/// A socket at IPv6's unspecified address accepts connections of both versions. A machine without IPv6 needs
/// IPv4's.
fn all_addresses() -> IpAddr {
    match UdpSocket::bind((Ipv6Addr::UNSPECIFIED, 0)) {
        Ok(_) => Ipv6Addr::UNSPECIFIED.into(),
        Err(_) => Ipv4Addr::UNSPECIFIED.into(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn all_forms_of_addresses_are_parsed() {
        let shown = |text| parse(text).map(|address| address.to_string());
        for (text, want) in [
            ("127.0.0.1:9091", "127.0.0.1:9091"),
            ("[::1]:9091", "[::1]:9091"),
            ("9091", "127.0.0.1:9091"),
            ("localhost:9091", "127.0.0.1:9091"),
            ("0.0.0.0:0", "0.0.0.0:0"),
        ] {
            assert_eq!(shown(text).as_deref(), Ok(want), "{text}");
        }
        let all = parse(":9091").unwrap();
        assert!(all.ip().is_unspecified() && all.port() == 9091, "{all}");
    }

    #[test]
    fn invalid_addresses_are_reported_with_valid_forms() {
        for text in ["", "localhost", "127.0.0.1", ":", ":http", "1:2:3", "::1", "70000", "h:70000", "+80"] {
            let error = parse(text).expect_err(text);
            assert!(error.contains("such as 127.0.0.1:9091"), "{text}: {error}");
        }
        assert!(parse("99999").unwrap_err().starts_with("\"99999\" is not a port from 0 to 65535"));
        assert!(parse("localhost").unwrap_err().starts_with("the port is missing"));
        assert!(parse("no.such.name.invalid:80").unwrap_err().contains("has no address"));
    }
}
