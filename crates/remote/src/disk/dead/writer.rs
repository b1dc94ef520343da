//! The file of dead letters.

use super::{FILE_BYTES, Lines};
use std::io;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use wal::small_file::{make_folder, with_ending};
use wal::{File, Filesystem};

/// The file.
#[derive(Debug)]
pub struct Writer {
    fs: Arc<dyn Filesystem>,
    path: PathBuf,
    file: Option<Box<dyn File>>,
    len: u64,
    /// The file ends in the middle of a line.
    torn: bool,
}

impl Writer {
    /// Nothing is touched before the first line.
    pub fn new(fs: Arc<dyn Filesystem>, path: PathBuf) -> Self {
        Writer { fs, path, file: None, len: 0, torn: false }
    }

    /// Adds lines, durably.
    pub fn write(&mut self, lines: &Lines) -> io::Result<()> {
        self.write_bytes(lines.as_bytes())
    }

    fn write_bytes(&mut self, bytes: &[u8]) -> io::Result<()> {
        if self.len + bytes.len() as u64 > FILE_BYTES && self.len > 0 {
            self.file = None;
            self.fs.rename(&self.path, &with_ending(&self.path, ".1"))?;
        }
        let file = match self.file.take() {
            Some(file) => file,
            None => self.open()?,
        };
        if self.torn {
            file.write_all_at(b"\n", self.len)?;
            self.len += 1;
        }
        // Where it fails, the file is opened again. After a sync that failed a power cut may leave anything where
        // reading shows these lines, so that the next ones must not rely on their end.
        self.torn = true;
        file.write_all_at(bytes, self.len)?;
        file.sync_data()?;
        self.torn = false;
        self.len += bytes.len() as u64;
        self.file = Some(file);
        Ok(())
    }

    fn open(&mut self) -> io::Result<Box<dyn File>> {
        let folder = self.path.parent().unwrap_or(Path::new("."));
        make_folder(&*self.fs, folder)?;
        if self.fs.metadata(&self.path)?.is_some() {
            let file = self.fs.open(&self.path, true)?;
            // Whoever made it may have failed to sync its name.
            self.fs.sync_dir(folder)?;
            self.len = file.len()?;
            let mut last = [b'\n'];
            if let Some(at) = self.len.checked_sub(1) {
                file.read_full_at(&mut last, at)?;
            }
            self.torn |= last != [b'\n'];
            return Ok(file);
        }
        let file = self.fs.create_new(&self.path)?;
        self.fs.sync_dir(folder)?;
        self.len = 0;
        Ok(file)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use wal::RealFilesystem;

    #[test]
    fn the_file_is_bounded_and_survives_restarts() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("dead/a.jsonl");
        let fs: Arc<dyn Filesystem> = Arc::new(RealFilesystem);
        let mut writer = Writer::new(fs.clone(), path.clone());
        writer.write_bytes(b"one\n").unwrap();
        let mut writer = Writer::new(fs, path.clone());
        writer.write_bytes(b"two\n").unwrap();
        assert_eq!(std::fs::read(&path).unwrap(), b"one\ntwo\n");
        let chunk = vec![b'x'; FILE_BYTES as usize / 4];
        for _ in 0..11 {
            writer.write_bytes(&chunk).unwrap();
            assert!(std::fs::metadata(&path).unwrap().len() <= FILE_BYTES);
        }
        assert_eq!(std::fs::read_dir(path.parent().unwrap()).unwrap().count(), 2);
    }

    #[test]
    fn what_a_full_disk_cut_short_spoils_no_other_line() {
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

    /// What is said to be written is there after a power cut, whatever failed before.
    #[test]
    fn no_failure_costs_a_letter_that_was_written_later() {
        use wal::sim::Op;
        let path = PathBuf::from("/data/dead/a.jsonl");
        for op in [Op::Create, Op::SyncDir, Op::Write, Op::Sync] {
            for seed in 0..40 {
                let fs = wal::sim::SimFilesystem::new(seed);
                let mut writer = Writer::new(Arc::new(fs.clone()), path.clone());
                fs.create_dir_all(Path::new("/data")).unwrap();
                fs.sync_dir(Path::new("/")).unwrap();
                let mut written = Vec::new();
                for number in 0..6 {
                    if number % 2 == 0 {
                        fs.fail(op, seed % 3, 1);
                    }
                    let line = format!("{{\"number\":{number}}}\n");
                    if writer.write_bytes(line.as_bytes()).is_ok() {
                        written.push(line);
                    }
                    fs.heal();
                }
                fs.power_cut();
                let bytes = fs.contents(&path).unwrap_or_default();
                let text = String::from_utf8_lossy(&bytes).into_owned();
                for line in &written {
                    assert!(text.lines().any(|is| is == line.trim()), "{op:?}, {seed}: {line} in {text:?}");
                }
            }
        }
    }
}
