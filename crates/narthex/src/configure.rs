//! The configuration, from flags, environment and file.

use crate::cli::RunArgs;
use crate::config::{self, Config, web};
use command::Failure;
use http_client::tls::KeyNames;
use http_client::url::{Url, without_password};
use http_server::security::WebConfigFile;
use remote::Identity;
use remote::config::RemoteWrite;
use std::path::Path;

/// The error about a file without destinations.
pub(crate) const NOWHERE: &str = "remote_write: no destination: give at least one, `remote_write: [{url: \
    http://HOST:9090/api/v1/write}]`";

/// The configuration from flags and file. A flag adds a destination; otherwise flags take precedence over the
/// file.
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
            None => "no destination: give --to URL (a Prometheus: http://HOST:9090), or --config FILE; \
                `narthex demo` shows everything without either"
                .to_string(),
            Some(file) => format!("{}: {NOWHERE}, or give --to URL", file.display()),
        }));
    }
    // The destination of the flag may also be in the file.
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
                "{flag} is empty: a series without it could not be distinguished from others"
            )));
        }
    }
    Ok((config, warnings))
}

/// The URL of the destination from a flag or the environment, and the flag's or variable's name.
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
    // An empty variable counts as not set.
    Ok(environment("NARTHEX_TO").filter(|url| !url.trim().is_empty()).map(|url| ("NARTHEX_TO", url)))
}
