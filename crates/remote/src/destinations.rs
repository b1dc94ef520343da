//! All destinations of a configuration: how they start, change and end together.
//!
//! A reload is all or nothing. What can be wrong is looked for before anything stops; where the disk fails
//! after that, the old destinations are started again. Those that did not change are not touched.

use crate::base::Base;
use crate::config::RemoteWrite;
use crate::config::identity::Identity;
use crate::destination::{Destination, Prepared, StartError};
use crate::disk::claims::{self, Removed};
use crate::members::rings::RingsError;
use crate::members::{self, Divided};
use crate::stats::Stats;
use futures_util::future::join_all;
use std::sync::Arc;

/// Labels that everything that is sent gets.
type Labels = Vec<(String, String)>;
/// The files of destinations that go on under another name: the old, the new.
type Moved = Vec<(String, String)>;

/// The destinations that run, and what is kept of those that did.
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

/// What a destination was made from.
#[derive(Debug, Clone, PartialEq)]
struct Asked {
    config: RemoteWrite,
    identity: Identity,
    labels: Labels,
}

/// What a reload did, as names.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Changes {
    /// These were not touched.
    pub kept: Vec<String>,
    /// These have changed, and went on from their positions. `(was …)` follows where they had another name or
    /// URL.
    pub changed: Vec<String>,
    /// These are new.
    pub new: Vec<String>,
    /// These are gone; their positions are kept for a while.
    pub removed: Vec<String>,
}

impl Destinations {
    /// Starts those of a configuration. `memory` is shared by all their queues, in bytes.
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

    /// Goes over to another configuration. On an error everything is as it was before.
    pub async fn reload(
        &mut self,
        configs: Vec<RemoteWrite>,
        labels: &[(String, String)],
        memory: usize,
    ) -> Result<Changes, StartError> {
        let asked = ask(divide(&self.base, &configs)?.destinations, labels, memory)?;
        let is_same = |old: &Running, new: &Asked| {
            !old.destination.has_ended() && old.asked.with_memory(new.config.max_in_memory) == *new
        };
        for new in &asked {
            if !self.running.iter().any(|old| is_same(old, new)) {
                new.prepare()?;
            }
        }
        // Nothing has been touched so far.
        let stays = |old: &Running| asked.iter().any(|new| is_same(old, new));
        let (mut kept, old): (Vec<Running>, Vec<Running>) =
            std::mem::take(&mut self.running).into_iter().partition(stays);
        let before: Vec<(Asked, Arc<Stats>)> =
            old.iter().map(|old| (old.asked.clone(), old.destination.stats().clone())).collect();
        // What they have not delivered stays in the log: nobody lets go of it before another one holds it.
        join_all(old.into_iter().map(|old| old.destination.hand_over())).await;

        let mut changes = Changes::default();
        let mut running = Vec::new();
        let mut moved = Vec::new();
        let result = self.go_over(configs, labels, memory).and_then(|(divided, asked, moves)| {
            moved = moves;
            for new in asked {
                let name = new.identity.shown().to_string();
                if let Some(index) = kept.iter().position(|kept| is_same(kept, &new)) {
                    let one = kept.swap_remove(index);
                    one.destination.set_memory(new.config.max_in_memory);
                    running.push(Running { asked: new, destination: one.destination });
                    changes.kept.push(name);
                    continue;
                }
                let known = before.iter().find(|(old, _)| old.is_shown_as(&new));
                let stats = known.map(|(_, stats)| stats.clone()).unwrap_or_default();
                let destination = new.prepare()?.start(&self.base, stats)?;
                let mut was = moved.iter().filter(|(_, to)| to == new.identity.file());
                let was =
                    was.find_map(|(from, _)| before.iter().find(|(old, _)| old.identity.file() == from));
                match was.map(|(old, _)| old.identity.shown()).filter(|old| *old != name) {
                    Some(old) => changes.changed.push(format!("{name} (was {old})")),
                    None if known.is_some() => changes.changed.push(name),
                    None => changes.new.push(name),
                }
                running.push(Running { asked: new, destination });
            }
            Ok(divided.save(&*self.base.fs)?)
        });
        self.running = running;
        if let Err(error) = result {
            changes.kept.extend(kept.iter().map(|kept| kept.asked.identity.shown().to_string()));
            self.running.append(&mut kept);
            self.go_back(before, &changes).await;
            return Err(error);
        }
        // Of those that were to stay, a member that was leaving may have come to its end.
        let gone = before.iter().map(|(asked, _)| asked).chain(kept.iter().map(|kept| &kept.asked));
        for gone in gone {
            let name = gone.identity.shown();
            if !self.running.iter().any(|running| running.asked.identity.shown() == name) {
                self.base.storage.release(name);
                if !moved.iter().any(|(from, _)| from == gone.identity.file()) {
                    changes.removed.push(name.to_string());
                }
            }
        }
        Ok(changes)
    }

