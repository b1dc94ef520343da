//! Addresses beside that of `--listen` at which the same is served. A reload changes them.

use super::{ListenError, Listening, Server};
use crate::security::Current;
use axum::Router;
use futures_util::future::select_all;
use std::collections::BTreeMap;
use std::net::SocketAddr;
use std::sync::Arc;
use tokio::sync::watch;

/// The servers at these addresses.
#[derive(Debug)]
pub struct Addresses {
    router: Router,
    security: watch::Receiver<Arc<Current>>,
    servers: BTreeMap<(&'static str, SocketAddr), Server>,
}

/// What a configuration asks for: each address with the key that has it, and its socket if that is not open yet.
#[derive(Debug, Default)]
pub struct Opened(BTreeMap<(&'static str, SocketAddr), Option<Listening>>);

impl Addresses {
    /// None yet. Each will serve `router`, and its connections begin as `security` says.
    pub fn new(router: Router, security: watch::Receiver<Arc<Current>>) -> Self {
        Addresses { router, security, servers: BTreeMap::new() }
    }

    /// Opens the sockets that are not open yet. Changes nothing that runs. Each address comes with the key that has it.
    pub fn prepare(&self, wanted: &[(&'static str, SocketAddr)]) -> Result<Opened, ListenError> {
        let mut opened = BTreeMap::new();
        for (key, address) in wanted {
            let listening = match self.servers.contains_key(&(*key, *address)) {
                true => None,
                false => Some(Listening::on_address_of(key, *address)?),
            };
            opened.insert((*key, *address), listening);
        }
        Ok(Opened(opened))
    }

    /// Serves at these addresses and no others. Returns those that are new, as they were opened.
    pub async fn apply(&mut self, Opened(wanted): Opened) -> Vec<(&'static str, SocketAddr)> {
        let mut before = std::mem::take(&mut self.servers);
        let mut new = Vec::new();
        for (place, listening) in wanted {
            let server = match (listening, before.remove(&place)) {
                (None, kept) => kept,
                (Some(listening), _) => {
                    new.push((place.0, listening.address()));
                    Some(listening.secured(self.security.clone()).serve(self.router.clone()))
                }
            };
            self.servers.extend(server.map(|server| (place, server)));
        }
        for server in before.into_values() {
            server.stop().await;
        }
        new
    }

    /// Resolves once one of the tasks that accept connections has ended by itself, which only a panic can cause.
    pub async fn ended(&mut self) {
        let all: Vec<_> = self.servers.values_mut().map(|server| Box::pin(server.ended())).collect();
        match all.is_empty() {
            true => std::future::pending().await,
            false => drop(select_all(all).await),
        }
    }

    pub async fn stop(self) {
        for server in self.servers.into_values() {
            server.stop().await;
        }
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, reason = "helpers of tests")]
    use super::super::tests::ok_router;
    use super::*;
    use crate::security::Security;
    use tokio::net::TcpStream;

    #[tokio::test]
    async fn addresses_follow_the_settings() {
        let security = Security::open();
        let mut addresses = Addresses::new(ok_router(), security.current());
        let free = SocketAddr::from(([127, 0, 0, 1], 0));
        let opened = addresses.prepare(&[("one", free), ("two", free)]).unwrap();
        let first = addresses.apply(opened).await;
        assert_eq!(first.len(), 2);
        let opened = addresses.prepare(&[("one", free)]).unwrap();
        assert_eq!(addresses.apply(opened).await, [], "it stays open");
        assert!(TcpStream::connect(first[0].1).await.is_ok());
        assert!(TcpStream::connect(first[1].1).await.is_err());
        let error = addresses.prepare(&[("three", first[0].1)]).unwrap_err().to_string();
        assert!(error.ends_with("; choose another with three"), "{error}");
        addresses.stop().await;
        assert!(TcpStream::connect(first[0].1).await.is_err());
    }
}
