//! Environment variables in a configuration.
//!
//! They are expanded in the values of `external_labels` ([`label`]), as in Prometheus, and in narthex's own
//! sections ([`sections`]). They are not expanded anywhere else: in relabelling rules, also those of
//! narthex's own sections, `${1}` and `${name}` are groups of the regular expression.
//!
//! In narthex's own sections a value may be of any type, so the text is expanded before it is parsed. A
//! variable's value is quoted if YAML would otherwise read parts of it as syntax.

pub use command::Lookup;
use std::ops::Range;

/// A variable that can't be expanded. The message does not contain any variable's value.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum EnvError {
    /// There is no variable of this name.
    #[error("environment variable {0} is not set")]
    Unset(String),
    /// `${` without a `}`, or with a text inside that can't be a name.
    #[error("{0:?} is not a variable: write ${{NAME}}, or $$ for a dollar sign")]
    Syntax(String),
    #[error("the value of environment variable {0} has line breaks")]
    Lines(String),
    /// The variable is part of an unquoted text, and its value needs quotes.
    #[error(
        "the value of environment variable {0} has characters that need quotes: put quotes around this value"
    )]
    NeedsQuotes(String),
}

/// An [`EnvError`] and its place, counted from 1.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Located {
    pub error: EnvError,
    pub line: usize,
    /// The column, in characters.
    pub column: usize,
    /// The column in the text with all variables expanded, in characters.
    pub column_in_text: usize,
}

/// Expands `${NAME}`, `$NAME` and `$$` in the value of an external label, as Prometheus does. Unlike there, a
/// variable that is not set is an error, because a missing label is easily overlooked and does harm.
pub fn label(value: &str, lookup: Lookup<'_>) -> Result<String, EnvError> {
    let mut out = String::with_capacity(value.len());
    let mut rest = value;
    while let Some(at) = rest.find('$') {
        let (before, dollar) = rest.split_at(at);
        out.push_str(before);
        let after = dollar.strip_prefix('$').unwrap_or_default();
        if let Some(after) = after.strip_prefix('$') {
            out.push('$');
            rest = after;
        } else if after.starts_with('{') {
            let (name, after) = braced(dollar)?;
            out.push_str(&lookup(name).ok_or_else(|| EnvError::Unset(name.into()))?);
            rest = after;
        } else {
            let end = after.find(|c: char| !is_name_char(c)).unwrap_or(after.len());
            let (name, after) = after.split_at(end);
            if !is_name(name) {
                return Err(EnvError::Syntax(dollar.chars().take(20).collect()));
            }
            out.push_str(&lookup(name).ok_or_else(|| EnvError::Unset(name.into()))?);
            rest = after;
        }
    }
    out.push_str(rest);
    Ok(out)
}

/// A text with its variables expanded. It has the same number of lines.
#[derive(Debug, Default, PartialEq, Eq)]
pub struct Expanded {
    pub text: String,
    /// The numbers (from 1) of the lines that have variables.
    pub changed: Vec<usize>,
    /// Variables that can't be expanded. The text has a placeholder instead.
    pub errors: Vec<Located>,
}

/// Expands `${NAME}` in the top-level sections of the YAML `text` whose names are `wanted`, except in relabelling
/// rules. `$${` stands for `${`.
pub fn sections(text: &str, wanted: impl Fn(&str) -> bool, lookup: Lookup<'_>) -> Expanded {
    let mut expanded = Expanded::default();
    let mut inside = false;
    let mut rules = Rules::default();
    for (index, line) in text.split_inclusive('\n').enumerate() {
        if line.starts_with(|c: char| !c.is_whitespace() && c != '#') {
            let key = line.split(':').next().unwrap_or_default().trim().trim_matches(['"', '\'']);
            inside = wanted(key);
        }
        let verbatim = rules.verbatim(line);
        if !inside || !line.contains("${") || verbatim == (0..line.len()) {
            expanded.text.push_str(line);
            continue;
        }
        expanded.changed.push(index + 1);
        expand_line(line, &verbatim, index + 1, lookup, &mut expanded);
    }
    expanded
}

/// The key of relabelling rules in narthex's own sections.
const RULES: &str = "metric_relabel_configs:";

