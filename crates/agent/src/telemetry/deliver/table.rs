//! Families with one metric for each destination.

use crate::telemetry::Outlet;
use model::{Family, MetricType};
use remote::Stats;

/// Adds families of the destinations' numbers, one after the other.
pub(super) struct Table<'a> {
    pub(super) destinations: &'a [Outlet],
    pub(super) out: &'a mut Vec<Family>,
}

impl Table<'_> {
    /// A family with one number for each destination.
    fn add(
        &mut self,
        name: &'static str,
        help: &'static str,
        kind: MetricType,
        value: impl Fn(&Stats) -> f64,
    ) {
        let mut family = Family::new(name, help, kind);
        for destination in self.destinations {
            family.push(&own(destination), value(&destination.stats));
        }
        self.out.push(family);
    }

    /// A counter for each destination.
    pub(super) fn counter(&mut self, name: &'static str, help: &'static str, value: impl Fn(&Stats) -> u64) {
        self.add(name, help, MetricType::Counter, |stats| value(stats) as f64);
    }

    /// A gauge for each destination.
    pub(super) fn gauge(&mut self, name: &'static str, help: &'static str, value: impl Fn(&Stats) -> f64) {
        self.add(name, help, MetricType::Gauge, value);
    }

    /// A counter for each destination and reason.
    pub(super) fn reasons(
        &mut self,
        name: &'static str,
        help: &'static str,
        values: impl Fn(&Stats) -> Vec<(&'static str, u64)>,
    ) {
        let values = |stats: &Stats| values(stats).into_iter().map(|(reason, count)| (reason, count as f64));
        self.each(name, help, MetricType::Counter, "reason", |stats| values(stats).collect());
    }

    /// A counter for each destination and each further set of labels.
    pub(super) fn labelled(
        &mut self,
        name: &'static str,
        help: &'static str,
        values: impl Fn(&Stats) -> Vec<(Vec<(&'static str, &'static str)>, u64)>,
    ) {
        let mut family = Family::new(name, help, MetricType::Counter);
        for destination in self.destinations {
            for (labels, count) in values(&destination.stats) {
                let labels: Vec<_> = own(destination).into_iter().chain(labels).collect();
                family.push(&labels, count as f64);
            }
        }
        self.out.push(family);
    }

    /// A number for each destination and value of one further label.
    pub(super) fn each(
        &mut self,
        name: &'static str,
        help: &'static str,
        kind: MetricType,
        label: &'static str,
        values: impl Fn(&Stats) -> Vec<(&'static str, f64)>,
    ) {
        let mut family = Family::new(name, help, kind);
        for destination in self.destinations {
            let [name, url] = own(destination);
            for (which, value) in values(&destination.stats) {
                family.push(&[name, url, (label, which)], value);
            }
        }
        self.out.push(family);
    }
}

/// The labels that identify a destination.
pub(super) fn own(destination: &Outlet) -> [(&'static str, &str); 2] {
    [("remote_name", &destination.name), ("url", &destination.url)]
}
