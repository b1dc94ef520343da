//! Plain sentences on standard error: the answers of commands that a person or a script waits for. Commands that run
//! until a signal have a log instead: see [`logging`].

use std::fmt;
use std::io::Write;

/// Writes a line. `eprintln!` panics when nobody reads standard error any more (`narthex check x 2>&1 | head`), so no
/// command uses it.
pub fn say(sentence: fmt::Arguments<'_>) {
    let _ = writeln!(std::io::stderr().lock(), "{sentence}");
}
