//! The outline of a file: its keys and lists with their places, without its values.

use super::MISTAKES_MAX;
use serde::Deserialize;
use serde::de::{Deserializer, IgnoredAny, MapAccess, SeqAccess, Visitor};
use serde_saphyr::{DuplicateKeyPolicy, Location, Options, Spanned};
use std::collections::BTreeMap;
use std::fmt;

/// Line and column, counted from 1.
pub(in crate::config) type Place = (usize, usize);

/// The options of the YAML reader. A repeated key is not an error for it: [`Outline::duplicates`] finds all
/// of them.
pub(super) fn options() -> Options {
    serde_saphyr::options! { with_snippet: false, duplicate_keys: DuplicateKeyPolicy::PassThrough }
}

/// The keys and lists of a file.
pub(in crate::config) struct Outline {
    root: Spanned<Node>,
}

enum Node {
    Map(Vec<(Spanned<String>, Spanned<Node>)>),
    List(Vec<Spanned<Node>>),
    Value,
}

/// A key that occurs twice in a mapping.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct Duplicate {
    pub(super) path: String,
    pub(super) place: Option<Place>,
    /// The line of the first occurrence.
    pub(super) first_line: usize,
}

impl Outline {
    pub(super) fn read(text: &str) -> Result<Outline, serde_saphyr::Error> {
        serde_saphyr::from_str_with_options(text, options()).map(|root| Outline { root })
    }

    /// The place of the value at `path` (`remote_write[1].name`), or of the nearest existing value above it.
    pub(in crate::config) fn value_place(&self, path: &str) -> Option<Place> {
        place(self.nearest(path).1.referenced)
    }

    /// The place of the last key of `path`, or of the nearest existing value above it.
    pub(super) fn key_place(&self, path: &str) -> Option<Place> {
        let (key, node, _) = self.nearest(path);
        place(key.map_or(node.referenced, |key| key.referenced))
    }

    /// The path of the last key or value that begins at or before a place.
    pub(super) fn path_at(&self, at: Place) -> Option<String> {
        let mut last = None;
        find_last_before(&self.root, "", at, &mut last);
        last.map(|(_, path)| path)
    }

    /// Returns true if there is a value at `path`.
    pub(super) fn has(&self, path: &str) -> bool {
        self.nearest(path).2
    }

    /// Returns true if the value at `path` is a mapping that was probably intended as the entry of a list:
    /// one of its values is not a mapping itself.
    pub(super) fn is_entry_without_dash(&self, path: &str) -> bool {
        match self.nearest(path) {
            (_, node, true) => match &node.value {
                Node::Map(entries) => entries.iter().any(|(_, value)| !matches!(value.value, Node::Map(_))),
                _ => false,
            },
            _ => false,
        }
    }

    /// All keys that occur again in their mapping, up to one more than are reported.
    pub(super) fn duplicates(&self) -> Vec<Duplicate> {
        let mut found = Vec::new();
        collect_duplicates(&self.root.value, "", &mut found);
        found
    }

    /// Follows `path` as far as it exists. Returns the last key, the value, and whether the whole path
    /// exists. A mapping in place of a list counts as the only entry of that list.
    fn nearest(&self, path: &str) -> (Option<&Spanned<String>>, &Spanned<Node>, bool) {
        let (mut key, mut node, mut rest) = (None, &self.root, path);
        while !rest.is_empty() {
            let next = match (&node.value, index(rest)) {
                (Node::Map(entries), None) => step(entries, rest.trim_start_matches('.'))
                    .map(|(name, value, rest)| (Some(name), value, rest)),
                (Node::Map(_), Some((0, rest))) => Some((key, node, rest)),
                (Node::List(items), Some((index, rest))) => items.get(index).map(|item| (None, item, rest)),
                _ => None,
            };
            match next {
                Some(next) => (key, node, rest) = next,
                None => return (key, node, false),
            }
        }
        (key, node, true)
    }
}

/// The entry whose key is at the beginning of `path`, and the rest of the path. A key may contain dots.
fn step<'n, 'p>(
    entries: &'n [(Spanned<String>, Spanned<Node>)],
    path: &'p str,
) -> Option<(&'n Spanned<String>, &'n Spanned<Node>, &'p str)> {
    let fits =
        |key: &str| path.strip_prefix(key).filter(|rest| rest.is_empty() || rest.starts_with(['.', '[']));
    let found = entries.iter().filter_map(|(key, value)| Some((key, value, fits(&key.value)?)));
    found.min_by_key(|(_, _, rest)| rest.len())
}

/// Splits `[3].name` into 3 and `.name`.
fn index(path: &str) -> Option<(usize, &str)> {
    let (index, rest) = path.strip_prefix('[')?.split_once(']')?;
    Some((index.parse().ok()?, rest))
}

fn place(at: Location) -> Option<Place> {
    (at.line() > 0).then(|| (at.line() as usize, at.column().max(1) as usize))
}

