//! All groups, and the effect of each [`Change`] on them. Pure: no clock, no disk, no network.
//!
//! A change is planned (checked and given a time), applied (which also collects the samples to send), and written to
//! the journal. Replaying a journal applies the same changes without sending anything. If a commit fails, its changes
//! are undone.

use super::change::Change;
use super::emit;
use super::group::{Group, Kept, Member};
use super::keys::{Applied, Keyed, Keys, Known};
use super::packed::{self, Families, Packed};
use super::types::Types;
use model::emission_time;
use model::words::cut;
use model::{Batch, Labels, Metadata, MetricType};
use std::collections::{BTreeMap, HashMap, HashSet, VecDeque};
use std::hash::{BuildHasher, RandomState};
use std::sync::Arc;

/// The longest reason for a refusal that is kept in a group, in bytes.
pub const REASON_BYTES: usize = 300;

#[derive(Debug)]
pub struct State {
    groups: hashbrown::HashMap<Labels, Arc<Group>>,
    by_id: hashbrown::HashMap<u64, Arc<Group>>,
    /// The types of family names over all groups.
    types: Types,
    /// The group of each series, by the hash of its labels: a series belongs to one group only.
    series: HashMap<u64, u64>,
    hasher: RandomState,
    /// Tombstones: the last times of deleted groups. At most [`State::tombstones_max`].
    tombstones: HashMap<Labels, i64>,
    tombstone_order: VecDeque<Labels>,
    tombstones_max: usize,
    keys: Keys,
    next_id: u64,
    series_count: usize,
    bytes: usize,
    expired: usize,
    failing: usize,
}

/// The state to restore if a commit fails.
#[derive(Debug, Default)]
pub struct Undo {
    before: Vec<(Labels, Option<Arc<Group>>)>,
    keys: Vec<Applied>,
}

impl Undo {
    /// The groups that changed, in order, with the numbers that they had. A group may occur several times.
    pub fn touched(&self) -> impl Iterator<Item = (&Labels, Option<u64>)> {
        self.before.iter().map(|(key, group)| (key, group.as_ref().map(|group| group.id)))
    }
}

/// The samples that a change sends.
#[derive(Debug, Default)]
pub struct Sent {
    /// The samples for the log.
    pub batch: Batch,
    /// The number of staleness markers in the batch.
    pub markers: u64,
    /// The newest metadata of the batch by family.
    families: hashbrown::HashMap<String, u32>,
    /// The metadata of the last call: the next call usually needs the one after it.
    last: u32,
}

impl Sent {
    /// The number of a family's metadata in the batch. Most groups have the same metadata for a family, which is then
    /// sent once.
    pub(super) fn metadata(&mut self, name: &str, kind: MetricType, help: &str, unit: &str) -> u32 {
        let list = &mut self.batch.metadata;
        let is_same = |number: &u32| {
            list.get(*number as usize)
                .is_some_and(|of| of.kind == kind && of.family == name && of.help == help && of.unit == unit)
        };
        let next = Some(self.last.wrapping_add(1)).filter(is_same);
        if let Some(number) = next.or_else(|| self.families.get(name).copied().filter(is_same)) {
            self.last = number;
            return number;
        }
        let number = list.len() as u32;
        list.push(Metadata { family: name.into(), kind, help: help.into(), unit: unit.into() });
        self.families.insert(name.into(), number);
        self.last = number;
        number
    }
}

impl State {
    /// A state without groups. It keeps tombstones of at most `tombstones_max` deleted groups.
    pub fn new(tombstones_max: usize) -> Self {
        State {
            groups: hashbrown::HashMap::new(),
            by_id: hashbrown::HashMap::new(),
            types: Types::default(),
            series: HashMap::new(),
            hasher: RandomState::new(),
            tombstones: HashMap::new(),
            tombstone_order: VecDeque::new(),
            tombstones_max,
            keys: Keys::default(),
            next_id: 1,
            series_count: 0,
            bytes: 0,
            expired: 0,
            failing: 0,
        }
    }

