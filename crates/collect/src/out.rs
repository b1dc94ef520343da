//! What a collector writes into: families, opened by name and filled metric by metric.

use model::{Family, MetricType};
use std::borrow::Cow;

/// A metric that a collector knows beforehand.
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

/// A family that was opened.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Slot(usize);

/// The families of one collection.
#[derive(Debug, Default)]
pub(crate) struct Out {
    families: Vec<Family>,
}

impl Out {
    /// Opens a family; it is left out at the end if nothing is pushed to it.
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

    /// Opens several; they are numbered from the slot that is returned, see [`Slot::plus`].
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

    /// A family of one metric without labels.
    pub(crate) fn single(&mut self, def: Def, value: f64) {
        let slot = self.open(def);
        self.push(slot, &[], value);
    }

    /// Adds a metric to the family of this name, which is opened where it isn't yet. For the few
    /// collectors that don't know their names beforehand; it searches what was opened since `since`.
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

/// How many families there were at some moment.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Mark(usize);

impl Slot {
    /// The slot `index` after this one, of those opened by [`Out::open_all`].
    pub(crate) fn plus(self, index: usize) -> Slot {
        Slot(self.0 + index)
    }
}
