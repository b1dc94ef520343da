//! `POST /api/v1/import/prometheus`: text in either format, with its own timestamps.

use crate::Doors;
use crate::answer::Refusal;
use crate::decode::{decode, encoding};
use crate::pushgateway::parameters;
use crate::stats::Door;
use crate::timestamps::Bounds;
use axum::extract::{Request, State};
use axum::response::{IntoResponse, Response};
use formats::compress::Encoding;
use formats::text::{self, Format, ParseOptions};
use formats::{Parsed, Rejected};
use http::StatusCode;
use http::header::CONTENT_TYPE;
use model::{Batch, Value};

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
    let result =
        take(&doors, request).await.inspect_err(|refusal| doors.stats().refused(Door::Import, refusal));
    let response = result.map(|()| StatusCode::NO_CONTENT).into_response();
    doors.stats().answered(Door::Import, response.status());
    response
}

async fn take(doors: &Doors, request: Request) -> Result<(), Refusal> {
    let _place = doors.admit()?;
    let encoding = encoding(request.headers(), Encoding::Identity, &ENCODINGS)?;
    let Parameters { extra_labels: extra, timestamp } = Parameters::of(parameters(request.uri())?)?;
    let content_type = request.headers().get(CONTENT_TYPE).and_then(|value| value.to_str().ok());
    let format = Format::from_content_type(content_type);
    if let Some(reason) = timestamp.and_then(|timestamp| doors.time_bounds().refusal(timestamp, Format::Text))
    {
        return Err(Refusal::Malformed(format!("URL parameter timestamp: {reason}")));
    }
    let received = doors.receive(Door::Import, request.into_body()).await?;

    let limits = doors.options().limits;
    let default_timestamp = timestamp.unwrap_or_else(|| doors.now_ms());
    let parse = move |bytes: &[u8]| {
        let extra: Vec<(&str, &str)> =
            extra.iter().map(|(name, value)| (name.as_str(), value.as_str())).collect();
        let mut options = ParseOptions::new(format, default_timestamp);
        (options.extra_labels, options.limits) = (&extra, limits);
        text::parse(bytes, &options)
    };
    let (parsed, _, mut share) = decode(received, encoding, doors.options().decoded_bytes, parse).await?;
    let Parsed { mut batch, mut rejected } = parsed.map_err(|error| Refusal::Malformed(error.to_string()))?;
    let bytes = batch.heap_bytes();
    share.resize(bytes).await?;

    leave_out_by_time(&mut batch, doors.time_bounds(), format, &mut rejected);
    let kept = batch.points.len();
    doors.append(batch).await?;
    let stats = doors.stats().door(Door::Import);
    stats.points.add(kept as u64);
    if rejected.is_empty() {
        return Ok(());
    }
    stats.invalid.add(rejected.samples + rejected.histograms + rejected.exemplars);
    Err(Refusal::Malformed(rejected.to_string()))
}

/// Leaves out the points whose timestamp is not accepted.
fn leave_out_by_time(batch: &mut Batch, bounds: Bounds, format: Format, rejected: &mut Rejected) {
    let mut points = std::mem::take(&mut batch.points);
    points.retain(|point| {
        let Some(reason) = bounds.refusal(point.timestamp, format) else { return true };
        match point.value {
            Value::Exemplar(_) => rejected.exemplars += 1,
            Value::Float(_) => rejected.samples += 1,
            Value::Histogram(_) => rejected.histograms += 1,
        }
        rejected.explain(|| format!("{}: {reason}", batch.labels(point.series)));
        false
    });
    batch.points = points;
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
