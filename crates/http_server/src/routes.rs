//! Routes with descriptions, which are listed in the answer to an unknown path.

use axum::Router;
use axum::response::{IntoResponse, Response};
use axum::routing::{MethodRouter, any};
use http::header::ALLOW;
use http::{HeaderValue, StatusCode};

/// The description of a route, for people.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Route {
    /// Its methods: `PUT, POST, DELETE`.
    pub methods: &'static str,
    /// The path, with variable parts in capitals: `/metrics/job/JOB`.
    pub path: &'static str,
    /// What it does, in a few words.
    pub what: &'static str,
}

impl Route {
    /// Returns the answer to a request with another method: 405.
    pub fn method_not_allowed(&self) -> Response {
        let text = format!("method not allowed here: use {}\n", self.methods);
        let allow = [(ALLOW, HeaderValue::from_static(self.methods))];
        (StatusCode::METHOD_NOT_ALLOWED, allow, text).into_response()
    }
}

/// A router, and the list of its routes.
#[derive(Debug, Clone)]
pub struct Routes<S = ()> {
    router: Router<S>,
    listed: Vec<Route>,
}

impl<S: Clone + Send + Sync + 'static> Default for Routes<S> {
    fn default() -> Self {
        Routes { router: Router::new(), listed: Vec::new() }
    }
}

impl<S: Clone + Send + Sync + 'static> Routes<S> {
    /// Adds a route at its own path. `methods` adds handlers to a method router that otherwise answers 405.
    pub fn add(self, route: Route, methods: impl FnOnce(MethodRouter<S>) -> MethodRouter<S>) -> Self {
        self.add_at(route.path, route, methods)
    }

    /// The same for a route whose path is a pattern of the router.
    pub fn add_at(
        mut self,
        pattern: &str,
        route: Route,
        methods: impl FnOnce(MethodRouter<S>) -> MethodRouter<S>,
    ) -> Self {
        let other = any(move || async move { route.method_not_allowed() });
        self.router = self.router.route(pattern, methods(other));
        self.listed.push(route);
        self
    }

    /// Adds routes that are not listed.
    pub fn merge_unlisted(mut self, other: Router<S>) -> Self {
        self.router = self.router.merge(other);
        self
    }

    pub fn merge(mut self, other: Routes<S>) -> Self {
        self.router = self.router.merge(other.router);
        self.listed.extend(other.listed);
        self
    }

    /// What is listed.
    pub fn listed(&self) -> &[Route] {
        &self.listed
    }

    pub fn with_state<T>(self, state: S) -> Routes<T> {
        Routes { router: self.router.with_state(state), listed: self.listed }
    }

    /// Returns the router without the answer to unknown paths, to be merged with another one that has it.
    pub fn into_open_router(self) -> Router<S> {
        self.router
    }

    /// Returns the router. Its answer to an unknown path is 404 with the list, which also has the `other`
    /// routes.
    pub fn into_router(self, other: &[Route]) -> Router<S> {
        let text = not_found(self.listed.iter().chain(other));
        self.router.fallback(move || async move { (StatusCode::NOT_FOUND, text) })
    }
}

/// Returns a heading and a line for each route.
fn not_found<'a>(routes: impl Iterator<Item = &'a Route> + Clone) -> String {
    let width = |part: fn(&Route) -> &str| routes.clone().map(|route| part(route).len()).max().unwrap_or(0);
    let (methods, paths) = (width(|route| route.methods), width(|route| route.path));
    let mut text = "not found. There are:\n".to_string();
    for route in routes {
        text.push_str(&format!("  {:methods$}  {:paths$}  {}\n", route.methods, route.path, route.what));
    }
    text
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, reason = "helper functions of tests")]
    use super::*;
    use axum::body::Body;
    use http::{Method, Request};
    use tower::ServiceExt;

    const HALLO: Route = Route { methods: "GET, PUT", path: "/hallo", what: "greets" };
    const OF: Route = Route { methods: "GET", path: "/of/NAME", what: "greets NAME" };
    const AWAY: Route = Route { methods: "GET", path: "/-/away", what: "is elsewhere" };

    async fn answer(method: Method, path: &str) -> (u16, String, Option<String>) {
        let routes = Routes::default()
            .add(HALLO, |other| other.get(|| async { "hallo" }).put(|| async { "put" }))
            .add_at("/of/{name}", OF, |other| other.get(|| async { "you" }));
        let request = Request::builder().method(method).uri(path).body(Body::empty()).unwrap();
        let response = routes.into_router(&[AWAY]).oneshot(request).await.unwrap();
        let allow = response.headers().get(ALLOW).map(|allow| allow.to_str().unwrap().to_string());
        let status = response.status().as_u16();
        let body = axum::body::to_bytes(response.into_body(), 1 << 16).await.unwrap();
        (status, String::from_utf8(body.to_vec()).unwrap(), allow)
    }

    #[tokio::test]
    async fn unknown_paths_and_methods_get_the_list_of_routes() {
        assert_eq!(answer(Method::GET, "/of/me").await, (200, "you".into(), None));
        assert_eq!(answer(Method::PUT, "/hallo").await, (200, "put".into(), None));
        let wrong = answer(Method::POST, "/hallo").await;
        assert_eq!(wrong, (405, "method not allowed here: use GET, PUT\n".into(), Some("GET, PUT".into())));
        let list = "not found. There are:\n  \
                    GET, PUT  /hallo    greets\n  \
                    GET       /of/NAME  greets NAME\n  \
                    GET       /-/away   is elsewhere\n";
        assert_eq!(answer(Method::GET, "/missing").await, (404, list.into(), None));
    }
}
