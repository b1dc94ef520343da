//! Entries with members: one entry that spreads its series over several receivers of the same kind.
//!
//! ```yaml
//! remote_write:
//!   - name: cluster
//!     members: [http://a:8428/api/v1/write, http://b:8428/api/v1/write]
//!     shard_by: series
//!     replicas: 1
//! ```
//!
//! Such an entry becomes one destination per member, with its own queue, positions and dead letters. A member
//! differs from other destinations in one way: it takes only the series that it owns by the ring
//! ([`crate::members::ring`]) that is in force at their place in the log ([`crate::members::rings`]).
//!
//! # A change of members
//!
//! It takes effect at the end of the log, when the members start. Series before that position belong to the
//! members of the old ring, also if they are read later. So
//!
//! - a new member begins there;
//! - a member that leaves continues until it has delivered its part up to there, and then ends;
//! - a series that moves to another member moves at that position, and each sample is sent by exactly one of
//!   them.
//!
//! A kill at any moment loses nothing: the members' positions are on disk before the ring is, and the ring is
//! on disk before anything after it is acknowledged.

pub use ::rings::{ring, rings, share};

use crate::config::identity::{Identity, NAME_CUT};
use crate::config::{RemoteWrite, ShardBy, StartAt};
use crate::disk::claims;
use crate::disk::positions;
use crate::members::ring::MEMBERS_MAX;
use crate::members::rings::{Rings, RingsError};
use crate::members::share::Part;
use http_client::Url;
use std::io;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use wal::{Filesystem, Position};

/// An error in an entry's members.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{why}")]
pub struct MembersError {
    /// The key within the entry.
    pub key: String,
    /// Other keys of the entry that the error is about.
    pub about: Vec<String>,
    /// Why, and what would be right.
    pub why: String,
}

/// Why the rings of an entry can't be used.
#[derive(Debug, thiserror::Error)]
#[error("remote_write {entry}: the rings in {path}: {source}", path = path.display())]
pub struct RingsFailed {
    pub entry: String,
    pub path: PathBuf,
    pub source: RingsError,
}

/// Checks the entry's `url`, `members`, `shard_by` and `replicas` together.
pub fn errors(entry: &RemoteWrite) -> Vec<MembersError> {
    let mut errors = Vec::new();
    let mut add = |key: &str, about: &[&str], why: String| {
        let about = about.iter().map(|key| key.to_string()).collect();
        errors.push(MembersError { key: key.into(), about, why });
    };
    let members = &entry.members;
    if members.is_empty() {
        match (entry.url.is_nowhere(), entry.shard_by, entry.replicas) {
            (true, ..) => {
                add("", &["url", "members"], "the key \"url\" is missing (or members, with shard_by)".into());
            }
            (_, Some(_), _) => {
                add("shard_by", &["shard_by", "members"], "there are no members to share the series".into());
            }
            (_, _, Some(_)) => {
                add("replicas", &["replicas", "members"], "there are no members to share the series".into());
            }
            _ => {}
        }
        return errors;
    }
    if !entry.url.is_nowhere() {
        // Further errors are meaningless until one of the two is removed.
        add("url", &["url", "members"], "an entry has either a url or members".into());
        return errors;
    }
    if entry.shard_by != Some(ShardBy::Series) {
        add("members", &["shard_by"], "say how they share: `shard_by: series`".into());
    }
    if entry.name.as_ref().is_none_or(String::is_empty) {
        let why = "an entry with members needs a name: its positions are kept under it";
        add("members", &["name"], why.into());
    }
    if members.len() > MEMBERS_MAX {
        let why = format!("{} are too many: at most {MEMBERS_MAX}", members.len());
        add("members", &["members"], why);
    }
    for (index, member) in members.iter().enumerate() {
        let key = format!("members[{index}]");
        if member.authorization().is_some() || member.uri().query().is_some() {
            let why = "a member is known by its URL, without user, password and query: \
                credentials go into the entry's basic_auth, authorization or headers";
            add(&key, &[&key], why.into());
        } else if members.iter().take(index).any(|other| other == member) {
            add(&key, &[&key], format!("{member} is a member already"));
        }
    }
    if let Some(replicas) = entry.replicas
        && !(1..=members.len()).contains(&replicas)
    {
        let why = format!("from 1 to the number of members, {}", members.len());
        add("replicas", &["replicas", "members"], why);
    }
    errors
}

