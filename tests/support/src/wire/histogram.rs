//! A native histogram with integer counts: an encoder for tests, and a comparison for receivers.

use super::{Field, Fields, put_message};
use model::varint::{put_i64, put_u64, take_i64, zigzag};

/// A native histogram with one span of positive buckets, without its timestamp.
#[derive(Debug, Clone, PartialEq)]
pub struct Histogram {
    /// The number of all observations.
    pub count: u64,
    /// The sum of the observations.
    pub sum: f64,
    /// The resolution of the buckets.
    pub schema: i32,
    /// Observations up to this value count as zero.
    pub zero_threshold: f64,
    /// The number of the first bucket.
    pub offset: i32,
    /// For each bucket the difference of its count from that of the previous bucket.
    pub deltas: Vec<i64>,
}

impl Histogram {
    /// Encodes the histogram. The message is the same in both versions.
    pub fn encode(&self, timestamp: i64) -> Vec<u8> {
        let mut out = Vec::with_capacity(96);
        let number = |out: &mut Vec<u8>, field: u64, number: u64| {
            put_u64(out, field << 3);
            put_u64(out, number);
        };
        let double = |out: &mut Vec<u8>, field: u64, value: f64| {
            put_u64(out, field << 3 | 1);
            out.extend_from_slice(&value.to_le_bytes());
        };
        number(&mut out, 1, self.count);
        double(&mut out, 3, self.sum);
        number(&mut out, 4, zigzag(self.schema.into()));
        double(&mut out, 5, self.zero_threshold);
        let mut span = Vec::new();
        number(&mut span, 1, zigzag(self.offset.into()));
        number(&mut span, 2, self.deltas.len() as u64);
        put_message(&mut out, 11, &span);
        let mut deltas = Vec::new();
        self.deltas.iter().for_each(|&delta| put_i64(&mut deltas, delta));
        put_message(&mut out, 12, &deltas);
        number(&mut out, 15, timestamp as u64);
        out
    }

    /// Returns true if `message` has the same values, bit by bit, and nothing else apart from a timestamp and
    /// a reset hint. Fields may be in any order, and fields with the value zero may be present.
    pub fn is_in(&self, message: &[u8]) -> bool {
        self.compare(message).unwrap_or(false)
    }

    fn compare(&self, message: &[u8]) -> Option<bool> {
        let (mut count, mut schema, mut sum, mut zero_threshold) = (0, 0, 0, 0);
        let (mut span, mut deltas, mut more): (_, &[u8], _) = (None, b"", false);
        for field in Fields(message) {
            match field.ok()? {
                (1, Field::Number(value)) => count = value,
                (3, Field::Double(bits)) => sum = bits,
                (4, Field::Number(value)) => schema = value,
                (5, Field::Double(bits)) => zero_threshold = bits,
                (11, Field::Bytes(bytes)) if span.is_none() => span = Some(bytes),
                (12, Field::Bytes(bytes)) if deltas.is_empty() => deltas = bytes,
                (14 | 15, Field::Number(_)) => {}
                (_, Field::Number(0) | Field::Double(0) | Field::Bytes(b"")) => {}
                _ => more = true,
            }
        }
        let (mut offset, mut length) = (0, 0);
        for field in Fields(span?) {
            match field.ok()? {
                (1, Field::Number(value)) => offset = value,
                (2, Field::Number(value)) => length = value,
                _ => return Some(false),
            }
        }
        let numbers = [count, schema, sum, zero_threshold, offset, length];
        let expected = [
            self.count,
            zigzag(self.schema.into()),
            self.sum.to_bits(),
            self.zero_threshold.to_bits(),
            zigzag(self.offset.into()),
            self.deltas.len() as u64,
        ];
        for &delta in &self.deltas {
            if take_i64(&mut deltas)? != delta {
                return Some(false);
            }
        }
        Some(!more && numbers == expected && deltas.is_empty())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_difference_is_reported() {
        let one = Histogram {
            count: 6,
            sum: 1.25,
            schema: 3,
            zero_threshold: 1e-128,
            offset: -20,
            deltas: vec![1, 1, 1],
        };
        let message = one.encode(7);
        assert!(one.is_in(&message));
        let others = [
            Histogram { count: 7, ..one.clone() },
            Histogram { sum: 1.5, ..one.clone() },
            Histogram { schema: 4, ..one.clone() },
            Histogram { zero_threshold: 0.0, ..one.clone() },
            Histogram { offset: 20, ..one.clone() },
            Histogram { deltas: vec![1, 1], ..one.clone() },
            Histogram { deltas: vec![1, 1, 2], ..one.clone() },
            Histogram { deltas: vec![1, 1, 1, 0], ..one.clone() },
        ];
        for other in others {
            assert!(!other.is_in(&message), "{other:?}");
        }
        // An explicit zero count and a reset hint are allowed. Then negative buckets and a truncated message,
        // which are not.
        let with = |field: u64, value: u64| {
            let mut more = message.clone();
            put_u64(&mut more, field << 3);
            put_u64(&mut more, value);
            more
        };
        assert!(one.is_in(&with(6, 0)) && one.is_in(&with(14, 1)));
        assert!(!one.is_in(&with(6, 1)));
        let mut negative = message.clone();
        put_message(&mut negative, 9, &[2]);
        assert!(!one.is_in(&negative));
        assert!(!one.is_in(&message[..message.len() - 20]));
        assert!(!one.is_in(b""));
    }
}
