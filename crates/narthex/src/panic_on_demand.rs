//! `POST /-/panic/PART` makes a part of narthex panic, so that tests can observe the consequences. It is
//! compiled only into builds with debug assertions, and served only if [`ENVIRONMENT`] is set: no release
//! build has it.

use agent::Agent;
use axum::Router;
use axum::extract::Path;
use axum::routing::post;
use model::{Batch, Labels, Series};
use supervisor::Task;

/// The environment variable that enables the route.
const ENVIRONMENT: &str = "NARTHEX_TEST_PANICS";

pub(crate) fn router(agent: &Agent) -> Router {
    if std::env::var_os(ENVIRONMENT).is_none() {
        return Router::new();
    }
    let (storage, doors) = (agent.storage().clone(), agent.doors().clone());
    let essential = move |Path(part): Path<String>| {
        let (storage, groups) = (storage.clone(), doors.groups().clone());
        async move {
            match part.as_str() {
                "log" => _ = storage.append(without_series()).await,
                "groups" => groups.panic().await,
                "request" => panic!("a test asked this request to panic"),
                "collect" => supervisor::trap::panic_in(Task::only("collect")),
                name => supervisor::trap::panic_in(Task::of("destination", name)),
            }
        }
    };
    Router::new().route("/-/panic/{part}", post(essential))
}

/// A batch that breaks an invariant: in a debug build the thread that writes the log panics.
fn without_series() -> Batch {
    let mut batch = Batch::new();
    batch.add_series(Labels::from_pairs([("__name__", "unfit")]).as_ref(), Series::NO_METADATA);
    batch.push_float(1, 1, 1.0);
    batch
}
