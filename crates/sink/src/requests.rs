//! Remote-write requests. Each is answered according to the specifications, or fails as configured, and is
//! recorded.

use crate::{Accept, BODY_BYTES_MAX, BODY_TIMEOUT, REQUESTS_AT_A_TIME_MAX, REQUESTS_REMEMBERED, Seen, Sink};
use axum::body::Body;
use axum::extract::{Request, State};
use axum::response::{IntoResponse, Response};
use formats::compress::{Decompressor, Encoding};
use formats::remote_write::{DecodeOptions, Protocol, Rejected, decode};
use http::{HeaderMap, HeaderName, HeaderValue, StatusCode, header};
use std::time::{Instant, SystemTime, UNIX_EPOCH};

/// The status and the text of the answer to a refused request.
struct Refusal(StatusCode, String);

/// Answers a request and records it.
pub(crate) async fn take(State(sink): State<Sink>, request: Request) -> Response {
    let started = Instant::now();
    let user_agent = request.headers().get(header::USER_AGENT).and_then(|value| value.to_str().ok());
    let mut seen = Seen {
        at_ms: 0,
        protocol: "",
        status: 0,
        samples: 0,
        bytes: 0,
        took_ms: 0,
        user_agent: user_agent.unwrap_or_default().chars().take(80).collect(),
        answer: String::new(),
    };
    let response = match sink.take(request, &mut seen).await {
        Ok(response) => response,
        Err(Refusal(status, text)) => {
            seen.answer = text.clone();
            (status, format!("{text}\n")).into_response()
        }
    };
    seen.status = response.status().as_u16();
    seen.at_ms = SystemTime::now().duration_since(UNIX_EPOCH).map_or(0, |since| since.as_millis() as i64);
    seen.took_ms = started.elapsed().as_millis() as u64;
    let mut book = sink.book();
    book.requests.all += 1;
    book.requests.bytes += seen.bytes as u64;
    book.requests.taken += u64::from(response.status().is_success());
    if book.recent.len() >= REQUESTS_REMEMBERED {
        book.recent.pop_front();
    }
    book.recent.push_back(seen);
    response
}

impl Sink {
    async fn take(&self, request: Request, seen: &mut Seen) -> Result<Response, Refusal> {
        let Ok(_working) = self.0.working.try_acquire() else {
            let text = format!("more than {REQUESTS_AT_A_TIME_MAX} requests at a time");
            return Err(Refusal(StatusCode::SERVICE_UNAVAILABLE, text));
        };
        let verdict = self.0.faults.verdict();
        if !verdict.delay.is_zero() {
            tokio::time::sleep(verdict.delay).await;
        }
        let (head, body) = request.into_parts();
        let protocol = protocol(&head.headers, self.0.accept)?;
        seen.protocol = match protocol {
            Protocol::V1 => "1.0",
            Protocol::V2 => "2.0",
        };
        let body = read(body).await?;
        seen.bytes = body.len();
        if let Some((status, retry_after)) = verdict.fail {
            let status = StatusCode::from_u16(status).unwrap_or(StatusCode::SERVICE_UNAVAILABLE);
            self.book().requests.failed_on_purpose += 1;
            let mut response = (status, "the sink has been told to fail\n").into_response();
            if let Some(seconds) = retry_after {
                response.headers_mut().insert(header::RETRY_AFTER, HeaderValue::from(seconds));
            }
            seen.answer = "told to fail".into();
            return Ok(response);
        }
        let mut raw = Vec::new();
        Decompressor::new()
            .decode(Encoding::Snappy, &body, BODY_BYTES_MAX, &mut raw)
            .map_err(|error| Refusal(StatusCode::BAD_REQUEST, error.to_string()))?;
        let decoded = decode(protocol, &raw, &DecodeOptions::default())
            .map_err(|error| Refusal(StatusCode::BAD_REQUEST, error.to_string()))?;
        self.book().window.add(&decoded.batch);
        if let Some(observe) = &self.0.observer {
            observe(&decoded.batch);
        }
        let written = decoded.batch.kinds();
        seen.samples = written.samples + written.histograms;
        Ok(answer(protocol, written, &decoded.rejected, seen))
    }
}

