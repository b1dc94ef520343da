//! How Prometheus interprets the names in the folder of a log.
//!
//! Prometheus treats every name that Go's `strconv.Atoi` accepts as a segment: `4` and `+4` as well as
//! `00000004`, including folders. Then it opens `00000004`. Every name that begins with `checkpoint.` must be
//! a folder.

use super::Opening;
use crate::dir;
use crate::error::WalError;
use crate::fs::Filesystem;
use crate::log::LogFile;
use std::path::{Path, PathBuf};

/// A file or folder that Prometheus mistakes for a segment or a checkpoint.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Misnamed {
    pub path: PathBuf,
    /// What Prometheus mistakes it for, such as `segment 4`.
    pub taken_for: String,
}

/// A name that Prometheus treats as a segment.
#[derive(Debug)]
struct Named {
    number: i64,
    path: PathBuf,
    is_dir: bool,
}

impl Named {
    /// Returns true if this is the name that Prometheus opens for the segment's number.
    fn is_found(&self) -> bool {
        let name = self.path.file_name().and_then(|name| name.to_str());
        name.is_some_and(|name| name == format!("{:08}", self.number))
    }

    fn name(&self) -> String {
        self.path.file_name().unwrap_or_default().to_string_lossy().into_owned()
    }
}

#[derive(Debug)]
pub(super) struct Folder {
    /// Names that Prometheus treats as segments, sorted by number.
    segments: Vec<Named>,
    /// The checkpoint that Prometheus reads: the one with the largest number.
    checkpoint: Option<(i64, PathBuf)>,
    /// Files whose names begin like that of a checkpoint.
    not_folders: Vec<PathBuf>,
}

impl Folder {
    pub(super) fn read(fs: &dyn Filesystem, dir: &Path) -> Result<Folder, WalError> {
        let mut folder = Folder { segments: Vec::new(), checkpoint: None, not_folders: Vec::new() };
        for name in fs.read_dir(dir).map_err(WalError::io("list", dir))? {
            let Some(name) = name.to_str() else { continue };
            let path = dir.join(name);
            let checkpoint = name.strip_prefix(dir::CHECKPOINT);
            let number = checkpoint.unwrap_or(name).parse::<i64>().ok();
            if number.is_none() && checkpoint.is_none() {
                continue;
            }
            // Deleted since it was listed.
            let Some(found) = fs.metadata(&path).map_err(WalError::io("look at", &path))? else { continue };
            match (checkpoint, number) {
                (Some(_), _) if !found.is_dir => folder.not_folders.push(path),
                (Some(_), Some(number))
                    if folder.checkpoint.as_ref().is_none_or(|newest| newest.0 < number) =>
                {
                    folder.checkpoint = Some((number, path));
                }
                (None, Some(number)) => folder.segments.push(Named { number, path, is_dir: found.is_dir }),
                _ => {}
            }
        }
        folder.segments.sort_by(|a, b| (a.number, &a.path).cmp(&(b.number, &b.path)));
        Ok(folder)
    }

    /// Number of the first segment that Prometheus reads.
    fn first(&self) -> i64 {
        self.checkpoint.as_ref().map_or(0, |(number, _)| number.saturating_add(1))
    }

    /// The segments that Prometheus reads: those after the checkpoint.
    fn behind_checkpoint(&self) -> impl Iterator<Item = &Named> {
        let first = self.first();
        self.segments.iter().filter(move |segment| segment.number >= first)
    }

    pub(super) fn reads(&self, file: &LogFile) -> bool {
        match file.checkpoint {
            Some(_) => self.checkpoint.as_ref().is_some_and(|(_, path)| *path == file.dir),
            None => file.segment as i64 >= self.first(),
        }
    }

    pub(super) fn has(&self, number: u64) -> bool {
        self.segments.iter().any(|segment| segment.number == number as i64)
    }

    /// Returns the first folder that Prometheus reads as if it were a segment.
    pub(super) fn first_subfolder(&self) -> Option<(i64, &Path)> {
        let folder = self.behind_checkpoint().find(|segment| segment.is_dir)?;
        Some((folder.number, &folder.path))
    }

    /// Returns what Prometheus does at a folder that it reads as a segment. It replaces the folder by an
    /// empty segment, as it does with a damaged segment. This works only if the folder is empty.
    pub(super) fn opening_at_subfolder(
        &self,
        fs: &dyn Filesystem,
        number: i64,
        path: &Path,
    ) -> Result<Opening, WalError> {
        if fs.read_dir(path).map_err(WalError::io("list", path))?.is_empty() {
            return Ok(Opening::Deletes { file: path.to_path_buf(), offset: 0 });
        }
        Ok(Opening::Fails { reason: format!("segment {number} is a folder"), deletes: true })
    }

    /// Returns why Prometheus does not start, if names are the reason.
    pub(super) fn obstacle(&self, fs: &dyn Filesystem) -> Result<Option<String>, WalError> {
        if let Some(reason) = self.gap() {
            return Ok(Some(reason));
        }
        if let Some(path) = self.not_folders.first() {
            return Ok(Some(format!("{} is not a folder", path.display())));
        }
        if let Some((_, path)) = &self.checkpoint {
            let inside = Folder::read(fs, path)?;
            let reason = inside.gap().or_else(|| inside.segments.iter().find_map(not_found));
            if let Some(reason) = reason {
                return Ok(Some(format!("in {}: {reason}", path.display())));
            }
        }
        let first = self.first();
        let starts_behind = self.segments.first().is_some_and(|segment| segment.number > first);
        if starts_behind {
            return Ok(Some(format!("segment {first} is missing")));
        }
        Ok(self.behind_checkpoint().find_map(not_found))
    }

    fn gap(&self) -> Option<String> {
        self.segments.iter().zip(self.segments.iter().skip(1)).find_map(|(this, next)| {
            match next.number - this.number {
                0 => Some(format!("{} and {} have the same number", this.name(), next.name())),
                1 => None,
                _ => Some(format!("segment {} is missing", this.number + 1)),
            }
        })
    }
}

fn not_found(segment: &Named) -> Option<String> {
    (!segment.is_found()).then(|| format!("{} is not called {:08}", segment.path.display(), segment.number))
}

/// Returns the files and folders in `dir` whose names Prometheus misinterprets.
pub(crate) fn misnamed(fs: &dyn Filesystem, dir: &Path) -> Result<Vec<Misnamed>, WalError> {
    let folder = Folder::read(fs, dir)?;
    let segments = folder.segments.iter().filter(|segment| segment.is_dir || !segment.is_found());
    let segments = segments.map(|segment| Misnamed {
        path: segment.path.clone(),
        taken_for: format!("segment {}", segment.number),
    });
    let checkpoints = folder.not_folders.iter();
    let checkpoints =
        checkpoints.map(|path| Misnamed { path: path.clone(), taken_for: "a checkpoint".to_string() });
    Ok(segments.chain(checkpoints).collect())
}