    /// The groups, sorted by their labels. This sorts them at each call.
    pub fn groups(&self) -> impl Iterator<Item = &Arc<Group>> {
        let mut groups: Vec<_> = self.groups.values().collect();
        groups.sort_unstable_by(|one, other| one.key.cmp(&other.key));
        groups.into_iter()
    }

    pub fn get(&self, key: &Labels) -> Option<&Arc<Group>> {
        self.groups.get(key)
    }

    pub fn by_id(&self, id: u64) -> Option<&Arc<Group>> {
        self.by_id.get(&id)
    }

    pub fn len(&self) -> usize {
        self.groups.len()
    }

    pub fn is_empty(&self) -> bool {
        self.groups.is_empty()
    }

    /// The number of series in all groups.
    pub fn series(&self) -> usize {
        self.series_count
    }

    /// The number of groups whose last push was refused.
    pub fn failing(&self) -> usize {
        self.failing
    }

    /// The number of groups that have expired.
    pub fn expired(&self) -> usize {
        self.expired
    }

    /// The memory of all groups and of the keys of their requests, in bytes.
    pub fn bytes(&self) -> usize {
        self.bytes + self.keys.bytes()
    }

    /// The remembered keys of requests.
    pub fn keys(&self) -> &Keys {
        &self.keys
    }

    /// Returns whether a request to the group with the labels `key` was applied before.
    pub fn known(&self, key: &Labels, keyed: Keyed) -> Known {
        self.groups.get(key).map_or(Known::New, |group| self.keys.known(group.id, keyed))
    }

    /// The number of the group, or a new number if there is no such group. A new number is not used again, even if the
    /// push fails.
    pub fn id_of(&mut self, key: &Labels) -> u64 {
        match self.groups.get(key) {
            Some(group) => group.id,
            None => {
                self.next_id += 1;
                self.next_id - 1
            }
        }
    }

    /// The next time for samples of the group with these labels, at `now`.
    pub fn next_time(&self, key: &Labels, now: i64) -> i64 {
        let last = match self.groups.get(key) {
            Some(group) => group.clock,
            None => self.tombstones.get(key).copied().unwrap_or(i64::MIN),
        };
        emission_time::next(last, now)
    }

    /// The types that groups give to the family `name`. One use of `own`, the type that one group gives it, is not
    /// counted.
    pub fn kinds_elsewhere(&self, name: &str, own: Option<MetricType>) -> Vec<MetricType> {
        self.types.without(name, own)
    }

    /// The family names that have more than one type, each with its types.
    pub fn mixed_types(&self) -> &BTreeMap<String, Vec<MetricType>> {
        self.types.mixed()
    }

    /// The group that has this series, unless it is the group with number `except`.
    pub fn owner_other_than(&self, labels: &Labels, except: Option<u64>) -> Option<&Arc<Group>> {
        let id = self.series.get(&self.hash(labels)).filter(|id| Some(**id) != except)?;
        let group = self.by_id(*id)?;
        // Hashes may collide.
        let families = group.families.unpack();
        let mut members = families.values().flat_map(|kept| &kept.family.members);
        members.any(|member| member.labels == *labels).then_some(group)
    }

    fn hash(&self, labels: &Labels) -> u64 {
        self.hasher.hash_one(labels.as_ref().as_bytes())
    }

