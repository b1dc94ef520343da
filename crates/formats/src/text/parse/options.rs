//! How a text is to be read.

use model::Limits;

/// Which of the two text formats.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Format {
    /// The text format 0.0.4: timestamps in milliseconds, no end mark.
    Text,
    /// OpenMetrics 1.0: timestamps in seconds, exemplars, `# EOF` at the end.
    OpenMetrics,
}

impl Format {
    /// What a `Content-Type` header says: OpenMetrics where it is named, the text format for everything
    /// else, as scripts send all kinds of content types.
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
    /// They count.
    #[default]
    Allow,
    /// They are an error, as the Pushgateway has it.
    Refuse,
    /// They are read and forgotten.
    Ignore,
}

/// How to read a text.
#[derive(Debug, Clone)]
pub struct ParseOptions<'a> {
    /// Which format it is in.
    pub format: Format,
    /// What to do with timestamps.
    pub timestamps: Timestamps,
    /// The timestamp of samples without one, in milliseconds since 1970.
    pub default_timestamp: i64,
    /// Labels of every sample, names and values. They replace labels of the same name in the text; an
    /// empty value removes them.
    pub extra_labels: &'a [(&'a str, &'a str)],
    /// Whether a second TYPE line of a family is an error, as the Pushgateway has it. Otherwise the last one counts.
    pub one_type: bool,
    /// Whether `_created` samples become start timestamps of their family's other samples, instead of
    /// being samples themselves.
    pub created_as_start: bool,
    /// Limits on label sets. A series over one of them is left out, and so is an exemplar.
    pub limits: Limits,
    /// The most samples and exemplars together, and the most families.
    pub max_points: usize,
    /// The most bytes of all label sets together.
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