/// Returns the destinations of an entry, as far as the configuration tells: the entry itself, or one
/// destination per member.
pub fn destinations(entry: &RemoteWrite) -> Vec<RemoteWrite> {
    if entry.members.is_empty() {
        return vec![entry.clone()];
    }
    entry.members.iter().map(|member| destination(entry, member.clone())).collect()
}

fn destination(entry: &RemoteWrite, url: Url) -> RemoteWrite {
    let mut member = entry.clone();
    member.name = Some(format!("{}/{url}", entry.name.as_deref().unwrap_or_default()));
    member.url = url;
    (member.members, member.shard_by, member.replicas) = (Vec::new(), None, None);
    member
}

/// The destinations of a configuration, including those of members.
#[derive(Debug)]
pub struct Divided {
    /// In the configuration's order. Members that leave come after the configured ones.
    pub destinations: Vec<RemoteWrite>,
    /// The files of changed rings, with their new content.
    changed: Vec<Changed>,
}

#[derive(Debug)]
struct Changed {
    entry: String,
    path: PathBuf,
    before: Rings,
    rings: Rings,
}

impl Divided {
    /// Makes the rings durable. To be called when all destinations have been started, so that their positions
    /// are on disk, and before anything is acknowledged at a start. After an error the files are as before,
    /// as far as the disk allows.
    pub fn save(&self, fs: &dyn Filesystem) -> Result<(), RingsFailed> {
        for (index, Changed { entry, path, rings, .. }) in self.changed.iter().enumerate() {
            if let Err(error) = rings.save(fs, path) {
                for Changed { path, before, .. } in self.changed.iter().take(index + 1) {
                    if let Err(error) = before.save(fs, path) {
                        tracing::error!(path = %path.display(), %error, "the rings can't be put back");
                    }
                }
                return Err(RingsFailed { entry: entry.clone(), path: path.clone(), source: error.into() });
            }
            tracing::info!(entry, ring = ?rings.all().last(), "the members are others from here on");
        }
        Ok(())
    }
}

/// Decides the destinations of `entries`, which must have no [`errors`], for a log from `oldest` to `end`.
/// Changes of members take effect at `end`; no destination of these entries may have read beyond it. Changes
/// nothing on disk.
pub fn divide(
    fs: &dyn Filesystem,
    data_dir: &Path,
    entries: &[RemoteWrite],
    oldest: Position,
    end: Position,
) -> Result<Divided, RingsFailed> {
    let mut divided = Divided { destinations: Vec::new(), changed: Vec::new() };
    for entry in entries {
        if entry.members.is_empty() {
            divided.destinations.push(entry.clone());
            continue;
        }
        let path = data_dir.join("rings").join(format!("{}.json", Identity::of(entry).file()));
        let name = entry.name.clone().unwrap_or_default();
        let failed = |source| RingsFailed { entry: name.clone(), path: path.clone(), source };
        let stored = Rings::load(fs, &path).map_err(failed)?;
        let mut rings = stored.clone();
        let members = serve(fs, data_dir, entry, &mut rings, oldest, end).map_err(failed)?;
        divided.destinations.extend(members);
        if rings != stored {
            divided.changed.push(Changed { entry: name, path, before: stored, rings });
        }
    }
    Ok(divided)
}

