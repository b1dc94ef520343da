//! The HTTP server: it listens, speaks TLS, asks for credentials, and keeps foreign web pages out.
//!
//! - [`Listening`] and [`Server`]: accept as many connections as allowed, and stop in order. [`Switch`] replaces what is
//!   served while it is served.
//! - [`security`]: TLS, users and tokens, read again when their files change; the rule that nothing listens beyond
//!   loopback without authentication by accident.
//! - [`Routes`]: routes that are listed where a path is not found.
//! - [`guard`]: checks of `Origin` and `Host` against foreign web pages.
//!
//! It knows nothing of samples: what is served is an axum router.

pub mod auth;
pub mod guard;
mod listen;
mod routes;
pub mod security;
pub mod web_config;

pub use listen::{
    CONNECTIONS_MAX, HANDSHAKE_TIMEOUT, HEAD_BYTES_MAX, HEAD_TIMEOUT, IDLE_TIMEOUT, ListenError, Listening,
    STREAMS_MAX, Server, Switch,
};
pub use routes::{Route, Routes};
