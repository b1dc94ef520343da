//! A deserializer that leaves out the mistakes that are already known, so that the next one is found.
//!
//! It wraps the deserializer of the YAML reader, tracks the path, and applies [`Remedies`]: keys and entries
//! are skipped, a mapping is read as a list with one entry, a missing key gets a placeholder.

use super::outline::options;
use super::{join, join_index};
use serde::de::value::StrDeserializer;
use serde::de::{
    Deserialize, DeserializeOwned, DeserializeSeed, Deserializer, EnumAccess, IgnoredAny, IntoDeserializer,
    MapAccess, SeqAccess, Visitor,
};
use std::cell::RefCell;
use std::collections::{BTreeMap, BTreeSet, HashSet};
use std::fmt;

/// The placeholder value of a missing key: a text that is also a URL.
const PLACEHOLDER: &str = "http://placeholder.invalid/";

/// The remedies for the known mistakes.
#[derive(Debug, Default)]
pub(super) struct Remedies {
    /// Paths of keys and entries to leave out.
    pub(super) skipped: BTreeSet<String>,
    /// Paths of mappings to read as the only entry of a list.
    pub(super) lists: BTreeSet<String>,
    /// Keys to add, by the path of their mapping.
    pub(super) filled: BTreeMap<String, Vec<&'static str>>,
}

impl Remedies {
    /// Translates a path in the value into a path in the file. The lists in the value lack the skipped
    /// entries.
    pub(super) fn path_in_file(&self, path: &str) -> String {
        let mut out = String::new();
        let mut rest = path;
        while let Some((before, index, after)) = rest.split_once('[').and_then(|(before, after)| {
            let (index, after) = after.split_once(']')?;
            Some((before, index.parse::<usize>().ok()?, after))
        }) {
            out.push_str(before);
            let kept = (0..).filter(|index| !self.skipped.contains(&join_index(&out, *index))).nth(index);
            out = join_index(&out, kept.unwrap_or(index));
            rest = after;
        }
        out + rest
    }
}

/// Where reading stopped, and why.
#[derive(Debug)]
pub(super) struct Stop {
    pub(super) error: serde_saphyr::Error,
    pub(super) path: String,
    /// True if the key is wrong, and not its value.
    pub(super) at_key: bool,
}

/// Deserialises a value without the parts that the remedies leave out.
pub(super) fn read<T: DeserializeOwned>(text: &str, remedies: &Remedies) -> Result<T, Box<Stop>> {
    let watch = Watch { remedies, stop: RefCell::default() };
    let read = serde_saphyr::with_deserializer_from_str_with_options(text, options(), |inner| {
        let at = At { path: String::new(), watch: &watch };
        at.note(T::deserialize(Reader { inner, at: at.clone() }))
    });
    read.map_err(|error| {
        let (path, at_key) = watch.stop.take().unwrap_or_default();
        Box::new(Stop { error, path, at_key })
    })
}

struct Watch<'w> {
    remedies: &'w Remedies,
    /// The path of the error, and whether the last key of the path is wrong.
    stop: RefCell<Option<(String, bool)>>,
}

/// A path, with the remedies and the place to note an error.
#[derive(Clone)]
struct At<'w> {
    path: String,
    watch: &'w Watch<'w>,
}

impl At<'_> {
    fn key(&self, key: &str) -> Self {
        At { path: join(&self.path, key), watch: self.watch }
    }

    fn index(&self, index: usize) -> Self {
        At { path: join_index(&self.path, index), watch: self.watch }
    }

    fn is_skipped(&self) -> bool {
        self.watch.remedies.skipped.contains(&self.path)
    }

    fn stop(&self, at_key: bool) {
        let mut stop = self.watch.stop.borrow_mut();
        stop.get_or_insert_with(|| (self.path.clone(), at_key));
    }

    /// Remembers the innermost path at which an error occurred.
    fn note<T, E>(&self, result: Result<T, E>) -> Result<T, E> {
        result.inspect_err(|_| self.stop(false))
    }
}

