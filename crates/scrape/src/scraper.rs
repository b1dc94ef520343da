//! The input: it runs the jobs of the configuration, and changes those that a reload changes.

use crate::discovery::Found;
use crate::job::Job;
use crate::pool::{Common, Leaving, Pool};
use crate::status::View;
use intake::{BindError, Bound, Endpoint, Exposure, Input, Listener, Running, Stop};
use std::collections::BTreeMap;
use std::sync::Arc;
use tokio::sync::{Semaphore, mpsc, watch};
use xxhash_rust::xxh3::xxh3_64;

/// The name of the input.
pub const NAME: &str = "scrape";
/// Most pages that are parsed at once: so the memory that parsing takes does not grow with the number of targets.
pub const PARSES_MAX: usize = 2;
/// Messages about targets that were found and wait until the scraper reads them.
const FOUND_MAX: usize = 16;

/// The jobs of a configuration.
#[derive(Debug, Clone, PartialEq, Default)]
pub struct Scraper {
    pub jobs: Vec<Arc<Job>>,
    exposure: Exposure,
}

impl Scraper {
    pub fn new(jobs: Vec<Arc<Job>>) -> Self {
        Scraper { jobs, exposure: Exposure::default() }
    }
}

/// What outlives the input's task.
#[derive(Debug)]
pub struct State {
    jobs: watch::Sender<Vec<Arc<Job>>>,
    view: View,
}

impl Default for State {
    fn default() -> Self {
        State { jobs: watch::Sender::new(Vec::new()), view: View::default() }
    }
}

/// What is shown of the targets. It is empty while nothing is scraped.
pub fn view(input: &Input) -> View {
    input.state::<State>().map(|state| state.view.clone()).unwrap_or_default()
}

impl Listener for Scraper {
    fn name(&self) -> &'static str {
        NAME
    }

    fn endpoints(&self) -> Vec<Endpoint> {
        Vec::new()
    }

    fn exposure(&self) -> &Exposure {
        &self.exposure
    }

    fn configure(&self, input: &Input) {
        if let Some(state) = input.state::<State>() {
            state.jobs.send_if_modified(|jobs| {
                let changes = *jobs != self.jobs;
                jobs.clone_from(&self.jobs);
                changes
            });
        }
    }

    fn bind(&self) -> Result<Box<dyn Bound>, BindError> {
        Ok(Box::new(Run))
    }
}

struct Run;

impl Bound for Run {
    fn endpoints(&self) -> Vec<Endpoint> {
        Vec::new()
    }

    fn run(self: Box<Self>, input: Input, _: watch::Receiver<Arc<Exposure>>, stop: Stop) -> Running {
        Box::pin(run(input, stop))
    }
}

/// Runs the jobs until it is stopped.
async fn run(input: Input, mut stop: Stop) {
    let Some(state) = input.state::<State>() else { return };
    let mut wanted = state.jobs.subscribe();
    let (found, mut arriving) = mpsc::channel(FOUND_MAX);
    let common = Common {
        view: state.view.clone(),
        parses: Arc::new(Semaphore::new(PARSES_MAX)),
        seed: machine_seed(),
        found,
        input,
    };
    let mut pools: BTreeMap<String, Pool> = BTreeMap::new();
    let mut leaving: Vec<Leaving> = Vec::new();
    // The jobs of the start are a change, too.
    wanted.mark_changed();
    loop {
        tokio::select! {
            biased;
            () = stop.requested() => break,
            changed = wanted.changed() => {
                if changed.is_err() {
                    break;
                }
                let jobs = wanted.borrow_and_update().clone();
                apply(jobs, &mut pools, &mut leaving, &common);
            }
            Some(found) = arriving.recv() => {
                let Found { job, entry, changes } = found;
                if let Some(pool) = pools.get_mut(&job) {
                    pool.found(entry, changes);
                }
            }
        }
    }
    for (name, pool) in pools {
        common.view.remove(&name);
        pool.stop().await;
    }
    for one in leaving {
        one.stop().await;
    }
}

/// Goes over to other jobs. A job that has not changed is not touched.
fn apply(
    jobs: Vec<Arc<Job>>,
    pools: &mut BTreeMap<String, Pool>,
    leaving: &mut Vec<Leaving>,
    common: &Common,
) {
    leaving.retain(|one| !one.is_over());
    let gone: Vec<String> =
        pools.keys().filter(|name| !jobs.iter().any(|job| job.name == **name)).cloned().collect();
    leaving.extend(gone.iter().filter_map(|name| pools.remove(name)).map(Pool::remove));
    for job in jobs {
        match pools.get_mut(&job.name) {
            Some(pool) if *pool.job() == job => {}
            Some(pool) => pool.change(job, common),
            None => {
                pools.insert(job.name.clone(), Pool::start(job, common));
            }
        }
    }
}

/// A number by the name of this machine, so that two machines scrape the same target at different times.
fn machine_seed() -> u64 {
    xxh3_64(rustix::system::uname().nodename().to_bytes())
}

#[cfg(test)]
mod tests;
