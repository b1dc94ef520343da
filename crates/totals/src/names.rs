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
    /// The newest [`crate::Totals::epoch`] of its totals.
    epoch: u32,
}

/// Totals that are about to end: the epoch is older than that of any setting in use.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Leaving<'n> {
    /// The name that type and help text are about.
    pub(crate) family: &'n [u8],
    pub(crate) kind: MetricType,
}

impl Leaving<'_> {
    fn has(&self, metadata: &Metadata) -> bool {
        metadata.kind == self.kind && metadata.family.as_bytes() == self.family
    }
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
    pub(crate) fn metadata(
        &self,
        labels: LabelsRef<'_>,
        kind: &Kind,
        help: &str,
        unit: &str,
    ) -> Arc<Metadata> {
        let name = labels.metric_name().unwrap_or_default();
        match self.names.get(name) {
            Some(name) => name.metadata.clone(),
            None => Arc::new(Metadata {
                family: String::from_utf8_lossy(kind.family(name)).into_owned(),
                kind: kind.metric_type(),
                help: help.to_string(),
                unit: unit.to_string(),
            }),
        }
    }

    /// Says the unit of a metric name of which nothing was said yet.
    pub(crate) fn set_unit(&mut self, name: &[u8], unit: String) -> Option<Arc<Metadata>> {
        let known = self.names.get_mut(name)?;
        if known.metadata.unit.is_empty() {
            known.metadata = Arc::new(Metadata { unit, ..(*known.metadata).clone() });
        }
        Some(known.metadata.clone())
    }

    /// The totals that have to end before a series of this kind may have this name: a histogram and a summary can't
    /// share it. `None` if there are none, or if one of them is of the epoch.
    pub(crate) fn leaving<'n>(&self, name: &'n [u8], kind: &Kind, epoch: u32) -> Option<Leaving<'n>> {
        let family = kind.family(name);
        let other = match kind {
            Kind::Histogram(_) => MetricType::Summary,
            Kind::Summary(_) => MetricType::Histogram,
            Kind::Counter | Kind::Gauge => return None,
        };
        let leaving = Leaving { family, kind: other };
        let mut names = self.of(leaving).peekable();
        names.peek()?;
        names.all(|name| name.epoch < epoch).then_some(leaving)
    }

    /// The names of totals that are about to end: that of a histogram, or those of the series of a summary.
    fn of(&self, leaving: Leaving<'_>) -> impl Iterator<Item = &Name> {
        let names = ["", "_sum", "_count"].map(|suffix| [leaving.family, suffix.as_bytes()].concat());
        names
            .into_iter()
            .filter_map(|name| self.names.get(&*name))
            .filter(move |name| leaving.has(&name.metadata))
    }

    /// What is said of the names of totals that are about to end. Their totals have these very values.
    pub(crate) fn metadata_of(&self, leaving: Leaving<'_>) -> Vec<Arc<Metadata>> {
        self.of(leaving).map(|name| name.metadata.clone()).collect()
    }

    /// Whether a series of this kind may have this name once some totals have ended: not if series of another type have
    /// it, or if it is a part of a classic histogram.
    pub(crate) fn check(
        &self,
        name: &[u8],
        kind: &Kind,
        leaving: Option<Leaving<'_>>,
    ) -> Result<(), Refused> {
        let shown = |name: &[u8]| String::from_utf8_lossy(name).into_owned();
        let wants = kind.metric_type();
        let stays = |name: &&Name| !leaving.is_some_and(|leaving| leaving.has(&name.metadata));
        let get = |name: &[u8]| self.names.get(name).filter(stays);
        let other: Option<MetricType> = get(name).map(|name| name.metadata.kind);
        if let Some(has) = other.filter(|has| *has != wants) {
            return Err(Refused::NameKind { name: shown(name), has, wants });
        }
        for part in PARTS {
            if let Some(base) = name.strip_suffix(part)
                && get(base).is_some_and(|base| base.classic > 0)
            {
                return Err(Refused::Part { name: shown(name), histogram: shown(base) });
            }
            if is_classic(kind) {
                let other = [name, part].concat();
                if get(&other).is_some() {
                    return Err(Refused::Part { name: shown(&other), histogram: shown(name) });
                }
            }
        }
        Ok(())
    }

    /// What is said of a name whose series were all opened before the epoch.
    pub(crate) fn before(&self, name: &[u8], epoch: u32) -> Option<Arc<Metadata>> {
        self.names.get(name).filter(|name| name.epoch < epoch).map(|name| name.metadata.clone())
    }

    /// A series of this name was opened again.
    pub(crate) fn confirm(&mut self, labels: LabelsRef<'_>, epoch: u32) {
        if let Some(name) = self.names.get_mut(labels.metric_name().unwrap_or_default()) {
            name.epoch = epoch;
        }
    }

    pub(crate) fn add(&mut self, labels: LabelsRef<'_>, kind: &Kind, metadata: &Arc<Metadata>, epoch: u32) {
        let name = labels.metric_name().unwrap_or_default();
        self.rows += kind.rows();
        let known = self.names.entry(name.into()).or_insert_with(|| Name {
            totals: 0,
            rows: 0,
            classic: 0,
            metadata: metadata.clone(),
            epoch,
        });
        known.epoch = known.epoch.max(epoch);
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
