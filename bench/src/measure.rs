//! Measures a process and its folder from outside.

use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::time::Duration;

const SAMPLE_EVERY: Duration = Duration::from_millis(200);

/// The bytes of all files below a folder. Files may come and go meanwhile.
pub(crate) fn disk_bytes(folder: &Path) -> u64 {
    let Ok(entries) = std::fs::read_dir(folder) else { return 0 };
    entries
        .flatten()
        .map(|entry| match entry.metadata() {
            Ok(data) if data.is_dir() => disk_bytes(&entry.path()),
            Ok(data) => data.len(),
            Err(_) => 0,
        })
        .sum()
}

/// Records how large a folder becomes, until it is dropped.
#[derive(Debug)]
pub(crate) struct DiskWatch {
    folder: PathBuf,
    before: u64,
    state: Arc<(AtomicBool, AtomicU64)>,
}

impl DiskWatch {
    pub(crate) fn start(folder: &Path) -> DiskWatch {
        let state = Arc::new((AtomicBool::new(true), AtomicU64::new(0)));
        let watch =
            DiskWatch { folder: folder.into(), before: disk_bytes(folder), state: Arc::clone(&state) };
        let folder = folder.to_path_buf();
        std::thread::spawn(move || {
            while state.0.load(Ordering::Relaxed) {
                state.1.fetch_max(disk_bytes(&folder), Ordering::Relaxed);
                std::thread::sleep(SAMPLE_EVERY);
            }
        });
        watch
    }

    /// The largest increase so far, in bytes.
    pub(crate) fn growth(&self) -> u64 {
        let peak = self.state.1.load(Ordering::Relaxed).max(disk_bytes(&self.folder));
        peak.saturating_sub(self.before)
    }
}

impl Drop for DiskWatch {
    fn drop(&mut self) {
        self.state.0.store(false, Ordering::Relaxed);
    }
}

/// The value below which a fraction `part` (0 to 1) of the values lie, by the nearest rank; NaN without
/// values.
pub(crate) fn quantile(values: &[f64], part: f64) -> f64 {
    let mut sorted = values.to_vec();
    sorted.sort_by(f64::total_cmp);
    let rank = (part * sorted.len() as f64).ceil().max(1.0) as usize;
    sorted.get(rank - 1).copied().unwrap_or(f64::NAN)
}

/// The middle value, or the mean of the two middle ones; NaN without values.
pub(crate) fn median(values: &[f64]) -> f64 {
    let mut sorted = values.to_vec();
    sorted.sort_by(f64::total_cmp);
    let middle = sorted.len() / 2;
    match (sorted.get(middle.wrapping_sub(1)), sorted.get(middle)) {
        (Some(low), Some(high)) if sorted.len().is_multiple_of(2) => (low + high) / 2.0,
        (_, Some(middle)) => *middle,
        _ => f64::NAN,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn medians_and_quantiles() {
        assert_eq!(median(&[3.0, 1.0, 2.0]), 2.0);
        assert_eq!(median(&[4.0, 1.0, 2.0, 3.0]), 2.5);
        assert_eq!(median(&[7.0]), 7.0);
        assert!(median(&[]).is_nan() && quantile(&[], 0.5).is_nan());
        let hundred: Vec<f64> = (1..=100).rev().map(f64::from).collect();
        assert_eq!(quantile(&hundred, 0.5), 50.0);
        assert_eq!(quantile(&hundred, 0.99), 99.0);
        assert_eq!(quantile(&hundred, 1.0), 100.0);
        assert_eq!(quantile(&[5.0], 0.5), 5.0);
    }

    #[test]
    fn the_largest_size_is_kept_when_files_are_deleted() {
        let folder = tempfile::tempdir().unwrap();
        std::fs::write(folder.path().join("before"), [1; 10_000]).unwrap();
        let watch = DiskWatch::start(folder.path());
        std::fs::create_dir(folder.path().join("wal")).unwrap();
        let file = folder.path().join("wal/0");
        std::fs::write(&file, [1; 100_000]).unwrap();
        support::wait_until("a look at the folder", support::SOON, || {
            watch.state.1.load(Ordering::Relaxed) == 110_000
        });
        std::fs::remove_file(file).unwrap();
        assert_eq!(watch.growth(), 100_000);
    }
}