    /// Applies a change, stores the state before it in `undo`, and appends the samples to `sent`.
    pub fn apply(&mut self, change: &Change, undo: &mut Undo, sent: &mut Sent) {
        match change {
            Change::Pushed { id, key, replace, at, wall, ttl, families } => {
                let before = self.groups.get(key).cloned();
                let mut group = match &before {
                    Some(group) => (**group).clone(),
                    None => Group::new(*id, key.clone()),
                };
                let last = group.clock;
                let had = group.families.unpack();
                for (name, family) in families {
                    let known = had.get(name).map(|kept| &*kept.family);
                    let elsewhere = self.kinds_elsewhere(name, known.map(|known| known.kind));
                    let mixed = elsewhere.iter().any(|kind| *kind != family.kind);
                    emit::pushed_family(&mut sent.batch, name, family, known, mixed, last, *at);
                }
                let has = packed::after_push(&had, *replace, families, *wall);
                group.families = Packed::new(&has);
                let gone = had.iter().filter(|(name, kept)| !is_in(&has, name, kept));
                let stays: HashSet<&Labels> =
                    families.iter().flat_map(|(_, family)| &family.members).map(|m| &m.labels).collect();
                for member in gone.flat_map(|(_, kept)| &kept.family.members) {
                    if !stays.contains(&member.labels) {
                        mark(sent, member, *at);
                    }
                }
                group.pushed = *wall;
                group.clock = *at;
                group.ttl = *ttl;
                group.expires = ttl.map(|ttl| wall.saturating_add(ttl));
                group.expired = None;
                emit::push_times(sent, &group, *at);
                self.put(key, Some(Arc::new(group)), undo);
            }
            Change::Refused { id, key, at, wall, reason } => {
                let mut group = match self.groups.get(key) {
                    Some(group) => (**group).clone(),
                    None => Group::new(*id, key.clone()),
                };
                group.failed = *wall;
                group.failure = cut(reason.clone(), REASON_BYTES);
                group.clock = *at;
                emit::push_times(sent, &group, *at);
                self.put(key, Some(Arc::new(group)), undo);
            }
            Change::Deleted { key, at } => {
                let Some(group) = self.groups.get(key).cloned() else { return };
                for kept in group.families.unpack().values() {
                    for member in &kept.family.members {
                        mark(sent, member, *at);
                    }
                }
                emit::push_time_markers(&mut sent.batch, &group, *at);
                sent.markers += 2;
                self.put(key, None, undo);
                self.add_tombstone(key, *at);
            }
            Change::Expired { key, at, wall } => {
                let Some(group) = self.groups.get(key) else { return };
                let mut group = (**group).clone();
                for kept in std::mem::take(&mut group.families).unpack().values() {
                    for member in &kept.family.members {
                        mark(sent, member, *at);
                    }
                }
                group.expires = None;
                group.expired = Some(*wall);
                group.clock = *at;
                emit::push_times(sent, &group, *at);
                self.put(key, Some(Arc::new(group)), undo);
            }
            Change::Emitted { at, ids } => {
                for id in ids {
                    let Some(group) = self.by_id(*id) else { continue };
                    let mut group = (**group).clone();
                    emit::again(sent, &group, |name| self.types.mixed().contains_key(name), *at);
                    group.clock = *at;
                    emit::push_times(sent, &group, *at);
                    let key = group.key.clone();
                    self.put(&key, Some(Arc::new(group)), undo);
                }
            }
            Change::Snapshot(group) => self.put(&group.key, Some(group.clone()), undo),
            Change::Keyed(applied) => {
                self.keys.insert(*applied);
                undo.keys.push(*applied);
            }
            Change::Tombstone { key, at } => {
                self.put(key, None, undo);
                self.add_tombstone(key, *at);
            }
        }
    }

    /// Applies a change that was read from the journal.
    pub fn replay(&mut self, change: &Change) {
        self.apply(change, &mut Undo::default(), &mut Sent::default());
    }

    /// Restores the state, except that times are never used twice: samples that could not be acknowledged may have been
    /// written nevertheless.
    pub fn undo(&mut self, undo: Undo) {
        undo.keys.iter().rev().for_each(|applied| self.keys.remove(applied.group, applied.keyed.key));
        for (key, before) in undo.before.into_iter().rev() {
            let used = self.groups.get(&key).map(|group| group.clock);
            let used = used.or_else(|| self.tombstones.get(&key).copied()).unwrap_or(i64::MIN);
            match before {
                Some(group) => {
                    let mut group = (*group).clone();
                    group.clock = group.clock.max(used);
                    self.put(&key, Some(Arc::new(group)), &mut Undo::default());
                }
                None => {
                    self.put(&key, None, &mut Undo::default());
                    self.add_tombstone(&key, used);
                }
            }
        }
    }

