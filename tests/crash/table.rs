//! The results of a test run as a table.

use crate::End;
use crate::pushers::Counts;
use crate::weather::Weather;
use std::collections::BTreeMap;
use std::time::Duration;

#[derive(Default)]
struct Row {
    rounds: u64,
    /// First, repeated, may repeat, requests.
    sums: [u64; 4],
}

/// Sums over all rounds.
#[derive(Default)]
pub(crate) struct Table {
    /// By the behaviour of a destination.
    rows: BTreeMap<&'static str, Row>,
    pub(crate) killed: u64,
    killed_early: u64,
    terminated: u64,
    pub(crate) pushes: Counts,
    pub(crate) group_changes: Counts,
    pub(crate) groups_checked: u64,
    pub(crate) samples_acked: u64,
    /// The number of SIGHUPs, and of reloads that were finished before the end.
    pub(crate) reloads_asked: u64,
    pub(crate) reloads: u64,
    pub(crate) lost: u64,
    pub(crate) out_of_order: u64,
    pub(crate) stepped_back: u64,
    pub(crate) segment: f64,
    pub(crate) oldest: f64,
    pub(crate) drained: Duration,
}

impl Table {
    pub(crate) fn round(
        &mut self,
        weathers: [Weather; 2],
        end: End,
        before: &[[u64; 4]; 2],
        after: &[[u64; 4]; 2],
    ) {
        match end {
            End::Kill => self.killed += 1,
            End::KillEarly(_) => self.killed_early += 1,
            End::Terminate => self.terminated += 1,
        }
        for ((weather, before), after) in weathers.iter().zip(before).zip(after) {
            let row = self.rows.entry(weather.name()).or_default();
            row.rounds += 1;
            for (sum, (before, after)) in row.sums.iter_mut().zip(before.iter().zip(after)) {
                *sum += after - before;
            }
        }
    }

    pub(crate) fn print(&self, seed: u64, took: Duration) -> String {
        let mut out = String::from(
            "| destination | rounds | requests stored | samples, first time | repeated | at most |\n\
             | --- | --- | --- | --- | --- | --- |\n",
        );
        let mut total = Row::default();
        let line = |name: &str, row: &Row| {
            let [first, repeated, may, requests] = row.sums;
            format!("| {name} | {} | {requests} | {first} | {repeated} | {may} |\n", row.rounds)
        };
        for (name, row) in &self.rows {
            out.push_str(&line(name, row));
            total.rounds += row.rounds;
            total.sums.iter_mut().zip(row.sums).for_each(|(sum, more)| *sum += more);
        }
        out.push_str(&line("all", &total));
        let counts = |counts: &Counts| {
            format!(
                "{} acknowledged, {} refused, {} unanswered",
                counts.acked, counts.refused, counts.unanswered
            )
        };
        let rows = [
            ("killed under load", self.killed.to_string()),
            ("killed while starting", self.killed_early.to_string()),
            ("ended by SIGTERM", self.terminated.to_string()),
            (
                "reloads",
                format!("{} asked for, {} finished before the end", self.reloads_asked, self.reloads),
            ),
            ("pushes of samples", counts(&self.pushes)),
            ("pushes of groups", counts(&self.group_changes)),
            ("samples acknowledged", self.samples_acked.to_string()),
            ("segments begun, deleted", format!("{}, {}", self.segment + 1.0, self.oldest)),
            ("groups compared after a start", self.groups_checked.to_string()),
            ("**lost**", format!("**{}**", self.lost)),
            ("**out of order**", format!("**{}**", self.out_of_order)),
            ("sent again by the same run", self.stepped_back.to_string()),
            ("delivering the rest took", format!("{:.1} s", self.drained.as_secs_f64())),
            ("all of it took", format!("{:.0} s, seed {seed}", took.as_secs_f64())),
        ];
        out.push_str("\n| | |\n| --- | --- |\n");
        for (name, value) in rows {
            out.push_str(&format!("| {name} | {value} |\n"));
        }
        out
    }
}
