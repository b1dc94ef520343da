//! The rings of a sharded entry, on disk: which ring is in force from which position of the log.
//!
//! `DATA/rings/<entry>.json` is replaced as a whole (a new file, synced, renamed) with each change of
//! members:
//!
//! ```json
//! {"version": 1, "rings": [
//!   {"from": [4, 0, 0], "replicas": 1, "members": ["http://a:9090/api/v1/write"]},
//!   {"from": [9, 37812, 0], "replicas": 1, "members": ["http://a:9090/api/v1/write", "http://b:9090/api/v1/write"]}
//! ]}
//! ```
//!
//! A ring is in force from its position to that of the next one. No member owns anything before the first
//! ring. `from` is segment, byte and index, as in [`Position`]. The oldest ring is removed when all its
//! members are past the position of the next one.
//!
//! Before an entry's first ring there is one by which every member owns everything. It is for a member that
//! was a destination of its own before: it keeps its positions, and everything that it had not delivered was
//! its own. For all other members the log begins with the first ring.

use crate::ring::{self, MEMBERS_MAX, Slots};
use crate::share::Share;
use serde_json::{Value, json};
use std::io;
use std::path::Path;
use wal::small_file::{self, UNFINISHED, make_folder, with_ending};
use wal::{Filesystem, Position};

/// Version of the file and of [`crate::ring`]'s hashing.
const VERSION: u64 = 1;
/// Most rings that are kept, that is changes of members that some member has not passed yet.
pub const RINGS_MAX: usize = 16;
/// Most bytes of the file: all rings with the longest reasonable URLs.
pub const FILE_BYTES_MAX: u64 = 4 << 20;

/// A ring, and the position from which it is in force.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Ring {
    pub from: Position,
    /// How many members own a series.
    pub replicas: usize,
    /// The members: URLs without credentials, sorted.
    pub members: Vec<String>,
}

/// The rings that are still needed, in the log's order.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Rings(Vec<Ring>);

/// Why a file of rings can't be used.
#[derive(Debug, thiserror::Error)]
pub enum RingsError {
    #[error(transparent)]
    Io(#[from] io::Error),
    /// The file was not written by narthex, or is damaged.
    #[error("{0}; without the file the members begin with a new ring at the log's end")]
    Damaged(&'static str),
    /// Some member has not passed too many changes yet.
    #[error(
        "{RINGS_MAX} changes of members are not passed by all members yet; the status names those that are behind; \
         to drop a member that is gone for good, remove its file of positions while narthex is stopped"
    )]
    TooMany,
}

impl Rings {
    /// Reads the file. A missing file means no rings.
    pub fn load(fs: &dyn Filesystem, path: &Path) -> Result<Self, RingsError> {
        let Some(bytes) = small_file::read(fs, path, FILE_BYTES_MAX + 1)? else {
            return Ok(Rings::default());
        };
        if bytes.len() as u64 > FILE_BYTES_MAX {
            return Err(RingsError::Damaged("it is too large"));
        }
        Self::decode(&bytes)
    }

    /// Replaces the file, or removes it if there are no rings. Durable when it returns. Waits for the disk.
    pub fn save(&self, fs: &dyn Filesystem, path: &Path) -> io::Result<()> {
        let folder = path.parent().unwrap_or(Path::new("."));
        if self.is_empty() {
            if fs.metadata(path)?.is_some() {
                fs.remove_file(path)?;
                fs.sync_dir(folder)?;
            }
            return Ok(());
        }
        make_folder(fs, folder)?;
        small_file::write(fs, path, &with_ending(path, UNFINISHED), &self.encode())
    }

    fn encode(&self) -> Vec<u8> {
        let ring = |ring: &Ring| {
            let Position { segment, offset, index } = ring.from;
            json!({ "from": [segment, offset, index], "replicas": ring.replicas, "members": ring.members })
        };
        let rings: Vec<Value> = self.0.iter().map(ring).collect();
        let mut text = json!({ "version": VERSION, "rings": rings }).to_string().into_bytes();
        text.push(b'\n');
        text
    }

    fn decode(bytes: &[u8]) -> Result<Self, RingsError> {
        let damaged = RingsError::Damaged;
        let file: Value = serde_json::from_slice(bytes).map_err(|_| damaged("it is not JSON"))?;
        if file.get("version").and_then(Value::as_u64) != Some(VERSION) {
            return Err(damaged("it is of another version"));
        }
        let rings = file.get("rings").and_then(Value::as_array).into_iter().flatten();
        let rings: Option<Vec<Ring>> = rings.map(read_ring).collect();
        let rings = rings.filter(|rings| rings.is_sorted_by_key(|ring| ring.from));
        match rings.filter(|rings| (1..=RINGS_MAX).contains(&rings.len())) {
            Some(rings) => Ok(Rings(rings)),
            None => Err(damaged("it does not hold rings as narthex writes them")),
        }
    }

