//! The options of the text parser.

use model::Limits;

#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Format {
    /// The text format 0.0.4: timestamps in milliseconds, no end mark.
    Text,
    /// OpenMetrics 1.0: timestamps in seconds, exemplars, `# EOF` at the end.
    OpenMetrics,
}

impl Format {
    /// The format that a `Content-Type` header names: OpenMetrics if it says so, and the text format for all other
    /// values, because scripts send many different ones.
    pub fn from_content_type(header: Option<&str>) -> Self {
        let media = header.and_then(|header| header.split(';').next()).unwrap_or_default();
        if media.trim().eq_ignore_ascii_case("application/openmetrics-text") {
            Self::OpenMetrics
        } else {
            Self::Text
        }
    }
}

/// What to do with the timestamps of samples. Exemplars always keep their own.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Default)]
pub enum Timestamps {
    /// They are used.
    #[default]
    Allow,
    /// They are an error, as in the Pushgateway.
    Refuse,
    /// They are parsed and discarded.
    Ignore,
}

#[derive(Debug, Clone)]
pub struct ParseOptions<'a> {
    pub format: Format,
    pub timestamps: Timestamps,
    /// The timestamp of samples without one, in milliseconds since 1970.
    pub default_timestamp: i64,
    /// Labels to add to every sample: names and values. They replace labels of the same name in the text. An empty
    /// value removes the label.
    pub extra_labels: &'a [(&'a str, &'a str)],
    /// A second TYPE line of a family is an error, as in the Pushgateway. Otherwise the last one counts.
    pub one_type: bool,
    /// `_created` samples become start timestamps of their family's other samples, instead of being samples themselves.
    pub created_as_start: bool,
    /// Limits on label sets. A series or exemplar over a limit is left out.
    pub limits: Limits,
    /// The maximum of samples and exemplars together, and of families.
    pub max_points: usize,
    /// The maximum of bytes in all label sets together.
    pub max_label_bytes: usize,
}

impl ParseOptions<'_> {
    /// Timestamps allowed, no extra labels, `_created` as start timestamps, default limits.
    pub fn new(format: Format, default_timestamp: i64) -> Self {
        ParseOptions {
            format,
            timestamps: Timestamps::Allow,
            default_timestamp,
            extra_labels: &[],
            one_type: false,
            created_as_start: true,
            limits: Limits::default(),
            max_points: 1_000_000,
            max_label_bytes: 128 << 20,
        }
    }
}
