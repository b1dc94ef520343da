//! `NAME{LABELS}=VALUE`, as given on the command line. No I/O.
//!
//! ```text
//! backup_bytes=17
//! backup_bytes{disk="a",path="/srv"}=1.5e9      values as in the text format: \\, \" and \n are escapes
//! backup_bytes{disk=a}=17                       quotes may be left out, as they need escaping in shells
//! {"name.of any kind",disk=a}=17                a name outside the old pattern stands in quotes
//! ```

use formats::text::FloatError;
use model::{Family, Metric, MetricType};
use std::borrow::Cow;
use std::collections::BTreeMap;

/// One value with its name and labels.
#[derive(Debug, Clone, PartialEq)]
pub(crate) struct Expression {
    pub(crate) name: String,
    /// Without the metric name. Each label name occurs once.
    pub(crate) labels: BTreeMap<String, String>,
    pub(crate) value: f64,
}

/// Why an argument is refused.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub(crate) enum ExpressionError {
    #[error("{text:?}, character {column}: expected {wanted}, found {found}")]
    Expected {
        /// The argument, cut to a printable length.
        text: String,
        /// Counted from 1.
        column: usize,
        wanted: &'static str,
        found: String,
    },
    /// A label name that occurs twice.
    #[error("{text:?}: label {name} is there twice")]
    Twice {
        /// The argument, cut to a printable length.
        text: String,
        name: String,
    },
    /// The same series in two arguments.
    #[error("{0} is given twice")]
    Duplicate(String),
}

pub(crate) fn parse(text: &str) -> Result<Expression, ExpressionError> {
    Parser { text, at: 0 }.expression()
}

/// Groups values of the same name into families, in the order of first occurrence.
pub(crate) fn families(
    expressions: Vec<Expression>,
    kind: MetricType,
) -> Result<Vec<Family>, ExpressionError> {
    let mut families: Vec<Family> = Vec::new();
    for Expression { name, labels, value } in expressions {
        let labels: Vec<_> = labels.into_iter().map(|(name, value)| (Cow::Owned(name), value)).collect();
        let metric = Metric { suffix: "", labels, value };
        match families.iter_mut().find(|family| family.name == name) {
            Some(family) => {
                if family.metrics.iter().any(|other| other.labels == metric.labels) {
                    let labels: Vec<_> =
                        metric.labels.iter().map(|(name, value)| format!("{name}={value:?}")).collect();
                    return Err(ExpressionError::Duplicate(format!("{name}{{{}}}", labels.join(","))));
                }
                family.metrics.push(metric);
            }
            None => {
                let mut family = Family::new(name, "", kind);
                family.metrics.push(metric);
                families.push(family);
            }
        }
    }
    Ok(families)
}

struct Parser<'a> {
    text: &'a str,
    /// The number of bytes read; always at a character boundary.
    at: usize,
}

impl<'a> Parser<'a> {
    fn expression(&mut self) -> Result<Expression, ExpressionError> {
        let mut name = self.take_while(|c| c.is_ascii_alphanumeric() || matches!(c, '_' | ':')).to_string();
        if name.starts_with(|c: char| c.is_ascii_digit()) {
            self.at = 0;
            return Err(self.expected("a metric name, which does not begin with a digit"));
        }
        let mut labels = BTreeMap::new();
        if self.take('{') {
            self.labels(&mut name, &mut labels)?;
        }
        if name.is_empty() {
            return Err(self.expected("a metric name"));
        }
        if !self.take('=') {
            let wanted = if labels.is_empty() { "{LABELS} or =VALUE" } else { "=VALUE" };
            return Err(self.expected(wanted));
        }
        let value = self.rest().trim();
        let value = formats::text::float(value).map_err(|error| match error {
            FloatError::NotANumber => self.expected("a number"),
            FloatError::OutOfRange => self.expected("a number that a 64-bit float can hold, or +Inf"),
        })?;
        Ok(Expression { name, labels, value })
    }

