//! `POST /api/v1/import/prometheus`: text in either format, with its own timestamps.

use crate::Doors;
use crate::answer::Refusal;
use crate::decode::{decode, encoding};
use crate::pushgateway::parameters;
use crate::stats::Door;
use axum::extract::{Request, State};
use axum::response::{IntoResponse, Response};
use formats::compress::Encoding;
use formats::text::{self, Format, ParseOptions};
use http::StatusCode;
use http::header::CONTENT_TYPE;

const ENCODINGS: [(&str, Encoding); 3] =
    [("gzip", Encoding::Gzip), ("zstd", Encoding::Zstd), ("identity", Encoding::Identity)];

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
    let extra = extra_labels(parameters(request.uri())?)?;
    let content_type = request.headers().get(CONTENT_TYPE).and_then(|value| value.to_str().ok());
    let format = Format::from_content_type(content_type);
    let received = doors.receive(Door::Import, request.into_body()).await?;

    let limits = doors.options().limits;
    let now = doors.now_ms();
    let parse = move |bytes: &[u8]| {
        let extra: Vec<(&str, &str)> =
            extra.iter().map(|(name, value)| (name.as_str(), value.as_str())).collect();
        let mut options = ParseOptions::new(format, now);
        (options.extra_labels, options.limits) = (&extra, limits);
        text::parse(bytes, &options)
    };
    let (parsed, _, mut share) = decode(received, encoding, doors.options().decoded_bytes, parse).await?;
    let mut batch = parsed.map_err(|error| Refusal::Malformed(error.to_string()))?;
    let bytes = batch.heap_bytes();
    share.resize(bytes).await?;

    let (oldest, newest) = doors.time_bounds();
    let all = batch.points.len();
    let fits = |point: &model::Point| {
        point.timestamp <= newest && oldest.is_none_or(|oldest| point.timestamp >= oldest)
    };
    let misfit = batch.points.iter().find(|point| !fits(point)).copied();
    let misfit = misfit.map(|point| (batch.labels(point.series).to_string(), point.timestamp));
    batch.points.retain(fits);
    let kept = batch.points.len();
    doors.append(batch).await?;
    let stats = doors.stats().door(Door::Import);
    stats.points.add(kept as u64);
    let Some((series, timestamp)) = misfit else { return Ok(()) };
    stats.invalid.add((all - kept) as u64);
    let bound = match oldest {
        Some(oldest) if timestamp < oldest => format!("earlier than {oldest}"),
        _ => format!("later than {newest}"),
    };
    let left_out = all - kept;
    let text = format!("left out {left_out} of {all} samples: {series}: timestamp {timestamp} is {bound}");
    Err(Refusal::Malformed(text))
}

/// `extra_label=NAME=VALUE`, any number of times.
fn extra_labels(parameters: Vec<(String, String)>) -> Result<Vec<(String, String)>, Refusal> {
    let mut labels: Vec<(String, String)> = Vec::new();
    for (name, value) in parameters {
        if name != "extra_label" {
            let text = format!("URL parameter {name:?} is not known here: use extra_label=NAME=VALUE");
            return Err(Refusal::Malformed(text));
        }
        let pair = value.split_once('=').filter(|(name, _)| !name.is_empty() && !name.starts_with("__"));
        let Some((name, value)) = pair else {
            let text =
                format!("extra_label={value:?} is not NAME=VALUE with a name that doesn't begin with __");
            return Err(Refusal::Malformed(text));
        };
        if labels.iter().any(|(other, _)| other == name) {
            return Err(Refusal::Malformed(format!("extra_label {name:?} is there twice")));
        }
        labels.push((name.to_string(), value.to_string()));
    }
    if labels.len() > EXTRA_LABELS {
        let is = labels.len();
        return Err(Refusal::Malformed(format!("{is} extra labels, the limit is {EXTRA_LABELS}")));
    }
    Ok(labels)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn pairs(count: usize) -> Vec<(String, String)> {
        (0..count).map(|n| ("extra_label".to_string(), format!("l{n}={n}"))).collect()
    }

    #[test]
    fn extra_labels_are_limited() {
        assert_eq!(extra_labels(pairs(EXTRA_LABELS)).map(|labels| labels.len()), Ok(64));
        let refused = extra_labels(pairs(EXTRA_LABELS + 1)).unwrap_err();
        assert_eq!(refused, Refusal::Malformed("65 extra labels, the limit is 64".into()));
    }
}
