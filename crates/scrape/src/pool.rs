//! The targets of one job, each with its task.

use crate::config::Group;
use crate::discovery::{Discovery, Found, Source};
use crate::fetch::accept;
use crate::job::Job;
use crate::status::{Counters, PoolStatus, Status, View};
use crate::table::Table;
use crate::target_loop::{Order, TargetLoop};
use crate::targets::{Made, Target, targets_of};
use http::HeaderValue;
use http_client::{Client, Url};
use intake::Input;
use std::collections::{BTreeMap, HashMap};
use std::path::PathBuf;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};
use supervisor::{FIRST_PAUSE, Task};
use tokio::sync::{Semaphore, mpsc, watch};
use tokio::task::JoinHandle;

/// How often files with credentials and certificates are read again, at most.
const REFRESH: Duration = Duration::from_secs(1);
/// Most dropped targets of a job that are kept to be shown.
pub const DROPPED_MAX: usize = 1000;
/// Idle connections that are kept to each target.
const IDLE_CONNECTIONS: usize = 1;

/// What all tasks of a job share.
#[derive(Debug)]
pub(crate) struct Shared {
    pub(crate) job: Arc<Job>,
    pub(crate) input: Input,
    /// A number of this machine.
    pub(crate) seed: u64,
    /// Pages that are parsed at once, of all jobs.
    pub(crate) parses: Arc<Semaphore>,
    pub(crate) counters: Arc<Counters>,
    pub(crate) accept: HeaderValue,
    /// The clients for `http` and for `https`.
    clients: Mutex<[Option<(Client, Instant)>; 2]>,
    /// Why all scrapes of the job fail without a request.
    forced_error: Mutex<Option<String>>,
}

impl Shared {
    pub(crate) fn forced_error(&self) -> Option<String> {
        self.forced_error.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }

    /// A client for a target.
    pub(crate) fn client(&self, url: Url) -> Result<Client, String> {
        let mut clients = self.clients.lock().unwrap_or_else(PoisonError::into_inner);
        let is_secure = url.uri().scheme_str() == Some("https");
        let [plain, secure] = &mut *clients;
        let place = if is_secure { secure } else { plain };
        if let Some((client, refreshed)) = place {
            if refreshed.elapsed() >= REFRESH {
                client.refresh().map_err(|error| error.to_string())?;
                *refreshed = Instant::now();
            }
            return Ok(client.at(url));
        }
        let client = Client::new(url.clone(), self.job.http.clone(), IDLE_CONNECTIONS);
        let client = client.map_err(|error| error.to_string())?;
        Ok(place.insert((client, Instant::now())).0.at(url))
    }
}

/// A task of a target.
#[derive(Debug)]
struct Running {
    target: Arc<Target>,
    pool: Arc<Shared>,
    status: Arc<Mutex<Status>>,
    orders: watch::Sender<Order>,
    task: JoinHandle<Option<Table>>,
}

impl Running {
    fn order(&self, order: Order) {
        self.orders.send_replace(order);
    }
}

/// The targets of one job.
#[derive(Debug)]
pub(crate) struct Pool {
    shared: Arc<Shared>,
    view: View,
    /// The groups of targets by their source.
    groups: BTreeMap<Source, Vec<Group>>,
    discovery: Discovery,
    /// By identity.
    running: HashMap<u64, Running>,
    /// Targets that are gone and may come back.
    leaving: Vec<Running>,
}

/// What pools of all jobs share.
#[derive(Debug, Clone)]
pub(crate) struct Common {
    pub(crate) input: Input,
    pub(crate) view: View,
    pub(crate) parses: Arc<Semaphore>,
    pub(crate) seed: u64,
    /// Where discovery sends what it finds.
    pub(crate) found: mpsc::Sender<Found>,
}

impl Pool {
    /// Starts the tasks of a job.
    pub(crate) fn start(job: Arc<Job>, common: &Common) -> Pool {
        let mut pool = Pool {
            shared: shared(job.clone(), common),
            view: common.view.clone(),
            groups: BTreeMap::new(),
            discovery: Discovery::default(),
            running: HashMap::new(),
            leaving: Vec::new(),
        };
        pool.find(&job, common);
        pool.sync(Vec::new());
        pool
    }

    pub(crate) fn job(&self) -> &Arc<Job> {
        &self.shared.job
    }

    /// Goes over to other settings of the job. All tasks begin again; series whose target has the same labels go on.
    pub(crate) fn change(&mut self, job: Arc<Job>, common: &Common) {
        self.shared = shared(job.clone(), common);
        self.find(&job, common);
        let old: Vec<Running> = self.running.drain().map(|(_, running)| running).collect();
        self.sync(old);
    }

    /// Takes the targets of the configuration, and finds others. What was found by an entry that the job still has
    /// stays.
    fn find(&mut self, job: &Job, common: &Common) {
        self.discovery.change(job, &common.found);
        self.groups.retain(|source, _| self.discovery.has(source.entry));
        self.groups.insert(Source::STATIC, job.static_configs.clone());
    }

    /// Sets the groups of targets that discovery has found.
    pub(crate) fn found(&mut self, entry: u64, changes: Vec<(PathBuf, Vec<Group>)>) {
        // The configuration may have changed meanwhile.
        if !self.discovery.has(entry) {
            return;
        }
        let mut is_other = false;
        for (file, groups) in changes {
            let source = Source { entry, file };
            if self.groups.get(&source).map_or(&[][..], Vec::as_slice) == groups {
                continue;
            }
            is_other = true;
            if groups.is_empty() {
                self.groups.remove(&source);
            } else {
                self.groups.insert(source, groups);
            }
        }
        if is_other {
            self.sync(Vec::new());
        }
    }

