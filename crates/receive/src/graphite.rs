//! Graphite plaintext, over TCP and UDP at one address. Off unless `graphite.listen` is set.

use crate::lines;
use formats::graphite::parse;
use intake::{BindError, Bound, Endpoint, Exposure, Listener};
use std::net::SocketAddr;

/// The section, and the name of the input.
pub const NAME: &str = "graphite";
/// The key of the address.
const LISTEN: &str = "graphite.listen";

/// The settings of the input.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Graphite {
    pub listen: SocketAddr,
    pub exposure: Exposure,
}

impl Listener for Graphite {
    fn name(&self) -> &'static str {
        NAME
    }

    fn endpoints(&self) -> Vec<Endpoint> {
        lines::Places::both(LISTEN, self.listen).endpoints()
    }

    fn exposure(&self) -> &Exposure {
        &self.exposure
    }

    fn bind(&self) -> Result<Box<dyn Bound>, BindError> {
        lines::bind(LISTEN, self.listen, parse)
    }
}
