//! Why the program ends with an error, and with which code.

use std::fmt;

/// Exit code for what is wrong with flags or configuration.
pub const USAGE: u8 = 2;
/// Exit code for what went wrong while it started or ran.
pub const RUNNING: u8 = 1;

/// The reason, for a person, and the exit code.
#[derive(Debug)]
pub struct Failure {
    code: u8,
    text: String,
}

impl Failure {
    /// Flags or configuration.
    pub fn usage(text: impl fmt::Display) -> Self {
        Failure { code: USAGE, text: text.to_string() }
    }

    /// Something on the machine.
    pub fn running(text: impl fmt::Display) -> Self {
        Failure { code: RUNNING, text: text.to_string() }
    }

    /// The exit code.
    pub fn code(&self) -> u8 {
        self.code
    }
}

impl fmt::Display for Failure {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.text)
    }
}