    /// Starts and ends tasks, so that each target has one. `old` are tasks whose settings have changed.
    fn sync(&mut self, old: Vec<Running>) {
        let (targets, mut status) = self.targets();
        let limit = self.shared.job.target_limit;
        let over = limit
            .filter(|limit| targets.len() as u64 > *limit)
            .map(|limit| format!("the job has {} targets, more than target_limit, {limit}", targets.len()));
        *self.shared.forced_error.lock().unwrap_or_else(PoisonError::into_inner) = over;
        self.leaving.retain(|running| !running.task.is_finished());
        let mut before: Vec<Running> = old;
        let gone: Vec<u64> =
            self.running.keys().filter(|identity| !targets.contains_key(identity)).copied().collect();
        before.extend(gone.iter().filter_map(|identity| self.running.remove(identity)));
        before.append(&mut self.leaving);
        for (identity, target) in targets {
            if self.running.contains_key(&identity) {
                continue;
            }
            // The same series go on, also if the address or the interval is another one.
            let same = before.iter().position(|running| running.target.labels == target.labels);
            let same = same.map(|index| before.swap_remove(index));
            let running = start(target, self.shared.clone(), same);
            self.running.insert(identity, running);
        }
        for running in before {
            running.order(Order::Gone);
            self.leaving.push(running);
        }
        status.active =
            self.running.values().map(|running| (running.target.clone(), running.status.clone())).collect();
        status.active.sort_by(|(one, _), (other, _)| one.labels.cmp(&other.labels));
        self.view.set(&self.shared.job.name, status);
    }

    /// The targets by identity, and what is shown of the others.
    fn targets(&self) -> (BTreeMap<u64, Arc<Target>>, PoolStatus) {
        let job = &self.shared.job;
        let kept = job.keep_dropped_targets.map_or(DROPPED_MAX, |limit| DROPPED_MAX.min(limit as usize));
        let (mut targets, mut status) = (BTreeMap::new(), PoolStatus::default());
        let mut invalid = 0_usize;
        for group in self.groups.values().flatten() {
            for made in targets_of(group, job) {
                match made {
                    Made::Target(target) => {
                        targets.entry(target.identity).or_insert_with(|| Arc::new(*target));
                    }
                    Made::Dropped(labels) => {
                        status.dropped_count += 1;
                        if status.dropped.len() < kept {
                            status.dropped.push(labels);
                        }
                    }
                    Made::Invalid { discovered, why } => {
                        invalid += 1;
                        if status.invalid.len() < DROPPED_MAX {
                            status.invalid.push((discovered, why));
                        }
                    }
                }
            }
        }
        if let Some((_, error)) = status.invalid.first() {
            tracing::warn!(
                job = job.name,
                targets = invalid,
                error,
                "some targets can't be scraped; the error is that of the first"
            );
        }
        (targets, status)
    }

    /// Ends the job, which the configuration does not have any more: its series get markers. Returns what is still to
    /// be awaited.
    pub(crate) fn remove(mut self) -> Leaving {
        self.view.remove(&self.shared.job.name);
        let all: Vec<Running> =
            self.running.drain().map(|(_, running)| running).chain(self.leaving).collect();
        all.iter().for_each(|running| running.order(Order::Gone));
        Leaving(all)
    }

    /// Ends all tasks at once, without markers.
    pub(crate) async fn stop(self) {
        Leaving(self.running.into_values().chain(self.leaving).collect()).stop().await;
    }
}

/// Tasks that end by themselves.
#[derive(Debug)]
pub(crate) struct Leaving(Vec<Running>);

impl Leaving {
    pub(crate) fn is_over(&self) -> bool {
        self.0.iter().all(|running| running.task.is_finished())
    }

    pub(crate) async fn stop(self) {
        self.0.iter().for_each(|running| running.order(Order::Stop));
        for running in self.0 {
            let _ = running.task.await;
        }
    }
}

fn shared(job: Arc<Job>, common: &Common) -> Arc<Shared> {
    let accept = HeaderValue::try_from(accept(&job)).unwrap_or(HeaderValue::from_static("*/*"));
    Arc::new(Shared {
        job,
        input: common.input.clone(),
        seed: common.seed,
        parses: common.parses.clone(),
        counters: common.view.counters.clone(),
        accept,
        clients: Mutex::default(),
        forced_error: Mutex::default(),
    })
}

/// Starts the task of a target. It goes on with the series of `before`.
fn start(target: Arc<Target>, pool: Arc<Shared>, before: Option<Running>) -> Running {
    // A target that is back may have left before the rules changed.
    let rules_changed = before.as_ref().is_some_and(|before| !Arc::ptr_eq(&before.pool, &pool));
    let status = before.as_ref().map(|before| before.status.clone()).unwrap_or_default();
    let (orders, receiver) = watch::channel(Order::Scrape);
    let of_task = (target.clone(), status.clone(), pool.clone());
    let task = tokio::spawn(async move {
        let (target, status, pool) = of_task;
        let mut table = match before {
            None => None,
            Some(before) => {
                before.order(Order::HandOver);
                before.task.await.ok().flatten()
            }
        };
        if rules_changed && let Some(table) = &mut table {
            table.discard_outcomes();
        }
        let task = Task::of("target", &pool.job.name);
        loop {
            let one = TargetLoop::new(target.clone(), pool.clone(), table.take(), status.clone());
            if let Ok(table) = supervisor::catch(&task, one.run(receiver.clone())).await {
                return table;
            }
            tracing::error!(job = pool.job.name, "the scraper of a target panicked and is started again");
            supervisor::count_restart(&task);
            tokio::time::sleep(FIRST_PAUSE).await;
        }
    });
    Running { target, pool, status, orders, task }
}
