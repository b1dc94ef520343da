//! Recognises series by the bytes that name them in an input. The labels of a known series are copied instead of being
//! parsed, sorted and checked again.

/// Finds the labels of known series and remembers those of new ones. A parser calls it before and after it parses
/// labels.
///
/// `raw` is the text that names the series in the input, such as `up{job="a"}`. `variant` is a number for everything
/// else in the input that the labels depend on. Equal `raw` and `variant` must always mean equal labels.
pub trait Recognise {
    /// Appends the canonical labels of a known series to `out`. Returns false if the series is not known.
    fn find(&mut self, raw: &[u8], variant: u8, out: &mut Vec<u8>) -> bool;

    /// Remembers the canonical labels of a series that was parsed.
    fn learn(&mut self, raw: &[u8], variant: u8, labels: &[u8]);

    /// The same as [`Recognise::find`] for a series that is named by two texts, such as the tags and the field of a
    /// line. Consecutive calls with the same `head` hash it only once; it must stay at the same address between them.
    fn find_pair(&mut self, _head: &[u8], _part: &[u8], _variant: u8, _out: &mut Vec<u8>) -> bool {
        false
    }

    /// Remembers the canonical labels of a series that is named by two texts.
    fn learn_pair(&mut self, _head: &[u8], _part: &[u8], _variant: u8, _labels: &[u8]) {}

    /// Applies the mapping rules to a dotted name. A name that is dropped has no series.
    fn map(&mut self, _name: &str) -> Mapped {
        Mapped::Not
    }

    /// Assigns the labels of the last call, which found or learned them, to this series of the batch. Called for each
    /// series of the batch, in order.
    fn assign(&mut self, series: u32);
}

/// The result of the mapping rules for a dotted name.
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

/// A `Recognise` that knows no series.
#[derive(Debug, Clone, Copy, Default)]
pub struct Unknown;

impl Recognise for Unknown {
    fn find(&mut self, _: &[u8], _: u8, _: &mut Vec<u8>) -> bool {
        false
    }

    fn learn(&mut self, _: &[u8], _: u8, _: &[u8]) {}

    fn assign(&mut self, _: u32) {}
}
