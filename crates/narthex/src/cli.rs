//! The command line: its definition, without the commands themselves.

use clap::{Args, Parser, Subcommand};
use collect::CollectorSet;
use command::{flags, listen_address};
use logging::format::Format;
use std::net::SocketAddr;
use std::path::PathBuf;
use std::time::Duration;

/// Collects and receives metrics, and sends them by Prometheus remote write.
#[derive(Debug, Parser)]
#[command(name = "narthex", version, arg_required_else_help = true, max_term_width = 100)]
pub struct Cli {
    /// What to log on standard error: off, error, warn, info, debug or trace, also for one part (`warn,remote=debug`).
    /// [default: info for run, demo and sink, else warn]
    #[arg(
        long = "log",
        visible_alias = "log.level",
        global = true,
        env = "NARTHEX_LOG",
        value_name = "LEVEL"
    )]
    pub log: Option<String>,

    /// The format of log lines.
    #[arg(
        long = "log-format",
        visible_alias = "log.format",
        global = true,
        env = "NARTHEX_LOG_FORMAT",
        value_enum,
        value_name = "FORMAT",
        default_value_t
    )]
    pub log_format: Format,

    /// The command.
    #[command(subcommand)]
    pub command: Command,
}

impl Cli {
    /// The default level of the log. Commands that run until a signal log what they do; the others log only
    /// problems.
    pub fn default_level(&self) -> &'static str {
        if self.runs_until_a_signal() { "info" } else { "warn" }
    }

    /// Returns true if standard error is a log, and not the messages of a short command.
    pub fn runs_until_a_signal(&self) -> bool {
        match self.command {
            Command::Run(_) => true,
            #[cfg(feature = "demo")]
            Command::Demo(_) | Command::Sink(_) => true,
            _ => false,
        }
    }
}

/// The subcommands.
#[derive(Debug, Subcommand)]
pub enum Command {
    /// Collect this machine's metrics, receive pushes, and send both to destinations.
    Run(RunArgs),
    /// Try narthex on this machine alone: collects, sends to a built-in sink, shows both on a page.
    #[cfg(feature = "demo")]
    Demo(demo::DemoArgs),
    /// A remote-write receiver for tests of senders: it can fail, delay and refuse.
    #[cfg(feature = "demo")]
    Sink(sink::SinkArgs),
    /// Push values from a script to a narthex or a Pushgateway, or straight to a remote-write endpoint.
    Push(push::args::PushArgs),
    /// Run a command and push its result: when it started and ended, its exit code, the resources it used.
    Exec(push::exec::args::ExecArgs),
    /// Inspect, verify, dump or repair a log of narthex or of Prometheus.
    Wal(wal_command::args::WalArgs),
    /// Check a configuration file, describe its effect, and try its destinations (--send).
    Check(CheckArgs),
    /// Write completions for a shell to standard output.
    #[cfg(feature = "manual")]
    Completions(crate::manual::CompletionsArgs),
    /// Write the manual page to standard output, or all manual pages into a directory.
    #[cfg(feature = "manual")]
    Man(crate::manual::ManArgs),
}

/// `narthex run`.
#[derive(Debug, Clone, Args)]
pub struct RunArgs {
    /// The configuration file (YAML). Its remote_write sections are Prometheus' own.
    #[arg(long, visible_alias = "config.file", value_name = "FILE")]
    pub config: Option<PathBuf>,

    /// Push to this remote-write endpoint; the default path is /api/v1/write. Arguments are visible in the list of
    /// processes: for a URL with a password, use --to-file or the environment variable NARTHEX_TO.
    #[arg(long, value_name = "URL")]
    pub to: Option<String>,

    /// Read the URL to push to from this file.
    #[arg(long, value_name = "FILE", conflicts_with = "to")]
    pub to_file: Option<PathBuf>,

    /// The folder for the log and the positions. [default: $STATE_DIRECTORY, else
    /// $XDG_STATE_HOME/narthex, else ~/.local/state/narthex]
    #[arg(long, value_name = "DIR")]
    pub data: Option<PathBuf>,

