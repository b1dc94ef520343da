//! `POST /api/v1/import/prometheus`: text in either format, with its own timestamps.

use crate::answer::Refusal;
use crate::decode::TEXT_ENCODINGS;
use crate::doors::IMPORT;
use crate::http_input::{Conditions, Decoded, HttpInput};
use crate::pushgateway::parameters;
use formats::compress::Encoding;
use formats::text::{Format, ParseOptions};
use http::header::CONTENT_TYPE;
use http::request::Parts;
use http_server::Route;
use intake::{Input, Intake};

/// The most extra labels a request may name.
pub const EXTRA_LABELS: usize = 64;

#[derive(Debug)]
pub(crate) struct Import(Input);

impl Import {
    pub(crate) fn new(intake: &Intake) -> Self {
        Import(intake.input(IMPORT))
    }
}

/// What the head of a request says.
#[derive(Debug)]
pub(crate) struct Head {
    format: Format,
    parameters: Parameters,
}

impl HttpInput for Import {
    const ROUTES: &'static [Route] = &[Route {
        methods: "POST",
        path: "/api/v1/import/prometheus",
        what: "Prometheus text and OpenMetrics, with timestamps",
    }];
    const ENCODINGS: &'static [(&'static str, Encoding)] = TEXT_ENCODINGS;
    const DEFAULT_ENCODING: Encoding = Encoding::Identity;
    type More = ();
    type Head = Head;

    fn head(parts: &Parts) -> Result<Head, Refusal> {
        let content_type = parts.headers.get(CONTENT_TYPE).and_then(|value| value.to_str().ok());
        let format = Format::from_content_type(content_type);
        Ok(Head { format, parameters: Parameters::of(parameters(&parts.uri)?)? })
    }

    fn input(&self, _: Option<&Head>) -> &Input {
        &self.0
    }

    fn decode(head: &Head, body: &[u8], conditions: &Conditions) -> Result<Decoded, Refusal> {
        let Head { format, parameters: Parameters { extra_labels, timestamp } } = head;
        let out_of_bounds =
            timestamp.and_then(|timestamp| conditions.bounds.refusal(timestamp, Some(Format::Text)));
        if let Some(reason) = out_of_bounds {
            return Err(Refusal::Malformed(format!("URL parameter timestamp: {reason}")));
        }
        let extra: Vec<(&str, &str)> =
            extra_labels.iter().map(|(name, value)| (name.as_str(), value.as_str())).collect();
        let mut options = ParseOptions::new(*format, timestamp.unwrap_or(conditions.now_ms));
        (options.extra_labels, options.limits) = (&extra, conditions.limits);
        let decoded = conditions.recogniser.parse_text(body, &options);
        let decoded = decoded.map_err(|error| Refusal::Malformed(error.to_string()))?;
        Ok(Decoded { decoded, written_in: Some(*format), more: () })
    }
}

/// What the URL says besides the path.
#[derive(Debug, Default, PartialEq, Eq)]
struct Parameters {
    /// `extra_label=NAME=VALUE`, any number of times: a label of every series.
    extra_labels: Vec<(String, String)>,
    /// `timestamp=MILLISECONDS`: the timestamp of samples without one.
    timestamp: Option<i64>,
}

impl Parameters {
    fn of(parameters: Vec<(String, String)>) -> Result<Self, Refusal> {
        let malformed = |text: String| Err(Refusal::Malformed(text));
        let mut found = Parameters::default();
        for (name, value) in parameters {
            match name.as_str() {
                "extra_label" => found.add_label(&value)?,
                "timestamp" if found.timestamp.is_some() => {
                    return malformed("URL parameter timestamp is there twice".into());
                }
                "timestamp" => match value.trim().parse() {
                    Ok(timestamp) => found.timestamp = Some(timestamp),
                    Err(_) => {
                        return malformed(format!(
                            "URL parameter timestamp={value:?} is not a whole number of milliseconds since 1970"
                        ));
                    }
                },
                _ => {
                    return malformed(format!(
                        "URL parameter {name:?} is not known here: use extra_label=NAME=VALUE or \
                         timestamp=MILLISECONDS"
                    ));
                }
            }
        }
        Ok(found)
    }

    fn add_label(&mut self, pair: &str) -> Result<(), Refusal> {
        let malformed = |text: String| Err(Refusal::Malformed(text));
        let found = pair.split_once('=').filter(|(name, _)| !name.is_empty() && !name.starts_with("__"));
        let Some((name, value)) = found else {
            return malformed(format!(
                "extra_label={pair:?} is not NAME=VALUE with a name that doesn't begin with __"
            ));
        };
        if self.extra_labels.iter().any(|(other, _)| other == name) {
            return malformed(format!("extra_label {name:?} is there twice"));
        }
        if self.extra_labels.len() >= EXTRA_LABELS {
            return malformed(format!("more than {EXTRA_LABELS} extra labels"));
        }
        self.extra_labels.push((name.to_string(), value.to_string()));
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn labels(count: usize) -> Result<usize, Refusal> {
        let pairs = (0..count).map(|n| ("extra_label".to_string(), format!("l{n}={n}"))).collect();
        Parameters::of(pairs).map(|parameters| parameters.extra_labels.len())
    }

    #[test]
    fn extra_labels_are_limited() {
        assert_eq!(labels(EXTRA_LABELS), Ok(64));
        assert_eq!(labels(EXTRA_LABELS + 1), Err(Refusal::Malformed("more than 64 extra labels".into())));
    }
}
