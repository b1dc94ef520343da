//! The rest of the Pushgateway's interface: `GET /api/v1/status`, `GET /api/v1/metrics`,
//! `PUT /api/v1/admin/wipe`.

use crate::Doors;
use crate::answer::Refusal;
use axum::extract::State;
use axum::response::{IntoResponse, Response};
use formats::text::type_word;
use groups::exposition::{all_families, number, shown_labels};
use groups::group::{Family, Group, Kept, Member, Reading};
use http::StatusCode;
use http::header::{CACHE_CONTROL, CONTENT_TYPE, HeaderValue, X_CONTENT_TYPE_OPTIONS};
use http_server::{Route, Routes};
use model::{Counts, MetricType, moment};
use serde_json::{Map, Value, json};
use std::collections::BTreeMap;

pub(crate) fn routes() -> Routes<Doors> {
    let route = |methods, path, what| Route { methods, path, what };
    Routes::default()
        .add(route("GET", "/api/v1/status", "build and flags, as in the Pushgateway"), |other| {
            other.get(status)
        })
        .add(route("GET", "/api/v1/metrics", "the groups as JSON, as in the Pushgateway"), |other| {
            other.get(metrics)
        })
        .add(route("PUT", "/api/v1/admin/wipe", "deletes all groups, if that is enabled"), |other| {
            other.put(wipe)
        })
}

/// What narthex is: its build, and since when it runs.
async fn status(State(doors): State<Doors>) -> Response {
    let options = doors.options();
    let gateway = &options.pushgateway;
    let flags: BTreeMap<&str, String> = [
        ("pushgateway.interval", format!("{:?}", gateway.groups.interval)),
        ("pushgateway.expose", gateway.expose.to_string()),
        ("enable-admin", gateway.enable_admin.to_string()),
    ]
    .into();
    answer(json!({
        "build_information": { "version": env!("CARGO_PKG_VERSION"), "program": "narthex" },
        "flags": flags,
        "start_time": moment::show(doors.started_ms()),
    }))
}

/// All groups with all that was pushed to them.
async fn metrics(State(doors): State<Doors>) -> Response {
    match doors.groups().all().await {
        Ok(groups) => answer(groups.iter().map(|group| group_json(group)).collect()),
        Err(refusal) => Refusal::from(refusal).into_response(),
    }
}

/// Deletes all groups, where the user has enabled that.
async fn wipe(State(doors): State<Doors>) -> Response {
    if !doors.options().pushgateway.enable_admin {
        let text = "wiping is not enabled: start narthex with --enable-admin".to_string();
        return Refusal::NotFound(text).into_response();
    }
    let wiped = doors.groups().wipe().await.map_err(Refusal::from);
    wiped.map(|()| StatusCode::ACCEPTED).into_response()
}

/// Without the Pushgateway's headers for foreign pages: no page but narthex' own is to read this.
fn answer(data: Value) -> Response {
    let headers = [
        (CONTENT_TYPE, HeaderValue::from_static("application/json")),
        (CACHE_CONTROL, HeaderValue::from_static("no-store")),
        (X_CONTENT_TYPE_OPTIONS, HeaderValue::from_static("nosniff")),
    ];
    (headers, json!({ "status": "success", "data": data }).to_string()).into_response()
}

fn group_json(group: &Group) -> Value {
    let mut out = Map::new();
    // A family named like one of the two below would hide it in the Pushgateway, too.
    for (name, kept) in all_families(group) {
        out.insert(name, family_json(&kept));
    }
    let labels = group.key.as_ref();
    let labels: BTreeMap<String, String> =
        labels.iter().map(|(name, value)| (name.into_owned(), value.into_owned())).collect();
    out.insert("labels".into(), json!(labels));
    out.insert("last_push_successful".into(), json!(group.last_push_succeeded()));
    Value::Object(out)
}

fn family_json(kept: &Kept) -> Value {
    let family = &kept.family;
    let mut out = Map::new();
    out.insert("time_stamp".into(), json!(moment::show(kept.pushed)));
    out.insert("type".into(), json!(type_word(family.kind).to_uppercase()));
    if !family.help.is_empty() {
        out.insert("help".into(), json!(family.help));
    }
    out.insert("metrics".into(), Value::Array(metrics_json(family)));
    Value::Object(out)
}

/// The series of a family as metrics: what belongs to one summary or histogram together.
fn metrics_json(family: &Family) -> Vec<Value> {
    let part = match family.kind {
        MetricType::Histogram | MetricType::GaugeHistogram => Some(("le", "buckets")),
        MetricType::Summary => Some(("quantile", "quantiles")),
        _ => None,
    };
    let Some((label, list)) = part else {
        return family.members.iter().map(|member| plain_json(member, family.kind)).collect();
    };
    let mut metrics: BTreeMap<BTreeMap<String, String>, Map<String, Value>> = BTreeMap::new();
    for member in &family.members {
        let mut labels = shown_labels(&member.labels, family.kind);
        let name = member.labels.as_ref().metric_name().unwrap_or_default();
        let bound = labels.remove(label);
        let metric = metrics.entry(labels).or_default();
        match &member.reading {
            Reading::Float(value) => {
                let value = json!(number(*value));
                match bound {
                    Some(bound) => {
                        let parts = metric.entry(list).or_insert_with(|| Value::Object(Map::new()));
                        if let Value::Object(parts) = parts {
                            parts.insert(bound, value);
                        }
                    }
                    None if name.ends_with(b"_sum") => drop(metric.insert("sum".into(), value)),
                    None if name.ends_with(b"_count") => drop(metric.insert("count".into(), value)),
                    None => drop(metric.insert("value".into(), value)),
                }
            }
            Reading::Histogram(histogram) => {
                let count = match &histogram.counts {
                    Counts::Integer { count, .. } => count.to_string(),
                    Counts::Float { count, .. } => number(*count),
                };
                metric.insert("count".into(), json!(count));
                metric.insert("sum".into(), json!(number(histogram.sum)));
            }
        }
    }
    let metric = |(labels, mut metric): (BTreeMap<String, String>, Map<String, Value>)| {
        metric.insert("labels".into(), json!(labels));
        Value::Object(metric)
    };
    metrics.into_iter().map(metric).collect()
}

fn plain_json(member: &Member, kind: MetricType) -> Value {
    let value = match &member.reading {
        Reading::Float(value) => *value,
        Reading::Histogram(histogram) => histogram.sum,
    };
    json!({ "labels": shown_labels(&member.labels, kind), "value": number(value) })
}
