//! Reloads the configuration while narthex runs, on SIGHUP and on `POST /-/reload`.
//!
//! All or nothing: everything is read and checked before anything changes, and after an error the old
//! configuration stays in use. Flags keep their values, but files that they name (`--to-file`) are read
//! again.

use crate::cli::RunArgs;
use crate::config::Config;
use crate::configure::configure;
use crate::service_manager;
use agent::{Agent, needs_restart};
use axum::response::{IntoResponse, Response};
use command::Failure;
use http::StatusCode;
use http_server::security::Security;
use http_server::{Addresses, Route, Routes};
use remote::Changes;
use tokio::sync::{mpsc, oneshot};

/// The most reload requests that are queued behind the current one. Further requests wait until they can be
/// queued.
const QUEUE: usize = 4;

/// A request for a reload over HTTP; the result is sent through it.
pub(crate) type Asked = oneshot::Sender<Result<(), String>>;

const RELOAD: Route = Route {
    methods: "POST, PUT",
    path: "/-/reload",
    what: "reads the configuration again, if that is enabled",
};

/// The route, and the receiver of its reload requests. As in Prometheus, PUT works as well, and the answer is
/// 403 if the route is not enabled.
pub(crate) fn route(enabled: bool) -> (Routes, mpsc::Receiver<Asked>) {
    let (sender, asked) = mpsc::channel(QUEUE);
    let reload = move || ask(enabled.then(|| sender.clone()));
    (Routes::default().add(RELOAD, |other| other.post(reload.clone()).put(reload)), asked)
}

async fn ask(sender: Option<mpsc::Sender<Asked>>) -> Response {
    let Some(sender) = sender else {
        let why = "Lifecycle API is not enabled: start narthex with --enable-lifecycle, or send it SIGHUP\n";
        return (StatusCode::FORBIDDEN, why).into_response();
    };
    let (reply, answer) = oneshot::channel();
    let sent = sender.send(reply).await.is_ok();
    match if sent { answer.await.ok() } else { None } {
        Some(Ok(())) => StatusCode::OK.into_response(),
        Some(Err(why)) => {
            (StatusCode::INTERNAL_SERVER_ERROR, format!("failed to reload config: {why}\n")).into_response()
        }
        None => (StatusCode::SERVICE_UNAVAILABLE, "narthex is ending\n").into_response(),
    }
}

/// Reloads the configuration, and keeps what that needs.
pub(crate) struct Reloader {
    args: RunArgs,
    /// The last configuration that was applied.
    config: Config,
}

impl Reloader {
    pub(crate) fn new(args: RunArgs, config: Config) -> Self {
        Reloader { args, config }
    }

    /// Reads the configuration again and applies it. Logs what changed, or why nothing did.
    pub(crate) async fn reload(
        &mut self,
        agent: &mut Agent,
        security: &Security,
        addresses: &mut Addresses,
    ) -> Result<(), String> {
        service_manager::reloading();
        let result = self.try_reload(agent, security, addresses).await;
        if let Err(failure) = &result {
            failure.log_mistakes();
            let why = failure.short();
            logging::error(format_args!(
                "the configuration was not reloaded, and the old one is in use: {why}"
            ));
        }
        let result = result.map_err(|failure| failure.to_string());
        let outcome = result.as_ref().copied().map_err(String::as_str);
        service_manager::reloaded(outcome);
        agent.telemetry().reloaded(outcome, agent.now_ms());
        result
    }

    async fn try_reload(
        &mut self,
        agent: &mut Agent,
        security: &Security,
        addresses: &mut Addresses,
    ) -> Result<(), Failure> {
        let args = self.args.clone();
        // Files are read on a blocking thread: a file system that does not answer must not delay requests.
        let read = tokio::task::spawn_blocking(move || configure(&args, &|name| std::env::var(name).ok()));
        let (config, warnings) = read.await.map_err(Failure::running)??;
        let renewal = security.prepare(config.security.clone()).await.map_err(Failure::running)?;
        let opened = addresses.prepare(&config.security.more_addresses).map_err(Failure::running)?;
        let removed_before: Vec<String> = agent.removed().into_iter().map(|(name, _)| name).collect();
        let changes = agent.reload(config.clone()).await.map_err(Failure::running)?;
        security.renew(renewal);
        for (key, address) in addresses.apply(opened).await {
            logging::info(format_args!("listening on {}://{address} too ({key})", security.scheme()));
        }
        for warning in warnings {
            logging::warn(format_args!("{warning}"));
        }
        for key in needs_restart(&self.config.log, &config.log) {
            logging::warn(format_args!("{key} has changed, which needs a restart: the old value holds"));
        }
        logging::info(format_args!("the configuration was reloaded: {}", sentence(&changes)));
        for (name, sentence) in agent.removed() {
            if !removed_before.contains(&name) {
                logging::info(format_args!("{sentence}"));
            }
        }
        // The configuration now in use, for comparison with the next one. The log's settings stay as they
        // were at the start.
        self.config = Config { log: self.config.log, ..config };
        Ok(())
    }
}

fn sentence(changes: &Changes) -> String {
    let Changes { kept, changed, new, removed } = changes;
    let mut parts = Vec::new();
    for (what, names) in [("changed", changed), ("new", new), ("removed", removed)] {
        if !names.is_empty() {
            parts.push(format!("{what}: {}", names.join(", ")));
        }
    }
    if parts.is_empty() {
        return "the destinations are the same".into();
    }
    parts.push(format!("as before: {}", kept.len()));
    format!("destinations {}", parts.join("; "))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn changes_of_a_reload_are_reported_by_name() {
        let names = |names: &[&str]| names.iter().map(|name| name.to_string()).collect::<Vec<_>>();
        assert_eq!(sentence(&Changes::default()), "the destinations are the same");
        let changes = Changes {
            kept: names(&["a", "b"]),
            changed: names(&["c"]),
            new: names(&[]),
            removed: names(&["d", "e"]),
        };
        assert_eq!(sentence(&changes), "destinations changed: c; removed: d, e; as before: 2");
    }
}