    /// The content of a journal that restores these groups.
    pub fn snapshot(&self) -> Vec<Change> {
        let tombstones = self
            .tombstone_order
            .iter()
            .filter_map(|key| Some(Change::Tombstone { key: key.clone(), at: *self.tombstones.get(key)? }));
        let groups = self.groups().map(|group| Change::Snapshot(group.clone()));
        let is_there = |applied: &Applied| self.by_id.contains_key(&applied.group);
        let keys = self.keys.iter().filter(is_there).map(Change::Keyed);
        tombstones.chain(groups).chain(keys).collect()
    }

    /// Sets or removes a group and updates the indexes.
    fn put(&mut self, key: &Labels, new: Option<Arc<Group>>, undo: &mut Undo) {
        let old = match &new {
            Some(new) => self.groups.insert(key.clone(), new.clone()),
            None => self.groups.remove(key),
        };
        let same_families = match (&old, &new) {
            (Some(old), Some(new)) => old.id == new.id && old.families.is_same(&new.families),
            _ => false,
        };
        if !same_families {
            self.change_families(old.as_deref(), new.as_deref());
        }
        if let Some(old) = &old {
            self.bytes -= old.bytes();
            self.expired -= usize::from(old.expired.is_some());
            self.failing -= usize::from(old.is_failing());
            if new.as_ref().is_none_or(|new| new.id != old.id) {
                self.by_id.remove(&old.id);
            }
        }
        if let Some(new) = &new {
            self.bytes += new.bytes();
            self.expired += usize::from(new.expired.is_some());
            self.failing += usize::from(new.is_failing());
            self.by_id.insert(new.id, new.clone());
            self.next_id = self.next_id.max(new.id.saturating_add(1));
            if self.tombstones.remove(key).is_some() {
                self.tombstone_order.retain(|other| other != key);
            }
        }
        undo.before.push((key.clone(), old));
    }

    /// Updates the indexes of families and series after a group's families changed.
    fn change_families(&mut self, old: Option<&Group>, new: Option<&Group>) {
        let unpack = |group: Option<&Group>| group.map(|group| group.families.unpack()).unwrap_or_default();
        let (had, has) = (unpack(old), unpack(new));
        let same_group = old.map(|group| group.id) == new.map(|group| group.id);
        if let Some(old) = old {
            for (name, kept) in had.iter().filter(|(name, kept)| !same_group || !is_in(&has, name, kept)) {
                self.remove_family(name, kept, old.id);
            }
        }
        if let Some(new) = new {
            for (name, kept) in has.iter().filter(|(name, kept)| !same_group || !is_in(&had, name, kept)) {
                self.add_family(name, kept, new.id);
            }
        }
    }

    fn add_family(&mut self, name: &str, kept: &Kept, id: u64) {
        self.types.add(name, kept.family.kind);
        for member in &kept.family.members {
            let hash = self.hash(&member.labels);
            self.series.entry(hash).or_insert(id);
        }
        self.series_count += kept.family.members.len();
    }

    fn remove_family(&mut self, name: &str, kept: &Kept, id: u64) {
        self.types.remove(name, kept.family.kind);
        for member in &kept.family.members {
            let hash = self.hash(&member.labels);
            if self.series.get(&hash) == Some(&id) {
                self.series.remove(&hash);
            }
        }
        self.series_count -= kept.family.members.len();
    }

    fn add_tombstone(&mut self, key: &Labels, at: i64) {
        if self.tombstones.insert(key.clone(), at).is_none() {
            self.tombstone_order.push_back(key.clone());
        }
        if self.tombstone_order.len() > self.tombstones_max
            && let Some(oldest) = self.tombstone_order.pop_front()
        {
            self.tombstones.remove(&oldest);
        }
    }
}

/// Returns true if `families` has this family with this name and the same content.
fn is_in(families: &Families, name: &str, kept: &Kept) -> bool {
    families
        .get(name)
        .is_some_and(|other| Arc::ptr_eq(&other.family, &kept.family) || other.family == kept.family)
}

fn mark(sent: &mut Sent, member: &Member, at: i64) {
    emit::marker(&mut sent.batch, member, at);
    sent.markers += 1;
}
