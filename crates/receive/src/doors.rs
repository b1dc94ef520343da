//! The doors together: what they share, their routes, and what the program may ask of them.

use crate::answer::Refusal;
use crate::body;
use crate::http_input::{CountedAs, routes};
use crate::import::Import;
use crate::options::{Options, OptionsError};
use crate::otlp_input::deltas;
use crate::otlp_input::grpc::OtlpGrpc;
use crate::otlp_input::{OtlpHttp, other_signals};
use crate::write::RemoteWrite;
use crate::{influx, pushgateway, status};
use axum::Router;
use axum::body::Body;
use axum::response::{IntoResponse, Response};
use groups::{Escaping, Groups};
use http_server::Routes;
use intake::{Admission, Input, Intake, Number};
use model::Clock;
use std::sync::{Arc, PoisonError, RwLock};
use storage::Storage;
use totals::Accumulators;

/// The HTTP inputs. Clones are the same; the groups' task ends when the last clone is dropped.
#[derive(Clone)]
pub struct Doors(Arc<Inner>);

struct Inner {
    intake: Intake,
    /// Groups.
    pushgateway: Input,
    influx: Input,
    routes: Routes<Doors>,
    options: RwLock<Arc<Options>>,
    groups: Groups,
    deltas: Arc<Accumulators>,
    denied: Denied,
    started: i64,
}

/// Requests without valid credentials. They are logged once a minute at most, so that an attacker can't fill the disk.
#[derive(Debug, Default)]
pub struct Denied {
    pub requests: Number,
    /// Of these: requests that would have pushed or deleted something.
    pub pushes: Number,
}

/// The settings of remote write, of both versions.
pub const REMOTE_WRITE: &str = "remote_write";
/// The input for groups.
pub const PUSHGATEWAY: &str = "pushgateway";
/// The input for text.
pub const IMPORT: &str = "import";
/// The settings of OTLP, over HTTP and gRPC.
pub const OTLP: &str = "otlp";

impl std::fmt::Debug for Doors {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Doors").field("options", &self.options()).finish_non_exhaustive()
    }
}

