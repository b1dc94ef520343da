//! Reads a text of lines into batches.

use crate::scan::{Field, Point, scan};
use crate::{Fault, LineError, Options, labels};
use formats::{Parsed, Recognise};
use hashbrown::{HashMap, HashSet};
use model::{Series, Value};
use std::ops::Range;

/// The maximum of bytes in the labels of all fields of one line together.
pub const LINE_LABEL_BYTES_MAX: usize = 1 << 20;
/// The maximum of errors in one part that are described; all are counted.
pub const FAULTS_MAX: usize = 16;
/// The maximum of memory of a sample besides its labels: in the batch, and while it is read.
const SAMPLE_BYTES: usize = 160;
/// The maximum of bytes in the labels of a series in addition to their text: lengths, and the name of the label for the
/// metric name.
const LABELS_MORE_BYTES: usize = 64;

/// The lines of a text. They are read in parts.
#[derive(Debug)]
pub struct Lines<'t> {
    text: &'t [u8],
    at: usize,
    /// The number of the line at `at`, from 1.
    number: usize,
}

/// The result of reading one part.
#[derive(Debug, Default)]
pub struct Part {
    pub parsed: Parsed,
    /// The errors of the first rejected lines.
    pub faults: Vec<Fault>,
    pub left_out: LeftOut,
    /// Nothing was read, because the next line alone needs this many bytes of memory.
    pub needs: Option<usize>,
}

/// Data that is neither a sample nor an error.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct LeftOut {
    /// Fields that are strings.
    pub strings: u64,
    /// Samples that were replaced by a later one of the same series and millisecond.
    pub repeated: u64,
}

impl<'t> Lines<'t> {
    pub fn new(text: &'t [u8]) -> Self {
        // Editors on Windows begin files with a byte order mark.
        Lines { text: text.strip_prefix("\u{feff}".as_bytes()).unwrap_or(text), at: 0, number: 1 }
    }

    pub fn is_done(&self) -> bool {
        self.at >= self.text.len()
    }

    /// Reads lines until the samples need about `bytes_max` bytes of memory, or to the end of the text. The labels of
    /// series in `known` are not made again.
    pub fn read(&mut self, options: &Options<'_>, bytes_max: usize, known: &mut dyn Recognise) -> Part {
        let rest = self.text.len().saturating_sub(self.at);
        let mut reader = Reader {
            options,
            known,
            part: Part::default(),
            seen: HashMap::new(),
            keys: Vec::new(),
            repeated: HashMap::new(),
        };
        // Labels are repeated for each field, so they need more memory than the text.
        reader.part.parsed.batch.bytes = model::arena::take(rest.saturating_mul(2).min(bytes_max / 2));
        let mut fields = Vec::new();
        while !self.is_done() {
            let scanned = scan(self.text, self.at, options.multiline_strings, &mut fields);
            match scanned.point {
                Ok(None) => {}
                Ok(Some(point)) => {
                    let needed = memory(&point, &fields, options);
                    if needed.labels > LINE_LABEL_BYTES_MAX {
                        let error = LineError::TooLarge(LINE_LABEL_BYTES_MAX);
                        reader.reject(self.number, scanned.line, error);
                    } else if reader.bytes() + needed.all > bytes_max {
                        if reader.is_empty() {
                            reader.part.needs = Some(needed.all);
                        }
                        return reader.part;
                    } else if let Err(error) = reader.point(&point, &mut fields, self.number, scanned.line) {
                        reader.reject(self.number, scanned.line, error);
                    }
                }
                Err(error) => reader.reject(self.number, scanned.line, error),
            }
            self.at = scanned.next;
            self.number += scanned.line_ends;
        }
        reader.part
    }
}

/// Upper limits of the memory that a line needs.
struct Needed {
    labels: usize,
    all: usize,
}

fn memory(point: &Point<'_>, fields: &[Field<'_>], options: &Options<'_>) -> Needed {
    let label = options.label.map_or(0, |(name, value)| name.len() + value.len());
    // A larger label set is rejected.
    let each = point.head.len().min(options.limits.set_bytes) + label;
    let keys: usize = fields.iter().map(|field| field.key.len()).sum();
    let labels = fields.len() * each + keys;
    Needed { labels, all: labels + fields.len() * (SAMPLE_BYTES + LABELS_MORE_BYTES) }
}

