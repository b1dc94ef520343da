//! The Pushgateway's interface: PUT, POST and DELETE on `/metrics/job/JOB{/LABEL/VALUE}`, and pushes that are added.

use crate::answer::Refusal;
use crate::decode::{TEXT_ENCODINGS, decode, encoding};
use crate::{Doors, duration};
use axum::Router;
use axum::extract::{Query, Request, State};
use axum::response::{IntoResponse, Response};
use axum::routing::{any, put};
use formats::Parsed;
use formats::compress::Encoding;
use formats::exposition::{self, ExpositionError};
use formats::text::{self, Fault, Format, ParseOptions, Timestamps};
use groups::add::{ADD_HEADER, Gauges, PATH_PREFIX};
use groups::ask::{LeftOut, Push};
use groups::group::{FAILURE_TIME, Family};
use groups::keys::{KEY_BYTES_MAX, KEY_HEADER, Keyed};
use groups::path::{GroupingLabels, PathError};
use groups::pushed::{self, NO_TIMESTAMP, PushedError};
use http::header::CONTENT_TYPE;
use http::{Method, StatusCode, Uri};
use http_server::{Route, Routes};
use model::labels::METRIC_NAME;
use model::{LabelsBuilder, Limits};
use std::sync::Arc;
use std::time::Duration;

/// A body is read until it has this many times the samples that a group may have; what is between the two
/// is refused as too large a group.
pub const READ_FACTOR: usize = 4;

/// Where a group is pushed and deleted.
const GROUP: Route = Route {
    methods: "PUT, POST, DELETE",
    path: "/metrics/job/JOB{/LABEL/VALUE}",
    what: "groups, as in the Pushgateway",
};

/// Where a push is added to a group. A Pushgateway has nothing at this path, and so never overwrites a total.
const ADD: Route = Route {
    methods: "POST",
    path: "/add/metrics/job/JOB{/LABEL/VALUE}",
    what: "pushes that are added to what the group has",
};

/// What a request does to its group.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Action {
    Replace,
    Update,
    Add(Gauges),
}

pub(crate) fn routes() -> Routes<Doors> {
    let without_job = || put(without_job).post(without_job);
    Routes::default()
        .add_at("/metrics/{*group}", GROUP, |_| any(push))
        .add_at("/add/metrics/{*group}", ADD, |_| any(push_added))
        .merge_unlisted(Router::new().route("/metrics", without_job()).route("/metrics/", without_job()))
}

/// Handles a request.
async fn push(State(doors): State<Doors>, request: Request) -> Response {
    let result = match *request.method() {
        Method::PUT => take(&doors, request, Action::Replace).await.map(|()| StatusCode::OK),
        Method::POST => take(&doors, request, Action::Update).await.map(|()| StatusCode::OK),
        Method::DELETE => delete(&doors, request).await.map(|()| StatusCode::ACCEPTED),
        // It pushes nothing, so it is no push that was refused.
        _ => {
            return match GroupingLabels::from_path(request.uri().path()) {
                Err(error @ PathError::NotFound) => Refusal::from(error).into_response(),
                _ => GROUP.method_not_allowed(),
            };
        }
    };
    doors.answer(doors.pushgateway(), result)
}

/// Handles a push to [`ADD`].
async fn push_added(State(doors): State<Doors>, request: Request) -> Response {
    if request.method() != Method::POST {
        return ADD.method_not_allowed();
    }
    let result = take(&doors, request, Action::Add(Gauges::Last)).await.map(|()| StatusCode::OK);
    doors.answer(doors.pushgateway(), result)
}

/// Handles a push to `/metrics` itself, which names no group.
async fn without_job(State(doors): State<Doors>) -> Response {
    doors.answer(doors.pushgateway(), Err::<(), _>(Refusal::from(PathError::NoJob)))
}

async fn delete(doors: &Doors, request: Request) -> Result<(), Refusal> {
    let _admission = doors.pushgateway().admit()?;
    let labels = GroupingLabels::from_path(request.uri().path())?;
    Ok(doors.groups().delete(labels.key()).await?)
}

