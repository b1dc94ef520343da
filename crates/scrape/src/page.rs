//! From a page to a batch: labels, rules, limits and staleness markers. Pure.

use crate::config::{PageFormat, Validation};
use crate::job::Sampling;
use crate::labels;
use crate::table::{Entry, Sight, Table};
use formats::text::{self, ParseOptions, Timestamps};
use formats::{Parsed, Rejected, exposition};
use model::labels::{is_legacy_label_name, is_legacy_metric_name};
use model::{Batch, LabelError, Labels, LabelsRef, Limits, Point, Series, Value, stale};
use relabel::{Relabelled, Relabeller};
use storage::registry::Hasher;

/// Stands for the time of the scrape until the page is read, so that samples with a timestamp of their own can be told.
const NO_TIMESTAMP: i64 = i64::MIN;
const NO_SERIES: u32 = u32::MAX;

/// Why nothing of a page is kept.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum PageError {
    #[error("the page can't be read: {0}")]
    Malformed(String),
    #[error("a sample has no metric name after relabelling")]
    NoName,
    #[error("{0:?} is not a valid name by metric_name_validation_scheme: legacy")]
    Name(String),
    #[error("more samples than sample_limit, {limit}, after relabelling")]
    TooManySamples { limit: u64, scraped: u64, kept: u64 },
    #[error("{labels}: {is} is more than {key}, {limit}")]
    LabelLimit { key: &'static str, is: u64, limit: u64, labels: String },
}

/// What became of a page.
#[derive(Debug, Default, PartialEq)]
pub struct Page {
    /// The samples that are kept, and the markers of series that are gone.
    pub parsed: Parsed,
    /// Samples in the page.
    pub scraped: u64,
    /// Samples after relabelling.
    pub kept: u64,
    /// Series that the target did not have before.
    pub added: u64,
    /// Samples that were there already, with the same timestamp.
    pub repeated: u64,
}

/// What a page is read with.
#[derive(Debug)]
pub struct Reading<'a> {
    pub sampling: &'a Sampling,
    /// The labels of the target.
    pub target: &'a Labels,
    /// The time of the scrape.
    pub timestamp: i64,
    pub limits: Limits,
    pub hasher: &'a Hasher,
}

