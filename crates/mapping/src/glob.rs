//! All globs of a file as one tree. Its edges are the components of names.

use super::Kind;
use std::collections::HashMap;

/// The tree. The root is the first node.
#[derive(Debug, Clone)]
pub(crate) struct Globs {
    nodes: Vec<Node>,
    /// If true, the most specific matching glob is used; otherwise the first one in the file.
    most_specific: bool,
}

#[derive(Debug, Clone, Default)]
struct Node {
    components: HashMap<String, usize>,
    star: Option<usize>,
    /// The first rule that ends at this node, for each [`Kind`].
    rules: [Option<usize>; 3],
    /// The first rule that ends at this node or below it. A search skips the node if this rule comes after
    /// the rule found so far.
    first: usize,
    /// Smallest and largest number of components that may follow.
    depth: (usize, usize),
}

/// Returns true if the text is a glob: each component is literal or a star. The rules are those of statsd_exporter: no
/// component begins with `-`, and the first one does not begin with a digit.
pub(crate) fn is_valid(pattern: &str) -> bool {
    let is_first = |c: char| c.is_ascii_alphanumeric() || c == '_';
    let is_literal = |text: &str| text.starts_with(is_first) && text.chars().all(|c| is_first(c) || c == '-');
    let is_component = |text: &str| text == "*" || is_literal(text);
    let has_start = pattern.starts_with(|c: char| c.is_ascii_alphabetic() || c == '_' || c == '*');
    has_start && pattern.split('.').all(is_component)
}

impl Globs {
    pub(crate) fn new(most_specific: bool) -> Self {
        Globs {
            nodes: vec![Node { first: usize::MAX, depth: (usize::MAX, 0), ..Node::default() }],
            most_specific,
        }
    }

    /// Adds the glob of the rule with this index. Rules must be added in the order of the file.
    pub(crate) fn add(&mut self, pattern: &str, kind: Option<Kind>, rule: usize) {
        let length = pattern.split('.').count();
        let mut at = 0;
        for (index, component) in std::iter::once("").chain(pattern.split('.')).enumerate() {
            if index > 0 {
                at = self.child(at, component);
            }
            let Some(node) = self.nodes.get_mut(at) else { return };
            node.first = node.first.min(rule);
            let left = length - index;
            node.depth = (node.depth.0.min(left), node.depth.1.max(left));
        }
        let Some(node) = self.nodes.get_mut(at) else { return };
        for (of, first) in [Kind::Counter, Kind::Gauge, Kind::Observer].iter().zip(&mut node.rules) {
            if kind.is_none_or(|kind| kind == *of) {
                first.get_or_insert(rule);
            }
        }
    }

    fn child(&mut self, at: usize, component: &str) -> usize {
        let next = self.nodes.len();
        let Some(node) = self.nodes.get_mut(at) else { return at };
        let child = match component {
            "*" => *node.star.get_or_insert(next),
            _ => *node.components.entry(component.to_string()).or_insert(next),
        };
        if child == next {
            self.nodes.push(Node { first: usize::MAX, depth: (usize::MAX, 0), ..Node::default() });
        }
        child
    }

    /// Returns the index of the rule for a name, and the components that its stars match.
    pub(crate) fn find<'n>(&self, name: &'n str, kind: Kind) -> Option<(usize, Vec<&'n str>)> {
        let components: Vec<&str> = name.split('.').collect();
        let mut search =
            Search { globs: self, components: &components, kind, captures: Vec::new(), found: None };
        search.visit(0, 0);
        search.found
    }
}

struct Search<'s, 'n> {
    globs: &'s Globs,
    components: &'s [&'n str],
    kind: Kind,
    captures: Vec<&'n str>,
    found: Option<(usize, Vec<&'n str>)>,
}

impl Search<'_, '_> {
    /// Visits each node at most once, more specific ones first.
    fn visit(&mut self, at: usize, depth: usize) {
        let Some(node) = self.globs.nodes.get(at) else { return };
        let left = self.components.len() - depth;
        let is_better = |rule: usize, found: &Option<(usize, _)>| match found {
            Some((best, _)) => !self.globs.most_specific && rule < *best,
            None => true,
        };
        if left < node.depth.0 || left > node.depth.1 || !is_better(node.first, &self.found) {
            return;
        }
        let Some(component) = self.components.get(depth) else {
            let rule = node.rules.get(self.kind as usize).copied().flatten();
            if let Some(rule) = rule.filter(|rule| is_better(*rule, &self.found)) {
                self.found = Some((rule, self.captures.clone()));
            }
            return;
        };
        if let Some(child) = node.components.get(*component) {
            self.visit(*child, depth + 1);
        }
        if let Some(child) = node.star {
            self.captures.push(component);
            self.visit(child, depth + 1);
            self.captures.pop();
        }
    }
}
