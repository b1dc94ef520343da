//! What positions, rings, dead letters and the side queue do with the disk alike.

pub mod aside;
pub mod claims;
pub mod dead;
pub(crate) mod keep;
pub(crate) mod place;
pub mod positions;

use std::io;
use std::path::{Path, PathBuf};
use wal::fs::patiently;
use wal::{File, Filesystem};

/// How the name of a file ends that is not in its place yet.
pub(crate) const UNFINISHED: &str = ".new";

/// Makes a folder, if it is not there, and makes sure that it stays, as what is in it does: an earlier try may
/// have made it and failed to sync it.
pub(crate) fn make_folder(fs: &dyn Filesystem, folder: &Path) -> io::Result<()> {
    if patiently(|| fs.metadata(folder))?.is_none() {
        fs.create_dir_all(folder)?;
    }
    let above = folder.parent().filter(|above| !above.as_os_str().is_empty());
    above.map_or(Ok(()), |above| fs.sync_dir(above))
}

/// The name that is longer by this.
pub(crate) fn beside(path: &Path, ending: &str) -> PathBuf {
    let mut beside = path.as_os_str().to_owned();
    beside.push(ending);
    beside.into()
}

/// Makes a file anew, under the name `unfinished` in the same folder, and gives it its own once `fill` has made it
/// whole and durable. Whenever that breaks off, there is the file before or this one.
pub(crate) fn replace<T>(
    fs: &dyn Filesystem,
    path: &Path,
    unfinished: &Path,
    fill: impl FnOnce(Box<dyn File>) -> io::Result<T>,
) -> io::Result<T> {
    // Left by a kill.
    if fs.metadata(unfinished)?.is_some() {
        fs.remove_file(unfinished)?;
    }
    let filled = fill(fs.create_new(unfinished)?)?;
    fs.rename(unfinished, path)?;
    if let Some(folder) = path.parent() {
        fs.sync_dir(folder)?;
    }
    Ok(filled)
}
