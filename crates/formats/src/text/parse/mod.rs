//! Parses the text format and OpenMetrics line by line.

mod known;
mod labels;
mod options;
mod plain;

pub use options::{Format, ParseOptions, Timestamps};

use super::family::{Families, Member};
use super::fault::{Fault, ParseError};
use super::float::{FloatError, float};
use super::line::{Cursor, Piece};
use crate::hint;
use crate::{Parsed, Recognise, Rejected};
use hashbrown::{HashMap, HashSet};
use model::{Batch, LabelError, LabelsBuilder, LabelsRef, MetricType, varint};

/// The NaN that Prometheus stores for any NaN in a text (`value.NormalNaN`), so that none is mistaken for its staleness
/// marker.
const NORMAL_NAN: f64 = f64::from_bits(0x7ff8_0000_0000_0001);

/// Parses a text into a batch. Each sample becomes a series of its own. HELP, TYPE and UNIT become metadata, to which
/// the series of the family refer.
///
/// Lenient where Prometheus is: families may be mixed, HELP and TYPE may be late, repeated (the last counts) or
/// missing, and the last line may lack its line feed. A series over a limit on label sets is left out and the rest is
/// kept. Any other error refuses the whole text.
pub fn parse(text: &[u8], options: &ParseOptions<'_>) -> Result<Parsed, ParseError> {
    read(text, Parser::new(options, None))
}

/// The same, with the same result, but faster: `known` has the labels of series that were parsed before with the same
/// [`ParseOptions::extra_labels`] and [`ParseOptions::limits`].
pub fn parse_recognising(
    text: &[u8],
    options: &ParseOptions<'_>,
    known: &mut dyn Recognise,
) -> Result<Parsed, ParseError> {
    read(text, Parser::new(options, Some(known)))
}

fn read<'a, 'o: 'a>(text: &'a [u8], mut parser: Parser<'a, 'o, '_>) -> Result<Parsed, ParseError> {
    // Canonical labels are shorter than the same labels in text.
    parser.batch.bytes = model::arena::take(text.len());
    let (mut number, mut eof, mut rest) = (0, false, text);
    while !rest.is_empty() {
        number += 1;
        let end = memchr::memchr(b'\n', rest);
        let (line, after) = rest.split_at_checked(end.unwrap_or(rest.len())).unwrap_or((rest, &[]));
        rest = after.get(1..).unwrap_or_default();
        let mut cursor = Cursor::new(line);
        let outcome = if eof { Err(Fault::AfterEof) } else { parser.line(number, &mut cursor) };
        match outcome {
            Ok(end) => eof = end,
            Err(fault) => {
                let fault = hint::of_text(text, line).map_or(fault, Fault::Encoding);
                return Err(locate(number, line, cursor.at, fault));
            }
        }
    }
    if parser.options.format == Format::OpenMetrics && !eof {
        let fault = hint::of_text(text, text).map_or(Fault::NoEof, Fault::Encoding);
        return Err(ParseError { line: number + 1, column: 1, fault });
    }
    parser.apply_created();
    Ok(Parsed { batch: parser.batch, rejected: parser.rejected })
}

#[cold]
fn locate(line: usize, text: &[u8], at: usize, fault: Fault) -> ParseError {
    let before = String::from_utf8_lossy(text.get(..at).unwrap_or(text));
    ParseError { line, column: before.chars().count() + 1, fault }
}

struct Parser<'a, 'o, 'k> {
    options: &'o ParseOptions<'o>,
    known: Option<&'k mut dyn Recognise>,
    batch: Batch,
    rejected: Rejected,
    families: Families,
    /// Families with a TYPE line, if only one is allowed.
    typed: HashSet<String>,
    /// Reused for lines without escapes, whose labels borrow from the text only.
    builder: LabelsBuilder<'a>,
    pairs: Vec<(Piece<'a>, Piece<'a>)>,
    /// The number of labels of the current line that are over the limit and not in `pairs`.
    excess_labels: usize,
    /// Unescaped strings of the current line.
    scratch: Vec<u8>,
    /// `_created` times in milliseconds, by [`group_key`].
    created: HashMap<Vec<u8>, i64>,
}

