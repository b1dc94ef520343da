//! Counts the types that the groups give to each family name. Pure.

use model::MetricType;
use std::collections::{BTreeMap, HashMap};

const TYPES: usize = 8;
/// All metric types, each at the index of its number.
const ALL: [MetricType; TYPES] = [
    MetricType::Unknown,
    MetricType::Counter,
    MetricType::Gauge,
    MetricType::Histogram,
    MetricType::GaugeHistogram,
    MetricType::Summary,
    MetricType::Info,
    MetricType::StateSet,
];

/// The number of groups that give a name each type.
type Uses = [u32; TYPES];

/// The types of all names over all groups.
#[derive(Debug, Default)]
pub struct Types {
    by_name: HashMap<String, Uses>,
    /// The names that have more than one type.
    mixed: BTreeMap<String, Vec<MetricType>>,
}

impl Types {
    /// Counts a family of a group.
    pub fn add(&mut self, name: &str, kind: MetricType) {
        match self.by_name.get_mut(name) {
            Some(uses) => change(uses, kind, |count| count.saturating_add(1)),
            None => {
                let mut uses = [0; TYPES];
                change(&mut uses, kind, |_| 1);
                self.by_name.insert(name.to_string(), uses);
            }
        }
        self.note(name);
    }

    /// Removes a family of a group from the counts.
    pub fn remove(&mut self, name: &str, kind: MetricType) {
        if let Some(uses) = self.by_name.get_mut(name) {
            change(uses, kind, |count| count.saturating_sub(1));
        }
        self.note(name);
    }

    /// The types of a name. One use of `own`, the type that one group gives it, is not counted.
    pub fn without(&self, name: &str, own: Option<MetricType>) -> Vec<MetricType> {
        let Some(mut uses) = self.by_name.get(name).copied() else { return Vec::new() };
        if let Some(own) = own {
            change(&mut uses, own, |count| count.saturating_sub(1));
        }
        kinds(&uses)
    }

    /// The names that have more than one type, each with its types.
    pub fn mixed(&self) -> &BTreeMap<String, Vec<MetricType>> {
        &self.mixed
    }

    fn note(&mut self, name: &str) {
        let kinds = self.by_name.get(name).map(kinds).unwrap_or_default();
        match kinds.len() {
            0 => drop((self.by_name.remove(name), self.mixed.remove(name))),
            1 => drop(self.mixed.remove(name)),
            _ => drop(self.mixed.insert(name.to_string(), kinds)),
        }
    }
}

fn change(uses: &mut Uses, kind: MetricType, to: impl Fn(u32) -> u32) {
    if let Some(count) = uses.get_mut(kind as usize) {
        *count = to(*count);
    }
}

fn kinds(uses: &Uses) -> Vec<MetricType> {
    ALL.into_iter().zip(uses).filter(|(_, count)| **count > 0).map(|(kind, _)| kind).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_name_is_mixed_while_groups_give_it_two_types() {
        let mut types = Types::default();
        types.add("m", MetricType::Gauge);
        types.add("m", MetricType::Gauge);
        assert!(types.mixed().is_empty());
        types.add("m", MetricType::Counter);
        assert_eq!(types.mixed()["m"], [MetricType::Counter, MetricType::Gauge]);
        assert_eq!(types.without("m", Some(MetricType::Counter)), [MetricType::Gauge]);
        assert_eq!(types.without("m", Some(MetricType::Gauge)).len(), 2);
        types.remove("m", MetricType::Gauge);
        assert_eq!(types.mixed().len(), 1);
        types.remove("m", MetricType::Gauge);
        assert!(types.mixed().is_empty());
        types.remove("m", MetricType::Counter);
        assert!(types.by_name.is_empty() && types.without("m", None).is_empty());
    }

    #[test]
    fn every_type_is_at_the_index_of_its_number() {
        assert!(ALL.iter().enumerate().all(|(index, kind)| *kind as usize == index));
    }
}
