//! `narthex wal`: shows the content of a log of narthex or of Prometheus, checks it, writes it out, and
//! repairs it.
//!
//! All subcommands except `repair` only read, and may be used while the log is being written. Start at
//! [`run`].

pub mod args;
mod dead;
mod dump;
mod folder;
mod progress;
mod stat;
mod verify;

use args::{WalArgs, WalCommand};
use command::Failure;
use std::io::{self, Write};
use std::process::ExitCode;

pub fn run(args: WalArgs) -> Result<ExitCode, Failure> {
    match args.command {
        WalCommand::Stat(args) => stat::run(&args),
        WalCommand::Dump(args) => dump::run(&args),
        WalCommand::Verify(args) => verify::run(&args),
        WalCommand::Repair(args) => verify::repair(&args),
    }
}

/// Writes to standard output. It is no failure if the reader has closed the pipe (`| head`).
fn print(text: &str) -> Result<(), Failure> {
    let mut out = io::stdout().lock();
    quiet_if_closed(out.write_all(text.as_bytes()).and_then(|()| out.flush()))
}

/// Treats a closed pipe as success.
fn quiet_if_closed(result: io::Result<()>) -> Result<(), Failure> {
    match result {
        Err(error) if error.kind() == io::ErrorKind::BrokenPipe => Ok(()),
        Err(error) => Err(Failure::running(format!("cannot write the output: {error}"))),
        Ok(()) => Ok(()),
    }
}
