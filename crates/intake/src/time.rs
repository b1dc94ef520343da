//! Decides which timestamps are accepted, and explains the others. Pure.

use crate::settings::Settings;
use formats::Rejected;
use formats::text::Format;
use formats::time_unit::{SECONDS, TimeUnit};
use model::{Batch, Kinds, moment};
use std::time::Duration;

/// The timestamps that are accepted, in milliseconds since 1970.
#[derive(Debug, Clone, Copy)]
pub struct TimeBounds {
    oldest: Option<i64>,
    newest: i64,
}

impl TimeBounds {
    pub fn at(now_ms: i64, settings: &Settings) -> Self {
        let ms = |duration: Duration| i64::try_from(duration.as_millis()).unwrap_or(i64::MAX);
        let oldest = settings.max_age.map(|age| now_ms.saturating_sub(ms(age)));
        TimeBounds { oldest, newest: now_ms.saturating_add(ms(settings.ahead)) }
    }

    /// The same bounds without a lower one.
    pub fn without_oldest(self) -> Self {
        TimeBounds { oldest: None, ..self }
    }

    /// Removes points with timestamps out of bounds, and series that have no other points. Returns the number of
    /// remaining points. `written_in` is the text format of the timestamps, if any.
    pub fn apply(self, batch: &mut Batch, written_in: Option<Format>, rejected: &mut Rejected) -> Kinds {
        let mut kept = Kinds::default();
        let mut out_of_bounds = 0;
        for point in &batch.points {
            match self.is_within(point.timestamp, written_in) {
                true => kept.count(&point.value),
                false => out_of_bounds += 1,
            }
        }
        if out_of_bounds > 0 {
            batch.retain_points(|batch, point| {
                let Some(reason) = self.refusal(point.timestamp, written_in) else { return true };
                rejected.count(&point.value);
                rejected.explain(|| format!("{}: {reason}", batch.labels(point.series)));
                false
            });
        }
        kept
    }

    #[inline]
    fn is_within(self, timestamp: i64, written_in: Option<Format>) -> bool {
        timestamp <= self.newest
            && self.oldest.is_none_or(|oldest| timestamp >= oldest)
            // A timestamp in milliseconds within this range is probably in seconds.
            && (written_in != Some(Format::Text) || !SECONDS.contains(&timestamp))
    }

    /// Why a timestamp is not accepted; `None` if it is.
    pub fn refusal(self, timestamp: i64, written_in: Option<Format>) -> Option<String> {
        if self.is_within(timestamp, written_in) {
            return None;
        }
        if let Some(unit) = written_in.and_then(|format| wrong_unit(timestamp, format)) {
            return Some(unit);
        }
        match self.oldest {
            Some(oldest) if timestamp < oldest => {
                let (is, oldest) = (moment::show(timestamp), moment::show(oldest));
                Some(format!("timestamp {is} is earlier than {oldest}, the oldest that is accepted"))
            }
            _ => {
                let (is, newest) = (moment::show(timestamp), moment::show(self.newest));
                Some(format!("timestamp {is} is later than {newest}, the newest that is accepted"))
            }
        }
    }
}

/// A sentence about the unit of a timestamp, if that is not the unit of its format.
fn wrong_unit(timestamp: i64, format: Format) -> Option<String> {
    let (written, right, name) = match format {
        Format::Text => (timestamp, TimeUnit::Milliseconds, "the text format has milliseconds"),
        Format::OpenMetrics => (timestamp / 1000, TimeUnit::Seconds, "OpenMetrics has seconds"),
    };
    let unit = TimeUnit::of(written).filter(|unit| *unit != right)?;
    let here = match (format, unit) {
        (Format::Text, TimeUnit::Seconds) => format!(", here {}", timestamp * 1000),
        _ => String::new(),
    };
    Some(format!("timestamp {written} is in {unit}: {name}{here}"))
}

