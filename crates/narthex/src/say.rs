//! Sentences on standard error.

use std::fmt;
use std::io::Write;

/// Writes a line. Nobody may be listening any more (`narthex run 2>&1 | head`): that is no reason to end,
/// so `eprintln!`, which panics then, is not used in this crate.
pub(crate) fn say(sentence: fmt::Arguments<'_>) {
    let _ = writeln!(std::io::stderr().lock(), "{sentence}");
}
