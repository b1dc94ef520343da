//! Plain sentences on standard error, for commands that a user or a script waits for. Commands that run until
//! a signal have a log instead: see [`logging`].

use std::fmt;
use std::io::Write;

/// Writes a line. `eprintln!` panics if the reader of standard error has closed it, as in
/// `narthex check x 2>&1 | head`, so no command uses it.
pub fn say(sentence: fmt::Arguments<'_>) {
    let _ = writeln!(std::io::stderr().lock(), "{sentence}");
}
