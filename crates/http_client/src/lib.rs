//! The HTTP client: for destinations, for token servers, and for `narthex push`.
//!
//! - [`Client`] sends requests to one server with credentials, follows redirects, and reads secrets, certificates
//!   and keys again while narthex runs.
//! - [`Fetcher`] sends single requests without credentials.
//!
//! Both go through proxies ([`proxy`]) and TLS ([`tls`]), and turn errors into a [`Failure`] that says what
//! happened and what to do. [`auth`] has a file for each way to authenticate.

pub mod auth;
mod client;
mod config;
pub mod connect;
mod errors;
mod explain;
mod failure;
mod fetch;
pub mod proxy;
mod speaks_tls;
pub mod tls;
pub mod url;
mod words;

pub use auth::AuthError;
pub use client::{Client, ClientError, Deadline, GetError, REDIRECTS_MAX, Reply, Request};
pub use config::HttpConfig;
pub use explain::is_for_tls;
pub use failure::{Failure, FailureKind};
pub use fetch::{FetchError, Fetcher};
pub use model::Secret;
pub use url::Url;
pub use words::{ANSWER_BYTES, WORDS_MAX, read_words, status_and_words};

/// The `User-Agent` of all requests.
pub const USER_AGENT: &str = concat!("narthex/", env!("CARGO_PKG_VERSION"));
