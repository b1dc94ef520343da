//! What a request is answered with.

use crate::Encoding;
use model::varint;
use serde::Serialize;

/// Codes of `google.rpc.Status`, which are those of gRPC.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Code {
    InvalidArgument = 3,
    PermissionDenied = 7,
    ResourceExhausted = 8,
    Unimplemented = 12,
    Internal = 13,
    Unavailable = 14,
    Unauthenticated = 16,
}

/// An `ExportMetricsServiceResponse`. Without a message everything was kept.
pub fn response(encoding: Encoding, rejected_data_points: u64, message: &str) -> Vec<u8> {
    let is_whole = rejected_data_points == 0 && message.is_empty();
    match encoding {
        Encoding::Protobuf if is_whole => Vec::new(),
        Encoding::Protobuf => {
            let mut partial = Vec::new();
            put_number(&mut partial, 1, rejected_data_points);
            put_text(&mut partial, 2, message.as_bytes());
            let mut body = Vec::new();
            put_text(&mut body, 1, &partial);
            body
        }
        Encoding::Json => {
            let partial = PartialSuccess {
                // A 64-bit integer is a string in the JSON of protocol buffers.
                rejected_data_points: rejected_data_points.to_string(),
                error_message: message,
            };
            json(&Response { partial_success: (!is_whole).then_some(partial) })
        }
    }
}

/// A `google.rpc.Status`.
pub fn status(encoding: Encoding, code: Code, message: &str) -> Vec<u8> {
    match encoding {
        Encoding::Protobuf => {
            let mut body = Vec::new();
            put_number(&mut body, 1, code as u64);
            put_text(&mut body, 2, message.as_bytes());
            body
        }
        Encoding::Json => json(&Status { code: code as i32, message }),
    }
}

/// A `google.rpc.Status` in protobuf that says after how many seconds the request may be sent again, by the detail
/// `google.rpc.RetryInfo`.
pub fn status_with_retry(code: Code, message: &str, seconds: u32) -> Vec<u8> {
    let (mut duration, mut retry, mut detail) = (Vec::new(), Vec::new(), Vec::new());
    put_number(&mut duration, 1, u64::from(seconds));
    put_text(&mut retry, 1, &duration);
    put_text(&mut detail, 1, b"type.googleapis.com/google.rpc.RetryInfo");
    put_text(&mut detail, 2, &retry);
    let mut body = status(Encoding::Protobuf, code, message);
    put_text(&mut body, 3, &detail);
    body
}

#[derive(Serialize)]
struct Response<'a> {
    #[serde(rename = "partialSuccess", skip_serializing_if = "Option::is_none")]
    partial_success: Option<PartialSuccess<'a>>,
}

#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
struct PartialSuccess<'a> {
    rejected_data_points: String,
    error_message: &'a str,
}

#[derive(Serialize)]
struct Status<'a> {
    code: i32,
    message: &'a str,
}

fn json(value: &impl Serialize) -> Vec<u8> {
    serde_json::to_vec(value).unwrap_or_else(|_| b"{}".to_vec())
}

fn put_number(out: &mut Vec<u8>, field: u64, value: u64) {
    if value != 0 {
        varint::put_u64(out, field << 3);
        varint::put_u64(out, value);
    }
}

fn put_text(out: &mut Vec<u8>, field: u64, bytes: &[u8]) {
    varint::put_u64(out, field << 3 | 2);
    varint::put_bytes(out, bytes);
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_whole_success_says_nothing_and_a_partial_one_says_what() {
        assert_eq!(response(Encoding::Protobuf, 0, ""), b"");
        assert_eq!(response(Encoding::Json, 0, ""), b"{}");
        assert_eq!(response(Encoding::Protobuf, 2, "why"), b"\x0a\x07\x08\x02\x12\x03why");
        assert_eq!(
            response(Encoding::Json, 2, "\"why\""),
            br#"{"partialSuccess":{"rejectedDataPoints":"2","errorMessage":"\"why\""}}"#
        );
    }

    #[test]
    fn a_status_has_a_code_and_a_message() {
        assert_eq!(status(Encoding::Protobuf, Code::Unavailable, "no"), b"\x08\x0e\x12\x02no");
        assert_eq!(status(Encoding::Json, Code::InvalidArgument, "no"), br#"{"code":3,"message":"no"}"#);
        let retry = status_with_retry(Code::Unavailable, "no", 5);
        assert!(retry.ends_with(b"RetryInfo\x12\x04\x0a\x02\x08\x05"), "{retry:?}");
    }
}