impl<'a, 'o: 'a, 'k> Parser<'a, 'o, 'k> {
    fn new(options: &'o ParseOptions<'o>, known: Option<&'k mut dyn Recognise>) -> Self {
        Parser {
            options,
            known,
            batch: Batch::new(),
            rejected: Rejected::default(),
            families: Families::default(),
            typed: HashSet::new(),
            builder: LabelsBuilder::new(),
            pairs: Vec::new(),
            excess_labels: 0,
            scratch: Vec::new(),
            created: HashMap::new(),
        }
    }

    /// Parses one line. Returns true if it was the end marker.
    fn line(&mut self, number: usize, cursor: &mut Cursor<'a>) -> Result<bool, Fault> {
        self.scratch.clear();
        if self.options.format == Format::OpenMetrics && cursor.rest() == b"# EOF" {
            return Ok(true);
        }
        cursor.blanks();
        match cursor.peek() {
            None => {}
            Some(b'#') => self.comment(cursor)?,
            Some(_) => self.sample(number, cursor)?,
        }
        Ok(false)
    }

    /// Parses HELP, TYPE and UNIT; other comments are ignored.
    fn comment(&mut self, cursor: &mut Cursor<'a>) -> Result<(), Fault> {
        cursor.take(b'#');
        cursor.blanks();
        let open_metrics = self.options.format == Format::OpenMetrics;
        let keyword = cursor.word();
        if !(matches!(keyword, b"HELP" | b"TYPE") || keyword == b"UNIT" && open_metrics) {
            return Ok(());
        }
        cursor.blanks();
        if cursor.at_end() {
            return Ok(());
        }
        let start = *cursor;
        let name = if cursor.peek() == Some(b'"') {
            cursor.quoted(&mut self.scratch)?
        } else {
            Piece::Plain(cursor.metric_name())
        };
        let name = name.bytes(&self.scratch);
        let Ok(name) = std::str::from_utf8(name) else {
            *cursor = start;
            return Err(cursor.expected("a name in UTF-8"));
        };
        let ends = matches!(cursor.peek(), None | Some(b' ' | b'\t'));
        if name.is_empty() || !ends {
            *cursor = start;
            return Err(cursor.expected("a metric name"));
        }
        if name.len() > self.options.limits.name_bytes {
            return Ok(()); // The samples of this family are left out, each with a reason.
        }
        cursor.blanks();
        if self.batch.metadata.len() >= self.options.max_points {
            return Err(Fault::TooMany { what: "families", limit: self.options.max_points });
        }
        let Some(entry) = self.families.entry(&mut self.batch.metadata, name) else { return Ok(()) };
        match keyword {
            b"TYPE" if self.options.one_type && !self.typed.insert(name.to_string()) => {
                *cursor = start;
                return Err(Fault::SecondType { name: name.chars().take(64).collect() });
            }
            b"TYPE" => {
                let start = *cursor;
                let word = String::from_utf8_lossy(cursor.word());
                let Some(kind) = MetricType::from_word(&word) else {
                    *cursor = start;
                    return Err(Fault::Type { word: word.chars().take(32).collect() });
                };
                cursor.blanks();
                if !cursor.at_end() {
                    return Err(cursor.expected("the end of the line"));
                }
                entry.kind = kind;
            }
            b"HELP" => {
                entry.help = super::cut(&cursor.help(open_metrics), self.options.limits.value_bytes);
            }
            _ => entry.unit = super::cut(cursor.word(), self.options.limits.name_bytes),
        }
        Ok(())
    }

    fn sample(&mut self, number: usize, cursor: &mut Cursor<'a>) -> Result<(), Fault> {
        let start = *cursor;
        let labels_start = self.batch.bytes.len();
        let (member, over_limit) = match self.known_series(cursor) {
            Some(member) => (member, None),
            None => self.unknown_series(cursor)?,
        };

        cursor.blanks();
        let value = self.number(cursor, "a value")?;
        cursor.blanks();
        let timestamp =
            if matches!(cursor.peek(), None | Some(b'#')) { None } else { self.sample_timestamp(cursor)? };
        let timestamp = timestamp.unwrap_or(self.options.default_timestamp);
        cursor.blanks();
        if let Some(error) = over_limit {
            let exemplar = self.options.format == Format::OpenMetrics && cursor.take(b'#');
            if exemplar {
                self.exemplar(cursor, None, timestamp)?;
                cursor.blanks();
            }
            self.rejected.series += 1;
            self.rejected.samples += 1;
            self.rejected.exemplars += u64::from(exemplar);
            self.rejected.explain(|| locate(number, cursor.line(), start.at, error.into()).to_string());
        } else if member.created && self.options.created_as_start {
            self.keep_created(labels_start, member, value)?;
        } else {
            self.admit()?;
            let series = self.batch.push_series(labels_start, member.metadata);
            if let Some(known) = &mut self.known {
                known.assign(series);
            }
            self.batch.push_float(series, timestamp, value);
            if self.options.format == Format::OpenMetrics && cursor.take(b'#') {
                let exemplar = *cursor;
                if let Some(error) = self.exemplar(cursor, Some(series), timestamp)? {
                    self.rejected.exemplars += 1;
                    self.rejected
                        .explain(|| locate(number, cursor.line(), exemplar.at, error.into()).to_string());
                }
                cursor.blanks();
            }
        }
        // The exemplar of a `_created` is not parsed.
        let skipped = member.created && cursor.peek() == Some(b'#');
        if !skipped && !cursor.at_end() {
            return Err(cursor.expected("the end of the line"));
        }
        Ok(())
    }

    /// Parses the name and the labels of a sample, and appends the canonical labels to the batch. If they are over a
    /// limit, returns it.
    fn unknown_series(&mut self, cursor: &mut Cursor<'a>) -> Result<(Member, Option<LabelError>), Fault> {
        if let Some(member) = self.plain_series(cursor) {
            return Ok((member, None));
        }
        let start = *cursor;
        self.begin_labels();
        let plain = cursor.metric_name();
        let mut name = (!plain.is_empty()).then_some(Piece::Plain(plain));
        let mut raw = cursor.since(start);
        cursor.blanks();
        if cursor.peek() == Some(b'{') {
            self.label_list(cursor, &mut name)?;
            raw = cursor.since(start);
        } else if name.is_none() {
            *cursor = start;
            return Err(cursor.expected("a metric name"));
        }
        let Some(name) = name else { return Err(LabelError::NoMetricName.into()) };
        let member = self.families.find(&self.batch.metadata, name.bytes(&self.scratch));
        if let Err(fault) = self.normalize_bounds(member) {
            *cursor = start;
            return Err(fault);
        }
        let labels_start = self.batch.bytes.len();
        match self.put_labels(Some(name)) {
            Ok(()) => {
                self.learn(raw, member, labels_start);
                Ok((member, None))
            }
            Err(error @ LabelError::Limit { .. }) => Ok((member, Some(error))),
            Err(error) => {
                *cursor = start;
                Err(error.into())
            }
        }
    }

    /// The same for a sample with plain labels; see `plain`.
    fn plain_series(&mut self, cursor: &mut Cursor<'a>) -> Option<Member> {
        if !self.options.extra_labels.is_empty() {
            return None;
        }
        let (line, labels_start) = (cursor.rest(), self.batch.bytes.len());
        let head = plain::put_plain_labels(line, &self.options.limits, &mut self.batch.bytes)?;
        let member = self.families.find(&self.batch.metadata, line.get(..head.name)?);
        if self.bound_label(member).is_some() {
            self.batch.bytes.truncate(labels_start);
            return None;
        }
        self.learn(line.get(..head.all)?, member, labels_start);
        cursor.at += head.all;
        Some(member)
    }

    fn admit(&self) -> Result<(), Fault> {
        let ParseOptions { max_points, max_label_bytes, .. } = *self.options;
        if self.batch.points.len() >= max_points {
            return Err(Fault::TooMany { what: "samples", limit: max_points });
        }
        let limit = max_label_bytes.min(Batch::MAX_BYTES);
        if self.batch.bytes.len() > limit {
            return Err(Fault::TooMany { what: "bytes of labels", limit });
        }
        Ok(())
    }

    fn number(&self, cursor: &mut Cursor<'a>, what: &'static str) -> Result<f64, Fault> {
        let start = *cursor;
        let word = cursor.word();
        let word = std::str::from_utf8(word).unwrap_or_default();
        match float(word) {
            Ok(value) if value.is_nan() => Ok(NORMAL_NAN),
            Ok(value) => Ok(value),
            Err(error) => {
                *cursor = start;
                Err(match error {
                    FloatError::OutOfRange => Fault::too_large(word),
                    FloatError::NotANumber => cursor.expected(what),
                })
            }
        }
    }

    /// The timestamp of a sample, or `None` if the options ignore it.
    fn sample_timestamp(&self, cursor: &mut Cursor<'a>) -> Result<Option<i64>, Fault> {
        let start = *cursor;
        let timestamp = self.timestamp(cursor)?;
        match self.options.timestamps {
            Timestamps::Allow => Ok(Some(timestamp)),
            Timestamps::Ignore => Ok(None),
            Timestamps::Refuse => {
                *cursor = start;
                Err(Fault::TimestampRefused)
            }
        }
    }

    fn timestamp(&self, cursor: &mut Cursor<'a>) -> Result<i64, Fault> {
        let start = *cursor;
        let timestamp = match self.options.format {
            Format::OpenMetrics => seconds_to_ms(self.number(cursor, "a timestamp in seconds")?),
            Format::Text => std::str::from_utf8(cursor.word()).ok().and_then(|word| word.parse::<i64>().ok()),
        };
        timestamp.ok_or_else(|| {
            *cursor = start;
            cursor.expected(match self.options.format {
                Format::OpenMetrics => "a timestamp in seconds",
                Format::Text => "a timestamp in whole milliseconds",
            })
        })
    }

    /// Parses `{trace_id="x"} 0.5 1700000000.0` after the `#`. Without a timestamp of its own it has that of its
    /// sample. It is added to the batch if its series is. If its labels are over a limit, returns that.
    fn exemplar(
        &mut self,
        cursor: &mut Cursor<'a>,
        series: Option<u32>,
        timestamp: i64,
    ) -> Result<Option<LabelError>, Fault> {
        self.begin_labels();
        self.scratch.clear();
        cursor.blanks();
        let open = *cursor;
        if cursor.peek() != Some(b'{') {
            return Err(cursor.expected("the exemplar's labels"));
        }
        let mut name = None;
        self.label_list(cursor, &mut name)?;
        if name.is_some() {
            *cursor = open;
            return Err(cursor.expected("labels without a metric name"));
        }
        let start = self.batch.bytes.len();
        let over_limit = match self.put_labels(None) {
            Ok(()) => None,
            Err(error @ LabelError::Limit { .. }) => Some(error),
            Err(error) => return Err(error.into()),
        };
        cursor.blanks();
        let value = self.number(cursor, "the exemplar's value")?;
        cursor.blanks();
        let timestamp = if cursor.at_end() { timestamp } else { self.timestamp(cursor)? };
        match series {
            Some(series) if over_limit.is_none() => {
                self.admit()?;
                self.batch.push_exemplar(series, timestamp, start, value);
            }
            _ => self.batch.bytes.truncate(start),
        }
        Ok(over_limit)
    }

    fn keep_created(&mut self, start: usize, member: Member, value: f64) -> Result<(), Fault> {
        let labels = LabelsRef::trusted(self.batch.bytes.get(start..).unwrap_or_default());
        let mut key = Vec::new();
        group_key(&mut key, member.metadata, labels);
        if self.created.len() >= self.options.max_points {
            return Err(Fault::TooMany { what: "samples", limit: self.options.max_points });
        }
        if let Some(created) = seconds_to_ms(value) {
            self.created.insert(key, created);
        }
        self.batch.bytes.truncate(start);
        Ok(())
    }

    /// Sets the start timestamp of each sample whose family and labels have a `_created`, anywhere in the text.
    fn apply_created(&mut self) {
        if self.created.is_empty() {
            return;
        }
        let Batch { bytes, series, points, .. } = &mut self.batch;
        let mut key = Vec::new();
        for point in points.iter_mut().filter(|point| !matches!(point.value, model::Value::Exemplar(_))) {
            let Some(series) = series.get(point.series as usize) else { continue };
            let labels = LabelsRef::trusted(model::batch::slice(bytes, series.labels));
            group_key(&mut key, series.metadata, labels);
            if let Some(created) = self.created.get(&key) {
                point.start_timestamp = *created;
            }
        }
    }
}

/// Identifies one metric of a family: the family, and the labels without the name, `le` and `quantile`.
fn group_key(key: &mut Vec<u8>, metadata: u32, labels: LabelsRef<'_>) {
    key.clear();
    key.extend_from_slice(&metadata.to_le_bytes());
    for (name, value) in labels.pairs() {
        if !matches!(name, b"__name__" | b"le" | b"quantile") {
            varint::put_bytes(key, name);
            varint::put_bytes(key, value);
        }
    }
}

/// Seconds since 1970 in milliseconds; `None` if the result is out of range or not a number.
fn seconds_to_ms(seconds: f64) -> Option<i64> {
    let milliseconds = (seconds * 1000.0).round();
    (milliseconds.abs() < 9.2e18).then_some(milliseconds as i64)
}

#[cfg(test)]
mod tests;