    /// Listen here for pushes, for its own metrics and for the page. A port alone means loopback; `:PORT`
    /// means all of this machine's addresses.
    #[arg(long, visible_alias = "web.listen-address", value_name = "ADDR", default_value = listen_address::DEFAULT,
          value_parser = listen_address::parse)]
    pub listen: SocketAddr,

    /// The metrics of this machine to collect: names separated by commas; `default`, `all` and `none` are sets, and `-`
    /// before a name removes it (`default,-cpu`). [default: default; with --config the file's setting]
    #[arg(long, value_name = "NAMES", allow_hyphen_values = true, value_parser = parse_collectors)]
    pub collect: Option<CollectorSet>,

    /// The `job` label of this machine's metrics.
    #[arg(long, value_name = "JOB", default_value = "node")]
    pub job: String,

    /// The `instance` label of this machine's metrics and of narthex's own. [default: the host's name]
    #[arg(long, value_name = "INSTANCE")]
    pub instance: Option<String>,

    /// Prometheus' own web configuration file: TLS, client certificates, users. Read again when it changes.
    #[arg(long = "web.config.file", value_name = "FILE")]
    pub web_config_file: Option<PathBuf>,

    /// Listen beyond loopback without authentication.
    #[arg(long)]
    pub allow_unauthenticated: bool,

    /// Additional accepted Host header, as behind a proxy or in a container (several: repeat the flag, or
    /// separate them by commas). Requests with another one get 403, which prevents DNS rebinding.
    #[arg(long = "allowed-host", value_name = "NAME", value_delimiter = ',')]
    pub allowed_hosts: Vec<http_server::security::hosts::AllowedHost>,

    /// Allow deletion of all groups over HTTP (PUT /api/v1/admin/wipe).
    #[arg(long)]
    pub enable_admin: bool,

    /// Allow reloads of the configuration over HTTP (POST /-/reload); SIGHUP always works.
    #[arg(long, visible_alias = "web.enable-lifecycle")]
    pub enable_lifecycle: bool,

    /// How long to continue sending at the end. Samples that are not sent by then stay in the log for the next start.
    #[arg(long, value_name = "DURATION", default_value = "1m", value_parser = flags::duration)]
    pub flush_deadline: Duration,
}

/// `narthex check`.
#[derive(Debug, Args)]
pub struct CheckArgs {
    /// The configuration file; `-` is standard input.
    pub file: PathBuf,

    /// Send one sample (narthex_check 1) to each destination, and report for each one that it was accepted, or what to
    /// fix. Exit code 1 unless all of them accepted it.
    #[arg(long)]
    pub send: bool,

    /// With --send: send a request without samples.
    #[arg(long, requires = "send")]
    pub dry: bool,
}

fn parse_collectors(text: &str) -> Result<CollectorSet, String> {
    crate::config::inputs::Collectors::parse(text).map(|collectors| collectors.0)
}

#[cfg(test)]
mod tests {
    use super::*;
    use clap::CommandFactory;

    #[test]
    fn the_command_line_is_well_formed() {
        Cli::command().debug_assert();
    }

    #[test]
    fn the_default_address_is_on_loopback() {
        let parse = |arguments: &[&str]| Cli::try_parse_from(arguments).unwrap().command;
        let Command::Run(run) = parse(&["narthex", "run", "--to", "http://h:1"]) else { panic!("run") };
        assert_eq!((run.listen.ip().is_loopback(), run.listen.port()), (true, 9091), "{}", run.listen);
        assert!(!run.allow_unauthenticated);
        #[cfg(feature = "demo")]
        {
            let Command::Sink(sink) = parse(&["narthex", "sink"]) else { panic!("sink") };
            assert!(sink.listen.ip().is_loopback() && !sink.allow_unauthenticated, "{}", sink.listen);
        }
    }

    /// The help says what alerts need, because queries find a single sample only for five minutes.
    #[test]
    fn help_of_a_direct_push_says_what_alerts_need() {
        for name in ["push", "exec"] {
            let mut command = Cli::command();
            let help = command.find_subcommand_mut(name).unwrap().render_long_help().to_string();
            assert!(help.contains("last_over_time(x[2d])"), "{name}: {help}");
        }
        assert!(include_str!("../../../docs/jobs.md").contains("last_over_time(x[2d])"));
    }

    #[test]
    fn collectors_are_separated_by_commas() {
        let cli = Cli::try_parse_from(["narthex", "run", "--to", "http://h:1", "--collect", "cpu,meminfo"])
            .unwrap();
        let Command::Run(run) = cli.command else { panic!("run") };
        assert_eq!(run.collect.unwrap().to_string(), "cpu,meminfo");
    }
}
