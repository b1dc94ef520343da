//! All destinations of a configuration: how they start, change and end together.
//!
//! A reload is all or nothing. It looks for errors before it stops anything. If the disk fails after that,
//! the old destinations are started again. Unchanged destinations are not touched. [`crate::plan`] decides
//! the steps.

use crate::base::Base;
use crate::config::RemoteWrite;
use crate::config::identity::Identity;
use crate::destination::{Destination, Prepared, StartError};
use crate::disk::claims::{self, Removed};
use crate::members::rings::RingsError;
use crate::members::{self, Divided};
use crate::plan::{Asked, Before, Changes, Moved, Plan, Step};
use crate::stats::Stats;
use futures_util::future::join_all;
use std::sync::Arc;

/// The running destinations, and those that were removed and whose positions are kept.
#[derive(Debug)]
pub struct Destinations {
    base: Base,
    running: Vec<Running>,
    removed: Vec<Removed>,
}

#[derive(Debug)]
struct Running {
    asked: Asked,
    destination: Destination,
}

/// A destination from before a reload. `destination` is `None` if it was stopped.
#[derive(Debug)]
struct Known {
    asked: Asked,
    stats: Arc<Stats>,
    destination: Option<Destination>,
}

impl Destinations {
    /// Starts the destinations of a configuration. All queues share `memory`, in bytes.
    pub fn start(
        configs: Vec<RemoteWrite>,
        labels: &[(String, String)],
        memory: usize,
        base: Base,
    ) -> Result<Destinations, StartError> {
        let divided = divide(&base, &configs)?;
        let asked = ask(divided.destinations.clone(), labels, memory)?;
        let prepared = asked.iter().map(Asked::prepare).collect::<Result<Vec<_>, _>>()?;
        let mut all = Destinations { base, running: Vec::new(), removed: Vec::new() };
        all.settle(&asked)?;
        for (asked, prepared) in asked.into_iter().zip(prepared) {
            let destination = prepared.start(&all.base, Arc::default())?;
            all.running.push(Running { asked, destination });
        }
        divided.save(&*all.base.fs)?;
        Ok(all)
    }

    /// Changes to another configuration. After an error everything is as it was before.
    pub async fn reload(
        &mut self,
        configs: Vec<RemoteWrite>,
        labels: &[(String, String)],
        memory: usize,
    ) -> Result<Changes, StartError> {
        let asked = ask(divide(&self.base, &configs)?.destinations, labels, memory)?;
        let before = self
            .running
            .iter()
            .map(|running| Before { asked: &running.asked, has_ended: running.destination.has_ended() });
        let plan = Plan::new(&before.collect::<Vec<_>>(), &asked);
        plan.starts(&asked).try_for_each(|new| new.prepare().map(|_| ()))?;
        // Nothing has been touched so far.
        let known = std::mem::take(&mut self.running).into_iter().map(|Running { asked, destination }| {
            let stats = destination.stats().clone();
            Known { asked, stats, destination: Some(destination) }
        });
        let mut known: Vec<Known> = known.collect();
        let stops = plan.stops.iter().filter_map(|index| known.get_mut(*index)?.destination.take());
        // The log keeps their undelivered samples: nothing is released before another destination pins them.
        join_all(stops.map(Destination::hand_over).collect::<Vec<_>>()).await;
        let mut started = Vec::new();
        match self.go_over(configs, labels, memory, &mut known, &mut started) {
            Ok(changes) => Ok(changes),
            Err(error) => {
                self.go_back(known, started).await;
                Err(error)
            }
        }
    }

    /// Gives each destination its positions, and starts those that do not run. On an error, `started` has the
    /// destinations that were started, and nothing else has changed but files.
    fn go_over(
        &mut self,
        configs: Vec<RemoteWrite>,
        labels: &[(String, String)],
        memory: usize,
        known: &mut [Known],
        started: &mut Vec<Destination>,
    ) -> Result<Changes, StartError> {
        // Divides again. Only now is the end of the log a position at which a change of members can take
        // effect, because none of these destinations has read beyond it.
        let divided = divide(&self.base, &configs)?;
        let asked = ask(divided.destinations.clone(), labels, memory)?;
        let moved = self.settle(&asked)?;
        let before: Vec<Before<'_>> = known.iter().map(Known::before).collect();
        let plan = Plan::new(&before, &asked);
        for (step, new) in plan.steps.iter().zip(&asked) {
            if let Step::Start { numbers_of } = step {
                let numbers = numbers_of.and_then(|index| known.get(index));
                let stats = numbers.map(|known| known.stats.clone()).unwrap_or_default();
                started.push(new.prepare()?.start(&self.base, stats)?);
            }
        }
        divided.save(&*self.base.fs)?;
        // Nothing fails from here on.
        plan.gone(&before, &asked).for_each(|gone| {
            self.base.storage.release(gone.name());
        });
        let changes = plan.changes(&before, &asked, &moved);
        let mut started = std::mem::take(started).into_iter();
        for (step, asked) in plan.steps.iter().zip(asked) {
            let destination = match step {
                Step::Keep(index) => known.get_mut(*index).and_then(|known| known.destination.take()),
                Step::Start { .. } => started.next(),
            };
            model::invariant!(destination.is_some(), "each step of a reload has its destination");
            if let Some(destination) = destination {
                destination.set_memory(asked.config.max_in_memory);
                self.running.push(Running { asked, destination });
            }
        }
        Ok(changes)
    }

