//! The body of an answer as text for people, bounded in length and time.

use http_body_util::BodyExt;
use std::time::Duration;

/// Most bytes of an answer's body that are read.
pub const ANSWER_BYTES: usize = 4096;
/// Most characters of an answer's body that are kept for people.
pub const WORDS_MAX: usize = 512;

/// Reads the first [`ANSWER_BYTES`] of a body as one line of text. Stops early if the body breaks off or takes
/// longer than `within`.
pub async fn read_words(mut body: hyper::body::Incoming, within: Duration) -> String {
    let mut start = Vec::new();
    let read = async {
        while start.len() < ANSWER_BYTES {
            match body.frame().await {
                Some(Ok(frame)) => {
                    let data = frame.into_data().unwrap_or_default();
                    let room = ANSWER_BYTES - start.len();
                    start.extend_from_slice(data.get(..room).unwrap_or(&data));
                }
                Some(Err(_)) | None => break,
            }
        }
    };
    // A body that takes too long is cut where it is.
    let _ = tokio::time::timeout(within, read).await;
    words(&start)
}

/// Returns status and body in one line: `404 Not Found: remote write receiver needs to be enabled`. A body
/// that only repeats the status is left out.
pub fn status_and_words(status: u16, words: &str) -> String {
    let reason = http::StatusCode::from_u16(status).ok().and_then(|status| status.canonical_reason());
    let reason = reason.unwrap_or_default();
    let mut shown = status.to_string();
    if !reason.is_empty() {
        shown.push(' ');
        shown.push_str(reason);
    }
    let own = words.trim();
    let own = own.strip_prefix(&status.to_string()).unwrap_or(own);
    let own = own.trim_matches(|c: char| c.is_whitespace() || c.is_ascii_punctuation());
    if !own.is_empty() && !own.eq_ignore_ascii_case(reason) {
        shown.push_str(": ");
        shown.push_str(words.trim());
    }
    shown
}

/// Returns the beginning of `body` as one line of printable text, at most [`WORDS_MAX`] characters.
pub(crate) fn words(body: &[u8]) -> String {
    let text = String::from_utf8_lossy(body);
    let mut words = String::new();
    for word in text.split_whitespace() {
        if words.len() + word.len() >= WORDS_MAX {
            words.push('…');
            break;
        }
        if !words.is_empty() {
            words.push(' ');
        }
        words.extend(word.chars().filter(|c| !c.is_control()));
    }
    words
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn body_becomes_a_line_of_bounded_length() {
        assert_eq!(words(b" remote write receiver\n needs\x07 \xff"), "remote write receiver needs \u{fffd}");
        let long = words("word ".repeat(1000).as_bytes());
        assert!(long.len() <= WORDS_MAX + 4 && long.ends_with('…'));
        assert!(words("x".repeat(5000).as_bytes()).len() <= WORDS_MAX + 4);
    }

    #[test]
    fn body_that_repeats_the_status_is_left_out() {
        for (status, words, shown) in [
            (401, "Unauthorized", "401 Unauthorized"),
            (401, "unauthorized.", "401 Unauthorized"),
            (401, "401 Unauthorized", "401 Unauthorized"),
            (401, "401: Unauthorized", "401 Unauthorized"),
            (503, "503", "503 Service Unavailable"),
            (401, "Unauthorized: token expired", "401 Unauthorized: Unauthorized: token expired"),
            (404, "", "404 Not Found"),
            (404, "{\"a\":1}", "404 Not Found: {\"a\":1}"),
            (599, "", "599"),
            (599, "broken", "599: broken"),
        ] {
            assert_eq!(status_and_words(status, words), shown, "{status} {words:?}");
        }
    }
}
