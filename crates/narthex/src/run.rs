//! `narthex run` and `narthex check`: from flags and file to a running agent, and to its end.

use crate::agent::{Agent, Settings, hostname};
use crate::announce;
use crate::cli::RunArgs;
use crate::config::{self, Config, duration::human, error::without_password, size::Human};
use crate::data_dir::default_path;
use crate::failure::Failure;
use crate::http::Listening;
use crate::page::Mode;
use crate::reload::{self, Reloader};
use crate::say::say;
use crate::security::{Policy, Security};
use crate::shutdown::{Hangups, Signals};
use remote::Identity;
use remote::config::RemoteWrite;
use remote::config::url::Url;
use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::time::Duration;
use tokio::time::Instant;

/// What is wrong with a file without destinations.
const NOWHERE: &str = "remote_write: nowhere to push to: give at least one destination, `remote_write: [{url: \
    http://HOST:9090/api/v1/write}]`";
/// How often it is looked whether something that was kept for a while can go.
const TIDY_INTERVAL: Duration = Duration::from_secs(3600);
/// The largest file that `--to-file` may name, in bytes.
pub const TO_FILE_BYTES_MAX: u64 = 64 << 10;

/// Runs until a signal.
pub async fn run(args: RunArgs) -> Result<(), Failure> {
    let environment = |name: &str| std::env::var(name).ok();
    // From here on it ends nothing.
    let mut hangups = Hangups::listen().map_err(Failure::running)?;
    let (config, warnings) = configure(&args, &environment)?;
    for warning in warnings {
        say(format_args!("warning: {warning}"));
    }
    let data = match args.data.clone() {
        Some(path) => path,
        None => default_path(environment).map_err(Failure::usage)?,
    };
    let settings = config.security.clone();
    let policy = Policy { settings, address: args.listen, allow_unauthenticated: args.allow_unauthenticated };
    let security = Security::start(policy).map_err(Failure::usage)?;
    let mut signals = Signals::listen().map_err(Failure::running)?;
    let listening = Listening::on(args.listen).map_err(Failure::running)?.secured(security.current());
    let instance = args.instance.clone().unwrap_or_else(hostname);
    let told = sentences(&config, &args.job, &instance);
    let settings = Settings { config: config.clone(), data, job: args.job.clone(), instance };
    let mut agent = Agent::start(settings).await.map_err(Failure::running)?;
    let (reload, mut asked) = reload::route(args.enable_lifecycle);
    let server = listening.serve(agent.router(Mode::Run, reload, &security));
    let scheme = security.scheme();
    say(format_args!("listening on {scheme}://{} (pushes, own metrics, page)", server.address()));
    for sentence in told {
        say(format_args!("{sentence}"));
    }
    for (_, sentence) in agent.removed() {
        say(format_args!("{sentence}"));
    }
    let about = agent.about();
    say(format_args!("log and positions in {}, at most {}", about.data.display(), Human(about.max_bytes)));
    agent.measure();
    let announcing = tokio::spawn(announce::watch(agent.telemetry().clone()));

    let flush_deadline = args.flush_deadline;
    let mut reloader = Reloader::new(args, config);
    // A start has just looked.
    let mut tidying = tokio::time::interval_at(Instant::now() + TIDY_INTERVAL, TIDY_INTERVAL);
    let signal = loop {
        tokio::select! {
            signal = signals.next() => break signal,
            () = hangups.next() => {
                // What is wrong is said; nobody waits for an answer.
                let _ = reloader.reload(&mut agent, &security).await;
            }
            Some(reply) = asked.recv() => {
                // Whoever has gone away doesn't hear of it.
                let _ = reply.send(reloader.reload(&mut agent, &security).await);
            }
            _ = tidying.tick() => agent.tidy(),
        }
    };
    signals.end_at_next(None);
    say(format_args!("{signal}: sending what is left, for at most {}", human(flush_deadline)));
    drop(asked);
    server.stop().await;
    agent.stop(flush_deadline).await;
    announcing.abort();
    say(format_args!("ended"));
    Ok(())
}

/// `narthex check FILE`.
pub fn check(file: &Path) -> Result<(), Failure> {
    let (config, mut warnings) =
        config::load(file, &|name| std::env::var(name).ok()).map_err(Failure::usage)?;
    if config.destinations.is_empty() {
        warnings.push(format!("{}: {NOWHERE}; it can be run with --to URL only", file.display()));
    }
    for warning in warnings {
        say(format_args!("warning: {warning}"));
    }
    // Where it will listen is not known here; that certificates and tokens can be read is.
    let address = SocketAddr::from(([127, 0, 0, 1], 0));
    let policy = Policy { settings: config.security.clone(), address, allow_unauthenticated: false };
    policy.load().map_err(Failure::usage)?;
    for sentence in sentences(&config, "node", &hostname()) {
        say(format_args!("{sentence}"));
    }
    say(format_args!("{} is valid", file.display()));
    Ok(())
}

