//! Matches saved positions with destinations. So a destination continues after its URL was corrected or its
//! name was changed, and the positions of a removed destination are kept for a while.
//!
//! A destination gets its file of positions by the first of these rules that matches. If a rule matches
//! several files, it does not apply.
//!
//! 1. The file has the destination's file name: see [`Identity::file`].
//! 2. The file's owner has the same URL, query, headers and relabelling, whatever either is called.
//! 3. The owner has the same URL.
//! 4. Exactly one destination without a name is new, and exactly one without a name was removed since the
//!    last start or reload: its URL was corrected.
//!
//! Rules 2 and 3 first look at destinations of the previous configuration, then at those that were removed
//! before.
//!
//! Positions move by a rename, after the dead letters. A kill in between is harmless: the rules give the same
//! result again, because a file is found by its name, whoever its owner is.

use crate::config::identity::Identity;
use crate::disk::positions::{self, Content};
use std::io;
use std::path::{Path, PathBuf};
use std::time::Duration;
use wal::fs::patiently;
use wal::small_file::UNFINISHED;
use wal::{Filesystem, Position};

/// How long the positions and dead letters of a removed destination are kept.
pub const REMOVED_KEPT: Duration = Duration::from_secs(30 * 86_400);

pub fn folder(data_dir: &Path) -> PathBuf {
    data_dir.join("positions")
}

pub fn dead_folder(data_dir: &Path) -> PathBuf {
    data_dir.join("dead")
}

/// A destination that was removed from the configuration. Its positions are kept, but do not pin the log.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Removed {
    /// Its name, otherwise its URL. The file's name if the file can't be read.
    pub name: String,
    /// When it was removed, in milliseconds since 1970.
    pub since_ms: i64,
    /// It has settled everything before this position.
    pub lowest: Position,
}

impl Removed {
    /// Returns when its positions are deleted, in milliseconds since 1970.
    pub fn until_ms(&self) -> i64 {
        self.since_ms.saturating_add(REMOVED_KEPT.as_millis() as i64)
    }
}

/// The result of [`settle`].
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Claims {
    /// The removed destinations whose positions are kept.
    pub removed: Vec<Removed>,
    /// Files of positions that continue under another name: the old name and the new one.
    pub moved: Vec<(String, String)>,
}

/// A file of positions and its content.
struct Saved {
    name: String,
    /// `None` if the file is damaged or can't be read.
    content: Option<Content>,
    /// When it was removed. Known for a damaged file, too.
    removed_ms: Option<i64>,
    claimed: bool,
}

impl Saved {
    fn shown(&self) -> &str {
        self.content.as_ref().map_or(&self.name, |content| content.owner.shown())
    }
}

/// Gives each destination of the configuration its positions, marks removed ones, and deletes the files of
/// those that were removed long ago. To be called before the destinations start, while no destination runs
/// whose positions may move. `now_ms` is milliseconds since 1970.
pub fn settle(
    fs: &dyn Filesystem,
    data_dir: &Path,
    destinations: &[Identity],
    now_ms: i64,
) -> io::Result<Claims> {
    let mut saved = list(fs, &folder(data_dir))?;
    let moves = decide(destinations, &mut saved);
    let mut moved = Vec::new();
    for (from, to) in moves {
        let Some(from) = saved.get(from) else { continue };
        move_files(fs, data_dir, &from.name, to.file())?;
        moved.push((from.name.clone(), to.file().to_string()));
        if from.shown() == to.shown() {
            continue;
        }
        tracing::warn!(
            from = from.shown(),
            to = to.shown(),
            "a destination has another name or URL: it goes on where it was"
        );
    }
    let mut removed = Vec::new();
    for gone in saved.iter().filter(|saved| !saved.claimed) {
        let path = folder(data_dir).join(&gone.name);
        let since_ms = match gone.removed_ms {
            Some(since_ms) => since_ms,
            None => {
                if let Err(error) = positions::mark_removed(fs, &path, now_ms) {
                    tracing::error!(path = %path.display(), %error, "can't note that it was removed");
                }
                now_ms
            }
        };
        let lowest = gone.content.as_ref().map(Content::lowest).unwrap_or_default();
        let this = Removed { name: gone.shown().to_string(), since_ms, lowest };
        if now_ms < this.until_ms() {
            removed.push(this);
            continue;
        }
        tracing::warn!(
            destination = this.name,
            "removed long ago: its positions and dead letters are deleted"
        );
        for dead in dead_letters(fs, data_dir, &gone.name)? {
            fs.remove_file(&dead)?;
        }
        fs.remove_file(&path)?;
    }
    removed.sort_by(|a, b| a.name.cmp(&b.name));
    Ok(Claims { removed, moved })
}

/// Returns the name, otherwise the URL, of the destination whose positions are in a file of the data folder.
/// `None` if the file has no readable positions.
pub fn destination(fs: &dyn Filesystem, data_dir: &Path, file: &str) -> Option<String> {
    let content = positions::read(fs, &folder(data_dir).join(file)).ok()??;
    Some(Identity::of_file(content.owner, file).shown().to_string())
}