async fn take(doors: &Doors, request: Request, action: Action) -> Result<(), Refusal> {
    let mut admission = doors.pushgateway().admit()?;
    let options = doors.options();
    let encoding = encoding(request.headers(), "content-encoding", Encoding::Identity, TEXT_ENCODINGS)?;
    let path = request.uri().path();
    let labels = GroupingLabels::from_path(path.strip_prefix(PATH_PREFIX).unwrap_or(path))?;
    let ttl = ttl(&request)?;
    let action = asked(&request, action)?;
    let key = key(&request)?;
    let content_type = request.headers().get(CONTENT_TYPE).and_then(|value| value.to_str().ok());
    let how = format!("{action:?} {ttl:?} {content_type:?}");
    let (protobuf, format) =
        (exposition::is_content_type(content_type), Format::from_content_type(content_type));
    let body = doors.read_body(&mut admission, request.into_body()).await?;
    let keyed = key.map(|key| Keyed { key, request: hash(&body, &how) });

    let (input, settings) = (admission.input().clone(), admission.settings().clone());
    let limits = settings.limits;
    check_key(&labels, &limits)?;
    let bounds = admission.time_bounds().without_oldest();
    let allowed = options.pushgateway.allow_timestamps;
    let grouping = labels.clone();
    let max_points = options.pushgateway.groups.max_group_series.saturating_mul(READ_FACTOR);
    let parse = move |bytes: &[u8]| -> Result<Body, String> {
        let extra: Vec<(&str, &str)> = grouping.iter().collect();
        let mut options = ParseOptions::new(format, NO_TIMESTAMP);
        (options.extra_labels, options.limits, options.max_points) = (&extra, limits, max_points);
        options.one_type = true;
        options.timestamps = if allowed { Timestamps::Allow } else { Timestamps::Refuse };
        let mut parsed = match read(bytes, protobuf, &options) {
            Ok(parsed) => parsed,
            Err(error) => {
                // As in the Pushgateway a timestamp makes a failed push, and a body that can't be read at all
                // does not. Both may be true of one body.
                options.timestamps = Timestamps::Ignore;
                return if error.timestamp && read(bytes, protobuf, &options).is_ok() {
                    Ok(Body { families: Err(error.text), left_out: None, rejected: 0 })
                } else {
                    Err(error.text)
                };
            }
        };
        input.limit_series(&settings, &mut parsed.batch, &mut parsed.rejected);
        let rejected = parsed.rejected.kinds().total();
        let left_out = (!parsed.rejected.is_empty()).then(|| LeftOut {
            text: parsed.rejected.to_string(),
            is_over_series_limit: parsed.rejected.is_only_over_series_limit(),
        });
        // Protobuf has milliseconds, as the text format.
        let format = if protobuf { Format::Text } else { format };
        let families = match pushed::families(parsed.batch, bounds, format) {
            // For the Pushgateway such a body can't be read at all.
            Err(error @ PushedError::TwoTypes { .. }) => return Err(error.to_string()),
            families => families.map_err(|error| error.to_string()),
        };
        Ok(match (families, left_out) {
            // Nothing of it is left: a PUT of nothing would clear the group.
            (Ok(families), Some(left_out)) if families.is_empty() => {
                Body { families: Err(left_out.text.clone()), left_out: Some(left_out), rejected }
            }
            (families, left_out) => Body { families, left_out, rejected },
        })
    };
    let (body, _) = decode(body, admission.memory(), encoding, options.decoded_bytes, parse).await?;
    let Body { families, left_out, rejected } = body.map_err(Refusal::Malformed)?;
    let members = families.iter().flatten().flat_map(|(_, family)| &family.members);
    let points: usize = members.map(|member| 1 + member.exemplars.len()).sum();
    let add = if let Action::Add(gauges) = action { Some(gauges) } else { None };
    let (key, replace) = (labels.key(), action == Action::Replace);
    // What is added is kept as a whole or not at all.
    let refused_in_part = left_out.as_ref().filter(|_| add.is_none()).map(LeftOut::refusal);
    let result = doors.groups().push(Push { key, replace, add, keyed, ttl, families, left_out }).await;
    if result.as_ref().err() == refused_in_part.as_ref() {
        let counters = admission.input().counters();
        counters.points.add(points as u64);
        counters.rejected.add(rejected);
    }
    Ok(result?)
}

/// A body that could be read.
struct Body {
    /// The families in it, or why the push is refused.
    families: Result<Vec<(String, Arc<Family>)>, String>,
    /// What was left out of them.
    left_out: Option<LeftOut>,
    /// How many points that is.
    rejected: u64,
}

/// Why a body can't be read.
struct ReadError {
    text: String,
    /// Because of a timestamp, where none may be.
    timestamp: bool,
}

