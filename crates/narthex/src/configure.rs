//! What is asked for: flags, environment and file, put together.

use crate::cli::RunArgs;
use crate::config::{self, Config, web};
use command::Failure;
use http_client::tls::KeyNames;
use http_client::url::{Url, without_password};
use http_server::security::WebConfigFile;
use remote::Identity;
use remote::config::RemoteWrite;
use std::path::Path;

/// What is wrong with a file without destinations.
pub(crate) const NOWHERE: &str = "remote_write: nowhere to push to: give at least one destination, `remote_write: [{url: \
    http://HOST:9090/api/v1/write}]`";

/// Flags and file, put together: a flag adds a destination, and wins over the file elsewhere.
pub(crate) fn configure(
    args: &RunArgs,
    environment: config::env::Lookup<'_>,
) -> Result<(Config, Vec<String>), Failure> {
    let (mut config, warnings) = match &args.config {
        Some(file) => config::load(file, environment)?,
        None => (Config::default(), Vec::new()),
    };
    if let Some((flag, text)) = destination(args, environment)? {
        let url = Url::parse_short(&text)
            .map_err(|error| Failure::usage(format!("{flag}: {}", without_password(&error.to_string()))))?;
        let mut destination = RemoteWrite::to(url);
        destination.tls_config.key_names = KeyNames::To;
        config.destinations.push(destination);
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
    let parse = |path: &Path, text: &str| web::parse(path, text).map_err(|errors| errors.to_string());
    let web_config = args.web_config_file.clone();
    config.security.web_config = web_config.map(|path| WebConfigFile { path, parse });
    config.security.allowed_hosts.extend(args.allowed_hosts.iter().cloned());
    config.receive.pushgateway.enable_admin |= args.enable_admin;
    if let Some(collectors) = args.collect {
        config.collect.host = collectors;
        config.collect.is_host_configured = true;
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
        return command::flags::read_url(file).map(|url| Some(("--to-file", url)));
    }
    if let Some(url) = &args.to {
        return Ok(Some(("--to", url.clone())));
    }
    // A variable that is set to nothing is not set.
    Ok(environment("NARTHEX_TO").filter(|url| !url.trim().is_empty()).map(|url| ("NARTHEX_TO", url)))
}
