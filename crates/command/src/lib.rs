//! Code that the commands of the program share, so that all of them behave the same way: `run`, `demo`,
//! `sink`, `push`, `exec`, `wal` and `check`.
//!
//! - [`Failure`]: why a command ends with an error, and its exit code.
//! - [`say()`]: plain sentences on standard error.
//! - [`flags`] and [`listen_address`]: values of flags that several commands have.
//! - [`signals`]: the signals that end a command or make it reload its configuration.
//! - [`data_dir`]: the path of the data folder, and its lock.
//!
//! This crate depends on none of the commands.

pub mod data_dir;
pub mod failure;
pub mod flags;
pub mod listen_address;
mod say;
pub mod shell;
pub mod signals;

pub use failure::Failure;
pub use say::say;

/// Looks up an environment variable: in the environment of the process, except in tests.
pub type Lookup<'a> = &'a dyn Fn(&str) -> Option<String>;

/// The host name of this machine.
pub fn hostname() -> String {
    rustix::system::uname().nodename().to_string_lossy().into_owned()
}
