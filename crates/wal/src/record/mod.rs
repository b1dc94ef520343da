//! The contents of records. The first byte is the type. Builders write records and iterators decode them,
//! without an allocation per entry (except for histograms).
//!
//! | type | holds | builder | iterator |
//! | --- | --- | --- | --- |
//! | 1 | label sets of references | [`SeriesBuilder`] | [`series()`] |
//! | 2, 11 | float samples | [`SamplesBuilder`] | [`samples()`] |
//! | 3 | tombstones | | [`tombstones()`] |
//! | 4 | exemplars | [`ExemplarsBuilder`] | [`exemplars()`] |
//! | 5 | mmap markers | | |
//! | 6 | metadata of references | [`MetadataBuilder`] | [`metadata()`] |
//! | 7 to 10, 12, 13 | native histograms | [`HistogramsBuilder`] | [`histograms()`] |
//! | 14 | the time before which a checkpoint dropped samples | | |
//!
//! Numbers are varints (`uvarint`), zigzag varints (`varint`), or 8 bytes in big-endian order. A *reference*
//! is the number of a series. Types 11 to 14 were introduced in 2026; an older Prometheus cannot read them.

/// Methods that all builders share.
macro_rules! finished_record {
    ($builder:ty) => {
        impl $builder {
            pub fn bytes(&self) -> &[u8] {
                &self.bytes
            }

            /// Number of entries in the record.
            pub fn len(&self) -> u32 {
                self.entries
            }

            /// Returns true if the record has no entries. Such a record must not be written.
            pub fn is_empty(&self) -> bool {
                self.entries == 0
            }

            /// Removes all entries. The type of the record and its memory stay.
            pub fn clear(&mut self) {
                self.bytes.truncate(1);
                self.entries = 0;
            }
        }
    };
}

mod exemplars;
mod histograms;
mod metadata;
mod samples;
mod series;
mod tombstones;

pub use exemplars::{ExemplarEntry, Exemplars, ExemplarsBuilder, exemplars};
pub use histograms::{HistogramEntry, Histograms, HistogramsBuilder, histograms};
pub use metadata::{MetadataBuilder, MetadataEntries, MetadataEntry, metadata};
pub use samples::{SampleEntry, Samples, SamplesBuilder, samples};
pub use series::{Series, SeriesBuilder, series};
pub use tombstones::{Tombstone, Tombstones, tombstones};

/// The type of a record, which is its first byte.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
#[repr(u8)]
pub enum RecordType {
    Series = 1,
    Samples = 2,
    /// Deleted time ranges of series.
    Tombstones = 3,
    Exemplars = 4,
    /// Where a server's out-of-order samples were stored. Never in an agent's log.
    MmapMarkers = 5,
    /// Types, units and help texts. Never in an agent's log: an agent cannot read them.
    Metadata = 6,
    /// Native histograms with integer counts.
    Histograms = 7,
    /// Native histograms with float counts.
    FloatHistograms = 8,
    /// Native histograms with integer counts and custom buckets.
    CustomHistograms = 9,
    /// Native histograms with float counts and custom buckets.
    CustomFloatHistograms = 10,
    /// Float samples with start timestamps.
    SamplesWithStart = 11,
    /// Native histograms with integer counts (of any buckets) and start timestamps.
    HistogramsWithStart = 12,
    /// Native histograms with float counts (of any buckets) and start timestamps.
    FloatHistogramsWithStart = 13,
    /// In a checkpoint: the time before which samples were dropped.
    MinValidTime = 14,
}

impl RecordType {
    /// All types, in the order of their numbers.
    pub const ALL: [RecordType; 14] = [
        Self::Series,
        Self::Samples,
        Self::Tombstones,
        Self::Exemplars,
        Self::MmapMarkers,
        Self::Metadata,
        Self::Histograms,
        Self::FloatHistograms,
        Self::CustomHistograms,
        Self::CustomFloatHistograms,
        Self::SamplesWithStart,
        Self::HistogramsWithStart,
        Self::FloatHistogramsWithStart,
        Self::MinValidTime,
    ];

    pub fn from_number(number: u8) -> Option<Self> {
        Self::ALL.get(usize::from(number).checked_sub(1)?).copied()
    }