    /// Finds out what is to run from now on, and gives each its positions.
    fn go_over(
        &mut self,
        configs: Vec<RemoteWrite>,
        labels: &[(String, String)],
        memory: usize,
    ) -> Result<(Divided, Vec<Asked>, Moved), StartError> {
        // Once more: only now is the end of the log where a change of members can take effect, as nobody
        // concerned has read beyond it.
        let divided = divide(&self.base, &configs)?;
        let asked = ask(divided.destinations.clone(), labels, memory)?;
        let moved = self.settle(&asked)?;
        Ok((divided, asked, moved))
    }

    /// Starts those again that a reload had stopped.
    async fn go_back(&mut self, before: Vec<(Asked, Arc<Stats>)>, changes: &Changes) {
        let started = |running: &Running| {
            let name = running.asked.identity.shown();
            !changes.kept.iter().any(|kept| kept == name)
        };
        let (undone, kept) = std::mem::take(&mut self.running).into_iter().partition(started);
        self.running = kept;
        join_all(Vec::into_iter(undone).map(|undone: Running| undone.destination.hand_over())).await;
        let mut all: Vec<Asked> = self.running.iter().map(|running| running.asked.clone()).collect();
        all.extend(before.iter().map(|(asked, _)| asked.clone()));
        if let Err(error) = self.settle(&all) {
            tracing::error!(%error, "saved positions may be under another name");
        }
        for (asked, stats) in before {
            match asked.prepare().and_then(|prepared| prepared.start(&self.base, stats)) {
                Ok(destination) => self.running.push(Running { asked, destination }),
                Err(error) => tracing::error!(
                    %error,
                    "a destination can't go on; what it has not delivered is kept until narthex is reloaded or \
                     started again"
                ),
            }
        }
    }

    /// Deletes what was removed long ago; to be called now and then.
    pub fn tidy(&mut self) {
        let all: Vec<Asked> = self.running.iter().map(|running| running.asked.clone()).collect();
        if let Err(error) = self.settle(&all) {
            tracing::error!(%error, "the folder of positions can't be looked through");
        }
    }

    /// See [`claims::settle`]; gives what goes on under another name.
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

    /// Those that run.
    pub fn iter(&self) -> impl Iterator<Item = &Destination> {
        self.running.iter().map(|running| &running.destination)
    }

    /// Those that the configuration has no more, while their positions are kept.
    pub fn removed(&self) -> &[Removed] {
        &self.removed
    }

    /// All of them, each to be shut down.
    pub fn into_all(self) -> Vec<Destination> {
        self.running.into_iter().map(|running| running.destination).collect()
    }
}

impl Asked {
    fn prepare(&self) -> Result<Prepared, StartError> {
        Prepared::new(self.config.clone(), self.identity.clone(), &self.labels)
    }

    fn with_memory(&self, bytes: usize) -> Asked {
        let mut same = self.clone();
        same.config.max_in_memory = bytes;
        same
    }

    /// Whether its numbers go on under the same name and URL.
    fn is_shown_as(&self, other: &Asked) -> bool {
        self.identity.shown() == other.identity.shown()
            && self.config.url.redacted() == other.config.url.redacted()
    }
}

/// The destinations, those of members too, and the part of the log of each of these. Rings that are damaged are
/// set aside: without them what members have not delivered may be sent to several of them.
fn divide(base: &Base, entries: &[RemoteWrite]) -> Result<Divided, StartError> {
    let Base { storage, fs, data_dir, .. } = base;
    loop {
        let error = match members::divide(&**fs, data_dir, entries, storage.oldest(), storage.end()) {
            Ok(divided) => return Ok(divided),
            Err(error) => error,
        };
        // Each time one file less, so this ends.
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

/// What each is to be made from: the queues share the memory equally.
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
