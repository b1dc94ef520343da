//! A chunk as one destination sees it: the same points, with the labels they go out with.

use crate::external::ExternalLabels;
use crate::lanes::series_hash;
use crate::queue::Source;
use model::{LabelsRef, Point, Span, Value};
use std::sync::Arc;
use std::time::Duration;
use storage::Chunk;
use wal::Position;

/// Why a point is not sent.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Left {
    /// Its series record in the log could not be read.
    NoSeries,
    /// The configuration says that this kind of point is not sent.
    Kind,
}

/// What is done with series and points before they are sent.
#[derive(Debug, Default)]
pub struct Rules {
    /// Labels to add.
    pub external: ExternalLabels,
    /// Whether exemplars are sent.
    pub exemplars: bool,
    /// Whether native histograms are sent.
    pub histograms: bool,
}

/// Labels that differ from the chunk's own, by series.
#[derive(Debug)]
struct Rewritten {
    bytes: Vec<u8>,
    spans: Vec<Span>,
}

/// A chunk with its outgoing labels.
#[derive(Debug)]
pub struct Outgoing {
    chunk: Arc<Chunk>,
    /// By series: the hash of the outgoing labels.
    hashes: Vec<u64>,
    rewritten: Option<Rewritten>,
}

impl Outgoing {
    /// Works out the outgoing labels of every series of the chunk.
    pub fn new(chunk: Arc<Chunk>, rules: &Rules) -> Self {
        let batch = &chunk.batch;
        let count = batch.series.len() as u32;
        let mut hashes = Vec::with_capacity(batch.series.len());
        let rewritten = (!rules.external.is_empty()).then(|| {
            let mut bytes = Vec::with_capacity(batch.bytes.len() + 64 * batch.series.len());
            let mut spans = Vec::with_capacity(batch.series.len());
            for series in 0..count {
                let start = bytes.len();
                rules.external.apply(batch.labels(series), &mut bytes);
                let span = Span { start: start as u32, len: (bytes.len() - start) as u32 };
                hashes.push(series_hash(model::batch::slice(&bytes, span)));
                spans.push(span);
            }
            Rewritten { bytes, spans }
        });
        if rewritten.is_none() {
            hashes.extend((0..count).map(|series| series_hash(batch.labels(series).as_bytes())));
        }
        Outgoing { chunk, hashes, rewritten }
    }

    /// The chunk.
    pub fn chunk(&self) -> &Arc<Chunk> {
        &self.chunk
    }

    /// The outgoing labels of this series.
    pub fn labels(&self, series: u32) -> LabelsRef<'_> {
        match &self.rewritten {
            None => self.chunk.batch.labels(series),
            Some(rewritten) => {
                let span = rewritten.spans.get(series as usize).copied().unwrap_or_default();
                LabelsRef::trusted(model::batch::slice(&rewritten.bytes, span))
            }
        }
    }

    /// The hash of this series' outgoing labels.
    pub fn hash(&self, series: u32) -> u64 {
        self.hashes.get(series as usize).copied().unwrap_or_default()
    }

    /// The point with this index.
    pub fn point(&self, point: u32) -> Option<&Point> {
        self.chunk.batch.points.get(point as usize)
    }

    /// Why this point is not sent, if it is not.
    pub fn left_out(&self, point: &Point, rules: &Rules) -> Option<Left> {
        if point.series as usize >= self.hashes.len() {
            return Some(Left::NoSeries);
        }
        match point.value {
            Value::Exemplar(_) if !rules.exemplars => Some(Left::Kind),
            Value::Histogram(_) if !rules.histograms => Some(Left::Kind),
            _ => None,
        }
    }
}

impl Source for Outgoing {
    fn position(&self, point: u32) -> Position {
        self.chunk.position(point)
    }

    fn series(&self, point: u32) -> u64 {
        self.point(point).map_or(0, |point| self.hash(point.series))
    }

    fn timestamp(&self, point: u32) -> i64 {
        self.point(point).map_or(0, |point| point.timestamp)
    }

    fn arrived(&self) -> Duration {
        self.chunk.arrived
    }

    fn bytes(&self) -> usize {
        let rewritten = self.rewritten.as_ref().map_or(0, |rewritten| {
            rewritten.bytes.capacity() + rewritten.spans.capacity() * size_of::<Span>()
        });
        self.chunk.heap_bytes() + self.hashes.capacity() * size_of::<u64>() + rewritten
    }
}