    /// Returns the type of `record`, or `None` if it is unknown or the record is empty.
    pub fn of(record: &[u8]) -> Option<Self> {
        Self::from_number(*record.first()?)
    }

    pub const fn is_histograms(self) -> bool {
        matches!(
            self,
            Self::Histograms
                | Self::FloatHistograms
                | Self::CustomHistograms
                | Self::CustomFloatHistograms
                | Self::HistogramsWithStart
                | Self::FloatHistogramsWithStart
        )
    }

    /// Returns true if the record holds data that a queue delivers (samples, histograms or exemplars), not
    /// information about such data.
    pub const fn is_data(self) -> bool {
        self.is_histograms() || matches!(self, Self::Samples | Self::SamplesWithStart | Self::Exemplars)
    }

    /// The type's name in the metrics of Prometheus.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Series => "series",
            Self::Samples => "samples",
            Self::Tombstones => "tombstones",
            Self::Exemplars => "exemplars",
            Self::MmapMarkers => "mmapmarkers",
            Self::Metadata => "metadata",
            Self::Histograms => "histogram_samples",
            Self::FloatHistograms => "float_histogram_samples",
            Self::CustomHistograms => "custom_buckets_histogram_samples",
            Self::CustomFloatHistograms => "custom_buckets_float_histogram_samples",
            Self::SamplesWithStart => "samples_v2",
            Self::HistogramsWithStart => "histogram_samples_v2",
            Self::FloatHistogramsWithStart => "float_histogram_samples_v2",
            Self::MinValidTime => "min_valid_time",
        }
    }
}

impl std::fmt::Display for RecordType {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(self.as_str())
    }
}

/// The contents of a record end too early or are invalid.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("a record of type {kind:?} is malformed at entry {entry}")]
pub struct DecodeError {
    /// The type of the record, or `None` if it is unknown or not the requested one.
    pub kind: Option<RecordType>,
    /// Number of the malformed entry, from 0. The entries before it are valid.
    pub entry: u32,
}

/// Reads 8 bytes in big-endian order.
fn take_be64(input: &mut &[u8]) -> Option<u64> {
    let (bytes, rest) = input.split_first_chunk()?;
    *input = rest;
    Some(u64::from_be_bytes(*bytes))
}

fn take_f64(input: &mut &[u8]) -> Option<f64> {
    take_be64(input).map(f64::from_bits)
}

fn take_byte(input: &mut &[u8]) -> Option<u8> {
    let (&byte, rest) = input.split_first()?;
    *input = rest;
    Some(byte)
}

/// The older encoding of references and timestamps: as differences to those of the first entry, which are
/// stored in full at the start of the record.
#[derive(Debug, Clone, Copy, Default)]
struct Base {
    reference: u64,
    timestamp: i64,
}

impl Base {
    fn put(self, out: &mut Vec<u8>) {
        out.extend_from_slice(&self.reference.to_be_bytes());
        out.extend_from_slice(&self.timestamp.to_be_bytes());
    }

    fn take(input: &mut &[u8]) -> Option<Self> {
        let reference = take_be64(input)?;
        let timestamp = take_be64(input)? as i64;
        Some(Base { reference, timestamp })
    }
}

/// The encoding of references and timestamps in records with start timestamps. A reference is stored as the
/// difference to the previous entry, a timestamp as the difference to the first entry. A marker precedes each
/// start timestamp.
#[derive(Debug, Clone, Copy, Default)]
struct StartBase {
    previous_reference: u64,
    first_timestamp: i64,
    first_start: i64,
    previous_start: i64,
}

impl StartBase {
    const NO_START: u8 = 0;
    const SAME_START: u8 = 1;
    const START: u8 = 2;

    fn put(&mut self, out: &mut Vec<u8>, first: bool, reference: u64, timestamp: i64, start: i64) {
        use model::varint::put_i64;
        if first {
            put_i64(out, reference as i64);
            put_i64(out, timestamp);
            put_i64(out, start);
            (self.first_timestamp, self.first_start) = (timestamp, start);
        } else {
            put_i64(out, reference.wrapping_sub(self.previous_reference) as i64);
            put_i64(out, timestamp.wrapping_sub(self.first_timestamp));
            if start == 0 {
                out.push(Self::NO_START);
            } else if start == self.previous_start {
                out.push(Self::SAME_START);
            } else {
                out.push(Self::START);
                put_i64(out, start.wrapping_sub(self.first_start));
            }
        }
        (self.previous_reference, self.previous_start) = (reference, start);
    }

