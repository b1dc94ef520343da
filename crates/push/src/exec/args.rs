//! Flags of `narthex exec`.

use crate::args::TargetArgs;
use clap::Args;
use std::ffi::OsString;
use std::time::Duration;

/// How often a running job says that it runs.
pub const HEARTBEAT: Duration = Duration::from_secs(30);

/// `narthex exec`.
#[derive(Debug, Args)]
#[command(after_help = "\
The command's input, output, signals and exit status pass through: 128 + N where signal N ended it, 127 \
where there is no such command, 126 where it can't be run. Trouble with pushing changes none of these; it is \
told in one line on standard error.")]
pub struct ExecArgs {
    /// The label `job`: what this job is called.
    #[arg(long, value_name = "NAME", value_parser = not_empty)]
    pub job: String,

    /// The label `instance`. [default: the host's name]
    #[arg(long, value_name = "INSTANCE", value_parser = not_empty)]
    pub instance: Option<String>,

    /// No label `instance`: for a job that runs now here, now there.
    #[arg(long, conflicts_with = "instance")]
    pub no_instance: bool,

    /// A further label. May be repeated.
    #[arg(long = "label", value_name = "NAME=VALUE", value_parser = crate::labels::parse)]
    pub labels: Vec<(String, String)>,

    /// How often a running job says that it runs.
    #[arg(long, hide = true, value_name = "DURATION", default_value = "30s",
          value_parser = command::flags::duration)]
    pub heartbeat: Duration,

    /// Where to.
    #[command(flatten)]
    pub target: TargetArgs,

    /// The command and its arguments.
    #[arg(last = true, required = true, value_name = "COMMAND")]
    pub command: Vec<OsString>,
}

fn not_empty(text: &str) -> Result<String, String> {
    if text.is_empty() { Err("it is empty".into()) } else { Ok(text.to_string()) }
}
