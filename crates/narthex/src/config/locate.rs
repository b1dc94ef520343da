//! Where in a file a key stands, for what is found wrong only after the file was read.

use serde::Deserialize;
use serde::de::{Deserializer, IgnoredAny, MapAccess, SeqAccess, Visitor};
use serde_saphyr::Spanned;
use std::fmt;

/// YAML's shape without its values.
enum Node {
    Map(Vec<(String, Spanned<Node>)>),
    List(Vec<Spanned<Node>>),
    Value,
}

/// The line and column, counted from 1, of the value at `path` (`remote_write[1].name`), or of the
/// nearest thing above it that there is.
pub(super) fn locate(text: &str, path: &str) -> Option<(usize, usize)> {
    let options = serde_saphyr::options! { with_snippet: false };
    let root: Spanned<Node> = serde_saphyr::from_str_with_options(text, options).ok()?;
    let mut node = &root;
    for step in path.split(['.', '[']).filter(|step| !step.is_empty()) {
        let next = match &node.value {
            Node::Map(entries) => entries.iter().find(|(key, _)| key == step).map(|(_, value)| value),
            Node::List(items) => {
                step.trim_end_matches(']').parse().ok().and_then(|index: usize| items.get(index))
            }
            Node::Value => None,
        };
        match next {
            Some(next) => node = next,
            None => break,
        }
    }
    let at = node.referenced;
    (at.line() > 0).then(|| (at.line() as usize, at.column().max(1) as usize))
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
    fn keys_are_found_in_either_style() {
        let text = "a:\n  - b: 1\n  - b: {c: [2, 3]}\nd: x\n";
        assert_eq!(locate(text, "a[1].b.c"), Some((3, 12)));
        assert_eq!(locate(text, "d"), Some((4, 4)));
        assert_eq!(locate(text, "a[0].gone"), Some((2, 5)), "the nearest above");
        assert_eq!(locate("a: [", "a"), None);
    }
}