    fn take(&mut self, input: &mut &[u8], first: bool) -> Option<(u64, i64, i64)> {
        use model::varint::take_i64;
        let (reference, timestamp, start);
        if first {
            reference = take_i64(input)? as u64;
            timestamp = take_i64(input)?;
            start = take_i64(input)?;
            (self.first_timestamp, self.first_start) = (timestamp, start);
        } else {
            reference = self.previous_reference.wrapping_add(take_i64(input)? as u64);
            timestamp = self.first_timestamp.wrapping_add(take_i64(input)?);
            start = match take_byte(input)? {
                Self::NO_START => 0,
                Self::SAME_START => self.previous_start,
                _ => self.first_start.wrapping_add(take_i64(input)?),
            };
        }
        (self.previous_reference, self.previous_start) = (reference, start);
        Some((reference, timestamp, start))
    }
}

/// Decodes a record: `rest` is the remaining input, `entry` the number of entries decoded so far.
#[derive(Debug, Clone)]
struct Cursor<'a> {
    kind: Option<RecordType>,
    rest: &'a [u8],
    entry: u32,
}

impl<'a> Cursor<'a> {
    fn new(
        record: &'a [u8],
        accepts: impl Fn(RecordType) -> bool,
    ) -> Result<(Self, RecordType), DecodeError> {
        let kind = RecordType::of(record).filter(|&kind| accepts(kind));
        let kind = kind.ok_or(DecodeError { kind: None, entry: 0 })?;
        let rest = record.get(1..).unwrap_or_default();
        Ok((Cursor { kind: Some(kind), rest, entry: 0 }, kind))
    }

    /// Reads the base that precedes the entries. A record without entries has no base.
    fn take_base(&mut self) -> Result<Base, DecodeError> {
        if self.rest.is_empty() {
            return Ok(Base::default());
        }
        Base::take(&mut self.rest).ok_or(DecodeError { kind: self.kind, entry: 0 })
    }

    /// Decodes the next entry with `take`. After an error there are no more entries.
    #[inline]
    fn next<T>(
        &mut self,
        take: impl FnOnce(&mut &'a [u8], bool) -> Option<T>,
    ) -> Option<Result<T, DecodeError>> {
        if self.rest.is_empty() {
            return None;
        }
        match take(&mut self.rest, self.entry == 0) {
            Some(entry) => {
                self.entry += 1;
                Some(Ok(entry))
            }
            None => {
                self.rest = &[];
                Some(Err(DecodeError { kind: self.kind, entry: self.entry }))
            }
        }
    }
}

/// Decodes a whole record and discards it. Returns the number of entries, or where the record is malformed.
pub fn check(record: &[u8]) -> Result<u32, DecodeError> {
    fn count<T>(entries: impl Iterator<Item = Result<T, DecodeError>>) -> Result<u32, DecodeError> {
        entries.map(|entry| entry.map(drop)).try_fold(0, |count, entry| entry.map(|()| count + 1))
    }
    let kind = RecordType::of(record).ok_or(DecodeError { kind: None, entry: 0 })?;
    match kind {
        RecordType::Series => count(series(record)?),
        RecordType::Samples | RecordType::SamplesWithStart => count(samples(record)?),
        RecordType::Tombstones => count(tombstones(record)?),
        RecordType::Exemplars => count(exemplars(record)?),
        RecordType::Metadata => count(metadata(record)?),
        RecordType::MmapMarkers if record.len() % 16 == 1 => Ok((record.len() / 16) as u32),
        RecordType::MinValidTime if record.len() == 9 => Ok(1),
        RecordType::MmapMarkers | RecordType::MinValidTime => Err(DecodeError { kind: Some(kind), entry: 0 }),
        _ => count(histograms(record)?),
    }
}

#[cfg(test)]
mod tests;
