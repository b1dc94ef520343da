//! Texts with references to matched groups, in the syntax of Go's `Regexp.Expand`.

/// A text with references to groups.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(crate) struct Template {
    parts: Vec<Part>,
}

#[derive(Debug, Clone, PartialEq, Eq)]
enum Part {
    Text(String),
    /// Number or name of a group.
    Group(String),
}

impl Template {
    pub(crate) fn new(text: &str) -> Self {
        let mut parts = Vec::new();
        let mut literal = String::new();
        let mut rest = text;
        while let Some((before, after)) = rest.split_once('$') {
            literal.push_str(before);
            if let Some(after) = after.strip_prefix('$') {
                literal.push('$');
                rest = after;
            } else if let Some((group, after)) = reference(after) {
                parts.push(Part::Text(std::mem::take(&mut literal)));
                parts.push(Part::Group(group.to_string()));
                rest = after;
            } else {
                literal.push('$');
                rest = after;
            }
        }
        literal.push_str(rest);
        parts.push(Part::Text(literal));
        Template { parts }
    }

    /// Returns the text with each reference replaced by `captured`'s result, or by nothing if there is none.
    pub(crate) fn expand<'c>(&self, captured: &dyn Fn(&str) -> Option<&'c str>) -> String {
        let part = |part: &Part| match part {
            Part::Text(text) => text.clone(),
            Part::Group(group) => captured(group).unwrap_or_default().to_string(),
        };
        self.parts.iter().map(part).collect()
    }
}

/// Splits `text`, which follows a `$`, into the group and the rest. Without braces, the group's name is as
/// long as possible.
fn reference(text: &str) -> Option<(&str, &str)> {
    let is_name = |c: char| c.is_alphanumeric() || c == '_';
    let (inside, is_braced) = text.strip_prefix('{').map_or((text, false), |inside| (inside, true));
    let (name, after) = inside.split_at(inside.find(|c| !is_name(c)).unwrap_or(inside.len()));
    let after = if is_braced { after.strip_prefix('}')? } else { after };
    (!name.is_empty()).then_some((name, after))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn references_are_parsed_as_in_go() {
        let captured = |group: &str| match group {
            "1" => Some("one"),
            "12" => Some("twelve"),
            "name" => Some("named"),
            _ => None,
        };
        for (text, wanted) in [
            ("$1", "one"),
            ("${1}_foo", "one_foo"),
            ("$1_foo", ""),
            ("$1-$2-$12", "one--twelve"),
            ("a${name}b", "anamedb"),
            ("$name.x", "named.x"),
            ("$$1", "$1"),
            ("costs 5$", "costs 5$"),
            ("${1", "${1"),
            ("${}", "${}"),
            ("", ""),
        ] {
            assert_eq!(Template::new(text).expand(&captured), wanted, "{text}");
        }
    }
}
