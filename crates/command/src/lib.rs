//! What the commands of the program share, so that all of them behave the same way: `run`, `demo`, `sink`, `push`, `exec`, `wal` and
//! `check`.
//!
//! - [`Failure`]: why a command ends with an error, and its exit code.
//! - [`say()`]: plain sentences on standard error.
//! - [`flags`] and [`listen_address`]: the values of flags that several commands have.
//! - [`signals`]: the signals that ask a command to end or to read its configuration again.
//! - [`data_dir`]: where the data folder is, and its lock.
//!
//! It knows no command: they depend on it.

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

/// This machine's name.
pub fn hostname() -> String {
    rustix::system::uname().nodename().to_string_lossy().into_owned()
}
