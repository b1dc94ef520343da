//! The labels of a data point: its attributes, those of its resource and its scope (`createAttributes` in
//! `prometheusremotewrite/helper.go`).

use crate::label_name::{self, LabelNameError};
use crate::settings::Settings;
use crate::value::{self, NESTING_MAX, STRUCTURE_BYTES_MAX, ValueError};
use formats::wire::Fault;
use model::labels::METRIC_NAME;
use model::{LabelError, LabelsBuilder, Limits};

/// The key of an attribute, and the message of its value.
pub(super) type Attribute<'a> = (&'a [u8], &'a [u8]);

pub(super) const SERVICE_NAME: &[u8] = b"service.name";
pub(super) const SERVICE_NAMESPACE: &[u8] = b"service.namespace";
pub(super) const SERVICE_INSTANCE_ID: &[u8] = b"service.instance.id";
/// The attributes that become `job` and `instance`.
pub(super) const IDENTIFYING: [&[u8]; 3] = [SERVICE_NAME, SERVICE_NAMESPACE, SERVICE_INSTANCE_ID];

/// The most bytes of values that are joined because their names are one label name.
const JOINED_BYTES_MAX: usize = Limits::MAX.value_bytes;

/// Why labels can't be made.
#[derive(Debug)]
pub(super) enum LabelFault {
    /// The request is damaged.
    Fault(Fault),
    Invalid(String),
}

impl From<ValueError> for LabelFault {
    fn from(error: ValueError) -> Self {
        match error {
            ValueError::Fault(fault) => LabelFault::Fault(fault),
            ValueError::TooDeep => LabelFault::Invalid(format!(
                "an attribute with a value that is nested more than {NESTING_MAX} levels deep"
            )),
            ValueError::TooLarge => LabelFault::Invalid(format!(
                "an attribute whose value is a list, a map or bytes of more than {STRUCTURE_BYTES_MAX} bytes"
            )),
        }
    }
}

impl From<LabelNameError> for LabelFault {
    fn from(error: LabelNameError) -> Self {
        LabelFault::Invalid(error.to_string())
    }
}

/// A text: a part of the request, or of the arena.
#[derive(Debug, Clone, Copy)]
pub(super) enum Piece<'a> {
    Body(&'a [u8]),
    Arena { start: usize, end: usize },
}

impl<'a> Piece<'a> {
    const EMPTY: Piece<'static> = Piece::Body(&[]);

    pub(super) fn read<'s>(self, arena: &'s [u8]) -> &'s [u8]
    where
        'a: 's,
    {
        match self {
            Piece::Body(bytes) => bytes,
            Piece::Arena { start, end } => arena.get(start..end).unwrap_or_default(),
        }
    }

    pub(super) fn is_empty(self) -> bool {
        match self {
            Piece::Body(bytes) => bytes.is_empty(),
            Piece::Arena { start, end } => start == end,
        }
    }
}

/// A name and a value.
type Pair<'a> = (Piece<'a>, Piece<'a>);

/// The labels of one data point, and what holds for its resource and scope. One set serves a whole request.
#[derive(Debug, Default)]
pub(super) struct LabelSet<'a> {
    /// Texts that are not in the request: first those of the resource, then those of the scope, then those of the data
    /// point.
    arena: Vec<u8>,
    resource_end: usize,
    scope_end: usize,
    /// Resource attributes that become labels, where the data point does not have them.
    promoted: Vec<Pair<'a>>,
    /// `job` and `instance`.
    identity: Vec<Pair<'a>>,
    /// Labels of the scope. An empty value removes a label.
    scope: Vec<Pair<'a>>,
    pairs: Vec<Pair<'a>>,
}

