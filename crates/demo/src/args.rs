//! Flags of `narthex demo`.

use clap::Args;
use command::listen_address;
use std::net::SocketAddr;
use std::path::PathBuf;

/// `narthex demo`.
#[derive(Debug, Args)]
pub struct DemoArgs {
    /// The folder for the log and the positions. [default: a new one under the system's temporary
    /// folder, removed at the end]
    #[arg(long, value_name = "DIR")]
    pub data: Option<PathBuf>,

    /// Listen here for the page and for pushes. [default: 127.0.0.1:9091, or another port if that one is in use]
    #[arg(long, visible_alias = "web.listen-address", value_name = "ADDR", value_parser = listen_address::parse)]
    pub listen: Option<SocketAddr>,

    /// Listen beyond loopback: the demo has no authentication.
    #[arg(long)]
    pub allow_unauthenticated: bool,
}
