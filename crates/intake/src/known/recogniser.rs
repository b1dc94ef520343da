//! Uses the known series for one request.

use super::{KNOWN_SET_BYTES, Key, Known, KnownSeries, Next, Outcome};
use crate::rules::{self, AllMade, Made, Rules};
use crate::settings::InputSettings;
use formats::text::{self, ParseError, ParseOptions};
use formats::{Mapped, Parsed, Recognise, Rejected};
use model::{Batch, Kinds, LabelsRef, Limits};
use std::sync::Arc;
use storage::registry::Hasher;

/// The variant of keys whose raw bytes are canonical labels.
const CANONICAL: u8 = u8::MAX;

/// Recognises the series of an input's requests, and applies the input's rules to new series. It has one snapshot of
/// the settings.
#[derive(Debug)]
pub struct Recogniser {
    pub(crate) known: Arc<KnownSeries>,
    pub(crate) hasher: Hasher,
    pub(crate) settings: Arc<InputSettings>,
    pub(crate) limits: Limits,
    pub(crate) section: &'static str,
    /// The number of the settings, which no other settings have.
    pub(crate) generation: u64,
}

/// Parses lines into a batch. The parameters are the text, the time of arrival in milliseconds since 1970, the limits,
/// and the known series.
pub type ParseLines = fn(&[u8], i64, &Limits, &mut dyn Recognise) -> Parsed;

/// A decoded request, with the results of the rules for its series if they were recognised.
#[derive(Debug)]
pub struct Recognised {
    pub parsed: Parsed,
    /// `None` if the input's rules have not been applied yet.
    pub(crate) made: Option<AllMade>,
    /// Samples that mapping rules dropped.
    pub(crate) dropped: u64,
}

impl From<Parsed> for Recognised {
    fn from(parsed: Parsed) -> Self {
        Recognised { parsed, made: None, dropped: 0 }
    }
}

impl Recogniser {
    /// Parses a text like [`text::parse`].
    pub fn parse_text(&self, bytes: &[u8], options: &ParseOptions<'_>) -> Result<Recognised, ParseError> {
        // Strings are quoted, so that different labels never result in the same text.
        let mut request = self.begin(&format!("{:?} {:?}", options.extra_labels, options.limits));
        let parsed = text::parse_recognising(bytes, options, &mut request)?;
        Ok(request.finish(parsed))
    }

    /// Parses lines of a protocol. `parse` gets the time of arrival in milliseconds since 1970.
    pub fn parse_lines(&self, text: &[u8], now_ms: i64, parse: ParseLines) -> Recognised {
        self.read("", |known| parse(text, now_ms, &self.limits, known))
    }

    pub fn limits(&self) -> Limits {
        self.limits
    }

    /// Decodes any other format. `depends_on` has everything that the labels of the series depend on, besides their raw
    /// bytes and the settings.
    pub fn read(&self, depends_on: &str, read: impl FnOnce(&mut dyn Recognise) -> Parsed) -> Recognised {
        let mut request = self.begin(&format!("{depends_on} {:?}", self.limits));
        let parsed = read(&mut request);
        request.finish(parsed)
    }

    /// Applies the rules to a batch whose series were not recognised. Returns the number of points that they dropped.
    pub(crate) fn apply_rules(&self, batch: &mut Batch, rejected: &mut Rejected) -> Kinds {
        if !self.settings.has_rules() {
            return Kinds::default();
        }
        let mut request = self.begin(&format!("{:?}", self.limits));
        for number in 0..batch.series.len() as u32 {
            let labels = batch.labels(number).as_bytes();
            let key = request.key(labels, CANONICAL);
            if !request.look_up(key, |_| ()) {
                request.learn(labels, CANONICAL, labels);
            }
            request.assign(number);
        }
        rules::apply_results(batch, std::mem::take(&mut request.made), rejected)
    }

    /// `depends_on` has everything that the labels of this request's series depend on, besides their raw bytes and the
    /// settings.
    fn begin(&self, depends_on: &str) -> Request<'_> {
        let context = format!("{} {} {depends_on}", self.generation, self.section);
        Request {
            known: &self.known,
            hasher: &self.hasher,
            rules: Rules::new(self.settings.clone(), self.limits),
            settings: &self.settings,
            dropped: 0,
            context: self.hasher.hash(context.as_bytes()),
            hashed: None,
            next: Next::default(),
            head: None,
            pair: Vec::new(),
            last: None,
            made: AllMade::default(),
            hits: 0,
            misses: 0,
        }
    }
}

/// The series of one request.
#[derive(Debug)]
struct Request<'r> {
    known: &'r KnownSeries,
    hasher: &'r Hasher,
    rules: Rules,
    settings: &'r InputSettings,
    context: u128,
    /// The address of the raw bytes that were hashed last, and their hash: a series that is not found is learned next.
    hashed: Option<(*const [u8], u128)>,
    next: Next,
    /// The same for the first text of series that are named by two texts.
    head: Option<(*const [u8], u128)>,
    /// The hash of the first text, followed by the second one.
    pair: Vec<u8>,
    /// The series of the last call of `find` or `learn`.
    last: Option<(Made, u128)>,
    made: AllMade,
    /// Samples that mapping rules dropped.
    dropped: u64,
    hits: u64,
    misses: u64,
}

