//! Flags of `narthex exec`.

use crate::args::TargetArgs;
use clap::Args;
use std::ffi::OsString;
use std::time::Duration;

/// The interval of heartbeats of a running job.
pub const HEARTBEAT: Duration = Duration::from_secs(30);

/// `narthex exec`.
#[derive(Debug, Args)]
#[command(after_help = "\
The command's input, output, signals and exit status pass through: 128 + N if signal N ended it, 127 \
if there is no such command, 126 if it can't be run. Problems with pushing change none of these; they are \
reported in one line on standard error.")]
pub struct ExecArgs {
    /// The label `job`: the name of this job.
    #[arg(long, value_name = "NAME", value_parser = not_empty)]
    pub job: String,

    /// The label `instance`. [default: the host's name]
    #[arg(long, value_name = "INSTANCE", value_parser = not_empty)]
    pub instance: Option<String>,

    /// No label `instance`: for a job that runs on different machines.
    #[arg(long, conflicts_with = "instance")]
    pub no_instance: bool,

    /// A further label. May be repeated.
    #[arg(long = "label", value_name = "NAME=VALUE", value_parser = crate::labels::parse)]
    pub labels: Vec<(String, String)>,

    /// The interval of heartbeats of a running job.
    #[arg(long, hide = true, value_name = "DURATION", default_value = "30s",
          value_parser = command::flags::duration)]
    pub heartbeat: Duration,

    /// The target.
    #[command(flatten)]
    pub target: TargetArgs,

    /// The command and its arguments.
    #[arg(last = true, required = true, value_name = "COMMAND")]
    pub command: Vec<OsString>,
}

fn not_empty(text: &str) -> Result<String, String> {
    if text.is_empty() { Err("it is empty".into()) } else { Ok(text.to_string()) }
}