    /// Starts the destinations again that a reload had stopped.
    async fn go_back(&mut self, known: Vec<Known>, started: Vec<Destination>) {
        join_all(started.into_iter().map(Destination::hand_over)).await;
        let all: Vec<Asked> = known.iter().map(|known| known.asked.clone()).collect();
        if let Err(error) = self.settle(&all) {
            tracing::error!(%error, "saved positions may be under another name");
        }
        for Known { asked, stats, destination } in known {
            let started = match destination {
                Some(destination) => Ok(destination),
                None => asked.prepare().and_then(|prepared| prepared.start(&self.base, stats)),
            };
            match started {
                Ok(destination) => self.running.push(Running { asked, destination }),
                Err(error) => tracing::error!(
                    %error,
                    "a destination can't go on; what it has not delivered is kept until narthex is reloaded or \
                     started again"
                ),
            }
        }
    }

    /// Deletes the positions of destinations that were removed long ago. To be called now and then.
    pub fn tidy(&mut self) {
        let all: Vec<Asked> = self.running.iter().map(|running| running.asked.clone()).collect();
        if let Err(error) = self.settle(&all) {
            tracing::error!(%error, "the folder of positions can't be looked through");
        }
    }

    /// Calls [`claims::settle`]. Returns the destinations that continue under another name.
    fn settle(&mut self, all: &[Asked]) -> Result<Moved, StartError> {
        let identities: Vec<Identity> = all.iter().map(|asked| asked.identity.clone()).collect();
        let Base { fs, clock, data_dir, .. } = &self.base;
        let claims = claims::settle(&**fs, data_dir, &identities, clock.now_ms())
            .map_err(|source| StartError::Folder { path: claims::folder(data_dir), source })?;
        self.removed = claims.removed;
        let running = all.iter().filter_map(|asked| asked.config.name.as_deref());
        let kept = self.removed.iter().map(|removed| removed.name.as_str());
        if let Err(error) = members::tidy(&**fs, data_dir, &running.chain(kept).collect::<Vec<_>>()) {
            tracing::error!(%error, "rings that nobody needs any more can't be deleted");
        }
        Ok(claims.moved)
    }

    pub fn iter(&self) -> impl Iterator<Item = &Destination> {
        self.running.iter().map(|running| &running.destination)
    }

    /// Returns the destinations that were removed from the configuration and whose positions are kept.
    pub fn removed(&self) -> &[Removed] {
        &self.removed
    }

    /// Returns all destinations, so that the caller can shut each down.
    pub fn into_all(self) -> Vec<Destination> {
        self.running.into_iter().map(|running| running.destination).collect()
    }
}

impl Known {
    fn before(&self) -> Before<'_> {
        let has_ended = self.destination.as_ref().is_none_or(Destination::has_ended);
        Before { asked: &self.asked, has_ended }
    }
}

impl Asked {
    fn prepare(&self) -> Result<Prepared, StartError> {
        Prepared::new(self.config.clone(), self.identity.clone(), &self.labels)
    }
}

/// Returns all destinations, including those of members, with the part of the log that each member owns.
/// Damaged rings are quarantined. Without them, samples that members have not delivered may be sent to
/// several members.
fn divide(base: &Base, entries: &[RemoteWrite]) -> Result<Divided, StartError> {
    let Base { storage, fs, data_dir, .. } = base;
    loop {
        let error = match members::divide(&**fs, data_dir, entries, storage.oldest(), storage.end()) {
            Ok(divided) => return Ok(divided),
            Err(error) => error,
        };
        // Each round removes one file, so the loop ends.
        let gone = matches!(error.source, RingsError::Damaged(_))
            && storage.set_aside(&error.path)
            && fs.remove_file(&error.path).is_ok();
        if !gone {
            return Err(error.into());
        }
        storage.stats().damages.add(1);
        tracing::error!(entry = error.entry, path = %error.path.display(), why = %error.source, "rings were damaged");
    }
}

/// Returns the settings of each destination. The queues share the memory equally.
fn ask(
    configs: Vec<RemoteWrite>,
    labels: &[(String, String)],
    memory: usize,
) -> Result<Vec<Asked>, StartError> {
    let identities = Identity::of_all(&configs)?;
    let share = memory / configs.len().max(1);
    let one = |(mut config, identity): (RemoteWrite, Identity)| {
        config.max_in_memory = share;
        Asked { config, identity, labels: labels.to_vec() }
    };
    Ok(configs.into_iter().zip(identities).map(one).collect())
}