impl Request<'_> {
    fn key(&mut self, raw: &[u8], variant: u8) -> Key {
        let hash = match self.hashed {
            Some((last, hash)) if std::ptr::eq(last, raw) => hash,
            _ => self.hasher.hash(raw),
        };
        self.hashed = Some((raw, hash));
        Key { raw: hash, variant, context: self.context }
    }

    /// The key of a series that is named by two texts.
    #[inline]
    fn pair_key(&mut self, head: &[u8], part: &[u8], variant: u8) -> Key {
        let hash = match self.head {
            Some((last, hash)) if std::ptr::eq(last, head) => hash,
            _ => self.hasher.hash(head),
        };
        self.head = Some((head, hash));
        self.pair.clear();
        self.pair.extend_from_slice(&hash.to_le_bytes());
        self.pair.extend_from_slice(part);
        Key { raw: self.hasher.hash(&self.pair), variant, context: self.context }
    }

    fn finish(mut self, parsed: Parsed) -> Recognised {
        Recognised { parsed, made: Some(std::mem::take(&mut self.made)), dropped: self.dropped }
    }

    #[inline]
    fn look_up(&mut self, key: Key, take: impl FnOnce(&[u8])) -> bool {
        let changed = &mut self.made.changed;
        let found = self.known.with(key, &mut self.next, |known| {
            take(known.labels);
            let made = match known.outcome {
                Outcome::Same => Made::Same,
                Outcome::Dropped => Made::Dropped,
                Outcome::Changed(labels) => rules::changed(labels, changed),
            };
            (made, known.hash)
        });
        match found.is_some() {
            true => self.hits += 1,
            false => self.misses += 1,
        }
        self.last = found;
        self.last.is_some()
    }

    fn remember(&mut self, key: Key, labels: &[u8]) {
        let made = self.rules.make(LabelsRef::trusted(labels), &mut self.made.changed);
        let (outcome, after) = match &made {
            Made::Same => (Some(Outcome::Same), labels),
            Made::Dropped => (Some(Outcome::Dropped), labels),
            Made::Changed(span) => {
                let changed = model::batch::slice(&self.made.changed, *span);
                (Some(Outcome::Changed(changed)), changed)
            }
            Made::Invalid(_) => (None, labels),
        };
        let hash = self.hasher.hash(after);
        let is_small = [labels, after].iter().all(|bytes| bytes.len() <= KNOWN_SET_BYTES);
        if let Some(outcome) = outcome.filter(|_| is_small) {
            self.known.insert(key, Known { labels, outcome, hash });
        }
        self.last = Some((made, hash));
    }
}

impl Recognise for Request<'_> {
    fn find(&mut self, raw: &[u8], variant: u8, out: &mut Vec<u8>) -> bool {
        let key = self.key(raw, variant);
        self.look_up(key, |labels| out.extend_from_slice(labels))
    }

    fn learn(&mut self, raw: &[u8], variant: u8, labels: &[u8]) {
        let key = self.key(raw, variant);
        self.remember(key, labels);
    }

    fn find_pair(&mut self, head: &[u8], part: &[u8], variant: u8, out: &mut Vec<u8>) -> bool {
        let key = self.pair_key(head, part, variant);
        self.look_up(key, |labels| out.extend_from_slice(labels))
    }

    fn learn_pair(&mut self, head: &[u8], part: &[u8], variant: u8, labels: &[u8]) {
        let key = self.pair_key(head, part, variant);
        self.remember(key, labels);
    }

    fn map(&mut self, name: &str) -> Mapped {
        let Some(mapping) = &self.settings.mapping else { return Mapped::Not };
        let Some(found) = mapping.find(name, mapping::Kind::Gauge) else { return Mapped::Not };
        if found.rule.is_drop {
            self.dropped += 1;
            return Mapped::Dropped;
        }
        let labels = found.labels.into_iter().map(|(label, value)| (label.to_string(), value)).collect();
        Mapped::To { name: found.name, labels, tags_win: found.rule.honor_labels }
    }

    fn assign(&mut self, series: u32) {
        let Some((made, hash)) = self.last.take() else { return };
        debug_assert_eq!(self.made.hashes.len(), series as usize, "series are assigned in order");
        self.made.hashes.push(hash);
        // Without rules all results would be `Made::Same`.
        if !self.rules.is_empty() {
            self.made.series.push(made);
        }
    }
}

impl Drop for Request<'_> {
    fn drop(&mut self) {
        self.known.hits.add(self.hits);
        self.known.misses.add(self.misses);
    }
}