impl Reading<'_> {
    /// Reads a page. [`Table::begin`] was called, and after an error [`Table::fail`] is to be called.
    pub fn read(&self, body: &[u8], format: PageFormat, table: &mut Table) -> Result<Page, PageError> {
        let parsed = self.parse(body, format)?;
        let mut page = self.take(parsed, table)?;
        let gone = table.finish();
        gone.iter().for_each(|entry| push_marker(&mut page.parsed.batch, entry, self.timestamp));
        Ok(page)
    }

    fn parse(&self, body: &[u8], format: PageFormat) -> Result<Parsed, PageError> {
        let of_text = match format {
            PageFormat::Text(format) => format,
            PageFormat::Protobuf => text::Format::Text,
        };
        let mut options = ParseOptions::new(of_text, NO_TIMESTAMP);
        options.limits = self.limits;
        // A `_created` is a series like any other, as in Prometheus.
        options.created_as_start = false;
        if !self.sampling.honor_timestamps {
            options.timestamps = Timestamps::Ignore;
        }
        match format {
            PageFormat::Text(_) => {
                text::parse(body, &options).map_err(|error| PageError::Malformed(error.to_string()))
            }
            PageFormat::Protobuf => {
                exposition::decode(body, &options).map_err(|error| PageError::Malformed(error.to_string()))
            }
        }
    }

    /// Gives the samples of a page their final labels.
    fn take(&self, Parsed { batch: old, rejected }: Parsed, table: &mut Table) -> Result<Page, PageError> {
        let with_native = self.families_with_native(&old);
        let mut page = Page { parsed: Parsed { rejected, ..Parsed::default() }, ..Page::default() };
        let mut making = Making::new(self, &old);
        let batch = &mut page.parsed.batch;
        batch.bytes.reserve(old.bytes.len());
        batch.series.reserve(old.series.len());
        batch.points.reserve(old.points.len());
        batch.hashes.reserve(old.series.len());
        for point in &old.points {
            if let Value::Exemplar(_) = point.value {
                push_exemplar(&old, point, &making.numbers, self.timestamp, batch);
                continue;
            }
            let is_native = matches!(point.value, Value::Histogram(_));
            let family =
                old.series.get(point.series as usize).map_or(Series::NO_METADATA, |one| one.metadata);
            let is_unwanted = match is_native {
                true => !self.sampling.native_histograms,
                false => !self.sampling.classic_histograms && with_native.get(family as usize) == Some(&true),
            };
            if is_unwanted {
                continue;
            }
            page.scraped += 1;
            let has_own_timestamp = point.timestamp != NO_TIMESTAMP;
            let tracked = !has_own_timestamp || self.sampling.track_timestamps_staleness;
            let entry = match making.sight(point.series, tracked, table, &mut page.parsed.rejected)? {
                Sight::Dropped | Sight::New => continue,
                Sight::Repeated(_) if !has_own_timestamp => {
                    page.kept += 1;
                    page.repeated += 1;
                    continue;
                }
                Sight::Known(entry) | Sight::Repeated(entry) => entry,
            };
            page.kept += 1;
            if self.sampling.sample_limit.is_some_and(|limit| page.kept > limit) {
                // Only the counts matter from here on.
                continue;
            }
            let Some(found) = table.get(entry) else { continue };
            let start = batch.bytes.len();
            batch.bytes.extend_from_slice(&found.labels);
            let series = batch.push_series(start, family);
            batch.hashes.push(found.hash);
            if let Some(number) = making.numbers.get_mut(point.series as usize) {
                *number = series;
            }
            let timestamp = if has_own_timestamp { point.timestamp } else { self.timestamp };
            batch.points.push(Point { series, timestamp, ..*point });
        }
        if let Some(limit) = self.sampling.sample_limit.filter(|limit| page.kept > *limit) {
            return Err(PageError::TooManySamples { limit, scraped: page.scraped, kept: page.kept });
        }
        page.added = making.added;
        let Batch { metadata, histograms, .. } = old;
        (page.parsed.batch.metadata, page.parsed.batch.histograms) = (metadata, histograms);
        if !self.sampling.native_histograms {
            page.parsed.batch.histograms.clear();
        }
        Ok(page)
    }

    /// The families of which a native histogram is kept, by their numbers.
    fn families_with_native(&self, batch: &Batch) -> Vec<bool> {
        let mut families = vec![false; batch.metadata.len()];
        if batch.histograms.is_empty() || !self.sampling.native_histograms {
            return families;
        }
        for point in batch.points.iter().filter(|point| matches!(point.value, Value::Histogram(_))) {
            let series = batch.series.get(point.series as usize);
            if let Some(has) = series.and_then(|series| families.get_mut(series.metadata as usize)) {
                *has = true;
            }
        }
        families
    }
}

/// Makes the labels of series that are new.
struct Making<'a> {
    reading: &'a Reading<'a>,
    old: &'a Batch,
    /// The number in the new batch of each series in the old one.
    numbers: Vec<u32>,
    /// How many were new and not dropped.
    added: u64,
    relabeller: Option<Relabeller>,
    merged: Vec<u8>,
    relabelled: Vec<u8>,
}

impl<'a> Making<'a> {
    fn new(reading: &'a Reading<'a>, old: &'a Batch) -> Self {
        let numbers = vec![NO_SERIES; old.series.len()];
        Making {
            reading,
            old,
            numbers,
            added: 0,
            relabeller: None,
            merged: Vec::new(),
            relabelled: Vec::new(),
        }
    }

    fn sight(
        &mut self,
        series: u32,
        tracked: bool,
        table: &mut Table,
        rejected: &mut Rejected,
    ) -> Result<Sight, PageError> {
        let (labels, hasher) = (self.old.labels(series), self.reading.hasher);
        let raw = hasher.hash(labels.as_bytes());
        match table.sight(raw, tracked) {
            Sight::New => {}
            sight => return Ok(sight),
        }
        match self.make(labels)? {
            Ok(Some(made)) => {
                let hash = hasher.hash(made.as_bytes());
                let sight = table.learn(raw, made.as_bytes(), hash, tracked);
                self.added += 1;
                Ok(sight)
            }
            Ok(None) => {
                table.learn_dropped(raw);
                Ok(Sight::Dropped)
            }
            Err(error) => {
                rejected.series += 1;
                rejected.samples += 1;
                rejected.explain(|| format!("{labels}: {error}"));
                Ok(Sight::New)
            }
        }
    }

