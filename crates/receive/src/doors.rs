//! The doors together: what they share, their routes, and what the program may ask of them.

use crate::answer::Refusal;
use crate::body;
use crate::groups::ask::{Ask, Asked};
use crate::groups::group::Group;
use crate::groups::keeper::{Keeper, QUEUE};
use crate::groups::state::State;
use crate::options::{Options, OptionsError};
use crate::stats::Stats;
use crate::{Escaping, exposition, import, path, pushgateway, status, write};
use axum::Router;
use axum::body::Body;
use axum::response::Response;
use axum::routing::{any, put};
use intake::{Admission, Input, Intake};
use model::words::with_article;
use model::{Clock, MetricType};
use std::collections::BTreeMap;
use std::sync::{Arc, PoisonError, RwLock};
use storage::Storage;
use tokio::sync::{mpsc, oneshot};

/// The doors. Cheap to clone; the groups' task ends when the last clone is gone.
#[derive(Clone)]
pub struct Doors(Arc<Inner>);

struct Inner {
    intake: Intake,
    inputs: Inputs,
    options: RwLock<Arc<Options>>,
    stats: Arc<Stats>,
    asks: mpsc::Sender<Asked>,
    started: i64,
}

/// The settings of remote write, of both versions.
pub const REMOTE_WRITE: &str = "remote_write";
/// The input for groups.
pub const PUSHGATEWAY: &str = "pushgateway";
/// The input for text.
pub const IMPORT: &str = "import";

/// The inputs, by what is pushed to them. Their names are the label values of their counters.
#[derive(Debug)]
pub(crate) struct Inputs {
    pub(crate) remote_write_v1: Input,
    pub(crate) remote_write_v2: Input,
    pub(crate) pushgateway: Input,
    pub(crate) import: Input,
}

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
}

/// The most warnings about a group.
pub const WARNINGS_MAX: usize = 5;

/// A group, for a page.
#[derive(Debug, Clone, PartialEq)]
pub struct GroupStatus {
    /// Its labels, by name.
    pub labels: Vec<(String, String)>,
    /// The path that a DELETE of it is sent to.
    pub path: String,
    /// How many series were pushed.
    pub series: usize,
    /// When the last push succeeded, in milliseconds since 1970; 0 where none did.
    pub pushed_ms: i64,
    /// When the last push was refused, in milliseconds since 1970; 0 where none was.
    pub failed_ms: i64,
    /// Why it was.
    pub failure: String,
    /// What the user should know about it although it was accepted, at most [`WARNINGS_MAX`] sentences.
    pub warnings: Vec<String>,
    /// Its time to live, in milliseconds.
    pub ttl_ms: Option<i64>,
    /// When it expires, in milliseconds since 1970.
    pub expires_ms: Option<i64>,
    /// When it expired, in milliseconds since 1970.
    pub expired_ms: Option<i64>,
}

impl Doors {
    /// Opens the doors onto `storage`: reads the groups back and starts the task that keeps them. Within a
    /// tokio runtime; once for a storage.
    pub async fn open(storage: Storage, clock: Arc<dyn Clock>, options: Options) -> Result<Doors, OpenError> {
        options.check()?;
        let intake = Intake::new(storage.clone(), clock.clone(), options.intake.clone());
        let intake = intake.map_err(OptionsError::from)?;
        let inputs = Inputs {
            remote_write_v1: intake.input_of("remote_write_v1", REMOTE_WRITE),
            remote_write_v2: intake.input_of("remote_write_v2", REMOTE_WRITE),
            pushgateway: intake.input(PUSHGATEWAY),
            import: intake.input(IMPORT),
        };
        let stats = Arc::new(Stats::default());
        let (journal, entries) = storage.journal("groups").await?;
        let gateway = options.pushgateway.clone();
        let keeper =
            Keeper::new(inputs.pushgateway.clone(), journal, entries, clock.clone(), gateway, stats.clone());
        let (asks, queue) = mpsc::channel(QUEUE);
        tokio::spawn(keeper.run(queue));
        Ok(Doors(Arc::new(Inner {
            intake,
            inputs,
            started: clock.now_ms(),
            options: RwLock::new(Arc::new(options)),
            stats,
            asks,
        })))
    }

    /// The routes. To be merged into the program's.
    pub fn router(&self) -> Router {
        let without_job = || put(pushgateway::without_job).post(pushgateway::without_job);
        let only = |allow| any(move || async move { Refusal::Method { allow } });
        Router::new()
            .route("/api/v1/write", only("POST").post(write::write))
            .route("/api/v1/import/prometheus", only("POST").post(import::import))
            .route("/api/v1/status", only("GET").get(status::status))
            .route("/api/v1/metrics", only("GET").get(status::metrics))
            .route("/api/v1/admin/wipe", only("PUT").put(status::wipe))
            .route("/metrics/{*group}", any(pushgateway::push))
            .route("/metrics", without_job())
            .route("/metrics/", without_job())
            .with_state(self.clone())
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
        let gateway = Box::new(options.pushgateway.clone());
        *self.0.options.write().unwrap_or_else(PoisonError::into_inner) = Arc::new(options);
        // It fails only where the groups' task has ended, which then needs no settings.
        let _ = self.ask(Ask::Options(gateway)).await;
        Ok(())
    }

