//! The output of collectors: families that are opened by name and filled metric by metric.

use model::{Family, MetricType};
use std::borrow::Cow;

/// A metric whose name is known in advance.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Def {
    pub(crate) name: &'static str,
    pub(crate) help: &'static str,
    pub(crate) kind: MetricType,
}

pub(crate) const fn gauge(name: &'static str, help: &'static str) -> Def {
    Def { name, help, kind: MetricType::Gauge }
}

pub(crate) const fn counter(name: &'static str, help: &'static str) -> Def {
    Def { name, help, kind: MetricType::Counter }
}

#[derive(Debug, Clone, Copy)]
pub(crate) struct Slot(usize);

/// The families of one collection.
#[derive(Debug, Default)]
pub(crate) struct Out {
    families: Vec<Family>,
}

impl Out {
    /// Opens a family. An empty family is removed at the end.
    pub(crate) fn open(&mut self, def: Def) -> Slot {
        self.open_named(def.name, def.help, def.kind)
    }

    pub(crate) fn open_named(
        &mut self,
        name: impl Into<Cow<'static, str>>,
        help: impl Into<Cow<'static, str>>,
        kind: MetricType,
    ) -> Slot {
        self.families.push(Family::new(name, help, kind));
        Slot(self.families.len() - 1)
    }

    /// Opens several families. The first slot is returned; see [`Slot::plus`] for the others.
    pub(crate) fn open_all(&mut self, defs: &[Def]) -> Slot {
        let first = Slot(self.families.len());
        for def in defs {
            self.open(*def);
        }
        first
    }

    pub(crate) fn push(&mut self, slot: Slot, labels: &[(&'static str, &str)], value: f64) {
        if let Some(family) = self.families.get_mut(slot.0) {
            family.push(labels, value);
        }
    }

    /// Adds a family of one metric without labels.
    pub(crate) fn single(&mut self, def: Def, value: f64) {
        let slot = self.open(def);
        self.push(slot, &[], value);
    }

    /// Adds a metric to the family of this name, which is opened if it does not exist. This is for the few
    /// collectors that do not know their names in advance. It searches the families that were opened after
    /// `since`.
    pub(crate) fn push_named(
        &mut self,
        since: Mark,
        name: &str,
        help: impl FnOnce() -> Cow<'static, str>,
        kind: MetricType,
        labels: &[(&'static str, &str)],
        value: f64,
    ) {
        let known = self.families.iter().skip(since.0).position(|family| family.name == name);
        let slot = match known {
            Some(index) => Slot(since.0 + index),
            None => self.open_named(name.to_owned(), help(), kind),
        };
        self.push(slot, labels, value);
    }

    pub(crate) fn mark(&self) -> Mark {
        Mark(self.families.len())
    }

    pub(crate) fn finish(mut self) -> Vec<Family> {
        self.families.retain(|family| !family.metrics.is_empty());
        self.families
    }
}

/// The number of families at a time.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Mark(usize);

impl Slot {
    /// The slot with this index of those that [`Out::open_all`] opened. `self` is the first one.
    pub(crate) fn plus(self, index: usize) -> Slot {
        Slot(self.0 + index)
    }
}
