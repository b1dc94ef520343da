//! The metric names of totals: what each is, and how many series it has. Pure.

use crate::limits::Refused;
use crate::value::Kind;
use model::{LabelsRef, Metadata, MetricType};
use std::collections::HashMap;
use std::sync::Arc;

/// What a classic histogram adds to its name.
pub(crate) const PARTS: [&[u8]; 3] = [b"_bucket", b"_sum", b"_count"];

#[derive(Debug)]
struct Name {
    totals: usize,
    rows: usize,
    /// Totals that are classic histograms.
    classic: usize,
    metadata: Arc<Metadata>,
}

/// See the module.
#[derive(Debug, Default)]
pub(crate) struct Names {
    names: HashMap<Box<[u8]>, Name>,
    rows: usize,
}

impl Names {
    pub(crate) fn rows(&self) -> usize {
        self.rows
    }

    pub(crate) fn rows_of(&self, name: &[u8]) -> usize {
        self.names.get(name).map_or(0, |name| name.rows)
    }

    /// What is said of a metric name. All its series share it.
    pub(crate) fn metadata(&self, labels: LabelsRef<'_>, kind: &Kind, help: &str) -> Arc<Metadata> {
        let name = labels.metric_name().unwrap_or_default();
        match self.names.get(name) {
            Some(name) => name.metadata.clone(),
            None => Arc::new(Metadata {
                family: String::from_utf8_lossy(kind.family(name)).into_owned(),
                kind: kind.metric_type(),
                help: help.to_string(),
                unit: String::new(),
            }),
        }
    }

    /// Whether a series of this kind may have this name: not if series of another type have it, or if it is a part of
    /// a classic histogram.
    pub(crate) fn check(&self, name: &[u8], kind: &Kind) -> Result<(), Refused> {
        let shown = |name: &[u8]| String::from_utf8_lossy(name).into_owned();
        let wants = kind.metric_type();
        let other: Option<MetricType> = self.names.get(name).map(|name| name.metadata.kind);
        if let Some(has) = other.filter(|has| *has != wants) {
            return Err(Refused::NameKind { name: shown(name), has, wants });
        }
        for part in PARTS {
            if let Some(base) = name.strip_suffix(part)
                && self.names.get(base).is_some_and(|base| base.classic > 0)
            {
                return Err(Refused::Part { name: shown(name), histogram: shown(base) });
            }
            if is_classic(kind) {
                let other = [name, part].concat();
                if self.names.contains_key(&*other) {
                    return Err(Refused::Part { name: shown(&other), histogram: shown(name) });
                }
            }
        }
        Ok(())
    }

    pub(crate) fn add(&mut self, labels: LabelsRef<'_>, kind: &Kind, metadata: &Arc<Metadata>) {
        let name = labels.metric_name().unwrap_or_default();
        self.rows += kind.rows();
        let known = self.names.entry(name.into()).or_insert_with(|| Name {
            totals: 0,
            rows: 0,
            classic: 0,
            metadata: metadata.clone(),
        });
        known.totals += 1;
        known.rows += kind.rows();
        known.classic += usize::from(is_classic(kind));
    }

    pub(crate) fn remove(&mut self, labels: LabelsRef<'_>, kind: &Kind) {
        let name = labels.metric_name().unwrap_or_default();
        let Some(known) = self.names.get_mut(name) else { return };
        self.rows -= kind.rows();
        known.totals -= 1;
        known.rows -= kind.rows();
        known.classic -= usize::from(is_classic(kind));
        if known.totals == 0 {
            self.names.remove(name);
        }
    }
}

fn is_classic(kind: &Kind) -> bool {
    matches!(kind, Kind::Histogram(shape) if shape.bounds().is_some())
}