    /// Numbers about groups and credentials.
    pub fn stats(&self) -> &Stats {
        &self.0.stats
    }

    /// All groups as they are, those with uncommitted changes as they were.
    pub async fn groups(&self) -> Result<Vec<Arc<Group>>, Refusal> {
        self.read(|state| state.groups().cloned().collect()).await
    }

    /// All groups, for a page, by their labels.
    pub async fn groups_status(&self) -> Result<Vec<GroupStatus>, Refusal> {
        let read = self.read(|state| {
            let groups: Vec<Arc<Group>> = state.groups().cloned().collect();
            (groups, state.mixed_types().clone())
        });
        let (groups, mixed) = read.await?;
        Ok(groups.iter().map(|group| status_of(group, &mixed)).collect())
    }

    /// What `read` makes of the groups.
    async fn read<T: Send + 'static>(
        &self,
        read: impl FnOnce(&State) -> T + Send + Sync + 'static,
    ) -> Result<T, Refusal> {
        let (send, receive) = oneshot::channel();
        let read = Ask::Read(Box::new(move |state| drop(send.send(read(state)))));
        self.ask(read).await?;
        receive.await.map_err(|_| Refusal::Stopping)
    }

    /// The groups as a page to scrape, as the Pushgateway writes it. Empty unless the user has set
    /// `pushgateway.expose`.
    pub async fn exposition(&self, escaping: Escaping) -> Result<String, Refusal> {
        if !self.options().pushgateway.expose {
            return Ok(String::new());
        }
        Ok(exposition::exposition(&self.groups().await?, escaping))
    }

    /// Asks the task that keeps the groups for a sign of life: true once it has answered, false if it has ended.
    pub async fn groups_answer(&self) -> bool {
        !matches!(self.ask(Ask::Read(Box::new(|_| {}))).await, Err(Refusal::Stopping))
    }

    /// Sends the groups whose turn it is, and ends those whose time is over. They do so by themselves, by
    /// the runtime's timer; this is for tests with a clock of their own.
    pub async fn take_turns(&self) -> Result<(), Refusal> {
        self.ask(Ask::Turns).await
    }

    /// Whether the groups' task is there: without it no group can be pushed.
    pub fn is_alive(&self) -> bool {
        !self.0.asks.is_closed()
    }

    /// What all inputs share.
    pub fn intake(&self) -> &Intake {
        &self.0.intake
    }

    pub(crate) fn inputs(&self) -> &Inputs {
        &self.0.inputs
    }

    /// Reads a body to its end, and counts its bytes.
    pub(crate) async fn read_body(&self, admission: &mut Admission, body: Body) -> Result<Vec<u8>, Refusal> {
        let bytes = body::read(body, admission.memory(), &self.options()).await?;
        admission.input().counters().bytes.add(bytes.len() as u64);
        Ok(bytes)
    }

    /// Counts the answer to a request of `input`, and returns it. `refusal` is why the request was not kept as a whole.
    pub(crate) fn count_answer(
        &self,
        input: &Input,
        refusal: Option<&Refusal>,
        response: Response,
    ) -> Response {
        if let Some(refusal) = refusal {
            self.0.intake.counters().refused(input.name(), refusal.reason(), &refusal.to_string());
        }
        let counters = input.counters();
        match response.status().as_u16() {
            200..=299 => counters.accepted.add(1),
            429 | 500..=599 => counters.deferred.add(1),
            _ => counters.refused.add(1),
        }
        response
    }

    pub(crate) fn started_ms(&self) -> i64 {
        self.0.started
    }

    /// Asks the groups' task, and waits for its answer.
    pub(crate) async fn ask(&self, ask: Ask) -> Result<(), Refusal> {
        let (reply, answer) = oneshot::channel();
        self.0.asks.send(Asked { ask, reply }).await.map_err(|_| Refusal::Stopping)?;
        answer.await.map_err(|_| Refusal::Stopping)?
    }
}

fn status_of(group: &Group, mixed: &BTreeMap<String, Vec<MetricType>>) -> GroupStatus {
    let labels = group.key.as_ref();
    let own = mixed.iter().filter_map(|(name, kinds)| Some((name, group.families.get(name)?, kinds)));
    let warnings = own.take(WARNINGS_MAX).map(|(name, kept, kinds)| {
        let own = kept.family.kind;
        let others = kinds.iter().filter(|kind| **kind != own);
        let others: Vec<String> = others.map(|kind| described(*kind)).collect();
        format!(
            "metric {name:?} is {} here and {} in other groups: it is sent without a type",
            described(own),
            others.join(" or ")
        )
    });
    let warnings = warnings.collect();
    GroupStatus {
        labels: labels.iter().map(|(name, value)| (name.into_owned(), value.into_owned())).collect(),
        path: path::to_path(labels),
        series: group.series(),
        pushed_ms: group.pushed,
        failed_ms: group.failed,
        failure: group.failure.clone(),
        warnings,
        ttl_ms: group.ttl,
        expires_ms: group.expires,
        expired_ms: group.expired,
    }
}

/// A type in a sentence: `a gauge`.
fn described(kind: MetricType) -> String {
    match kind {
        MetricType::Unknown => "untyped".into(),
        kind => with_article(kind.as_str()),
    }
}