/// Finds relabelling rules, line by line.
#[derive(Default)]
enum Rules {
    #[default]
    Outside,
    /// The rules are in the lines below a key with this indentation.
    Below(usize),
    /// The rules are in brackets; this many brackets are open.
    Brackets(usize),
}

impl Rules {
    /// The part of the next line that belongs to relabelling rules.
    fn verbatim(&mut self, line: &str) -> Range<usize> {
        let text = line.trim_start();
        let indentation = line.len() - text.len();
        match *self {
            Rules::Brackets(open) => return 0..self.close(line, 0, open),
            Rules::Below(_) if text.is_empty() || text.starts_with('#') => return 0..line.len(),
            // A list may have the same indentation as its key.
            Rules::Below(key) if indentation > key || (indentation == key && text.starts_with("- ")) => {
                return 0..line.len();
            }
            Rules::Below(_) | Rules::Outside => *self = Rules::Outside,
        }
        let Some(key) =
            line.find(RULES).filter(|key| !line.get(..*key).is_some_and(|before| before.contains('#')))
        else {
            return 0..0;
        };
        let begin = key + RULES.len();
        let value = line.get(begin..).unwrap_or_default().trim_start();
        if value.starts_with('[') {
            return begin..self.close(line, begin, 0);
        }
        if value.is_empty() || value.starts_with('#') {
            // The first key after a dash has the same indentation as the other keys of the entry.
            *self = Rules::Below(key);
        }
        begin..line.len()
    }

    /// The position after the closing brackets, if `open` brackets are open at `begin`.
    fn close(&mut self, line: &str, begin: usize, mut open: usize) -> usize {
        for (at, c) in line.char_indices().skip_while(|(at, _)| *at < begin) {
            match c {
                '[' | '{' => open += 1,
                ']' | '}' => open = open.saturating_sub(1),
                _ => continue,
            }
            if open == 0 {
                *self = Rules::Outside;
                return at + 1;
            }
        }
        *self = Rules::Brackets(open);
        line.len()
    }
}

/// The kind of quotes around a character of a line.
#[derive(Clone, Copy, PartialEq)]
enum Quotes {
    None,
    Single,
    Double,
}

/// Expands the variables of a line, except in the range `verbatim`.
fn expand_line(
    line: &str,
    verbatim: &Range<usize>,
    number: usize,
    lookup: Lookup<'_>,
    expanded: &mut Expanded,
) {
    let mut quotes = Quotes::None;
    let mut rest = line;
    let mut previous = ' ';
    while let Some(c) = rest.chars().next() {
        let out = &mut expanded.text;
        if verbatim.contains(&(line.len() - rest.len())) {
            out.push(c);
            previous = c;
            rest = rest.get(c.len_utf8()..).unwrap_or_default();
            continue;
        }
        if rest.starts_with("$${") {
            out.push_str("${");
            rest = rest.get(3..).unwrap_or_default();
            previous = '{';
            continue;
        }
        if rest.starts_with("${") {
            match expand(rest, quotes, previous, lookup) {
                Ok((value, after)) => {
                    out.push_str(&value);
                    rest = after;
                }
                Err(error) => {
                    let at = line.len() - rest.len();
                    let column = line.get(..at).unwrap_or_default().chars().count() + 1;
                    let column_in_text = out.chars().rev().take_while(|c| *c != '\n').count() + 1;
                    out.push_str(UNKNOWN);
                    expanded.errors.push(Located { error, line: number, column, column_in_text });
                    rest = rest.split_once('}').map_or("\n", |(_, after)| after);
                }
            }
            previous = '}';
            continue;
        }
        match (quotes, c) {
            (Quotes::None, '#') if previous.is_whitespace() => {
                out.push_str(rest);
                return;
            }
            (Quotes::None, '"') if starts_scalar(previous) => quotes = Quotes::Double,
            (Quotes::None, '\'') if starts_scalar(previous) => quotes = Quotes::Single,
            (Quotes::Double, '"') if previous != '\\' => quotes = Quotes::None,
            (Quotes::Single, '\'') => quotes = Quotes::None,
            _ => {}
        }
        // After an escaped backslash, a quote is not escaped.
        previous = if quotes == Quotes::Double && previous == '\\' && c == '\\' { ' ' } else { c };
        out.push(c);
        rest = rest.get(c.len_utf8()..).unwrap_or_default();
    }
}