/// Why the doors could not be opened.
#[derive(Debug, thiserror::Error)]
pub enum OpenError {
    /// Settings that don't make sense.
    #[error(transparent)]
    Options(#[from] OptionsError),
    /// The journal of groups.
    #[error("the journal of groups: {0}")]
    Journal(#[from] storage::OpenError),
    /// The journal of totals of OTLP.
    #[error("the journal of OTLP's totals: {0}")]
    Deltas(#[source] storage::OpenError),
}

impl Doors {
    /// Opens the doors onto `storage`: reads the groups back and starts the task that keeps them. Within a
    /// tokio runtime; once for a storage.
    pub async fn open(storage: Storage, clock: Arc<dyn Clock>, options: Options) -> Result<Doors, OpenError> {
        options.check()?;
        let intake = Intake::new(storage.clone(), clock.clone(), options.intake.clone());
        let intake = intake.map_err(OptionsError::from)?;
        let deltas = deltas::open(&intake, &options.deltas).await.map_err(OpenError::Deltas)?;
        let routes = routes(RemoteWrite::new(&intake))
            .merge(routes(Import::new(&intake)))
            .merge(routes(OtlpHttp::new(&intake, &deltas)))
            .merge(routes(OtlpGrpc::new(&intake, &deltas)))
            .merge_unlisted(other_signals())
            .merge(pushgateway::routes())
            .merge(influx::routes())
            .merge(status::routes());
        let pushgateway = intake.input(PUSHGATEWAY);
        let influx = intake.input(influx::NAME);
        influx::count_left_out(&influx, Default::default());
        let gateway = options.pushgateway.groups.clone();
        let groups = Groups::open(pushgateway.clone(), clock.clone(), gateway).await?;
        Ok(Doors(Arc::new(Inner {
            intake,
            pushgateway,
            influx,
            routes,
            started: clock.now_ms(),
            options: RwLock::new(Arc::new(options)),
            groups,
            deltas,
            denied: Denied::default(),
        })))
    }

    /// The routes.
    pub fn routes<S: Clone + Send + Sync + 'static>(&self) -> Routes<S> {
        self.0.routes.clone().with_state(self.clone())
    }

    /// The routes for which no credentials are needed.
    pub fn open_routes<S: Clone + Send + Sync + 'static>(&self) -> Routes<S> {
        influx::open_routes().with_state(self.clone())
    }

    /// All routes as a router, with what is around them for clients of InfluxDB.
    pub fn router(&self) -> Router {
        influx::dialect::around(self.routes().merge(self.open_routes()).into_router(&[]), self.clone())
    }

    /// The settings.
    pub fn options(&self) -> Arc<Options> {
        self.0.options.read().unwrap_or_else(PoisonError::into_inner).clone()
    }

    /// Other settings, from the next request on. A group is sent by a new interval after its next turn by the old one.
    /// What bounds all requests together stays as it was: see [`Intake::set_settings`].
    pub async fn set_options(&self, options: Options) -> Result<(), OptionsError> {
        options.check()?;
        self.0.intake.set_settings(options.intake.clone())?;
        let gateway = options.pushgateway.groups.clone();
        self.0.deltas.set(options.deltas.totals());
        *self.0.options.write().unwrap_or_else(PoisonError::into_inner) = Arc::new(options);
        // It fails only if the groups' task has ended, which then needs no settings.
        let _ = self.0.groups.set_options(gateway).await;
        Ok(())
    }

    pub fn groups(&self) -> &Groups {
        &self.0.groups
    }

    pub fn denied(&self) -> &Denied {
        &self.0.denied
    }

    /// The groups as a page to scrape. Empty unless the user has set `pushgateway.expose`.
    pub async fn exposition(&self, escaping: Escaping) -> Result<String, Refusal> {
        if !self.options().pushgateway.expose {
            return Ok(String::new());
        }
        Ok(self.groups().exposition(escaping).await?)
    }

    /// The totals of OTLP's deltas.
    pub fn deltas(&self) -> &Accumulators {
        &self.0.deltas
    }

    /// What all inputs share.
    pub fn intake(&self) -> &Intake {
        &self.0.intake
    }

    /// The input for groups.
    pub(crate) fn pushgateway(&self) -> &Input {
        &self.0.pushgateway
    }

    /// The input for InfluxDB's line protocol over HTTP.
    pub(crate) fn influx(&self) -> &Input {
        &self.0.influx
    }

    /// Reads a body to its end, and counts its bytes.
    pub(crate) async fn read_body(&self, admission: &mut Admission, body: Body) -> Result<Vec<u8>, Refusal> {
        let bytes = body::read(body, admission.memory(), &self.options()).await?;
        admission.input().counters().bytes.add(bytes.len() as u64);
        Ok(bytes)
    }

    /// The answer to a request of `input`, counted.
    pub(crate) fn answer(&self, input: &Input, result: Result<impl IntoResponse, Refusal>) -> Response {
        let refusal = result.as_ref().err().cloned();
        self.count_answer(input, refusal.as_ref(), result.into_response())
    }

    /// Counts the answer to a request of `input`, and returns it. `refusal` is why the request was not kept as a whole.
    pub(crate) fn count_answer(
        &self,
        input: &Input,
        refusal: Option<&Refusal>,
        response: Response,
    ) -> Response {
        if let Some(refusal) = refusal {
            let (reason, error) = (refusal.reason(), refusal.to_string());
            self.0.intake.counters().refused(input.name(), reason, &error);
            // The reason is part of the message, so that each reason has lines of its own.
            let reason = reason.as_str();
            tracing::warn!(
                input = input.name(),
                count = 1,
                error,
                "a request was refused, wholly or in part ({reason})"
            );
        }
        let counters = input.counters();
        let status = response.extensions().get().map_or(response.status(), |CountedAs(status)| *status);
        match status.as_u16() {
            200..=299 => counters.accepted.add(1),
            429 | 500..=599 => counters.deferred.add(1),
            _ => counters.refused.add(1),
        }
        response
    }

    pub(crate) fn started_ms(&self) -> i64 {
        self.0.started
    }
}
