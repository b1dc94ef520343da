//! Plain sentences on standard error: the answers of commands that a person or a script waits for. Programs
//! that run until a signal have a log instead: see [`crate::logging`].

use std::fmt;
use std::io::Write;

/// Writes a line. `eprintln!` panics when nobody reads standard error any more (`narthex check x 2>&1 | head`),
/// so it is not used in this crate.
pub(crate) fn say(sentence: fmt::Arguments<'_>) {
    let _ = writeln!(std::io::stderr().lock(), "{sentence}");
}