/// The placeholder for a variable that can't be expanded.
const UNKNOWN: &str = "unknown";

/// The value of the variable at the start of `rest`, as it is written in YAML at this place, and the rest of
/// the text.
fn expand<'t>(
    rest: &'t str,
    quotes: Quotes,
    previous: char,
    lookup: Lookup<'_>,
) -> Result<(String, &'t str), EnvError> {
    let (name, after) = braced(rest)?;
    let value = lookup(name).ok_or_else(|| EnvError::Unset(name.into()))?;
    if value.contains(['\n', '\r']) {
        return Err(EnvError::Lines(name.into()));
    }
    let written = match quotes {
        Quotes::Single => value.replace('\'', "''"),
        Quotes::Double => escape(&value),
        Quotes::None if is_plain(&value) => value,
        Quotes::None if is_whole(previous, after) => format!("\"{}\"", escape(&value)),
        Quotes::None => return Err(EnvError::NeedsQuotes(name.into())),
    };
    Ok((written, after))
}

/// The name in `${NAME}` at the start of `text`, and the rest of the text.
fn braced(text: &str) -> Result<(&str, &str), EnvError> {
    let syntax = || EnvError::Syntax(text.trim_end().chars().take(20).collect());
    let inner = text.strip_prefix("${").ok_or_else(syntax)?;
    let (name, after) = inner.split_once('}').ok_or_else(syntax)?;
    if is_name(name) { Ok((name, after)) } else { Err(syntax()) }
}

fn is_name_char(c: char) -> bool {
    c.is_ascii_alphanumeric() || c == '_'
}

fn is_name(name: &str) -> bool {
    name.starts_with(|c: char| c.is_ascii_alphabetic() || c == '_') && name.chars().all(is_name_char)
}

/// Returns true if `value` needs no quotes in any place. Numbers and booleans need none, because a value may
/// be of any type.
fn is_plain(value: &str) -> bool {
    value.starts_with(|c: char| c.is_ascii_alphanumeric() || matches!(c, '/' | '.' | '_'))
        && value
            .chars()
            .all(|c| c.is_ascii_alphanumeric() || matches!(c, '/' | '.' | '_' | '-' | '%' | '+' | '@'))
        && !value.eq_ignore_ascii_case("null")
}

fn starts_scalar(previous: char) -> bool {
    previous.is_whitespace() || matches!(previous, '[' | '{' | ',' | ':')
}

/// Returns true if a variable after `previous` and before `after` is a whole scalar.
fn is_whole(previous: char, after: &str) -> bool {
    let next = after.trim_start_matches(' ');
    let ends = next.starts_with(['\n', '\r', ',', ']', '}'])
        || next.is_empty()
        || (next.starts_with('#') && next.len() < after.len());
    starts_scalar(previous) && ends
}

/// Escapes a value for use within double quotes.
fn escape(value: &str) -> String {
    let mut out = String::with_capacity(value.len());
    for c in value.chars() {
        match c {
            '"' | '\\' => {
                out.push('\\');
                out.push(c);
            }
            '\t' => out.push_str("\\t"),
            c => out.push(c),
        }
    }
    out
}

#[cfg(test)]
mod tests {
    use super::*;

    fn lookup(name: &str) -> Option<String> {
        Some(match name {
            "SIZE" => "10GiB".into(),
            "ODD" => "a: #\"b'\\".into(),
            "LINES" => "a\nb".into(),
            "EMPTY" => String::new(),
            _ => return None,
        })
    }

    fn expand(text: &str) -> Result<String, Located> {
        let Expanded { text, errors, .. } = sections(text, |name| name == "log", &lookup);
        errors.into_iter().next().map_or(Ok(text), Err)
    }

    #[test]
    fn labels_are_expanded_as_prometheus_does() {
        assert_eq!(label("a-$SIZE-${SIZE}-$$SIZE", &lookup), Ok("a-10GiB-10GiB-$SIZE".into()));
        assert_eq!(label("plain", &lookup), Ok("plain".into()));
        assert_eq!(label("${NOPE}", &lookup), Err(EnvError::Unset("NOPE".into())));
        assert_eq!(label("$1", &lookup), Err(EnvError::Syntax("$1".into())));
        assert_eq!(label("${SIZE", &lookup), Err(EnvError::Syntax("${SIZE".into())));
    }

