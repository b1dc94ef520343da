//! The router while narthex starts and stops: it answers that narthex is alive and not ready.

use axum::Router;
use axum::extract::Request;
use axum::response::IntoResponse;
use axum::routing::get;
use http::StatusCode;
use http::header::RETRY_AFTER;
use std::sync::{Arc, PoisonError, RwLock};
use tower::ServiceExt;

/// A router that can be replaced while it is served. A request in flight ends with the router with which it
/// began.
#[derive(Debug, Clone)]
pub struct Switch(Arc<RwLock<Router>>);

impl Switch {
    /// Answers all paths but `/-/healthy` with 503 and this reason, such as `narthex is starting`.
    pub fn not_ready(reason: &'static str) -> Switch {
        Switch(Arc::new(RwLock::new(not_ready(reason))))
    }

    /// Returns a router that calls the present router for each request.
    pub fn router(&self) -> Router {
        let current = self.0.clone();
        Router::new().fallback(move |request: Request| {
            let router = current.read().unwrap_or_else(PoisonError::into_inner).clone();
            router.oneshot(request)
        })
    }

    /// Replaces the router.
    pub fn set(&self, router: Router) {
        *self.0.write().unwrap_or_else(PoisonError::into_inner) = router;
    }

    /// Replaces the router by that of [`Switch::not_ready`].
    pub fn set_not_ready(&self, reason: &'static str) {
        self.set(not_ready(reason));
    }
}

fn not_ready(reason: &'static str) -> Router {
    let answer = move || async move {
        (StatusCode::SERVICE_UNAVAILABLE, [(RETRY_AFTER, "1")], format!("{reason}\n")).into_response()
    };
    Router::new().route("/-/healthy", get(|| async { "healthy\n" })).fallback(answer)
}

#[cfg(test)]
mod tests {
    use super::*;
    use axum::body::Body;

    async fn ask(router: &Router, path: &str) -> (u16, String) {
        let request = Request::get(path).body(Body::empty()).unwrap();
        let response = router.clone().oneshot(request).await.unwrap();
        let status = response.status().as_u16();
        let body = axum::body::to_bytes(response.into_body(), 1 << 16).await.unwrap();
        (status, String::from_utf8(body.to_vec()).unwrap())
    }

    #[tokio::test]
    async fn switch_is_healthy_and_not_ready_until_it_is_set() {
        let switch = Switch::not_ready("narthex is starting");
        let router = switch.router();
        assert_eq!(ask(&router, "/-/healthy").await, (200, "healthy\n".into()));
        assert_eq!(ask(&router, "/-/ready").await, (503, "narthex is starting\n".into()));
        assert_eq!(ask(&router, "/metrics/job/a").await.0, 503);
        switch.set(Router::new().route("/-/ready", get(|| async { "ready\n" })));
        assert_eq!(ask(&router, "/-/ready").await, (200, "ready\n".into()));
        switch.set_not_ready("narthex is ending");
        assert_eq!(ask(&router, "/-/ready").await, (503, "narthex is ending\n".into()));
    }
}