    /// Returns the rings, in the log's order.
    pub fn all(&self) -> &[Ring] {
        &self.0
    }

    /// Returns the members of all rings, sorted.
    pub fn all_members(&self) -> Vec<String> {
        let mut all: Vec<String> = self.0.iter().flat_map(|ring| ring.members.clone()).collect();
        all.sort_unstable();
        all.dedup();
        all
    }

    /// Returns where this member's part of the log begins and ends. The end is `None` for a present member.
    /// Returns `None` for a URL that never was a member.
    pub fn part(&self, member: &str) -> Option<(Position, Option<Position>)> {
        let is_in = |ring: &Ring| ring.members.iter().any(|other| other == member);
        let first = self.0.iter().find(|ring| is_in(ring))?;
        let after = self.0.iter().rposition(is_in).map_or(0, |last| last + 1);
        Some((first.from, self.0.get(after).map(|ring| ring.from)))
    }

    /// Returns true if there are no rings: the entry is new.
    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    /// Returns true if the last ring has these members.
    pub fn are_now(&self, members: &[String], replicas: usize) -> bool {
        let Some(last) = self.0.last() else { return false };
        let known = members.iter().all(|member| last.members.contains(member));
        known && last.members.len() == members.len() && last.replicas == replicas
    }

    /// Makes these the members from `at` on. Each is named once. Changes nothing if they are the members
    /// already.
    pub fn change(&mut self, at: Position, members: &[String], replicas: usize) -> Result<(), RingsError> {
        if self.are_now(members, replicas) {
            return Ok(());
        }
        let is_new = self.is_empty();
        // Nothing was written since the last ring began, so it was never used.
        self.0.pop_if(|ring| ring.from >= at);
        if self.are_now(members, replicas) {
            return Ok(());
        }
        let mut members = members.to_vec();
        members.sort_unstable();
        if self.0.len() >= RINGS_MAX {
            return Err(RingsError::TooMany);
        }
        if is_new && at > Position::default() {
            let ring = Ring { from: Position::default(), replicas: members.len(), members: members.clone() };
            self.0.push(ring);
        }
        self.0.push(Ring { from: at, replicas, members });
        Ok(())
    }

    /// Removes the rings that no member needs any more. `reached` returns how far a member is, or `None` if
    /// it needs nothing. The log begins at `oldest`.
    pub fn remove_delivered(&mut self, oldest: Position, reached: impl Fn(&str) -> Option<Position>) {
        while let [first, next, ..] = self.0.as_slice() {
            let past = |member: &String| reached(member).is_none_or(|position| position >= next.from);
            if oldest < next.from && !first.members.iter().all(past) {
                break;
            }
            self.0.remove(0);
        }
    }

    /// If the log ends before the last ring begins, it is another log than the one the rings were for. Then
    /// the last ring is in force for all of it, from `oldest` on.
    pub fn restart_after(&mut self, oldest: Position, end: Position) {
        if self.0.last().is_some_and(|last| last.from > end) {
            let last = self.0.split_off(self.0.len().saturating_sub(1));
            self.0 = last.into_iter().map(|ring| Ring { from: oldest, ..ring }).collect();
        }
    }

    /// Returns the series that this member owns, along the log.
    pub fn share(&self, member: &str) -> Share {
        self.shares(&[member]).pop().unwrap_or_default()
    }

    /// Returns the series that each of these members owns, along the log. A ring's slots are computed once
    /// for all of them.
    pub fn shares(&self, members: &[&str]) -> Vec<Share> {
        let mut shares = vec![Share::default(); members.len()];
        for ring in &self.0 {
            let slots = ring::slots(&ring.members, ring.replicas);
            for (member, share) in members.iter().zip(&mut shares) {
                let index = ring.members.iter().position(|other| other == member);
                let own = index.and_then(|index| slots.get(index).cloned());
                share.push(ring.from, own.unwrap_or_else(Slots::none));
            }
        }
        shares
    }
}

fn read_ring(ring: &Value) -> Option<Ring> {
    let [segment, offset, index] = ring.get("from")?.as_array()?.as_slice() else { return None };
    let index = u32::try_from(index.as_u64()?).ok()?;
    let from = Position { segment: segment.as_u64()?, offset: offset.as_u64()?, index };
    let members = ring.get("members")?.as_array()?.iter().map(|member| Some(member.as_str()?.to_string()));
    let members: Vec<String> = members.collect::<Option<_>>()?;
    let replicas = usize::try_from(ring.get("replicas")?.as_u64()?).ok()?;
    let sound = (1..=MEMBERS_MAX).contains(&members.len()) && (1..=members.len()).contains(&replicas);
    (sound && members.is_sorted()).then_some(Ring { from, replicas, members })
}

#[cfg(test)]
mod tests;