/// What it will do, in sentences.
fn sentences(config: &Config, job: &str, instance: &str) -> Vec<String> {
    let mut out = Vec::new();
    let collect = config.collect;
    let every = human(collect.interval);
    if collect.host.is_empty() {
        out.push("collecting nothing of this machine".into());
    } else {
        let what = if collect.host == collect::CollectorSet::default() {
            "node_exporter's defaults".to_string()
        } else {
            collect.host.to_string()
        };
        out.push(format!("collecting every {every}, as job {job:?} and instance {instance:?}: {what}"));
    }
    if collect.own {
        let own = crate::host::OWN_JOB;
        out.push(format!("narthex' own metrics every {every}, as job {own:?} and instance {instance:?}"));
    }
    for destination in &config.destinations {
        let members: Vec<String> = destination.members.iter().map(Url::redacted).collect();
        out.push(match (members.as_slice(), destination.replicas.unwrap_or(1)) {
            ([], _) => format!("pushing to {}", destination.url.redacted()),
            (some, replicas) => {
                format!("pushing each series to {replicas} of {} members: {}", some.len(), some.join(", "))
            }
        });
    }
    out
}

/// Flags and file, put together: a flag adds a destination, and wins over the file elsewhere.
pub(crate) fn configure(
    args: &RunArgs,
    environment: config::env::Lookup<'_>,
) -> Result<(Config, Vec<String>), Failure> {
    let (mut config, warnings) = match &args.config {
        Some(file) => config::load(file, environment).map_err(Failure::usage)?,
        None => (Config::default(), Vec::new()),
    };
    if let Some((flag, text)) = destination(args, environment)? {
        let url = Url::parse_short(&text)
            .map_err(|error| Failure::usage(format!("{flag}: {}", without_password(&error.to_string()))))?;
        config.destinations.push(RemoteWrite::to(url));
    }
    if config.destinations.is_empty() {
        return Err(Failure::usage(match &args.config {
            None => "nowhere to push to: give --to URL (a Prometheus: http://HOST:9090), or --config FILE; \
                `narthex demo` shows the whole way without either"
                .to_string(),
            Some(file) => format!("{}: {NOWHERE}, or give --to URL", file.display()),
        }));
    }
    // The one of the flag may be in the file, too.
    Identity::of_all(&config.destinations).map_err(Failure::usage)?;
    config.security.web_config = args.web_config_file.clone();
    config.security.allowed_hosts.extend(args.allowed_hosts.iter().cloned());
    config.receive.pushgateway.enable_admin |= args.enable_admin;
    if let Some(collectors) = args.collect {
        config.collect.host = collectors;
    }
    for (flag, value) in [("--job", Some(&args.job)), ("--instance", args.instance.as_ref())] {
        if value.is_some_and(|value| value.is_empty()) {
            return Err(Failure::usage(format!(
                "{flag} is empty: a series without it could not be told apart"
            )));
        }
    }
    Ok((config, warnings))
}

/// The destination that flags or environment name, and which of them.
fn destination(
    args: &RunArgs,
    environment: config::env::Lookup<'_>,
) -> Result<Option<(&'static str, String)>, Failure> {
    if let Some(file) = &args.to_file {
        return read_url(file).map(|url| Some(("--to-file", url)));
    }
    if let Some(url) = &args.to {
        return Ok(Some(("--to", url.clone())));
    }
    // A variable that is set to nothing is not set.
    Ok(environment("NARTHEX_TO").filter(|url| !url.trim().is_empty()).map(|url| ("NARTHEX_TO", url)))
}

pub(crate) fn read_url(file: &PathBuf) -> Result<String, Failure> {
    let failed = |why: String| Failure::usage(format!("--to-file {}: {why}", file.display()));
    let size = std::fs::metadata(file).map_err(|error| failed(error.to_string()))?.len();
    if size > TO_FILE_BYTES_MAX {
        return Err(failed(format!("{} is more than a URL", Human(size))));
    }
    let text = std::fs::read_to_string(file).map_err(|error| failed(error.to_string()))?;
    let mut lines = text.lines().map(str::trim).filter(|line| !line.is_empty());
    match (lines.next(), lines.next()) {
        (Some(url), None) => Ok(url.to_string()),
        (None, _) => Err(failed("it is empty: it should hold one URL".into())),
        (Some(_), Some(_)) => Err(failed("it should hold one URL, alone".into())),
    }
}
