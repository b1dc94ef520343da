//! The HTTP server: listening, TLS, authentication, and protection from foreign web pages.
//!
//! - [`Listening`] and [`Server`] accept as many connections as allowed, and stop in order. [`Switch`]
//!   replaces the router at run time.
//! - [`security`] has TLS, users and tokens, which are read again when their files change, and the rule that
//!   no address beyond loopback is open without authentication by accident.
//! - [`Routes`] lists the routes in the answer to an unknown path.
//! - [`guard`] checks `Origin` and `Host` against foreign web pages.
//!
//! The server knows nothing of samples: it serves an axum router.

pub mod auth;
pub mod guard;
mod listen;
mod routes;
pub mod security;
pub mod web_config;

pub use listen::{
    Addresses, CONNECTIONS_MAX, HANDSHAKE_TIMEOUT, HEAD_BYTES_MAX, HEAD_TIMEOUT, IDLE_TIMEOUT, ListenError,
    Listening, Opened, STREAMS_MAX, Server, Switch,
};
pub use routes::{Route, Routes};