/// Reads one part.
struct Reader<'t, 'o, 'k> {
    options: &'o Options<'o>,
    known: &'k mut dyn Recognise,
    part: Part,
    /// The samples of the first point of each head and time, as a range of `keys`.
    seen: HashMap<(&'t [u8], i64), Range<u32>>,
    /// The key of each sample, in the order of the samples.
    keys: Vec<&'t [u8]>,
    /// Samples whose head and time occurred more than once, by the first sample of the first point and the key.
    repeated: HashMap<(u32, &'t [u8]), u32>,
}

impl<'t> Reader<'t, '_, '_> {
    /// An upper limit of the memory in use.
    fn bytes(&self) -> usize {
        let batch = &self.part.parsed.batch;
        batch.bytes.len() + batch.points.len() * SAMPLE_BYTES
    }

    /// Returns true if nothing was read that is counted.
    fn is_empty(&self) -> bool {
        let Part { parsed, left_out, .. } = &self.part;
        parsed.batch.points.is_empty() && parsed.rejected.is_empty() && *left_out == LeftOut::default()
    }

    fn reject(&mut self, number: usize, line: &[u8], error: LineError) {
        let rejected = &mut self.part.parsed.rejected;
        rejected.samples += 1;
        if self.part.faults.len() < FAULTS_MAX {
            let fault = Fault::new(number, line, error);
            rejected.explain(|| fault.to_string());
            self.part.faults.push(fault);
        }
    }

    /// Adds the samples of a point. An error affects all of them. A field whose labels are over a limit is rejected
    /// alone.
    fn point(
        &mut self,
        point: &Point<'t>,
        fields: &mut Vec<Field<'t>>,
        number: usize,
        line: &[u8],
    ) -> Result<(), LineError> {
        let Options { precision, value_field, now_ms, .. } = *self.options;
        let timestamp = match point.timestamp {
            None => now_ms,
            Some(written) => precision.milliseconds(written)?,
        };
        let head = point.head;
        if fields.is_empty() {
            labels::check_head(head)?;
        }
        self.part.left_out.repeated += keep_last_of_each_key(fields);
        let first = self.keys.len() as u32;
        let group = self.earlier_point(head, timestamp);
        for field in &*fields {
            let earlier = group.and_then(|group| self.repeated.get(&(group, field.key)).copied());
            let batch = &mut self.part.parsed.batch;
            if let Some(earlier) = earlier.and_then(|earlier| batch.points.get_mut(earlier as usize)) {
                earlier.value = Value::Float(field.value);
                self.part.left_out.repeated += 1;
                continue;
            }
            let start = batch.bytes.len();
            let variant = value_field as u8;
            if !self.known.find_pair(head, field.key, variant, &mut batch.bytes) {
                match labels::put(head, field.key, self.options, &mut batch.bytes) {
                    Ok(()) => {}
                    Err(error @ LineError::Labels(_)) => {
                        self.reject(number, line, error);
                        continue;
                    }
                    Err(error) => return Err(error),
                }
                let labels = batch.bytes.get(start..).unwrap_or_default();
                self.known.learn_pair(head, field.key, variant, labels);
            }
            let series = batch.push_series(start, Series::NO_METADATA);
            self.known.assign(series);
            batch.push_float(series, timestamp, field.value);
            if let Some(group) = group {
                self.repeated.insert((group, field.key), self.keys.len() as u32);
            }
            self.keys.push(field.key);
        }
        let last = self.keys.len() as u32;
        if group.is_none() && last > first {
            self.seen.insert((head, timestamp), first..last);
        }
        self.part.left_out.strings += point.strings;
        Ok(())
    }

    /// The number of the points with this head and time, if there was an earlier one. Prometheus accepts only one
    /// sample of a series in a millisecond; in InfluxDB the last one counts.
    fn earlier_point(&mut self, head: &'t [u8], timestamp: i64) -> Option<u32> {
        let range = self.seen.get_mut(&(head, timestamp))?;
        let group = range.start;
        // Only the second time: from then on the samples of the first point are also found by their keys.
        for sample in std::mem::replace(range, group..group) {
            if let Some(key) = self.keys.get(sample as usize) {
                self.repeated.insert((group, *key), sample);
            }
        }
        Some(group)
    }
}

/// Removes the fields whose key occurs again later in the line. Returns their number.
fn keep_last_of_each_key(fields: &mut Vec<Field<'_>>) -> u64 {
    /// With more fields than this a table is faster than comparing each field with each other one.
    const COMPARED_MAX: usize = 16;
    let before = fields.len();
    if before <= COMPARED_MAX {
        let is_repeated = |(number, field): (usize, &Field<'_>)| {
            fields.iter().skip(number + 1).any(|other| other.key == field.key)
        };
        if !fields.iter().enumerate().any(is_repeated) {
            return 0;
        }
    }
    let mut keys = HashSet::with_capacity(before);
    fields.reverse();
    fields.retain(|field| keys.insert(field.key));
    fields.reverse();
    (before - fields.len()) as u64
}

#[cfg(test)]
mod tests;
