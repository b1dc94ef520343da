//! `narthex run`: from a configuration to a running agent, and to its end.

use crate::cli::RunArgs;
use crate::configure::configure;
use crate::describe::sentences;
use crate::reload::{self, Reloader};
use crate::service_manager::{self, parts, watchdog};
use agent::announce;
use agent::essential;
use agent::{Agent, Settings};
use command::Failure;
use command::data_dir::default_path;
use command::hostname;
use command::signals::{Hangups, Signals};
use http_server::security::{Policy, Security};
use http_server::{Addresses, Listening, Switch};
use model::{duration::human, size::Human};
use page::Mode;
use std::time::Duration;
use tokio::time::Instant;

/// How often old data of removed destinations is deleted.
const TIDY_INTERVAL: Duration = Duration::from_secs(3600);

/// The longest wait for requests that are being handled at the end.
const LAST_REQUESTS: Duration = Duration::from_secs(5);
/// The most time for saving positions and closing the log after a panic of an essential part.
const ENDING_AFTER_PANIC: Duration = Duration::from_secs(10);

/// Runs the agent until a signal arrives or an essential part ends.
pub async fn run(args: RunArgs) -> Result<(), Failure> {
    let environment = |name: &str| std::env::var(name).ok();
    service_manager::sockets::keep();
    // From here on SIGHUP does not end the process.
    let mut hangups = Hangups::listen().map_err(Failure::running)?;
    let (config, warnings) = configure(&args, &environment)?;
    for warning in warnings {
        logging::warn(format_args!("{warning}"));
    }
    let data = match args.data.clone() {
        Some(path) => path,
        None => default_path(environment).map_err(Failure::usage)?,
    };
    let settings = config.security.clone();
    let policy = Policy { settings, address: args.listen, allow_unauthenticated: args.allow_unauthenticated };
    let security = Security::start(policy).map_err(Failure::usage)?;
    let mut signals = Signals::listen().map_err(Failure::running)?;
    let listening =
        Listening::on(args.listen).inspect_err(|_| service_manager::sockets::warn_if_in_the_way(args.listen));
    let listening = listening.map_err(Failure::running)?.secured(security.current());
    let switch = Switch::not_ready("narthex is starting");
    let mut server = listening.serve(switch.router());
    let mut addresses = Addresses::new(switch.router(), security.current());
    let opened = addresses.prepare(&config.security.more_addresses).map_err(Failure::running)?;
    let instance = args.instance.clone().unwrap_or_else(hostname);
    let told = sentences(&config, &args.job, &instance);
    let settings = Settings { config: config.clone(), data, job: args.job.clone(), instance };
    let mut agent = Agent::start(settings).await.map_err(Failure::running)?;
    let (reload, mut asked) = reload::route(args.enable_lifecycle);
    #[cfg(debug_assertions)]
    let reload = reload.merge_unlisted(crate::panic_on_demand::router(&agent));
    switch.set(agent.router(Mode::Run, reload, &security));
    let scheme = security.scheme();
    logging::info(format_args!("listening on {scheme}://{} (pushes, own metrics, page)", server.address()));
    for (key, address) in addresses.apply(opened).await {
        logging::info(format_args!("listening on {scheme}://{address} too ({key})"));
    }
    for sentence in told {
        logging::info(format_args!("{sentence}"));
    }
    for (_, sentence) in agent.removed() {
        logging::info(format_args!("{sentence}"));
    }
    let about = agent.about();
    logging::info(format_args!(
        "log and positions in {}, at most {}",
        about.data.display(),
        Human(about.max_bytes)
    ));
    agent.measure();
    let announcing = announce::spawn(agent.telemetry().clone());

    let flush_deadline = args.flush_deadline;
    let mut reloader = Reloader::new(args, config);
    let (watchdog, mut questions) = watchdog::start(parts::of(agent.storage(), agent.doors()));
    service_manager::ready();
    // The first tick is one interval later: the start has just checked this.
    let mut tidying = tokio::time::interval_at(Instant::now() + TIDY_INTERVAL, TIDY_INTERVAL);
    let (storage, doors) = (agent.storage().clone(), agent.doors().clone());
    let end = loop {
        tokio::select! {
            signal = signals.next() => break End::Signal(signal),
            part = essential::ended(&storage, &doors, &mut server, Some(&mut addresses)) => break End::Panic(part),
            () = hangups.next() => {
                // The reload logs its errors; a signal needs no answer.
                let _ = reloader.reload(&mut agent, &security, &mut addresses).await;
            }
            Some(reply) = asked.recv() => {
                // The client may have disconnected.
                let _ = reply.send(reloader.reload(&mut agent, &security, &mut addresses).await);
            }
            Some(question) = questions.recv() => {
                // The watchdog may have ended meanwhile.
                let _ = question.send(());
            }
            _ = tidying.tick() => agent.tidy(),
        }
    };
    // The log can be closed only after these handles are dropped.
    drop((storage, doors));
    let deadline = end.flush_deadline(flush_deadline);
    service_manager::stopping(deadline);
    drop(watchdog);
    signals.end_at_next(None);
    match end {
        End::Signal(signal) => logging::info(format_args!(
            "{signal}: sending the remaining samples, for at most {}",
            human(deadline)
        )),
        End::Panic(part) => logging::error(format_args!("{}", essential::sentence(part))),
    }
    drop(asked);
    // Requests that are being handled get their answers; later ones get 503.
    switch.set_not_ready("narthex is ending");
    let ending = async {
        agent.end_of_requests(end.flush_deadline(LAST_REQUESTS)).await;
        agent.stop(deadline).await;
        server.stop().await;
        addresses.stop().await;
        announcing.abort();
    };
    match end {
        End::Signal(_) => {
            ending.await;
            logging::info(format_args!("ended"));
            Ok(())
        }
        End::Panic(part) => {
            let failure = Failure::running(format_args!("{part} has ended unexpectedly"));
            // The state after a panic must not delay the end.
            if tokio::time::timeout(ENDING_AFTER_PANIC, ending).await.is_err() {
                failure.log();
                logging::finish();
                std::process::exit(i32::from(failure.code()));
            }
            Err(failure)
        }
    }
}

/// The reason for the end.
#[derive(Debug, Clone, Copy)]
enum End {
    Signal(&'static str),
    /// This essential part has ended.
    Panic(&'static str),
}

impl End {
    /// After a panic nothing is sent before the end, because the next start continues immediately.
    fn flush_deadline(self, deadline: Duration) -> Duration {
        match self {
            End::Signal(_) => deadline,
            End::Panic(_) => Duration::ZERO,
        }
    }
}