    fn labels(
        &mut self,
        metric: &mut String,
        labels: &mut BTreeMap<String, String>,
    ) -> Result<(), ExpressionError> {
        loop {
            self.blanks();
            if self.take('}') {
                return Ok(());
            }
            let quoted = self.rest().starts_with('"');
            let start = self.at;
            let name = if quoted { self.quoted()? } else { self.label_name()? };
            self.blanks();
            if quoted && metric.is_empty() && !self.rest().starts_with('=') {
                *metric = name;
            } else {
                if !self.take('=') {
                    return Err(self.expected("=VALUE after the label's name"));
                }
                self.blanks();
                let value = if self.rest().starts_with('"') {
                    self.quoted()?
                } else {
                    self.take_while(|c| !matches!(c, ',' | '}')).trim().to_string()
                };
                if name.is_empty() || name == model::labels::METRIC_NAME {
                    self.at = start;
                    return Err(self.expected("a label name"));
                }
                // An empty value is the same as no label.
                if !value.is_empty() && labels.insert(name.clone(), value).is_some() {
                    return Err(ExpressionError::Twice { text: shorten(self.text, 100), name });
                }
            }
            self.blanks();
            if !self.take(',') && !self.rest().starts_with('}') {
                return Err(self.expected("',' or '}'"));
            }
        }
    }

    fn label_name(&mut self) -> Result<String, ExpressionError> {
        let start = self.at;
        let name = self.take_while(|c| c.is_ascii_alphanumeric() || c == '_');
        if !model::labels::is_legacy_label_name(name.as_bytes()) {
            self.at = start;
            return Err(self.expected("a label name, or '}'"));
        }
        Ok(name.to_string())
    }

    fn quoted(&mut self) -> Result<String, ExpressionError> {
        let start = self.at;
        self.take('"');
        let mut out = String::new();
        let mut characters = self.rest().char_indices();
        while let Some((at, character)) = characters.next() {
            match character {
                '"' => {
                    self.at += at + 1;
                    return Ok(out);
                }
                '\\' => match characters.next() {
                    Some((_, 'n')) => out.push('\n'),
                    Some((_, escaped @ ('\\' | '"'))) => out.push(escaped),
                    // Any other backslash stands for itself, as in Prometheus.
                    Some((_, other)) => out.extend(['\\', other]),
                    None => break,
                },
                other => out.push(other),
            }
        }
        self.at = start;
        Err(self.expected("a closing quote for this string"))
    }

    fn rest(&self) -> &'a str {
        self.text.get(self.at..).unwrap_or_default()
    }

    fn take(&mut self, character: char) -> bool {
        let there = self.rest().starts_with(character);
        self.at += if there { character.len_utf8() } else { 0 };
        there
    }

    fn take_while(&mut self, accept: impl Fn(char) -> bool) -> &'a str {
        let rest = self.rest();
        let length = rest.find(|c| !accept(c)).unwrap_or(rest.len());
        self.at += length;
        rest.get(..length).unwrap_or_default()
    }

    fn blanks(&mut self) {
        self.take_while(|c| c == ' ');
    }

    #[cold]
    fn expected(&self, wanted: &'static str) -> ExpressionError {
        let rest = self.rest();
        let found = if rest.is_empty() { "the end".into() } else { format!("{:?}", shorten(rest, 20)) };
        let column = self.text.get(..self.at).unwrap_or_default().chars().count() + 1;
        ExpressionError::Expected { text: shorten(self.text, 100), column, wanted, found }
    }
}