fn read(bytes: &[u8], protobuf: bool, options: &ParseOptions<'_>) -> Result<Parsed, ReadError> {
    if protobuf {
        exposition::decode(bytes, options).map_err(|error| ReadError {
            timestamp: matches!(error, ExpositionError::TimestampRefused { .. }),
            text: error.to_string(),
        })
    } else {
        text::parse(bytes, options).map_err(|error| ReadError {
            timestamp: error.fault == Fault::TimestampRefused,
            text: error.to_string(),
        })
    }
}

/// Checks the labels of a group, which are also those of its two push times.
fn check_key(labels: &GroupingLabels, limits: &Limits) -> Result<(), Refusal> {
    if let Some((name, _)) = labels.iter().find(|(name, _)| name.contains(char::is_control)) {
        return Err(Refusal::Malformed(format!(
            "the labels in the path: the name {name:?} has a control character; in U__NAME, _..._ is a code point in \
             hexadecimal"
        )));
    }
    let mut builder = LabelsBuilder::new();
    builder.push(METRIC_NAME.as_bytes(), FAILURE_TIME.as_bytes());
    labels.iter().for_each(|(name, value)| builder.push(name.as_bytes(), value.as_bytes()));
    let checked = builder.finish(limits, &mut Vec::new());
    checked.map_err(|error| Refusal::Malformed(format!("the labels in the path: {error}")))
}

/// What the request says of the group's time to live: nothing, or `Some(None)` for ever.
fn ttl(request: &Request) -> Result<Option<Option<Duration>>, Refusal> {
    let Some(text) = said(request, "ttl", groups::path::TTL_HEADER)? else { return Ok(None) };
    let ttl = duration::parse_ttl(&text).map_err(|error| Refusal::Malformed(error.to_string()))?;
    Ok(Some(ttl))
}

/// What the request asks for: `action`, unless it says that it is to be added.
fn asked(request: &Request, action: Action) -> Result<Action, Refusal> {
    let Some(text) = said(request, "add", ADD_HEADER)? else { return Ok(action) };
    if action == Action::Replace {
        let why = "PUT replaces the group: send what is to be added by POST";
        return Err(Refusal::Malformed(why.into()));
    }
    Gauges::parse(&text).map(Action::Add).map_err(Refusal::Malformed)
}

/// What the request says by a parameter or else by a header.
fn said(request: &Request, parameter: &str, header: &str) -> Result<Option<String>, Refusal> {
    let said = parameters(request.uri())?.into_iter().rev().find(|(name, _)| name == parameter);
    let header = || Some(request.headers().get(header)?.to_str().unwrap_or("(not text)").to_string());
    let text = said.map(|(_, text)| text).or_else(header);
    Ok(text.map(|text| text.trim().to_string()))
}

/// The hash of the request's key, if it has one.
fn key(request: &Request) -> Result<Option<u128>, Refusal> {
    let Some(key) = request.headers().get(KEY_HEADER) else { return Ok(None) };
    // In quotes, as the header's draft has it, it is the same key.
    let key = key.as_bytes().trim_ascii();
    let key = key.strip_prefix(b"\"").and_then(|key| key.strip_suffix(b"\"")).unwrap_or(key);
    if key.is_empty() || key.len() > KEY_BYTES_MAX {
        let bytes = key.len();
        return Err(Refusal::Malformed(format!(
            "the Idempotency-Key has {bytes} bytes: it must have 1 to {KEY_BYTES_MAX}"
        )));
    }
    // Stored, so not keyed. Keys that collide on purpose harm only the group that they are sent to.
    Ok(Some(xxhash_rust::xxh3::xxh3_128(key)))
}

/// A hash of what is pushed and how, by which a key that is used for something else is noticed.
fn hash(body: &[u8], how: &str) -> u64 {
    xxhash_rust::xxh3::xxh3_64_with_seed(body, xxhash_rust::xxh3::xxh3_64(how.as_bytes()))
}

/// The parameters of a URL, in order.
pub(crate) fn parameters(uri: &Uri) -> Result<Vec<(String, String)>, Refusal> {
    match Query::<Vec<(String, String)>>::try_from_uri(uri) {
        Ok(Query(parameters)) => Ok(parameters),
        Err(error) => Err(Refusal::Malformed(format!("the URL's parameters can't be read: {error}"))),
    }
}