/// Stores the last key or value that begins at or before `at`, with its path.
fn find_last_before(node: &Spanned<Node>, path: &str, at: Place, last: &mut Option<(Place, String)>) {
    fn keep(begin: Location, path: &str, at: Place, last: &mut Option<(Place, String)>) {
        let Some(begin) = place(begin).filter(|begin| *begin <= at) else { return };
        if last.as_ref().is_none_or(|(other, _)| *other <= begin) {
            *last = Some((begin, path.to_string()));
        }
    }
    keep(node.referenced, path, at, last);
    match &node.value {
        Node::Map(entries) => {
            for (key, value) in entries {
                let path = super::join(path, &key.value);
                keep(key.referenced, &path, at, last);
                find_last_before(value, &path, at, last);
            }
        }
        Node::List(items) => {
            for (index, item) in items.iter().enumerate() {
                find_last_before(item, &super::join_index(path, index), at, last);
            }
        }
        Node::Value => {}
    }
}

fn collect_duplicates(node: &Node, path: &str, found: &mut Vec<Duplicate>) {
    match node {
        Node::Map(entries) => {
            let mut first_lines = BTreeMap::new();
            for (key, value) in entries {
                if found.len() > MISTAKES_MAX {
                    return;
                }
                let path = super::join(path, &key.value);
                let line = key.referenced.line() as usize;
                if let Some(first_line) = first_lines.get(&key.value).copied() {
                    let place = place(key.referenced);
                    found.push(Duplicate { path: path.clone(), place, first_line });
                } else {
                    first_lines.insert(&key.value, line);
                }
                collect_duplicates(&value.value, &path, found);
            }
        }
        Node::List(items) => {
            for (index, item) in items.iter().enumerate() {
                collect_duplicates(&item.value, &super::join_index(path, index), found);
            }
        }
        Node::Value => {}
    }
}

impl<'de> Deserialize<'de> for Node {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct Shape;
        impl<'de> Visitor<'de> for Shape {
            type Value = Node;
            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("anything")
            }
            fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<Node, A::Error> {
                let mut entries = Vec::new();
                while let Some(entry) = map.next_entry()? {
                    entries.push(entry);
                }
                Ok(Node::Map(entries))
            }
            fn visit_seq<A: SeqAccess<'de>>(self, mut list: A) -> Result<Node, A::Error> {
                let mut items = Vec::new();
                while let Some(item) = list.next_element()? {
                    items.push(item);
                }
                Ok(Node::List(items))
            }
            fn visit_bool<E>(self, _: bool) -> Result<Node, E> {
                Ok(Node::Value)
            }
            fn visit_i64<E>(self, _: i64) -> Result<Node, E> {
                Ok(Node::Value)
            }
            fn visit_u64<E>(self, _: u64) -> Result<Node, E> {
                Ok(Node::Value)
            }
            fn visit_f64<E>(self, _: f64) -> Result<Node, E> {
                Ok(Node::Value)
            }
            fn visit_str<E>(self, _: &str) -> Result<Node, E> {
                Ok(Node::Value)
            }
            fn visit_bytes<E>(self, _: &[u8]) -> Result<Node, E> {
                Ok(Node::Value)
            }
            fn visit_unit<E>(self) -> Result<Node, E> {
                Ok(Node::Value)
            }
            fn visit_none<E>(self) -> Result<Node, E> {
                Ok(Node::Value)
            }
            fn visit_some<D: Deserializer<'de>>(self, deserializer: D) -> Result<Node, D::Error> {
                IgnoredAny::deserialize(deserializer).map(|_| Node::Value)
            }
        }
        deserializer.deserialize_any(Shape)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn keys_and_values_are_found_in_block_and_flow_style() {
        let outline = Outline::read("a:\n  - b: 1\n  - b: {c.d: [2, 3]}\nd: x\n").unwrap();
        assert_eq!(outline.value_place("a[1].b.c.d"), Some((3, 14)));
        assert_eq!(outline.key_place("a[1].b.c.d"), Some((3, 9)));
        assert_eq!(outline.value_place("a[1].b.c.d[1]"), Some((3, 18)));
        assert_eq!(outline.value_place("d"), Some((4, 4)));
        assert_eq!(outline.value_place("a[0].gone"), Some((2, 5)), "the nearest above");
        assert!(outline.has("a[0].b") && !outline.has("a[0].gone") && !outline.has("a[2]"));
        assert!(Outline::read("a: [").is_err());
    }

    #[test]
    fn all_duplicates_are_found_with_their_places() {
        let outline = Outline::read("a: 1\nb:\n  - c: 1\n    d: 2\n    c: 3\na: 4\na: 5\n").unwrap();
        let found = outline.duplicates();
        let shown: Vec<_> = found.iter().map(|one| (&*one.path, one.place, one.first_line)).collect();
        assert_eq!(shown, [("b[0].c", Some((5, 5)), 3), ("a", Some((6, 1)), 1), ("a", Some((7, 1)), 1)]);
    }

    #[test]
    fn a_merged_key_is_not_a_duplicate() {
        let outline = Outline::read("a: &a {b: 1, c: 2}\nd:\n  <<: *a\n  b: 3\n").unwrap();
        assert_eq!(outline.duplicates(), []);
    }
}
