//! The check of InfluxDB's line protocol.

use formats::{Recognise, Unknown};
use influx::{Lines, Options, Part, Precision, ValueField};
use model::{Limits, Value};
use std::collections::HashMap;

/// Memory that one part may take, as small as the largest line allows.
const PART_BYTES: usize = 4 << 20;

/// The first byte says the options, the rest is lines. What is accepted is whole, no series has two samples of one time,
/// and the result is the same if all series are known, and if the lines are read in small parts.
pub fn influx(bytes: &[u8]) {
    let Some((first, text)) = bytes.split_first() else { return };
    let precisions = [Precision::Nanoseconds, Precision::Milliseconds, Precision::Hours, Precision::Auto];
    let options = Options {
        precision: precisions[usize::from(first & 3)],
        value_field: if first & 4 == 0 { ValueField::Measurement } else { ValueField::Suffix },
        label: (first & 8 == 0).then_some(("db", "fuzz")),
        multiline_strings: first & 16 == 0,
        now_ms: 1,
        limits: Limits::default(),
    };
    let whole = read(text, &options, PART_BYTES, &mut Unknown);
    let mut known = Known::default();
    for _ in 0..2 {
        assert_eq!(read(text, &options, PART_BYTES, &mut known), whole);
    }
    // Samples of one time are replaced only within a part, so only their number differs.
    let parts = read(text, &options, 1, &mut Unknown);
    assert!(parts.samples.len() >= whole.samples.len() && parts.rejected == whole.rejected);
    assert_eq!(parts.strings, whole.strings);
}

#[derive(Debug, Default, PartialEq)]
struct Read {
    /// Labels, time, and the bits of the value.
    samples: Vec<(Vec<u8>, i64, u64)>,
    rejected: u64,
    strings: u64,
}

fn read(text: &[u8], options: &Options<'_>, bytes_max: usize, known: &mut dyn Recognise) -> Read {
    let (mut lines, mut bytes_max, mut read) = (Lines::new(text), bytes_max, Read::default());
    while !lines.is_done() {
        let Part { parsed, left_out, needs, .. } = lines.read(options, bytes_max, known);
        if let Some(needs) = needs {
            assert!(needs > bytes_max && needs <= PART_BYTES && parsed.batch.points.is_empty());
            bytes_max = needs;
            continue;
        }
        let batch = &parsed.batch;
        crate::formats::check_whole(batch);
        for point in &batch.points {
            let Value::Float(value) = point.value else { panic!("not a float") };
            assert!(value.is_finite());
            read.samples.push((
                batch.labels(point.series).as_bytes().to_vec(),
                point.timestamp,
                value.to_bits(),
            ));
        }
        read.rejected += parsed.rejected.samples;
        read.strings += left_out.strings;
    }
    read
}

/// All series, by what names them.
#[derive(Default)]
struct Known(HashMap<(Vec<u8>, Vec<u8>, u8), Vec<u8>>);

impl Recognise for Known {
    fn find(&mut self, _: &[u8], _: u8, _: &mut Vec<u8>) -> bool {
        false
    }
    fn learn(&mut self, _: &[u8], _: u8, _: &[u8]) {}
    fn find_pair(&mut self, head: &[u8], part: &[u8], variant: u8, out: &mut Vec<u8>) -> bool {
        let labels = self.0.get(&(head.to_vec(), part.to_vec(), variant));
        out.extend(labels.into_iter().flatten());
        labels.is_some()
    }
    fn learn_pair(&mut self, head: &[u8], part: &[u8], variant: u8, labels: &[u8]) {
        self.0.insert((head.to_vec(), part.to_vec(), variant), labels.to_vec());
    }
    fn assign(&mut self, _: u32) {}
}