    /// The labels of a series of the page, merged with the target's and relabelled. `None`: the rules drop it.
    fn make(
        &mut self,
        labels: LabelsRef<'_>,
    ) -> Result<Result<Option<LabelsRef<'_>>, LabelError>, PageError> {
        let Reading { sampling, target, limits, .. } = self.reading;
        self.merged.clear();
        self.relabelled.clear();
        if let Err(error) =
            labels::merge(labels, target.as_ref(), sampling.honor_labels, limits, &mut self.merged)
        {
            return Ok(Err(error));
        }
        let merged = LabelsRef::trusted(&self.merged);
        let relabeller =
            self.relabeller.get_or_insert_with(|| Relabeller::new(sampling.metric_relabel_configs.clone()));
        let made = match relabeller.apply(merged, &mut self.relabelled) {
            Relabelled::Dropped => return Ok(Ok(None)),
            Relabelled::Same => merged,
            Relabelled::Changed => LabelsRef::trusted(&self.relabelled),
        };
        check(made, sampling)?;
        let fits = made.len() <= limits.labels && made.as_bytes().len() <= limits.set_bytes;
        if !fits {
            let what = "the label set after relabelling, in bytes".into();
            return Ok(Err(LabelError::Limit { what, is: made.as_bytes().len(), limit: limits.set_bytes }));
        }
        Ok(Ok(Some(made)))
    }
}

/// Checks names and the job's limits on labels.
fn check(labels: LabelsRef<'_>, sampling: &Sampling) -> Result<(), PageError> {
    let name = labels.metric_name().filter(|name| !name.is_empty()).ok_or(PageError::NoName)?;
    let shown = |text: &[u8]| model::words::cut(String::from_utf8_lossy(text).into_owned(), 128);
    if sampling.validation == Validation::Legacy {
        if !is_legacy_metric_name(name) {
            return Err(PageError::Name(shown(name)));
        }
        if let Some((name, _)) = labels.pairs().find(|(name, _)| !is_legacy_label_name(name)) {
            return Err(PageError::Name(shown(name)));
        }
    }
    let over = |key: &'static str, is: usize, limit: Option<u64>| match limit {
        Some(limit) if is as u64 > limit => {
            let labels = model::words::cut(labels.to_string(), 256);
            Err(PageError::LabelLimit { key, is: is as u64, limit, labels })
        }
        _ => Ok(()),
    };
    over("label_limit", labels.len(), sampling.label_limit)?;
    if sampling.label_name_length_limit.is_some() || sampling.label_value_length_limit.is_some() {
        for (name, value) in labels.pairs() {
            over("label_name_length_limit", name.len(), sampling.label_name_length_limit)?;
            over("label_value_length_limit", value.len(), sampling.label_value_length_limit)?;
        }
    }
    Ok(())
}

/// Keeps an exemplar if its series is kept.
fn push_exemplar(old: &Batch, point: &Point, numbers: &[u32], timestamp: i64, batch: &mut Batch) {
    let series = numbers.get(point.series as usize).copied().unwrap_or(NO_SERIES);
    let Value::Exemplar(number) = point.value else { return };
    let Some(exemplar) = old.exemplars.get(number as usize).filter(|_| series != NO_SERIES) else { return };
    let start = batch.bytes.len();
    batch.bytes.extend_from_slice(old.slice(exemplar.labels));
    let timestamp = if point.timestamp == NO_TIMESTAMP { timestamp } else { point.timestamp };
    batch.push_exemplar(series, timestamp, start, exemplar.value);
}

/// Adds the staleness marker of a series that is gone.
pub fn push_marker(batch: &mut Batch, gone: &Entry, timestamp: i64) {
    let series = batch.add_series(LabelsRef::trusted(&gone.labels), Series::NO_METADATA);
    batch.hashes.push(gone.hash);
    batch.push_float(series, timestamp, stale::stale_nan());
}

#[cfg(test)]
mod tests;