/// A deserializer, a seed or a visitor, with its path.
struct Reader<'w, X> {
    inner: X,
    at: At<'w>,
}

macro_rules! forward_deserializer {
    ($($name:ident($($arg:ident: $type:ty),*))*) => {$(
        fn $name<V: Visitor<'de>>(self, $($arg: $type,)* visitor: V) -> Result<V::Value, D::Error> {
            let at = self.at.clone();
            at.note(self.inner.$name($($arg,)* Reader { inner: visitor, at: self.at }))
        }
    )*};
}

impl<'de, D: Deserializer<'de>> Deserializer<'de> for Reader<'_, D> {
    type Error = D::Error;

    fn deserialize_seq<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, D::Error> {
        let at = self.at.clone();
        if at.watch.remedies.lists.contains(&at.path) {
            return at.note(visitor.visit_seq(Only { inner: Some(self.inner), at: self.at }));
        }
        at.note(self.inner.deserialize_seq(Reader { inner: visitor, at: self.at }))
    }

    fn is_human_readable(&self) -> bool {
        self.inner.is_human_readable()
    }

    forward_deserializer! {
        deserialize_any() deserialize_bool()
        deserialize_i8() deserialize_i16() deserialize_i32() deserialize_i64() deserialize_i128()
        deserialize_u8() deserialize_u16() deserialize_u32() deserialize_u64() deserialize_u128()
        deserialize_f32() deserialize_f64() deserialize_char() deserialize_str() deserialize_string()
        deserialize_bytes() deserialize_byte_buf() deserialize_option() deserialize_unit()
        deserialize_map() deserialize_identifier() deserialize_ignored_any()
        deserialize_unit_struct(name: &'static str) deserialize_newtype_struct(name: &'static str)
        deserialize_tuple(length: usize) deserialize_tuple_struct(name: &'static str, length: usize)
        deserialize_struct(name: &'static str, fields: &'static [&'static str])
        deserialize_enum(name: &'static str, variants: &'static [&'static str])
    }
}

macro_rules! forward_visitor {
    ($($name:ident($type:ty))*) => {$(
        fn $name<E: serde::de::Error>(self, value: $type) -> Result<V::Value, E> {
            self.inner.$name(value)
        }
    )*};
}

impl<'de, V: Visitor<'de>> Visitor<'de> for Reader<'_, V> {
    type Value = V::Value;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.inner.expecting(f)
    }

    forward_visitor! {
        visit_bool(bool) visit_i8(i8) visit_i16(i16) visit_i32(i32) visit_i64(i64) visit_i128(i128)
        visit_u8(u8) visit_u16(u16) visit_u32(u32) visit_u64(u64) visit_u128(u128) visit_f32(f32) visit_f64(f64)
        visit_char(char) visit_str(&str) visit_borrowed_str(&'de str) visit_string(String)
        visit_bytes(&[u8]) visit_borrowed_bytes(&'de [u8]) visit_byte_buf(Vec<u8>)
    }

    fn visit_none<E: serde::de::Error>(self) -> Result<V::Value, E> {
        self.inner.visit_none()
    }

    fn visit_unit<E: serde::de::Error>(self) -> Result<V::Value, E> {
        self.inner.visit_unit()
    }

    fn visit_some<D: Deserializer<'de>>(self, inner: D) -> Result<V::Value, D::Error> {
        self.inner.visit_some(Reader { inner, at: self.at })
    }

    fn visit_newtype_struct<D: Deserializer<'de>>(self, inner: D) -> Result<V::Value, D::Error> {
        self.inner.visit_newtype_struct(Reader { inner, at: self.at })
    }

    fn visit_enum<A: EnumAccess<'de>>(self, inner: A) -> Result<V::Value, A::Error> {
        self.inner.visit_enum(inner)
    }

    fn visit_seq<A: SeqAccess<'de>>(self, inner: A) -> Result<V::Value, A::Error> {
        self.inner.visit_seq(Items { inner, at: self.at, next: 0 })
    }

    fn visit_map<A: MapAccess<'de>>(self, inner: A) -> Result<V::Value, A::Error> {
        let filled = self.at.watch.remedies.filled.get(&self.at.path).cloned().unwrap_or_default();
        let value = Value::Inner(self.at.clone());
        self.inner.visit_map(Entries { inner, at: self.at, seen: HashSet::new(), filled, value })
    }
}

impl<'de, S: DeserializeSeed<'de>> DeserializeSeed<'de> for Reader<'_, S> {
    type Value = S::Value;

