//! HTTP/1.1 of the fake receiver. It is written by hand, because HTTP server libraries can't close a
//! connection in the middle of an answer.

use super::{Answer, Ending, Shared};
use crate::wire::{Version, decompress};
use std::io::{Read, Write};
use std::net::TcpStream;
use std::sync::atomic::Ordering;
use std::time::Instant;

const MAX_HEAD: usize = 64 << 10;
const MAX_HEADERS: usize = 100;
const MAX_BODY: usize = 64 << 20;

/// A request with its answer.
#[derive(Debug, Clone)]
pub struct Received {
    /// Its number from 0, in order of arrival, as the script sees it.
    pub number: usize,
    /// When its last byte arrived.
    pub at: Instant,
    pub method: String,
    /// The path with its query string.
    pub path: String,
    /// Header names in lower case, with their values.
    pub headers: Vec<(String, String)>,
    /// The body as it was received.
    pub body: Vec<u8>,
    /// The decompressed body; empty if decompression failed, see `decoding`.
    pub content: Vec<u8>,
    /// Why the body couldn't be decompressed, if it couldn't.
    pub decoding: Option<String>,
    pub status: u16,
    /// True if its samples count as written.
    pub stored: bool,
}

impl Received {
    /// The first header with this name, in any case.
    pub fn header(&self, name: &str) -> Option<&str> {
        self.headers.iter().find(|(key, _)| key.eq_ignore_ascii_case(name)).map(|(_, value)| value.as_str())
    }

    /// The protocol version that its `Content-Type` names.
    pub fn version(&self) -> Version {
        Version::of_content_type(self.header("content-type").unwrap_or_default())
    }
}

/// Answers requests on one connection until it ends.
pub(super) fn serve(mut stream: TcpStream, shared: &Shared) {
    let mut buffer = Vec::new();
    while let Some(mut request) = read(&mut stream, &mut buffer) {
        let answer = shared.decide(&mut request);
        std::thread::sleep(answer.delay);
        if let Some(ready) = &answer.once {
            crate::wait_until("what an answer waits for", crate::SOON, || ready.load(Ordering::SeqCst));
        }
        request.status = answer.status;
        request.stored = answer.stored;
        shared.record(request);
        if write(&mut stream, &answer).is_none() || !matches!(answer.ending, Ending::Open | Ending::Slow(_)) {
            let _ = stream.shutdown(std::net::Shutdown::Both);
            return;
        }
    }
}

/// The next request; `None` at the end of the connection, or if it is not HTTP/1.1 with a length.
fn read(stream: &mut TcpStream, buffer: &mut Vec<u8>) -> Option<Received> {
    let (head, mut request) = loop {
        if let Some(parsed) = parse_head(buffer) {
            break parsed;
        }
        more(stream, buffer, MAX_HEAD)?;
    };
    if request.header("expect").is_some() {
        stream.write_all(b"HTTP/1.1 100 Continue\r\n\r\n").ok()?;
    }
    let length: usize = request.header("content-length").unwrap_or("0").parse().ok()?;
    while buffer.len() < head + length {
        more(stream, buffer, MAX_HEAD + MAX_BODY)?;
    }
    request.at = Instant::now();
    request.body = buffer[head..head + length].to_vec();
    buffer.drain(..head + length);
    match request.header("content-encoding") {
        None => request.content = request.body.clone(),
        Some(encoding) => match decompress(encoding, &request.body) {
            Ok(content) => request.content = content,
            Err(error) => request.decoding = Some(error),
        },
    }
    Some(request)
}

fn more(stream: &mut TcpStream, buffer: &mut Vec<u8>, limit: usize) -> Option<()> {
    let mut chunk = [0; 64 << 10];
    let count = stream.read(&mut chunk).ok().filter(|&count| count > 0)?;
    buffer.extend_from_slice(&chunk[..count]);
    (buffer.len() <= limit).then_some(())
}

/// Parses a complete head. Returns its length and its content.
fn parse_head(buffer: &[u8]) -> Option<(usize, Received)> {
    let mut headers = [httparse::EMPTY_HEADER; MAX_HEADERS];
    let mut head = httparse::Request::new(&mut headers);
    let Ok(httparse::Status::Complete(length)) = head.parse(buffer) else { return None };
    let text = |bytes: &[u8]| String::from_utf8_lossy(bytes).into_owned();
    let headers = head.headers.iter().map(|h| (h.name.to_ascii_lowercase(), text(h.value))).collect();
    let request = Received {
        number: 0,
        at: Instant::now(),
        method: head.method?.to_string(),
        path: head.path?.to_string(),
        headers,
        body: Vec::new(),
        content: Vec::new(),
        decoding: None,
        status: 0,
        stored: false,
    };
    Some((length, request))
}

fn write(stream: &mut TcpStream, answer: &Answer) -> Option<()> {
    if answer.ending == Ending::NoAnswer {
        return None;
    }
    let mut text = format!("HTTP/1.1 {} Scripted\r\n", answer.status);
    for (name, value) in &answer.headers {
        text.push_str(&format!("{name}: {value}\r\n"));
    }
    // A 204 has no body and no length. The script may set a wrong length.
    let says_length = answer.headers.iter().any(|(name, _)| name.eq_ignore_ascii_case("content-length"));
    if answer.status != 204 && !says_length {
        text.push_str(&format!("Content-Length: {}\r\n", answer.body.len()));
    }
    if answer.ending == Ending::Close {
        text.push_str("Connection: close\r\n");
    }
    text.push_str("\r\n");
    text.push_str(&answer.body);
    if let Ending::Slow(pause) = answer.ending {
        return text.bytes().try_for_each(|byte| {
            std::thread::sleep(pause);
            stream.write_all(&[byte]).ok()
        });
    }
    let end = if answer.ending == Ending::HalfAnswer { text.len() / 2 } else { text.len() };
    stream.write_all(&text.as_bytes()[..end]).ok()
}
