//! Which addresses may send to an input without authentication. Pure.

use ipnet::IpNet;
use std::net::{IpAddr, SocketAddr};

/// Which addresses may send to one input.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Exposure {
    /// Networks that may send. If empty, only the listening address is a restriction.
    pub allow_from: Vec<IpNet>,
    /// The user allows every client that reaches the address to send.
    pub allow_unauthenticated: bool,
}

/// An address that other machines can reach, without any restriction on the clients.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error(
    "{address} can be reached by other machines, and any client could send: set {section}.allow_from to the \
     networks that may, or {section}.allow_unauthenticated: true, or listen on 127.0.0.1"
)]
pub struct Exposed {
    pub section: &'static str,
    pub address: SocketAddr,
}

impl Exposure {
    /// Refuses an address beyond loopback unless the settings restrict the clients or allow all of them.
    pub fn check(&self, section: &'static str, address: SocketAddr) -> Result<(), Exposed> {
        let is_loopback = address.ip().to_canonical().is_loopback();
        if is_loopback || self.allow_unauthenticated || !self.allow_from.is_empty() {
            return Ok(());
        }
        Err(Exposed { section, address })
    }

    /// Returns true if a client with this address may send.
    pub fn allows(&self, from: IpAddr) -> bool {
        let from = from.to_canonical();
        self.allow_from.is_empty() || self.allow_from.iter().any(|network| network.contains(&from))
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, reason = "helper functions of tests")]
    use super::*;

    fn exposure(networks: &[&str], allow_unauthenticated: bool) -> Exposure {
        let allow_from = networks.iter().map(|network| network.parse().unwrap()).collect();
        Exposure { allow_from, allow_unauthenticated }
    }

    #[test]
    fn an_address_beyond_loopback_needs_a_restriction_or_consent() {
        for (address, open_is_fine) in [
            ("127.0.0.1:1", true),
            ("[::1]:1", true),
            ("[::ffff:127.0.0.1]:1", true),
            ("0.0.0.0:1", false),
            ("[::]:1", false),
            ("192.0.2.1:1", false),
        ] {
            let address = address.parse().unwrap();
            assert_eq!(exposure(&[], false).check("graphite", address).is_ok(), open_is_fine, "{address}");
            assert!(exposure(&[], true).check("graphite", address).is_ok());
            assert!(exposure(&["10.0.0.0/8"], false).check("graphite", address).is_ok());
        }
    }

    #[test]
    fn only_allowed_networks_may_send() {
        let some = exposure(&["10.0.0.0/8", "2001:db8::/32"], false);
        for (from, allowed) in [
            ("10.1.2.3", true),
            ("::ffff:10.1.2.3", true),
            ("11.1.2.3", false),
            ("2001:db8::1", true),
            ("::1", false),
        ] {
            assert_eq!(some.allows(from.parse().unwrap()), allowed, "{from}");
        }
        assert!(exposure(&[], false).allows("11.1.2.3".parse().unwrap()));
    }
}