/// Returns the destinations of an entry with members, and updates its rings.
fn serve(
    fs: &dyn Filesystem,
    data_dir: &Path,
    entry: &RemoteWrite,
    rings: &mut Rings,
    oldest: Position,
    end: Position,
) -> Result<Vec<RemoteWrite>, RingsError> {
    rings.restart_after(oldest, end);
    let mut reached = Vec::new();
    for url in rings.all_members() {
        let positions = saved_position(fs, data_dir, entry, &url)?;
        reached.push((url, positions.map(|position| position.max(oldest))));
    }
    let reached =
        |url: &str| reached.iter().find(|(other, _)| other == url).and_then(|(_, reached)| *reached);
    // The members of a new entry begin where any other new destination begins.
    let first = rings.is_empty().then_some(match entry.start_at {
        StartAt::Now => end,
        StartAt::Oldest => oldest,
    });
    let members: Vec<String> = entry.members.iter().map(Url::redacted).collect();
    let replicas = entry.replicas.unwrap_or(1);
    if !rings.are_now(&members, replicas) {
        // Only now, so that an unchanged entry leaves its rings unchanged.
        rings.remove_delivered(oldest, reached);
        rings.change(first.unwrap_or(end), &members, replicas)?;
    }

    let all = rings.all_members();
    let leaving = all.iter().filter(|url| !members.contains(url));
    let mut parts = Vec::new();
    for url in members.iter().chain(leaving) {
        let Some((begin, end)) = rings.part(url) else {
            model::invariant!(false, "each member is in a ring", member = url);
            continue;
        };
        // A member without positions has delivered its part, or its positions were deleted.
        if end.is_none_or(|end| reached(url).is_some_and(|reached| reached < end)) {
            parts.push((url.as_str(), begin, end));
        }
    }
    let urls: Vec<&str> = parts.iter().map(|(url, ..)| *url).collect();
    let mut served = Vec::new();
    for ((url, begin, end), share) in parts.into_iter().zip(rings.shares(&urls)) {
        let parsed = Url::parse(url).map_err(|_| RingsError::Damaged("a member in it has no proper URL"))?;
        let mut member = destination(entry, parsed);
        member.part = Some(Part { share: Arc::new(share), begin: first.unwrap_or(begin), end });
        served.push(member);
    }
    Ok(served)
}

/// Deletes the rings of entries that have no running member and no saved positions of a member. `names` has
/// the names of all running and all removed destinations ([`crate::disk::claims`]).
pub fn tidy(fs: &dyn Filesystem, data_dir: &Path, names: &[&str]) -> io::Result<()> {
    let folder = data_dir.join("rings");
    // A name that was cut can't be matched with an entry, so all rings stay.
    if fs.metadata(&folder)?.is_none() || names.iter().any(|name| name.len() >= NAME_CUT) {
        return Ok(());
    }
    for file in fs.read_dir(&folder)? {
        let path = folder.join(&file);
        let Some(file) = file.to_str().and_then(|file| file.strip_suffix(".json")) else { continue };
        let Ok(rings) = Rings::load(fs, &path) else { continue };
        let all = rings.all_members();
        let is_of = |name: &&str| {
            let mut entries = all.iter().filter_map(|url| name.strip_suffix(&**url)?.strip_suffix('/'));
            entries.any(|entry| Identity::of_name(entry).file() == file)
        };
        if !names.iter().any(is_of) {
            fs.remove_file(&path)?;
            fs.sync_dir(&folder)?;
            tracing::info!(path = %path.display(), "rings of an entry that was removed long ago are deleted");
        }
    }
    Ok(())
}

/// Returns up to where a member has delivered everything. `None` if it has no positions.
fn saved_position(
    fs: &dyn Filesystem,
    data_dir: &Path,
    entry: &RemoteWrite,
    url: &str,
) -> Result<Option<Position>, RingsError> {
    let url = Url::parse(url).map_err(|_| RingsError::Damaged("a member in it has no proper URL"))?;
    let path = claims::folder(data_dir).join(Identity::of(&destination(entry, url)).file());
    if fs.metadata(&path)?.is_none() {
        return Ok(None);
    }
    let content = positions::read(fs, &path)?;
    Ok(Some(content.map(|content| content.lowest()).unwrap_or_default()))
}

#[cfg(test)]
mod tests;