/// The answer to a request that could be decoded: 204, or 400 if something in it was invalid.
fn answer(protocol: Protocol, written: model::Kinds, rejected: &Rejected, seen: &mut Seen) -> Response {
    let mut response = if rejected.is_empty() {
        StatusCode::NO_CONTENT.into_response()
    } else {
        seen.answer = rejected.to_string();
        (StatusCode::BAD_REQUEST, format!("{rejected}\n")).into_response()
    };
    if protocol == Protocol::V2 {
        let headers = [
            ("x-prometheus-remote-write-samples-written", written.samples),
            ("x-prometheus-remote-write-histograms-written", written.histograms),
            ("x-prometheus-remote-write-exemplars-written", written.exemplars),
        ];
        for (name, count) in headers {
            response.headers_mut().insert(HeaderName::from_static(name), HeaderValue::from(count));
        }
    }
    response
}

fn protocol(headers: &HeaderMap, accept: Accept) -> Result<Protocol, Refusal> {
    let unsupported = |text: String| Refusal(StatusCode::UNSUPPORTED_MEDIA_TYPE, text);
    let value = |name| headers.get(name).map(|value: &HeaderValue| value.to_str().unwrap_or("?"));
    let protocol = Protocol::from_content_type(value(header::CONTENT_TYPE))
        .map_err(|error| unsupported(error.to_string()))?;
    match (accept, protocol) {
        (Accept::V1, Protocol::V2) => {
            return Err(unsupported("this sink takes remote write 1.0 only".into()));
        }
        (Accept::V2, Protocol::V1) => {
            return Err(unsupported("this sink takes remote write 2.0 only".into()));
        }
        _ => {}
    }
    match value(header::CONTENT_ENCODING) {
        None => Ok(protocol),
        Some(encoding) if encoding.eq_ignore_ascii_case("snappy") => Ok(protocol),
        Some(other) => {
            let other: String = other.chars().take(32).collect();
            Err(unsupported(format!("content encoding {other:?} is not snappy")))
        }
    }
}

