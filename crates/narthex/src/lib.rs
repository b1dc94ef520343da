//! The program: the command line with all commands, the configuration file, and the commands `run` and
//! `check`. The other commands are crates of their own: `demo`, `push` (with `exec`), `sink` and
//! `wal_command`.
//!
//! It promises **clear exits**: exit code 2 for wrong flags or a wrong configuration, 1 for later failures, 0
//! after a signal. Each failure has a sentence that says what is wrong and how to fix it. There are no
//! backtraces.
//!
//! Start at [`run`] for `narthex run`, then the crate [`agent`] for how the parts are put together.

mod check;
pub mod cli;
pub mod config;
pub mod configure;
mod describe;
mod left_out;
mod log_settings;
#[cfg(feature = "manual")]
pub mod manual;
#[cfg(debug_assertions)]
mod panic_on_demand;
mod reload;
pub mod run;
pub mod service_manager;
mod static_libc;
mod wrong_value;

use cli::{Cli, Command};
use command::{Failure, failure, say};
use log_settings::LogSettings;
use std::process::ExitCode;
use supervisor::Task;

/// Worker threads of the runtime, which serve and send. Collection and reading from disk have threads of
/// their own.
const WORKERS: usize = 2;
/// The most threads that block on files.
const BLOCKING_THREADS_MAX: usize = 16;
/// The stack size of each thread. There is no deep recursion.
const STACK_BYTES: usize = 1 << 20;

pub fn cli_main() -> ExitCode {
    static_libc::restrict_name_resolution();
    std::panic::set_hook(Box::new(|panic| {
        logging::fatal(format_args!("an error in narthex itself, please report it: {panic}"));
    }));
    let (cli, log) = match log_settings::parse() {
        Ok(parsed) => parsed,
        Err(error) => {
            let words: Vec<String> =
                std::env::args_os().skip(1).map(|word| word.to_string_lossy().into_owned()).collect();
            let format = log_settings::format_variable();
            if let Some(failure) = wrong_value::failure(&error, &words, format.as_deref()) {
                failure.log();
                return ExitCode::from(failure.code());
            }
            // clap also returns help and version as errors. They go to standard output, and the exit code is
            // 0.
            let _ = error.print();
            return ExitCode::from(if error.use_stderr() { failure::USAGE } else { 0 });
        }
    };
    let is_log = cli.runs_until_a_signal();
    let ended = start(cli, &log);
    let code = match ended {
        Ok(code) => code,
        Err(failure) if is_log => {
            failure.log();
            ExitCode::from(failure.code())
        }
        Err(failure) => {
            say(format_args!("narthex: {failure}"));
            ExitCode::from(failure.code())
        }
    };
    logging::finish();
    code
}

fn start(cli: Cli, log: &LogSettings) -> Result<ExitCode, Failure> {
    match log.start(&cli) {
        // A job must not fail because of a flag about its metrics.
        Err(failure) if matches!(cli.command, Command::Exec(_)) => say(format_args!("narthex: {failure}")),
        done => done?,
    }
    match cli.command {
        Command::Check(args) if !args.send => return check::check(&args.file).map(|_| ExitCode::SUCCESS),
        Command::Wal(args) => return wal_command::run(args),
        #[cfg(feature = "manual")]
        Command::Completions(args) => return manual::completions(&args).map(|()| ExitCode::SUCCESS),
        #[cfg(feature = "manual")]
        Command::Man(args) => return manual::man(&args).map(|()| ExitCode::SUCCESS),
        _ => {}
    }
    let runtime = tokio::runtime::Builder::new_multi_thread()
        .worker_threads(WORKERS)
        .max_blocking_threads(BLOCKING_THREADS_MAX)
        .thread_stack_size(STACK_BYTES)
        .thread_name("narthex")
        .enable_all()
        .build()
        .map_err(|error| Failure::running(format!("the threads could not be started: {error}")))?;
    let ended = runtime.block_on(async {
        tokio::spawn(supervisor::supervise(Task::only("log_lines"), logging::tick));
        let ended = match cli.command {
            Command::Exec(args) => return Ok(push::exec::run(args).await),
            Command::Push(args) => push::run(args).await,
            Command::Run(args) => run::run(args).await,
            #[cfg(feature = "demo")]
            Command::Demo(args) => demo::run(args).await,
            #[cfg(feature = "demo")]
            Command::Sink(args) => sink::run(args).await,
            Command::Check(args) => check::check_and_send(&args.file, args.dry).await,
            // The other commands have returned above.
            _ => Ok(()),
        };
        ended.map(|()| ExitCode::SUCCESS)
    });
    // A file system that never answers must not delay the end.
    runtime.shutdown_background();
    ended
}
