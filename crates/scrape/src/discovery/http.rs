//! `http_sd_configs`: groups of targets from a server, which is asked at an interval.

use super::Sender;
use super::groups::{GROUPS_BYTES_MAX, of_json};
use crate::config::Group;
use crate::config::http::http_section;
use http::header::{ACCEPT, CONTENT_TYPE};
use http::{HeaderMap, HeaderName, HeaderValue};
use http_body_util::{BodyExt, Limited};
use http_client::{Client, Deadline, GetError, Url};
use std::path::{Path, PathBuf};
use std::time::Duration;

const INTERVAL_HEADER: HeaderName = HeaderName::from_static("x-prometheus-refresh-interval-seconds");
const REFRESH: Duration = Duration::from_secs(60);
/// The longest time in which an answer must be complete. With a shorter `refresh_interval`, that is the limit.
pub const ANSWER_TIME_MAX: Duration = Duration::from_secs(60);
/// Idle connections that are kept to the server.
const IDLE_CONNECTIONS: usize = 1;

http_section!(
    /// An entry of `http_sd_configs`.
    pub struct HttpSd {
        pub url: Url,
        /// How often the server is asked.
        #[serde(default = "refresh", deserialize_with = "model::duration::deserialize")]
        pub refresh_interval: Duration,
    }
);

fn refresh() -> Duration {
    REFRESH
}

impl HttpSd {
    /// Makes relative paths relative to `folder`.
    pub(crate) fn resolve_paths(&mut self, folder: &Path) {
        self.resolve_http_paths(folder);
    }
}

/// Asks until the task is aborted.
pub(super) async fn run(settings: HttpSd, sender: Sender) {
    let url = settings.url.redacted();
    let (mut client, mut failure) = (None, String::new());
    loop {
        match ask(&settings, &mut client).await {
            Ok(groups) => {
                if !failure.is_empty() {
                    tracing::info!(job = sender.job, url, "the server names its targets again");
                    failure.clear();
                }
                sender.send(vec![(PathBuf::new(), groups)]).await;
            }
            Err(error) => {
                // What lasts is reported once.
                if error != failure {
                    tracing::warn!(job = sender.job, url, error, "the targets of a server stay as they were");
                }
                failure = error;
            }
        }
        tokio::time::sleep(settings.refresh_interval).await;
    }
}

/// Asks once. The client is kept for the next time.
pub(super) async fn ask(settings: &HttpSd, client: &mut Option<Client>) -> Result<Vec<Group>, String> {
    let client = match client {
        Some(client) => {
            client.refresh().map_err(|error| error.to_string())?;
            client
        }
        None => {
            let made = Client::new(settings.url.clone(), settings.http(), IDLE_CONNECTIONS);
            client.insert(made.map_err(|error| error.to_string())?)
        }
    };
    let mut headers = HeaderMap::new();
    headers.insert(ACCEPT, HeaderValue::from_static("application/json"));
    if let Ok(seconds) = HeaderValue::try_from(settings.refresh_interval.as_secs_f64().to_string()) {
        headers.insert(INTERVAL_HEADER, seconds);
    }
    let full_url = client.url().uri().to_string();
    let deadline = Deadline::after(settings.refresh_interval.min(ANSWER_TIME_MAX));
    let response = client.get(headers, deadline).await.map_err(|error| match error {
        GetError::Failed(failure) => failure.to_string(),
        GetError::Status(status) => format!("the server answered {status}"),
    })?;
    let (head, body) = response.into_parts();
    let content_type = head.headers.get(CONTENT_TYPE).and_then(|value| value.to_str().ok());
    let media = content_type.and_then(|value| value.split(';').next()).unwrap_or_default().trim();
    if !media.eq_ignore_ascii_case("application/json") {
        return Err(format!("the Content-Type of the answer is {media:?}: it must be application/json"));
    }
    let most = usize::try_from(GROUPS_BYTES_MAX).unwrap_or(usize::MAX);
    let body = tokio::time::timeout(deadline.left(), Limited::new(body, most).collect()).await;
    let body = body.map_err(|_| "the answer was not complete in time".to_string())?;
    let body = body.map_err(|error| match error.is::<http_body_util::LengthLimitError>() {
        true => format!("the answer is larger than the limit of {GROUPS_BYTES_MAX} bytes"),
        false => format!("the answer broke off: {error}"),
    })?;
    of_json(&body.to_bytes(), ("__meta_url", &full_url))
        .map_err(|error| format!("the answer is not a list of groups: {error}"))
}

#[cfg(test)]
mod tests;
