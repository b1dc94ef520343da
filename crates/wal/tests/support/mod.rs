//! Helpers that the tests of whole logs share: fixtures, and a census of a log's contents.
#![allow(dead_code, clippy::unwrap_used, clippy::expect_used, clippy::indexing_slicing)] // Each test uses a part of this module.

use std::collections::{BTreeMap, BTreeSet};
use std::path::Path;
use wal::log::{self, LogFile};
use wal::record::{self, RecordType};
use wal::sim::SimFilesystem;
use wal::{Damage, Filesystem, WalError};

/// Loads a fixture into the root folder of a file system in memory.
pub(crate) fn fixture(name: &str) -> SimFilesystem {
    let fs = SimFilesystem::new(1);
    let from = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/fixtures").join(name);
    assert!(from.is_dir(), "no fixture {name}");
    plant(&fs, &from, Path::new("/"));
    fs
}

fn plant(fs: &SimFilesystem, from: &Path, to: &Path) {
    for entry in std::fs::read_dir(from).unwrap() {
        let path = entry.unwrap().path();
        let to = to.join(path.file_stem().filter(|_| path.is_file()).or(path.file_name()).unwrap());
        if path.is_dir() {
            plant(fs, &path, &to);
        } else {
            let bytes = zstd::stream::decode_all(std::fs::File::open(&path).unwrap()).unwrap();
            fs.plant(&to, &bytes);
        }
    }
}

/// The contents of a log.
#[derive(Debug, Default, PartialEq)]
pub(crate) struct Census {
    pub(crate) entries: BTreeMap<RecordType, usize>,
    pub(crate) series: BTreeMap<u64, String>,
    /// Samples, histograms and exemplars of known series, by label set.
    pub(crate) samples: BTreeMap<String, Vec<(i64, f64)>>,
    pub(crate) histograms: BTreeMap<String, Vec<(i64, model::Histogram)>>,
    pub(crate) exemplars: BTreeMap<String, Vec<(i64, f64, String)>>,
    pub(crate) metadata: Vec<(String, model::MetricType, String, String)>,
    pub(crate) unknown: BTreeSet<u64>,
}

impl Census {
    pub(crate) fn count(&self, kind: RecordType) -> usize {
        self.entries.get(&kind).copied().unwrap_or(0)
    }

    pub(crate) fn distinct_series(&self) -> usize {
        self.series.values().collect::<BTreeSet<_>>().len()
    }

    pub(crate) fn sample_count(&self) -> usize {
        self.samples.values().map(Vec::len).sum()
    }

    fn name(&mut self, reference: u64) -> String {
        let name = self.series.get(&reference).cloned();
        name.unwrap_or_else(|| {
            self.unknown.insert(reference);
            format!("unknown {reference}")
        })
    }

    fn add(&mut self, bytes: &[u8]) {
        let kind = RecordType::of(bytes).unwrap();
        *self.entries.entry(kind).or_default() += record::check(bytes).unwrap() as usize;
        for entry in record::series(bytes).into_iter().flatten() {
            let (reference, labels) = entry.unwrap();
            model::LabelsRef::parse(labels.as_bytes()).expect("labels in canonical bytes");
            self.series.insert(reference, labels.to_string());
        }
        for entry in record::samples(bytes).into_iter().flatten() {
            let entry = entry.unwrap();
            let name = self.name(entry.reference);
            self.samples.entry(name).or_default().push((entry.timestamp, entry.value));
        }
        for entry in record::histograms(bytes).into_iter().flatten() {
            let entry = entry.unwrap();
            entry.histogram.validate(&model::Limits::default()).unwrap();
            let name = self.name(entry.reference);
            self.histograms.entry(name).or_default().push((entry.timestamp, entry.histogram));
        }
        for entry in record::exemplars(bytes).into_iter().flatten() {
            let entry = entry.unwrap();
            let name = self.name(entry.reference);
            let exemplar = (entry.timestamp, entry.value, entry.labels.to_string());
            self.exemplars.entry(name).or_default().push(exemplar);
        }
        for entry in record::metadata(bytes).into_iter().flatten() {
            let entry = entry.unwrap();
            let text = |bytes: &[u8]| String::from_utf8(bytes.to_vec()).unwrap();
            let name = self.name(entry.reference);
            self.metadata.push((name, entry.kind, text(entry.unit), text(entry.help)));
        }
    }
}

/// Reads a whole log.
pub(crate) fn census(fs: &dyn Filesystem, dir: &Path) -> (Census, Vec<LogFile>, Vec<Damage>) {
    let files = log::files(fs, &log::find(fs, dir).unwrap()).unwrap();
    let mut census = Census::default();
    let damage = log::for_each_record(fs, &files, &mut |_| {}, |_, record| {
        census.add(record.bytes);
        Ok::<_, WalError>(())
    });
    (census, files, damage.unwrap())
}
