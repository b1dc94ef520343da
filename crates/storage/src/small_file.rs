//! A small file of another part of narthex in the data folder, by the mechanism of the storage's own: written in
//! place, so that a full disk does not prevent it, and whole after a power cut.

use crate::slots::Slots;
use std::io;
use std::path::Path;
use wal::Filesystem;

/// The bytes of a slot that are not content.
const OVERHEAD_BYTES: usize = 12;

/// The open file.
pub struct SmallFile {
    slots: Slots,
    content_bytes_max: usize,
}

impl std::fmt::Debug for SmallFile {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("SmallFile")
            .field("content_bytes_max", &self.content_bytes_max)
            .finish_non_exhaustive()
    }
}

impl SmallFile {
    /// Opens `path`, or creates it empty. It takes three times `content_bytes_max` on disk. Returns the content
    /// that was saved last, followed by zeros; `None` where none can be read.
    pub fn open(
        fs: &dyn Filesystem,
        path: &Path,
        content_bytes_max: usize,
    ) -> io::Result<(SmallFile, Option<Vec<u8>>)> {
        let (slots, content) = Slots::open_sized(fs, path, content_bytes_max + OVERHEAD_BYTES, &[])?;
        Ok((SmallFile { slots, content_bytes_max }, content))
    }

    /// Replaces the content; it is durable afterwards. An error leaves what was saved before.
    pub fn save(&mut self, content: &[u8]) -> io::Result<()> {
        if content.len() > self.content_bytes_max {
            let text = format!("{} bytes, the limit is {}", content.len(), self.content_bytes_max);
            return Err(io::Error::new(io::ErrorKind::InvalidInput, text));
        }
        self.slots.save(content, true)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use wal::sim::{Op, SimFilesystem};

    #[test]
    fn the_last_save_survives_a_failed_one_and_a_power_cut() {
        let fs = SimFilesystem::new(1);
        fs.create_dir_all(Path::new("/data")).unwrap();
        fs.sync_dir(Path::new("/")).unwrap();
        let open = || SmallFile::open(&fs, Path::new("/data/small"), 100).unwrap();
        let (mut file, content) = open();
        assert!(content.is_some_and(|content| content.iter().all(|byte| *byte == 0)));
        file.save(&[7; 100]).unwrap();
        fs.fail(Op::Sync, 0, 1);
        assert!(file.save(&[8; 100]).is_err());
        fs.power_cut();
        let content = open().1.unwrap();
        assert!(content == [7; 100] || content == [8; 100], "{content:?}");
    }

    #[test]
    fn a_content_over_the_limit_is_an_error() {
        let dir = tempfile::tempdir().unwrap();
        let (mut file, _) = SmallFile::open(&wal::RealFilesystem, &dir.path().join("f"), 10).unwrap();
        assert_eq!(file.save(&[0; 11]).unwrap_err().kind(), io::ErrorKind::InvalidInput);
    }
}
