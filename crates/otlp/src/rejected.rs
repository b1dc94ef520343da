//! Data points that are left out: how many for which reason, and the first of each.

use formats::Rejected;
use model::words::counted;

/// Why a data point is left out.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Reason {
    /// It is a delta that can't be added.
    Delta,
    /// It is neither a delta nor cumulative.
    Temporality,
    /// Its metric has no name in Prometheus.
    MetricName,
    /// Its labels are invalid or over a limit.
    Labels,
    /// Its time is missing, or not accepted.
    Time,
    /// Its histogram is invalid or over a limit.
    Histogram,
}

impl Reason {
    /// All of them.
    pub const ALL: [Reason; 6] = [
        Reason::Delta,
        Reason::Temporality,
        Reason::MetricName,
        Reason::Labels,
        Reason::Time,
        Reason::Histogram,
    ];

    /// Its value of the label `reason`.
    pub const fn as_str(self) -> &'static str {
        match self {
            Reason::Delta => "delta",
            Reason::Temporality => "temporality",
            Reason::MetricName => "metric_name",
            Reason::Labels => "labels",
            Reason::Time => "time",
            Reason::Histogram => "histogram",
        }
    }
}

/// What is left out of a request.
#[derive(Debug, Default)]
pub(crate) struct Rejections {
    /// For each reason the number of data points, and what is wrong with the first one.
    by_reason: [(u64, String); Reason::ALL.len()],
    exemplars: (u64, String),
    /// What is left out and is neither a data point nor an exemplar.
    notes: Vec<String>,
}

impl Rejections {
    pub(crate) fn count(&mut self, reason: Reason, points: u64, metric: &str, why: impl FnOnce() -> String) {
        let Some((count, first)) = self.by_reason.get_mut(reason as usize) else { return };
        if *count == 0 && points > 0 {
            *first = format!("metric {:?}: {}", cut(metric), why());
        }
        *count += points;
    }

    pub(crate) fn count_exemplar(&mut self, metric: &str, why: impl FnOnce() -> String) {
        if self.exemplars.0 == 0 {
            self.exemplars.1 = format!("metric {:?}: {}", cut(metric), why());
        }
        self.exemplars.0 += 1;
    }

    /// Remembers something that is left out, up to a few times.
    pub(crate) fn note(&mut self, why: impl FnOnce() -> String) {
        if self.notes.len() < Rejected::MAX_REASONS {
            self.notes.push(why());
        }
    }

    /// The data points count as samples.
    pub(crate) fn finish(self) -> (Rejected, Counts) {
        let mut rejected = Rejected { exemplars: self.exemplars.0, ..Rejected::default() };
        let mut counts = Counts::default();
        for (of_reason, (count, first)) in counts.0.iter_mut().zip(self.by_reason) {
            *of_reason = count;
            if count > 0 {
                rejected.samples += count;
                rejected.explain(|| match count {
                    1 => first,
                    _ => format!("{}, first of {}", first, counted(count, "such data point")),
                });
            }
        }
        if self.exemplars.0 > 0 {
            rejected.explain(|| self.exemplars.1);
        }
        for note in self.notes {
            rejected.explain(|| note);
        }
        (rejected, counts)
    }
}

/// How many data points were left out, by reason.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Counts([u64; Reason::ALL.len()]);

impl Counts {
    pub fn add(&mut self, reason: Reason, points: u64) {
        if let Some(count) = self.0.get_mut(reason as usize) {
            *count += points;
        }
    }

    /// The reasons with their numbers.
    pub fn iter(self) -> impl Iterator<Item = (Reason, u64)> {
        Reason::ALL.into_iter().zip(self.0)
    }
}

fn cut(metric: &str) -> String {
    model::words::cut(metric.to_string(), 128)
}