fn shorten(text: &str, most: usize) -> String {
    let mut short: String = text.chars().take(most).collect();
    if short.len() < text.len() {
        short.push('…');
    }
    short
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn shown(text: &str) -> String {
        match parse(text) {
            Ok(Expression { name, labels, value }) => format!("{name} {labels:?} {value}"),
            Err(error) => error.to_string(),
        }
    }

    #[test]
    fn values_have_names_and_may_have_labels() {
        assert_eq!(shown("a=1"), "a {} 1");
        assert_eq!(shown("job:a_total=-1.5e3"), "job:a_total {} -1500");
        assert_eq!(shown("a{}=NaN"), "a {} NaN");
        assert_eq!(shown("a=+Inf"), "a {} inf");
        assert_eq!(shown(r#"a{x="1",y="b,}=\"\\\n"}= 2"#), r#"a {"x": "1", "y": "b,}=\"\\\n"} 2"#);
        assert_eq!(shown("a{ x = 1 , y=/srv/b c ,}=2"), r#"a {"x": "1", "y": "/srv/b c"} 2"#);
        assert_eq!(shown(r#"{"é.b",x=1,"y z"="2"}=3"#), r#"é.b {"x": "1", "y z": "2"} 3"#);
        assert_eq!(shown(r#"a{x="",y=}=3"#), "a {} 3");
        assert_eq!(shown(r#"a{x="\d"}=3"#), r#"a {"x": "\\d"} 3"#);
    }

    #[test]
    fn errors_name_the_position() {
        for (text, words) in [
            ("", "\"\", character 1: expected a metric name, found the end"),
            ("a", "\"a\", character 2: expected {LABELS} or =VALUE, found the end"),
            ("a b=1", "character 2: expected {LABELS} or =VALUE, found \" b=1\""),
            ("é=1", "character 1: expected a metric name, found \"é=1\""),
            (
                "1a=1",
                "character 1: expected a metric name, which does not begin with a digit, found \"1a=1\"",
            ),
            ("a=", "character 3: expected a number, found the end"),
            ("a=x", "character 3: expected a number, found \"x\""),
            (
                "a=1e400",
                "character 3: expected a number that a 64-bit float can hold, or +Inf, found \"1e400\"",
            ),
            (
                "a=-1e999",
                "character 3: expected a number that a 64-bit float can hold, or +Inf, found \"-1e999\"",
            ),
            ("a=1,5", "character 3: expected a number, found \"1,5\""),
            ("a{x=1}", "character 7: expected =VALUE, found the end"),
            ("a{x}=1", "character 4: expected =VALUE after the label's name, found \"}=1\""),
            ("a{x=\"1}=1", "character 5: expected a closing quote for this string"),
            ("a{x=\"1\"y=2}=1", "character 8: expected ',' or '}', found \"y=2}=1\""),
            ("a{x=1", "character 6: expected ',' or '}', found the end"),
            ("a{1=1}=1", "character 3: expected a label name, or '}'"),
            ("a{x=1,x=2}=1", "label x is there twice"),
            ("a{__name__=b}=1", "character 3: expected a label name"),
            ("{x=1}=1", "character 6: expected a metric name, found \"=1\""),
            ("{\"\"}=1", "character 5: expected a metric name, found \"=1\""),
        ] {
            assert!(shown(text).contains(words), "{text}: {}", shown(text));
        }
    }

    #[test]
    fn values_of_one_name_make_one_family() {
        let parsed = ["a{x=1}=1", "b=2", "a{x=2}=3"].map(|text| parse(text).unwrap());
        let text = formats::text::encode(&families(parsed.to_vec(), MetricType::Gauge).unwrap());
        assert_eq!(text, "# TYPE a gauge\na{x=\"1\"} 1\na{x=\"2\"} 3\n# TYPE b gauge\nb 2\n");
        let twice = ["a{x=1}=1", "a{x=\"1\"}=2"].map(|text| parse(text).unwrap());
        let error = families(twice.to_vec(), MetricType::Gauge).unwrap_err();
        assert_eq!(error.to_string(), "a{x=\"1\"} is given twice");
    }

    proptest! {
        #[test]
        fn no_argument_panics(text in any::<String>(), more in "[a{}=\",x1\\\\ é]{0,12}") {
            let _ = parse(&text);
            let _ = parse(&more);
        }

        #[test]
        fn what_is_written_in_quotes_reads_back(value in "[a-z\"\\\\\n,}={ é]{1,10}") {
            let escaped = value.replace('\\', "\\\\").replace('"', "\\\"").replace('\n', "\\n");
            let read = parse(&format!("a{{x=\"{escaped}\"}}=1")).unwrap();
            prop_assert_eq!(&read.labels["x"], &value);
        }
    }
}
