//! The file of dead letters.

use crate::{FILE_BYTES, Lines};
use std::io;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use wal::small_file::{make_folder, with_ending};
use wal::{File, Filesystem};

/// Appends dead letters to a destination's file.
#[derive(Debug)]
pub struct Writer {
    fs: Arc<dyn Filesystem>,
    path: PathBuf,
    file: Option<Box<dyn File>>,
    len: u64,
}

impl Writer {
    /// Opens no file before the first line.
    pub fn new(fs: Arc<dyn Filesystem>, path: PathBuf) -> Self {
        Writer { fs, path, file: None, len: 0 }
    }

    /// Appends lines durably.
    pub fn write(&mut self, lines: &Lines) -> io::Result<()> {
        self.write_bytes(lines.as_bytes())
    }

    fn write_bytes(&mut self, bytes: &[u8]) -> io::Result<()> {
        let mut file = match self.file.take() {
            Some(file) => file,
            None => self.open()?,
        };
        if self.len > 0 && self.len + bytes.len() as u64 > FILE_BYTES {
            drop(file);
            self.fs.rename(&self.path, &with_ending(&self.path, ".1"))?;
            file = self.open()?;
        }
        file.write_all_at(bytes, self.len)?;
        file.sync_data()?;
        self.len += bytes.len() as u64;
        // After a failure the file is opened again.
        self.file = Some(file);
        Ok(())
    }

    /// Opens the file. An existing file gets a line end first, because its last line may be unfinished, or
    /// its last sync may have failed. After a failed sync a power cut may replace the last line by anything,
    /// even if it can be read now. So no later line relies on the line end before it.
    fn open(&mut self) -> io::Result<Box<dyn File>> {
        let folder = self.path.parent().unwrap_or(Path::new("."));
        make_folder(&*self.fs, folder)?;
        let exists = self.fs.metadata(&self.path)?.is_some();
        let file = if exists { self.fs.open(&self.path, true)? } else { self.fs.create_new(&self.path)? };
        // Also for an existing file: the sync of its name may have failed when it was created.
        self.fs.sync_dir(folder)?;
        self.len = file.len()?;
        if self.len > 0 {
            file.write_all_at(b"\n", self.len)?;
            self.len += 1;
        }
        Ok(file)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use wal::RealFilesystem;
    use wal::sim::Op;

    #[test]
    fn the_file_is_bounded_and_survives_restarts() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("dead/a.jsonl");
        let fs: Arc<dyn Filesystem> = Arc::new(RealFilesystem);
        let mut writer = Writer::new(fs.clone(), path.clone());
        writer.write_bytes(b"one\n").unwrap();
        let mut writer = Writer::new(fs, path.clone());
        writer.write_bytes(b"two\n").unwrap();
        assert_eq!(std::fs::read(&path).unwrap(), b"one\n\ntwo\n");
        let chunk = vec![b'x'; FILE_BYTES as usize / 4];
        for _ in 0..11 {
            writer.write_bytes(&chunk).unwrap();
            assert!(std::fs::metadata(&path).unwrap().len() <= FILE_BYTES);
        }
        assert_eq!(std::fs::read_dir(path.parent().unwrap()).unwrap().count(), 2);
    }

    #[test]
    fn line_cut_by_a_full_disk_spoils_no_other_line() {
        let fs = wal::sim::SimFilesystem::new(1);
        let path = PathBuf::from("/dead/a.jsonl");
        let mut writer = Writer::new(Arc::new(fs.clone()), path.clone());
        writer.write_bytes(b"one\n").unwrap();
        fs.set_space(Some(3));
        assert!(writer.write_bytes(b"second\n").is_err());
        fs.set_space(None);
        writer.write_bytes(b"three\n").unwrap();
        let text = String::from_utf8(fs.contents(&path).unwrap()).unwrap();
        let lines: Vec<&str> = text.lines().collect();
        assert_eq!((lines[0], *lines.last().unwrap()), ("one", "three"));
        assert!(lines.len() <= 3, "{text:?}");
    }

    /// A process that is killed repeatedly writes little each time.
    #[test]
    fn the_file_is_bounded_if_each_writer_writes_once() {
        let fs = wal::sim::SimFilesystem::new(1);
        let path = PathBuf::from("/dead/a.jsonl");
        let chunk = vec![b'x'; FILE_BYTES as usize / 4];
        for _ in 0..11 {
            Writer::new(Arc::new(fs.clone()), path.clone()).write_bytes(&chunk).unwrap();
            assert!(fs.contents(&path).unwrap().len() as u64 <= FILE_BYTES);
        }
    }

    #[test]
    fn power_cut_keeps_each_written_line() {
        for op in [Op::Create, Op::SyncDir, Op::Write, Op::Sync] {
            for seed in 0..40 {
                expect_written_lines_after_power_cut(op, seed, false);
            }
        }
    }

    /// The second process finds a line with a line end that was not synced.
    #[test]
    fn later_lines_survive_a_failed_sync_a_kill_and_a_power_cut() {
        for op in [Op::Create, Op::SyncDir, Op::Write, Op::Sync] {
            for seed in 0..40 {
                expect_written_lines_after_power_cut(op, seed, true);
            }
        }
    }

    fn expect_written_lines_after_power_cut(fails: Op, seed: u64, is_killed: bool) {
        let path = PathBuf::from("/data/dead/a.jsonl");
        let fs = wal::sim::SimFilesystem::new(seed);
        let mut writer = Writer::new(Arc::new(fs.clone()), path.clone());
        fs.create_dir_all(Path::new("/data")).unwrap();
        fs.sync_dir(Path::new("/")).unwrap();
        let mut written = Vec::new();
        for number in 0..6 {
            if number % 2 == 0 {
                fs.fail(fails, seed % 3, 1);
            }
            let line = format!("{{\"number\":{number}}}\n");
            if writer.write_bytes(line.as_bytes()).is_ok() {
                written.push(line);
            } else if is_killed {
                writer = Writer::new(Arc::new(fs.clone()), path.clone());
            }
            fs.heal();
        }
        fs.power_cut();
        let bytes = fs.contents(&path).unwrap_or_default();
        let text = String::from_utf8_lossy(&bytes).into_owned();
        for line in &written {
            assert!(text.lines().any(|is| is == line.trim()), "{fails:?}, {seed}: {line} in {text:?}");
        }
    }
}
