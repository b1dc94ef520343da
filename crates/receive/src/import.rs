//! `POST /api/v1/import/prometheus`: text in either format, with its own timestamps.

use crate::Doors;
use crate::answer::{Refusal, whole};
use crate::decode::{decode, encoding};
use crate::pushgateway::parameters;
use axum::extract::{Request, State};
use axum::response::Response;
use formats::compress::Encoding;
use formats::text::{self, Format, ParseOptions};
use http::StatusCode;
use http::header::CONTENT_TYPE;
use intake::Outcome;

const ENCODINGS: [(&str, Encoding); 4] = [
    ("gzip", Encoding::Gzip),
    ("snappy", Encoding::SnappyFramed),
    ("zstd", Encoding::Zstd),
    ("identity", Encoding::Identity),
];

/// The most extra labels a request may name.
pub const EXTRA_LABELS: usize = 64;

/// Handles a request.
pub(crate) async fn import(State(doors): State<Doors>, request: Request) -> Response {
    let result = append(&doors, request).await.and_then(|outcome| whole(&outcome));
    doors.answer(&doors.inputs().import, result.map(|()| StatusCode::NO_CONTENT))
}

async fn append(doors: &Doors, request: Request) -> Result<Outcome, Refusal> {
    let mut admission = doors.inputs().import.admit()?;
    let encoding = encoding(request.headers(), Encoding::Identity, &ENCODINGS)?;
    let Parameters { extra_labels: extra, timestamp } = Parameters::of(parameters(request.uri())?)?;
    let content_type = request.headers().get(CONTENT_TYPE).and_then(|value| value.to_str().ok());
    let format = Format::from_content_type(content_type);
    let out_of_bounds =
        timestamp.and_then(|timestamp| admission.time_bounds().refusal(timestamp, Some(Format::Text)));
    if let Some(reason) = out_of_bounds {
        return Err(Refusal::Malformed(format!("URL parameter timestamp: {reason}")));
    }
    let body = doors.read_body(&mut admission, request.into_body()).await?;

    let limits = admission.settings().limits;
    let default_timestamp = timestamp.unwrap_or_else(|| admission.now_ms());
    let parse = move |bytes: &[u8]| {
        let extra: Vec<(&str, &str)> =
            extra.iter().map(|(name, value)| (name.as_str(), value.as_str())).collect();
        let mut options = ParseOptions::new(format, default_timestamp);
        (options.extra_labels, options.limits) = (&extra, limits);
        text::parse(bytes, &options)
    };
    let limit = doors.options().decoded_bytes;
    let (parsed, _) = decode(body, admission.memory(), encoding, limit, parse).await?;
    let parsed = parsed.map_err(|error| Refusal::Malformed(error.to_string()))?;
    Ok(admission.append(parsed, Some(format)).await?)
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