/// Returns which files have to move to which destinations. Marks claimed files.
fn decide<'a>(destinations: &'a [Identity], saved: &mut [Saved]) -> Vec<(usize, &'a Identity)> {
    let mut new = Vec::new();
    for destination in destinations {
        match saved.iter_mut().find(|saved| saved.name == destination.file()) {
            Some(own) => own.claimed = true,
            None => new.push(destination),
        }
    }
    let mut moves = Vec::new();
    for was_removed in [false, true] {
        for exact in [true, false] {
            pair(&mut new, saved, &mut moves, |saved, destination| {
                let Some(content) = &saved.content else { return false };
                saved.removed_ms.is_some() == was_removed
                    && content.owner.url == destination.owner().url
                    && (!exact || content.owner.variant == destination.owner().variant)
            });
        }
    }
    pair(&mut new, saved, &mut moves, |saved, destination| {
        let unnamed = saved.content.as_ref().is_some_and(|content| content.owner.name.is_none());
        unnamed && saved.removed_ms.is_none() && destination.owner().name.is_none()
    });
    let gone: Vec<&str> =
        saved.iter().filter(|saved| !saved.claimed && saved.removed_ms.is_none()).map(Saved::shown).collect();
    if !gone.is_empty() && !new.is_empty() {
        tracing::warn!(
            ?gone,
            new = ?new.iter().map(|new| new.shown()).collect::<Vec<_>>(),
            "some destinations are gone and some are new, and nothing tells which is which: the new ones \
             begin as new ones do, and what the others had not taken is not kept for them. Give \
             destinations names, or change one at a time"
        );
    }
    moves
}

/// Pairs destinations and files that match each other and no others.
fn pair<'a>(
    new: &mut Vec<&'a Identity>,
    saved: &mut [Saved],
    moves: &mut Vec<(usize, &'a Identity)>,
    fits: impl Fn(&Saved, &Identity) -> bool,
) {
    let only = |found: &mut dyn Iterator<Item = usize>| match (found.next(), found.next()) {
        (Some(one), None) => Some(one),
        _ => None,
    };
    let mut pairs = Vec::new();
    for (number, destination) in new.iter().enumerate() {
        let free = |saved: &Saved| !saved.claimed && fits(saved, destination);
        let mut found = saved.iter().enumerate().filter(|(_, saved)| free(saved)).map(|(index, _)| index);
        let Some(index) = only(&mut found) else { continue };
        let Some(its) = saved.get(index) else { continue };
        let mut rivals = new.iter().enumerate().filter(|(_, new)| fits(its, new)).map(|(number, _)| number);
        if only(&mut rivals) == Some(number) {
            pairs.push((index, *destination));
        }
    }
    for (index, destination) in pairs {
        if let Some(saved) = saved.get_mut(index) {
            saved.claimed = true;
        }
        new.retain(|new| *new != destination);
        moves.push((index, destination));
    }
}

fn list(fs: &dyn Filesystem, folder: &Path) -> io::Result<Vec<Saved>> {
    if fs.metadata(folder)?.is_none() {
        return Ok(Vec::new());
    }
    let mut saved = Vec::new();
    // Without the list, a corrected URL can't be told from a new destination. So an error ends the start.
    for name in patiently(|| fs.read_dir(folder))? {
        let path = folder.join(&name);
        // A file with such a name is not one of narthex.
        let Ok(name) = name.into_string() else { continue };
        if fs.metadata(&path)?.is_none_or(|metadata| metadata.is_dir) {
            continue;
        }
        if name.ends_with(UNFINISHED) {
            // A kill left this file.
            fs.remove_file(&path)?;
            continue;
        }
        let content = positions::read(fs, &path).unwrap_or_else(|error| {
            tracing::warn!(path = %path.display(), %error, "saved positions can't be read");
            None
        });
        let removed_ms = match &content {
            Some(content) => content.removed_ms,
            None => positions::removed_ms(fs, &path).unwrap_or_default(),
        };
        saved.push(Saved { name, content, removed_ms, claimed: false });
    }
    saved.sort_by(|a, b| a.name.cmp(&b.name));
    Ok(saved)
}

fn move_files(fs: &dyn Filesystem, data_dir: &Path, from: &str, to: &str) -> io::Result<()> {
    let dead = dead_folder(data_dir);
    let letters = dead_letters(fs, data_dir, from)?;
    for path in &letters {
        let name = path.file_name().map(|name| name.to_string_lossy().into_owned()).unwrap_or_default();
        let Some(rest) = name.strip_prefix(from) else {
            // Without its ending it would replace another file.
            model::invariant!(false, "the name of a file begins with its destination's", file = name);
            continue;
        };
        fs.rename(path, &dead.join(format!("{to}{rest}")))?;
    }
    if !letters.is_empty() {
        fs.sync_dir(&dead)?;
    }
    let folder = folder(data_dir);
    fs.rename(&folder.join(from), &folder.join(to))?;
    fs.sync_dir(&folder)
}

/// Returns the files of dead letters of the destination whose positions are in `file`.
fn dead_letters(fs: &dyn Filesystem, data_dir: &Path, file: &str) -> io::Result<Vec<PathBuf>> {
    let dead = dead_folder(data_dir);
    if fs.metadata(&dead)?.is_none() {
        return Ok(Vec::new());
    }
    let prefix = format!("{file}.");
    let names = fs.read_dir(&dead)?.into_iter();
    Ok(names.filter(|name| name.to_string_lossy().starts_with(&prefix)).map(|name| dead.join(name)).collect())
}

#[cfg(test)]
mod tests;
