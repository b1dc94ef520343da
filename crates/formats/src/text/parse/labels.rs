//! Parses the labels of a sample or an exemplar and converts them to canonical bytes.

use super::Parser;
use crate::exposition::bound::bound;
use crate::text::family::Member;
use crate::text::fault::Fault;
use crate::text::float::{FloatError, float};
use crate::text::line::{Cursor, Piece};
use model::{LabelError, LabelsBuilder, Limits, MetricType, labels};

impl<'a, 'o: 'a> Parser<'a, 'o, '_> {
    /// Writes the bounds of buckets and quantiles as Prometheus does after a scrape: `le="1"` and `le="1e0"` become
    /// `le="1.0"`, so that all spellings are the same series. A number beyond a 64-bit float is an error, as in a
    /// Pushgateway.
    pub(super) fn normalize_bounds(&mut self, member: Member) -> Result<(), Fault> {
        let Some(bound_label) = self.bound_label(member) else { return Ok(()) };
        for (label, value) in &mut self.pairs {
            if label.bytes(&self.scratch) != bound_label {
                continue;
            }
            let text = std::str::from_utf8(value.bytes(&self.scratch)).unwrap_or_default();
            let number = match float(text) {
                Ok(number) => number,
                Err(FloatError::OutOfRange) => return Err(Fault::too_large(text)),
                Err(FloatError::NotANumber) => continue,
            };
            let normal = bound(number);
            if normal != text {
                let start = self.scratch.len();
                self.scratch.extend_from_slice(normal.as_bytes());
                *value = Piece::Unescaped(start, self.scratch.len());
            }
        }
        Ok(())
    }

    /// The label whose values are bounds in this family.
    pub(super) fn bound_label(&self, member: Member) -> Option<&'static [u8]> {
        match self.batch.metadata.get(member.metadata as usize).map(|of| of.kind) {
            Some(MetricType::Histogram) => Some(b"le"),
            Some(MetricType::Summary) => Some(b"quantile"),
            _ => None,
        }
    }

    pub(super) fn begin_labels(&mut self) {
        self.pairs.clear();
        self.excess_labels = 0;
    }

    /// Parses `{a="b",c="d"}`, in which a quoted metric name may be among the labels.
    pub(super) fn label_list(
        &mut self,
        cursor: &mut Cursor<'a>,
        name: &mut Option<Piece<'a>>,
    ) -> Result<(), Fault> {
        cursor.take(b'{');
        loop {
            cursor.blanks();
            if cursor.take(b'}') {
                return Ok(());
            }
            let start = *cursor;
            let quoted = cursor.peek() == Some(b'"');
            let label =
                if quoted { cursor.quoted(&mut self.scratch)? } else { Piece::Plain(cursor.label_name()) };
            cursor.blanks();
            if cursor.take(b'=') {
                if label.bytes(&self.scratch).is_empty() {
                    *cursor = start;
                    return Err(cursor.expected("a label name"));
                }
                cursor.blanks();
                let value = cursor.quoted(&mut self.scratch)?;
                if self.pairs.len() <= self.options.limits.labels {
                    self.pairs.push((label, value));
                } else {
                    self.excess_labels += 1;
                }
            } else if quoted {
                if name.replace(label).is_some() {
                    *cursor = start;
                    return Err(Fault::SecondName);
                }
            } else if label.bytes(&self.scratch).is_empty() {
                return Err(cursor.expected("a label name or a closing brace"));
            } else {
                return Err(cursor.expected("= after the label name"));
            }
            cursor.blanks();
            if !cursor.take(b',') && cursor.peek() != Some(b'}') {
                return Err(cursor.expected("a comma or a closing brace"));
            }
        }
    }

    /// Appends the canonical bytes of the collected labels and the metric name. A metric also has the extra labels.
    pub(super) fn put_labels(&mut self, name: Option<Piece<'a>>) -> Result<(), LabelError> {
        if self.excess_labels > 0 {
            let is = self.pairs.len() + self.excess_labels + usize::from(name.is_some());
            let what = "the number of labels".into();
            return Err(LabelError::Limit { what, is, limit: self.options.limits.labels });
        }
        let extra = if name.is_some() { self.options.extra_labels } else { &[] };
        let limits = &self.options.limits;
        let fill = (&*self.pairs, name, extra);
        if self.scratch.is_empty() {
            return fill_labels(&mut self.builder, fill, &[], limits, &mut self.batch.bytes);
        }
        fill_labels(&mut LabelsBuilder::new(), fill, &self.scratch, limits, &mut self.batch.bytes)
    }
}

/// The labels, the metric name and the extra labels.
type Fill<'f, 'a> = (&'f [(Piece<'a>, Piece<'a>)], Option<Piece<'a>>, &'a [(&'a str, &'a str)]);

fn fill_labels<'a>(
    builder: &mut LabelsBuilder<'a>,
    (pairs, name, extra): Fill<'_, 'a>,
    scratch: &'a [u8],
    limits: &Limits,
    out: &mut Vec<u8>,
) -> Result<(), LabelError> {
    if let Some(name) = name {
        let name = name.bytes(scratch);
        if name.is_empty() {
            return Err(LabelError::NoMetricName);
        }
        builder.push(labels::METRIC_NAME.as_bytes(), name);
    }
    for (label, value) in pairs {
        let label = label.bytes(scratch);
        if !extra.iter().any(|(name, _)| name.as_bytes() == label) {
            builder.push(label, value.bytes(scratch));
        }
    }
    for (label, value) in extra {
        builder.push(label.as_bytes(), value.as_bytes());
    }
    builder.finish(limits, out)
}