#[cfg(test)]
mod tests {
    use super::*;
    use model::{Labels, Series};

    #[test]
    fn the_unit_is_recognised_by_the_number_of_digits() {
        let bounds = TimeBounds { oldest: None, newest: 1_700_000_600_000 };
        for (timestamp, format, wanted) in [
            (1_700_000_000_000, Format::Text, None),
            (0, Format::Text, None),
            (-5, Format::Text, None),
            (999_999_999, Format::Text, None),
            (10_000_000_000, Format::Text, None),
            (
                1_700_000_000,
                Format::Text,
                Some(
                    "timestamp 1700000000 is in seconds: the text format has milliseconds, here 1700000000000",
                ),
            ),
            (
                1_700_000_000_000_000,
                Format::Text,
                Some("timestamp 1700000000000000 is in microseconds: the text format has milliseconds"),
            ),
            (
                1_700_000_000_000_000_000,
                Format::Text,
                Some("timestamp 1700000000000000000 is in nanoseconds: the text format has milliseconds"),
            ),
            (
                1_700_000_000_000_000,
                Format::OpenMetrics,
                Some("timestamp 1700000000000 is in milliseconds: OpenMetrics has seconds"),
            ),
            (
                1_700_000_000_000_000_000,
                Format::OpenMetrics,
                Some("timestamp 1700000000000000 is in microseconds: OpenMetrics has seconds"),
            ),
            (
                1_700_000_700_000,
                Format::OpenMetrics,
                Some(
                    "timestamp 2023-11-14T22:25:00.000Z is later than 2023-11-14T22:23:20.000Z, the newest that is accepted",
                ),
            ),
            (
                i64::MAX,
                Format::Text,
                Some("timestamp 9223372036854775807 is in nanoseconds: the text format has milliseconds"),
            ),
        ] {
            assert_eq!(bounds.refusal(timestamp, Some(format)).as_deref(), wanted);
        }
        let bounds = TimeBounds { oldest: Some(5), newest: 7 };
        assert_eq!(
            bounds.refusal(4, None).as_deref(),
            Some(
                "timestamp 1970-01-01T00:00:00.004Z is earlier than 1970-01-01T00:00:00.005Z, the oldest that is accepted"
            )
        );
    }

    #[test]
    fn points_out_of_bounds_and_their_series_are_removed() {
        let bounds = TimeBounds { oldest: Some(10), newest: 100 };
        let mut batch = Batch::new();
        for (name, timestamps) in [("good", &[10, 100][..]), ("half", &[9, 50]), ("bad", &[101, 102])] {
            let labels = Labels::from_pairs([("__name__", name)]);
            let series = batch.add_series(labels.as_ref(), Series::NO_METADATA);
            timestamps.iter().for_each(|timestamp| batch.push_float(series, *timestamp, 1.0));
        }
        batch.mark_exact("x");
        batch.keep_original("y", b"z".to_vec(), 1);
        let mut rejected = Rejected::default();
        let kept = bounds.apply(&mut batch, None, &mut rejected);
        assert_eq!((kept.samples, rejected.samples, batch.points.len()), (3, 3, 3));
        let names: Vec<String> =
            batch.points.iter().map(|point| batch.labels(point.series).to_string()).collect();
        assert_eq!((names, batch.series.len()), (vec!["good".into(), "good".into(), "half".into()], 2));
        assert_eq!(batch.original(), None, "the body has more than the remaining points");
        assert_eq!(
            rejected.reasons,
            [
                "half: timestamp 1970-01-01T00:00:00.009Z is earlier than 1970-01-01T00:00:00.010Z, the oldest that is accepted",
                "bad: timestamp 1970-01-01T00:00:00.101Z is later than 1970-01-01T00:00:00.100Z, the newest that is accepted",
                "bad: timestamp 1970-01-01T00:00:00.102Z is later than 1970-01-01T00:00:00.100Z, the newest that is accepted",
            ]
        );
    }
}
