//! Flags of `narthex sink`.

use crate::{Accept, WindowLimits};
use clap::Args;
use command::{flags, listen_address};
use std::net::SocketAddr;
use std::time::Duration;

/// The default address.
const DEFAULT_LISTEN: &str = "127.0.0.1:9095";

/// `narthex sink`.
#[derive(Debug, Args)]
pub struct SinkArgs {
    /// Listen here for remote write and for the page. A port alone means loopback; `:PORT` means all of this
    /// machine's addresses.
    #[arg(long, visible_alias = "web.listen-address", value_name = "ADDR",
          default_value = DEFAULT_LISTEN, value_parser = listen_address::parse)]
    pub listen: SocketAddr,

    /// Listen beyond loopback: the sink has no authentication.
    #[arg(long)]
    pub allow_unauthenticated: bool,

    /// The accepted protocol versions; the other one is answered with 415.
    #[arg(long, value_enum, default_value_t = Accept::Both)]
    pub accept: Accept,

    /// Answer requests with this status (400 to 599) instead of accepting them.
    #[arg(long, value_name = "STATUS", value_parser = clap::value_parser!(u16).range(400..=599))]
    pub fail: Option<u16>,

    /// Fail only one request in this many.
    #[arg(long, value_name = "N", requires = "fail", default_value_t = 1,
          value_parser = clap::value_parser!(u64).range(1..))]
    pub fail_every: u64,

    /// Send this many seconds as Retry-After with each failure.
    #[arg(long, value_name = "SECONDS", requires = "fail")]
    pub retry_after: Option<u64>,

    /// Wait this long before each answer (250ms, 2s).
    #[arg(long, value_name = "DURATION", value_parser = flags::duration)]
    pub delay: Option<Duration>,

    /// Cut connections without an answer.
    #[arg(long)]
    pub refuse: bool,

    /// Keep the recent points of at most this many series.
    #[arg(long, value_name = "N", default_value_t = WindowLimits::DEFAULT.series)]
    pub max_series: usize,

    /// Keep at most this many points of a series.
    #[arg(long, value_name = "N", default_value_t = WindowLimits::DEFAULT.points_per_series)]
    pub max_points: usize,

    /// Keep at most this much in memory.
    #[arg(long, value_name = "SIZE", default_value = "64MiB", value_parser = flags::bytes)]
    pub max_memory: u64,
}