    #[test]
    fn only_the_named_sections_are_expanded() {
        let text = "log:\n  max_size: ${SIZE} # ${NOPE}\nremote_write:\n  - x: ${1}\n";
        let want = "log:\n  max_size: 10GiB # ${NOPE}\nremote_write:\n  - x: ${1}\n";
        let want = Expanded { text: want.into(), changed: vec![2], errors: Vec::new() };
        assert_eq!(sections(text, |name| name == "log", &lookup), want);
    }

    #[test]
    fn groups_of_relabelling_rules_are_not_variables() {
        for text in [
            "log:\n  metric_relabel_configs:\n  - replacement: ${1}\n    regex: ${SIZE}\n\n  - replacement: ${NOPE}\n",
            "log:\n  metric_relabel_configs: # x\n    - {replacement: '${SIZE}'}\n",
            "log:\n  metric_relabel_configs: [{replacement: '${1}-${SIZE}'}]\n",
            "log: {metric_relabel_configs: [{replacement: '${1}'},\n {replacement: '$${SIZE}'}]}\n",
            "log:\n- metric_relabel_configs:\n  - replacement: ${1}\n",
        ] {
            assert_eq!(expand(text).as_deref(), Ok(text));
        }
        let after = "log:\n  metric_relabel_configs:\n  - replacement: ${1}\n  a: ${SIZE}\n";
        assert_eq!(expand(after).unwrap(), after.replace("${SIZE}", "10GiB"));
        let beside = "log: {metric_relabel_configs: [{replacement: '${1}'}], a: ${SIZE}}\n";
        assert_eq!(expand(beside).unwrap(), beside.replace("${SIZE}", "10GiB"));
        let comment = "log:\n  # metric_relabel_configs:\n  a: ${SIZE}\n";
        assert_eq!(expand(comment).unwrap(), comment.replace("${SIZE}", "10GiB"));
    }

    #[test]
    fn a_value_is_never_read_as_yaml_syntax() {
        assert_eq!(expand("log:\n  a: ${ODD}\n").unwrap(), "log:\n  a: \"a: #\\\"b'\\\\\"\n");
        assert_eq!(expand("log: {a: ${ODD}}\n").unwrap(), "log: {a: \"a: #\\\"b'\\\\\"}\n");
        assert_eq!(expand("log:\n  a: \"x${ODD}\"\n").unwrap(), "log:\n  a: \"xa: #\\\"b'\\\\\"\n");
        assert_eq!(expand("log:\n  a: 'x${ODD}'\n").unwrap(), "log:\n  a: 'xa: #\"b''\\'\n");
        assert_eq!(expand("log:\n  a: ${EMPTY}\n").unwrap(), "log:\n  a: \"\"\n");
        assert_eq!(expand("log:\n  a: $${SIZE}\n").unwrap(), "log:\n  a: ${SIZE}\n");
    }

    #[test]
    fn errors_name_their_place() {
        let fault = |text| expand(text).expect_err(text);
        let unset = Located { error: EnvError::Unset("NOPE".into()), line: 2, column: 6, column_in_text: 6 };
        assert_eq!(fault("log:\n  a: ${NOPE}\n"), unset);
        assert_eq!(fault("log:\n  a: x${ODD}\n").error, EnvError::NeedsQuotes("ODD".into()));
        assert_eq!(fault("log:\n  a: ${LINES}\n").error, EnvError::Lines("LINES".into()));
        assert_eq!(fault("log:\n  a: ${1}\n").error, EnvError::Syntax("${1}".into()));
    }

    #[test]
    fn all_variables_that_are_not_set_are_found() {
        let expanded = sections(
            "log: {a: ${NO}, b: '${SIZE}', c: \"x${NO}\"}\nlog:\n  d: ${NO\n",
            |name| name == "log",
            &lookup,
        );
        assert_eq!(expanded.text, "log: {a: unknown, b: '10GiB', c: \"xunknown\"}\nlog:\n  d: unknown\n");
        let places: Vec<_> = expanded.errors.iter().map(|error| (error.line, error.column)).collect();
        assert_eq!(places, [(1, 10), (1, 36), (3, 6)]);
    }
}
