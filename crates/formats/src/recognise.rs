//! Recognising series by the bytes by which an input names them, so that the labels of a known series are copied instead
//! of being parsed, sorted and checked again.

/// What an input asks before it parses the labels of a series, and tells after it has.
///
/// `raw` is what stands in the input for the labels, such as `up{job="a"}`. `variant` is a number for whatever else of
/// the input the labels depend on. Equal `raw` and `variant` must always mean equal labels.
pub trait Recognise {
    /// Appends the canonical labels of a known series to `out`. Returns false if the series is not known.
    fn find(&mut self, raw: &[u8], variant: u8, out: &mut Vec<u8>) -> bool;

    /// Remembers the canonical labels of a series that was parsed.
    fn learn(&mut self, raw: &[u8], variant: u8, labels: &[u8]);

    /// The same as [`Recognise::find`] for a series that is named by two texts, such as the tags and the field of a line.
    /// `head` is hashed once if calls with the same one follow each other; it has to stay where it is meanwhile.
    fn find_pair(&mut self, _head: &[u8], _part: &[u8], _variant: u8, _out: &mut Vec<u8>) -> bool {
        false
    }

    /// Remembers the canonical labels of a series that is named by two texts.
    fn learn_pair(&mut self, _head: &[u8], _part: &[u8], _variant: u8, _labels: &[u8]) {}

    /// What mapping rules make of a dotted name. A name that is dropped has no series.
    fn map(&mut self, _name: &str) -> Mapped {
        Mapped::Not
    }

    /// The labels of the last call, which found or learned them, are those of this series of the batch. Called for
    /// each series of the batch, in order.
    fn assign(&mut self, series: u32);
}

/// What mapping rules make of a dotted name.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Mapped {
    /// No rule matches.
    Not,
    Dropped,
    /// A metric name, and labels. Tags of the line win over these labels only if the rule says so.
    To {
        name: String,
        labels: Vec<(String, String)>,
        tags_win: bool,
    },
}

/// Knows no series.
#[derive(Debug, Clone, Copy, Default)]
pub struct Unknown;

impl Recognise for Unknown {
    fn find(&mut self, _: &[u8], _: u8, _: &mut Vec<u8>) -> bool {
        false
    }

    fn learn(&mut self, _: &[u8], _: u8, _: &[u8]) {}

    fn assign(&mut self, _: u32) {}
}
