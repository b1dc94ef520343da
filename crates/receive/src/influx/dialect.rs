//! What is different for clients of InfluxDB outside of the input itself, around the checks of credentials and of hosts:
//!
//! - InfluxDB's own paths lead to those below `/influx`, if the configuration says so.
//! - The parameters `u` and `p` are a name and a password, as in InfluxDB 1.
//! - Errors of the layers inside, such as 401, are JSON in the words of the interface that was asked.

use super::answer::{error_json, respond};
use super::{ANY_HOST_PATHS, Api, PREFIX, WRITES};
use crate::Doors;
use axum::Router;
use axum::body::to_bytes;
use axum::extract::{Query, Request, State};
use axum::middleware::{Next, from_fn_with_state};
use axum::response::Response;
use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use http::header::{AUTHORIZATION, CONTENT_LENGTH, CONTENT_TYPE, HeaderValue};
use http::uri::PathAndQuery;
use http::{HeaderMap, Uri};
use tower::Layer;

/// The longest text of an error that is worded again, in bytes.
const ERROR_BYTES_MAX: usize = 16 << 10;

/// Adds the layer to all that is served. It is before the choice of the route, because it may change the path.
pub fn around(router: Router, doors: Doors) -> Router {
    Router::new().fallback_service(from_fn_with_state(doors, translate).layer(router))
}

async fn translate(State(doors): State<Doors>, mut request: Request, next: Next) -> Response {
    let path = request.uri().path();
    let Some((api, is_own)) = interface(path) else { return next.run(request).await };
    if is_own {
        if !doors.options().influx.at_root {
            return next.run(request).await;
        }
        if let Some(uri) = below_prefix(request.uri()) {
            *request.uri_mut() = uri;
        }
    }
    if !request.headers().contains_key(AUTHORIZATION)
        && let Some(login) = login(request.uri())
    {
        request.headers_mut().insert(AUTHORIZATION, login);
    }
    in_words_of(api, next.run(request).await).await
}

/// The interface that a path belongs to, and whether the path is InfluxDB's own.
fn interface(path: &str) -> Option<(Api, bool)> {
    let below = path.strip_prefix(PREFIX).filter(|below| below.starts_with('/'));
    let own = below.unwrap_or(path);
    let is_it = |path: &str| path.strip_prefix(PREFIX) == Some(own);
    let api = match WRITES.iter().find(|(_, route)| is_it(route.path)) {
        Some((api, _)) => *api,
        None if below.is_some() || ANY_HOST_PATHS.iter().any(|path| is_it(path)) => Api::V1,
        None => return None,
    };
    Some((api, below.is_none()))
}

fn below_prefix(uri: &Uri) -> Option<Uri> {
    let given = uri.path_and_query()?;
    let mut parts = uri.clone().into_parts();
    parts.path_and_query = Some(PathAndQuery::try_from(format!("{PREFIX}{given}")).ok()?);
    Uri::from_parts(parts).ok()
}

/// The credentials in a URL, as a header.
fn login(uri: &Uri) -> Option<HeaderValue> {
    if !uri.query()?.contains("u=") {
        return None;
    }
    let Query(parameters) = Query::<Vec<(String, String)>>::try_from_uri(uri).ok()?;
    let find = |name: &str| parameters.iter().find(|(key, _)| key == name).map(|(_, value)| value.as_str());
    let (user, password) = (find("u")?, find("p").unwrap_or_default());
    let mut header =
        HeaderValue::from_str(&format!("Basic {}", STANDARD.encode(format!("{user}:{password}")))).ok()?;
    header.set_sensitive(true);
    Some(header)
}

/// Words an error again that is not JSON.
async fn in_words_of(api: Api, response: Response) -> Response {
    let status = response.status();
    let is_json = response
        .headers()
        .get(CONTENT_TYPE)
        .is_some_and(|value| value.as_bytes().starts_with(b"application/json"));
    if is_json || !(status.is_client_error() || status.is_server_error()) {
        return response;
    }
    let (parts, body) = response.into_parts();
    let text = to_bytes(body, ERROR_BYTES_MAX).await.unwrap_or_default();
    let text = String::from_utf8_lossy(&text);
    let mut response = respond(status, &error_json(api, status, &text));
    keep_headers(&parts.headers, response.headers_mut());
    response
}

/// Headers such as `WWW-Authenticate` and `Retry-After` stay.
fn keep_headers(from: &HeaderMap, to: &mut HeaderMap) {
    for (name, value) in from {
        if *name != CONTENT_TYPE && *name != CONTENT_LENGTH && !to.contains_key(name) {
            to.insert(name.clone(), value.clone());
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_path_belongs_to_an_interface() {
        for (path, wanted) in [
            ("/influx/write", Some((Api::V1, false))),
            ("/influx/api/v2/write", Some((Api::V2, false))),
            ("/influx/api/v3/write_lp", Some((Api::V3, false))),
            ("/influx/nothing", Some((Api::V1, false))),
            ("/write", Some((Api::V1, true))),
            ("/api/v2/write", Some((Api::V2, true))),
            ("/query", Some((Api::V1, true))),
            ("/ping", Some((Api::V1, true))),
            ("/health", Some((Api::V1, true))),
            ("/", None),
            ("/influx", None),
            ("/influxx/write", None),
            ("/api/v1/write", None),
            ("/metrics/job/write", None),
        ] {
            assert_eq!(interface(path), wanted, "{path}");
        }
    }

    #[test]
    fn a_name_and_a_password_in_the_url_are_credentials() {
        let header = |uri: &str| {
            let header = login(&uri.parse().ok()?)?;
            Some(header.to_str().ok()?.to_string())
        };
        assert_eq!(header("/write?db=x&u=ann&p=a%3Ab"), Some("Basic YW5uOmE6Yg==".into()));
        assert_eq!(header("/write?db=u"), None);
        assert_eq!(header("/write"), None);
    }

    #[test]
    fn a_path_moves_with_its_parameters() {
        let uri = below_prefix(&"/write?db=a%20b&u=x".parse().unwrap_or_default());
        assert_eq!(uri.map(|uri| uri.to_string()), Some("/influx/write?db=a%20b&u=x".into()));
    }
}
