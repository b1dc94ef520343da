//! `/query`: the statements that clients of InfluxDB 1 send before they write. There are no databases, so each one
//! exists. Queries for data get an error, because an empty result would not be true.

use super::Api;
use super::answer::{refused, respond};
use crate::Doors;
use crate::answer::Refusal;
use crate::pushgateway::parameters;
use axum::extract::{Request, State};
use axum::response::Response;
use http::StatusCode;
use http::header::CONTENT_TYPE;
use serde_json::{Value, json};

pub(super) async fn serve(State(doors): State<Doors>, request: Request) -> Response {
    match asked(&doors, request).await {
        Ok(Asked { statement, db }) => respond(StatusCode::OK, &result(&statement, db.as_deref())),
        Err(refusal) => refused(Api::V1, &refusal),
    }
}

/// What a request asks for.
struct Asked {
    statement: String,
    db: Option<String>,
}

async fn asked(doors: &Doors, request: Request) -> Result<Asked, Refusal> {
    let (parts, body) = request.into_parts();
    let mut given = parameters(&parts.uri)?;
    let is_form = parts
        .headers
        .get(CONTENT_TYPE)
        .is_some_and(|value| value.as_bytes().starts_with(b"application/x-www-form-urlencoded"));
    if is_form {
        let mut admission = doors.influx().admit()?;
        let body = doors.read_body(&mut admission, body).await?;
        let uri = format!("/?{}", String::from_utf8_lossy(&body));
        let uri = uri.parse().map_err(|_| Refusal::Malformed("the form can't be read".into()))?;
        given.extend(parameters(&uri)?);
    }
    let mut find = |name: &str| {
        let found = given.iter().position(|(key, _)| key == name)?;
        Some(given.swap_remove(found).1)
    };
    let db = find("db").filter(|db| !db.is_empty());
    let statement = find("q").filter(|statement| !statement.trim().is_empty());
    let missing = || Refusal::Malformed("missing required parameter \"q\"".into());
    Ok(Asked { statement: statement.ok_or_else(missing)?, db })
}

/// InfluxDB 1's answer to a statement.
fn result(statement: &str, db: Option<&str>) -> Value {
    let words: Vec<String> = statement.split_ascii_whitespace().map(str::to_ascii_uppercase).collect();
    let words: Vec<&str> = words.iter().map(|word| word.trim_end_matches(';')).collect();
    let of_statement = match words.as_slice() {
        ["SHOW", "DATABASES", ..] => {
            let names = ["_internal"].into_iter().chain(db).map(|name| json!([name]));
            let names: Vec<Value> = names.collect();
            json!({
                "statement_id": 0,
                "series": [{ "name": "databases", "columns": ["name"], "values": names }],
            })
        }
        ["SELECT" | "EXPLAIN", ..] => json!({
            "statement_id": 0,
            "error": "narthex stores no data to query: ask the destination that it writes to",
        }),
        _ => json!({ "statement_id": 0 }),
    };
    json!({ "results": [of_statement] })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn statements_before_writing_succeed_and_queries_for_data_fail() {
        let text = |statement: &str| result(statement, Some("telegraf")).to_string();
        assert!(text("show databases;").contains(r#"[["_internal"],["telegraf"]]"#));
        assert_eq!(text("CREATE DATABASE \"telegraf\""), r#"{"results":[{"statement_id":0}]}"#);
        assert!(text(" SELECT * FROM cpu").contains(r#""error":"narthex stores no data"#));
    }
}