impl<'a> LabelSet<'a> {
    /// Begins a resource.
    pub(super) fn set_resource(
        &mut self,
        attributes: &[Attribute<'a>],
        settings: &Settings,
    ) -> Result<(), LabelFault> {
        self.arena.clear();
        [&mut self.promoted, &mut self.identity, &mut self.scope, &mut self.pairs]
            .into_iter()
            .for_each(Vec::clear);
        let result = self.read_resource(attributes, settings);
        self.resource_end = self.arena.len();
        self.scope_end = self.arena.len();
        result
    }

    fn read_resource(&mut self, attributes: &[Attribute<'a>], settings: &Settings) -> Result<(), LabelFault> {
        let find = |name: &[u8]| attributes.iter().find(|(key, _)| *key == name).map(|(_, value)| *value);
        if let Some(name) = find(SERVICE_NAME) {
            let start = self.arena.len();
            if let Some(namespace) = find(SERVICE_NAMESPACE) {
                self.append_text(namespace)?;
                self.arena.push(b'/');
            }
            self.append_text(name)?;
            let job = Piece::Arena { start, end: self.arena.len() };
            self.identity.push((Piece::Body(b"job"), job));
        }
        if let Some(instance) = find(SERVICE_INSTANCE_ID) {
            let instance = self.text(instance)?;
            self.identity.push((Piece::Body(b"instance"), instance));
        }
        self.identity.retain(|(_, value)| !value.is_empty());
        for (key, value) in attributes {
            let key = text_of(key)?;
            if settings.promote.includes(key) {
                let pair = (self.name(key, settings)?, self.text(value)?);
                set(&mut self.promoted, &self.arena, pair);
            }
        }
        Ok(())
    }

    /// Begins a scope. `identity`: the names and texts of what identifies it, its name first.
    pub(super) fn set_scope(
        &mut self,
        identity: [(&str, &'a [u8]); 3],
        attributes: &[Attribute<'a>],
        settings: &Settings,
    ) -> Result<(), LabelFault> {
        self.arena.truncate(self.resource_end);
        self.scope.clear();
        let is_named = identity.first().is_some_and(|(_, name)| !name.is_empty());
        let result = if settings.promote_scope_metadata && is_named {
            self.read_scope(identity, attributes, settings)
        } else {
            Ok(())
        };
        self.scope_end = self.arena.len();
        result
    }

    fn read_scope(
        &mut self,
        identity: [(&str, &'a [u8]); 3],
        attributes: &[Attribute<'a>],
        settings: &Settings,
    ) -> Result<(), LabelFault> {
        for (key, value) in attributes {
            let name = format!("otel_scope_{}", text_of(key)?);
            let start = self.arena.len();
            match settings.translation_strategy.escapes() {
                true => label_name::escape(&name, settings, &mut self.arena)?,
                false => self.arena.extend_from_slice(name.as_bytes()),
            }
            let name = Piece::Arena { start, end: self.arena.len() };
            let value = self.text(value)?;
            set(&mut self.scope, &self.arena, (name, value));
        }
        for (name, value) in identity {
            let start = self.arena.len();
            self.arena.extend_from_slice(b"otel_scope_");
            self.arena.extend_from_slice(name.as_bytes());
            let name = Piece::Arena { start, end: self.arena.len() };
            remove(&mut self.scope, &self.arena, name);
            self.scope.push((name, Piece::Body(value)));
        }
        Ok(())
    }

    /// Makes the labels of a data point. Sorts its attributes.
    pub(super) fn set_point(
        &mut self,
        attributes: &mut [Attribute<'a>],
        settings: &Settings,
    ) -> Result<(), LabelFault> {
        self.set_attributes(attributes, settings)?;
        for pair in &self.promoted {
            if find(&self.pairs, &self.arena, pair.0).is_none() {
                self.pairs.push(*pair);
            }
        }
        self.set_identity();
        for pair in &self.scope {
            set(&mut self.pairs, &self.arena, *pair);
        }
        self.sort();
        Ok(())
    }

    /// Makes the labels of `target_info`. Returns whether it has `job` or `instance`.
    pub(super) fn set_target(
        &mut self,
        attributes: &mut [Attribute<'a>],
        settings: &Settings,
    ) -> Result<bool, LabelFault> {
        self.set_attributes(attributes, settings)?;
        self.set_identity();
        self.sort();
        let has = |name: &[u8]| self.pairs.iter().any(|pair| pair.0.read(&self.arena) == name);
        Ok(has(b"job") || has(b"instance"))
    }

    fn set_attributes(
        &mut self,
        attributes: &mut [Attribute<'a>],
        settings: &Settings,
    ) -> Result<(), LabelFault> {
        self.arena.truncate(self.scope_end);
        self.pairs.clear();
        attributes.sort_by_key(|(key, _)| *key);
        let escapes = settings.translation_strategy.escapes();
        for (key, value) in attributes.iter().filter(|(key, _)| *key != METRIC_NAME.as_bytes()) {
            let pair = (self.name(text_of(key)?, settings)?, self.text(value)?);
            let existing = if escapes { find(&self.pairs, &self.arena, pair.0) } else { None };
            match existing {
                // Different names that are one label name: the values of both.
                Some(existing) => self.join(existing, pair.1)?,
                // Where names are not escaped, a name that is there twice is an error when labels are written.
                None if !pair.1.is_empty() => self.pairs.push(pair),
                None => {}
            }
        }
        Ok(())
    }

    fn set_identity(&mut self) {
        for pair in &self.identity {
            set(&mut self.pairs, &self.arena, *pair);
        }
    }

    fn sort(&mut self) {
        let arena = &self.arena;
        self.pairs.sort_by(|one, other| one.0.read(arena).cmp(other.0.read(arena)));
    }

    /// Appends a value to that of a label, after a semicolon.
    fn join(&mut self, at: usize, value: Piece<'a>) -> Result<(), LabelFault> {
        let start = self.arena.len();
        let before = self.pairs.get(at).map_or(Piece::EMPTY, |pair| pair.1);
        // Each joined value is a copy of those before it.
        let bytes = before.read(&self.arena).len() + value.read(&self.arena).len();
        if bytes > JOINED_BYTES_MAX {
            let why =
                format!("attributes that are one label, with values of more than {JOINED_BYTES_MAX} bytes");
            return Err(LabelFault::Invalid(why));
        }
        let parts = [before, Piece::Body(b";"), value];
        for part in parts {
            match part {
                Piece::Body(bytes) => self.arena.extend_from_slice(bytes),
                Piece::Arena { start, end } => self.arena.extend_from_within(start..end),
            }
        }
        if let Some(pair) = self.pairs.get_mut(at) {
            pair.1 = Piece::Arena { start, end: self.arena.len() };
        }
        Ok(())
    }

    /// The label name of an attribute.
    fn name(&mut self, key: &'a str, settings: &Settings) -> Result<Piece<'a>, LabelFault> {
        if !settings.translation_strategy.escapes() || label_name::is_unchanged(key) {
            return Ok(Piece::Body(key.as_bytes()));
        }
        let start = self.arena.len();
        label_name::escape(key, settings, &mut self.arena)?;
        Ok(Piece::Arena { start, end: self.arena.len() })
    }

    /// The text of a value.
    pub(super) fn text(&mut self, value: &'a [u8]) -> Result<Piece<'a>, LabelFault> {
        let start = self.arena.len();
        Ok(match value::text(value, &mut self.arena)? {
            Some(text) => Piece::Body(text),
            None => Piece::Arena { start, end: self.arena.len() },
        })
    }

    fn append_text(&mut self, value: &'a [u8]) -> Result<(), LabelFault> {
        if let Piece::Body(text) = self.text(value)? {
            self.arena.extend_from_slice(text);
        }
        Ok(())
    }

    /// Writes a text into the arena.
    pub(super) fn keep(&mut self, text: &[u8]) -> Piece<'a> {
        let start = self.arena.len();
        self.arena.extend_from_slice(text);
        Piece::Arena { start, end: self.arena.len() }
    }

    pub(super) fn arena(&self) -> &[u8] {
        &self.arena
    }

    /// Appends the canonical bytes of the labels with a metric name, and with one more label, to `out`. Both win over labels
    /// of the data point. Takes a builder and returns it, so that it serves many sets.
    pub(super) fn write(
        &self,
        name: &str,
        extra: Option<(&str, &str)>,
        limits: &Limits,
        builder: LabelsBuilder<'static>,
        out: &mut Vec<u8>,
    ) -> (LabelsBuilder<'static>, Result<(), LabelError>) {
        let mut builder = builder.recycle();
        let mut more = [Some((METRIC_NAME, name)), extra].into_iter().flatten().peekable();
        // In order, so that the builder need not sort.
        for (label, value) in &self.pairs {
            let label = label.read(&self.arena);
            while let Some((name, value)) = more.next_if(|(name, _)| name.as_bytes() < label) {
                builder.push(name.as_bytes(), value.as_bytes());
            }
            if more.peek().is_none_or(|(name, _)| name.as_bytes() != label) {
                builder.push(label, value.read(&self.arena));
            }
        }
        more.for_each(|(name, value)| builder.push(name.as_bytes(), value.as_bytes()));
        let result = builder.finish(limits, out);
        (builder.recycle(), result)
    }
}

/// Where the label `name` is.
fn find(pairs: &[Pair<'_>], arena: &[u8], name: Piece<'_>) -> Option<usize> {
    let name = name.read(arena);
    pairs.iter().position(|pair| pair.0.read(arena) == name)
}

/// Sets a label. An empty value removes it.
fn set<'a>(pairs: &mut Vec<Pair<'a>>, arena: &[u8], pair: Pair<'a>) {
    if pair.1.is_empty() {
        remove(pairs, arena, pair.0);
        return;
    }
    match find(pairs, arena, pair.0).and_then(|at| pairs.get_mut(at)) {
        Some(existing) => existing.1 = pair.1,
        None => pairs.push(pair),
    }
}

fn remove(pairs: &mut Vec<Pair<'_>>, arena: &[u8], name: Piece<'_>) {
    if let Some(at) = find(pairs, arena, name) {
        pairs.remove(at);
    }
}

fn text_of(key: &[u8]) -> Result<&str, LabelFault> {
    std::str::from_utf8(key).map_err(|_| LabelFault::Invalid("an attribute whose name is not UTF-8".into()))
}