async fn read(body: Body) -> Result<bytes::Bytes, Refusal> {
    use http_body_util::{BodyExt, LengthLimitError, Limited};
    let collected = tokio::time::timeout(BODY_TIMEOUT, Limited::new(body, BODY_BYTES_MAX).collect()).await;
    match collected {
        Ok(Ok(collected)) => Ok(collected.to_bytes()),
        Ok(Err(error)) if error.is::<LengthLimitError>() => {
            let text = format!("the body is larger than {BODY_BYTES_MAX} bytes");
            Err(Refusal(StatusCode::PAYLOAD_TOO_LARGE, text))
        }
        Ok(Err(error)) => {
            Err(Refusal(StatusCode::BAD_REQUEST, format!("the body could not be read: {error}")))
        }
        Err(_) => Err(Refusal(StatusCode::REQUEST_TIMEOUT, "the body did not come in time".into())),
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, reason = "helpers of tests")]
    use super::*;
    use crate::{Behaviour, WindowLimits};
    use tower::ServiceExt;

    /// `up 7` at millisecond 9, as remote write 1.0. The bytes are written by hand, so that the test does not
    /// depend on our own encoder.
    fn body_v1() -> Vec<u8> {
        let label = b"\x0a\x08__name__\x12\x02up";
        let mut sample = vec![0x09];
        sample.extend(7f64.to_le_bytes());
        sample.extend([0x10, 9]);
        let mut series = vec![0x0a, label.len() as u8];
        series.extend(label);
        series.extend([0x12, sample.len() as u8]);
        series.extend(sample);
        let mut raw = vec![0x0a, series.len() as u8];
        raw.extend(series);
        let mut body = Vec::new();
        // A snappy block with one literal.
        body.extend([raw.len() as u8, ((raw.len() - 1) << 2) as u8]);
        body.extend(raw);
        body
    }

    async fn send(sink: &Sink, content_type: &str, encoding: &str, body: Vec<u8>) -> Response {
        let request = Request::builder()
            .method("POST")
            .uri("/api/v1/write")
            .header("content-type", content_type)
            .header("content-encoding", encoding)
            .body(Body::from(body))
            .unwrap();
        sink.router().oneshot(request).await.unwrap()
    }

    fn sink(accept: Accept, behaviour: Behaviour) -> Sink {
        Sink::new(WindowLimits::DEFAULT, accept, behaviour, None)
    }

    const V1: &str = "application/x-protobuf";
    const V2: &str = "application/x-protobuf;proto=io.prometheus.write.v2.Request";

    #[tokio::test]
    async fn a_request_of_1_0_is_answered_with_204_without_written_headers() {
        let sink = sink(Accept::Both, Behaviour::default());
        let response = send(&sink, V1, "snappy", body_v1()).await;
        assert_eq!(response.status(), 204);
        assert!(!response.headers().contains_key("x-prometheus-remote-write-samples-written"));
        let seen = sink.look(|window| {
            window.recent("up", 9).iter().map(|(text, s)| (text.clone(), s.points.len())).collect::<Vec<_>>()
        });
        assert_eq!(seen, [("up".to_string(), 1)]);
    }

    #[tokio::test]
    async fn an_empty_request_of_2_0_is_answered_with_written_headers() {
        let sink = sink(Accept::Both, Behaviour::default());
        // symbols: [""]
        let response = send(&sink, V2, "snappy", vec![2, 1 << 2, 0x22, 0]).await;
        assert_eq!(response.status(), 204);
        for kind in ["samples", "histograms", "exemplars"] {
            let name = format!("x-prometheus-remote-write-{kind}-written");
            assert_eq!(response.headers().get(&name).unwrap(), "0", "{name}");
        }
    }

    #[tokio::test]
    async fn unsupported_types_get_415_and_broken_bodies_400() {
        let both = sink(Accept::Both, Behaviour::default());
        assert_eq!(send(&both, "text/plain", "snappy", body_v1()).await.status(), 415);
        assert_eq!(send(&both, V1, "gzip", body_v1()).await.status(), 415);
        assert_eq!(send(&both, V1, "snappy", b"nonsense".to_vec()).await.status(), 400);
        assert_eq!(
            send(&sink(Accept::V1, Behaviour::default()), V2, "snappy", body_v1()).await.status(),
            415
        );
        assert_eq!(
            send(&sink(Accept::V2, Behaviour::default()), V1, "snappy", body_v1()).await.status(),
            415
        );
        let huge = vec![0u8; BODY_BYTES_MAX + 1];
        assert_eq!(send(&both, V1, "snappy", huge).await.status(), 413);
        let request = Request::builder().uri("/api/v1/write").body(Body::empty()).unwrap();
        assert_eq!(both.router().oneshot(request).await.unwrap().status(), 405);
    }

    #[tokio::test]
    async fn configured_failures_accept_no_samples() {
        let behaviour = Behaviour { fail: Some(503), retry_after: Some(7), ..Behaviour::default() };
        let sink = sink(Accept::Both, behaviour);
        let response = send(&sink, V1, "snappy", body_v1()).await;
        assert_eq!(response.status(), 503);
        assert_eq!(response.headers().get("retry-after").unwrap(), "7");
        assert_eq!(sink.look(|window| window.counts().samples), 0);
        sink.behave(Behaviour::default());
        assert_eq!(send(&sink, V1, "snappy", body_v1()).await.status(), 204);
        assert_eq!(sink.requests().failed_on_purpose, 1);
    }
}