    fn deserialize<D: Deserializer<'de>>(self, inner: D) -> Result<S::Value, D::Error> {
        self.inner.deserialize(Reader { inner, at: self.at })
    }
}

/// A list with one entry, whose dash is missing in the file.
struct Only<'w, D> {
    inner: Option<D>,
    at: At<'w>,
}

impl<'de, D: Deserializer<'de>> SeqAccess<'de> for Only<'_, D> {
    type Error = D::Error;

    fn next_element_seed<S: DeserializeSeed<'de>>(&mut self, seed: S) -> Result<Option<S::Value>, D::Error> {
        let Some(inner) = self.inner.take() else { return Ok(None) };
        let at = self.at.index(0);
        if at.is_skipped() {
            return IgnoredAny::deserialize(inner).map(|_| None);
        }
        at.note(seed.deserialize(Reader { inner, at: at.clone() })).map(Some)
    }
}

/// The entries of a list.
struct Items<'w, A> {
    inner: A,
    at: At<'w>,
    next: usize,
}

impl<'de, A: SeqAccess<'de>> SeqAccess<'de> for Items<'_, A> {
    type Error = A::Error;

    fn next_element_seed<S: DeserializeSeed<'de>>(&mut self, seed: S) -> Result<Option<S::Value>, A::Error> {
        loop {
            let at = self.at.index(self.next);
            self.next += 1;
            if !at.is_skipped() {
                return at.note(self.inner.next_element_seed(Reader { inner: seed, at: at.clone() }));
            }
            if self.inner.next_element::<IgnoredAny>()?.is_none() {
                return Ok(None);
            }
        }
    }
}

/// The keys and values of a mapping.
struct Entries<'w, A> {
    inner: A,
    at: At<'w>,
    seen: HashSet<String>,
    filled: Vec<&'static str>,
    value: Value<'w>,
}

/// The source of the next value.
enum Value<'w> {
    Inner(At<'w>),
    Placeholder(At<'w>),
}

impl<'de, A: MapAccess<'de>> MapAccess<'de> for Entries<'_, A> {
    type Error = A::Error;

    fn next_key_seed<K: DeserializeSeed<'de>>(&mut self, seed: K) -> Result<Option<K::Value>, A::Error> {
        while let Some(key) = self.inner.next_key::<String>()? {
            // The dash of the first entry has no space after it, so it is part of the key.
            let is_only = self
                .at
                .path
                .strip_suffix("[0]")
                .is_some_and(|list| self.at.watch.remedies.lists.contains(list));
            let key = if is_only { key.trim_start_matches('-').to_string() } else { key };
            let at = self.at.key(&key);
            if at.is_skipped() || !self.seen.insert(key.clone()) {
                self.inner.next_value::<IgnoredAny>()?;
                continue;
            }
            let read = seed.deserialize(key.into_deserializer()).inspect_err(|_: &A::Error| at.stop(true));
            self.value = Value::Inner(at);
            return read.map(Some);
        }
        let Some(key) = self.filled.pop() else { return Ok(None) };
        self.value = Value::Placeholder(self.at.key(key));
        seed.deserialize(key.into_deserializer()).map(Some)
    }

    fn next_value_seed<S: DeserializeSeed<'de>>(&mut self, seed: S) -> Result<S::Value, A::Error> {
        match &self.value {
            Value::Inner(at) => at.note(self.inner.next_value_seed(Reader { inner: seed, at: at.clone() })),
            Value::Placeholder(at) => at.note(seed.deserialize(StrDeserializer::new(PLACEHOLDER))),
        }
    }
}
